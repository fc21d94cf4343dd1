"""ASPN: a conditional generator with cycles, a critic, category attention and prototypes."""

from zsl_lab.methods.aspn.method import ASPN

__all__ = ["ASPN"]
