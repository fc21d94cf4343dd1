"""Tables of papers with runs beside their rows, over runs written by hand."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.runs import METRICS, WriteRun
from zsl_lab.errors import ConfigError
from zsl_lab.report.groups import Group, find_runs, group_runs
from zsl_lab.report.paper import paper_csv, paper_tables
from zsl_lab.report.paper_rows import is_synthetic, left_out, paper_lines, paper_names
from zsl_lab.report.published import published_file
from zsl_lab.report.tables import Sheet

#: features and split of most tables
GENUINE = {"dataset.features": "res101", "dataset.split": "proposed"}
PROPOSED = {"splits_version": "proposed split (AWA1, file of 2018-01-31)"}
Ran = Callable[..., Path]


@pytest.fixture
def ran(write_run: WriteRun) -> Ran:
    """Write a run on the genuine features of AwA1 with the proposed split, or what is given."""

    def ran(name: str, h: float = 50.0, **given: Any) -> Path:
        config = given.pop("config", {})
        fields = {"dataset": "AWA1", "facts": PROPOSED, **given}
        return write_run(name, h, config=None if config is None else GENUINE | config, **fields)

    return ran


def groups_in(folder: Path) -> list[Group]:
    return group_runs(find_runs([folder]).runs)[0]


def sheet_of(sheets: Sequence[Sheet], dataset: str) -> Sheet:
    [found] = [sheet for sheet in sheets if f": {dataset} (" in sheet.title]
    return found


def rows(sheet: Sheet, section: int = 0) -> dict[str, dict[str, str]]:
    """The cells of a section by method, then by head; without a heading."""
    return {
        row.texts[0]: {
            head: f"{cell.text} {cell.sd}".strip()
            for head, cell in zip(sheet.metric_heads, row.cells, strict=True)
        }
        for row in sheet.sections[section]
        if row.cells
    }


def headings(sheet: Sheet) -> list[str]:
    """The headings of the sections below the paper's rows."""
    return [own[0].texts[0] for own in sheet.sections[1:] if not own[0].cells]


# --------------------------------------------------------------------------- the papers alone


def test_the_tables_have_the_names_of_their_experiments() -> None:
    assert {
        *("sgal_table1", "sgal_table2", "sgal_supplement", "sgal_fig3", "vzsl_table1"),
        *("vzsl_imagenet", "aspn_table1", "aspn_table2", "aspn_fig3", "n3_table2", "n3_table3"),
        *("n3_table4", "n3_table5", "n3_table6", "n3_fig6", "xian_table"),
    } <= set(paper_names())


@pytest.mark.parametrize("name", paper_names())
def test_every_table_can_be_shown_without_runs(name: str) -> None:
    sheets = paper_tables(name, [])
    for sheet in sheets:
        assert all(head.startswith("paper ") for head in sheet.metric_heads)
        assert [head for _, heads in sheet.spans for head in heads] == [
            head.removeprefix("paper ") for head in sheet.metric_heads
        ]
    printed = [cell for sheet in sheets for row in sheet.sections[0] for cell in row.cells]
    assert any(cell.text != "-" for cell in printed) == (name != "sgal_supplement")


def test_a_table_has_its_rows_in_order_on_each_of_its_datasets() -> None:
    sheets = paper_tables("aspn_table1", [])
    assert [sheet.title.split(": ")[1].split()[0] for sheet in sheets] == [
        *("awa1", "awa2", "cub", "flo")
    ]
    flowers = rows(sheet_of(sheets, "flo"))
    assert list(flowers)[:4] == ["LATEM", "DEVISE", "ESZSL", "ALE"]
    assert list(flowers["ASP (Ours)"].values()) == ["78.1", "67.3", "87.4", "76.0"]
    assert list(flowers["COSMO"].values()) == ["-", "59.6", "81.4", "68.8"]


def test_values_have_the_decimals_and_deviations_of_the_paper() -> None:
    [_, birds, _] = paper_tables("vzsl_table1", [])
    assert rows(birds)["VZSL"] == {"paper zsl_top1": "57.42 ± 0.63"}
    assert rows(birds)["SAE [features not named]"] == {"paper zsl_top1": "56.60"}
    [species] = paper_tables("n3_table3", [])
    assert rows(species)["N3, γ = 0.99, initial μ = 0.01"] == {"paper zsl_top1": "18.5"}


def test_notes_say_what_is_odd_about_the_printed_metrics() -> None:
    def notes(name: str) -> str:
        return " ".join(sheet.note for sheet in paper_tables(name, []))

    assert "per sample and chosen on test" in notes("sgal_table1")
    assert "SAE and DEM on CUB exchanged" in notes("sgal_table2")
    assert "52.2 for mmVAE on AwA1 where Table 2 says 54.2" in notes("sgal_fig3")
    assert "probably of 10 unseen classes" in notes("vzsl_table1")
    # once, under the last dataset
    assert notes("sgal_table2").count("exchanged") == 1


