"""EXEM: class exemplars predicted from class semantics by ridge regression, in closed form."""

from zsl_lab.methods.exem.method import EXEM

__all__ = ["EXEM"]
