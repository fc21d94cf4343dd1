"""Compares the inputs of a prediction with those of training, and describes differences.

Each check uses statistics of the training data that the checkpoint holds. The limits are wide: on
the published benchmarks no test sample, no single unseen class and no random subset of unseen
samples or classes causes a warning (tests/predict/test_input_checks.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from zsl_lab.data.checks.statistics import ColumnStatistics, Float64Array, RunningStatistics

#: how many columns or classes a warning names
_SHOWN = 3
#: rows that are needed before the spread of columns is compared
_ROWS_OF_SPREAD = 20
#: the correlation of the columns' spreads, or means, below which these are other columns
_SAME_PROFILE = 0.2
#: the columns that are needed for such a correlation
_COLUMNS_OF_PROFILE = 50
#: number of parts in which the columns are also compared, since only some of them may be wrong
_PARTS_OF_PROFILE = 4
#: with this many columns of both signs in training, rows that lack one sign are no coincidence
_SIGNED_COLUMNS = 5
#: from this many rows on, a single constant column causes a warning
_ROWS_OF_DEAD = 100
#: from this many rows on, their mean norm must be closer to that of training
_ROWS_OF_NORM = 50
#: columns whose logarithmic spreads vary less than this share of their variation in training are
#: taken for roots or logarithms
_ROOT = 0.75
#: entries of a table that are needed to conclude that it has two codes only
_NUMBERS_OF_CODE = 30
#: common marks for unknown values
_MARKS = (-9.0, -99.0, -999.0, -9999.0, 999.0, 9999.0)

_FEATURES = (
    "Give features as the extractor made them for training, unscaled (the method scales them "
    "itself), or train on features like these."
)
_SEMANTICS = (
    "Give new classes in the same units as training had, or train on semantics in these units."
)


# ------------------------------------------------------------------------------------------------
# features


class FeatureCheck:
    """Compares feature vectors, added in blocks, with those of training.

    Args:
        training: Statistics of the training samples.
        seen_classes: Number of classes of the training samples; with few, samples of another class
            easily lie outside the range of training.
    """

    def __init__(self, training: ColumnStatistics, seen_classes: int) -> None:
        self._training, self._classes = training, max(seen_classes, 1)
        self._given = RunningStatistics(len(training.low))
        self._range = training.high - training.low
        self._outside = self._negative = 0
        #: rows of each column that lie far outside its range
        self._far = np.zeros(len(training.low), dtype=np.int64)
        positive = self._range[self._range > 0]
        typical = np.median(positive) if len(positive) else 1.0
        # a column that is constant in training has no range of its own
        self._unit = np.maximum(self._range, 0.25 * typical)
        self._far_limit = 3 + 30 / self._classes

    def add(self, block: Float64Array) -> None:
        """Add rows ``[n, D]``."""
        training = self._training
        self._given.add(block)
        beyond = np.maximum(block - training.high, training.low - block)
        self._outside += int((beyond > 0.1 * self._unit).sum())
        self._far += (beyond > self._far_limit * self._unit).sum(0)
        self._negative += int((block < -1e-6 * np.abs(training.high).max()).sum())

    def findings(self, origin: str) -> list[str]:
        """Sentences on what does not fit; none where everything does.

        Args:
            origin: The beginning of each sentence.
        """
        given = self._given.result()
        for check in (
            _equal_rows,
            self._scale,
            self._signs,
            self._floor,
            self._dead,
            self._columns,
            self._profile,
            self._root,
            self._share,
        ):
            found = check(given)
            if found:
                return [f"{origin}: {found} {_FEATURES}"]
        return []

    def _scale(self, given: ColumnStatistics) -> str | None:
        """Rows with far smaller or larger norms, or scaled in a recognisable way."""
        low, mean, high = self._training.norms
        small, middle, large = given.norms
        few = given.rows < 5
        ratio = middle / mean if mean > 0 else np.inf if middle > 0 else 1.0
        shortest, longest = (0.4, 2.5) if few else (0.55, 1.8)
        other = middle < 0.6 * low or middle > 1.6 * high
        outside = other or middle < low or middle > high
        strange = outside and not shortest <= ratio <= longest
        fixed = high - low <= 1e-3 * mean and abs(ratio - 1) > 0.01
        unit = (
            abs(small - 1) < 1e-4
            and abs(large - 1) < 1e-4
            and not (abs(low - 1) < 0.02 and abs(high - 1) < 0.02)
        )
        cause = ""
        if unit or (large - small < 1e-4 * middle and given.rows >= 5 and high - low > 1e-2 * mean):
            cause = "they were divided by their norm (l2) before"
        elif _standardised(given) and not _standardised(self._training):
            cause = "each column was standardised (mean 0, standard deviation 1) before"
        elif _minmaxed(given) and not _minmaxed(self._training):
            cause = "each column was scaled to [0, 1] before"
        elif strange or fixed or self._differs(given, ratio):
            cause = (
                f"they were scaled, by about {_number(ratio)}, or another recipe or extractor "
                "made them"
            )
        if not cause:
            return None
        return (
            f"the rows have norms from {_number(small)} to {_number(large)}; those of training "
            f"have {_number(low)} to {_number(high)}.{self._worst(given)} The likely cause: "
            f"{cause}."
        )

    def _differs(self, given: ColumnStatistics, ratio: float) -> bool:
        """Whether norms differ by more than a choice of few classes explains; needs many rows."""
        varies = self._training.std > 0
        if given.rows < _ROWS_OF_NORM or not varies.any() or ratio <= 0:
            return False
        spread = self._training.std[varies]
        if np.median(given.std[varies] / spread) < 0.85 * ratio:
            return False
        # of few classes the means lie off those of training, and so may the norms
        shift = (given.mean[varies] / ratio - self._training.mean[varies]) / spread
        return bool(abs(np.log(ratio)) > 0.2 + 0.7 * np.sqrt((shift**2).mean()))

    def _worst(self, given: ColumnStatistics) -> str:
        """The column whose range differs most, with both ranges."""
        scale = np.where(self._training.std > 0, self._training.std, np.inf)
        column = int(np.argmax(np.abs(given.mean - self._training.mean) / scale))
        return (
            f" Column {column} (0-based) lies between {_number(given.low[column])} and "
            f"{_number(given.high[column])}, in training between "
            f"{_number(self._training.low[column])} and {_number(self._training.high[column])}."
        )

    def _signs(self, given: ColumnStatistics) -> str | None:
        training = self._training
        both = (training.low < 0) & (training.high > 0) & (np.abs(training.mean) < training.std)
        if given.rows >= _ROWS_OF_SPREAD and both.sum() >= _SIGNED_COLUMNS:
            for lacking, side in ((given.low >= 0, "below"), (given.high <= 0, "above")):
                if lacking.all():
                    return self._one_sign(given, int(np.argmax(both)), side)
        if not self._negative or (training.low < 0).any():
            return None
        column = int(np.argmin(given.low))
        return (
            f"found negative numbers ({self._negative:,}; column {column}, 0-based, lies between "
            f"{_number(given.low[column])} and {_number(given.high[column])}); the features of "
            f"training have none (there it lies between {_number(self._training.low[column])} and "
            f"{_number(self._training.high[column])}). The likely cause: they were standardised or "
            "centred before, or taken from another layer."
        )

    def _one_sign(self, given: ColumnStatistics, column: int, side: str) -> str:
        return (
            f"found no number {side} 0 (column {column}, 0-based, lies between "
            f"{_number(given.low[column])} and {_number(given.high[column])}, in training between "
            f"{_number(self._training.low[column])} and {_number(self._training.high[column])}). "
            "The likely cause: their absolute values were taken, or they were cut off at 0."
        )

    def _floor(self, given: ColumnStatistics) -> str | None:
        """No number near the minimum that most columns of training share."""
        training = self._training
        floor = float(np.median(training.low))
        if given.rows < _ROWS_OF_SPREAD or len(given.low) < _COLUMNS_OF_PROFILE:
            return None
        if (training.low == floor).mean() < 0.9 or (given.low - floor <= 5e-3 * self._unit).any():
            return None
        column = int(np.argmin(given.low))
        return (
            f"found no number near {_number(floor)}, where "
            f"{100 * (training.low == floor).mean():.0f} % of the columns begin in training; the "
            f"smallest is {_number(given.low[column])} (column {column}, 0-based). The likely "
            "cause: a constant was added."
        )

    def _dead(self, given: ColumnStatistics) -> str | None:
        """Columns with one value for all rows that vary in training, and are rarely 0 there."""
        training = self._training
        if given.rows < _ROWS_OF_SPREAD:
            return None
        varies = (training.std > 0) & (np.abs(training.mean) > training.std)
        dead = np.flatnonzero(varies & (given.low == given.high))
        value = given.low[dead]
        beyond = (value < training.low[dead]) | (value > training.high[dead])
        # few samples of one class may all have a column's smallest or largest number
        enough = 1 if given.rows >= _ROWS_OF_DEAD or beyond.any() else 0.05 * varies.sum()
        if not len(dead) or len(dead) < enough:
            return None
        column = int(dead[0])
        return (
            f"found {len(dead)} column{'s' if len(dead) > 1 else ''} with one number for all rows "
            f"(column {column}, 0-based: {_number(given.low[column])}; in training between "
            f"{_number(training.low[column])} and {_number(training.high[column])}). The likely "
            "cause: features that were cut and filled up, or another layer."
        )

    def _columns(self, given: ColumnStatistics) -> str | None:
        """Columns that lie far outside their range in nearly all rows."""
        if given.rows < 3:
            return None
        far = np.flatnonzero(self._far >= 0.9 * given.rows)
        if not len(far):
            return None
        ranges = "; ".join(
            f"column {column} lies between {_number(given.low[column])} and "
            f"{_number(given.high[column])}, in training between "
            f"{_number(self._training.low[column])} and {_number(self._training.high[column])}"
            for column in far[:_SHOWN]
        )
        more = f"; and {len(far) - _SHOWN} more" if len(far) > _SHOWN else ""
        return (
            f"found {len(far)} column{'s' if len(far) > 1 else ''} far outside "
            f"{'their' if len(far) > 1 else 'its'} range in training (0-based: {ranges}{more}). "
            "The likely cause: other units, or columns in another order."
        )

    def _profile(self, given: ColumnStatistics) -> str | None:
        """Columns whose spread and mean have nothing to do with those of training."""
        if given.rows < _ROWS_OF_SPREAD or len(given.low) < _COLUMNS_OF_PROFILE:
            return None
        columns = np.arange(len(given.low))
        parts = min(_PARTS_OF_PROFILE, len(columns) // _COLUMNS_OF_PROFILE)
        for part in (columns, *np.array_split(columns, parts)):
            found = self._likeness(given, part)
            if found is not None and found < _SAME_PROFILE:
                which = "the columns"
                if len(part) < len(columns):
                    which = f"columns {part[0]} to {part[-1]} (0-based)"
                return (
                    f"means and standard deviations of {which} are unlike those of training "
                    f"(correlation over the columns {found:.2f}).{self._worst(given)} The likely "
                    "cause: another extractor, or columns in another order."
                )
        return None

    def _likeness(self, given: ColumnStatistics, part: npt.NDArray[np.int64]) -> float | None:
        """The correlation of spreads or means of some columns; None where all are much the same."""
        means, spreads = self._training.mean[part], self._training.std[part]
        found = []
        if spreads.mean() > 0 and spreads.std() > 0.35 * spreads.mean():
            found.append(_correlation(given.std[part], spreads))
        if means.std() > 0.35 * np.sqrt((spreads**2).mean()):
            found.append(_correlation(given.mean[part], means))
        return max(found, default=None)

    def _root(self, given: ColumnStatistics) -> str | None:
        """Columns whose spreads follow those of training, but vary less over the columns."""
        varies = (self._training.std > 0) & (given.std > 0)
        if given.rows < _ROWS_OF_SPREAD or varies.sum() < _COLUMNS_OF_PROFILE:
            return None
        ours, theirs = np.log(self._training.std[varies]), np.log(given.std[varies])
        if ours.std() < 0.25 or _correlation(ours, theirs) < 0.7:
            return None
        if theirs.std() >= _ROOT * ours.std():
            return None
        return (
            "the columns differ less in spread than in training (the logarithms of their standard "
            f"deviations by {_number(theirs.std())}, in training by {_number(ours.std())})."
            f"{self._worst(given)} The likely cause: a root or a logarithm was taken of them, or "
            "each column was scaled."
        )

    def _share(self, given: ColumnStatistics) -> str | None:
        """Too many numbers outside the range of their column in training."""
        cells = given.rows * len(given.low)
        share = self._outside / cells
        limit = 0.05 + 1 / (self._classes + 1) + 2 / (self._training.rows + 1)
        if share <= limit or self._outside < 8:
            return None
        return (
            f"{100 * share:.0f} % of the numbers lie outside the range of their column in "
            f"training.{self._worst(given)} The likely cause: another recipe, extractor or scale."
        )


def _equal_rows(given: ColumnStatistics) -> str | None:
    if given.rows < 2 or given.std.any():
        return None
    return (
        f"all {given.rows:,} rows are equal, so all samples get the same class. The likely cause: "
        "an extractor with wrong weights, or one image many times."
    )


def _standardised(table: ColumnStatistics) -> bool:
    """Whether nearly every column has mean 0 and standard deviation 1."""
    varied = table.std > 1e-6
    close = (np.abs(table.mean) < 1e-3) & (np.abs(table.std - 1) < 0.03)
    return table.rows >= 5 and bool(varied.any()) and float(close[varied].mean()) > 0.95


def _minmaxed(table: ColumnStatistics) -> bool:
    """Whether nearly every column reaches from 0 to 1."""
    varied = table.std > 1e-6
    close = (np.abs(table.low) < 1e-5) & (np.abs(table.high - 1) < 1e-5)
    return table.rows >= 5 and bool(varied.any()) and float(close[varied].mean()) > 0.95


def _correlation(first: Float64Array, second: Float64Array) -> float:
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


# ------------------------------------------------------------------------------------------------
# semantics


def semantics_findings(
    training: Float64Array, given: Float64Array, classes: Sequence[str], columns: Sequence[str]
) -> list[str]:
    """Sentences on class semantics in other units than those of training.

    Args:
        training: Unscaled semantics of the checkpoint's classes, ``[C, Q]``.
        given: Those of the new classes, ``[K, Q]``.
        classes: Names of the new classes.
        columns: Names of the columns; empty where they have none.
    """
    found = [
        *_without_information(training, given, classes),
        *(
            _whole_table(training, given, columns)
            or _units(training, given, classes, columns)
            or _codes(training, given, classes, columns)
        ),
    ]
    return [f"{sentence} {_SEMANTICS}" for sentence in found]


def _without_information(
    training: Float64Array, given: Float64Array, classes: Sequence[str]
) -> Iterator[str]:
    if given.shape[1] < 2:
        return
    flat = np.flatnonzero(np.ptp(given, axis=1) == 0)
    if len(flat) and not (np.ptp(training, axis=1) == 0).any():
        yield (
            f"all numbers of {_named(classes, flat)} are {_number(given[flat[0], 0])}, which says "
            "nothing about the class."
        )


def _whole_table(training: Float64Array, given: Float64Array, columns: Sequence[str]) -> list[str]:
    ours, theirs = np.linalg.norm(training, axis=1), np.linalg.norm(given, axis=1)
    theirs = theirs[theirs > 0]
    if not len(theirs) or not ours.max():
        return []
    low, middle, high = ours.min(), float(np.median(theirs)), ours.max()
    ratio = middle / float(np.median(ours))
    unit = bool((np.abs(theirs - 1) < 1e-4).all()) and not 0.5 < low <= high < 2
    if unit:
        cause = "each class was divided by its norm (l2) before"
    elif middle > 4 * high or middle < low / 4:
        cause = f"the numbers are about {_number(ratio)} times as large"
        if 30 < ratio < 300 or 30 < 1 / ratio < 300:
            cause += ", as percentages are against fractions"
    else:
        return []
    column = int(np.argmax(np.abs(given).max(0) / np.maximum(np.abs(training).max(0), 1e-12)))
    return [
        f"the numbers lie between {_number(given.min())} and {_number(given.max())} "
        f"({_range_of(column, given, columns)}), those of training between "
        f"{_number(training.min())} and {_number(training.max())} "
        f"({_range_of(column, training, columns)}). The likely cause: {cause}."
    ]


def _range_of(column: int, table: Float64Array, columns: Sequence[str]) -> str:
    low, high = table[:, column].min(), table[:, column].max()
    return f"{_called(column, columns)}: {_number(low)} to {_number(high)}"


def _called(column: int, columns: Sequence[str]) -> str:
    return f"column '{columns[column]}'" if columns else f"column {column + 1}"


def _units(
    training: Float64Array, given: Float64Array, classes: Sequence[str], columns: Sequence[str]
) -> list[str]:
    low, high = training.min(0), training.max(0)
    own = high - low
    positive = own[own > 0]
    own = np.where(own > 0, own, np.median(positive) if len(positive) else 1.0)
    whole = float(training.max() - training.min()) or 1.0
    beyond = np.maximum(given - high, low - given)
    # a single value far away; rare attributes reach 10 such units in published tables
    cells = beyond > 12 * np.maximum(own, 0.1 * whole)
    sizes = np.abs(training)
    # in a column that most classes have, a value lies rarely far outside
    dense = np.median(sizes, axis=0) > 0.1 * sizes.max(0)
    cells |= dense & (beyond > 5 * own)
    cells |= np.isin(given, _MARKS) & (beyond > own)
    found = cells.any(0)
    if (training >= 0).all():
        found |= (given < -1e-6 * whole).any(0)
    if len(given) > 1:
        # most classes beyond the range at once, or all far below it
        found |= np.quantile(beyond / own, 0.25, axis=0, method="lower") > 3
        largest = np.abs(given).max(0)
        kept_away = (sizes.min(0) > 0.1 * np.median(sizes, axis=0)) & (
            np.median(sizes, axis=0) > 0.02 * whole
        )
        found |= kept_away & (largest > 0) & (sizes.min(0) > 3 * largest)
    strange = np.flatnonzero(found)
    if not len(strange):
        return []
    parts = [
        _column(int(column), training[:, column], given[:, column], classes, columns)
        for column in strange[:_SHOWN]
    ]
    more = f"; and {len(strange) - _SHOWN} more columns" if len(strange) > _SHOWN else ""
    return [f"found other units than in training: {'; '.join(parts)}{more}."]


def _codes(
    training: Float64Array, given: Float64Array, classes: Sequence[str], columns: Sequence[str]
) -> list[str]:
    """Numbers that a table of two codes (0 and 1, say) does not have."""
    codes = np.unique(training)
    other = ~np.isin(given, codes)
    if len(codes) != 2 or training.size < _NUMBERS_OF_CODE or not other.any():
        return []
    row, column = np.argwhere(other)[0]
    return [
        f"found {_number(given[row, column])} for '{classes[row]}' in "
        f"{_called(int(column), columns)}, and {int(other.sum())} such numbers in all; all numbers "
        f"of training are {_number(codes[0])} or {_number(codes[1])}. The likely cause: another "
        "code, or shares in place of yes and no."
    ]


def _column(
    column: int,
    training: Float64Array,
    given: Float64Array,
    classes: Sequence[str],
    columns: Sequence[str],
) -> str:
    low, high = training.min(), training.max()
    row = int(np.argmax(np.maximum(given - high, low - given)))
    ratio = float(np.median(np.abs(given))) / max(float(np.median(np.abs(training))), 1e-12)
    if (training >= 0).all() and given.min() < 0:
        mark = float(given.min())
        cause = (
            f"; {_number(mark)} is a common mark for an unknown value"
            if mark in (-1.0, *_MARKS)
            else "; training has no negative number there"
        )
    elif 1.5 < ratio < 1e6 or 1e-6 < ratio < 0.7:
        cause = f"; about {_number(ratio)} times those of training" + (
            ", as percentages are against fractions" if 30 < max(ratio, 1 / ratio) < 300 else ""
        )
    else:
        cause = ""
    return (
        f"{_called(column, columns)} lies between {_number(given.min())} and "
        f"{_number(given.max())} ('{classes[row]}'), in training between {_number(low)} and "
        f"{_number(high)}{cause}"
    )


def _named(names: Sequence[str], positions: Sequence[int] | np.ndarray) -> str:
    shown = ", ".join(f"'{names[position]}'" for position in positions[:_SHOWN])
    more = f" and {len(positions) - _SHOWN} more" if len(positions) > _SHOWN else ""
    return shown + more


def _number(value: float) -> str:
    return f"{value:.4g}"
