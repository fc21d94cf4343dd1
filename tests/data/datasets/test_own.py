"""``dataset.path=FILE``: a benchmark of the user's own, trained on like any other."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf

from tests.conftest import SHORT_FIT, Command
from tests.data.files.test_benchmark_file import content
from tests.helpers.benchmark_files import BASE
from zsl_lab.cli.overrides import choose_own_dataset, expand_home
from zsl_lab.data.benchmark import Provenance
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.datasets.digits import DigitsDataset
from zsl_lab.data.datasets.own import OwnDataset
from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.data.files import own_file
from zsl_lab.data.splits import redraw
from zsl_lab.data.splits import test_split as final_split
from zsl_lab.errors import ConfigError, DataError
from zsl_lab.report.groups import find_runs, group_runs
from zsl_lab.result import Result
from zsl_lab.run.config import parse
from zsl_lab.run.experiment import run

PATHS = DataPaths(Path(), Path())


def own(path: Path | str | None, **keys: Any) -> OwnDataset:
    return OwnDataset.model_validate({**BASE, "path": None if path is None else str(path), **keys})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    hdf5.write(
        content(provenance=Provenance("somewhere", splits_version="proposed split")),
        tmp_path / "b.h5",
    )
    return tmp_path / "b.h5"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """The embedded digits as a file."""
    keys = {**BASE, "name": "digits", "unseen": [2, 4, 5], "semantics": "strokes"}
    b = DigitsDataset.model_validate(keys).load(PATHS)
    known = {
        name: getattr(b, name)
        for name in ("features", "labels", "class_names", "trainval", "test_seen", "test_unseen")
    }
    hdf5.write(
        hdf5.BenchmarkFile(name="my digits", semantics={"att": b.semantics}, **known),
        tmp_path / "digits.h5",
    )
    return tmp_path / "digits.h5"


def test_the_file_says_what_the_benchmark_is_called(path: Path) -> None:
    assert own(path).load(PATHS).name == "toy"
    assert own(path, name="birds").load(PATHS).name == "birds"
    assert own(path).sources(PATHS) == (path,)


def test_content_and_not_place_is_what_results_know_it_by(path: Path, tmp_path: Path) -> None:
    found = own(path).load(PATHS).provenance
    hdf5.write(
        content(provenance=Provenance("elsewhere"), mat={"a": {"b": "c"}}), tmp_path / "moved.h5"
    )
    moved = own(tmp_path / "moved.h5").load(PATHS).provenance
    assert (found.splits_sha256, found.features_sha256) == (
        moved.splits_sha256,
        moved.features_sha256,
    )
    assert (found.splits_version, moved.splits_version) == ("proposed split", "unknown")
    hdf5.write(content(test_unseen=np.arange(16, 19)), path)
    other_split = own(path).load(PATHS).provenance
    assert other_split.splits_sha256 != found.splits_sha256
    assert other_split.features_sha256 == found.features_sha256
    hdf5.write(content(labels=np.arange(20) // 4 * (np.arange(20) != 4)), path)
    assert own(path).load(PATHS).provenance.features_sha256 != found.features_sha256


@pytest.mark.parametrize(
    "changes",
    [
        {"semantics": {"att": np.ones((5, 3))}},
        {"class_names": ("ant", "bee", "cat", "dog", "eel")},
        {"class_names": None},
        {"validation_classes": np.array([1])},
        {"train": np.arange(12), "val": np.arange(12, 16)},
    ],
    ids=lambda changes: ", ".join(changes),
)
@pytest.mark.parametrize("keys", [{}, {"split": "random"}], ids=["proposed", "redrawn"])
def test_a_file_of_other_content_is_another_benchmark(
    path: Path, changes: dict[str, Any], keys: dict[str, Any]
) -> None:
    def identity() -> tuple[str, str]:
        found = own(path).load(PATHS)
        provenance = (redraw(found, 1) if keys else found).provenance
        return provenance.splits_sha256, provenance.features_sha256

    before = identity()
    hdf5.write(content(**changes), path)
    # a split that is redrawn has no validation classes of the file's
    assert (identity() == before) is bool(
        keys and not changes.keys() & {"semantics", "class_names"}
    )


def test_the_type_of_numbers_is_no_part_of_a_benchmark(path: Path, tmp_path: Path) -> None:
    before = own(path).load(PATHS).provenance
    known = content()
    hdf5.write(
        content(semantics={"att": known.semantics["att"].astype(np.float32)}), tmp_path / "small.h5"
    )
    assert (
        own(tmp_path / "small.h5").load(PATHS).provenance.features_sha256 == before.features_sha256
    )


def test_semantics_are_chosen_by_name(tmp_path: Path) -> None:
    path = tmp_path / "b.h5"
    tables = {"text": np.ones((5, 7)), "att": np.zeros((5, 3)), "more": np.zeros((5, 4))}
    hdf5.write(content(semantics=tables), path)
    assert own(path).load(PATHS).semantics.shape == (5, 3)
    assert own(path, semantics="text").load(PATHS).semantics.shape == (5, 7)
    with pytest.raises(
        ConfigError,
        match=r"dataset\.semantics=texts: found att, more, text in .*b\.h5; .*Did you mean text\?",
    ):
        own(path, semantics="texts").load(PATHS)
    del tables["att"]
    hdf5.write(content(semantics=tables), path)
    with pytest.raises(
        ConfigError,
        match=r"dataset\.semantics=null: found more, text in .*Set dataset\.semantics=more, or "
        r"another of them",
    ):
        own(path).load(PATHS)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (
            "nowhere.h5",
            r"nowhere\.h5: no such file; expected .*If you have it, say where it is now: "
            r"dataset\.path=FILE\. Make one, .*extract.*convert",
        ),
        ("folder", r"folder: a folder; expected a benchmark in an HDF5 file\. If you"),
        (
            "text.h5",
            r"text\.h5: found a damaged file or another format .*Correct the file .*or recreate it",
        ),
        (
            "nan.h5",
            r"nan\.h5: field 'features': found nan in row 0, column 1.*Correct the file .*or "
            r"recreate it",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_both_ways_out(
    tmp_path: Path, name: str, found: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.h5").write_text("text")
    hdf5.write(content(), tmp_path / "nan.h5")
    with h5py.File(tmp_path / "nan.h5", "r+") as file:
        file["features"][0, 1] = np.nan
    with (tmp_path / "nan.h5").open("r+b") as raw:
        raw.write(bytes(512))
    with pytest.raises(DataError, match=found):
        own(tmp_path / name).load(PATHS)


def test_without_a_file_the_key_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"dataset\.path=null: dataset=own takes a file\. Make one"
    ):
        own(None).load(PATHS)
    assert own(None).sources(PATHS) == ()


def test_a_method_of_images_says_what_it_misses(path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"b\.h5: such a file holds feature vectors, and this method takes images and a "
        r"description",
    ):
        own(path).image_view()


@pytest.mark.slow
def test_a_single_attribute_tells_classes_apart_as_the_dataset_scales_it_by_default(
    path: Path, configure: Callable[..., DictConfig]
) -> None:
    hdf5.write(content(name="one column", semantics={"att": np.arange(1.0, 6.0)[:, None]}), path)
    dataset = parse(configure("dataset=own", f"dataset.path={path}", "settings=none")).dataset
    benchmark = dataset.load(PATHS)
    data = dataset.data_module(benchmark, final_split(benchmark))
    assert len(np.unique(data.classes.semantics)) == 5


def test_a_home_folder_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(path.parent))
    assert own("~/b.h5").load(PATHS).name == "toy"


def test_the_path_alone_trains_on_the_file_as_on_what_it_was_made_of(
    digits: Path,
    command: Command,
    configure: Callable[..., DictConfig],
    tmp_path: Path,
) -> None:
    short = ("method=eszsl", *SHORT_FIT["eszsl"], "tuned=none", "selection=last")
    expected = run(configure("dataset=digits", *short, run_dir="digits"))
    plain = ("dataset.normalize=none", "dataset.normalize_semantics=none")
    assert command("dataset.path=digits.h5", *plain, *short, "hydra.run.dir=own") == 0
    found = Result.load(tmp_path / "own")
    assert (found.metrics, found.per_class) == (expected.metrics, expected.per_class)
    assert found.dataset == "my digits"
    # the file moves, and the checkpoint remembers where it lay
    assert OmegaConf.load(tmp_path / "own" / "config.yaml").dataset.path == str(digits)
    digits.rename(tmp_path / "moved.h5")
    assert command("task=test", "ckpt=own", "hydra.run.dir=again") == 1
    assert command("task=test", "ckpt=own", "dataset.path=moved.h5", "hydra.run.dir=again") == 0
    assert Result.load(tmp_path / "again").metrics == expected.metrics


def test_an_earlier_run_is_found_by_what_the_file_holds(
    digits: Path,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit = (
        "method=eszsl",
        *SHORT_FIT["eszsl"],
        "tuned=none",
        "selection=last",
        "paths.output_dir=out",
        "resume=auto",
    )

    def said(*arguments: str) -> str:
        assert command(*arguments, *fit) == 0
        return capsys.readouterr().out

    assert "a new one begins.\n" in said("dataset.path=digits.h5")
    (first,) = (tmp_path / "out" / "eszsl_own").iterdir()
    there = first.relative_to(tmp_path)
    digits.rename(tmp_path / "moved.h5")
    assert f"resume=auto: this run is finished, in {there}.\n" in said("dataset.path=moved.h5")
    (first / "result.json").rename(tmp_path / "result.json")
    assert f"resume=auto: goes on in {there}\n" in said("dataset.path=moved.h5")
    # the same name, other semantics: finished or not, that run was of other data
    made = hdf5.read(tmp_path / "moved.h5")
    hdf5.write(replace(made, semantics={"att": made.semantics["att"] * 2}), digits)
    (first / "result.json").unlink()
    reason = r"features_sha256 of dataset\.path is \w{12} there, \w{12} here\."
    other = rf"a new one begins\. {there} has these settings, but other data: {reason}"
    assert re.search(other, said("dataset.path=digits.h5"))
    assert (
        command("task=test", f"ckpt={there}", "dataset.path=digits.h5", "hydra.run.dir=again") == 1
    )
    assert "it was trained on other data: features_sha256 is" in capsys.readouterr().err
    shutil.copy(tmp_path / "result.json", first)
    assert command("dataset.path=digits.h5", *fit, f"hydra.run.dir={there}") == 2
    assert (
        f"{there} holds a run of other data: features_sha256 of dataset.path is "
        in capsys.readouterr().err
    )


def test_files_of_one_name_are_rows_of_their_own(
    digits: Path,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("zsl_lab.sweep.figures.draw", lambda *arguments, **options: None)
    made = hdf5.read(digits)
    hdf5.write(replace(made, semantics={"att": made.semantics["att"] * 2}), tmp_path / "b.h5")
    shutil.copy(digits, tmp_path / "copy.h5")
    fit = (
        "method=eszsl",
        *SHORT_FIT["eszsl"],
        "tuned=none",
        "selection=last",
        "hydra.sweep.dir=sweep",
    )
    assert command("-m", "dataset.path=digits.h5,b.h5,copy.h5", *fit) == 0
    said = capsys.readouterr()
    assert all(re.search(rf"^{name} +1 ", said.out, re.MULTILINE) for name in ("digits.h5", "b.h5"))
    assert "sweep/2_eszsl_own: left out, same seed and settings as sweep/0_eszsl_own." in said.err
    groups, _ = group_runs(find_runs([tmp_path / "sweep"]).runs)
    assert (
        len({found[0] for group in groups if (found := re.search(r"features \w{8}", group.label))})
        == 2
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["dataset.path=a.h5", "seed=1"], ["dataset=own", "dataset.path=a.h5", "seed=1"]),
        (["-m", "dataset.path=a.h5,b.h5"], ["-m", "dataset=own", "dataset.path=a.h5,b.h5"]),
        (
            ["sweep=sgal_g_p", "dataset.path=a.h5"],
            ["dataset=own", "sweep=sgal_g_p", "dataset.path=a.h5"],
        ),
        (["dataset=own", "dataset.path=a.h5"], ["dataset=own", "dataset.path=a.h5"]),
        (["dataset=flo"], ["dataset=flo"]),
        (["ckpt=RUN", "dataset.path=a.h5"], ["ckpt=RUN", "dataset.path=a.h5"]),
        (["ckpt=null", "dataset.path=a.h5"], ["dataset=own", "ckpt=null", "dataset.path=a.h5"]),
    ],
)
def test_the_dataset_is_chosen_once(arguments: list[str], expected: list[str]) -> None:
    assert choose_own_dataset(arguments) == expected


def test_two_datasets_at_once_are_an_error(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("dataset=flo", "dataset.path=a.h5") == 2
    assert (
        "dataset=flo: dataset.path=a.h5 names a file, which is a dataset of its own. Leave "
        "dataset=flo out" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("dataset.path=~/b.h5", "dataset.path=/home/me/b.h5"),
        ("dataset.path=~/a.h5,~/b.h5", "dataset.path=/home/me/a.h5,/home/me/b.h5"),
        ("dataset.path='~/b c.h5'", "dataset.path='~/b c.h5'"),
        ("~dataset", "~dataset"),
        ("dataset.path=a~/b.h5", "dataset.path=a~/b.h5"),
    ],
)
def test_a_home_folder_may_begin_a_value(
    argument: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_home(argument) == expected


def test_class_semantics_of_another_file_join_by_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names, table = ["ant", "bee", "cat", "dog"], rng.random((4, 3)).astype(np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs.update(format="zsl_lab benchmark", format_version=2, name="a")
        file["features"], file["labels"] = rng.random((8, 5)), np.repeat(np.arange(4), 2)
        file["class_names"], file["semantics/att"] = names, rng.random((4, 2))
        for part, index in (("trainval", [0, 2]), ("test_seen", [1, 3]), ("test_unseen", [4, 6])):
            file[f"split/{part}"] = index
    rows = {name: table[c].tolist() for c, name in reversed(list(enumerate(names)))}
    (tmp_path / "own.json").write_text(json.dumps(rows))
    loaded = own_file.load(tmp_path / "a.h5", str(tmp_path / "own.json"), None)
    np.testing.assert_array_equal(loaded.semantics, table)
    (tmp_path / "own.json").write_text(json.dumps({name: rows[name] for name in names[:3]}))
    with pytest.raises(DataError, match=r"no row for 1 of 4 classes \('dog'\).*dataset.semantics"):
        own_file.load(tmp_path / "a.h5", str(tmp_path / "own.json"), None)
    with pytest.raises(DataError, match=r"no such file; found att in .*a\.h5"):
        own_file.load(tmp_path / "a.h5", "nowhere.csv", None)