def test_an_unknown_table_is_answered_with_the_nearest_and_all_others() -> None:
    with pytest.raises(ConfigError, match=r"n3_tabel2: .*Did you mean n3_table2\?.*xian_table"):
        paper_tables("n3_tabel2", [])


# --------------------------------------------------------------------------- runs beside them


def test_a_row_has_the_selected_metrics_the_oracle_and_those_of_the_paper(
    ran: Ran, tmp_path: Path
) -> None:
    for seed, h in enumerate((50.0, 52.0)):
        by_metric = {
            "zsl_top1": {**dict.fromkeys(METRICS, 1.0), "zsl_top1": 64.0, "step": 5},
            "harmonic_mean": {**dict.fromkeys(METRICS, h + 5), "unseen": 40.0, "step": 9},
        }
        ran(f"{seed}", h, seed=seed, method="aspn", metric="ausuc", oracle_by_metric=by_metric)
    sheet = sheet_of(paper_tables("aspn_table1", groups_in(tmp_path)), "awa1")
    assert rows(sheet)["ASP (Ours)"] == {
        "seeds": "2",
        **{f"validation {name}": "51.0 ± 1.4" for name in ("zsl_top1", "unseen", "seen", "H")},
        "oracle zsl_top1": "64.0 ± 0.0",
        "oracle unseen": "40.0 ± 0.0",
        "oracle seen": "56.0 ± 1.4",
        "oracle H": "56.0 ± 1.4",
        "paper zsl_top1": "75.4",
        "paper unseen": "58.0",
        "paper seen": "85.7",
        "paper H": "69.2",
    }
    assert [title for title, _ in sheet.spans] == ["", "validation", "oracle", "paper"]
    others = rows(sheet)["LisGAN"]
    assert (others["seeds"], others["validation H"], others["paper H"]) == ("-", "-", "62.3")
    assert len(sheet.sections) == 1


def test_runs_on_other_features_stand_apart_from_the_row(ran: Ran, tmp_path: Path) -> None:
    ran("a", config={"dataset.features": "lampert_pca512"})
    sheet = sheet_of(paper_tables("sgal_table2", groups_in(tmp_path)), "awa1")
    own, apart = rows(sheet), rows(sheet, 1)
    assert own["SGAL"]["validation H"] == "-"
    assert own["SGAL"]["paper H"] == "61.5"
    assert headings(sheet) == ["[features lampert_pca512, split proposed]"]
    cells = apart["SGAL"]
    assert (cells["validation H"], cells["paper H"]) == ("50.0", "-")
    assert "in brackets" in sheet.note


@pytest.mark.parametrize(
    ("given", "data"),
    [
        ({"config": {"dataset.split": "random"}}, "features res101, split random"),
        (
            {"facts": {"splits_version": "unknown"}},
            "features res101, split proposed (not a published file)",
        ),
        ({"config": None}, "features unknown, split unknown"),
        (
            {"dataset": "AWA1 (synthetic)"},
            "synthetic data, features res101, split proposed",
        ),
        (
            {"config": {"dataset.features": "Synthetic_res101"}},
            "synthetic data, features Synthetic_res101, split proposed",
        ),
    ],
)
def test_data_that_are_not_the_papers_are_named(
    ran: Ran, tmp_path: Path, given: dict[str, Any], data: str
) -> None:
    ran("a", **given)
    sheet = sheet_of(paper_tables("sgal_table2", groups_in(tmp_path)), "awa1")
    assert headings(sheet) == [f"[{data}]"]
    assert list(rows(sheet, 1)) == ["SGAL"]


def test_data_are_synthetic_if_dataset_features_or_split_say_so(ran: Ran, tmp_path: Path) -> None:
    ran("a", method="a", dataset="awa2_synthetic")
    ran("b", method="b", config={"dataset._target_": "zsl_lab.data.SyntheticDataset"})
    ran("c", method="c", facts={"splits_version": "generated, dataset.seed=0"})
    ran("d", method="d")
    found = {group.first.method: is_synthetic(group) for group in groups_in(tmp_path)}
    assert found == {"a": True, "b": True, "c": True, "d": False}


