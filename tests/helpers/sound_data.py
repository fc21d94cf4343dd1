"""A sound benchmark, and how tests look up findings."""

from __future__ import annotations

from typing import Any

import numpy as np

from zsl_lab.data.benchmark import FeatureBenchmark
from zsl_lab.data.checks.findings import Finding

CLASSES, PER_CLASS = 6, 5


def sound(**changes: Any) -> FeatureBenchmark:
    """Six classes of five samples; the last two are unseen, the fifth sample is test_seen."""
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    index = np.arange(len(labels))
    seen = labels < 4
    fields = {
        "name": "toy",
        "features": rng.normal(size=(len(labels), 40)).astype(np.float32),
        "semantics": rng.uniform(0.5, 100, size=(CLASSES, 7)).astype(np.float32),
        "labels": labels,
        "class_names": tuple("abcdef"),
        "trainval": index[seen & (index % PER_CLASS < 4)],
        "test_seen": index[seen & (index % PER_CLASS == 4)],
        "test_unseen": index[~seen],
    }
    return FeatureBenchmark(**(fields | changes))


def codes(found: list[Finding]) -> set[str]:
    return {finding.code for finding in found}


def one(found: list[Finding], code: str) -> Finding:
    (finding,) = [finding for finding in found if finding.code == code]
    return finding
