"""From a composed configuration to checked values: every wrong value becomes a sentence that names its key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import platformdirs
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Field

from zsl_lab.data.datasets.base import DatasetConfig
from zsl_lab.errors import ConfigError
from zsl_lab.hardware.trainer import Section, TrainerConfig
from zsl_lab.keys import checked
from zsl_lab.methods.base import MethodConfig, ZeroShotMethod
from zsl_lab.run.old_names import with_current_targets

#: which classes to predict among: the checkpoint's and those given, the unseen ones and those
#: given, or only those given
Among = Literal["all", "unseen", "new"]

_PREDICT_ONLY = ("features", "images", "weights", "classes", "descriptions", "among")
#: no settings of a run: what is predicted, and how the command finds an earlier run
_NOT_STORED = (*_PREDICT_ONLY, "resume", "sweep")


class PathsConfig(Section):
    """Folders: where data are, where caches go, where runs go, this run's own, and what runs share."""

    data_dir: str
    cache_dir: str | None
    output_dir: str
    run_dir: str
    pretrained_dir: str | None = None

    @property
    def cache_folder(self) -> Path:
        """Where caches go; the user's own cache folder where ``cache_dir`` names none."""
        return Path(self.cache_dir or platformdirs.user_cache_dir("zsl_lab")).expanduser()


class SelectionConfig(Section):
    """How the step whose weights are reported is chosen; see conf/selection.

    Attributes:
        calibrate: Whether a constant is chosen with the step; without effect where no validation
            classes choose.
    """

    name: Literal["validation", "oracle", "last"]
    metric: Literal["zsl_top1", "unseen", "seen", "harmonic_mean", "ausuc"]
    check_every: int = Field(ge=1)
    report_oracle: bool
    validation_seed: int = Field(default=0, ge=0)
    calibrate: bool = False


class RunConfig(BaseModel):
    """A whole run, checked."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    task: Literal["fit", "test", "predict"]
    ckpt: Path | None
    features: Path | None
    images: Path | None
    weights: Path | None
    classes: Path | None
    descriptions: Path | None
    among: Among | None
    seed: int
    deterministic: bool
    paths: PathsConfig
    trainer: TrainerConfig
    selection: SelectionConfig
    dataset: DatasetConfig
    method: MethodConfig
    method_class: type[ZeroShotMethod]
    loggers: dict[str, Any]
    callbacks: dict[str, Any]
    plain: dict[str, Any]


class SweepConfig(Section):
    """How a sweep is made; see conf/sweep."""

    resume: bool


class _Top(Section):
    task: Literal["fit", "test", "predict"]
    ckpt: str | None
    resume: Literal["auto"] | None = None
    sweep: SweepConfig = SweepConfig(resume=False)
    seed: int = Field(ge=0, lt=2**32)
    deterministic: bool = False
    debug: bool
    features: str | None = None
    images: str | None = None
    weights: str | None = None
    classes: str | None = None
    descriptions: str | None = None
    among: Among | None = None


def parse(cfg: DictConfig) -> RunConfig:
    """Check a composed configuration.

    Args:
        cfg: What Hydra composed from ``conf/`` and the command line.

    Raises:
        ConfigError: A key is unknown, missing, of the wrong type or out of range; all such keys are
            named.
    """
    plain = plain_config(cfg)
    sections = ("paths", "trainer", "selection", "dataset", "method")
    for section in sections:
        if not isinstance(plain.get(section), dict):
            raise ConfigError(
                f"{section}: found {plain.get(section)!r}; expected a section of keys, such as "
                f"conf/{section} holds."
            )
    top = checked(
        _Top, {k: v for k, v in plain.items() if k not in (*sections, "logger", "callbacks")}, ""
    )
    for key in _PREDICT_ONLY:
        if top.task != "predict" and getattr(top, key):
            raise ConfigError(
                f"{key}={getattr(top, key)}: this key belongs to task=predict. Set task=predict, "
                f"or leave {key} out."
            )
    method_class = _target(plain["method"], ZeroShotMethod, "method")
    dataset_class = _target(plain["dataset"], DatasetConfig, "dataset")
    return RunConfig(
        task=top.task,
        ckpt=Path(top.ckpt) if top.ckpt else None,
        features=_path(top.features),
        images=_path(top.images),
        weights=_path(top.weights),
        classes=_path(top.classes),
        descriptions=_path(top.descriptions),
        among=top.among,
        seed=top.seed,
        deterministic=top.deterministic,
        paths=checked(PathsConfig, plain["paths"], "paths"),
        trainer=checked(TrainerConfig, plain["trainer"], "trainer"),
        selection=checked(SelectionConfig, plain["selection"], "selection"),
        dataset=checked(dataset_class, _without_target(plain["dataset"]), "dataset"),
        method=checked(method_class.config_class, _without_target(plain["method"]), "method"),
        method_class=method_class,
        loggers=plain.get("logger") or {},
        callbacks=plain.get("callbacks") or {},
        plain={key: value for key, value in plain.items() if key not in _NOT_STORED},
    )


def _path(value: str | None) -> Path | None:
    return Path(value).expanduser() if value else None


def plain_config(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain containers, as ``config.yaml`` and the checkpoints hold it."""
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(plain, dict)
    return {str(key): with_current_targets(value) for key, value in plain.items()}


def _target(section: Mapping[str, Any], base: type[Any], name: str) -> type[Any]:
    path = section.get("_target_")
    try:
        found = get_class(str(path))
    except Exception as error:
        raise ConfigError(
            f"{name}._target_={path}: no such class ({error}). Expected the import path of a "
            f"{base.__name__}."
        ) from error
    if not issubclass(found, base):
        raise ConfigError(f"{name}._target_={path}: this is not a {base.__name__}.")
    return found


def _without_target(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key != "_target_"}