def test_semantics_count_where_the_paper_names_them(ran: Ran, tmp_path: Path) -> None:
    for semantics in ("sent", "att"):
        for method in ("aspn", "ale"):
            config = {"dataset.semantics": semantics}
            ran(f"{method}-{semantics}", method=method, dataset="CUB", config=config)
    sheet = sheet_of(paper_tables("aspn_table1", groups_in(tmp_path)), "cub")
    measured = {name for name, cells in rows(sheet).items() if cells["seeds"] == "1"}
    assert measured == {"ALE", "ASP (Ours)"}
    assert headings(sheet) == [
        "[features res101, split proposed, semantics sent]",
        "[features res101, split proposed, semantics att]",
    ]
    assert list(rows(sheet, 1)) == ["ALE"]
    assert list(rows(sheet, 2)) == ["ASP (Ours)"]


def test_several_settings_of_a_row_are_told_apart(ran: Ran, tmp_path: Path) -> None:
    for d in (1, 2):
        ran(f"{d}", config={"method.d": d}, classifier="softmax", metric="ausuc")
    ran("other", method="mmvae", config={"method.d": 3})
    names = list(rows(sheet_of(paper_tables("sgal_table2", groups_in(tmp_path)), "awa1")))
    assert "SGAL (softmax, method.d=1)" in names
    assert "SGAL (softmax, method.d=2)" in names
    assert "mmVAE" in names


def test_a_run_selected_on_test_has_no_validation_columns(ran: Ran, tmp_path: Path) -> None:
    ran("a", selection="oracle")
    found = rows(sheet_of(paper_tables("sgal_table2", groups_in(tmp_path)), "awa1"))
    cells = found["SGAL (selected on test)"]
    assert (cells["validation H"], cells["oracle H"], cells["paper H"]) == ("-", "51.0", "61.5")


def n3(**config: Any) -> dict[str, Any]:
    standard = {
        "dataset.split": "standard",
        "method.base.name": "resnet18",
        "method.text.encoder": "bert",
    }
    return {
        "method": "n3",
        "dataset": "cub_images",
        "facts": {"unseen": 50, "splits_version": "standard split"},
        "config": standard | {f"method.{key}": value for key, value in config.items()},
    }


def test_overrides_choose_the_row(ran: Ran, tmp_path: Path) -> None:
    ran("a", 16.0, **n3(gamma=0.9, mu=1 - 0.9))
    ran("b", 17.0, **n3(gamma=0.5, mu=0.5))
    ran("c", 18.0, **n3(gamma=1.0, mu=0.001))
    groups = groups_in(tmp_path)
    [sheet] = paper_tables("n3_table3", groups)
    found = {name: cells["validation zsl_top1"] for name, cells in rows(sheet).items()}
    assert found["N3, γ = 0.9, initial μ = 0.1"] == "16.0"
    assert found["N3, γ = 0.5, initial μ = 0.5"] == "17.0"
    assert set(found.values()) == {"-", "16.0", "17.0"}
    [sentence] = left_out("n3_table3", groups)
    assert sentence.startswith("n3_table3 has no row for: n3 (method.gamma=1.0, method.mu=0.001)")
    assert "gamma=0.5" not in sentence


def test_the_share_of_unseen_classes_is_a_value_of_g(ran: Ran, tmp_path: Path) -> None:
    for g in (0.2, 0.9):
        for p in (0.25, 0.5):
            ran(f"{g}-{p}", config={"method.g": g, "method.p": p})
    sheet = sheet_of(paper_tables("sgal_supplement", groups_in(tmp_path)), "awa1")
    assert list(rows(sheet)) == [
        "SGAL, g = share of unseen classes (method.p=0.25)",
        "SGAL, g = share of unseen classes (method.p=0.5)",
        "SGAL, g = 0.5",
        "SGAL, g = 0.8",
        "SGAL, g = 0.9 (method.p=0.25)",
        "SGAL, g = 0.9 (method.p=0.5)",
        "SGAL, g = 0.95",
    ]


def test_runs_belong_to_the_part_with_their_split(ran: Ran, tmp_path: Path) -> None:
    given = n3()
    ran("a", 12.0, **given)
    given["config"] |= {"dataset.split": "proposed"}
    ran("b", 9.0, **given | {"facts": {"unseen": 50, **PROPOSED}})
    sheets = [s for s in paper_tables("n3_table2", groups_in(tmp_path)) if ": cub" in s.title]
    assert [rows(sheet)["N3"]["validation zsl_top1"] for sheet in sheets] == ["12.0", "9.0"]
    assert [rows(sheet)["N3"]["paper zsl_top1"] for sheet in sheets] == ["17.6", "9.5"]
    assert all(len(sheet.sections) == 1 for sheet in sheets)


