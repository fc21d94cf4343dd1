"""Metrics that papers print, from ``published.yaml``, to compare runs with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

FILE = "published.yaml"

Metric = Literal["zsl_top1", "unseen", "seen", "harmonic_mean"]
METRICS: tuple[Metric, ...] = get_args(Metric)
Percent = Annotated[float, Field(ge=0, le=100)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TableRow(_Model):
    """A method's row of a paper's table.

    Attributes:
        method: Its name in the paper.
        here: Name of the same method under ``method=``; None if there is none.
        features: The feature extractor, if the table's rows differ in it.
        values: For each dataset the printed values, in the order of the table's ``metrics``.
        sd: For each dataset the standard deviation of the first value, if printed.
    """

    method: str
    here: str | None
    features: str | None = None
    values: dict[str, list[Percent]]
    sd: dict[str, Percent] = {}


class Table(_Model):
    """A paper's table, or a part of it.

    Attributes:
        paper: Authors and venue.
        title: Title of the paper.
        table: Number of the table.
        split: Which classes are unseen, in the paper's words.
        features: The feature extractor; None if each row names its own.
        note: Further remarks.
        metrics: The metrics of its columns.
        rows: Its rows.
    """

    paper: str
    title: str
    table: str
    split: str
    features: str | None
    note: str = ""
    metrics: list[Metric]
    rows: list[TableRow]

    @model_validator(mode="after")
    def _complete(self) -> Table:
        for row in self.rows:
            if (row.features or self.features) is None:
                raise ValueError(f"{self.table}, {row.method}: no features")
            complete = all(len(values) == len(self.metrics) for values in row.values.values())
            if not complete or not set(row.sd) <= set(row.values):
                raise ValueError(
                    f"{self.table}, {row.method}: expected {', '.join(self.metrics)} for each "
                    "dataset"
                )
        return self


class PublishedFile(_Model):
    """The contents of ``published.yaml``.

    Attributes:
        datasets: Names of the datasets, each with other names of the same images and classes.
        tables: Tables of the papers.
    """

    datasets: dict[str, list[str]]
    tables: list[Table]

    @model_validator(mode="after")
    def _known_datasets(self) -> PublishedFile:
        for table in self.tables:
            unknown = {name for row in table.rows for name in row.values} - set(self.datasets)
            if unknown:
                raise ValueError(f"{table.table}: unknown dataset {', '.join(sorted(unknown))}")
        return self

    def canonical(self, dataset: str) -> str:
        """The name that rows use for a dataset; case-insensitive."""
        dataset = dataset.lower()
        return next((name for name, same in self.datasets.items() if dataset in same), dataset)


@dataclass(frozen=True)
class Published:
    """What a paper prints of a method on a dataset.

    Attributes:
        method: Its name in the paper.
        here: Name of the same method under ``method=``; None if there is none.
        features: The feature extractor.
        split: Which classes are unseen.
        paper: Authors and venue.
        title: Title of the paper.
        table: Number of the table.
        note: Further remarks.
        metrics: In percent, by the names of a result's metrics; NaN if the table lacks one.
        sd: Standard deviation of ``zsl_top1``, if printed.
    """

    method: str
    here: str | None
    features: str
    split: str
    paper: str
    title: str
    table: str
    note: str
    metrics: dict[str, float]
    sd: float | None


@cache
def published_file() -> PublishedFile:
    """The contents of ``published.yaml``."""
    from omegaconf import OmegaConf

    text = resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    return PublishedFile.model_validate(OmegaConf.to_container(OmegaConf.create(text)))


def published(dataset: str, methods: Sequence[str] = ()) -> list[Published]:
    """What papers print on a dataset, in the order of the file.

    Args:
        dataset: Name as in ``result.json``, case-insensitive.
        methods: Names under ``method=`` whose rows come first.
    """
    file = published_file()
    name = file.canonical(dataset)
    found = [
        _published(table, row, name)
        for table in file.tables
        for row in table.rows
        if name in row.values
    ]
    return sorted(found, key=lambda row: row.here not in methods)


def _published(table: Table, row: TableRow, dataset: str) -> Published:
    printed = dict(zip(table.metrics, row.values[dataset], strict=True))
    return Published(
        method=row.method,
        here=row.here,
        features=row.features or table.features or "",
        split=table.split,
        paper=table.paper,
        title=table.title,
        table=table.table,
        note=table.note,
        metrics={name: printed.get(name, math.nan) for name in METRICS},
        sd=row.sd.get(dataset),
    )
