"""The result of a run. Only this module writes and reads ``result.json``.

JSON has no NaN: a metric that is undefined (e.g. the recall of a class without test samples) is
``null`` in the file and NaN in Python, so that every metric is a float. All accuracies and recalls
are in percent.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from zsl_lab import __version__
from zsl_lab.errors import DataError
from zsl_lab.files import per_class_csv
from zsl_lab.files.atomic import Content, atomic_write_all
from zsl_lab.files.bounded import read_bounded

RESULT_FILE = "result.json"
#: the recall of each class, beside a result.json of more than :data:`MOST_CLASSES` classes
PER_CLASS_FILE = "per_class.csv"
MOST_CLASSES = 1000
#: larger files are refused; older versions stored the recalls of all classes, 10 MB for 100,000
_MAX_BYTES = 2**25
SELECTIONS = ("validation", "oracle", "last")
#: metrics with an oracle step of their own: papers print each at its own best step on test
ORACLE_METRICS = ("zsl_top1", "harmonic_mean")
PACKAGES = (
    *(
        "torch",
        "torchvision",
        "pytorch-lightning",
        "torchmetrics",
        "hydra-core",
        "omegaconf",
        "pydantic",
    ),
    *("numpy", "scipy", "scikit-learn", "h5py", "transformers", "wandb"),
)


@dataclass(frozen=True)
class Result:
    """The result of a run, with the fields of ``result.json``.

    Attributes:
        method: Name of the method.
        dataset: Name of the benchmark.
        seed: Seed of the run.
        selection: How the step was chosen: ``validation``, ``oracle`` (on test) or ``last``.
        metrics: ``zsl_top1, unseen, seen, harmonic_mean, ausuc`` on test; NaN where there is no
            sample to measure it on, ``zsl_top1`` also where there is a single unseen class.
        oracle: The same metrics at the ``step`` that is best *on test*: comparable with papers that
            select this way, not an unbiased estimate. None if not measured.
        per_class: ``unseen`` and ``seen``: recall of each class by its name, predicted among all
            classes; NaN for a class without test samples. With more than :data:`MOST_CLASSES`
            classes they are stored in ``per_class.csv``, and ``result.json`` has
            ``per_class_summary`` in their place: number of classes with a recall, mean and
            quartiles. {} where that file is missing.
        training: ``steps, seconds, check_seconds, steps_per_second, device, precision,
            world_size, peak_memory``; all but ``steps`` may be None (unknown).
            ``check_seconds`` is the time spent in checks, which ``seconds`` does not include;
            ``peak_memory`` is that of the main process since the run was started or last resumed
            (see :func:`zsl_lab.hardware.memory.peak`); older versions measured neither.
            Steps and seconds count training from scratch: a pre-training that was reused from
            another job of a sweep is included with the seconds it took there.
        benchmark: ``classes, seen, unseen, untested, samples`` (counts; ``untested`` unseen classes
            have no test sample), ``splits_sha256, features_sha256`` and ``splits_version``, the
            name of the split files that the first hash identifies.
        checkpoint: File of the evaluated weights, or None if none was written.
        versions: Versions of the packages that the result depends on, see :func:`versions`.
        git_commit: Commit of the source checkout, see :func:`git_commit`.
        model: ``parameters`` and ``flops`` of scoring one sample (see
            :func:`zsl_lab.methods.complexity.complexity`); None in results of older versions.
        calibration: Constant added to the scores of unseen classes, chosen on validation classes;
            None if there is none.
        extra: Further metrics on test by name, in percent: those of
            :class:`zsl_lab.metrics.ExtraAccuracies`, and those that only this method has. None if
            there are none.
        validation: ``metrics`` on validation classes at the selected ``step``, for choosing
            between settings. None if the step was not selected on validation classes.
        findings: What the data check found: the fields of each
            :class:`zsl_lab.data.checks.findings.Finding`;
            None in results of older versions.
        metric: Metric that steps were selected by, also the oracle's; None in results of older
            versions.
        tuned: File of the settings used, which were tuned on validation classes; None if the run
            used published settings or those of the method's yaml, and in results of older versions.
        settings: ``choice`` (``best``, ``general``, ``published``, ``none`` or ``file``) and
            ``name``, the file whose settings were used or None; None if it was not recorded.
        oracle_by_metric: As ``oracle``, at the step that is best on test by ``zsl_top1`` and at the
            one that is best by ``harmonic_mean``: papers print each metric at its own best step.
            None if not measured, and in results of older versions.
        classifier: Name of the classifier; ``own`` (the method's own scores) in results of older
            versions.
    """

    method: str
    dataset: str
    seed: int
    selection: str
    metrics: dict[str, float]
    oracle: dict[str, float] | None
    per_class: dict[str, dict[str, float]]
    training: dict[str, Any]
    benchmark: dict[str, Any]
    checkpoint: str | None
    versions: dict[str, str]
    git_commit: str | None
    model: dict[str, int] | None = None
    calibration: float | None = None
    extra: dict[str, float] | None = None
    validation: dict[str, Any] | None = None
    findings: list[dict[str, Any]] | None = None
    metric: str | None = None
    tuned: str | None = None
    settings: dict[str, str | None] | None = None
    classifier: str = "own"
    oracle_by_metric: dict[str, dict[str, float]] | None = None

    def at_best_on_test(self, metric: str, wanted: str | None = None) -> float:
        """Return a test metric at an oracle step; NaN if that step is unknown.

        Args:
            metric: The step is the best on test by this metric, one of :data:`ORACLE_METRICS`.
            wanted: Name of the metric to return; None for ``metric`` itself.
        """
        wanted = wanted or metric
        if self.oracle_by_metric is not None:
            return self.oracle_by_metric.get(metric, {}).get(wanted, math.nan)
        # an older version recorded the step that is best by the selection metric only
        known = self.oracle is not None and (self.metric or "harmonic_mean") == metric
        return self.oracle[wanted] if known and self.oracle is not None else math.nan

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``result.json`` into ``folder``, atomically.

        Returns:
            The path of the file.

        Raises:
            OutputError: If it cannot be written.
        """
        fields = self.to_plain()
        target = Path(folder) / RESULT_FILE
        contents: dict[Path, Content] = {}
        if sum(map(len, self.per_class.values())) > MOST_CLASSES:
            contents[target.with_name(PER_CLASS_FILE)] = per_class_csv.content(self.per_class)
            fields["per_class"] = {group: {} for group in self.per_class}
            fields["per_class_summary"] = {
                group: per_class_csv.summary(recalls) for group, recalls in self.per_class.items()
            }
        text = json.dumps(without_nan(fields), indent=2, ensure_ascii=False, allow_nan=False)
        contents[target] = (text + "\n").encode()
        atomic_write_all(contents)
        return target

    def to_plain(self) -> dict[str, Any]:
        """The fields of ``result.json``, for JSON: None in place of NaN."""
        fields = asdict(self)
        if self.metric is None:  # from an older version: written without the fields it lacked
            for name in (
                "findings",
                "metric",
                "tuned",
                "settings",
                "oracle_by_metric",
                "classifier",
            ):
                del fields[name]
        plain: dict[str, Any] = without_nan(fields)
        return plain

    @classmethod
    def from_plain(cls, raw: object, path: Path) -> Result:
        """Validate the output of :meth:`to_plain`, of this version or an older one.

        Args:
            raw: The fields; unknown ones are ignored.
            path: The file that holds them, for messages. With many classes their recalls are read
                from :data:`PER_CLASS_FILE` beside it.

        Raises:
            DataError: A field is missing or has another type.
        """
        from zsl_lab.result_schema import validated  # pydantic takes 0.2 s to import

        fields = validated(raw, path)
        if fields.pop("per_class_summary", None) is not None:
            fields["per_class"] = per_class_csv.read(path.with_name(PER_CLASS_FILE))
        return cls(**fields)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Result:
        """Read a result.

        Args:
            path: The file, or the run folder that contains it. Unknown fields are ignored.

        Raises:
            DataError: If the file is missing or not valid JSON, or if a field is missing or has
                another type.
        """
        path = Path(path)
        if path.is_dir():
            path = path / RESULT_FILE
        try:
            content = read_bounded(path, _MAX_BYTES)
            raw = json.loads(content, parse_constant=refuse_constant)
        except OSError as error:
            raise DataError(
                f"{path}: cannot be read ({error.strerror or error}); expected the {RESULT_FILE} "
                "of a finished run."
            ) from error
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}: not valid JSON ({error}); expected the {RESULT_FILE} of a finished run."
            ) from error
        return cls.from_plain(raw, path)


