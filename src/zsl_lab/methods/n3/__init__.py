"""N3: a generator that reads descriptions of classes and adapts a pretrained network to them."""

from zsl_lab.methods.n3.method import N3

__all__ = ["N3"]
