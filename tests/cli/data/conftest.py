"""The fixtures of extraction."""

from tests.helpers.extraction import extract, model, own, pictures, weights

__all__ = ["extract", "model", "own", "pictures", "weights"]
