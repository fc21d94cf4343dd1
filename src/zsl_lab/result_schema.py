"""Models of ``result.json``: what each field may hold."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from zsl_lab.errors import DataError


class _Stored(BaseModel):
    """A part of ``result.json``: exact types, no infinity, unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


def _nan_if_null(value: float | None) -> float:
    return math.nan if value is None else value


#: a metric, ``null`` in the file where no sample measures it
_Metric = Annotated[float | None, AfterValidator(_nan_if_null)]


class _Metrics(_Stored):
    zsl_top1: _Metric
    unseen: _Metric
    seen: _Metric
    harmonic_mean: _Metric
    ausuc: _Metric


class _MetricsAtStep(_Metrics):
    step: int


class _PerClass(_Stored):
    unseen: dict[str, _Metric]
    seen: dict[str, _Metric]


class _Training(_Stored):
    steps: int
    seconds: float | None
    steps_per_second: float | None
    device: str | None
    precision: str | None
    world_size: int | None


class _Benchmark(_Stored):
    classes: int
    seen: int
    unseen: int
    untested: int = 0
    samples: int
    splits_sha256: str
    features_sha256: str
    splits_version: str


class _Model(_Stored):
    parameters: int
    flops: int


class _Finding(_Stored):
    level: Literal["error", "warning", "note"]
    code: str
    sentence: str
    way_out: str
    rows: list[int]
    classes: list[str]


class _StoredResult(_Stored):
    """The whole file. Fields with a default were added later: older files lack them."""

    method: str
    dataset: str
    seed: int
    selection: Literal["validation", "oracle", "last"]
    metrics: _Metrics
    oracle: _MetricsAtStep | None
    per_class: _PerClass
    training: _Training
    benchmark: _Benchmark
    checkpoint: str | None
    versions: dict[str, str]
    git_commit: str | None
    model: _Model | None = None
    calibration: float | None = None
    extra: dict[str, _Metric] | None = None
    validation: _MetricsAtStep | None = None
    findings: list[_Finding] | None = None
    metric: str | None = None
    tuned: str | None = None


def validated(raw: object, path: Path) -> dict[str, Any]:
    """The fields of a parsed file.

    Raises:
        DataError: If a field is missing or has another type; names the first such field.
    """
    try:
        return _StoredResult.model_validate(raw).model_dump()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        missing = first["type"] == "missing"
        found = "nothing" if missing else json.dumps(first["input"], ensure_ascii=False)
        found = found if len(found) <= 60 else f"{found[:57]}..."
        field = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{path}: {f'field {field!r}' if field else 'the whole file'}: found {found}; expected "
            f"{_expected(first['loc'])}."
        ) from error


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
