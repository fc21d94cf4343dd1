from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from zsl_lab.data.scaling import Normalization, Scaler

ROWS = np.random.default_rng(0).gamma(1.0, 2.0, size=(40, 5)).astype(np.float32)
NEW = np.random.default_rng(1).gamma(1.0, 3.0, size=(7, 5)).astype(np.float32)


def written_out(kind: Normalization) -> Any:
    if kind == "minmax":
        return (NEW - ROWS.min(0)) / (ROWS.max(0) - ROWS.min(0))
    if kind == "minmax_sqrt":
        return np.sqrt(np.maximum((NEW - ROWS.min(0)) / (ROWS.max(0) - ROWS.min(0)), 0))
    if kind == "standard":
        return (NEW - ROWS.mean(0)) / ROWS.std(0)
    if kind == "scale":
        return NEW / ROWS.std()
    if kind == "l2":
        return NEW / np.linalg.norm(NEW, axis=1, keepdims=True)
    if kind == "centered_l2":
        centred = NEW - ROWS.mean(0)
        return centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return NEW


@pytest.mark.parametrize("kind", ["none", "minmax", "minmax_sqrt", "standard", "scale", "l2", "centered_l2"])
def test_rows_are_scaled_with_the_statistics_of_the_rows_it_was_fitted_on(kind: Normalization) -> None:
    found = Scaler.fit(kind, ROWS).apply(torch.from_numpy(NEW)).numpy()
    np.testing.assert_allclose(found, written_out(kind), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["minmax", "minmax_sqrt", "standard", "scale"])
def test_a_constant_dimension_stays_finite(kind: Normalization) -> None:
    assert torch.isfinite(Scaler.fit(kind, np.ones((4, 3), np.float32)).apply(torch.ones(2, 3))).all()
