"""Predictions: classes, scores and the best k, and the files they are written to."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from zsl_lab.data.benchmark import FloatArray
from zsl_lab.errors import ConfigError, DataError
from zsl_lab.files.atomic import atomic_write_all
from zsl_lab.files.escaping import csv_row
from zsl_lab.files.rows import release, row_blocks
from zsl_lab.methods.base import ExportedNetwork
from zsl_lab.run.configuration.schema import Scores

#: this file has other columns than the predictions.csv of a run
PREDICTIONS_FILE = "predictions.csv"
SUMMARY_FILE = "predictions.json"
NETWORK_FILE = "network.pth"
SCORES_FILE = "scores.npz"
#: lists the images that cannot be read, in the format of `zsl_lab.data extract`
UNREADABLE_FILE = "unreadable.csv"
#: with more scores than this, they are written to an archive unless scores says otherwise
_MANY_SCORES = 5_000_000
#: how many classes of a sample the summary lists
_BEST = 5
#: how many samples of the summary are ranked at once
_BLOCK = 1024

Kind = Literal["seen", "unseen", "new"]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Scores of N samples for K classes.

    Attributes:
        names: The classes' names, K of them.
        kinds: Of each class, whether it is ``seen`` or ``unseen`` in the checkpoint, or ``new``.
        scores: float32 ``[N, K]``, higher is likelier; probabilities of a method that takes
            images. Many are mapped from a temporary file.
    """

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    scores: FloatArray

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Whether each class was trained on, bool ``[K]``."""
        return np.array([kind == "seen" for kind in self.kinds], dtype=bool)

    @property
    def predicted(self) -> list[str]:
        """The class of each sample with the highest score.

        Among equal scores seen classes come first, then the order of :attr:`names` decides.
        """
        order = self._seen_first()
        return [
            self.names[position]
            for block in row_blocks(self.scores)
            for position in order[block[:, order].argmax(1)].tolist()
        ]

    @property
    def best(self) -> FloatArray:
        """The highest score of each sample, float32 ``[N]``."""
        blocks = [block.max(1) for block in row_blocks(self.scores)]
        return np.concatenate([np.zeros(0, dtype=np.float32), *blocks])

    def top(self, k: int = 5) -> list[list[tuple[str, float]]]:
        """The k classes of each sample with the highest scores, best first, with their scores.

        Of fewer than k classes all are returned.

        Raises:
            ConfigError: k is no whole number of at least 1.
        """
        check_whole("k", k, 1)
        return self.top_of(slice(None), k)

    def top_of(self, samples: slice, k: int) -> list[list[tuple[str, float]]]:
        """:meth:`top` for some of the samples."""
        order = self._seen_first()
        ranked = self.scores[samples][:, order]
        release(self.scores)
        best = np.argsort(-ranked, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(ranked, best, axis=1).tolist()
        names = np.array(self.names, dtype=object)[order[best]].tolist()
        return [list(zip(*row, strict=True)) for row in zip(names, scores, strict=True)]

    def _seen_first(self) -> npt.NDArray[np.intp]:
        return np.argsort(~self.seen, kind="stable")


def check_whole(name: str, value: Any, least: int) -> None:
    """Raise ConfigError unless ``value`` is an integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ConfigError(f"{name}={value!r}: expected a whole number of at least {least}.")


# ------------------------------------------------------------------------------------------------
# files


