"""Metrics that papers print: complete, in range, and consistent with each other."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from tests.conftest import METHODS
from zsl_lab.report.published import Published, PublishedFile, published, published_file

DATASETS = ("awa1", "awa2", "cub", "sun", "apy", "flo")
ROWS = [(dataset, row) for dataset in DATASETS for row in published(dataset)]


def find(dataset: str, method: str, table: str) -> Published:
    [row] = [row for row in published(dataset) if (row.method, row.table) == (method, table)]
    return row


def test_every_row_names_its_features_its_split_and_where_it_stands() -> None:
    assert len(ROWS) > 40
    for _, row in ROWS:
        assert all((row.method, row.features, row.split, row.paper, row.title, row.table))
        assert row.here is None or row.here in METHODS


def test_rows_of_tables_name_methods_that_there_are() -> None:
    rows = [row for table in published_file().tables for row in table.rows]
    assert {row.here for row in rows} - {None, *METHODS} == set()


def test_every_table_is_reached_but_those_of_other_data_or_metrics() -> None:
    reached = {(row.paper, row.table) for _, row in ROWS}
    tables = published_file().tables
    assert {t.name for t in tables if (t.paper, t.table) not in reached} == {
        "sgal_fig3",
        "sgal_supplement",
        "aspn_table2",
        "aspn_fig3",
        "vzsl_imagenet",
        "n3_table3",
        "n3_table4",
    }


def test_metrics_are_percentages_and_h_is_that_of_u_and_s() -> None:
    for dataset, row in ROWS:
        known = [value for value in row.metrics.values() if not math.isnan(value)]
        assert known
        assert all(0 <= value < 100 for value in known)
        u, s, h = (row.metrics[name] for name in ("unseen", "seen", "harmonic_mean"))
        # all three were rounded, or are means of runs; some tables have H alone
        assert (
            math.isnan(h) or math.isnan(u) or h == pytest.approx(2 * u * s / (u + s), abs=0.15)
        ), (
            dataset,
            row,
        )


def test_some_metrics_as_the_papers_have_them() -> None:
    assert list(find("AWA2", "SGAL-dropout", "Table 2").metrics.values())[1:] == [55.1, 81.2, 65.6]
    assert find("sun", "mmVAE", "Table 2").metrics["seen"] == 43.6
    assert list(find("FLO", "ASP (Ours)", "Table 1").metrics.values()) == [78.1, 67.3, 87.4, 76.0]
    assert (
        find("awa1", "CADA-VAE", "comparison with generalized ZSL methods, AwA1").metrics[
            "harmonic_mean"
        ]
        == 64.1
    )
    assert find("cub", "N3", "Table 2, proposed split").metrics["zsl_top1"] == 9.5
    vzsl = find("cub", "VZSL", "results (in slides)")
    assert (vzsl.metrics["zsl_top1"], vzsl.sd, vzsl.features) == (57.42, 0.63, "VGG-19, 4,096-d")


def test_zlap_has_rows_of_its_own_with_attributes_and_with_sentences() -> None:
    table = "generalized ZSL, ZLAP with WGAN"
    assert find("awa2", "WGAN + ZLAP", table).metrics["harmonic_mean"] == 72.8
    assert find("cub", "WGAN + ZLAP", table).metrics["harmonic_mean"] == 55.0
    assert find("cub", "WGAN + ZLAP, sentences", table).metrics["harmonic_mean"] == 68.7
    assert find("cub", "GenZSL", "generalized ZSL").features == "CLIP ViT-B/16"


def test_pictures_of_the_same_flowers_have_the_same_rows_and_other_data_none() -> None:
    assert published("flowers") == published("flo")
    assert published("digits") == []


def test_methods_that_ran_come_first() -> None:
    names = [row.here for row in published("awa1", ["vzsl", "aspn"])]
    assert names[:3] == ["vzsl", "aspn", "vzsl"]
    assert not {"vzsl", "aspn"} & set(names[3:])


@pytest.mark.parametrize(
    "broken",
    [
        {"rows": [{"method": "a", "here": None, "values": {"cub": [1.0, 2.0]}}]},
        {"rows": [{"method": "a", "here": None, "values": {"cub": [101.0]}}]},
        {"rows": [{"method": "a", "here": None, "values": {"birds": [1.0]}}]},
        {"rows": [{"method": "a", "here": None, "values": {"cub": [1.0]}}], "features": None},
        {"rows": [{"method": "a", "here": None, "values": {"cub": [-1.0]}}]},
        {"metrics": ["accuracy"]},
    ],
)
def test_a_row_that_cannot_be_right_is_refused(broken: dict[str, object]) -> None:
    table = {
        "name": "n",
        "paper": "p",
        "title": "t",
        "table": "1",
        "split": "s",
        "features": "f",
        "metrics": ["zsl_top1"],
        "rows": [],
    }
    datasets: dict[str, list[str]] = {"cub": []}
    PublishedFile.model_validate({"datasets": datasets, "tables": [table]})
    with pytest.raises(ValidationError):
        PublishedFile.model_validate({"datasets": datasets, "tables": [table | broken]})
