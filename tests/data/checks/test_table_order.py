"""Tables in another order are found, tables in the right one are not accused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from zsl_lab.data.checks.table_order import Array, relate
from zsl_lab.data.files.mat import read_mat

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
NAMES = [f"class {c}" for c in RNG.permutation(30)]
KNOWN = RNG.uniform(0, 1, (30, 12))
SORTED = np.argsort(NAMES)
VIEWS: dict[str, Callable[[Array], Array]] = {
    "as it is": lambda table: table,
    "times 100": lambda table: table * 100,
    "unit rows": lambda table: table / np.linalg.norm(table, axis=1, keepdims=True),
    "standardised columns": lambda table: (table - table.mean(axis=0)) / table.std(axis=0),
    "rounded": lambda table: table.round(1),
    "noisy": lambda table: table + 0.02 * np.random.default_rng(1).normal(size=table.shape),
    "a mark": lambda table: np.where(np.arange(12) == 3, -1.0, table),
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_permutation_is_found_up_to_scaling(view: str) -> None:
    table = VIEWS[view](KNOWN)
    assert relate(table, KNOWN, NAMES).kind == "same"
    moved = relate(table[SORTED], KNOWN, NAMES)
    assert (moved.kind, moved.order) == ("permuted", "sorted by name")
    assert moved.row is not None
    assert (moved.row == SORTED).mean() > 0.9
    other = relate(table[np.roll(np.arange(30), 1)], KNOWN, NAMES)
    assert (other.kind, other.order) == ("permuted", "")


def test_two_exchanged_rows_are_found() -> None:
    table = KNOWN.copy()
    table[[3, 8]] = table[[8, 3]]
    np.testing.assert_array_equal(relate(table, KNOWN, NAMES).moved, [3, 8])


def test_a_transposed_square_table_is_called_transposed() -> None:
    square = RNG.uniform(0, 1, (30, 30))
    assert relate(square.T, square, NAMES).kind == "transposed"


def test_a_table_of_another_width_shows_its_order_by_similarities() -> None:
    table = KNOWN @ RNG.normal(size=(12, 40))
    assert relate(table, KNOWN, NAMES).kind == "unknown"
    assert relate(table[SORTED], KNOWN, NAMES).order == "sorted by name"


@pytest.mark.parametrize("shape", [(5, 3), (6, 4), (8, 6), (12, 6), (20, 8), (30, 12)])
def test_no_table_in_the_right_order_is_accused(shape: tuple[int, int]) -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        known = rng.uniform(0, 1, shape)
        names = [f"n{i}" for i in rng.permutation(shape[0])]
        for table in (known / 7, known + 0.1 * rng.normal(size=shape), rng.uniform(0, 1, shape)):
            assert relate(table, known, names).kind not in ("permuted", "transposed")


@pytest.mark.parametrize("name", ["AWA1", "AWA2", "CUB", "SUN", "APY"])
def test_the_genuine_tables_agree(genuine: Path, name: str) -> None:
    fields = read_mat(
        genuine / name / "att_splits.mat", ["att", "original_att", "allclasses_names"]
    )
    names = [str(cell) for cell in fields["allclasses_names"].ravel()]
    att, original = fields["att"].T, fields["original_att"].T
    assert relate(original, att, names).kind == "same"
    order = np.random.default_rng(0).permutation(len(att))
    assert relate(original[order], att, names).kind == "permuted"
