"""SGAL: an mmVAE that goes on learning from features it generates for the unseen classes."""

from zsl_lab.methods.sgal.method import SGAL

__all__ = ["SGAL"]
