"""Checks whether two tables of the same classes have their rows in the same order.

A table without class names is taken in the order of its rows. If another table of the same classes
is known (``att`` or ``original_att`` of a split file), rows in another order can be detected: each
is similar to a row of the known table, but to that of another class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import IntArray
from zsl_lab.data.checks.class_names import normalized

Array = npt.NDArray[Any]
Kind = Literal["same", "permuted", "transposed", "different", "unknown"]

# a row is misplaced if its correlation with the row of another class is higher by this much than
# that with the row of its own
_MARGIN = 0.02
# correlation from which on rows are equal up to scaling; in small tables, whose rows may be similar
# by chance, it must be almost 1
_ALIKE, _ALIKE_IN_SMALL = 0.95, 0.99999
_SMALL = 10
# number of rows compared at a time, and maximum number of rows of tables compared by similarities
_BLOCK, _MOST_ROWS = 512, 2048
# number of random orders, which show how much the agreement of two tables varies by chance
_RANDOM_ORDERS = 20
# with fewer classes, unrelated tables can look like permutations of each other
_FEW = 20


@dataclass(frozen=True, eq=False)
class Relation:
    """How a table relates to a known table of the same classes.

    Attributes:
        kind: ``same`` (rows agree), ``permuted`` (rows belong to other classes), ``transposed``
            (the table's transpose agrees), ``different`` (of the same width, but rows agree in no
            order), ``unknown`` (the tables cannot be compared).
        row: For ``permuted``, the class that each row belongs to, -1 where that is not known; else
            None.
        order: For ``permuted``, a description of the order if it is a usual one; else empty.
    """

    kind: Kind
    row: IntArray | None = None
    order: str = ""

    @property
    def moved(self) -> IntArray:
        """Indices of the rows that belong to another class."""
        if self.row is None:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero((self.row >= 0) & (self.row != np.arange(len(self.row))))


def relate(
    table: Array, known: Array, names: Sequence[str] | None, *, by_similarity: bool = True
) -> Relation:
    """Compare a table with a known one.

    Args:
        table: Numbers ``[C, Q]``.
        known: Numbers ``[C, K]``.
        names: Names of the C classes, to recognise rows sorted by name; None where there are none.
        by_similarity: Whether tables of different widths are compared too, by the similarities
            between their rows.
    """
    if (
        table.ndim != 2
        or known.ndim != 2
        or len(table) != len(known)
        or len(table) < 3
        or table.shape[1] < 3
    ):
        return Relation("unknown")
    orders = usual_orders(names) if names is not None else {}
    if table.shape[1] == known.shape[1]:
        relation = _relate_rows(table, known, orders)
        is_open = relation.kind in ("different", "unknown")
        square = table.shape[0] == table.shape[1]
        return Relation("transposed") if is_open and square and _alike(table.T, known) else relation
    return _relate_similarities(table, known, orders) if by_similarity else Relation("unknown")


def usual_orders(names: Sequence[str]) -> dict[str, IntArray]:
    """Orders that tables of these classes often have.

    Args:
        names: Names of the C classes.

    Returns:
        The class of each row, int64 ``[C]``, by a description of the order.
    """
    keys: dict[str, Callable[[str], Any]] = {
        "sorted by name": str,
        "sorted by name, case-insensitive": str.casefold,
        "sorted by name, without numbers and separators": normalized,
        "sorted by the numbers in their names": _leading_number,
    }
    found: dict[str, IntArray] = {}
    for called, key in keys.items():
        order = np.array(sorted(range(len(names)), key=lambda c: key(names[c])), dtype=np.int64)
        is_new = not any(np.array_equal(order, other) for other in found.values())
        if is_new and not np.array_equal(order, np.arange(len(order))):
            found[called] = order
    return found


def _leading_number(name: str) -> tuple[int, str]:
    digits = name[: len(name) - len(name.lstrip("0123456789"))]
    return (int(digits[:18]) if digits else -1, name)


def _relate_rows(table: Array, known: Array, orders: dict[str, IntArray]) -> Relation:
    """Compare tables of the same width by correlations of their rows, unscaled and scaled."""
    small = min(table.shape) < _SMALL
    enough = _ALIKE_IN_SMALL if small else _ALIKE
    views = _VIEWS[:2] if small else _VIEWS
    results = [_best_rows(_unit(view(table)), _unit(view(known))) for view in views]
    own, best, row = max(results, key=lambda found: float(np.median(found[0])))
    if np.median(own) >= _ALIKE or (own >= _ALIKE).mean() > 0.5:
        moved = _single_moves(own, best, row, enough)
        return (
            Relation("permuted", np.where(moved, row, np.arange(len(row))))
            if moved.any()
            else (Relation("same"))
        )
    for own, best, row in sorted(results, key=lambda found: -float(np.median(found[1]))):
        alike = best >= enough
        if not small and len(row) >= _FEW and len(np.unique(row)) >= 0.85 * len(row):
            # in unrelated tables, several rows would have the same most similar row
            alike = np.ones(len(row), dtype=bool)
        if alike.mean() < 0.5 or len(np.unique(row[alike])) < 0.8 * alike.sum():
            continue
        misplaced = best > own + _MARGIN
        if misplaced[alike].mean() <= 0.2:
            return Relation("same")
        placed = np.where(alike, np.where(misplaced, row, np.arange(len(row))), -1)
        return Relation("permuted", placed, _called(placed, orders))
    if max(float(np.median(found[0])) for found in results) > 0.5:
        return Relation("same")
    return _relate_similarities(table, known, orders, Relation("unknown" if small else "different"))


def _alike(table: Array, known: Array) -> bool:
    """Whether most rows agree with those of the same class."""
    enough = _ALIKE_IN_SMALL if min(table.shape) < _SMALL else _ALIKE
    return any(
        float(np.median(_best_rows(_unit(view(table)), _unit(view(known)))[0])) >= enough
        for view in _VIEWS[:2]
    )


def _single_moves(own: Array, best: Array, row: IntArray, enough: float) -> npt.NDArray[np.bool_]:
    """Whether each row is misplaced, in a table most of whose rows are in place."""
    misplaced = best > own + _MARGIN
    moved: npt.NDArray[np.bool_] = misplaced & (best >= enough) & misplaced[row]
    if np.median(own) >= 1 - 1e-6:
        # the tables are proportional, so that a single row stands out
        moved |= misplaced & (best >= 1 - 1e-6)
    return moved


def _called(row: IntArray, orders: dict[str, IntArray]) -> str:
    """The description of the usual order that most rows follow; empty for none."""
    for called, order in orders.items():
        agreeing = (row == order) | (row < 0)
        if agreeing.mean() > 0.9:
            return called
    return ""


def _scaled(table: Array) -> Array:
    """Columns with mean 0 and standard deviation 1; constant columns are 0."""
    table = np.asarray(table, dtype=np.float64)
    deviation = table.std(axis=0)
    constant = deviation <= 1e-12 * np.abs(table).max(axis=0, initial=0)
    scaled: Array = (table - table.mean(axis=0)) / np.where(constant, 1, deviation)
    scaled[:, constant] = 0
    return scaled


def _centered(table: Array) -> Array:
    """Rows with mean 0, divided by the table's largest number so that squares do not overflow."""
    table = np.asarray(table, dtype=np.float64)
    table = table / (np.abs(table).max(initial=0) or 1)
    centered: Array = table - table.mean(axis=1, keepdims=True)
    return centered


