from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from zsl_lab.console.result_table import print_result
from zsl_lab.result import Result

METRICS = {"zsl_top1": 80.54, "unseen": 47.25, "seen": 100.0, "harmonic_mean": 61.97, "ausuc": 55.0}
RESULT = Result(
    method="sgal_dropout",
    dataset="digits[bold]",
    seed=0,
    selection="validation",
    metrics=METRICS,
    oracle={**METRICS, "zsl_top1": 99.0, "step": 12345},
    per_class={"unseen": {}, "seen": {}},
    training={},
    benchmark={"seen": 82, "unseen": 20},
    checkpoint=None,
    versions={},
    git_commit=None,
)
FOLDER = Path(
    "/runs/a folder with [brackets] and "
    ":smile:/2025-01-01/12-00-00_sgal_dropout_digits_and_a_long_name"
)
COMMAND = f"python -m zsl_lab task=test ckpt='{FOLDER}/checkpoints/best.ckpt'"


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", "80")
    print_result(RESULT, FOLDER, COMMAND)
    return capsys.readouterr().out.splitlines()


def test_table(printed: list[str]) -> None:
    title, head, row, oracle = (
        next(line for line in printed if word in line)
        for word in ("seed", "ausuc", "validation", "oracle")
    )
    assert "sgal_dropout on digits[bold], seed 0" in title
    assert "82 seen + 20 unseen" in title
    assert head.split() == ["zsl_top1", "unseen", "seen", "harmonic_mean", "ausuc"]
    assert row.split() == ["validation-selected", "80.5", "47.2", "100.0", "62.0", "55.0"]
    assert oracle.startswith("oracle H, step 12345 ")
    assert oracle.split()[-5:] == ["99.0", "47.2", "100.0", "62.0", "55.0"]


def oracle_rows(result: Result, capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_result(result, FOLDER, COMMAND)
    lines = capsys.readouterr().out.splitlines()
    return [line.partition("  ")[0] for line in lines if line.startswith("oracle ")]


def test_each_metric_of_the_oracle_has_a_row_at_its_own_best_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    by_metric = {"zsl_top1": {**METRICS, "step": 900}, "harmonic_mean": {**METRICS, "step": 1200}}
    found = replace(
        RESULT,
        oracle={**METRICS, "step": 1200},
        metric="harmonic_mean",
        oracle_by_metric=by_metric,
    )
    best_t, best_h = "oracle zsl_top1, step 900", "oracle H, step 1200"
    assert oracle_rows(found, capsys) == [best_t, best_h]
    by_ausuc = replace(found, oracle={**METRICS, "step": 700}, metric="ausuc")
    assert oracle_rows(by_ausuc, capsys) == [best_t, best_h, "oracle ausuc, step 700"]


def test_the_oracle_is_said_to_be_selected_on_test(printed: list[str]) -> None:
    assert any(line.startswith("oracle: at the step that is best on test") for line in printed)


def test_fits_in_80_columns_and_is_plain(printed: list[str]) -> None:
    assert max(len(line.rstrip()) for line in printed[:-2]) <= 80
    assert "\x1b" not in "".join(printed)


def test_ends_with_the_folder_and_the_command_unbroken(printed: list[str]) -> None:
    assert printed[-2].endswith(f" {FOLDER}")
    assert printed[-1].endswith(f" {COMMAND}")


@pytest.mark.parametrize(
    ("selection", "label"), [("oracle", "oracle (selected on test)"), ("last", "last step")]
)
def test_other_selections_without_oracle(
    selection: str, label: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_result(
        replace(RESULT, selection=selection, oracle=None, metrics={**METRICS, "seen": math.nan}),
        FOLDER,
        COMMAND,
    )
    printed = capsys.readouterr().out
    assert label in printed
    assert "oracle:" not in printed
    assert " - " in printed
    assert "nan" not in printed


def test_a_split_that_is_not_the_dataset_s_own_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for version, named in (
        ("standard (40 seen + 10 unseen classes of AWA1)", True),
        ("random, split_seed=3", True),
        ("proposed split (AWA1, file of 2018-01-31)", False),
        ("unknown", False),
    ):
        facts = {**RESULT.benchmark, "splits_version": version}
        print_result(replace(RESULT, benchmark=facts), FOLDER, COMMAND)
        assert (f"split:          {version}\n" in capsys.readouterr().out) == named
