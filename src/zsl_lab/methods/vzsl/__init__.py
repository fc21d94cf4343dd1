"""VZSL: a variational auto-encoder with one Gaussian prior per class, kept apart by a margin in KL divergence."""

from zsl_lab.methods.vzsl.method import VZSL

__all__ = ["VZSL"]
