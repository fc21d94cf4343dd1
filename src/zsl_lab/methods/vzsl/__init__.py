"""VZSL: a VAE with one Gaussian prior per class and a margin in KL divergence between classes."""

from zsl_lab.methods.vzsl.method import VZSL

__all__ = ["VZSL"]
