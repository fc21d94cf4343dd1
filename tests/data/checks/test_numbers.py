"""Numbers that single precision loses are named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.sound_data import codes, sound
from zsl_lab.data.checks.check import check
from zsl_lab.data.checks.numbers import check_rounding

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [1e30, 1e-30, 1e20, 1e-19])
def test_magnitudes_that_single_precision_loses_are_named(size: float) -> None:
    benchmark = sound()
    scaled = (benchmark.features.astype(np.float64) * size).astype(np.float32)
    assert "features_scale" in codes(check(replace(benchmark, features=scaled)))
    table = (benchmark.semantics.astype(np.float64) * size).astype(np.float32)
    assert "semantics_scale" in codes(check(replace(benchmark, semantics=table)))


def test_small_differences_of_large_numbers_are_named() -> None:
    stamps = 1.6e9 + np.arange(30.0)[:, None] * np.ones((1, 3))
    assert codes(check_rounding(stamps, "f", "features")) == {"features_rounding"}
    assert codes(check_rounding(np.full((3, 2), 1e-60), "f", "features")) == {"features_rounding"}
    assert check_rounding(RNG.normal(size=(30, 3)), "f", "features") == []
