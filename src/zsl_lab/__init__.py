"""zsl_lab: published zero-shot learning methods, interchangeable, on the same splits, with one evaluation."""

from zsl_lab import torchvision_import

__version__ = "0.1.0"

torchvision_import.install()
