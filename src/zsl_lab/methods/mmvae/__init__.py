"""mmVAE: a VAE whose prior is one Gaussian per class, placed by the class semantics."""

from zsl_lab.methods.mmvae.method import MMVAE

__all__ = ["MMVAE"]
