"""Checkpoint files: written atomically, read without executing pickled code, and validated."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from zsl_lab.errors import CheckpointError
from zsl_lab.files import seal
from zsl_lab.files.atomic import atomic_write
from zsl_lab.files.cache import FileStamp, file_stamp
from zsl_lab.hardware import distributed
from zsl_lab.run.checkpoints.content import CLASSIFIER, check_content, data_state
from zsl_lab.run.checkpoints.places import LAST, PREVIOUS, no_such_file
from zsl_lab.run.checkpoints.state import SECTION, RunState, brief, damaged
from zsl_lab.sharing import saved_model

#: the checkpoints in a run's folder, below ``checkpoints``
FILES = ("best.ckpt", "last.ckpt")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file that was read.

    Attributes:
        path: The file.
        state: The state of its run.
        step: Training steps that its phase had taken.
        weights: The method's state dict.
        content: Everything that Lightning stored.
        sha256: Hash of the file's bytes.
        classifier: The fitted tensors of the classifier, by name; may be empty.
    """

    path: Path
    state: RunState
    step: int
    weights: Mapping[str, Tensor]
    content: dict[str, Any]
    sha256: str = ""
    classifier: Mapping[str, Tensor] = field(default_factory=dict)

    def check_reported(self) -> None:
        """Refuse a checkpoint that is only there to resume from.

        Raises:
            CheckpointError: It is from the selection phase, or its weights are not reported.
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

    def check_resumable(self) -> None:
        """Refuse a checkpoint without the states that resuming needs.

        Raises:
            CheckpointError: It has no optimiser states, like the ``best.ckpt`` that a run reports,
                or another part is missing.
        """
        if "optimizer_states" not in self.content:
            raise CheckpointError(
                f"ckpt={self.path}: this checkpoint holds the weights that the run reports and "
                f"no states of optimisers, so training cannot go on from it. Give {LAST} beside "
                "it, or task=test or task=predict to use the weights."
            )
        state = self.content["method_state"]
        for name in ("checks", "best", "random", "extra"):
            if name not in state:
                raise damaged(f"ckpt={self.path}", f"field 'method_state.{name}' is missing")
        for part in self.content.values():  # of which one is the data module's
            stream = part.get("stream", {"step": 0}) if isinstance(part, Mapping) else {"step": 0}
            if not isinstance(stream, Mapping) or "step" not in stream:
                raise damaged(
                    f"ckpt={self.path}",
                    f"field 'stream' is {brief(stream)}; expected the position in the samples",
                )

    def data_state(self) -> Mapping[str, Any]:
        """The state of the data module: its classes, and how features and semantics were scaled.

        Raises:
            CheckpointError: An older version wrote the checkpoint, without classes.
        """
        state = data_state(self.content)
        if state is not None:
            return state
        raise CheckpointError(
            f"ckpt={self.path}: this checkpoint does not say which classes it knows; an older "
            "version of zsl_lab wrote it. task=test still evaluates it; to predict, train anew "
            "with this version."
        )


def _without_others(content: Any) -> Any:
    """Copy tensors that are views of a larger storage, all of which would be written."""
    if isinstance(content, Tensor):
        whole = content.untyped_storage().nbytes() == content.nbytes
        return content if whole else content.detach().clone()
    if isinstance(content, dict):
        return {key: _without_others(value) for key, value in content.items()}
    if type(content) in (list, tuple):
        return type(content)(map(_without_others, content))
    return content


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes sealed checkpoints atomically, and passes Lightning one that was already read.

    Lightning itself copies from the system's temporary folder, which leaves half a checkpoint on a
    full disk, and reads without validation.

    Args:
        resumed: The checkpoint that training resumes from. Another process may replace its file, so
            it is not read again. None: the file is read when Lightning asks for it.
    """

    def __init__(self, resumed: Checkpoint | None = None) -> None:
        super().__init__()
        self._resumed = resumed

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; on failure raise OutputError and keep the earlier file.

        The checkpoint that a run reports has no optimiser states, which only resuming needs.
        """
        section = checkpoint.get(SECTION)
        if isinstance(section, dict) and section.get("reported"):
            checkpoint = {k: v for k, v in checkpoint.items() if k != "optimizer_states"}
        buffer = io.BytesIO()
        torch.save(_without_others(checkpoint), buffer)
        atomic_write(path, seal.seal(buffer.getvalue()))

    def resume_from(self, checkpoint: Checkpoint | None) -> None:
        """Pass Lightning this checkpoint at its next request; None: the file is read then."""
        self._resumed = checkpoint

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The content of a checkpoint, the same in every process of a run.

        Raises:
            CheckpointError: It is damaged, or was replaced while the processes read it.
        """
        found = self._resumed if self._resumed is not None else read(Path(path), "ckpt")
        self._resumed = None
        known = (found.sha256, found.state.phase, found.step)
        if any(other != known for other in distributed.gather(known)):
            raise CheckpointError(
                f"ckpt={path}: another process replaced it while this run read it. End the other "
                "run, and resume again."
            )
        found.check_resumable()
        return found.content


