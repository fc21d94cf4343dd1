"""Find finished runs, and group those that differ only by seed. Nothing here needs torch."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from zsl_lab.console.result_table import COLUMNS
from zsl_lab.errors import ConfigError, DataError, nearest
from zsl_lab.files.escaping import one_line
from zsl_lab.result import ORACLE_METRICS, RESULT_FILE, SELECTIONS, Result
from zsl_lab.run.configuration.settings import (
    CONFIG_FILE,
    Configuration,
    Settings,
    read_configuration,
    shown_value,
)

#: keys whose value ``result.json`` holds
IN_RESULT = ("seed", "selection.name", "selection.calibrate")

#: for each ``selection``, the keys that have no effect on metrics
_WITHOUT_EFFECT = {
    "validation": ("selection.report_oracle",),
    "oracle": ("selection.report_oracle", "selection.validation_seed", "selection.draws"),
    "last": tuple(
        f"selection.{key}"
        for key in ("report_oracle", "validation_seed", "metric", "check_every", "checks", "draws")
    ),
}

_SELECTED = {"validation": "", "oracle": "selected on test", "last": "last step"}
#: a label lists up to _MAX_KEYS settings that change together; of more, the first _FIRST_KEYS
_MAX_KEYS, _FIRST_KEYS = 4, 3
#: depth to which nested folders are searched
_MAX_DEPTH = 64
#: characters of a setting in a label
_MAX_SETTING = 120
_ACCELERATOR = "trainer.accelerator"
_ABSENT = object()


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: Its folder, as the user wrote it.
        result: Its ``result.json``.
        settings: Its configuration by dotted keys, without irrelevant keys and ``IN_RESULT``; None
            if there is no ``config.yaml``.
    """

    folder: Path
    result: Result
    settings: Settings | None


@dataclass(frozen=True)
class Found:
    """The runs below the given folders.

    Attributes:
        runs: Every finished run once, in the order of the given folders, then by path.
        unfinished: Run folders without a result.
        problems: A sentence for each unusable file or folder.
    """

    runs: list[Run]
    unfinished: list[Path]
    problems: list[str]


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation of a metric over seeds.

    Attributes:
        mean: NaN if the metric is undefined for a seed.
        sd: None for a single seed.
    """

    mean: float
    sd: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Summarise one value per seed."""
        if any(math.isnan(value) for value in values):
            return cls(math.nan, None)
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class Group:
    """Runs that differ only by seed.

    Attributes:
        runs: Sorted by seed.
        label: The method, and what distinguishes this group from others of the same method and
            dataset.
        differences: All settings that distinguish it, as overrides.
    """

    runs: tuple[Run, ...]
    label: str
    differences: str

    @property
    def first(self) -> Result:
        """The first run's result, for fields that all runs share."""
        return self.runs[0].result

    @property
    def comparable(self) -> tuple[str, ...]:
        """Dataset, splits, features and selection: equal for groups that may be compared."""
        facts = self.first.benchmark
        return (
            self.first.dataset,
            facts["splits_version"],
            facts["splits_sha256"],
            facts["features_sha256"],
            self.first.selection,
        )

    @cached_property
    def metrics(self) -> dict[str, Summary]:
        """Metrics on test, by name."""
        return {
            name: Summary.of([run.result.metrics[name] for run in self.runs]) for name in COLUMNS
        }

    @cached_property
    def validation(self) -> dict[str, Summary]:
        """Metrics on validation classes at the selected step; NaN if it was selected otherwise."""
        found = [run.result.validation or dict.fromkeys(COLUMNS, math.nan) for run in self.runs]
        return {name: Summary.of([metrics[name] for metrics in found]) for name in COLUMNS}

    @cached_property
    def oracles(self) -> dict[str, Summary]:
        """Oracle metrics by name, each at its own best step on test; see ORACLE_METRICS."""
        return {
            name: Summary.of([run.result.at_best_on_test(name) for run in self.runs])
            for name in ORACLE_METRICS
        }

    @cached_property
    def model(self) -> dict[str, int] | None:
        """Parameters and FLOPs, if a run recorded them."""
        return next((run.result.model for run in self.runs if run.result.model), None)

    def recall(self, part: str, name: str) -> Summary:
        """Recall of a class; ``part`` is ``unseen`` or ``seen``."""
        return Summary.of([run.result.per_class[part].get(name, math.nan) for run in self.runs])


# --------------------------------------------------------------------------- finding


