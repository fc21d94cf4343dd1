"""From a composed configuration to validated values, with a message for each wrong one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict

from zsl_lab.classifiers.config import OWN, ClassifierConfig
from zsl_lab.data.datasets.base import DataPaths, DatasetConfig
from zsl_lab.errors import ConfigError
from zsl_lab.hardware.trainer import TrainerConfig
from zsl_lab.keys import (
    AddedLater,
    Marks,
    NotStored,
    PredictOnly,
    checked,
    marked,
    marks_of,
    with_absolute_places,
    without,
)
from zsl_lab.methods.catalogue import config_class_of, keys_beside, without_examples
from zsl_lab.methods.config import MethodConfig, Takes
from zsl_lab.run.configuration import stored_config
from zsl_lab.run.configuration.old_names import current_target, with_current_targets
from zsl_lab.run.configuration.schema import (
    Among,
    DataConfig,
    PathsConfig,
    PlotsConfig,
    RunKeys,
    Scores,
    SelectionConfig,
    SettingsConfig,
    cache_folder,
    run_marks,
)

if TYPE_CHECKING:
    from zsl_lab.classifiers.base import Classifier
    from zsl_lab.data.benchmark import Benchmark
    from zsl_lab.methods.base import ZeroShotMethod


class RunConfig(BaseModel):
    """The validated configuration of a run.

    Attributes:
        loggers: Loggers by name, each a ``_target_`` with its arguments.
        callbacks: Callbacks by name, each a ``_target_`` with its arguments.
        plain: The configuration as ``config.yaml`` and checkpoints hold it: plain containers,
            places as absolute paths.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    task: Literal["fit", "test", "predict"]
    ckpt: Path | None
    features: Path | None
    images: Path | None
    weights: Path | None
    classes: Path | None
    descriptions: Path | None
    among: Among | None
    scores: Scores | None
    seed: int
    deterministic: bool
    overwrite: bool = False
    figures: bool = True
    plots: PlotsConfig = PlotsConfig()
    paths: PathsConfig
    trainer: TrainerConfig
    selection: SelectionConfig
    data: DataConfig
    settings: SettingsConfig
    dataset: DatasetConfig
    method: MethodConfig
    classifier: ClassifierConfig
    loggers: dict[str, Any]
    callbacks: dict[str, Any]
    plain: dict[str, Any]

    @cached_property
    def method_class(self) -> type[ZeroShotMethod]:
        """The method's class; importing it imports PyTorch, which takes seconds."""
        return _method_class(self.plain["method"])

    @cached_property
    def classifier_class(self) -> type[Classifier]:
        """The classifier's class; importing it imports PyTorch."""
        return _classifier_class(self.plain["classifier"])

    def for_benchmark(self, benchmark: Benchmark) -> RunConfig:
        """The configuration with training steps in place of epochs; ``plain`` stays as it is.

        Without test samples of seen classes, an oracle that selects by a metric of seen classes
        selects by ``zsl_top1`` instead, with a warning.
        """
        method = self.method.for_samples(len(benchmark.trainval))
        selection = self.selection
        if not len(benchmark.test_seen):
            selection = _without_seen(selection, benchmark)
        return self.model_copy(update={"method": method, "selection": selection})

    @property
    def takes(self) -> Takes:
        """The kind of sample that the method takes; imports the method only if necessary."""
        light = config_class_of(_target_of(self.plain["method"]))
        return self.method_class.takes if light is None else light.takes

    @property
    def marks(self) -> Marks:
        """The marks of the keys of this run, those of its method and dataset included."""
        return (
            run_marks()
            | marks_of(type(self.method), "method")
            | marks_of(type(self.dataset), "dataset")
            | marks_of(type(self.classifier), "classifier")
        )


