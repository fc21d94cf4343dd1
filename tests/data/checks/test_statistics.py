"""Statistics of the rows of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from zsl_lab.data.checks.statistics import ColumnStatistics, RunningStatistics


def test_blocks_give_the_statistics_of_the_whole_table() -> None:
    rng = np.random.default_rng(0)
    # 40 columns: a block is converted in two parts
    table = rng.normal(1e6, np.geomspace(1e-3, 10.0, 40), (9001, 40))
    rows = np.sort(rng.choice(9001, 8500, replace=False))
    found = ColumnStatistics.of(table, rows)
    part = table[rows]
    assert found.rows == 8500
    np.testing.assert_array_equal(found.low, part.min(0))
    np.testing.assert_array_equal(found.high, part.max(0))
    np.testing.assert_allclose(found.mean, part.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.std, part.std(0), rtol=1e-6)
    norms = np.linalg.norm(part, axis=1)
    np.testing.assert_allclose(found.norms, [norms.min(), norms.mean(), norms.max()], rtol=1e-12)
    running = RunningStatistics(40)
    for start in range(0, 8500, 7):
        running.add(part[start : start + 7])
    np.testing.assert_allclose(running.result().std, found.std, rtol=1e-6)


def test_a_state_gives_the_same_statistics_and_a_damaged_one_is_refused() -> None:
    found = ColumnStatistics.of(np.arange(12.0).reshape(4, 3))
    state: dict[str, Any] = found.state()
    again = ColumnStatistics.from_state(state, 3)
    assert again.rows == 4
    assert np.array_equal(again.std, found.std)
    for change in (
        {"rows": "4"},
        {"rows": 0},
        {"mean": torch.zeros(2)},
        {"std": None},
        {"norms": torch.zeros(2)},
        {"low": torch.full((3,), torch.nan)},
    ):
        with pytest.raises(ValueError, match=r"the (number|statistic)"):
            ColumnStatistics.from_state({**state, **change}, 3)
