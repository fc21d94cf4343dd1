"""The fixtures of extraction."""

from tests.helpers.extraction import model, own, pictures, weights

__all__ = ["model", "own", "pictures", "weights"]