def _without_seen(selection: SelectionConfig, benchmark: Benchmark) -> SelectionConfig:
    """The selection for a benchmark without test samples of seen classes."""
    if selection.name == "validation" and selection.calibrate and len(benchmark.test_unseen):
        warnings.warn(
            f"selection.calibrate: {benchmark.name} has no test_seen sample with this split, so "
            "nothing on test shows what the constant costs seen classes; it does not change "
            "zsl_top1.",
            stacklevel=2,
        )
    measured = selection.metric == "zsl_top1" or not len(benchmark.test_unseen)
    if selection.name != "oracle" or measured:
        return selection
    warnings.warn(
        f"selection.metric={selection.metric} cannot be measured on test: {benchmark.name} has no "
        "test_seen sample with this split. The oracle is selected by zsl_top1.",
        stacklevel=2,
    )
    return selection.model_copy(update={"metric": "zsl_top1"})


def parse(cfg: DictConfig) -> RunConfig:
    """Check a composed configuration.

    Args:
        cfg: What Hydra composed from ``conf/`` and the command line.

    Raises:
        ConfigError: A key is unknown, missing, of the wrong type or out of range; all such keys are
            named.
    """
    plain = {"classifier": OWN, **with_current_targets(plain_config(cfg))}
    for section in ("paths", "trainer", "selection", "dataset", "method", "classifier"):
        if not isinstance(plain.get(section), dict):
            raise ConfigError(
                f"{section}: found {plain.get(section)!r}; expected a section of keys, such as "
                f"conf/{section} holds."
            )
    top = checked(RunKeys, plain, "")
    predict_only = marked(RunKeys, PredictOnly)
    for key in predict_only:
        if top.task != "predict" and getattr(top, key):
            raise ConfigError(
                f"{key}={getattr(top, key)}: this key belongs to task=predict. Set task=predict, "
                f"or leave {key} out."
            )
    method_config, dataset_class, classifier_config = _config_classes(plain)
    dataset = checked(dataset_class, _without_target(plain["dataset"]), "dataset")
    method = checked(method_config, _without_target(plain["method"]), "method")
    classifier = checked(classifier_config, _without_target(plain["classifier"]), "classifier")
    stored = without(plain, {*predict_only, *marked(RunKeys, NotStored)})
    stored = with_absolute_places(stored, RunKeys)
    stored["dataset"] = with_absolute_places(stored["dataset"], type(dataset))
    stored["method"] = with_absolute_places(stored["method"], type(method))
    stored["classifier"] = with_absolute_places(stored["classifier"], type(classifier))
    return RunConfig(
        task=top.task,
        ckpt=Path(top.ckpt) if top.ckpt else None,
        features=_path(top.features),
        images=_path(top.images),
        weights=_path(top.weights),
        classes=_path(top.classes),
        descriptions=_path(top.descriptions),
        among=top.among,
        scores=top.scores,
        seed=top.seed,
        deterministic=top.deterministic,
        overwrite=top.overwrite,
        figures=top.figures,
        plots=top.plots,
        paths=top.paths,
        trainer=top.trainer,
        selection=top.selection,
        data=top.data,
        settings=_settings(top),
        dataset=dataset,
        method=method,
        classifier=classifier,
        loggers=top.logger or {},
        callbacks=plain.get("callbacks") or {},
        plain=stored,
    )


def _settings(top: RunKeys) -> SettingsConfig:
    """The section ``settings``; for an older run, made from its section ``tuned``."""
    if top.settings.name is not None or top.tuned.name is None:
        return top.settings
    return SettingsConfig(choice="best", name=top.tuned.name, dataset=top.tuned.dataset)


def _path(value: str | None) -> Path | None:
    return Path(value).expanduser() if value else None