@dataclass(frozen=True, eq=False)
class Prediction:
    """The result of task=predict and its files.

    Attributes:
        predictions: Classes and scores.
        files: Names of the N samples: images relative to their folder, or the names that a file of
            features has; None where feature vectors have no names.
        method: The name of the method.
        dataset: The name of the benchmark that it was trained on.
        checkpoint: The method's checkpoint.
        score: What a score is called: ``score`` or ``probability``.
        folder: Where the files are written.
        exported: The network that the method generated for the classes; None if it generates none.
        of_images: Whether the samples are images.
        scores: Which scores are written (see conf/config.yaml); None decides by their number.
        unreadable: The images that cannot be read, relative to their folder, and why.
    """

    predictions: Predictions
    files: tuple[str, ...] | None
    method: str
    dataset: str
    checkpoint: Path
    score: str
    folder: Path
    exported: ExportedNetwork | None = None
    of_images: bool = False
    scores: Scores | None = None
    unreadable: tuple[tuple[str, str], ...] = ()

    @property
    def written_scores(self) -> Scores:
        """Which scores are written."""
        many = self.predictions.scores.size > _MANY_SCORES
        return self.scores or ("npz" if many else "all")

    @property
    def archive(self) -> Path | None:
        """NumPy archive of all scores, ``[N, K]``; None where they are not written so."""
        return self.folder / SCORES_FILE if self.written_scores == "npz" else None

    @property
    def problems(self) -> Path | None:
        """CSV: the images that cannot be read, and why; None where there are none."""
        return self.folder / UNREADABLE_FILE if self.unreadable else None

    @property
    def table(self) -> Path:
        """CSV: a row a sample, its class, its score, and the scores of all classes if asked for.

        Names that a spreadsheet would take for formulas have an apostrophe before them
        (:func:`zsl_lab.files.escaping.csv_cell`).
        """
        return self.folder / PREDICTIONS_FILE

    @property
    def summary(self) -> Path:
        """JSON: the classes, and the best five of each sample if asked for."""
        return self.folder / SUMMARY_FILE

    @property
    def network(self) -> Path | None:
        """The state dict of :attr:`exported`; None where there is none."""
        return None if self.exported is None else self.folder / NETWORK_FILE

    @property
    def base(self) -> str | None:
        """The architecture that loads :attr:`network`, in words; None where there is none."""
        return None if self.exported is None else self.exported.description

    @property
    def noun(self) -> str:
        """What a sample is called."""
        return "image" if self.of_images else "sample"

    def write(self) -> None:
        """Write all files, or none.

        Raises:
            OutputError: A file cannot be written.
        """
        contents: dict[Path, Any] = {
            self.table: self._write_table,
            self.summary: self._write_summary,
        }
        if self.archive is not None:
            contents[self.archive] = self._write_archive
        if self.problems is not None:
            contents[self.problems] = self._problem_lines().encode(errors="backslashreplace")
        if self.exported is not None:
            buffer = io.BytesIO()
            torch.save(dict(self.exported.state), buffer)
            contents[self.folder / NETWORK_FILE] = buffer.getvalue()
        atomic_write_all(contents)

    def _samples(self) -> Iterable[str | int]:
        return range(len(self.predictions.scores)) if self.files is None else self.files

    @property
    def _sample(self) -> str:
        """The name of the samples' column."""
        return "file" if self.of_images else "sample"

    def check_complete(self) -> None:
        """Raise DataError where some images could not be read."""
        if not self.unreadable:
            return
        total = len(self.predictions.scores) + len(self.unreadable)
        first, reason = self.unreadable[0]
        raise DataError(
            f"{len(self.unreadable):,} of {total:,} images cannot be read and were not predicted "
            f"(the first: {first}: {reason}). {self.problems} lists them; the other "
            f"{len(self.predictions.scores):,} are predicted. Repair them, or leave them out."
        )

    def _problem_lines(self) -> str:
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["file", "reason"])
        writer.writerows(self.unreadable)
        return lines.getvalue()

    def _write_archive(self, file: IO[bytes]) -> None:
        predictions = self.predictions
        samples = np.array(list(self._samples()))
        np.savez(
            file,
            scores=predictions.scores,
            classes=np.array(predictions.names),
            kinds=np.array(predictions.kinds),
            samples=samples,
            predicted=np.array(predictions.predicted),
        )

    def _write_table(self, file: IO[bytes]) -> None:
        predictions = self.predictions
        # a file's name may hold bytes that are not UTF-8
        text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
        writer = csv.writer(text, lineterminator="\n")
        every = self.written_scores == "all"
        writer.writerow(
            [self._sample, "predicted", self.score, *csv_row(predictions.names if every else ())]
        )
        rows = (row for block in row_blocks(predictions.scores) for row in block)
        best = predictions.best.tolist()
        samples = zip(self._samples(), predictions.predicted, best, rows, strict=True)
        for sample, name, highest, row in samples:
            values = (highest, *(row.tolist() if every else ()))
            writer.writerow([*csv_row((sample, name)), *(f"{value:.6g}" for value in values)])
        text.flush()
        text.detach()

    def _write_summary(self, file: IO[bytes]) -> None:
        """Write JSON with a class or a sample a line; all of it at once would need much memory."""
        facts = {
            "method": self.method,
            "dataset": self.dataset,
            "checkpoint": str(self.checkpoint.absolute()),
            "score": self.score,
        }
        predictions = self.predictions
        classes = (
            {"name": name, "kind": kind}
            for name, kind in zip(predictions.names, predictions.kinds, strict=True)
        )
        file.write(json.dumps(facts, indent=1).removesuffix("\n}").encode())
        _write_lines(file, "classes", classes)
        if self.written_scores in ("all", "best"):
            _write_lines(file, "samples", self._best())
        file.write(b"\n}\n")

    def _best(self) -> Iterator[dict[str, Any]]:
        samples = iter(self._samples())
        for start in range(0, len(self.predictions.scores), _BLOCK):
            for ranked in self.predictions.top_of(slice(start, start + _BLOCK), _BEST):
                best = [
                    {"class": name, self.score: float(f"{score:.6g}")} for name, score in ranked
                ]
                yield {self._sample: next(samples), "best": best}


def _write_lines(file: IO[bytes], key: str, entries: Iterable[dict[str, Any]]) -> None:
    separator = f',\n "{key}": [\n  '
    for entry in entries:
        file.write((separator + json.dumps(entry)).encode())
        separator = ",\n  "
    file.write(b"\n ]")