def find_runs(places: Iterable[Path]) -> Found:
    """Find the runs below folders.

    Args:
        places: Run folders, folders of run folders, or ``result.json`` files.

    Raises:
        ConfigError: If a place does not exist, or is another kind of file.
    """
    found = Found([], [], [])
    visited: set[str] = set()
    for place in places:
        if place.is_dir():
            _walk(place, found, visited)
        elif place.is_file() and place.name == RESULT_FILE:
            real = os.path.realpath(place.parent)
            if real not in visited:
                visited.add(real)
                _add(place.parent, found)
        elif place.exists():
            raise ConfigError(
                f"{place}: not a run; expected a run folder, a folder of runs, or a {RESULT_FILE}."
            )
        else:
            raise ConfigError(
                f"{place}: no such folder; expected a run folder, or a folder of runs."
                f"{_near_match(place)}"
            )
    return found


def _near_match(place: Path) -> str:
    siblings = [path.name for path in place.parent.iterdir()] if place.parent.is_dir() else []
    near = nearest(place.name, siblings)
    return f" Did you mean {place.with_name(near[0])}?" if near else ""


def _walk(place: Path, found: Found, visited: set[str]) -> None:
    def unreadable(error: OSError) -> None:
        found.problems.append(
            f"{error.filename}: cannot be read ({error.strerror}). Fix its permissions, or give "
            "the folders beside it."
        )

    # no recursion: folders may be nested deeper than Python's stack
    waiting = [(str(place), 0)]
    while waiting:
        name, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            found.problems.append(
                f"{one_line(name, 300)}: folders that are nested more than {_MAX_DEPTH} deep are "
                "not searched. Give the folder of the run itself."
            )
            continue
        # symbolic links are followed, so a folder may be reached twice or contain itself
        real = os.path.realpath(name)
        if real in visited:
            continue
        visited.add(real)
        _, folders, files = next(os.walk(name, followlinks=True, onerror=unreadable), ("", [], []))
        # hidden folders contain no runs: .hydra has its own config.yaml, .venv is large
        visible = sorted((one for one in folders if not one.startswith(".")), reverse=True)
        waiting += [(os.path.join(name, folder), depth + 1) for folder in visible]
        if RESULT_FILE in files:
            _add(Path(name), found)
        elif CONFIG_FILE in files and _is_run(Path(name) / CONFIG_FILE):
            found.unfinished.append(Path(name))


def _add(folder: Path, found: Found) -> None:
    try:
        result = Result.load(folder)
        config = folder / CONFIG_FILE
        settings = _settings(read_configuration(config), result) if config.exists() else None
        found.runs.append(Run(folder, result, settings))
    except DataError as error:
        found.problems.append(str(error))
    except Exception as error:  # one damaged run must not hide the others
        found.problems.append(
            f"{folder}: left out, its files cannot be read ({type(error).__name__}: "
            f"{one_line(str(error))}). Restore the folder, or take it away."
        )


def _is_run(path: Path) -> bool:
    # other programs write a config.yaml too
    try:
        read_configuration(path)
    except DataError:
        return False
    return True


def _settings(configuration: Configuration, result: Result) -> Settings:
    marks = configuration.marks
    # the result has the hashes of the contents of the dataset's files
    files = (key for key in marks.places if key.startswith("dataset."))
    settings = configuration.settings((*IN_RESULT, *_WITHOUT_EFFECT[result.selection], *files))
    # of a file that differs by seed, only whether one is given matters
    given = {key: "given" for key in marks.per_seed if settings.get(key) is not None}
    # the device that was used: a run with auto may repeat one with cpu
    device = result.training.get("device")
    if _ACCELERATOR in settings and device:
        given[_ACCELERATOR] = "cpu" if device.startswith("cpu") else "gpu"
    return settings | given


# --------------------------------------------------------------------------- grouping


def group_runs(runs: Iterable[Run], sort: str = "harmonic_mean") -> tuple[list[Group], list[str]]:
    """Group the runs that differ only by seed.

    Args:
        runs: Of runs with the same seed and settings, only the first is used.
        sort: The metric that comparable groups are sorted by, highest first.

    Returns:
        The groups, by dataset and comparable ones together; and a sentence for each run that was
        left out.
    """
    by_key: dict[Any, dict[int, Run]] = {}
    repeated = []
    for run in _without_new_keys(list(runs)):
        seeds = by_key.setdefault(_key(run), {})
        first = seeds.setdefault(run.result.seed, run)
        if first is not run:
            repeated.append(_repetition(run, first))
    members = [tuple(seeds[seed] for seed in sorted(seeds)) for seeds in by_key.values()]
    groups = [Group(runs, *_label(runs[0], [other[0] for other in members])) for runs in members]

    def order(group: Group) -> tuple[Any, ...]:
        *benchmark, selection = group.comparable
        mean = group.metrics[sort].mean
        return (
            *benchmark,
            SELECTIONS.index(selection),
            math.inf if math.isnan(mean) else -mean,
            group.label,
        )

    return sorted(groups, key=order), repeated


