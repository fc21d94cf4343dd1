"""Figures that papers print, from ``published.yaml``: what a reader holds a run's figures against, with what they were measured on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

FILE = "published.yaml"
#: two readers of the same pictures and classes
SAME_DATA = {"flowers": "flo"}

Dataset = Literal["awa1", "awa2", "cub", "sun", "apy", "flo"]
Metric = Literal["zsl_top1", "unseen", "seen", "harmonic_mean"]
Percent = Annotated[float, Field(ge=0, le=100)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TableRow(_Model):
    """A method's row of a paper's table.

    Attributes:
        method: As the paper calls it.
        here: The name of the same method under ``method=``; None where there is none.
        features: What extracted the features, where the table's rows differ in that.
        values: The printed figures for each dataset, in the order of the table's ``figures``.
        sd: The standard deviation that stands behind the first of them, where there is one.
    """

    method: str
    here: str | None
    features: str | None = None
    values: dict[Dataset, list[Percent]]
    sd: dict[Dataset, Percent] = {}


class Table(_Model):
    """A paper's table, or the part of it that is of use here.

    Attributes:
        paper: Authors, where it appeared.
        title: Its title.
        table: Its number.
        split: Which classes were unseen, as the paper says it.
        features: What extracted the features; None where each row says it.
        note: What else a reader must know.
        figures: What its columns hold.
        rows: Its rows.
    """

    paper: str
    title: str
    table: str
    split: str
    features: str | None
    note: str = ""
    figures: list[Metric]
    rows: list[TableRow]

    @model_validator(mode="after")
    def _complete(self) -> Table:
        for row in self.rows:
            if (row.features or self.features) is None:
                raise ValueError(f"{self.table}, {row.method}: no features")
            if any(len(printed) != len(self.figures) for printed in row.values.values()) or not set(
                row.sd
            ) <= set(row.values):
                raise ValueError(
                    f"{self.table}, {row.method}: expected {', '.join(self.figures)} for each "
                    "dataset"
                )
        return self


@dataclass(frozen=True)
class Published:
    """What a paper prints of a method on a dataset.

    Attributes:
        method: As the paper calls it.
        here: The name of the same method under ``method=``; None where there is none.
        features: What extracted the features.
        split: Which classes were unseen.
        paper: Authors, where it appeared.
        title: Its title.
        table: Where in it.
        note: What else a reader must know.
        figures: In percent, by the names of a result's metrics; NaN where the table has none.
        sd: The standard deviation of ``zsl_top1``, where it is printed.
    """

    method: str
    here: str | None
    features: str
    split: str
    paper: str
    title: str
    table: str
    note: str
    figures: dict[str, float]
    sd: float | None


@cache
def tables() -> tuple[Table, ...]:
    """All that ``published.yaml`` holds."""
    from omegaconf import OmegaConf

    text = resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    return TypeAdapter(tuple[Table, ...]).validate_python(
        tuple(OmegaConf.to_container(OmegaConf.create(text)) or ())
    )


def published(dataset: str, methods: Sequence[str] = ()) -> list[Published]:
    """What papers print on a dataset, as the papers come.

    Args:
        dataset: As in ``result.json``; large letters are no others.
        methods: Methods of ours, whose rows come first.
    """
    dataset = SAME_DATA.get(dataset.lower(), dataset.lower())
    found = [
        _published(table, row, dataset)
        for table in tables()
        for row in table.rows
        if dataset in row.values
    ]
    return sorted(found, key=lambda row: row.here not in methods)


def _published(table: Table, row: TableRow, dataset: str) -> Published:
    of_dataset: dict[str, list[float]] = {
        str(name): figures for name, figures in row.values.items()
    }
    spread: dict[str, float] = {str(name): sd for name, sd in row.sd.items()}
    names: tuple[Metric, ...] = ("zsl_top1", "unseen", "seen", "harmonic_mean")
    printed = {
        str(name): value for name, value in zip(table.figures, of_dataset[dataset], strict=True)
    }
    return Published(
        method=row.method,
        here=row.here,
        features=row.features or table.features or "",
        split=table.split,
        paper=table.paper,
        title=table.title,
        table=table.table,
        note=table.note,
        figures={name: printed.get(name, math.nan) for name in names},
        sd=spread.get(dataset),
    )
