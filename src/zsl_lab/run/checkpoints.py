"""Checkpoint files: written atomically, read without executing pickled code, and validated."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from zsl_lab.errors import CheckpointError
from zsl_lab.files.atomic import atomic_write
from zsl_lab.run.records.metrics_csv import Row

#: version of the section that a run adds to a Lightning checkpoint
FORMAT = 1
#: the key of that section
SECTION = "zsl_lab"

#: the checkpoints in a run's folder, below ``checkpoints``
FILES = ("best.ckpt", "last.ckpt")

Phase = Literal["select", "refit"]


@dataclass(frozen=True)
class Spent:
    """Training done in the phases before this one.

    Attributes:
        steps: Training steps, undone ones included.
        seconds: Seconds spent in them.
    """

    steps: int
    seconds: float


NOTHING_SPENT = Spent(0, 0.0)


@dataclass(frozen=True)
class RunState:
    """What a checkpoint says about its run, beside weights, optimisers and random states.

    Attributes:
        config: The resolved configuration, plain containers.
        phase: The phase of training that the checkpoint belongs to.
        selected: Training steps of the refit; None for all of them.
        calibration: Constant added to the scores of unseen classes; None while it is selected.
        validation: Metrics of the selected step on validation classes, and ``step``; None where
            validation classes did not select it.
        spent: Training done in earlier phases.
        splits_sha256: Hash of the benchmark's splits.
        features_sha256: Hash of the benchmark's features.
        selected_check: Training step of the check that was selected in the phase ``select``; larger
            than ``selected`` where steps were undone. None where no check selected, or where an
            older version wrote the checkpoint.
        reported: Whether these are the weights that the run reports.
        pretraining: In a shared pre-training: everything that it depends on.
        metrics: In a shared pre-training: the rows of ``metrics.csv`` logged in it.
    """

    config: dict[str, Any]
    phase: Phase
    selected: int | None
    calibration: float | None
    validation: dict[str, Any] | None
    spent: Spent
    splits_sha256: str
    features_sha256: str
    selected_check: int | None = None
    reported: bool = False
    pretraining: dict[str, Any] | None = None
    metrics: list[Row] | None = None

    def to_plain(self) -> dict[str, Any]:
        """Plain containers to store; ``pretraining`` and ``metrics`` only where they are set."""
        plain = {"format": FORMAT, **self.__dict__, "spent": asdict(self.spent)}
        for name in ("pretraining", "metrics"):
            if plain[name] is None:
                del plain[name]
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], origin: str) -> RunState:
        """Validate what :meth:`to_plain` gave, in this version or an older one.

        Args:
            plain: The stored section; fields of newer versions are ignored.
            origin: ``KEY=PATH`` of the file, for messages.

        Raises:
            CheckpointError: The section has another format, or a field is missing or has another
                type than expected.
        """
        if plain.get("format") != FORMAT:
            raise CheckpointError(
                f"{origin}: field 'format' is {plain.get('format')}; this version reads {FORMAT}. "
                "Use the version of zsl_lab that wrote it, or train anew."
            )
        for name, (kinds, expected) in _FIELDS.items():
            if name not in plain and name not in _OPTIONAL:
                raise _damaged(origin, f"field '{name}' is missing")
            if name in plain and not _is_a(plain[name], kinds):
                raise _damaged(
                    origin, f"field '{name}' is {plain[name]!r:.60}; expected {expected}"
                )
        spent = plain["spent"]
        for name in ("steps", "seconds"):
            if not _is_a(spent.get(name), (int, float)):
                raise _damaged(
                    origin,
                    f"field 'spent.{name}' is {spent.get(name)!r:.60}; expected a number",
                )
        if plain["phase"] not in ("select", "refit"):
            raise _damaged(
                origin, f"field 'phase' is {plain['phase']!r}; expected 'select' or 'refit'"
            )
        known = {name: plain[name] for name in _FIELDS if name in plain}
        return cls(**{**_OPTIONAL, **known, "spent": Spent(spent["steps"], spent["seconds"])})


_NUMBER_OR_NONE = ((int, float, type(None)), "a number or None")
_STEP_OR_NONE = ((int, type(None)), "a whole number or None")
_MAPPING_OR_NONE = ((dict, type(None)), "a mapping or None")
#: types of the stored fields, and how a message calls them
_FIELDS: dict[str, tuple[tuple[type, ...], str]] = {
    "config": ((dict,), "a mapping of settings"),
    "phase": ((str,), "'select' or 'refit'"),
    "selected": _STEP_OR_NONE,
    "calibration": _NUMBER_OR_NONE,
    "validation": _MAPPING_OR_NONE,
    "spent": ((dict,), "a mapping of 'steps' and 'seconds'"),
    "splits_sha256": ((str,), "a hash"),
    "features_sha256": ((str,), "a hash"),
    "selected_check": _STEP_OR_NONE,
    "reported": ((bool,), "true or false"),
    "pretraining": _MAPPING_OR_NONE,
    "metrics": ((list, type(None)), "a list of rows or None"),
}
#: values of fields that not every version has stored
_OPTIONAL: dict[str, Any] = {
    "calibration": 0.0,
    "validation": None,
    "selected_check": None,
    "pretraining": None,
    "metrics": None,
}


def _is_a(value: Any, kinds: tuple[type, ...]) -> bool:
    # True is an int, which no step is
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _damaged(origin: str, found: str) -> CheckpointError:
    return CheckpointError(
        f"{origin}: {found}; the file is damaged. Give another checkpoint, or train anew."
    )


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file that was read.

    Attributes:
        path: The file.
        state: What it says about its run.
        step: Training steps that its phase had taken.
        weights: The method's state dict.
        content: Everything that Lightning stored.
    """

    path: Path
    state: RunState
    step: int
    weights: Mapping[str, Tensor]
    content: dict[str, Any]

    def check_reported(self) -> None:
        """Refuse a checkpoint that is only there to resume from.

        Raises:
            CheckpointError: It is from the selection phase, or not the one that the run reports.
        """
        if self.state.phase != "refit":
            raise CheckpointError(
                f"ckpt={self.path}: this state is from the selection phase and never saw the "
                f"validation classes. Finish the run first (ckpt={self.path} and no task), or give "
                "its best.ckpt."
            )
        if not self.state.reported:
            raise CheckpointError(
                f"ckpt={self.path}: this state is there to resume from, it is not the selected "
                "one. Give the run's best.ckpt."
            )

    def data_state(self) -> Mapping[str, Any]:
        """The state of the data module: its classes, and how features and semantics were scaled.

        Raises:
            CheckpointError: An older version wrote the checkpoint, without classes.
        """
        # Lightning stores it under the name of the data module's class
        for state in self.content.values():
            if isinstance(state, Mapping) and isinstance(state.get("classes"), Mapping):
                return state
        raise CheckpointError(
            f"ckpt={self.path}: this checkpoint does not say which classes it knows; an older "
            "version of zsl_lab wrote it. task=test still evaluates it; to predict, train anew "
            "with this version."
        )


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its target and renames it.

    Lightning's own way copies from the system's temporary folder, which leaves half a checkpoint on
    a full disk.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; on failure raise OutputError and keep the earlier file."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        atomic_write(path, buffer.getvalue())