def relabelled(groups: Sequence[Group]) -> list[Group]:
    """The groups with new labels, which only distinguish them from each other."""
    firsts = [group.runs[0] for group in groups]
    return [Group(group.runs, *_label(group.runs[0], firsts)) for group in groups]


def _without_new_keys(runs: Sequence[Run]) -> list[Run]:
    """Runs without settings that some runs lack and that give the behaviour of older versions.

    Older versions behaved as with null, or as with the value of the key's mark ``AddedLater``.
    """
    lacking: dict[str, set[str]] = {}
    for method in {run.result.method for run in runs}:
        known = [set(r.settings) for r in runs if r.settings and r.result.method == method]
        everywhere = known[0].intersection(*known) if known else set()
        lacking[method] = {key for keys in known for key in keys if key not in everywhere}
    return [
        run
        if run.settings is None
        else replace(run, settings=_as_before(run.settings, lacking[run.result.method]))
        for run in runs
    ]


def _as_before(settings: Settings, lacking: Collection[str]) -> Settings:
    """Settings without the given keys where their value gives the behaviour of older versions."""
    if all(settings[key] is None for key in lacking if key in settings):
        later: Mapping[str, Any] = {}
    else:
        targets = {
            section: settings.get(f"{section}._target_")
            for section in ("method", "dataset", "classifier")
        }
        later = _added_later(**targets)
    return {
        key: value
        for key, value in settings.items()
        if key not in lacking or (value is not None and value != later.get(key, _ABSENT))
    }


@lru_cache(maxsize=256)
def _added_later(**targets: str | None) -> Mapping[str, Any]:
    from zsl_lab.run.config import added_later

    try:
        return added_later({name: {"_target_": target} for name, target in targets.items()})
    except ConfigError:  # a class of a package that is not known here
        return {}


def _key(run: Run) -> tuple[Any, ...]:
    result, facts = run.result, run.result.benchmark
    return (
        result.method,
        result.classifier,
        result.dataset,
        result.selection,
        result.calibration is not None,
        (facts["splits_sha256"], facts["features_sha256"]),
        None if run.settings is None else frozenset(run.settings.items()),
    )


def _repetition(run: Run, first: Run) -> str:
    metrics = "" if _same_metrics(run.result, first.result) else ", but other metrics"
    why = (
        "same seed and settings as"
        if run.settings is not None
        else f"without {CONFIG_FILE} only its folder distinguishes it from"
    )
    return f"{run.folder}: left out, {why} {first.folder}{metrics}."


def _same_metrics(a: Result, b: Result) -> bool:
    pairs = [(a.metrics[name], b.metrics[name]) for name in COLUMNS]
    return all(x == y or (math.isnan(x) and math.isnan(y)) for x, y in pairs)


def _label(run: Run, others: Sequence[Run]) -> tuple[str, str]:
    """Label of a group, and all settings that distinguish it from groups of the same method."""
    mine = run.result
    same_dataset = [other for other in others if other.result.dataset == mine.dataset]
    siblings = [
        other
        for other in same_dataset
        if (other.result.method, other.result.classifier, other.result.selection)
        == (mine.method, mine.classifier, mine.selection)
    ]
    parts = [
        "" if mine.classifier == "own" else one_line(mine.classifier),
        _SELECTED[mine.selection],
        "calibrated" if mine.calibration is not None else "",
    ]
    differences: list[str] = []
    if run.settings is None:
        parts.append(f"no {CONFIG_FILE}" if len(siblings) > 1 else "")
    else:
        known = [other.settings for other in siblings if other.settings is not None]
        for keys in _differing(known):
            texts = [
                f"{key}={shown_value(run.settings[key])}" for key in keys if key in run.settings
            ]
            differences += texts
            parts += _shortened(texts)
    for what in ("splits", "features"):
        hashes = {other.result.benchmark[f"{what}_sha256"] for other in same_dataset}
        parts.append(f"{what} {mine.benchmark[f'{what}_sha256'][:8]}" if len(hashes) > 1 else "")
    text = ", ".join(part for part in parts if part)
    method = one_line(mine.method)
    return f"{method} ({text})" if text else method, " ".join(differences)


def _shortened(texts: list[str]) -> list[str]:
    texts = [one_line(text, _MAX_SETTING) for text in texts]
    if len(texts) <= _MAX_KEYS:
        return texts
    return [*texts[:_FIRST_KEYS], f"{len(texts) - _FIRST_KEYS} more"]


def _differing(settings: Sequence[Settings]) -> list[list[str]]:
    """Keys whose values differ; keys that partition the settings in the same way form one list."""
    together: dict[tuple[int, ...], list[str]] = {}
    for key in dict.fromkeys(key for one in settings for key in one):
        values = [one.get(key, _ABSENT) for one in settings]
        pattern = tuple(values.index(value) for value in values)
        if any(pattern):
            together.setdefault(pattern, []).append(key)
    return list(together.values())
