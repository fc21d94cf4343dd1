from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zsl_lab.data.normalization import Normalization
from zsl_lab.data.scaling import Scaler

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


@pytest.mark.parametrize(
    "kind", ["none", "minmax", "minmax_sqrt", "standard", "scale", "l2", "centered_l2"]
)
def test_rows_are_scaled_with_the_statistics_of_the_rows_it_was_fitted_on(
    kind: Normalization,
) -> None:
    found = Scaler.fit(kind, ROWS).apply(torch.from_numpy(NEW)).numpy()
    np.testing.assert_allclose(found, written_out(kind), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["minmax", "minmax_sqrt", "standard", "scale"])
def test_a_constant_dimension_stays_finite(kind: Normalization) -> None:
    assert torch.isfinite(
        Scaler.fit(kind, np.ones((4, 3), np.float32)).apply(torch.ones(2, 3))
    ).all()


@pytest.mark.parametrize("kind", ["none", "minmax", "minmax_sqrt", "standard", "scale"])
def test_scaling_can_be_undone(kind: Normalization) -> None:
    scaler, rows = Scaler.fit(kind, ROWS), torch.from_numpy(ROWS)
    torch.testing.assert_close(scaler.invert(scaler.apply(rows)), rows, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "origin"), [("l2", 0.0), ("centered_l2", ROWS.mean(0))])
def test_of_rows_divided_by_their_norm_the_direction_comes_back(
    kind: Normalization, origin: Any
) -> None:
    scaler, scaled = Scaler.fit(kind, ROWS), torch.from_numpy(NEW)
    found = scaler.invert(scaled)
    np.testing.assert_allclose(found.numpy() - origin, NEW, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(scaler.apply(found), torch.nn.functional.normalize(scaled, dim=1))


def test_what_minmax_sqrt_cannot_have_made_is_taken_for_0() -> None:
    scaler = Scaler.fit("minmax_sqrt", ROWS)
    torch.testing.assert_close(
        scaler.invert(torch.full((1, 5), -2.0)), torch.from_numpy(ROWS.min(0, keepdims=True))
    )


@pytest.mark.parametrize(
    "kind", ["none", "minmax", "minmax_sqrt", "standard", "scale", "l2", "centered_l2"]
)
def test_a_scaler_of_a_checkpoint_scales_as_it_did(kind: Normalization, tmp_path: Path) -> None:
    scaler = Scaler.fit(kind, ROWS)
    torch.save(scaler.state(), tmp_path / "scaler.pt")
    again = Scaler.from_state(torch.load(tmp_path / "scaler.pt", weights_only=True))
    assert torch.equal(again.apply(torch.from_numpy(NEW)), scaler.apply(torch.from_numpy(NEW)))


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"kind": "log", "shift": torch.zeros(2), "scale": torch.ones(2)},
        {"kind": "l2", "shift": [0.0]},
    ],
)
def test_what_is_no_scaler_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the kind of scaling is"):
        Scaler.from_state(state)


def in_float64(kind: Normalization, rows: Any) -> Any:
    exact = rows.astype(np.float64)
    if kind in ("minmax", "minmax_sqrt"):
        scaled = (exact - exact.min(0)) / (exact.max(0) - exact.min(0))
        return np.sqrt(scaled) if kind == "minmax_sqrt" else scaled
    if kind == "standard":
        return (exact - exact.mean(0)) / exact.std(0)
    if kind == "scale":
        return exact / exact.std()
    if kind == "none":
        return exact
    centred = exact - exact.mean(0) if kind == "centered_l2" else exact
    return centred / np.linalg.norm(centred, axis=1, keepdims=True)


@pytest.mark.slow
@pytest.mark.parametrize("exponent", [-30, -25, -20, -15, -12, -8, 0, 8, 15, 18, 24, 30])
@pytest.mark.parametrize(
    "kind", ["none", "minmax", "minmax_sqrt", "standard", "scale", "l2", "centered_l2"]
)
def test_scaling_is_right_at_every_magnitude(kind: Normalization, exponent: int) -> None:
    rows = (ROWS.astype(np.float64) * 10.0**exponent).astype(np.float32)
    found = Scaler.fit(kind, rows).apply(torch.from_numpy(rows)).numpy().astype(np.float64)
    np.testing.assert_allclose(found, in_float64(kind, rows), rtol=2e-5, atol=1e-6 * np.ptp(found))


@pytest.mark.parametrize("kind", ["standard", "minmax", "centered_l2"])
def test_a_column_of_another_magnitude_is_scaled_as_by_itself(kind: Normalization) -> None:
    rows = ROWS.copy()
    rows[:, 1] *= 1e-30
    rows[:, 2] *= 1e25
    found = Scaler.fit(kind, rows).apply(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(found, in_float64(kind, rows), rtol=2e-5, atol=1e-6)


def test_rows_of_any_length_get_length_1_and_a_row_of_zeros_stays() -> None:
    rows = ROWS * (10.0 ** np.linspace(-30, 30, len(ROWS)))[:, None].astype(np.float32)
    scaler = Scaler("l2", torch.zeros(5), torch.ones(5))
    found = scaler.apply(torch.from_numpy(np.concatenate([rows, np.zeros((1, 5), np.float32)])))
    torch.testing.assert_close(found[:-1].norm(dim=1), torch.ones(len(ROWS)))
    assert (found[-1] == 0).all()
