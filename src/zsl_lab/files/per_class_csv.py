"""``per_class.csv``: the recall of each class, for results of very many classes."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zsl_lab.errors import DataError
from zsl_lab.files.bounded import read_bounded
from zsl_lab.files.escaping import one_line

_HEADS = ["group", "class", "recall"]
_MAX_BYTES = 2**27


def content(per_class: Mapping[str, Mapping[str, float]]) -> bytes:
    """The file's bytes; the recall of a class without samples is empty.

    Args:
        per_class: ``unseen`` and ``seen``: recall in percent by class name.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_HEADS)
    for group, recalls in per_class.items():
        for name, recall in recalls.items():
            writer.writerow([group, name, "" if math.isnan(recall) else repr(recall)])
    return buffer.getvalue().encode()


def summary(recalls: Mapping[str, float]) -> dict[str, Any]:
    """Summarise the recalls in percent; classes without samples (NaN) are left out.

    Returns:
        ``classes``, how many have a recall; ``mean``, NaN where none has; ``quartiles``, empty for
        fewer than two classes.
    """
    known = [recall for recall in recalls.values() if not math.isnan(recall)]
    enough = len(known) > 1
    return {
        "classes": len(known),
        "mean": statistics.fmean(known) if known else math.nan,
        "quartiles": statistics.quantiles(known, n=4, method="inclusive") if enough else [],
    }


def read(path: Path) -> dict[str, dict[str, float]]:
    """Read the recalls in percent that :func:`content` wrote; no classes where there is no file.

    Returns:
        ``unseen`` and ``seen``: recall by class name, NaN for a class without samples.

    Raises:
        DataError: If the file is damaged.
    """
    found: dict[str, dict[str, float]] = {"unseen": {}, "seen": {}}
    try:
        rows = list(csv.reader(io.StringIO(read_bounded(path, _MAX_BYTES).decode())))
    except FileNotFoundError:
        return found
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _damaged(path, f"cannot be read ({error})") from error
    if not rows or rows[0] != _HEADS:
        start = one_line(",".join(rows[0])) if rows else "nothing"
        raise _damaged(path, f"line 1: found {start}; expected {','.join(_HEADS)}")
    for number, row in enumerate(rows[1:], 2):
        try:
            group, name, text = row
            recall = float(text) if text else math.nan
            if text and not 0 <= recall <= 100:
                raise ValueError
            found[group][name] = recall
        except (ValueError, KeyError) as error:
            raise _damaged(
                path,
                f"line {number}: found {one_line(','.join(row))}; expected unseen or seen, a class "
                "and its recall from 0 to 100",
            ) from error
    return found


def _damaged(path: Path, found: str) -> DataError:
    return DataError(
        f"{path}: {found}. Test the run again (task=test ckpt=RUN), or remove the file: reports "
        "then show no recall of single classes."
    )
