"""The keys of a run beside those of its method and its dataset; nothing here needs torch.

Each key of ``conf/config.yaml`` is declared here once, with the marks of :mod:`zsl_lab.keys` that
say what it means. Methods and datasets declare their own keys in their own classes.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field

from zsl_lab.classifiers.config import OWN
from zsl_lab.hardware.trainer import TrainerConfig
from zsl_lab.keys import (
    AddedLater,
    FilledBy,
    FixedByCheckpoint,
    Irrelevant,
    Marks,
    NotStored,
    Place,
    PredictOnly,
    Section,
    marked,
    marks_of,
)

#: which classes to predict among: the checkpoint's and those given, the unseen ones and those
#: given, or only those given
Among = Literal["all", "unseen", "new"]
#: which scores of a prediction are written: of every class, of the best five, of the best one, or
#: of every class in a NumPy archive
Scores = Literal["all", "best", "none", "npz"]


class PathsConfig(Section):
    """Folders of data, of caches, of runs, of this run, and of what runs share."""

    data_dir: Annotated[str, Place()]
    cache_dir: Annotated[str | None, Place()]
    output_dir: Annotated[str, Place()]
    run_dir: Annotated[str, Place()]
    pretrained_dir: Annotated[str | None, Place()] = None
    settings_dir: Annotated[str | None, Place()] = None

    @property
    def cache_folder(self) -> Path:
        """Where caches go; the user's own cache folder where ``cache_dir`` names none."""
        return cache_folder(self.cache_dir)


def cache_folder(cache_dir: str | None) -> Path:
    """Where caches go; the user's own cache folder for None."""
    return Path(cache_dir or platformdirs.user_cache_dir("zsl_lab")).expanduser()


class SelectionConfig(Section):
    """How the step whose weights are reported is chosen; see conf/selection.

    Attributes:
        check_every: Steps between two checks of weights that may be selected, and between two
            checkpoints to resume from.
        max_checks: The most such checks in a phase, evenly spaced where there would be more.
        checks: Number of checks from the first candidate to the last step, evenly spaced; None for
            one every ``check_every`` steps.
        draws: Draws of validation classes; the step is chosen on the mean over them.
        calibrate: Whether a constant for the scores of unseen classes is selected with the step;
            has an effect with ``selection=validation`` only.
    """

    name: Literal["validation", "oracle", "last"]
    metric: Literal["zsl_top1", "unseen", "seen", "harmonic_mean", "ausuc"]
    check_every: int = Field(ge=1)
    max_checks: Annotated[int, AddedLater(100)] = Field(default=100, ge=1)
    checks: int | None = Field(default=None, ge=1)
    report_oracle: bool
    validation_seed: int = Field(default=0, ge=0)
    draws: Annotated[int, AddedLater(1)] = Field(default=1, ge=1, le=1000)
    calibrate: bool = False


class DataConfig(Section):
    """Classes to add to the benchmark, and what happens on findings of the data check.

    Attributes:
        extra_classes: A table of classes without samples that become unseen classes; see
            :mod:`zsl_lab.extraction.extra_classes`.
        check: ``warn`` (errors and warnings of :mod:`zsl_lab.data.checks.check` are shown) or
            ``strict`` (they stop the run).
    """

    extra_classes: Annotated[str | None, Place(), AddedLater(None), FixedByCheckpoint()] = None
    check: Annotated[Literal["warn", "strict"], Irrelevant()] = "warn"


class SettingsConfig(Section):
    """Which settings a run began with; see conf/settings.

    Attributes:
        choice: ``best``, ``general``, ``published``, ``none`` or ``file``; None if the run did not
            record it.
        name: The file whose settings were used: its name in conf/tuned, conf/published or the
            user's folder, or a path. None for the values of the method's yaml alone.
        method: The method that the file's settings were found for; None if the file does not say.
        dataset_name: The choice of ``dataset=`` that they were found on; None if the file does not
            say.
        dataset: Keys of the dataset, with the values that the settings were found for.
        study: How ``zsl_lab.tune`` found the settings: its study, trials, metric and draws.
    """

    choice: str | None = None
    name: str | None = None
    method: str | None = None
    dataset_name: str | None = None
    dataset: dict[str, Any] = Field(default_factory=dict)
    study: dict[str, Any] = Field(default_factory=dict)


