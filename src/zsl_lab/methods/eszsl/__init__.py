"""ESZSL: a bilinear map between features and class semantics, solved in closed form."""

from zsl_lab.methods.eszsl.method import ESZSL

__all__ = ["ESZSL"]
