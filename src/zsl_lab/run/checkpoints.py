"""Checkpoint files: written whole or not at all; read without unpickling, recognised as this project's before anything is believed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from zsl_lab.errors import CheckpointError
from zsl_lab.files.atomic import atomic_write

#: version of what a run adds to a Lightning checkpoint under the key "zsl_lab"
FORMAT = 1


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the file and renames.

    Lightning's own way copies from the system's temporary folder: a full disk then leaves half a
    checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; raises OutputError, and leaves what was there before, where that fails."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        atomic_write(path, buffer.getvalue())


def reported(path: Path) -> Path:
    """The checkpoint of the weights that a run reports: ``best.ckpt`` where the run's folder is given, else the file itself.

    Raises:
        CheckpointError: The folder is not that of a run that got so far.
    """
    if not path.is_dir():
        return path
    best = path / "checkpoints" / "best.ckpt"
    if not best.is_file():
        raise CheckpointError(
            f"ckpt={path}: this folder has no checkpoints/best.ckpt. Give the folder of a finished "
            "run, or a file: RUN/checkpoints/best.ckpt."
        )
    return best


def check_reported(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Refuse a state that is only there to go on from.

    Raises:
        CheckpointError: The state is from the selection phase, or not the one that the run reports.
    """
    about = checkpoint["zsl_lab"]
    if about["phase"] != "refit":
        raise CheckpointError(
            f"ckpt={path}: this state is from the selection phase and never saw the validation "
            f"classes. Finish the run first (ckpt={path} and no task), or give its best.ckpt."
        )
    if not about["reported"]:
        raise CheckpointError(
            f"ckpt={path}: this state is there to go on from, it is not the selected one. Give the "
            "run's best.ckpt."
        )


def data_state(checkpoint: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """What the data module left of the phase: its classes, and how others become like its samples and classes.

    Raises:
        CheckpointError: A version wrote it that left no classes.
    """
    # Lightning files it under the name of the data module's class
    for state in checkpoint.values():
        if isinstance(state, Mapping) and isinstance(state.get("classes"), Mapping):
            return state
    raise CheckpointError(
        f"ckpt={path}: this checkpoint does not say which classes it knows; an older version of "
        "zsl_lab wrote it. task=test still evaluates it; to predict, train anew with this version."
    )


def read(path: Path, key: str) -> dict[str, Any]:
    """Load a checkpoint with ``weights_only=True``.

    Args:
        path: ``.../checkpoints/best.ckpt`` or ``last.ckpt``.
        key: The configuration key that named it, for the messages.

    Returns:
        Lightning's checkpoint; its key ``zsl_lab`` holds the run's configuration and phase.

    Raises:
        CheckpointError: The file is missing, damaged, or not a checkpoint of this project.
    """
    if path.is_dir():
        raise CheckpointError(
            f"{key}={path}: this is a folder. Give a file: best.ckpt (for task=test) or last.ckpt "
            "(to resume)."
        )
    if not path.is_file():
        raise CheckpointError(
            f"{key}={path}: there is no such file. Every run writes <run>/checkpoints/best.ckpt "
            "(for task=test) and last.ckpt (to resume)."
        )
    try:
        with warnings.catch_warnings():
            # said of a file that is then refused anyway, with a place in torch's source
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            checkpoint: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, all of which mean the same to a user
        raise CheckpointError(
            f"{key}={path}: this is not a readable checkpoint ({type(error).__name__}). "
            "It was not unpickled further. Give a checkpoint of this project, or train anew."
        ) from error
    about = checkpoint.get("zsl_lab") if isinstance(checkpoint, dict) else None
    if not isinstance(checkpoint, dict) or not isinstance(about, dict):
        raise CheckpointError(
            f"{key}={path}: field 'zsl_lab' is missing; expected a checkpoint that this project "
            "wrote. Give RUN/checkpoints/best.ckpt (for task=test or task=predict) or last.ckpt "
            "(to resume), or train anew."
        )
    if about.get("format") != FORMAT:
        raise CheckpointError(
            f"{key}={path}: field 'format' is {about.get('format')}; this version reads {FORMAT}. "
            "Use the version of zsl_lab that wrote it, or train anew."
        )
    wanted = {
        "config": about.get("config"),
        "method_state": checkpoint.get("method_state"),
        "state_dict": checkpoint.get("state_dict"),
    }
    for name, part in wanted.items():
        if not isinstance(part, Mapping):
            raise CheckpointError(
                f"{key}={path}: field '{name}' is missing; the file is damaged. Give another "
                "checkpoint, or train anew."
            )
    return checkpoint
