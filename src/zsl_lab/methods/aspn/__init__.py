"""ASPN: generator and inference network tied by cycles, a critic, category attention, prototype classification."""

from zsl_lab.methods.aspn.method import ASPN

__all__ = ["ASPN"]
