"""Reading MATLAB files: both versions alike, damaged ones refused, nothing executed."""

from __future__ import annotations

import errno
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from tests.helpers.benchmark_files import Fields, WriteMat, cells
from zsl_lab.data.files import mat
from zsl_lab.data.files.mat import integers, read_mat, texts
from zsl_lab.errors import DataError, OutputError
from zsl_lab.files import rows


class Bomb:
    """Leaves a trace if it is ever unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_both_versions_read_the_same(
    tmp_path: Path, write_mat: WriteMat, splits: Fields, recorded: Fields
) -> None:
    fields = {**splits, **recorded, "allclasses_names": cells(["ant", "Bär", "", "dog", "eel"])}
    fields["allclasses_names"][2, 0] = "c"
    old = read_mat(write_mat(tmp_path / "old.mat", fields, "5"), list(fields))
    new = read_mat(write_mat(tmp_path / "new.mat", fields, "7.3"), list(fields))
    assert old.keys() == new.keys() == fields.keys()
    for name in fields:
        assert old[name].shape == new[name].shape == fields[name].shape
        np.testing.assert_array_equal(old[name], new[name])
        np.testing.assert_array_equal(old[name], fields[name].astype(old[name].dtype))
    assert old["allclasses_names"].dtype.kind == "U"


def test_large_numbers_of_version_7_3_go_through_a_file_in_blocks(
    tmp_path: Path, write_mat: WriteMat, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = np.random.default_rng(0).random((3, 50), dtype=np.float32)
    path = write_mat(tmp_path / "a.mat", {"features": table}, "7.3")
    monkeypatch.setattr(mat, "LARGE", table.nbytes)
    monkeypatch.setattr(rows, "LARGE", table.nbytes)
    monkeypatch.setattr(mat, "row_blocks", partial(rows.row_blocks, size=120))
    found = read_mat(path, ["features"])["features"]
    assert rows.is_mapped(found)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, table)

    def full(**_: Any) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(OutputError, match=r"Cannot write a temporary file in .*: the disk is full"):
        read_mat(path, ["features"])


def test_optional_fields_may_be_absent_and_others_are_not_read(
    tmp_path: Path, write_mat: WriteMat, splits: Fields, version: str
) -> None:
    path = write_mat(tmp_path / "a.mat", splits, version)
    assert set(read_mat(path, ["att"], ["val_loc", "nothing"])) == {"att", "val_loc"}


def test_a_missing_field_is_named_with_those_that_are_there(
    tmp_path: Path, write_mat: WriteMat, splits: Fields, version: str
) -> None:
    del splits["trainval_loc"]
    path = write_mat(tmp_path / "a.mat", splits, version)
    with pytest.raises(
        DataError, match=r"a\.mat: field 'trainval_loc' is missing; found .*att.*val_loc"
    ):
        read_mat(path, ["att", "trainval_loc"])


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(
    tmp_path: Path, write_mat: WriteMat, recorded: Fields, version: str, share: float
) -> None:
    path = write_mat(
        tmp_path / "a.mat",
        {"labels": recorded["labels"], "features": recorded["features"]},
        version,
    )
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"a\.mat: "):
        read_mat(path, ["features", "labels"])


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>404</html>", b"\x00" * 4096, b"version https://git-lfs.github.com/spec/v1\n"],
)
def test_other_files_are_not_matlab_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    with pytest.raises(
        DataError,
        match=r"a\.mat: not a MATLAB file: found .*expected a MATLAB file \(version 5 or 7\.3\)",
    ):
        read_mat(path, ["att"])


@pytest.mark.parametrize("as_array", [False, True])
def test_a_pickle_is_never_executed(tmp_path: Path, as_array: bool) -> None:
    path, trace = tmp_path / "a.mat", tmp_path / "executed"
    with path.open("wb") as file:
        if as_array:
            np.save(file, np.array([Bomb(trace)], dtype=object), allow_pickle=True)
        else:
            pickle.dump(Bomb(trace), file)
    with pytest.raises(DataError, match="not a MATLAB file"):
        read_mat(path, ["att"])
    assert not trace.exists()


def test_a_pickle_inside_a_field_stays_bytes(tmp_path: Path) -> None:
    path, trace = tmp_path / "a.mat", tmp_path / "executed"
    scipy.io.savemat(path, {"att": np.frombuffer(pickle.dumps(Bomb(trace)), dtype=np.uint8)})
    assert read_mat(path, ["att"])["att"].dtype == np.uint8
    assert not trace.exists()


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.mat: no such file"):
        read_mat(tmp_path / "a.mat", ["att"])
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\)"):
        read_mat(tmp_path, ["att"])


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"a": 1}, "a struct"),
        (np.array([[1j]]), "complex"),
        (np.array([[np.ones(2), "a"]], dtype=object), "a cell"),
    ],
)
def test_what_is_neither_numbers_nor_strings_is_refused(
    tmp_path: Path, value: Any, kind: str
) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"att": value})
    with pytest.raises(
        DataError, match=f"field 'att': found {kind}.*expected numbers or a cell array of strings"
    ):
        read_mat(tmp_path / "a.mat", ["att"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array(["ant", "bee  ", "catfish"]), ("ant", "bee", "catfish")),
        (np.arange(1.0, 4)[:, None], ("1", "2", "3")),
        (np.array([[1, 2, 3]], dtype=np.uint8), ("1", "2", "3")),
        (cells([cells(["ant"]), cells([cells(["bee"])]), "cat"]), ("ant", "bee", "cat")),  # type: ignore[list-item]
        (cells([np.array([[7]]), "b", "c"]), ("7", "b", "c")),  # type: ignore[list-item]
    ],
)
def test_every_way_of_text_is_read(tmp_path: Path, value: Any, expected: tuple[str, ...]) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"names": value})
    assert texts(read_mat(path, ["names"])["names"], path, "names") == expected


@pytest.mark.parametrize("value", [np.array([[1.5], [2]]), np.eye(3)])
def test_other_numbers_are_no_names(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"names": value})
    with pytest.raises(DataError, match=r"a\.mat: field 'names': found "):
        texts(read_mat(path, ["names"])["names"], path, "names")


def test_text_in_version_7_3(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        characters = np.array([[ord(c) for c in row] for row in ("ant", "bee", "ox ")], dtype="<u2")
        file.create_dataset("char", data=characters.T).attrs["MATLAB_class"] = np.bytes_("char")
        text = file.create_dataset("#refs#/a", data=characters[:1].T)
        text.attrs["MATLAB_class"] = np.bytes_("char")
        inner = file.create_dataset("#refs#/b", shape=(1, 1), dtype=h5py.ref_dtype)
        inner[0, 0] = text.ref
        number = file.create_dataset("#refs#/c", data=[[7.0]])
        loop = file.create_dataset("#refs#/d", shape=(1, 1), dtype=h5py.ref_dtype)
        loop[0, 0] = loop.ref
        for name, targets in (("nested", [text, inner, number]), ("loop", [loop])):
            references = np.empty((1, len(targets)), dtype=h5py.ref_dtype)
            references[0] = [target.ref for target in targets]
            file.create_dataset(name, data=references, dtype=h5py.ref_dtype)
        string = file.create_dataset("string", data=np.array([[0xDD000000, 2, 1, 1, 1, 1]], "<u4"))
        string.attrs["MATLAB_class"] = np.bytes_("string")
        string.attrs["MATLAB_object_decode"] = np.int32(3)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    assert read_mat(path, ["char"])["char"].ravel().tolist() == ["ant", "bee", "ox"]
    assert read_mat(path, ["nested"])["nested"].ravel().tolist() == ["ant", "ant", "7"]
    with pytest.raises(DataError, match=r"'string': found an object, .*cellstr converts it"):
        read_mat(path, ["string"])
    with pytest.raises(DataError, match="'loop': found a cell array with other things"):
        read_mat(path, ["loop"])


@pytest.mark.parametrize("value", [3, 3.0])
def test_a_number_without_dimensions_is_a_list_of_one(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["loc"] = value  # as h5py writes it, and MATLAB never does
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    assert integers(read_mat(path, ["loc"])["loc"], path, "loc").tolist() == [3]
