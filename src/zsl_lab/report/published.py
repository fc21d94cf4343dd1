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
#: the name of the dataset in tables whose values do not depend on it
ANY_DATASET = "any"

Metric = Literal["zsl_top1", "unseen", "seen", "harmonic_mean"]
METRICS: tuple[Metric, ...] = get_args(Metric)
#: metrics beside those: of ``extra`` and of ``model`` in ``result.json``
FurtherMetric = Literal["zsl_top5", "zsl_average_precision", "parameters", "flops"]
COUNTS = ("parameters", "flops")
NonNegative = Annotated[float, Field(ge=0)]
#: a value of a configuration's key, or several of which one is needed
Value = bool | int | float | str | None | list[bool | int | float | str | None]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TableRow(_Model):
    """A method's row of a paper's table.

    Attributes:
        method: Its name in the paper.
        here: Name of the same method under ``method=``; None if there is none.
        features: The feature extractor, if the table's rows differ in it.
        overrides: Keys of a run's configuration, with the values that a run of this row has. Of
            several rows that a run fits, it belongs to the one with most overrides.
        data: As ``data`` of the table, for this row; it takes precedence.
        overview: Whether the overview of a dataset has the row; false for methods that the paper
            quotes from others.
        values: For each dataset the printed values, in the order of the table's ``metrics``; None
            for a value that is not printed, an empty list if none is.
        sd: For each dataset the standard deviation of the first value, if printed.
    """

    method: str
    here: str | None
    features: str | None = None
    overrides: dict[str, Value] = {}
    data: dict[str, Value | dict[str, Value]] = {}
    overview: bool = True
    values: dict[str, list[NonNegative | None]]
    sd: dict[str, NonNegative] = {}


class Table(_Model):
    """A paper's table, or a part of it.

    Attributes:
        name: Name of the table for ``--paper``; its parts share it.
        paper: Authors and venue.
        title: Title of the paper.
        table: Number of the table.
        split: Which classes are unseen, in the paper's words.
        features: The feature extractor; None if each row names its own.
        data: Keys of a run's configuration, or of ``benchmark`` in its result (``benchmark.KEY``),
            and the values that they have with features, split and texts like the paper's; by
            dataset where these differ.
        note: Further remarks.
        metrics: The metrics of its columns.
        rows: Its rows.
    """

    name: str
    paper: str
    title: str
    table: str
    split: str
    features: str | None
    data: dict[str, Value | dict[str, Value]] = {}
    note: str = ""
    metrics: list[Metric | FurtherMetric]
    rows: list[TableRow]

    @model_validator(mode="after")
    def _complete(self) -> Table:
        for row in self.rows:
            where = f"{self.table}, {row.method}"
            if (row.features or self.features) is None:
                raise ValueError(f"{where}: no features")
            if not all(len(v) in (0, len(self.metrics)) for v in row.values.values()) or not set(
                row.sd
            ) <= set(row.values):
                raise ValueError(f"{where}: expected {', '.join(self.metrics)} for each dataset")
            for dataset in row.values:
                for name, value in self.printed(row, dataset).items():
                    if value is not None and value > 100 and name not in COUNTS:
                        raise ValueError(f"{where}: {name} is {value}, expected at most 100")
        return self

    @property
    def datasets(self) -> list[str]:
        """The datasets that its rows have values of."""
        return list(dict.fromkeys(dataset for row in self.rows for dataset in row.values))

    def printed(self, row: TableRow, dataset: str) -> dict[str, float | None]:
        """The values of a row on a dataset by metric; None where the paper prints none."""
        values = row.values.get(dataset) or [None] * len(self.metrics)
        return dict(zip(self.metrics, values, strict=True))


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
            unknown = set(table.datasets) - set(self.datasets) - {ANY_DATASET}
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
        metrics: In percent, by the names in ``METRICS``; NaN if the table lacks one.
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
    rows = [
        (table, row)
        for table in file.tables
        for row in table.rows
        if row.overview and name in row.values
    ]
    found = [_published(table, row, name) for table, row in rows]
    found = [row for row in found if not all(map(math.isnan, row.metrics.values()))]
    return sorted(found, key=lambda row: row.here not in methods)


def _published(table: Table, row: TableRow, dataset: str) -> Published:
    printed = table.printed(row, dataset)
    return Published(
        method=row.method,
        here=row.here,
        features=row.features or table.features or "",
        split=table.split,
        paper=table.paper,
        title=table.title,
        table=table.table,
        note=table.note,
        metrics={
            name: math.nan if (value := printed.get(name)) is None else value for name in METRICS
        },
        sd=row.sd.get(dataset),
    )