def test_a_proposed_split_of_ones_own_stands_apart_in_the_part_of_the_proposed_split(
    ran: Ran, tmp_path: Path
) -> None:
    given = n3()
    given["config"] |= {"dataset.split": "proposed"}
    ran("a", 9.0, **given | {"facts": {"unseen": 50, "splits_version": "unknown"}})
    sheets = [s for s in paper_tables("n3_table2", groups_in(tmp_path)) if ": cub" in s.title]
    standard, proposed = sheets
    assert len(standard.sections) == 1
    assert rows(proposed, 1)["N3"]["validation zsl_top1"] == "9.0"
    assert headings(proposed)[0].startswith("[split proposed (not a published file)")


def test_the_number_of_unseen_classes_counts(ran: Ran, tmp_path: Path) -> None:
    config = {"dataset.features": "vgg19", "dataset.split": "standard"}
    for unseen in (10, 72):
        facts = {"unseen": unseen, "splits_version": f"standard {unseen}"}
        given = {"splits": f"{unseen:02d}" * 32, "facts": facts, "config": config}
        ran(f"{unseen}", float(unseen), method="vzsl", dataset="SUN", **given)
    sheet = sheet_of(paper_tables("vzsl_table1", groups_in(tmp_path)), "sun")
    assert rows(sheet)["VZSL"]["validation zsl_top1"] == "10.0"
    assert headings(sheet) == ["[features vgg19, split standard, unseen classes 72]"]
    assert rows(sheet, 1)["VZSL"]["validation zsl_top1"] == "72.0"


def test_further_metrics_come_from_the_methods_own(ran: Ran, tmp_path: Path) -> None:
    given = n3()
    given["config"] |= {"dataset.split": "random"}
    given["facts"] = {"unseen": 20, "splits_version": "random, split_seed=0"}
    extra = {"zsl_top5": 41.0, "zsl_average_precision": 12.5}
    ran("a", 11.0, **given | {"dataset": "flowers", "extra": extra})
    found = rows(sheet_of(paper_tables("n3_table6", groups_in(tmp_path)), "flo"))
    assert found["N3 [ResNet-18, adapted; BERT reads texts]"] == {
        "seeds": "1",
        "validation average precision": "12.5",
        "validation zsl_top1": "11.0",
        "validation top-5": "41.0",
        "paper average precision": "16.0",
        "paper zsl_top1": "10.4",
        "paper top-5": "39.7",
    }


def test_sizes_are_of_no_dataset(ran: Ran, tmp_path: Path) -> None:
    model = {"parameters": 14_400_000, "flops": 111_200_000}
    for dataset in ("FLO", "digits"):
        ran(dataset, method="aspn", dataset=dataset, model=model)
    [sheet] = paper_tables("aspn_table2", groups_in(tmp_path))
    assert rows(sheet)["ASPN (Ours) on digits"] == {
        "seeds": "1",
        "here parameters (M)": "14.40",
        "here MFLOPs": "111.20",
        "paper parameters (M)": "13.9",
        "paper MFLOPs": "109.8",
    }
    assert "ASPN (Ours) on FLO" in rows(sheet)


@pytest.mark.slow
def test_each_group_stands_in_at_most_one_line(ran: Ran, tmp_path: Path) -> None:
    file = published_file()
    methods = sorted({row.here for t in file.tables for row in t.rows if row.here})
    pairs = [(method, dataset) for method in methods for dataset in ("awa1", "cub", "flo")]
    for i, (method, dataset) in enumerate(pairs):
        ran(f"{i}", method=method, dataset=dataset)
    groups = groups_in(tmp_path)
    for name in paper_names():
        placed = [line.group.runs for line in paper_lines(name, groups) if line.group]
        assert len(placed) == len(set(map(id, placed))) <= len(groups), name


def test_the_csv_file_has_unrounded_metrics_and_what_the_runs_are(ran: Ran, tmp_path: Path) -> None:
    ran("a", 50.123)
    ran("b", 40.0, method="mmvae", config={"dataset.features": "other"})
    text = paper_csv("sgal_table2", groups_in(tmp_path))
    lines = {
        row["method"] + ("*" if row["runs_other_data"] else ""): row
        for row in csv.DictReader(io.StringIO(text))
        if row["dataset"] == "awa1"
    }
    sgal = lines["SGAL"]
    assert (float(sgal["harmonic_mean_mean"]), sgal["paper_harmonic_mean"]) == (50.123, "61.5")
    assert (sgal["seeds"], sgal["harmonic_mean_sd"], sgal["runs"]) == ("1", "", "sgal")
    assert float(sgal["oracle_on_test_unseen_mean"]) == 51.123
    assert lines["mmVAE"]["seeds"] == "0"
    assert lines["mmVAE"]["paper_harmonic_mean"] == "54.2"
    assert lines["mmVAE*"]["paper_harmonic_mean"] == ""
    assert lines["mmVAE*"]["runs_other_data"] == "features other, split proposed"
