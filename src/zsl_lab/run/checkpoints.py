"""Checkpoint files: written atomically, read without executing pickled code, and validated."""

from __future__ import annotations

import hashlib
import io
import os
import reprlib
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import torch
from pydantic import BeforeValidator, Field, Strict, TypeAdapter, ValidationError
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor
from torch.utils._pytree import tree_map_only

from zsl_lab.errors import CheckpointError
from zsl_lab.files import seal
from zsl_lab.files.atomic import atomic_write
from zsl_lab.files.cache import FileStamp, file_stamp
from zsl_lab.hardware import distributed
from zsl_lab.run.configuration.stored_config import check_literal, shown
from zsl_lab.sharing import saved_model

#: version of the section that a run adds to a Lightning checkpoint
FORMAT = 1
#: the key of that section
SECTION = "zsl_lab"

#: the key of the fitted classifier, in the checkpoint that a run reports
CLASSIFIER = "classifier"

#: the checkpoints in a run's folder, below ``checkpoints``
FILES = ("best.ckpt", "last.ckpt")

Phase = Literal["select", "refit"]
Schema = TypeVar("Schema")


#: a checkpoint to resume from, and the one before it
LAST, PREVIOUS = "last.ckpt", "last-previous.ckpt"


def _plain_number(value: Any) -> Any:
    # pydantic also takes what can be converted, such as a tensor of one number
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"it is {_shown(value)}; expected a number")
    return value