class TunedConfig(Section):
    """The former section ``settings``: older runs have it, and files of settings may."""

    name: str | None = None
    dataset: dict[str, Any] = Field(default_factory=dict)


class SweepConfig(Section):
    """How a sweep is made; see conf/sweep and conf/experiment.

    Attributes:
        size: ``smoke`` gives every run the ``short`` settings of its method.
        smoke: Further overrides of such a run, by dotted key.
        missing: What happens to a job whose data are missing: ``error`` (no job starts), ``skip``
            (it is left out) or ``substitute`` (it uses other data, synthetic ones if need be).
        without: Combinations of values that are left out; each maps keys to a value or a list of
            values.
        figures: Figures that compare the jobs: a file's name, and the function that draws it
            (``zsl_lab.sweep.panels``).
        together: How many jobs are trained together, their updates computed as one.
    """

    resume: Annotated[bool, NotStored()] = False
    # stored, so that short runs are never taken for full ones
    size: Annotated[Literal["full", "smoke"], AddedLater("full")] = "full"
    smoke: Annotated[dict[str, Any], NotStored()] = Field(default_factory=dict)
    missing: Annotated[Literal["error", "skip", "substitute"], NotStored()] = "error"
    without: Annotated[list[dict[str, Any]], NotStored()] = Field(default_factory=list)
    figures: Annotated[dict[str, str], NotStored()] = Field(default_factory=dict)
    together: Annotated[int, NotStored()] = Field(default=1, ge=1, le=1024)


class PlotsConfig(Section):
    """How figures are drawn; see :data:`zsl_lab.plots.style.FigureStyle`."""

    style: Literal["screen", "paper"] = "screen"


class CallbackKeys(BaseModel):
    """Callbacks by name, each a ``_target_`` with its arguments; see conf/callbacks."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    progress: Annotated[dict[str, Any] | None, Irrelevant()] = None


class RunKeys(Section):
    """Every key of a run; those of ``method`` and ``dataset`` are checked by their own classes."""

    task: Annotated[Literal["fit", "test", "predict"], Irrelevant()]
    ckpt: Annotated[str | None, Place(), Irrelevant()]
    resume: Annotated[Literal["auto"] | None, NotStored()] = None
    sweep: SweepConfig = SweepConfig()
    seed: Annotated[int, FixedByCheckpoint()] = Field(ge=0, lt=2**32)
    deterministic: bool = False
    debug: Annotated[bool, Irrelevant()]
    overwrite: Annotated[bool, NotStored()] = False
    figures: Annotated[bool, Irrelevant()] = True
    plots: Annotated[PlotsConfig, Irrelevant()] = PlotsConfig()
    features: Annotated[str | None, PredictOnly()] = None
    images: Annotated[str | None, PredictOnly()] = None
    weights: Annotated[str | None, PredictOnly()] = None
    classes: Annotated[str | None, PredictOnly()] = None
    descriptions: Annotated[str | None, PredictOnly()] = None
    among: Annotated[Among | None, PredictOnly()] = None
    scores: Annotated[Scores | None, PredictOnly()] = None
    paths: Annotated[PathsConfig, Irrelevant()]
    trainer: Annotated[TrainerConfig, FilledBy("hardware")]
    selection: Annotated[SelectionConfig, FixedByCheckpoint()]
    data: DataConfig = DataConfig()
    dataset: Annotated[dict[str, Any], FixedByCheckpoint()]
    method: Annotated[dict[str, Any], FixedByCheckpoint()]
    # versions that had no choice of classifier did not store it
    classifier: Annotated[dict[str, Any], FixedByCheckpoint()] = OWN
    settings: Annotated[SettingsConfig, Irrelevant(), FixedByCheckpoint()] = SettingsConfig()
    tuned: Annotated[TunedConfig, Irrelevant(), FixedByCheckpoint()] = TunedConfig()
    logger: Annotated[dict[str, Any] | None, Irrelevant()] = None
    callbacks: CallbackKeys | None = None


@cache
def run_groups() -> dict[str, str]:
    """The sections that a group of another name fills, and that group."""
    return {section: mark.group for section, mark in marked(RunKeys, FilledBy).items()}


@cache
def run_marks() -> Marks:
    """The marks of a run's own keys."""
    return marks_of(RunKeys)
