"""A method's latent space in two dimensions, and the file that keeps it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zsl_lab.errors import DataError
from zsl_lab.files.atomic import atomic_write
from zsl_lab.files.bounded import read_bounded
from zsl_lab.files.escaping import csv_row
from zsl_lab.plots.style import PathLike

_HEADS = ["kind", "class", "x", "y"]
_SAMPLE, _CLASS = "sample", "class"
#: a file has about 40 KB
_MAX_BYTES = 2**24


@dataclass(frozen=True, eq=False)
class LatentSpace:
    """Positions in two dimensions.

    Attributes:
        samples: Positions of M samples, ``[M, 2]``.
        labels: The class of each sample as a row of ``classes``, ``[M]``.
        classes: Positions of K classes, such as means of priors, ``[K, 2]``.
        names: Names of the K classes.
    """

    samples: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    classes: npt.NDArray[np.float64]
    names: Sequence[str]

    def save(self, path: PathLike) -> None:
        """Write a CSV, a row for each class and each sample; raises OutputError if that fails."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(_HEADS)
        rows = [(_CLASS, i, place) for i, place in enumerate(self.classes)]
        rows += [(_SAMPLE, i, at) for i, at in zip(self.labels, self.samples, strict=True)]
        for kind, i, (x, y) in rows:
            writer.writerow(csv_row([kind, self.names[i], f"{x:.6g}", f"{y:.6g}"]))
        atomic_write(path, buffer.getvalue().encode(errors="backslashreplace"))

    @classmethod
    def load(cls, path: Path) -> LatentSpace:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: The file is missing or damaged.
        """
        try:
            text = read_bounded(path, _MAX_BYTES).decode(errors="replace")
            rows = list(csv.DictReader(io.StringIO(text)))
            classes = {row["class"]: _place(row) for row in rows if row["kind"] == _CLASS}
            names = list(classes)
            samples = [row for row in rows if row["kind"] == _SAMPLE]
            return cls(
                np.array([_place(row) for row in samples]).reshape(-1, 2),
                np.array([names.index(row["class"]) for row in samples], dtype=np.int64),
                np.array(list(classes.values())).reshape(-1, 2),
                names,
            )
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise DataError(
                f"{path}: found no positions of a latent space ({error}); expected the columns "
                f"{', '.join(_HEADS)} as a run writes them. Test the run again (task=test ckpt=RUN)"
                " to write the file, or leave the run out."
            ) from error


def _place(row: dict[str, str]) -> tuple[float, float]:
    return float(row["x"]), float(row["y"])
