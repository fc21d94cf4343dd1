"""Pydantic models that validate ``result.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from zsl_lab.errors import DataError
from zsl_lab.files.escaping import one_line


class _Stored(BaseModel):
    """A part of ``result.json``: exact types, no infinity, unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


def _nan_if_null(value: float | None) -> float:
    return math.nan if value is None else value


#: in percent; a mean of recalls may exceed 100 by rounding
_Percent = Annotated[float, Field(ge=0, le=100.01)]
_Number = Annotated[float, Field(ge=-1e12, le=1e12)]
_Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]
#: a metric, ``null`` in the file where no sample measures it
_Metric = Annotated[_Percent | None, AfterValidator(_nan_if_null)]
#: a method's own metric
_OwnMetric = Annotated[_Number | None, AfterValidator(_nan_if_null)]


class _Metrics(_Stored):
    zsl_top1: _Metric
    unseen: _Metric
    seen: _Metric
    harmonic_mean: _Metric
    ausuc: _Metric


class _MetricsAtStep(_Metrics):
    step: _Integer


class _PerClass(_Stored):
    unseen: dict[str, _Metric]
    seen: dict[str, _Metric]


class _RecallSummary(_Stored):
    classes: _Integer
    mean: _Metric
    quartiles: list[_Metric]


class _PerClassSummary(_Stored):
    unseen: _RecallSummary
    seen: _RecallSummary


class _Training(_Stored):
    steps: _Integer
    seconds: _Number | None
    check_seconds: _Number | None = None
    steps_per_second: _Number | None
    device: str | None
    precision: str | None
    world_size: _Integer | None
    peak_memory: _Integer | None = None


class _Benchmark(_Stored):
    classes: _Integer
    seen: _Integer
    unseen: _Integer
    untested: _Integer = 0
    samples: _Integer
    splits_sha256: str
    features_sha256: str
    splits_version: str


class _Model(_Stored):
    parameters: _Integer
    flops: _Integer


class _Finding(_Stored):
    level: Literal["error", "warning", "note"]
    code: str
    sentence: str
    way_out: str
    rows: list[int]
    classes: list[str]


class _Settings(_Stored):
    choice: str
    name: str | None = None


class _StoredResult(_Stored):
    """The whole file. Fields with a default were added later: older files lack them."""

    method: str
    dataset: str
    seed: _Integer
    selection: Literal["validation", "oracle", "last"]
    metrics: _Metrics
    oracle: _MetricsAtStep | None
    per_class: _PerClass
    per_class_summary: _PerClassSummary | None = None
    training: _Training
    benchmark: _Benchmark
    checkpoint: str | None
    versions: dict[str, str]
    git_commit: str | None
    model: _Model | None = None
    calibration: float | None = None
    extra: dict[str, _OwnMetric] | None = None
    validation: _MetricsAtStep | None = None
    findings: list[_Finding] | None = None
    metric: str | None = None
    tuned: str | None = None
    settings: _Settings | None = None
    oracle_by_metric: dict[str, _MetricsAtStep] | None = None
    classifier: str = "own"


def validated(raw: object, path: Path) -> dict[str, Any]:
    """The fields of a parsed file.

    Raises:
        DataError: If a field is missing or has another type; names the first such field.
    """
    try:
        return _StoredResult.model_validate(raw).model_dump(exclude_unset=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        missing = first["type"] == "missing"
        found = "nothing" if missing else _brief(first["input"])
        field = ".".join(one_line(str(part)) for part in first["loc"])
        raise DataError(
            f"{path}: {f'field {field!r}' if field else 'the whole file'}: found {found}; expected "
            f"{_expected(first['loc'])}{_bounds(first.get('ctx', {}))}."
        ) from error


def _brief(value: object) -> str:
    try:
        found = json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):  # nested too deep, or an integer of too many digits
        return f"a value of type {type(value).__name__}"
    return found if len(found) <= 60 else f"{found[:57]}..."


def _bounds(context: Mapping[str, Any]) -> str:
    """The bound that a number violates, for the message; empty where there is none."""
    words = {"ge": "at least", "le": "at most", "lt": "below"}
    return next((f", {words[name]} {context[name]}" for name in words if name in context), "")


_TYPE_NAMES = {
    "integer": "an integer",
    "number": "a number",
    "string": "a text",
    "object": "an object",
    "null": "null",
}


def _expected(location: Sequence[str | int]) -> str:
    """What the field at ``location`` may hold, in words, from the models' JSON schema."""
    schema = _StoredResult.model_json_schema()

    def alternatives(node: dict[str, Any]) -> list[dict[str, Any]]:
        parts = node.get("anyOf", [node])
        return [
            schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
            for part in parts
        ]

    node = schema
    for name in location:
        parent = alternatives(node)[0]
        node = parent.get("properties", {}).get(name) or parent["additionalProperties"]
    if "enum" in node:
        return f"one of {', '.join(node['enum'])}"
    return " or ".join(_TYPE_NAMES[part["type"]] for part in alternatives(node))
