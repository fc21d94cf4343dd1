"""A benchmark whose names are hostile: a run, a prediction, info and a report show them as text."""

from __future__ import annotations

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import SHORT_FIT, Command
from zsl_lab.cli.data.main import main as data
from zsl_lab.files.escaping import from_csv_cell
from zsl_lab.report.command import main as report
from zsl_lab.result import Result

NAMES = (
    "\x1b[2J\x1b]0;title\x07",
    '=HYPERLINK("http://example.org")',
    "@SUM(A1)",
    "<img src=x onerror=alert(1)>",
    "a\nWarning: forged",
    "\u202egnp.exe",
    "x" * 9000,
    "鳥 $x$ \\frac{",
    "'-1",
)


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    count, each = len(NAMES), 12
    semantics = rng.random((count, 5))
    labels = np.repeat(np.arange(count), each)
    index = np.arange(count * each)
    unseen = labels % 3 == 0
    with h5py.File(tmp_path / "hostile.h5", "w") as file:
        file.attrs.update(format="zsl_lab benchmark", format_version=2, name="<b>\x1b[31m=1")
        file["features"] = (semantics[labels] @ rng.normal(size=(5, 8))).astype(np.float32)
        file["features"][...] += rng.normal(size=(len(index), 8), scale=0.1)
        file["labels"], file["class_names"] = labels, list(NAMES)
        file["semantics/att"] = semantics
        file["split/test_unseen"] = index[unseen]
        file["split/test_seen"] = index[~unseen & (index % 4 == 0)]
        file["split/trainval"] = index[~unseen & (index % 4 > 0)]
    return tmp_path / "hostile.h5"


@pytest.mark.slow
def test_names_are_shown_as_text_everywhere(
    benchmark: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ("method=eszsl", *SHORT_FIT["eszsl"], "tuned=none", "selection=last")
    assert data(["info", str(benchmark)]) == 0
    assert command(f"dataset.path={benchmark}", *short, "hydra.run.dir=run") == 0
    np.save(tmp_path / "x.npy", np.random.default_rng(1).random((30, 8)).astype(np.float32))
    predict = ("task=predict", "ckpt=run", "features=x.npy", "hydra.run.dir=predicted")
    assert command(*predict) == 0
    places = [str(tmp_path / f"all.{suffix}") for suffix in ("html", "csv", "md")]
    folder = str(tmp_path / "run")
    assert report([folder, "--html", places[0], "--csv", places[1], "--markdown", places[2]]) == 0
    assert report([folder, "--per-class"]) == 0
    said = "".join(capsys.readouterr())
    for text in (said, Path(places[0]).read_text(), Path(places[2]).read_text()):
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "x" * 1000 not in said
    assert not any(line.startswith("Warning: forged") for line in said.splitlines())
    # results keep the names as they are
    recalls = Result.load(tmp_path / "run").per_class
    assert recalls["unseen"].keys() | recalls["seen"].keys() == set(NAMES)
    with (tmp_path / "predicted" / "predictions.csv").open(newline="") as file:
        heads, *rows = csv.reader(file)
    assert [from_csv_cell(head) for head in heads[3:]] == list(NAMES)
    assert not any(cell[:1] in "=@" for row in (heads, *rows) for cell in row if cell)
    assert {from_csv_cell(row[1]) for row in rows} <= set(NAMES)