def versions() -> dict[str, str]:
    """Versions of zsl_lab, Python and the installed packages that a result depends on."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    """As :func:`versions`; looking for the packages takes a while."""
    found = {"zsl_lab": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def git_commit() -> str | None:
    """Commit of the source checkout that is running, at the first call in this process.

    Returns:
        The 40-digit hash, followed by ``-dirty`` if the code or the configuration has changed since
        that commit; None if zsl_lab does not run from a checkout (a wheel installed inside one does
        not count) or git fails.
    """
    package = Path(__file__).resolve().parent
    top = _git(package, "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() / "src" / "zsl_lab" != package:
        return None
    commit = _git(package, "rev-parse", "--verify", "HEAD")
    if not commit:
        return None
    # untracked files count: a new method is a new folder
    changes = _git(Path(top), "status", "--porcelain", "--", "src", "conf")
    return commit if changes == "" else f"{commit}-dirty"


def _git(folder: Path, *arguments: str) -> str | None:
    # in a git hook GIT_* point to another repository; `status` must not write to this one
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("GIT_")
    } | {"GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def refuse_constant(constant: str) -> None:
    """Raise ValueError: Python's parser accepts NaN and Infinity, which are not JSON."""
    raise ValueError(f"{constant} is not a JSON value")


def without_nan(value: Any) -> Any:
    """A value with None in place of each float that is not finite, in dictionaries too."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