def keep_previous(last: Path, written: FileStamp = ()) -> None:
    """Keep ``last.ckpt`` as ``last-previous.ckpt`` before it is replaced, unless it is damaged.

    Args:
        last: The path of ``last.ckpt``.
        written: The stamp of the file as this process wrote it; an unchanged file is not read to
            find damage. Empty if this process wrote none.
    """
    unchanged = bool(written) and file_stamp([last]) == written
    if not last.is_file() or not (unchanged or _is_whole(last)):
        return
    previous, link = last.with_name(PREVIOUS), last.with_name(f".{PREVIOUS}.link")
    link.unlink(missing_ok=True)
    try:
        os.link(last, link)  # last.ckpt itself stays until the next one replaces it
    except OSError:  # a file system without links
        os.replace(last, previous)
    else:
        os.replace(link, previous)


def _is_whole(path: Path) -> bool:
    try:
        seal.check(path.read_bytes())
    except (OSError, ValueError):
        return False
    return True


def reported(path: Path) -> Path:
    """The checkpoint that a run reports.

    Args:
        path: The run's folder, a folder that ``save_pretrained`` wrote, or a file, which is
            returned as it is.

    Returns:
        ``path/checkpoints/best.ckpt``, ``path/model.safetensors``, or the file.

    Raises:
        CheckpointError: The folder has no such checkpoint.
    """
    if not path.is_dir():
        return path
    best = path / "checkpoints" / "best.ckpt"
    # a run whose model was saved into its own folder stays one that can be tested
    if saved_model.is_saved(path) and not best.is_file():
        return path / saved_model.MODEL_FILE
    if not best.is_file():
        raise CheckpointError(
            f"ckpt={path}: this folder has no checkpoints/best.ckpt. Give the folder of a finished "
            "run or one that save_pretrained wrote, or a file: RUN/checkpoints/best.ckpt."
        )
    return best


def read(path: Path, key: str) -> Checkpoint:
    """Load and validate a checkpoint; no code in it is run.

    Args:
        path: ``.../checkpoints/best.ckpt`` or ``last.ckpt``, or ``model.safetensors`` of a folder
            that ``save_pretrained`` wrote.
        key: The configuration key that named it, for messages.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: The file is missing, damaged, or not a checkpoint of this project.
    """
    origin = f"{key}={path}"
    if path.suffix == saved_model.SUFFIX:
        content, size, sha256 = saved_model.read(path, origin)
    else:
        data = _bytes(path, origin)
        content, size = _unpickled(data, origin), len(data)
        sha256 = hashlib.sha256(data).hexdigest()
    return _validated(path, content, size, sha256, origin)


def _validated(path: Path, content: Any, size: int, sha256: str, origin: str) -> Checkpoint:
    """The checkpoint of a file's content; see :func:`read`."""
    section = content.get(SECTION) if isinstance(content, dict) else None
    if not isinstance(section, dict):
        raise CheckpointError(
            f"{origin}: field '{SECTION}' is missing; expected a checkpoint that this project "
            "wrote. Give RUN/checkpoints/best.ckpt (for task=test or task=predict) or last.ckpt "
            "(to resume), or train anew."
        )
    state = RunState.from_plain(section, origin)
    step = check_content(content, size, origin)
    classifier = content.get(CLASSIFIER, {})
    return Checkpoint(path, state, step, content["state_dict"], content, sha256, classifier)


def read_to_resume(path: Path, key: str) -> Checkpoint:
    """As :func:`read`, but with ``last-previous.ckpt`` for a damaged ``last.ckpt``, and a warning.

    Raises:
        CheckpointError: As :func:`read`, if no valid ``last-previous.ckpt`` can replace the file.
    """
    try:
        return read(path, key)
    except CheckpointError as error:
        previous = path.parent / PREVIOUS
        if path.name != LAST or not previous.is_file():
            raise
        try:
            found = read(previous, key)
        except CheckpointError:
            raise error from None
        _warn_once(
            f"{error} Training goes on from {previous}, which was written before it (step "
            f"{found.step} of the phase {found.state.phase})."
        )
        return found


@cache  # a command reads it more than once
def _warn_once(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=1)


def misfit(error: RuntimeError) -> str:
    """The first problem that PyTorch found on loading weights into a method."""
    lines = str(error).splitlines()
    return (lines[1] if len(lines) > 1 else str(error)).strip()


def can_resume(folder: Path) -> bool:
    """Whether a run's folder holds a file to resume from, damaged or not."""
    return any((folder / "checkpoints" / name).is_file() for name in (LAST, PREVIOUS))


def _bytes(path: Path, origin: str) -> bytes:
    if path.is_dir():
        raise CheckpointError(
            f"{origin}: this is a folder. Give a file: best.ckpt (for task=test) or last.ckpt (to "
            "resume)."
        )
    if not path.is_file():
        raise no_such_file(origin)
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{origin}: it cannot be read ({error.strerror}). Fix its permissions, or give another "
            "checkpoint."
        ) from error


def _unpickled(data: bytes, origin: str) -> dict[str, Any]:
    try:
        seal.check(data)
    except ValueError as error:
        raise CheckpointError(
            f"{origin}: this is not a readable checkpoint ({error}). It was not unpickled further. "
            "Copy the file again, give another checkpoint of this project, or train anew."
        ) from error
    try:
        with warnings.catch_warnings():
            # a warning about a file that is refused anyway, with a line of torch's source
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a file that it cannot read
        raise CheckpointError(
            f"{origin}: this is not a readable checkpoint ({type(error).__name__}). It was not "
            "unpickled further. Give a checkpoint of this project, or train anew."
        ) from error
    return cast("dict[str, Any]", found)