def plain_config(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain containers.

    Raises:
        ConfigError: A value is missing or cannot be resolved.
    """
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(plain, dict)
    if isinstance(plain.get("method"), dict):
        plain["method"] = without_examples(plain["method"])
    return {str(key): value for key, value in plain.items()}


def class_marks(plain: Mapping[str, Any]) -> Marks:
    """The marks of the keys of a configuration's method, dataset and classifier.

    Args:
        plain: A configuration read from a file, in plain containers; other sections are ignored.

    Raises:
        ConfigError: A class that it names is not allowed, or cannot be imported.
    """
    marks = Marks()
    for section, model in _allowed_config_classes(plain).items():
        marks |= marks_of(model, section)
    return marks


def added_later(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Keys that older versions lacked, and the values that give the behaviour of those versions.

    Args:
        plain: A configuration in plain containers; only the ``_target_`` of method, dataset and
            classifier are used.

    Raises:
        ConfigError: A class that it names is not allowed, or cannot be imported.
    """
    return {
        key: mark.value
        for section, model in _allowed_config_classes(plain).items()
        for key, mark in marked(model, AddedLater, section).items()
    }


def _allowed_config_classes(plain: Mapping[str, Any]) -> dict[str, type[BaseModel]]:
    """The classes of the keys of a stored configuration's sections, by section."""
    plain = {"classifier": OWN, **plain}
    sections = {name: plain[name] for name in ("method", "dataset", "classifier")}
    for keys, target in stored_config.foreign(sections):
        raise ConfigError(
            f"{stored_config.shown(keys)}={target!r:.80}: a file alone cannot name code to import. "
            "Give the folder of yamls that names this class: --config-dir FOLDER."
        )
    return dict(zip(sections, _config_classes(plain), strict=True))


def data_of(
    plain: Mapping[str, Any],
) -> tuple[type[ZeroShotMethod], DatasetConfig, DataPaths]:
    """What determines the benchmark of a configuration.

    Args:
        plain: A configuration in plain containers.

    Returns:
        The method's class, the dataset, and the folders that it reads from.

    Raises:
        ConfigError: A class cannot be imported, or a value of the dataset is wrong.
    """
    method_class = _method_class(plain["method"])
    dataset_class = _target(plain["dataset"], DatasetConfig, "dataset")
    folders = plain["paths"]
    paths = DataPaths(
        Path(folders["data_dir"]).expanduser(), cache_folder(folders.get("cache_dir"))
    )
    dataset = checked(dataset_class, _without_target(plain["dataset"]), "dataset")
    return method_class, dataset, paths


def _config_classes(
    plain: Mapping[str, Any],
) -> tuple[type[MethodConfig], type[DatasetConfig], type[ClassifierConfig]]:
    """The classes of the keys of method, dataset and classifier; torch only if needed."""
    method = config_class_of(_target_of(plain["method"]))
    if method is None:
        method = _method_class(plain["method"]).config_class
    classifier = keys_beside(_target_of(plain["classifier"]), ClassifierConfig)
    if classifier is None:
        classifier = _classifier_class(plain["classifier"]).config_class
    return method, _target(plain["dataset"], DatasetConfig, "dataset"), classifier


def _classifier_class(section: Mapping[str, Any]) -> type[Classifier]:
    from zsl_lab.classifiers.base import Classifier

    found: type[Classifier] = _target(section, Classifier, "classifier")
    return found


def _method_class(section: Mapping[str, Any]) -> type[ZeroShotMethod]:
    from zsl_lab.methods.base import ZeroShotMethod

    found: type[ZeroShotMethod] = _target(section, ZeroShotMethod, "method")
    light = config_class_of(_target_of(section))
    if light not in (None, found.config_class):
        raise ConfigError(
            f"method._target_={section.get('_target_')}: its config_class is "
            f"{found.config_class.__module__}.{found.config_class.__qualname__}; expected the "
            f"{found.__name__}Config of config.py beside it. Give one of them another name."
        )
    return found


def _target_of(section: Mapping[str, Any]) -> str:
    return current_target(str(section.get("_target_")))


def _target(section: Mapping[str, Any], base: type[Any], name: str) -> type[Any]:
    path = section.get("_target_")
    module, _, attribute = _target_of(section).rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:
        raise ConfigError(
            f"{name}._target_={path}: no such class ({error}). Expected the import path of a "
            f"{base.__name__}."
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(f"{name}._target_={path}: this is not a {base.__name__}.")
    return found


def _without_target(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key != "_target_"}
