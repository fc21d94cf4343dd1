"""zsl_lab: published zero-shot learning methods, interchangeable, on the same splits, with one evaluation."""

__version__ = "0.1.0"
