"""Validation of what Lightning, a method and the data module stored in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from pydantic import Field, Strict
from torch import Tensor

from zsl_lab.run.checkpoints.state import Steps, StoredCheck, brief, checked, damaged

#: the key of the fitted classifier, in the checkpoint that a run reports
CLASSIFIER = "classifier"


def check_content(content: Mapping[str, Any], size: int, origin: str) -> int:
    """Validate everything but the section of the run.

    Args:
        content: The content of the file.
        size: Bytes of the file.
        origin: ``KEY=PATH`` of the file, for messages.

    Returns:
        Training steps that the phase had taken.

    Raises:
        CheckpointError: A part is missing or invalid.
    """
    for name in ("method_state", "state_dict"):
        if not isinstance(content.get(name), Mapping):
            raise damaged(origin, f"field '{name}' is missing")
    _check_tensors(content, size, origin)
    step = checked(_MethodState, content["method_state"], origin, "method_state.").step
    _check_random(content["method_state"], origin)
    _check_weights(content["state_dict"], "state_dict", origin)
    classifier = content.get(CLASSIFIER, {})
    if not isinstance(classifier, Mapping):
        raise damaged(
            origin, f"field '{CLASSIFIER}' is {_tensor(classifier)}; expected tensors by name"
        )
    _check_weights(classifier, CLASSIFIER, origin)
    _check_data_state(content, step, origin)
    return step


@dataclass(frozen=True)
class _MethodState:
    """What a method stores beside its weights; only resuming needs the fields after ``step``."""

    step: Steps
    checks: list[StoredCheck] = field(default_factory=list)
    best: StoredCheck | None = None
    random: dict[str, Any] = field(default_factory=dict)
    random_of_other_processes: list[dict[str, Any]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


#: most containers and values that a checkpoint may have
_MOST_VALUES = 5_000_000


def _check_tensors(content: Any, size: int, origin: str) -> None:
    """Refuse tensors that are larger than the file, and containers that contain themselves.

    A view can repeat a number a million times, and a list can be an item of itself.
    """
    waiting, count = [content], 0
    while waiting:
        node = waiting.pop()
        count += 1
        if count > _MOST_VALUES:
            raise damaged(origin, f"it holds more than {_MOST_VALUES} values")
        if isinstance(node, Tensor):
            if (
                node.layout != torch.strided
                or node.device.type != "cpu"
                or node.numel() * node.element_size() > size
            ):
                raise damaged(
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
            raise damaged(
                origin,
                f"field 'method_state.random.cpu' is {_tensor(cpu)}; expected a random state of "
                f"{len(expected)} bytes",
            )
        if cuda is not None and not (isinstance(cuda, Tensor) and cuda.dtype == torch.uint8):
            raise damaged(
                origin,
                f"field 'method_state.random.cuda' is {_tensor(cuda)}; expected a random state",
            )


def _check_weights(weights: Mapping[str, Any], section: str, origin: str) -> None:
    for name, tensor in weights.items():
        key = f"{section}.{brief(name)}"
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise damaged(origin, f"field '{key}' is {_tensor(tensor)}; expected a tensor")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise damaged(origin, f"field '{key}' holds numbers that are not finite")


def data_state(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The state of the data module; None where an older version stored none."""
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
    state = data_state(content)
    if state is None:
        return
    known, at = state["classes"], "classes"
    names = checked(_ClassNames, dict(known), origin, f"{at}.").names
    double = next(
        (
            name
            for name, other in zip(sorted(names), sorted(names)[1:], strict=False)
            if name == other
        ),
        None,
    )
    if double is not None:
        raise damaged(origin, f"field '{at}.names' has {brief(double)} more than once")
    _expect(known, f"{at}.ids", origin, (len(names),), torch.int64)
    _expect(known, f"{at}.seen", origin, (len(names),), torch.bool)
    ids = known["ids"]
    if bool((ids < 0).any()) or bool((ids.diff() <= 0).any()):
        raise damaged(origin, f"field '{at}.ids' does not increase from class to class")
    if "semantics" in known or "feature_dim" in state:  # the samples are feature vectors
        width = _width(known.get("semantics"))
        _expect(known, f"{at}.semantics", origin, (len(names), width), torch.float32)
        _check_scaler(known.get("semantics_scaler"), width, f"{at}.semantics_scaler", origin)
        dim = checked(_Features, dict(state), origin).feature_dim
        _check_scaler(state.get("scaler"), dim, "scaler", origin)
    stream = state.get("stream")
    found = stream.get("step", step) if isinstance(stream, Mapping) else step
    if type(found) is not int or found != step:
        raise damaged(
            origin,
            f"field 'stream.step' is {brief(found)}; expected {step}, as in method_state",
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
        raise damaged(origin, f"field '{name}' is {_tensor(state)}; expected a scaling")
    for part in ("shift", "scale"):
        _expect(state, f"{name}.{part}", origin, (width,), torch.float32)
    if not bool((state["scale"] > 0).all()):
        raise damaged(origin, f"field '{name}.scale' has a number that is not above 0")


def _expect(
    section: Mapping[str, Any], name: str, origin: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """Check that a field, the last part of ``name``, is a finite tensor of this shape and type."""
    found = section.get(name.rpartition(".")[2])
    if not isinstance(found, Tensor) or (tuple(found.shape), found.dtype) != (shape, dtype):
        raise damaged(
            origin,
            f"field '{name}' is {_tensor(found)}; expected {str(dtype).removeprefix('torch.')} "
            f"{list(shape)}",
        )
    if found.is_floating_point() and not bool(found.isfinite().all()):
        raise damaged(origin, f"field '{name}' holds numbers that are not finite")


def _tensor(value: Any) -> str:
    if not isinstance(value, Tensor):
        return brief(value)
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)[:8]}"