def reported(path: Path) -> Path:
    """The checkpoint that a run reports.

    Args:
        path: The run's folder, or a file, which is returned as it is.

    Returns:
        ``path/checkpoints/best.ckpt``, or the file.

    Raises:
        CheckpointError: The folder has no such checkpoint.
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


def read(path: Path, key: str) -> Checkpoint:
    """Load and validate a checkpoint, with ``weights_only=True``.

    Args:
        path: ``.../checkpoints/best.ckpt`` or ``last.ckpt``.
        key: The configuration key that named it, for messages.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: The file is missing, damaged, or not a checkpoint of this project.
    """
    origin = f"{key}={path}"
    content = _load(path, origin)
    section = content.get(SECTION) if isinstance(content, dict) else None
    if not isinstance(section, dict):
        raise CheckpointError(
            f"{origin}: field '{SECTION}' is missing; expected a checkpoint that this project "
            "wrote. Give RUN/checkpoints/best.ckpt (for task=test or task=predict) or last.ckpt "
            "(to resume), or train anew."
        )
    state = RunState.from_plain(section, origin)
    for name in ("method_state", "state_dict"):
        if not isinstance(content.get(name), Mapping):
            raise _damaged(origin, f"field '{name}' is missing")
    step = content["method_state"].get("step")
    if not _is_a(step, (int,)):
        raise _damaged(
            origin, f"field 'method_state.step' is {step!r:.60}; expected a whole number"
        )
    return Checkpoint(path, state, step, content["state_dict"], content)


def _load(path: Path, origin: str) -> dict[str, Any]:
    if path.is_dir():
        raise CheckpointError(
            f"{origin}: this is a folder. Give a file: best.ckpt (for task=test) or last.ckpt (to "
            "resume)."
        )
    if not path.is_file():
        raise CheckpointError(
            f"{origin}: there is no such file. Every run writes <run>/checkpoints/best.ckpt (for "
            "task=test) and last.ckpt (to resume)."
        )
    try:
        with warnings.catch_warnings():
            # a warning about a file that is refused anyway, with a line of torch's source
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return cast("dict[str, Any]", torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises many types for a file that it cannot read
        raise CheckpointError(
            f"{origin}: this is not a readable checkpoint ({type(error).__name__}). It was not "
            "unpickled further. Give a checkpoint of this project, or train anew."
        ) from error
