"""The file in a job's folder that says which job of a sweep it is; written by the sweep."""

from __future__ import annotations

import json
from pathlib import Path

from zsl_lab.errors import DataError
from zsl_lab.files.bounded import read_bounded

#: in a job's folder: how it ended
FILE = "job.json"
#: most characters of a label
_MOST = 120
_MAX_BYTES = 2**20


def label(folder: Path) -> str | None:
    """``[3/8] g=0.9 seed=0`` of a job's folder; None where the folder is not that of a job."""
    try:
        values = json.loads(read_bounded(folder / FILE, _MAX_BYTES))
    except (OSError, ValueError, RecursionError, DataError):
        return None
    found = values.get("label") if isinstance(values, dict) else None
    return found[:_MOST] if isinstance(found, str) and found else None
