"""Where checkpoints are. Nothing here needs torch."""

from __future__ import annotations

from pathlib import Path

from zsl_lab.errors import CheckpointError

#: a checkpoint to resume from, and the one before it
LAST, PREVIOUS = "last.ckpt", "last-previous.ckpt"


def check_exists(path: Path, origin: str) -> None:
    """Check that there is a checkpoint.

    Args:
        path: A file or folder; for ``last.ckpt``, the previous one beside it suffices.
        origin: ``KEY=PATH`` of the file, for messages.

    Raises:
        CheckpointError: There is none.
    """
    if not path.exists() and not (path.name == LAST and (path.parent / PREVIOUS).is_file()):
        raise no_such_file(origin)


def no_such_file(origin: str) -> CheckpointError:
    """The error of a checkpoint that is not there."""
    return CheckpointError(
        f"{origin}: there is no such file. Every run writes <run>/checkpoints/best.ckpt (for "
        "task=test) and last.ckpt (to resume)."
    )
