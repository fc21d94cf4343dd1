"""The file in a job's folder that says which job of a sweep it is; written by the sweep."""

from __future__ import annotations

import json
from pathlib import Path

#: in a job's folder: how it ended
FILE = "job.json"
#: most characters of a label
_MOST = 120


def label(folder: Path) -> str | None:
    """``[3/8] g=0.9 seed=0`` of a job's folder; None where the folder is not that of a job."""
    try:
        values = json.loads((folder / FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    found = values.get("label") if isinstance(values, dict) else None
    return found[:_MOST] if isinstance(found, str) and found else None