def _ranked(table: Array) -> Array:
    """The ranks in each row, with mean 0: a mark such as -999 then changes a single value only."""
    from scipy.stats import rankdata  # takes a second to import

    return _centered(rankdata(table, axis=1))


_VIEWS = (_centered, _scaled, _ranked)


def _unit(table: Array) -> Array:
    """Rows scaled to length 1; rows of length 0 stay 0."""
    length = np.linalg.norm(table, axis=1, keepdims=True)
    unit: Array = table / np.where(length > 1e-12, length, 1)
    return unit


def _best_rows(table: Array, known: Array) -> tuple[Array, Array, IntArray]:
    """For each row: similarity to its own class, to the most similar class, and the latter's id."""
    own = np.einsum("ij,ij->i", table, known)
    best, row = np.empty(len(table)), np.empty(len(table), dtype=np.int64)
    for start in range(0, len(table), _BLOCK):
        similar = table[start : start + _BLOCK] @ known.T
        row[start : start + _BLOCK] = similar.argmax(axis=1)
        best[start : start + _BLOCK] = similar.max(axis=1)
    return own, best, row


def _relate_similarities(
    table: Array, known: Array, orders: dict[str, IntArray], default: Relation | None = None
) -> Relation:
    """Compare tables of any width: classes similar in one should be similar in the other."""
    if not orders or not 6 <= len(table) <= _MOST_ROWS:
        return default or Relation("unknown")
    ours, theirs = _similarities(table), _similarities(known)
    above = np.triu_indices(len(table), 1)
    given_pairs = _unit_vector(ours[above])

    def agreement(order: IntArray) -> float:
        # row i of the table is taken for class order[i]
        return float(given_pairs @ _unit_vector(theirs[order[above[0]], order[above[1]]]))

    rng = np.random.default_rng(0)
    by_chance = [agreement(rng.permutation(len(table))) for _ in range(_RANDOM_ORDERS)]
    spread = float(np.std(by_chance)) + 1e-12
    given = agreement(np.arange(len(table)))
    best = max(orders, key=lambda called: agreement(orders[called]))
    found = agreement(orders[best])
    if found > given + max(0.1, 5 * spread) and found > max(by_chance) + 3 * spread:
        return Relation("permuted", orders[best], best)
    return default or Relation("unknown")


def _similarities(table: Array) -> Array:
    rows = _unit(_scaled(table))
    similarities: Array = rows @ rows.T
    return similarities


def _unit_vector(values: Array) -> Array:
    centered: Array = values - values.mean()
    length = np.linalg.norm(centered)
    return centered / (length if length > 0 else 1)
