"""The state of a run in a checkpoint, and the schema that stored sections are checked against."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BeforeValidator, Field, Strict, TypeAdapter, ValidationError

from zsl_lab.errors import CheckpointError
from zsl_lab.run.configuration.stored_config import check_literal, shown

#: version of the section that a run adds to a Lightning checkpoint
FORMAT = 1
#: the key of that section
SECTION = "zsl_lab"


Phase = Literal["select", "refit"]
Schema = TypeVar("Schema")


def _plain_number(value: Any) -> Any:
    # pydantic also takes what can be converted, such as a tensor of one number
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"it is {brief(value)}; expected a number")
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
    """The part of a checkpoint on its run, beside weights, optimisers and random states.

    The annotations are the schema that :meth:`from_plain` checks.

    Attributes:
        config: The resolved configuration, plain containers.
        phase: The phase of training that the checkpoint belongs to.
        selected: Number of training steps of the refit; None for the method's whole schedule.
        calibration: Constant added to the scores of unseen classes; None in a phase that selects
            it.
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
        """Plain containers to store, without optional fields that are not set."""
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
        """Validate the output of :meth:`to_plain`, of this version or an older one.

        Args:
            plain: The stored section; fields of newer versions are ignored.
            origin: ``KEY=PATH`` of the file, for messages.

        Raises:
            CheckpointError: The section has another format, or a field is missing or has another
                type than expected.
        """
        # the type first: a tensor would be compared element by element
        if not isinstance(plain.get("format"), int) or plain["format"] != FORMAT:
            raise CheckpointError(
                f"{origin}: field 'format' is {brief(plain.get('format'))}; this version reads "
                f"{FORMAT}. Use the version of zsl_lab that wrote it, or train anew."
            )
        if "reported" not in plain:
            raise damaged(origin, "field 'reported' is missing")
        if "calibration" not in plain and _calibrates(plain.get("config")):
            raise damaged(origin, "field 'calibration' is missing")
        found = checked(RunState, {**_OPTIONAL, **plain}, origin)
        # the file's own values are kept: validation converts integers to floats, and copies
        objects = ("spent", "earlier", "selected_spans")
        names = (field.name for field in fields(cls) if field.name not in objects)
        known = {name: plain[name] for name in names if name in plain}
        return replace(found, **known)


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


@cache
def _schema(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def checked(kind: type[Schema], plain: Any, origin: str, prefix: str = "") -> Schema:
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
    except Exception as error:  # values of unforeseen types fail within pydantic
        raise damaged(origin, f"section '{prefix}' cannot be read ({error})"[:300]) from error
    loc = [str(part) for part in problem["loc"]]
    name = shown((*prefix.split(".")[:-1], *loc[:3]))
    if problem["type"] == "missing":
        raise damaged(origin, f"field '{name}' is missing")
    if loc[:1] in (["config"], ["pretraining"]) and problem["type"] == "value_error":
        raise damaged(origin, f"field '{name}': {problem['ctx']['error']}")
    expected = _EXPECTED.get(loc[0] if loc else "", "another value")
    raise damaged(origin, f"field '{name}' is {brief(problem['input'])}; expected {expected}")


def brief(value: Any) -> str:
    """A value as messages show it."""
    try:
        return reprlib.repr(value)
    except Exception:  # a whole number of thousands of digits has no text
        return f"of type {type(value).__name__}"


def damaged(origin: str, found: str) -> CheckpointError:
    """The error for a damaged file; ``found`` says what is wrong in it."""
    return CheckpointError(
        f"{origin}: {found}; the file is damaged. Give another checkpoint, or train anew."
    )
