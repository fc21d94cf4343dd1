"""``convert``: .mat files, one HDF5 file, and back, with equal numbers of the same types."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import scipy.io

from tests.data.datasets.test_genuine import stand_in_labels
from tests.data.files.test_benchmark_file import content
from tests.helpers.benchmark_files import BASE, Fields, WriteMat, cells
from zsl_lab.cli.data.main import main
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.datasets.own import OwnDataset
from zsl_lab.data.datasets.xian import XianDataset
from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.data.files import benchmark_mat
from zsl_lab.data.recipe import Recipe

pytestmark = pytest.mark.slow

KEYS = {"normalize": "standard", "normalize_semantics": "l2", "split": "proposed", "split_seed": 0}


def convert(*arguments: str | Path) -> int:
    return main(["convert", *map(str, arguments)])


def assert_same_fields(found: Path, expected: Path, left_out: tuple[str, ...] = ()) -> None:
    """As SciPy reads them: every field, its shape, its type, its values."""
    a, b = (
        {name: value for name, value in scipy.io.loadmat(path).items() if not name.startswith("__")}
        for path in (found, expected)
    )
    assert set(a) == set(b) - set(left_out)
    for name, array in a.items():
        assert (array.shape, array.dtype) == (b[name].shape, b[name].dtype), name
        assert [np.asarray(x).tolist() for x in array.flat] == [
            np.asarray(x).tolist() for x in b[name].flat
        ], name


@pytest.fixture
def toy(tmp_path: Path, splits: Fields, recorded: Fields, write_mat: WriteMat) -> Path:
    """A folder of files with every field that is known."""
    recorded["image_files"] = cells([f"jpg/{i} ü.jpg" for i in range(20)])
    recorded["labels"] = recorded["labels"].astype(np.uint8)
    write_mat(tmp_path / "TOY" / "att_splits.mat", splits)
    write_mat(tmp_path / "TOY" / "res101.mat", recorded)
    return tmp_path / "TOY"


def genuine_folder(genuine: Path, name: str, target: Path, features: Fields) -> Path:
    """The genuine split files beside features that stand in for the published ones."""
    shutil.copytree(genuine / name, target / name, ignore=shutil.ignore_patterns("efficientnet*"))
    scipy.io.savemat(target / name / "res101.mat", features)
    return target / name


def there_and_back(folder: Path, tmp_path: Path) -> Path:
    back = tmp_path / "back" / folder.name
    assert convert(folder, tmp_path / "b.h5") == 0
    assert convert(tmp_path / "b.h5", back) == 0
    assert sorted(path.name for path in back.iterdir()) == sorted(
        path.name for path in folder.iterdir()
    )
    return back


def test_files_come_back_with_the_same_numbers_and_types(toy: Path, tmp_path: Path) -> None:
    back = there_and_back(toy, tmp_path)
    for name in ("att_splits.mat", "res101.mat"):
        assert_same_fields(back / name, toy / name)


def test_files_of_matlab_7_come_back_with_the_same_numbers(
    tmp_path: Path, splits: Fields, recorded: Fields, write_mat: WriteMat
) -> None:
    for name, fields in (("att_splits.mat", splits), ("res101.mat", recorded)):
        write_mat(tmp_path / "TOY" / name, fields, "7.3")
        write_mat(tmp_path / "five" / name, fields)
    back = there_and_back(tmp_path / "TOY", tmp_path)
    for name in ("att_splits.mat", "res101.mat"):
        assert_same_fields(back / name, tmp_path / "five" / name)


def test_genuine_flo_comes_back(genuine: Path, tmp_path: Path) -> None:
    published = scipy.io.loadmat(
        genuine / "FLO" / "efficientnet_lite2.mat", variable_names=["labels", "image_files"]
    )
    features = np.random.default_rng(0).random((4, 8189), dtype=np.float32)
    samples = {
        "features": features,
        "labels": published["labels"],
        "image_files": published["image_files"],
    }
    folder = genuine_folder(genuine, "FLO", tmp_path / "data", samples)
    back = there_and_back(folder, tmp_path)
    for name in ("att_splits.mat", "res101.mat"):
        assert_same_fields(back / name, folder / name)
    assert_same_fields(back / "att_splits.mat", genuine / "FLO" / "att_splits.mat")
    assert scipy.io.loadmat(back / "att_splits.mat")["trainval_loc"].dtype == np.uint16


@pytest.fixture
def cub(genuine: Path, tmp_path: Path) -> Path:
    labels = stand_in_labels(genuine / "CUB", 150, 50, 50)
    return genuine_folder(
        genuine,
        "CUB",
        tmp_path / "data",
        {"features": np.ones((1, len(labels))), "labels": labels[:, None] + 1.0},
    )


def test_genuine_cub_comes_back_with_its_sentences(cub: Path, tmp_path: Path) -> None:
    back = there_and_back(cub, tmp_path)
    for name in ("att_splits.mat", "sent_splits.mat", "res101.mat"):
        assert_same_fields(back / name, cub / name)
    # train_loc and val_loc are in one of the files only, as published
    assert "train_loc" not in scipy.io.loadmat(back / "att_splits.mat")
    found = hdf5.read(tmp_path / "b.h5")
    assert found.class_names is not None
    assert found.class_names[0] == "002.Laysan_Albatross"
    assert sorted(found.semantics) == ["att", "original_att", "sent"]
    assert found.val is not None
    assert len(found.val) == 2946


def test_sentences_in_another_order_are_put_into_that_of_the_attributes(
    cub: Path, tmp_path: Path
) -> None:
    published = {
        name: value
        for name, value in scipy.io.loadmat(cub / "sent_splits.mat").items()
        if not name.startswith("__")
    }
    turned = {
        **published,
        "att": published["att"][:, ::-1],
        "allclasses_names": published["allclasses_names"][::-1],
    }
    scipy.io.savemat(cub / "sent_splits.mat", turned)
    with pytest.warns(UserWarning, match=r"its classes are put into the order of att_splits\.mat"):
        found = benchmark_mat.read(cub)
    np.testing.assert_array_equal(found.semantics["sent"], published["att"].T)


def test_fields_that_nobody_knows_are_named(
    genuine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = stand_in_labels(genuine / "APY", 20, 12, 5)
    samples = {"features": np.ones((1, len(labels))), "labels": labels[:, None] + 1, "extra": 1.0}
    folder = genuine_folder(genuine, "APY", tmp_path / "data", samples)
    back = there_and_back(folder, tmp_path)
    strangers = ("test_allclass_loc", "train_allclass_loc", "tunseen_test_loc", "tunseen_train_loc")
    assert_same_fields(back / "att_splits.mat", folder / "att_splits.mat", strangers)
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "att_splits.mat: fields that the layout does not know are left out: "
        f"{', '.join(strangers)}." in said
    )
    assert "res101.mat: fields that the layout does not know are left out: extra." in said


def test_the_same_files_make_the_same_bytes_wherever_they_lie(toy: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(toy, tmp_path / "elsewhere" / "TOY")
    convert(toy, tmp_path / "a.h5")
    convert(moved, tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert hdf5.read(tmp_path / "b.h5").provenance.origin == "TOY/res101.mat, TOY/att_splits.mat"


def test_the_end_tells_what_was_written_and_how_to_train_on_it(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(toy, tmp_path / "b.h5")
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "TOY: 20 samples, 4 seen + 1 unseen classes"
    assert (
        told[1]
        == "features [20, 6] float64; semantics att [5, 3] float64, original_att [5, 3] float64"
    )
    assert re.fullmatch(rf"wrote {tmp_path}/b\.h5 \(0\.0 MB\)", told[2])
    assert told[3] == f"train on it: python -m zsl_lab dataset.path={tmp_path}/b.h5"
    convert(toy, tmp_path / "s.h5", "--shards", "2")
    told = capsys.readouterr().out.splitlines()
    assert [Path(line.split()[1]) for line in told[3:5]] == sorted(tmp_path.glob("s-*.npy"))
    convert(tmp_path / "b.h5", tmp_path / "back" / "AWA1", "--features", "vgg19")
    assert capsys.readouterr().out.splitlines()[-1] == (
        "train on it: python -m zsl_lab dataset=awa1 dataset.features=vgg19 "
        f"paths.data_dir={tmp_path}/back"
    )
    convert(tmp_path / "b.h5", tmp_path / "back" / "mine")
    assert (
        "dataset=awa2 dataset.name=mine dataset.counts=null dataset.features=res101"
        in capsys.readouterr().out
    )


def test_a_run_on_the_file_sees_what_a_run_on_the_folder_sees(toy: Path, tmp_path: Path) -> None:
    convert(toy, tmp_path / "b.h5")
    paths = DataPaths(tmp_path, tmp_path / "cache")
    a = XianDataset.model_validate(
        {**BASE, "name": "TOY", "features": "res101", "semantics": "att"}
    ).load(paths)
    b = OwnDataset.model_validate({**KEYS, "path": str(tmp_path / "b.h5")}).load(paths)
    for name in (
        "features",
        "labels",
        "semantics",
        "trainval",
        "test_seen",
        "test_unseen",
        "validation_classes",
    ):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert getattr(a, name).dtype == getattr(b, name).dtype
    assert (a.name, a.class_names, a.validation_classes) == (b.name, b.class_names, np.array([3]))


def test_files_that_exist_are_replaced_only_with_overwrite(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b.h5").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "att_splits.mat").write_text("mine")
    assert convert(toy, tmp_path / "b.h5") == 1
    assert (
        "b.h5: the file exists. Add --overwrite to replace it, or name another."
        in capsys.readouterr().err
    )
    assert convert(toy, tmp_path / "b.h5", "--overwrite") == 0
    assert convert(tmp_path / "b.h5", tmp_path / "out") == 1
    assert "att_splits.mat: the file exists. Add --overwrite" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["att_splits.mat"]
    assert convert(tmp_path / "b.h5", tmp_path / "out", "--overwrite") == 0
    assert_same_fields(tmp_path / "out" / "att_splits.mat", toy / "att_splits.mat")


def test_a_full_disk_leaves_no_pair_of_old_and_new(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(toy, tmp_path / "b.h5")
    before = {path.name: path.read_bytes() for path in toy.iterdir()}
    save = scipy.io.savemat

    def full(file: Any, mdict: Fields) -> None:
        save(file, mdict)
        if "features" not in mdict:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(scipy.io, "savemat", full)
    assert convert(tmp_path / "b.h5", toy, "--overwrite") == 1
    assert {path.name: path.read_bytes() for path in toy.iterdir()} == before


def test_a_conversion_starts_again_where_one_was_killed(toy: Path, tmp_path: Path) -> None:
    leftover, running, other = (
        tmp_path / f".{name}.{uuid.uuid4().hex}.tmp" for name in ("a.h5", "a.h5", "b.h5")
    )
    for path in (leftover, running, other):
        path.write_bytes(b"half")
    for path in (leftover, other):
        os.utime(path, (0, 0))
    assert convert(toy, tmp_path / "a.h5") == 0
    assert not leftover.exists()
    assert running.exists()
    assert other.exists()
    hdf5.read(tmp_path / "a.h5")


def test_endings_may_be_capitals(toy: Path, tmp_path: Path) -> None:
    assert convert(toy, tmp_path / "a.H5") == 0
    assert convert(tmp_path / "a.H5", tmp_path / "b.HDF5") == 0
    assert (tmp_path / "b.HDF5").read_bytes() == (tmp_path / "a.H5").read_bytes()


def test_a_file_of_somebody_else_gets_a_checksum(tmp_path: Path) -> None:
    known = content()
    with h5py.File(tmp_path / "my.h5", "w") as file:
        file.attrs.update(format="zsl_lab benchmark", format_version=2, name="birds")
        file["features"], file["labels"], file["semantics/att"] = (
            known.features,
            known.labels,
            known.semantics["att"],
        )
        for part in ("trainval", "test_seen", "test_unseen"):
            file[f"split/{part}"] = getattr(known, part)
    assert convert(tmp_path / "my.h5", tmp_path / "my.h5", "--overwrite") == 0
    assert (tmp_path / "my.h5").read_bytes().startswith(b"zsl_lab benchmark, format 2, sha256 ")
    np.testing.assert_array_equal(hdf5.read(tmp_path / "my.h5").features, known.features)


def test_a_sealed_file_that_was_edited_is_sealed_again_where_that_is_said(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edited, new = tmp_path / "edited.h5", tmp_path / "new.h5"
    assert convert(toy, edited) == 0
    with h5py.File(edited, "r+") as file:
        trainval = file["split/trainval"][()]
        del file["split/trainval"]
        file["split/trainval"] = trainval[:-1]
    assert convert(edited, new) == 1
    assert f"convert {edited} {tmp_path / 'edited_sealed.h5'} --edited" in capsys.readouterr().err
    assert not new.exists()
    assert convert(edited, new, "--edited") == 0
    np.testing.assert_array_equal(hdf5.read(new).trainval, trainval[:-1])
    assert convert(toy, tmp_path / "other.h5", "--edited") == 2


def test_what_mat_files_cannot_hold_is_named_and_the_rest_put_in_their_form(tmp_path: Path) -> None:
    b = content(
        features=np.ones((20, 2), dtype=np.float16),
        semantics={"text": np.ones((5, 3))},
        validation_classes=np.array([3]),
        descriptions=("small",) * 5,
        files=("",) * 20,
        recipe=Recipe(attributes=["a", "b", "c"]),
    )
    with pytest.warns(UserWarning, match=r"no place for descriptions, recipe: left out\."):
        written = benchmark_mat.write(b, tmp_path)
    assert [path.name for path in written] == ["res101.mat", "att_splits.mat"]
    found = benchmark_mat.read(tmp_path)
    assert found.class_names == b.class_names
    assert found.files == b.files
    assert found.features.dtype == np.float32
    assert found.benchmark("att").validation_classes == np.array([3])
    np.testing.assert_array_equal(found.semantics["att"], b.semantics["text"])


def test_sample_numbers_beyond_16_bits_take_32(tmp_path: Path) -> None:
    n = 2**16 + 8
    labels = np.arange(n) % 4
    index = {
        "trainval": np.flatnonzero(labels < 2),
        "test_seen": np.flatnonzero(labels == 2)[:0],
        "test_unseen": np.flatnonzero(labels == 3),
    }
    index["trainval"], index["test_seen"] = index["trainval"][:-2], index["trainval"][-2:]
    b = content(
        features=np.ones((n, 1), dtype=np.float32),
        labels=labels,
        class_names=None,
        semantics={"att": np.ones((4, 1))},
        **index,
    )
    benchmark_mat.write(b, tmp_path)
    assert {
        name: scipy.io.loadmat(tmp_path / "att_splits.mat")[name].dtype
        for name in ("trainval_loc", "test_unseen_loc")
    } == {
        "trainval_loc": np.uint32,
        "test_unseen_loc": np.uint32,
    }
    np.testing.assert_array_equal(benchmark_mat.read(tmp_path).test_unseen, index["test_unseen"])


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "att_splits", "..", "a\0b", ""])
def test_a_file_does_not_say_where_to_write(tmp_path: Path, name: str) -> None:
    target = tmp_path / "in" / "folder"
    written = benchmark_mat.write(content(mat={name: {"features": "float32"}}), target)
    assert written == [target / "res101.mat", target / "att_splits.mat"]


def test_a_damaged_source_is_named_with_both_ways_out(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (toy / "res101.mat").write_bytes((toy / "res101.mat").read_bytes()[:300])
    assert convert(toy, tmp_path / "b.h5") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "res101.mat: found a damaged or truncated file" in said
    assert (
        "get an intact copy of the file if it is a public one (`python -m zsl_lab.data list` says "
        "where they come from), or name another folder." in said
    )


def wrong_labels(fields: Fields) -> None:
    fields["labels"][3] = 6


def test_a_benchmark_that_contradicts_itself_is_not_converted(
    toy: Path,
    recorded: Fields,
    write_mat: WriteMat,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong_labels(recorded)
    write_mat(toy / "res101.mat", recorded)
    assert convert(toy, tmp_path / "b.h5") == 1
    assert (
        "res101.mat: field 'labels': found class ids from 1 to 6 (1-based); expected 1 to 5"
        in " ".join(capsys.readouterr().err.split())
    )
    assert not (tmp_path / "b.h5").exists()


def test_of_several_feature_files_one_is_named(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(toy / "res101.mat", toy / "vgg19.mat")
    assert convert(toy, tmp_path / "a.h5") == 0  # res101 is the one that everybody means
    (toy / "res101.mat").rename(toy / "googlenet.mat")
    capsys.readouterr()
    assert convert(toy, tmp_path / "b.h5") == 2
    assert (
        "found the feature files googlenet, vgg19; expected res101 among them. Choose one with "
        "--features." in capsys.readouterr().err
    )
    assert convert(toy, tmp_path / "b.h5", "--features", "vgg91") == 2
    assert "Did you mean --features vgg19?" in capsys.readouterr().err
    assert convert(toy, tmp_path / "b.h5", "--features", "vgg19") == 0
    convert(tmp_path / "b.h5", tmp_path / "back")
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == [
        "att_splits.mat",
        "vgg19.mat",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "found"),
    [
        (
            ("nowhere", "b.h5"),
            1,
            "nowhere: no such file or folder; expected a folder with att_splits.mat, an HDF5 file "
            "or one of another program.",
        ),
        (
            ("empty", "b.h5"),
            1,
            "empty: no feature file (<features>.mat) in this folder; expected the folder of a "
            "benchmark",
        ),
        (
            ("TOY/res101.mat", "b.h5"),
            2,
            "found a .mat file; expected the folder that holds it and att_splits.mat. Name TOY.",
        ),
        (("TOY", "out"), 2, "out: found a folder, as SOURCE is; expected a name that ends in .h5"),
        (
            ("TOY", "TOY/res101.mat"),
            2,
            "TOY/res101.mat: found a file; expected a name that ends in .h5",
        ),
        (("TOY", "folder.h5"), 2, "folder.h5: found a folder; expected the name of a file"),
        (("text.h5", "out"), 1, "text.h5: found a damaged file or another format"),
        (("text.h5", "b.h5", "--features", "x"), 2, "--features names a .mat file"),
        (
            ("TOY", "b.h5", "--features", "../x"),
            2,
            "--features ../x: expected a feature file's name without .mat and without folders",
        ),
        (
            ("TOY", "b.h5", "--features", "att_splits"),
            2,
            "--features att_splits: expected a feature file's name",
        ),
        (("TOY", "b.h5", "--shards", "-1"), 2, "--shards -1: expected a number of files"),
        (("TOY", "b.npz", "--shards", "2"), 2, "--shards 2: TARGET is b.npz; expected a name"),
        (("TOY",), 2, "The following arguments are required: TARGET."),
        (
            ("TOY", "b.h5", "--overwite"),
            2,
            "--overwite: there is no such option. Did you mean --overwrite?",
        ),
    ],
)
def test_a_wrong_command_is_a_sentence(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    found: str,
) -> None:
    for folder in ("empty", "folder.h5"):
        (tmp_path / folder).mkdir()
    (tmp_path / "text.h5").write_text("text")
    monkeypatch.chdir(tmp_path)
    assert convert(*arguments) == code
    assert found in " ".join(capsys.readouterr().err.split())


def test_what_a_variable_of_such_a_file_cannot_hold_is_a_sentence(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(toy, tmp_path / "b.h5")
    monkeypatch.setattr(benchmark_mat, "_LIMIT", 900)
    assert convert(tmp_path / "b.h5", tmp_path / "back") == 1
    assert (
        "b.h5: field 'features' of res101.mat: found 0.0 GiB; expected less than 2 GiB"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "back").exists()


def test_several_kinds_of_semantics_without_att_have_to_be_chosen_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table: npt.NDArray[Any] = np.ones((5, 3))
    hdf5.write(content(semantics={"a": table, "b": table}), tmp_path / "b.h5")
    assert convert(tmp_path / "b.h5", tmp_path / "back") == 1
    assert "b.h5: semantics: found a, b; expected att, or only one kind" in capsys.readouterr().err


def test_converting_waits_for_no_torch() -> None:
    script = (
        "import sys, zsl_lab.cli.data.convert, zsl_lab.data.files.benchmark_mat; "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
