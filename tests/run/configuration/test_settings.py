from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from zsl_lab.errors import DataError
from zsl_lab.keys import Marks
from zsl_lab.run.configuration.settings import read_configuration, shown_value

TEXT = """
task: fit
ckpt: null
seed: 1
paths: {data_dir: /data}
trainer: {devices: 1, log_every_n_steps: 50}
callbacks: {progress: {_target_: a.B}, other: {_target_: a.C}}
method: {_target_: my.Method, g: 0.5, chunk: 8, hidden: [1, [2]]}
dataset: {_target_: zsl_lab.data.own.OwnDataset, path: my.h5}
"""
SETTINGS = {
    "seed": 1,
    "trainer.devices": 1,
    "callbacks.other._target_": "a.C",
    "method._target_": "my.Method",
    "method.g": 0.5,
    "method.chunk": 8,
    "method.hidden": (1, (2,)),
    "dataset._target_": "zsl_lab.data.datasets.own.OwnDataset",
    "dataset.path": "my.h5",
    # older versions had no other classifier
    "classifier._target_": "zsl_lab.classifiers.Own",
    "classifier.name": "own",
}


def test_settings_are_what_metrics_depend_on_under_present_names(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(TEXT)
    assert read_configuration(tmp_path / "config.yaml").settings() == SETTINGS


def test_what_the_run_declared_irrelevant_is_left_out(tmp_path: Path) -> None:
    marks = Marks(irrelevant=frozenset({"method.chunk"}), places=frozenset({"dataset.path"}))
    (tmp_path / "config.yaml").write_text(marks.header() + TEXT)
    found = read_configuration(tmp_path / "config.yaml")
    assert "dataset.path" in found.marks.places
    assert set(SETTINGS) - set(found.settings()) == {"method.chunk"}
    assert set(found.settings()) - set(found.settings(["method", "seed"])) >= {"method.g", "seed"}


@pytest.mark.slow
def test_marks_of_an_older_run_are_those_of_its_classes(tmp_path: Path) -> None:
    text = TEXT.replace("my.h5", "/my.h5").replace("my.Method", "zsl_lab.methods.sgal.SGAL")
    (tmp_path / "config.yaml").write_text(text)
    marks = read_configuration(tmp_path / "config.yaml").marks
    assert "dataset.path" in marks.places
    assert marks.per_seed == {"method.init_from"}


def test_an_older_run_whose_classes_are_gone_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(TEXT.replace("my.h5", "/my.h5"))
    found = read_configuration(tmp_path / "config.yaml").settings()
    assert found == SETTINGS | {"dataset.path": "/my.h5"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "cannot be read"),
        ("a: 1", "'method'"),
        (f"{TEXT}b: !!set {{1}}", r"cannot be read \(the tag tag:yaml.org,2002:set, which no run"),
        (f"{TEXT}b: &c 1\nd: *c", r"cannot be read \(an alias"),
        (f"{TEXT}seed: 1", "cannot be read"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(DataError, match=problem):
        read_configuration(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "null"), (True, "true"), (0.5, "0.5"), (("a", (1, 2)), "[a,[1,2]]")],
)
def test_a_value_is_shown_as_an_override_has_it(value: object, shown: str) -> None:
    assert shown_value(value) == shown


@pytest.mark.slow
def test_neither_the_package_nor_reading_settings_loads_torch(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(TEXT)
    code = (
        "import sys, pathlib; "
        "from zsl_lab.run.configuration.settings import read_configuration; "
        f"read_configuration(pathlib.Path({str(tmp_path / 'config.yaml')!r})); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
