"""What a run found. This is the only writer and the only reader of ``result.json``.

JSON has no NaN: a figure that does not exist (the recall of a class without test samples, say) is
``null`` in the file and NaN in the objects, so that every figure is a float. All accuracies and
recalls are in percent.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Union

from zsl_lab import __version__
from zsl_lab.errors import DataError
from zsl_lab.files.atomic import atomic_write

RESULT_FILE = "result.json"
SELECTIONS = ("validation", "oracle", "last")
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
    """What a run found, as it stands in ``result.json``.

    Attributes:
        method: Name of the method.
        dataset: Name of the benchmark.
        seed: Seed of the run.
        selection: How the step was chosen: ``validation``, ``oracle`` (on test) or ``last``.
        metrics: ``zsl_top1, unseen, seen, harmonic_mean, ausuc`` on test; NaN where no sample
            measures it.
        oracle: The same at the step that is best *on test*, and that ``step``: to compare with
            papers that select so, never a fair estimate. None if it was not measured.
        per_class: ``unseen`` and ``seen``: recall of each class by its name, prediction over all
            classes; NaN for a class without a test sample.
        training: ``steps, seconds, steps_per_second, device, precision, world_size``; all but
            ``steps`` may be None (unknown). Steps and seconds are those of training from scratch:
            pre-training that another job of a sweep did is counted, with the seconds that it took
            there.
        benchmark: ``classes, seen, unseen, samples`` (counts), ``splits_sha256, features_sha256``
            and ``splits_version``, the name of the split files that the first hash identifies.
        checkpoint: File of the weights that were measured, or None if none was written.
        versions: Version of each package that matters, see :func:`versions`.
        git_commit: Commit of the source checkout, see :func:`git_commit`.
        model: ``parameters`` and ``flops`` of scoring one sample (see
            :func:`zsl_lab.methods.complexity.complexity`); None in results of versions that did not
            count them.
        calibration: Constant added to the scores of unseen classes, chosen on validation classes;
            None if there is none.
        extra: Figures that this method alone has, by name, in percent; None if there are none.
        validation: The figures of ``metrics`` on validation classes at the chosen ``step``, and
            that step: what settings may be compared by. None where no validation classes chose it.
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

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``result.json`` into ``folder``, all of it or nothing.

        Returns:
            The file.

        Raises:
            OutputError: If it cannot be written.
        """
        text = json.dumps(_without_nan(asdict(self)), indent=2, ensure_ascii=False, allow_nan=False)
        return atomic_write(Path(folder) / RESULT_FILE, (text + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Result:
        """Read a result.

        Args:
            path: The file, or the run folder that holds it. Fields that this version does not know
                are left out.

        Raises:
            DataError: If there is no such file, if it is no JSON, or if a field is missing or not
                as expected.
        """
        path = Path(path)
        if path.is_dir():
            path = path / RESULT_FILE
        try:
            raw = json.loads(path.read_bytes(), parse_constant=_not_json)
        except OSError as error:
            raise DataError(
                f"{path}: cannot be read ({error.strerror or error}); expected the {RESULT_FILE} "
                "of a finished run."
            ) from error
        except ValueError as error:
            raise DataError(
                f"{path}: not valid JSON ({error}); expected the {RESULT_FILE} of a finished run."
            ) from error
        return cls(**_read(_SCHEMA, raw, path, ""))


def versions() -> dict[str, str]:
    """Versions of zsl_lab, Python and the packages that a result depends on; a package that is absent is left out."""
    found = {"zsl_lab": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Commit of the source checkout that is running.

    Returns:
        The commit's 40 digits, followed by ``-dirty`` if the code or the configuration differs from
        it; None if zsl_lab does not run from a checkout (a wheel that happens to be installed
        inside one does not count) or git does not answer.
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
    # inside a git hook these would point to another repository; status must not write into this one
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


@dataclass(frozen=True)
class _Leaf:
    """What a single value may be: ``expected`` says it in a message. A ``figure`` is a float, its null is NaN.

    With ``may_lack``, a file without it is read as one with null.
    """

    expected: str
    types: tuple[type[Any], ...]
    null: bool = False
    choices: tuple[str, ...] = ()
    figure: bool = False
    may_lack: bool = False


@dataclass(frozen=True)
class _Each:
    """An object of any names, every value of which is ``kind``; ``null`` and ``may_lack`` as for :class:`_Leaf`."""

    kind: _Leaf
    null: bool = False
    may_lack: bool = False


@dataclass(frozen=True)
class _Optional:
    """An object of these fields, or null; with ``may_lack``, a file without it is read as one with null."""

    fields: dict[str, _Kind]
    may_lack: bool = False


_Kind = Union[_Leaf, _Each, _Optional, "dict[str, _Kind]"]

_TEXT, _INTEGER = _Leaf("a text", (str,)), _Leaf("an integer", (int,))
_TEXT_OR_NULL = _Leaf("a text or null", (str,), null=True)
_INTEGER_OR_NULL = _Leaf("an integer or null", (int,), null=True)
_NUMBER_OR_NULL = _Leaf("a number or null", (int, float), null=True)
_FIGURE = _Leaf("a number or null", (int, float), null=True, figure=True)
_METRICS: dict[str, _Kind] = dict.fromkeys(
    ("zsl_top1", "unseen", "seen", "harmonic_mean", "ausuc"), _FIGURE
)
_SCHEMA: dict[str, _Kind] = {
    "method": _TEXT,
    "dataset": _TEXT,
    "seed": _INTEGER,
    "selection": _Leaf("one of " + ", ".join(SELECTIONS), (str,), choices=SELECTIONS),
    "metrics": _METRICS,
    "oracle": _Optional({**_METRICS, "step": _INTEGER}),
    "per_class": {"unseen": _Each(_FIGURE), "seen": _Each(_FIGURE)},
    "training": {
        "steps": _INTEGER,
        "seconds": _NUMBER_OR_NULL,
        "steps_per_second": _NUMBER_OR_NULL,
        "device": _TEXT_OR_NULL,
        "precision": _TEXT_OR_NULL,
        "world_size": _INTEGER_OR_NULL,
    },
    "benchmark": {
        "classes": _INTEGER,
        "seen": _INTEGER,
        "unseen": _INTEGER,
        "samples": _INTEGER,
        "splits_sha256": _TEXT,
        "features_sha256": _TEXT,
        "splits_version": _TEXT,
    },
    "checkpoint": _TEXT_OR_NULL,
    "versions": _Each(_TEXT),
    "git_commit": _TEXT_OR_NULL,
    "model": _Optional({"parameters": _INTEGER, "flops": _INTEGER}, may_lack=True),
    "calibration": _Leaf("a number or null", (int, float), null=True, may_lack=True),
    "extra": _Each(_FIGURE, null=True, may_lack=True),
    "validation": _Optional({**_METRICS, "step": _INTEGER}, may_lack=True),
}


def _expected(kind: _Kind) -> str:
    if isinstance(kind, _Leaf):
        return kind.expected
    return (
        "an object or null"
        if isinstance(kind, _Optional) or (isinstance(kind, _Each) and kind.null)
        else "an object"
    )


def _read(kind: _Kind, raw: Any, path: Path, name: str) -> Any:
    """Check parsed JSON against what is expected of the field called ``name``, and hand back what is known of it."""
    if isinstance(kind, _Leaf):
        if raw is None and kind.null:
            return math.nan if kind.figure else None
        if (
            not isinstance(raw, kind.types)
            or isinstance(raw, bool)
            or (kind.choices and raw not in kind.choices)
        ):
            raise _damaged(path, name, json.dumps(raw, ensure_ascii=False), _expected(kind))
        return float(raw) if kind.figure else raw
    if raw is None and (isinstance(kind, _Optional) or (isinstance(kind, _Each) and kind.null)):
        return None
    if not isinstance(raw, dict):
        raise _damaged(path, name, json.dumps(raw, ensure_ascii=False), _expected(kind))
    if isinstance(kind, _Each):
        return {key: _read(kind.kind, value, path, f"{name}.{key}") for key, value in raw.items()}
    values: dict[str, Any] = {}
    for key, part in (kind.fields if isinstance(kind, _Optional) else kind).items():
        inner = f"{name}.{key}" if name else key
        if key not in raw and isinstance(part, (_Leaf, _Each, _Optional)) and part.may_lack:
            values[key] = None
            continue
        if key not in raw:
            raise _damaged(path, inner, "nothing", _expected(part))
        values[key] = _read(part, raw[key], path, inner)
    return values


def _damaged(path: Path, field: str, found: str, expected: str) -> DataError:
    found = found if len(found) <= 60 else found[:57] + "..."
    return DataError(
        f"{path}: {f'field {field!r}' if field else 'the whole file'}: found {found}; expected "
        f"{expected}."
    )


def _not_json(constant: str) -> None:
    # Python's parser would take NaN and Infinity, which no other reader of JSON does
    raise ValueError(f"{constant} is no JSON value")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