Steps = Annotated[int, Strict(), Field(ge=0, lt=10**9)]
Metric = Annotated[float, Strict(), BeforeValidator(_plain_number)]
Number = Annotated[Metric, Field(allow_inf_nan=False)]
Seconds = Annotated[Number, Field(ge=0, lt=1e12)]
SHA256 = Annotated[str, Strict(), Field(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Strict(), Field(max_length=1000)]


@dataclass(frozen=True)
class Spent:
    """Training done in the phases before this one.

    Attributes:
        steps: Training steps, undone ones included.
        seconds: Seconds spent in them.
        check_seconds: Seconds spent in checks; 0 where an older version wrote the checkpoint.
    """

    steps: Steps
    seconds: Seconds
    check_seconds: Seconds = 0.0

    def __add__(self, other: Spent) -> Spent:
        """The training of both."""
        return Spent(
            self.steps + other.steps,
            self.seconds + other.seconds,
            self.check_seconds + other.check_seconds,
        )


NOTHING_SPENT = Spent(0, 0.0)


@dataclass(frozen=True)
class StoredCheck:
    """A :class:`zsl_lab.methods.module.Check`, as it is stored."""

    step: Steps
    effective_step: Steps
    metrics: dict[Name, Metric]
    calibration: Number = 0.0


@dataclass(frozen=True)
class RunState:
    """What a checkpoint says about its run, beside weights, optimisers and random states.

    The annotations are the schema that :meth:`from_plain` checks.

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
        draw: In the phase ``select``: which draw of validation classes, from 0.
        earlier: The candidate checks of each draw before it.
        selected_check: Training step of the check that was selected in the phase ``select``; larger
            than ``selected`` where steps were undone. None where no check selected, or where an
            older version wrote the checkpoint.
        selected_spans: Training steps of the phase ``select`` that shaped the selected weights,
            first and last (exclusive); none where no step was undone, or where an older version
            wrote the checkpoint.
        reported: Whether these are the weights that the run reports.
        pretraining: In a shared pre-training: everything that it depends on.
        metrics: In a shared pre-training: the rows of ``metrics.csv`` logged in it.
    """

    config: Annotated[dict[str, Any], BeforeValidator(check_literal)]
    phase: Phase
    selected: Steps | None
    calibration: Number | None
    validation: dict[Name, Metric] | None
    spent: Spent
    splits_sha256: SHA256
    features_sha256: SHA256
    selected_check: Steps | None = None
    selected_spans: list[tuple[Steps, Steps]] = field(default_factory=list)
    draw: Steps = 0
    earlier: list[list[StoredCheck]] = field(default_factory=list)
    reported: Annotated[bool, Strict()] = False
    pretraining: Annotated[dict[str, Any], BeforeValidator(check_literal)] | None = None
    metrics: list[dict[Name, Name | Metric]] | None = None

    def to_plain(self) -> dict[str, Any]:
        """Plain containers to store; fields that most runs lack only where they are set."""
        plain = {"format": FORMAT, **self.__dict__, "spent": asdict(self.spent)}
        for name in ("pretraining", "metrics"):
            if plain[name] is None:
                del plain[name]
        if self.selected_spans:
            plain["selected_spans"] = [list(span) for span in self.selected_spans]
        else:
            del plain["selected_spans"]
        if not self.earlier:
            del plain["draw"], plain["earlier"]
        else:
            plain["earlier"] = [[asdict(check) for check in checks] for checks in self.earlier]
        return plain

    @property
    def label(self) -> str:
        """The phase's name in ``metrics.csv``."""
        return phase_label(self.phase, self.draw)

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
        # a tensor here compares element by element
        if not isinstance(plain.get("format"), int) or plain["format"] != FORMAT:
            raise CheckpointError(
                f"{origin}: field 'format' is {_shown(plain.get('format'))}; this version reads "
                f"{FORMAT}. Use the version of zsl_lab that wrote it, or train anew."
            )
        if "reported" not in plain:
            raise _damaged(origin, "field 'reported' is missing")
        if "calibration" not in plain and _calibrates(plain.get("config")):
            raise _damaged(origin, "field 'calibration' is missing")
        checked = _checked(RunState, {**_OPTIONAL, **plain}, origin)
        # validation converts whole numbers to floats, and copies; the file's own values stay
        objects = ("spent", "earlier", "selected_spans")
        names = (field.name for field in fields(cls) if field.name not in objects)
        known = {name: plain[name] for name in names if name in plain}
        return replace(checked, **known)


def _calibrates(config: Any) -> bool:
    """Whether a stored configuration says that a constant is added to scores of unseen classes."""
    selection = config.get("selection") if isinstance(config, Mapping) else None
    return isinstance(selection, Mapping) and selection.get("calibrate") is True


def phase_label(phase: Phase, draw: int) -> str:
    """A phase's name in ``metrics.csv``: ``select``, ``refit``, ``select_2`` of a second draw."""
    return phase if draw == 0 else f"{phase}_{draw + 1}"


#: values of fields that not every version has stored
_OPTIONAL: dict[str, Any] = {"calibration": 0.0, "validation": None}
#: what is expected, by field
_EXPECTED = {
    "config": "a mapping of plain settings",
    "phase": "'select' or 'refit'",
    "selected": "a whole number or None",
    "calibration": "a number or None",
    "validation": "a mapping of names to numbers or None",
    "spent": "a mapping of 'steps' and 'seconds', numbers from 0 on",
    "splits_sha256": "a hash",
    "features_sha256": "a hash",
    "selected_check": "a whole number or None",
    "selected_spans": "a list of pairs of whole numbers",
    "draw": "a whole number from 0 on",
    "earlier": "lists of checks",
    "reported": "true or false",
    "pretraining": "a mapping of plain settings or None",
    "metrics": "a list of rows or None",
    "step": "a whole number below 10**9",
    "checks": "a list of checks, each with step, effective_step, metrics and calibration",
    "best": "a check or None",
    "names": "a list of texts, each of which appears once",
    "descriptions": "a list of texts",
    "feature_dim": "a whole number from 1 on",
}


@dataclass(frozen=True)
class _MethodState:
    """What a method stores beside its weights; resuming needs more than ``step``."""

    step: Steps
    checks: list[StoredCheck] = field(default_factory=list)
    best: StoredCheck | None = None
    random: dict[str, Any] = field(default_factory=dict)
    random_of_other_processes: list[dict[str, Any]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


@cache
def _schema(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _checked(kind: type[Schema], plain: Any, origin: str, prefix: str = "") -> Schema:
    """Validate a section by the annotations of a dataclass.

    Args:
        kind: The dataclass.
        plain: The section.
        origin: ``KEY=PATH`` of the file, for messages.
        prefix: The section's name in messages, with a dot at its end.

    Raises:
        CheckpointError: A field is missing or wrong.
    """
    schema = _schema(kind)  # type: ignore[arg-type]
    try:
        return cast("Schema", schema.validate_python(plain))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    except Exception as error:  # values of absurd types fail within pydantic
        raise _damaged(origin, f"section '{prefix}' cannot be read ({error})"[:300]) from error
    loc = [str(part) for part in problem["loc"]]
    name = shown((*prefix.split(".")[:-1], *loc[:3]))
    if problem["type"] == "missing":
        raise _damaged(origin, f"field '{name}' is missing")
    if loc[:1] in (["config"], ["pretraining"]) and problem["type"] == "value_error":
        raise _damaged(origin, f"field '{name}': {problem['ctx']['error']}")
    expected = _EXPECTED.get(loc[0] if loc else "", "another value")
    raise _damaged(origin, f"field '{name}' is {_shown(problem['input'])}; expected {expected}")


def _shown(value: Any) -> str:
    try:
        return reprlib.repr(value)
    except Exception:  # a whole number of thousands of digits has no text
        return f"of type {type(value).__name__}"


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
        sha256: Of the file's bytes.
        classifier: The fitted tensors of the classifier, by name; empty where it has none.
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

    def check_resumable(self) -> None:
        """Refuse a checkpoint without the states of the optimisers, from which none can go on.

        Raises:
            CheckpointError: It has none, as the checkpoint that a run reports.
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
                raise _damaged(f"ckpt={self.path}", f"field 'method_state.{name}' is missing")
        for part in self.content.values():  # of which one is the data module's
            stream = part.get("stream", {"step": 0}) if isinstance(part, Mapping) else {"step": 0}
            if not isinstance(stream, Mapping) or "step" not in stream:
                raise _damaged(
                    f"ckpt={self.path}",
                    f"field 'stream' is {_shown(stream)}; expected the position in the samples",
                )

    def data_state(self) -> Mapping[str, Any]:
        """The state of the data module: its classes, and how features and semantics were scaled.

        Raises:
            CheckpointError: An older version wrote the checkpoint, without classes.
        """
        state = _data_state(self.content)
        if state is not None:
            return state
        raise CheckpointError(
            f"ckpt={self.path}: this checkpoint does not say which classes it knows; an older "
            "version of zsl_lab wrote it. task=test still evaluates it; to predict, train anew "
            "with this version."
        )


def _without_others(tensor: Tensor) -> Tensor:
    """A tensor whose storage holds nothing else: the whole storage would be written."""
    whole = tensor.untyped_storage().nbytes() == tensor.nbytes
    return tensor if whole else tensor.detach().clone()


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes sealed checkpoints atomically, and gives Lightning the one that was read already.

    Lightning's own way copies from the system's temporary folder, which leaves half a checkpoint on
    a full disk, and reads without any check.

    Args:
        resumed: The checkpoint that training resumes from. Another process may replace its file, so
            it is not read again. None where the file is read when it is asked for.
    """

    def __init__(self, resumed: Checkpoint | None = None) -> None:
        super().__init__()
        self._resumed = resumed

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; on failure raise OutputError and keep the earlier file.

        The one that a run reports has no states of optimisers, which only resuming needs.
        """
        section = checkpoint.get(SECTION)
        if isinstance(section, dict) and section.get("reported"):
            checkpoint = {k: v for k, v in checkpoint.items() if k != "optimizer_states"}
        buffer = io.BytesIO()
        torch.save(tree_map_only(Tensor, _without_others, checkpoint), buffer)
        atomic_write(path, seal.seal(buffer.getvalue()))

    def resume_from(self, checkpoint: Checkpoint | None) -> None:
        """Give Lightning this checkpoint next; None lets the file be read."""
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
    """Keep the present ``last.ckpt`` as the one before the next; a damaged one is not kept.

    Args:
        last: The file.
        written: The stamp of the file as this process wrote it, which need not be read again while
            it is unchanged; empty where this process wrote none.
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
    if saved_model.is_saved(path):
        return path / saved_model.MODEL_FILE
    best = path / "checkpoints" / "best.ckpt"
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
    for name in ("method_state", "state_dict"):
        if not isinstance(content.get(name), Mapping):
            raise _damaged(origin, f"field '{name}' is missing")
    _check_tensors(content, size, origin)
    step = _checked(_MethodState, content["method_state"], origin, "method_state.").step
    _check_random(content["method_state"], origin)
    _check_weights(content["state_dict"], "state_dict", origin)
    classifier = content.get(CLASSIFIER, {})
    if not isinstance(classifier, Mapping):
        raise _damaged(
            origin, f"field '{CLASSIFIER}' is {_tensor(classifier)}; expected tensors by name"
        )
    _check_weights(classifier, CLASSIFIER, origin)
    _check_data_state(content, step, origin)
    return Checkpoint(path, state, step, content["state_dict"], content, sha256, classifier)


def read_to_resume(path: Path, key: str) -> Checkpoint:
    """As :func:`read`; of a damaged ``last.ckpt`` the one before, with a warning.

    Raises:
        CheckpointError: As :func:`read` does, and there is no whole one before it.
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
        raise CheckpointError(
            f"{origin}: there is no such file. Every run writes <run>/checkpoints/best.ckpt (for "
            "task=test) and last.ckpt (to resume)."
        )
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


# --------------------------------------------------------------------------- validation

#: containers and values that a checkpoint may have
_MOST_VALUES = 5_000_000


def _check_tensors(content: Any, size: int, origin: str) -> None:
    """Refuse tensors that would be larger than the file, and containers without an end.

    A view can repeat a number a million times, and a list can hold itself.
    """
    waiting, count = [content], 0
    while waiting:
        node = waiting.pop()
        count += 1
        if count > _MOST_VALUES:
            raise _damaged(origin, f"it holds more than {_MOST_VALUES} values")
        if isinstance(node, Tensor):
            if (
                node.layout != torch.strided
                or node.device.type != "cpu"
                or node.numel() * node.element_size() > size
            ):
                raise _damaged(
                    origin, f"a tensor of shape {list(node.shape)[:8]} is larger than the file"
                )
        elif isinstance(node, Mapping):
            waiting.extend(node.values())
        elif isinstance(node, list | tuple | set):
            waiting.extend(node)


def _check_random(method_state: Mapping[str, Any], origin: str) -> None:
    expected = torch.get_rng_state()
    others = method_state.get("random_of_other_processes", [])
    for state in [*([method_state["random"]] if "random" in method_state else []), *others]:
        cpu, cuda = state.get("cpu"), state.get("cuda")
        if not isinstance(cpu, Tensor) or (cpu.dtype, cpu.shape) != (
            expected.dtype,
            expected.shape,
        ):
            raise _damaged(
                origin,
                f"field 'method_state.random.cpu' is {_tensor(cpu)}; expected a random state of "
                f"{len(expected)} bytes",
            )
        if cuda is not None and not (isinstance(cuda, Tensor) and cuda.dtype == torch.uint8):
            raise _damaged(
                origin,
                f"field 'method_state.random.cuda' is {_tensor(cuda)}; expected a random state",
            )


def _check_weights(weights: Mapping[str, Any], section: str, origin: str) -> None:
    for name, tensor in weights.items():
        key = f"{section}.{_shown(name)}"
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise _damaged(origin, f"field '{key}' is {_tensor(tensor)}; expected a tensor")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise _damaged(origin, f"field '{key}' holds numbers that are not finite")


def _data_state(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    # Lightning stores it under the name of the data module's class
    for state in content.values():
        if isinstance(state, Mapping) and isinstance(state.get("classes"), Mapping):
            return state
    return None


def _check_data_state(content: Mapping[str, Any], step: int, origin: str) -> None:
    """Check what the data module stored, as far as the checkpoint has it.

    Raises:
        CheckpointError: A field is wrong.
    """
    state = _data_state(content)
    if state is None:
        return
    known, at = state["classes"], "classes"
    names = _checked(_ClassNames, dict(known), origin, f"{at}.").names
    double = next(
        (
            name
            for name, other in zip(sorted(names), sorted(names)[1:], strict=False)
            if name == other
        ),
        None,
    )
    if double is not None:
        raise _damaged(origin, f"field '{at}.names' has {_shown(double)} more than once")
    _expect(known, f"{at}.ids", origin, (len(names),), torch.int64)
    _expect(known, f"{at}.seen", origin, (len(names),), torch.bool)
    ids = known["ids"]
    if bool((ids < 0).any()) or bool((ids.diff() <= 0).any()):
        raise _damaged(origin, f"field '{at}.ids' does not increase from class to class")
    if "semantics" in known or "feature_dim" in state:  # samples are no images
        width = _width(known.get("semantics"))
        _expect(known, f"{at}.semantics", origin, (len(names), width), torch.float32)
        _check_scaler(known.get("semantics_scaler"), width, f"{at}.semantics_scaler", origin)
        dim = _checked(_Features, dict(state), origin).feature_dim
        _check_scaler(state.get("scaler"), dim, "scaler", origin)
    stream = state.get("stream")
    found = stream.get("step", step) if isinstance(stream, Mapping) else step
    if type(found) is not int or found != step:
        raise _damaged(
            origin, f"field 'stream.step' is {_shown(found)}; expected {step}, as in method_state"
        )


@dataclass(frozen=True)
class _ClassNames:
    names: list[Annotated[str, Strict()]]
    descriptions: list[Annotated[str, Strict()]] = field(default_factory=list)


@dataclass(frozen=True)
class _Features:
    feature_dim: Annotated[int, Strict(), Field(ge=1)]


def _width(table: Any) -> int:
    return int(table.shape[1]) if isinstance(table, Tensor) and table.ndim == 2 else 0


def _check_scaler(state: Any, width: int, name: str, origin: str) -> None:
    if not isinstance(state, Mapping):
        raise _damaged(origin, f"field '{name}' is {_tensor(state)}; expected a scaling")
    for part in ("shift", "scale"):
        _expect(state, f"{name}.{part}", origin, (width,), torch.float32)
    if not bool((state["scale"] > 0).all()):
        raise _damaged(origin, f"field '{name}.scale' has a number that is not above 0")


def _expect(
    section: Mapping[str, Any], name: str, origin: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """Check that a field, the last part of ``name``, is a finite tensor of this shape and type."""
    found = section.get(name.rpartition(".")[2])
    if not isinstance(found, Tensor) or (tuple(found.shape), found.dtype) != (shape, dtype):
        raise _damaged(
            origin,
            f"field '{name}' is {_tensor(found)}; expected {str(dtype).removeprefix('torch.')} "
            f"{list(shape)}",
        )
    if found.is_floating_point() and not bool(found.isfinite().all()):
        raise _damaged(origin, f"field '{name}' holds numbers that are not finite")


def _tensor(value: Any) -> str:
    if not isinstance(value, Tensor):
        return _shown(value)
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)[:8]}"
