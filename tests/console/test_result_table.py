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
    assert oracle.split() == [
        "oracle",
        "(best",
        "step",
        "on",
        "test,",
        "12345)",
        "99.0",
        "47.2",
        "100.0",
        "62.0",
        "55.0",
    ]


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
    assert "best step" not in printed
    assert " - " in printed
    assert "nan" not in printed
