"""How points are compared with the centres of classes; a name in a configuration needs no torch."""

from __future__ import annotations

from typing import Literal

#: minus the squared distance; the same after dividing each dimension by its standard deviation
#: within classes; the cosine; the cosine after within-class whitening
Comparison = Literal["distance", "standardized", "cosine", "whitened_cosine"]
