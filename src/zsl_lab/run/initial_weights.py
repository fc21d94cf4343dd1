"""Training that starts from another run's checkpoint (``method.init_from``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zsl_lab.errors import CheckpointError, ConfigError
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.run.checkpoints import files as checkpoints
from zsl_lab.run.checkpoints.files import Checkpoint
from zsl_lab.run.context import RunContext

KEY = "method.init_from"


def read(context: RunContext) -> Checkpoint | None:
    """The checkpoint that the refit starts from; None to train from scratch.

    Raises:
        ConfigError: The file lies in the folder of this run.
        CheckpointError: It was trained on other classes or samples, with other scaling, or selected
            on test while this run does not.
    """
    path = context.config.method.initial_weights
    if path is None:
        return None
    if Path(path).resolve().is_relative_to(context.folder.resolve()):
        raise ConfigError(
            f"{KEY}={path}: it lies in the folder of this run, which would write over it. Give "
            "this run another hydra.run.dir, or move the checkpoint."
        )
    file = Path(path).expanduser()
    if file.is_dir():  # a run's folder, as ckpt takes it
        file = file / "checkpoints" / "best.ckpt"
    checkpoint = checkpoints.read(file, KEY)
    _check_same_data(checkpoint, context)
    _check_same_settings(checkpoint, context)
    return checkpoint


def _check_same_data(checkpoint: Checkpoint, context: RunContext) -> None:
    state, here = checkpoint.state, context.benchmark.provenance
    if state.phase == "refit" and (state.splits_sha256, state.features_sha256) == (
        here.splits_sha256,
        here.features_sha256,
    ):
        return
    raise CheckpointError(
        f"{KEY}={checkpoint.path}: it was trained on other classes or samples (splits "
        f"{state.splits_sha256[:12]}, features {state.features_sha256[:12]}, phase {state.phase}); "
        f"expected splits {here.splits_sha256[:12]}, features {here.features_sha256[:12]}, phase "
        "refit. Train the initial network on this dataset and split first, or leave init_from out."
    )


def _check_same_settings(checkpoint: Checkpoint, context: RunContext) -> None:
    theirs, config = checkpoint.state.config, context.config
    for key in ("normalize", "normalize_semantics"):
        found, expected = _stored(theirs, "dataset", key), getattr(config.dataset, key)
        if found != expected:
            raise CheckpointError(
                f"{KEY}={checkpoint.path}: it was trained with dataset.{key}={found}; this run has "
                f"{expected}. Set dataset.{key}={found}, or leave init_from out."
            )
    if _stored(theirs, "selection", "name") == "oracle" and config.selection.name != "oracle":
        raise CheckpointError(
            f"{KEY}={checkpoint.path}: its step was selected on test, so a run that starts from it "
            "is an oracle too. Set selection=oracle, or start from a run with selection=validation "
            "or last."
        )


def _stored(config: dict[str, Any], section: str, key: str) -> Any:
    keys = config.get(section)
    return keys.get(key) if isinstance(keys, dict) else None


def load(method: ZeroShotMethod, checkpoint: Checkpoint) -> None:
    """Load the weights into a method, and set its step to the first candidate.

    Raises:
        CheckpointError: The networks have other shapes.
    """
    try:
        method.load_state_dict(checkpoint.weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"{KEY}={checkpoint.path}: its networks have another shape "
            f"({checkpoints.misfit(error)}). Use the same method.* widths as it was trained with, "
            "or leave init_from out."
        ) from error
    method.step = method.first_candidate
