"""The embedded demonstration: scikit-learn's handwritten digits, described by the segments of a display."""

from __future__ import annotations

import numpy as np
from pydantic import field_validator

from zsl_lab.data.benchmark import FeatureBenchmark, Provenance
from zsl_lab.data.dataset import DataPaths, FeatureDatasetConfig
from zsl_lab.data.hashing import sha256_arrays
from zsl_lab.data.splits import hold_out

# Which segments of a seven-segment display are lit: top, upper right, lower right, bottom, lower left, upper left, middle;
# then closed loops and curved strokes of the usual handwritten form, both halved so that every column lies in [0, 1].
_SEMANTICS = (
    (1, 1, 1, 1, 1, 1, 0, 0.5, 0.5),
    (0, 1, 1, 0, 0, 0, 0, 0.0, 0.0),
    (1, 1, 0, 1, 1, 0, 1, 0.0, 0.5),
    (1, 1, 1, 1, 0, 0, 1, 0.0, 1.0),
    (0, 1, 1, 0, 0, 1, 1, 0.0, 0.0),
    (1, 0, 1, 1, 0, 1, 1, 0.0, 0.5),
    (1, 0, 1, 1, 1, 1, 1, 0.5, 0.5),
    (1, 1, 1, 0, 0, 0, 0, 0.0, 0.0),
    (1, 1, 1, 1, 1, 1, 1, 1.0, 1.0),
    (1, 1, 1, 1, 0, 1, 1, 0.5, 0.5),
)
_PIXEL_MAX = 16
_TEST_SEEN_FRACTION = 0.2
_HOLD_OUT_SEED = 0


class DigitsDataset(FeatureDatasetConfig):
    """1,797 images of 8 x 8 pixels, ten classes; no file is read and no download is needed.

    A fifth of each seen class, always the same samples, is ``test_seen``.

    Attributes:
        unseen: The digits that are not trained on: different ones, at least 1, leaving at least 3 seen ones (two to
            train on while a third is held out for validation).
    """

    unseen: list[int]

    @field_validator("unseen")
    @classmethod
    def _check_unseen(cls, unseen: list[int]) -> list[int]:
        if not unseen or len(unseen) > 7:
            raise ValueError(f"found {len(unseen)} unseen digits; expected 1 to 7, to leave at least 3 seen ones")
        outside = [digit for digit in unseen if not 0 <= digit <= 9]
        if outside:
            raise ValueError(f"found {outside[0]} among the unseen digits; expected digits from 0 to 9")
        if len(set(unseen)) != len(unseen):
            raise ValueError(f"found the same digit more than once in {unseen}; expected different digits")
        return unseen

    def load(self, paths: DataPaths) -> FeatureBenchmark:
        """Build the benchmark: features are the pixels divided by 16, semantics ``[10, 9]``."""
        # scikit-learn takes a second to import
        from sklearn.datasets import load_digits

        images, digits = load_digits(return_X_y=True)
        features = (images / _PIXEL_MAX).astype(np.float32)
        labels = digits.astype(np.int64)
        is_unseen = np.isin(labels, self.unseen)
        trainval, test_seen = hold_out(np.flatnonzero(~is_unseen), labels, _TEST_SEEN_FRACTION, np.random.default_rng(_HOLD_OUT_SEED))
        test_unseen = np.flatnonzero(is_unseen)
        return FeatureBenchmark(
            name=self.name,
            features=features,
            labels=labels,
            semantics=np.array(_SEMANTICS, dtype=np.float32),
            class_names=tuple(str(digit) for digit in range(10)),
            trainval=trainval,
            test_seen=test_seen,
            test_unseen=test_unseen,
            provenance=Provenance(
                origin="scikit-learn's digits",
                splits_sha256=sha256_arrays(trainval, test_seen, test_unseen),
                features_sha256=sha256_arrays(features),
                splits_version=f"unseen digits {', '.join(str(digit) for digit in sorted(self.unseen))}",
            ),
        )
