"""From a checkpoint to a predictor."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from zsl_lab.data.batches.base import ClassSpace
from zsl_lab.data.checks.statistics import ColumnStatistics
from zsl_lab.data.recipe import Recipe
from zsl_lab.data.scaling import Scaler
from zsl_lab.errors import CheckpointError, ConfigError
from zsl_lab.predict.features import FeaturePredictor
from zsl_lab.predict.images import ImagePredictor
from zsl_lab.predict.predictor import CheckpointData, Predictor
from zsl_lab.result import Result
from zsl_lab.run.checkpoints import files as checkpoints
from zsl_lab.run.checkpoints.files import Checkpoint
from zsl_lab.run.config import RunConfig, parse
from zsl_lab.run.configuration import stored_config
from zsl_lab.sharing import hub


def load(ckpt: str | os.PathLike[str]) -> Predictor:
    """Load a trained method.

    Args:
        ckpt: The folder of a finished run, its ``checkpoints/best.ckpt``, or a folder that
            ``save_pretrained`` wrote. Only ``hf-hub:USER/NAME``, or
            ``hf-hub:USER/NAME@REVISION``, is looked for on the Hugging Face Hub.

    Returns:
        A :class:`FeaturePredictor`; for a method that takes images an :class:`ImagePredictor`.

    Raises:
        ZslLabError: There is no such checkpoint, an older version wrote it, or a package that it
            needs is missing.
    """
    if not isinstance(ckpt, str | os.PathLike):
        raise CheckpointError(
            f"ckpt={ckpt!r}: expected a path. Give the folder of a finished run, or a file: "
            "RUN/checkpoints/best.ckpt."
        )
    if hub.is_hub_id(ckpt):
        ckpt = hub.download(str(ckpt))
    path = checkpoints.reported(Path(ckpt).expanduser())
    checkpoint, origin = checkpoints.read(path, "ckpt"), f"ckpt={path}"
    stored = stored_config.of_checkpoint(checkpoint.state.config, origin, trains=False)
    config = {**stored, "task": "predict", "ckpt": str(path)}
    paths = config["paths"]
    # the cache may be that of another machine
    if not _is_folder(paths.get("cache_dir")):
        config["paths"] = {**paths, "cache_dir": None}
    try:
        checked = parse(OmegaConf.create(config))
    except ConfigError as error:
        raise stored_config.refused(origin, error) from error
    return restore(checked, checkpoint)


def _is_folder(path: object) -> bool:
    try:
        return isinstance(path, str) and Path(path).is_dir()
    except (OSError, ValueError):  # a name that no file can have
        return False


def restore(
    config: RunConfig, checkpoint: Checkpoint | None = None, result: Result | None = None
) -> Predictor:
    """Load the method of ``config.ckpt``.

    Args:
        config: The configuration that it was trained with, and the keys of task=predict.
        checkpoint: The checkpoint, if it was already read.
        result: The result of its run; None: it is looked for when it is needed.

    Raises:
        ZslLabError: As :func:`load` does.
    """
    assert config.ckpt is not None
    path = checkpoints.reported(config.ckpt)
    checkpoint = checkpoint or checkpoints.read(path, "ckpt")
    checkpoint.check_reported()
    stored = replace(_read_data(checkpoint.data_state(), path), result=result)
    if config.method_class.takes == "images":
        return ImagePredictor(config, path, checkpoint, stored)
    return FeaturePredictor(config, path, checkpoint, stored)


def _read_data(state: Mapping[str, Any], path: Path) -> CheckpointData:
    try:
        known = state["classes"]
        names = tuple(str(name) for name in known["names"])
        ids, seen = known["ids"].numpy(), known["seen"].numpy().astype(bool)
        texts = tuple(str(text) for text in known["descriptions"])
        if "semantics" not in known:
            space = ClassSpace(ids, np.zeros((len(names), 0), dtype=np.float32), seen, names, texts)
            stored = CheckpointData(str(state["benchmark"]), space)
        else:
            semantics_scaler = Scaler.from_state(known["semantics_scaler"])
            semantics = semantics_scaler.apply(known["semantics"]).numpy()
            space = ClassSpace(ids, semantics, seen, names, texts)
            found = state.get("feature_statistics")
            dimensions = int(state["feature_dim"])
            stored = CheckpointData(
                str(state["benchmark"]),
                space,
                Scaler.from_state(state["scaler"]),
                semantics_scaler,
                Recipe.from_plain(state["recipe"], f"ckpt={path}"),
                dimensions,
                known["semantics"].numpy(),
                None if found is None else ColumnStatistics.from_state(found, dimensions),
            )
        if not len(names) == len(ids) == len(seen) == len(space.semantics):
            raise ValueError(
                f"{len(names)} names, {len(seen)} entries of which classes are seen, "
                f"{len(space.semantics)} rows of semantics"
            )
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"ckpt={path}: its record of the classes is damaged ({type(error).__name__}: "
            f"{error}). Give another checkpoint, or train anew."
        ) from error
    return stored
