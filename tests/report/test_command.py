"""``python -m zsl_lab.report`` over runs written by hand, and over real ones."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SHORT, Command
from tests.helpers.runs import METRICS, Reported, WriteRun
from tests.test_result import RESULT
from zsl_lab.report.groups import Group, Summary, find_runs, group_runs
from zsl_lab.report.tables import recall_csv, recall_sheets, result_csv, result_sheet


def groups_in(folder: Path) -> list[Group]:
    return group_runs(find_runs([folder]).runs)[0]


def labels(folder: Path) -> list[str]:
    return [group.label for group in groups_in(folder)]


def bold(folder: Path, column: str = "harmonic_mean") -> list[bool]:
    sheet = result_sheet(groups_in(folder))
    return [
        row.cells[sheet.metric_heads.index(column)].best for rows in sheet.sections for row in rows
    ]


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# --------------------------------------------------------------------------- statistics


def test_the_spread_is_the_sample_standard_deviation() -> None:
    summary = Summary.of([10.0, 20.0, 40.0])
    assert summary.mean == pytest.approx(70 / 3)
    # squared distances from 70/3: 1600/9, 100/9, 2500/9; their sum by n - 1 = 2
    assert summary.sd == pytest.approx(math.sqrt(4200 / 9 / 2))


def test_a_single_seed_has_no_spread() -> None:
    assert Summary.of([42.0]) == Summary(42.0, None)


def test_a_figure_that_one_seed_lacks_is_none() -> None:
    summary = Summary.of([42.0, math.nan])
    assert math.isnan(summary.mean)
    assert summary.sd is None


def test_the_table_of_flowers_comes_out_as_written_by_hand(
    write_run: WriteRun, tmp_path: Path
) -> None:
    # experiments/flo, mmvae, seeds 0 to 4: "42.3 ± 7.0" and "46.7 ± 1.4"
    oracles = (46.5, 48.1, 44.5, 47.8, 46.6)
    for seed, h in enumerate((30.2, 48.1, 44.5, 45.2, 43.6)):
        oracle = {**dict.fromkeys(METRICS, 0.0), "harmonic_mean": oracles[seed], "step": 1}
        write_run(f"{seed}", h, seed=seed, oracle=oracle)
    [[row]] = result_sheet(groups_in(tmp_path)).sections
    texts = [f"{cell.text} {cell.sd}".strip() for cell in row.cells]
    assert texts[:8] == ["5", *["42.3 ± 7.0"] * 5, "-", "46.7 ± 1.4"]


def test_each_metric_of_the_oracle_is_that_of_its_own_best_step(
    write_run: WriteRun, tmp_path: Path
) -> None:
    for seed, (t, h) in enumerate(((60.0, 50.0), (64.0, 54.0))):
        by_metric = {
            "zsl_top1": {**dict.fromkeys(METRICS, 1.0), "zsl_top1": t, "step": 5},
            "harmonic_mean": {**dict.fromkeys(METRICS, 2.0), "harmonic_mean": h, "step": 9},
        }
        write_run(f"{seed}", seed=seed, metric="ausuc", oracle_by_metric=by_metric)
    groups = groups_in(tmp_path)
    [[row]] = result_sheet(groups).sections
    assert [f"{cell.text} {cell.sd}" for cell in row.cells[6:8]] == ["62.0 ± 2.8", "52.0 ± 2.8"]
    [written] = rows_of(result_csv(groups))
    assert float(written["oracle_on_test_zsl_top1_mean"]) == 62.0
    assert float(written["oracle_on_test_harmonic_mean_mean"]) == 52.0


# --------------------------------------------------------------------------- grouping


def test_runs_that_differ_by_seed_and_paths_only_are_one_group(
    write_run: WriteRun, tmp_path: Path
) -> None:
    write_run(
        "b",
        40.0,
        seed=1,
        config={
            "paths.data_dir": "/elsewhere",
            "debug": True,
            "callbacks.progress._target_": "a.progress.line",
        },
    )
    write_run(
        "a",
        50.0,
        seed=0,
        config={"method.g": 0.90, "callbacks": {}, "logger": {"wandb": {"project": "p"}}},
    )
    [group] = groups_in(tmp_path)
    assert group.label == "sgal"
    assert [run.result.seed for run in group.runs] == [0, 1]
    assert group.metrics["seen"].mean == 45.0
    assert group.metrics["seen"].sd == pytest.approx(math.sqrt(50))


def test_the_label_says_which_settings_differ(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("a", 60, config={"method.g": 0.8, "method.hidden": [32, 64], "method.norm": True})
    write_run("b", 50, config={"method.g": 0.9, "method.hidden": [32, 64], "method.norm": None})
    write_run("c", 40, config={"method.g": 0.9, "method.hidden": [32], "method.norm": None})
    write_run("d", 30, method="mmvae", config={"method.g": 5})
    assert labels(tmp_path) == [
        "sgal (method.g=0.8, method.norm=true, method.hidden=[32,64])",
        "sgal (method.g=0.9, method.norm=null, method.hidden=[32,64])",
        "sgal (method.g=0.9, method.norm=null, method.hidden=[32])",
        "mmvae",
    ]


def test_of_many_settings_that_change_together_the_label_counts_most(
    write_run: WriteRun, tmp_path: Path
) -> None:
    write_run("a", 60, config={f"method.k{i}": 1 for i in range(9)})
    write_run("b", 50, config={f"method.k{i}": 2 for i in range(9)})
    assert labels(tmp_path) == [
        f"sgal (method.k0={i}, method.k1={i}, method.k2={i}, 6 more)" for i in (1, 2)
    ]
    settings = [row["settings"] for row in rows_of(result_csv(groups_in(tmp_path)))]
    assert settings == [" ".join(f"method.k{k}={i}" for k in range(9)) for i in (1, 2)]


def test_starting_from_given_weights_is_a_setting_and_their_file_is_none(
    write_run: WriteRun, tmp_path: Path
) -> None:
    classes = {
        "method._target_": "zsl_lab.methods.sgal.SGAL",
        "dataset._target_": "zsl_lab.data.digits.DigitsDataset",
    }
    write_run("a", 60, seed=0, config={**classes, "method.init_from": "/runs/0/best.ckpt"})
    write_run("b", 60, seed=1, config={**classes, "method.init_from": "/runs/1/best.ckpt"})
    write_run("c", 50, seed=0, config={**classes, "method.init_from": None})
    groups = groups_in(tmp_path)
    assert [(group.label, len(group.runs)) for group in groups] == [
        ("sgal (method.init_from=given)", 2),
        ("sgal (method.init_from=null)", 1),
    ]


def test_a_key_that_is_null_is_none_to_a_run_of_an_older_version(
    write_run: WriteRun, tmp_path: Path
) -> None:
    write_run("a", 60, seed=0, config={"method.g": 0.8})
    write_run("b", 50, seed=1, config={"method.g": 0.8, "method.epochs": None})
    write_run("c", 40, seed=0, config={"method.g": 0.8, "method.epochs": 3})
    assert labels(tmp_path) == ["sgal", "sgal (method.epochs=3)"]


def test_a_key_that_an_older_version_did_not_have_is_no_difference_with_the_value_it_had(
    write_run: WriteRun, tmp_path: Path
) -> None:
    targets = {
        "dataset._target_": "zsl_lab.data.datasets.xian.XianDataset",
        "method._target_": "zsl_lab.methods.sgal.SGAL",
        "classifier._target_": "zsl_lab.classifiers.Own",
    }
    key = "dataset.test_seen_fraction"
    write_run("a", 60, seed=0, config=targets)
    write_run("b", 50, seed=1, config={**targets, key: 0.0})
    write_run("c", 40, seed=0, config={**targets, key: 0.2})
    assert labels(tmp_path) == ["sgal", "sgal (dataset.test_seen_fraction=0.2)"]


def test_runs_with_accelerator_auto_repeat_those_with_the_one_that_it_found(
    write_run: WriteRun, tmp_path: Path
) -> None:
    write_run("a", 60, seed=0, config={"trainer.accelerator": "auto"})
    write_run("b", 50, seed=1, config={"trainer.accelerator": "cpu"})
    assert [(group.label, len(group.runs)) for group in groups_in(tmp_path)] == [("sgal", 2)]


def test_other_splits_or_features_are_kept_apart_and_named(
    write_run: WriteRun, tmp_path: Path
) -> None:
    write_run("a", 60, seed=0)
    write_run("b", 50, seed=1, splits="cd" * 32)
    write_run("c", 50, seed=0, method="mmvae", splits="cd" * 32)
    assert labels(tmp_path) == [
        "sgal (splits abababab)",
        "mmvae (splits cdcdcdcd)",
        "sgal (splits cdcdcdcd)",
    ]
    write_run("d", 60, dataset="flo", features="01" * 32)
    write_run("e", 50, dataset="flo", features="23" * 32)
    assert labels(tmp_path)[3:] == ["sgal (features 01010101)", "sgal (features 23232323)"]


def test_a_selection_other_than_validation_is_named(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("a", selection="oracle")
    write_run("b", selection="last", method="mmvae", config={"method.g": 1})
    write_run("c", selection="last", method="mmvae", config={"method.g": 2})
    assert labels(tmp_path) == [
        "sgal (selected on test)",
        "mmvae (last step, method.g=1)",
        "mmvae (last step, method.g=2)",
    ]


def test_calibrated_runs_are_named_and_compete(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("a", 60, calibration=0.5, seed=0, config={"selection.calibrate": True})
    write_run("b", 60, calibration=-1.5, seed=1, config={"selection.calibrate": True})
    write_run("c", 50, config={"selection.calibrate": False})
    write_run("d", 50, seed=1)
    assert [(group.label, len(group.runs)) for group in groups_in(tmp_path)] == [
        ("sgal (calibrated)", 2),
        ("sgal", 2),
    ]
    assert bold(tmp_path) == [True, False]
    assert [row["calibrated"] for row in rows_of(result_csv(groups_in(tmp_path)))] == [
        "true",
        "false",
    ]


def test_runs_without_a_configuration_are_a_group_of_their_own(
    write_run: WriteRun, tmp_path: Path
) -> None:
    write_run("a", 60, seed=0)
    write_run("b", 50, seed=0, config=None)
    write_run("c", 50, seed=1, config=None)
    assert [(group.label, len(group.runs)) for group in groups_in(tmp_path)] == [
        ("sgal", 1),
        ("sgal (no config.yaml)", 2),
    ]


def test_a_repetition_counts_once_and_is_named(write_run: WriteRun, reported: Reported) -> None:
    first, again, other = (
        write_run("a", 60),
        write_run("b", 60, config={"task": "test"}),
        write_run("c", 10),
    )
    code, out, err = reported("runs")
    assert code == 0
    assert out.split("ausuc")[1].count("60.0") == 5
    assert err.splitlines() == [
        f"runs/{again.name}: left out, same seed and settings as runs/{first.name}.",
        f"runs/{other.name}: left out, same seed and settings as runs/{first.name}, but other "
        "metrics.",
    ]
    # the folder named first has precedence
    assert (
        "runs/a: left out, same seed and settings as runs/c, but other metrics."
        in reported("runs/c", "runs/a")[2]
    )


def test_a_folder_met_twice_is_no_repetition(write_run: WriteRun, tmp_path: Path) -> None:
    folder = write_run("a")
    (tmp_path / "runs" / "latest").symlink_to(folder)
    (folder / "circle").symlink_to(tmp_path)
    found = find_runs([tmp_path, folder, folder / "result.json"])
    assert [run.folder for run in found.runs] == [tmp_path / "runs" / "a"]
    assert found.problems == []


# --------------------------------------------------------------------------- order and best


def test_sorted_by_dataset_then_by_harmonic_mean_or_another_metric(
    write_run: WriteRun, tmp_path: Path
) -> None:
    figures = dict.fromkeys(METRICS, 0.0)
    write_run("a", method="low", metrics={**figures, "harmonic_mean": 10.0, "seen": 99.0})
    write_run("b", method="high", metrics={**figures, "harmonic_mean": 30.0, "seen": 1.0})
    write_run("c", method="none", metrics={**figures, "harmonic_mean": math.nan, "seen": math.nan})
    write_run("d", method="first", dataset="awa1")
    runs = find_runs([tmp_path]).runs
    assert [group.label for group in group_runs(runs)[0]] == ["first", "high", "low", "none"]
    assert [group.label for group in group_runs(runs, "seen")[0]] == [
        "first",
        "low",
        "high",
        "none",
    ]


def test_the_best_is_the_highest_as_shown(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("a", 50.04, method="a")
    write_run("b", 49.96, method="b")
    write_run("c", 49.94, method="c")
    assert bold(tmp_path) == [True, True, False]


def test_nothing_is_best_where_there_is_nothing_to_compare_with(
    write_run: WriteRun, tmp_path: Path
) -> None:
    write_run("a", 50, method="a")
    assert bold(tmp_path) == [False]
    write_run("b", 50, method="b")
    write_run("c", math.nan, method="c")
    assert bold(tmp_path) == [False, False, False]


def test_only_comparable_groups_compete(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("a", 50, method="a")
    write_run("b", 40, method="b")
    write_run("c", 99, method="a", selection="oracle")
    write_run("d", 98, method="a", splits="cd" * 32)
    write_run("e", 97, method="a", dataset="flo")
    assert labels(tmp_path) == [
        "a (splits abababab)",
        "b (splits abababab)",
        "a (selected on test, splits abababab)",
        "a (splits cdcdcdcd)",
        "a",
    ]
    assert bold(tmp_path) == [True, False, False, False, False]
    assert bold(tmp_path, "oracle H (selected on test)") == [True, False, False, False, False]


# --------------------------------------------------------------------------- what is shown


def test_table(write_run: WriteRun, reported: Reported) -> None:
    for seed, h in enumerate((50.0, 60.0)):
        write_run(f"{seed}", h, seed=seed)
    write_run("m", 40.0, method="mmvae", oracle=None)
    code, out, err = reported("runs", columns=160)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert "digits (per class, %; 1 seen + 2 unseen classes)" in out
    assert [
        "method",
        "seeds",
        "zsl_top1",
        "unseen",
        "seen",
        "harmonic_mean",
        "ausuc",
        *("test)", "test)", "gap", "seconds", "steps/s"),
    ] in lines
    sgal = ["sgal", "2", *["55.0", "±", "7.1"] * 5, "-", "56.0", "±", "7.1", "1.0", "12", "240"]
    assert sgal in lines
    assert ["mmvae", "1", *["40.0"] * 5, "-", "-", "-", "12", "240"] in lines
    assert "selected on" in out
    assert "biased estimate" in out


@pytest.mark.parametrize("columns", [80, 160])
def test_fits_into_the_terminal(write_run: WriteRun, reported: Reported, columns: int) -> None:
    for seed, h in enumerate((10.0, 99.0)):
        write_run(
            f"{seed}",
            h,
            seed=seed,
            model={"parameters": 12_340_000, "flops": 123_450_000},
            config={"method.fine_tune_steps": 1},
        )
    write_run("o", selection="oracle", config={"method.fine_tune_steps": 10_000})
    write_run("d", method="sgal_dropout", config={"method.fine_tune_steps": 10_000})
    write_run("e", method="sgal_dropout", config={"method.fine_tune_steps": 20_000})
    _, out, _ = reported("runs", columns=columns)
    assert max(len(line) for line in out.splitlines()) <= columns
    for text in ("54.5", "± 62.9", "12.34", "123.45", "_dropout", "20000"):
        assert text in out
    # the least needed columns make room for the others
    left_out = (
        "A wider terminal also shows: oracle zsl_top1 (selected on test), gap, seconds, steps/s."
    )
    assert (left_out in " ".join(out.split())) == (columns == 80)
    assert "\x1b" not in out


def test_a_terminal_too_narrow_breaks_lines_and_loses_no_figure(
    write_run: WriteRun, reported: Reported
) -> None:
    write_run("a", 12.3)
    _, out, _ = reported("runs", columns=20)
    assert out.count("12.3") == 5
    assert "13.3" in out


def test_names_are_no_markup(write_run: WriteRun, reported: Reported) -> None:
    write_run(
        "a",
        method="[bold]x|*",
        dataset="d:smile:",
        per_class={"unseen": {"a|b*": 1.0}, "seen": {"<i>": 2.0}},
    )
    assert "[bold]x|*" in reported("runs")[1]
    assert "d:smile:" in reported("runs")[1]
    reported("runs", "--markdown", "t.md")
    assert "| \\[bold]x\\|\\* | 1 |" in Path("t.md").read_text()
    reported("runs", "--markdown", "t.md", "--per-class")
    assert "| unseen | a\\|b\\* | 1.0 |" in Path("t.md").read_text()
    assert "| seen | \\<i> | 2.0 |" in Path("t.md").read_text()


def test_markdown(write_run: WriteRun, reported: Reported) -> None:
    write_run("a", 50.0, seed=0)
    write_run("b", 60.0, seed=1)
    write_run("c", 40.0, method="mmvae")
    write_run("d", 30.0, dataset="flo")
    code, out, err = reported("runs", "--markdown", "new/table.md")
    assert (code, err) == (0, "")
    assert out == "new/table.md: run groups: 3, runs: 4\n"
    lines = Path("new/table.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "digits, flo (per class, %)"
    assert lines[2:7] == [
        "| dataset | method | seeds | zsl_top1 | unseen | seen | harmonic_mean | ausuc | "
        "oracle zsl_top1 (selected on test) | oracle H (selected on test) | gap | seconds | "
        "steps/s |",
        "| --- | --- |" + " ---: |" * 11,
        "| digits | sgal | 2 |"
        + " **55.0 ± 7.1** |" * 5
        + " - | **56.0 ± 7.1** | 1.0 | 12 | 240 |",
        "| digits | mmvae | 1 |" + " 40.0 |" * 5 + " - | 41.0 | 1.0 | 12 | 240 |",
        "| flo | sgal | 1 |" + " 30.0 |" * 5 + " - | 31.0 | 1.0 | 12 | 240 |",
    ]
    assert lines[-1].startswith("Mean ± sample standard deviation over seeds. ")


def test_latex(write_run: WriteRun, reported: Reported) -> None:
    write_run("a_b", 50.0, seed=0)
    write_run("c", 60.0, seed=1)
    assert reported("runs", "--latex", "t.tex")[:2] == (0, "t.tex: run groups: 1, runs: 2\n")
    text = Path("t.tex").read_text(encoding="utf-8")
    assert r"sgal & 2 & 55.0 $\pm$ 7.1 & " in text
    assert r"\caption{digits (per class, \%; 1 seen + 2 unseen classes)}" in text
    assert reported("runs", "--latex", "t.tex", "--per-class")[0] == 0
    assert r"unseen & 2 & 81.0 \\" in Path("t.tex").read_text(encoding="utf-8")


# --------------------------------------------------------------------------- tables of papers


def test_the_table_of_a_paper_alone(reported: Reported) -> None:
    code, out, err = reported("--paper", "n3_table5")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["N3", "[GoogLeNet,", "adapted;", "BERT", "reads", "texts]", "21.3"] in lines
    assert "Table 5: cub (split: standard)" in out
    code, out, err = reported("--paper", "n3_table5", "--csv", "t.csv", "--latex", "t.tex")
    assert (code, out, err) == (0, "t.csv: n3_table5, no runs\nt.tex: n3_table5, no runs\n", "")
    assert [row["paper_zsl_top1"] for row in rows_of(Path("t.csv").read_text())] == [
        *("21.3", "17.6", "17.7")
    ]


def test_the_table_of_a_paper_with_runs(write_run: WriteRun, reported: Reported) -> None:
    for seed in (0, 1):
        write_run(f"{seed}", seed=seed, dataset="AWA1", config={"dataset.features": "mine"})
    write_run("other", dataset="digits")
    code, out, err = reported("--paper", "sgal_table2", "runs", "--markdown", "t.md")
    assert (code, out) == (0, "t.md: run groups: 2, runs: 3\n")
    assert err == (
        "sgal_table2 has no row for: sgal on digits. They are in the table without --paper.\n"
    )
    lines = Path("t.md").read_text(encoding="utf-8").splitlines()
    assert "| SGAL | - | - | - | - | - | - | - | 52.7 | 74.0 | 61.5 |" in lines
    assert r"| \[features mine, split unknown] |" + "  |" * 10 in lines
    assert ("| SGAL | 2 |" + " 50.0 ± 0.0 |" * 3 + " 51.0 ± 0.0 |" * 3 + " - | - | - |") in lines


def test_an_unknown_table_of_a_paper_is_named_before_runs_are_read(reported: Reported) -> None:
    code, out, err = reported("--paper", "sgal_tabel2", "no/such")
    assert (code, out) == (2, "")
    assert err.startswith(
        "--paper sgal_tabel2: there is no such table of a paper. Did you mean sgal_table2? Tables: "
        "sgal_table1, sgal_table2, "
    )


def test_csv(write_run: WriteRun, reported: Reported) -> None:
    write_run("a", 50.0, seed=7)
    write_run("b", 51.0, seed=0)
    write_run("c", math.nan, method="mmvae", oracle=None)
    assert reported("runs", "--csv", "t.csv")[0] == 0
    sgal, mmvae = rows_of(Path("t.csv").read_text())
    assert list(sgal)[:8] == [
        "dataset",
        "method",
        "label",
        "settings",
        "selection",
        "calibrated",
        "seeds",
        "seed_list",
    ]
    assert list(sgal)[8:18] == [f"{name}_{what}" for name in METRICS for what in ("mean", "sd")]
    assert (
        sgal["dataset"],
        sgal["method"],
        sgal["selection"],
        sgal["seeds"],
        sgal["seed_list"],
    ) == (
        "digits",
        "sgal",
        "validation",
        "2",
        "0 7",
    )
    assert float(sgal["harmonic_mean_mean"]) == 50.5
    assert float(sgal["harmonic_mean_sd"]) == math.sqrt(0.5)
    assert float(sgal["oracle_on_test_harmonic_mean_mean"]) == 51.5
    assert sgal["splits_sha256"] == "ab" * 32
    assert sgal["features_sha256"] == "cd" * 32
    assert [
        mmvae[name] for name in ("ausuc_mean", "ausuc_sd", "oracle_on_test_harmonic_mean_mean")
    ] == [""] * 3
    assert "parameters" not in sgal


def test_the_size_of_models_is_shown_where_a_run_knows_it(
    write_run: WriteRun, tmp_path: Path
) -> None:
    write_run("a", 60, model={"parameters": 1_234_567, "flops": 7_000_000})
    write_run("b", 50, method="mmvae")
    groups = groups_in(tmp_path)
    sheet = result_sheet(groups)
    assert sheet.metric_heads[-2:] == ("params (M)", "MFLOPs")
    assert [[cell.text for cell in row.cells[-2:]] for row in sheet.sections[0]] == [
        ["1.23", "7.00"],
        ["-", "-"],
    ]
    assert [(row["parameters"], row["flops"]) for row in rows_of(result_csv(groups))] == [
        ("1234567", "7000000"),
        ("", ""),
    ]
    assert "MFLOPs" not in result_sheet(groups[1:]).metric_heads


def test_the_table_has_what_a_selection_on_test_adds_and_what_training_cost(
    write_run: WriteRun, tmp_path: Path
) -> None:
    def training(**values: float | None) -> dict[str, Any]:
        return {**RESULT.training, **values}

    gain = {**dict.fromkeys(METRICS, 0.0), "harmonic_mean": 62.5, "step": 1}
    write_run(
        "a",
        60,
        oracle=gain,
        training=training(seconds=20.4, peak_memory=700_000_000, steps_per_second=0.25),
    )
    write_run(
        "b",
        60,
        seed=1,
        oracle=gain,
        training=training(seconds=21.0, peak_memory=None, steps_per_second=0.45),
    )
    write_run(
        "c",
        50,
        method="mmvae",
        oracle=None,
        training=training(seconds=None, steps_per_second=120.4),
    )
    sheet = result_sheet(groups_in(tmp_path))
    assert sheet.metric_heads[-4:] == ("gap", "seconds", "steps/s", "memory (MB)")
    assert [[cell.text for cell in row.cells[-4:]] for row in sheet.sections[0]] == [
        ["2.5", "21", "0.3", "700"],
        ["-", "-", "120", "-"],
    ]
    assert "memory (MB)" not in sheet.without_spare().metric_heads
    first, second = rows_of(result_csv(groups_in(tmp_path)))
    assert float(first["seconds"]) == pytest.approx(20.7)
    assert first["peak_memory"] == "700000000"
    assert (second["seconds"], second["peak_memory"]) == ("", "")


def test_a_table_says_why_metrics_of_seen_classes_are_not_measured(
    write_run: WriteRun, tmp_path: Path
) -> None:
    write_run("a", 60)
    sentence = "-: no test sample is of a seen class (conventional zero-shot learning)"
    assert sentence not in result_sheet(groups_in(tmp_path)).note
    undefined = dict.fromkeys(("unseen", "seen", "harmonic_mean", "ausuc"), math.nan)
    write_run("b", method="mmvae", metrics={"zsl_top1": 60.0, **undefined})
    assert result_sheet(groups_in(tmp_path)).note.count(sentence) == 1


def test_recall_per_class_stands_side_by_side(
    write_run: WriteRun, tmp_path: Path, reported: Reported
) -> None:
    def recalls(*values: float) -> dict[str, Any]:
        return {
            "per_class": {
                "unseen": {"rose": values[0], "iris": values[1]},
                "seen": {"lily": values[2]},
            }
        }

    write_run("a", 60, seed=0, **recalls(10.0, math.nan, 90.0))
    write_run("b", 60, seed=1, **recalls(20.0, math.nan, 100.0))
    write_run("c", 50, method="aspn", **recalls(30.0, math.nan, 80.0))
    write_run("d", 50, method="aspn", splits="cd" * 32, **recalls(1.0, 2.0, 3.0))
    groups = groups_in(tmp_path)
    first, second = recall_sheets(groups)
    assert first.metric_heads == ("sgal (splits abababab)", "aspn (splits abababab)")
    shown = [
        [(*row.texts, *((cell.text, cell.best) for cell in row.cells)) for row in rows]
        for rows in first.sections
    ]
    assert shown == [
        [
            ("unseen", "rose", ("15.0", False), ("30.0", True)),
            ("unseen", "iris", ("-", False), ("-", False)),
        ],
        [("seen", "lily", ("95.0", True), ("80.0", False))],
    ]
    assert second.metric_heads == ("aspn (splits cdcdcdcd)",)
    rows = rows_of(recall_csv(groups))
    assert [
        (row["part"], row["class"], row["sgal (splits abababab)"], row["aspn (splits cdcdcdcd)"])
        for row in rows
    ] == [
        *[("unseen", "rose", "15.0", ""), ("unseen", "iris", "", ""), ("seen", "lily", "95.0", "")],
        *[
            ("unseen", "rose", "", "1.0"),
            ("unseen", "iris", "", "2.0"),
            ("seen", "lily", "", "3.0"),
        ],
    ]
    assert reported("runs", "--per-class", "--csv", "r.csv", "--markdown", "r.md")[0] == 0
    assert Path("r.csv").read_text() == recall_csv(groups)
    assert "| unseen | rose | 15.0 | **30.0** |" in Path("r.md").read_text()
    assert ["unseen", "rose", "15.0", "30.0"] in [
        line.split() for line in reported("runs", "--per-class")[1].splitlines()
    ]


# --------------------------------------------------------------------------- what can be wrong


def test_unfinished_runs_are_listed_in_one_line(
    write_run: WriteRun, reported: Reported, tmp_path: Path
) -> None:
    write_run("a")
    for name in ("b", "c"):
        (write_run(name) / "result.json").unlink()
    # the configuration of something else, and Hydra's record of a run
    (tmp_path / "runs" / "config.yaml").write_text("site: docs\n")
    (tmp_path / "runs" / "a" / ".hydra").mkdir()
    (tmp_path / "runs" / "b" / "config.yaml").rename(
        tmp_path / "runs" / "a" / ".hydra" / "config.yaml"
    )
    (tmp_path / "runs" / "b" / "config.yaml").write_bytes(
        (tmp_path / "runs" / "c" / "config.yaml").read_bytes()
    )
    code, _, err = reported("runs")
    assert code == 0
    assert err == "Unfinished, without result.json: runs/b, runs/c.\n"


def test_a_damaged_result_is_named_and_the_others_go_on(
    write_run: WriteRun, reported: Reported
) -> None:
    write_run("a", 60)
    raw = json.loads((write_run("b") / "result.json").read_text())
    del raw["metrics"]["ausuc"]
    Path("runs/b/result.json").write_text(json.dumps(raw))
    code, out, err = reported("runs")
    assert code == 1
    assert "60.0" in out
    assert (
        err
        == "runs/b/result.json: field 'metrics.ausuc': found nothing; expected a number or null.\n"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [1", "runs/b/config.yaml: cannot be read ("),
        ("", "runs/b/config.yaml: field 'method': found no section of keys; "),
        (
            "method: {}\ndataset: flo",
            "runs/b/config.yaml: field 'dataset': found no section of keys; ",
        ),
    ],
)
def test_a_damaged_configuration_is_named_and_the_others_go_on(
    write_run: WriteRun, reported: Reported, content: str, said: str
) -> None:
    write_run("a", 60)
    write_run("b", 70)
    Path("runs/b/config.yaml").write_text(content)
    code, out, err = reported("runs")
    assert code == 1
    assert "60.0" in out
    assert "70.0" not in out
    assert err.startswith(said)
    assert err.endswith(
        "Restore it, or remove it: the run then counts as one of unknown settings.\n"
    )


def test_a_folder_that_cannot_be_read_is_named(
    write_run: WriteRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_run("a")
    closed = tmp_path / "runs" / "z"
    closed.mkdir()
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_runs([tmp_path])
    assert len(found.runs) == 1
    assert found.problems == [
        f"{closed}: cannot be read (Permission denied). Fix its permissions, or give "
        "the folders beside it."
    ]


def test_nothing_found_says_what_was_expected_and_both_ways_out(
    reported: Reported, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    code, out, err = reported("empty")
    assert (code, out) == (1, "")
    assert err == (
        "empty: no finished run; expected a folder with result.json, here or below. Give the "
        "folder that your runs were written to "
        "(paths.output_dir, outputs by default), or make some: python -m zsl_lab -m "
        "method=mmvae,sgal seed=0,1,2.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs", "--cvs", "t.csv"], "--cvs: there is no such option. Did you mean --csv?"),
        (["--perclass=1"], "--perclass: there is no such option. Did you mean --per-class?"),
        (
            ["runs", "-x"],
            "-x: there is no such option. Options: --help, --per-class, --html, --csv, --markdown, "
            "--latex, --paper, --sort.",
        ),
        (
            ["runs", "--sort", "harmonc_mean"],
            "--sort harmonc_mean: there is no such metric. Did you mean harmonic_mean?",
        ),
        (
            ["runs", "--sort", "x"],
            "--sort x: there is no such metric. Metrics: zsl_top1, unseen, seen, harmonic_mean, "
            "ausuc.",
        ),
        (
            ["runs", "--csv"],
            "Argument --csv: expected one argument. `python -m zsl_lab.report --help` "
            "shows examples.",
        ),
        (
            [],
            "Expected a run folder, a folder of runs (e.g. outputs), or --paper TABLE. `python -m "
            "zsl_lab.report --help` shows examples.",
        ),
        (
            ["--paper", "sgal_table2", "--per-class"],
            "--per-class --paper: the table of a paper has no recall per class. Give one of them.",
        ),
        (
            ["--paper", "sgal_table2", "--html", "p.html"],
            "--html p.html: the page is about runs, and none is given. Give a folder of runs too, "
            "or write the paper's table with --markdown, --csv or --latex.",
        ),
        (
            ["runs", "rnus"],
            "rnus: no such folder; expected a run folder, or a folder of runs. Did you mean runs?",
        ),
        (
            ["no/such"],
            "no/such: no such folder; expected a run folder, or a folder of runs.",
        ),
        (
            ["runs/a/config.yaml"],
            "runs/a/config.yaml: not a run; expected a run folder, a folder of runs, or a "
            "result.json.",
        ),
    ],
)
def test_a_wrong_command_is_a_sentence(
    write_run: WriteRun, reported: Reported, arguments: Sequence[str], said: str
) -> None:
    write_run("a")
    assert reported(*arguments) == (2, "", f"{said}\n")


def test_a_file_that_cannot_be_written_is_a_sentence(
    write_run: WriteRun, reported: Reported, tmp_path: Path
) -> None:
    write_run("a")
    (tmp_path / "t.csv").mkdir()
    code, out, err = reported("runs", "--csv", "t.csv")
    assert (code, out) == (1, "")
    assert err == "Cannot write t.csv: Is a directory.\n"


# --------------------------------------------------------------------------- the command itself


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ZSL_LAB_CACHE": str(folder / "cache"), "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
def test_help_answers_within_a_second_and_shows_examples(tmp_path: Path) -> None:
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        done = python(tmp_path, "-m", "zsl_lab.report", "--help")
        seconds.append(time.perf_counter() - started)
    assert done.returncode == 0
    assert done.stdout.count("  python -m zsl_lab.report ") >= 3
    # the machine may be busy with the other tests: the fastest of three
    assert min(seconds) < 1


@pytest.mark.slow
def test_reporting_needs_no_torch(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("a")
    code = (
        "import sys; from zsl_lab.report.command import main; "
        "assert main(['runs']) == 0; sys.exit('torch' in sys.modules)"
    )
    assert python(tmp_path, "-c", code).returncode == 0


@pytest.mark.slow
def test_a_sweep_of_real_runs_becomes_a_table(
    command: Command,
    reported: Reported,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("zsl_lab.sweep.figures.draw", lambda *args, **kwargs: None)
    assert command("-m", "method=mmvae", "seed=0,1", *SHORT) == 0
    capsys.readouterr()
    assert reported("outputs", "--csv", "t.csv")[::2] == (0, "")
    [row] = rows_of((tmp_path / "t.csv").read_text())
    assert (row["dataset"], row["label"], row["seed_list"]) == ("digits", "mmvae", "0 1")
    a, b = (
        json.loads(path.read_text())["metrics"]["seen"] for path in tmp_path.rglob("result.json")
    )
    assert float(row["seen_mean"]) == pytest.approx((a + b) / 2)
    assert float(row["seen_sd"]) == pytest.approx(abs(a - b) / math.sqrt(2))
    assert int(row["parameters"]) > 0
    code, shown, _ = reported("outputs")
    assert code == 0
    [line] = [line.split() for line in shown.splitlines() if line.startswith("mmvae")]
    assert line[:3] == ["mmvae", "2", f"{float(row['zsl_top1_mean']):.1f}"]
