"""Files of named arrays: every kind is read, damage and Python objects are sentences."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from zsl_lab.data.files.foreign.arrays import (
    read_npy_files,
    read_npz,
    read_pt,
    read_safetensors,
)
from zsl_lab.errors import DataError
from zsl_lab.files import rows

RNG = np.random.default_rng(0)
ARRAYS: dict[str, Any] = {
    "features": RNG.random((7, 3), dtype=np.float32),
    "y": np.arange(7, dtype=np.int16),
    "split/trainval": np.array([True] * 5 + [False] * 2),
    "class_names": np.array(["ant", "bée"]),
}
NUMBERS = {name: array for name, array in ARRAYS.items() if array.dtype.kind != "U"}


def npz(path: Path) -> Path:
    np.savez(path / "a.npz", **ARRAYS)
    return path / "a.npz"


def npz_compressed(path: Path) -> Path:
    np.savez_compressed(path / "c.npz", **ARRAYS)
    return path / "c.npz"


def pt(path: Path) -> Path:
    nested = {"trainval": torch.from_numpy(ARRAYS["split/trainval"])}
    torch.save(
        {
            "features": torch.nn.Parameter(torch.from_numpy(ARRAYS["features"])),
            "y": torch.from_numpy(ARRAYS["y"]),
            "split": nested,
            "class_names": ARRAYS["class_names"].tolist(),
        },
        path / "a.pt",
    )
    return path / "a.pt"


def safetensors(path: Path) -> Path:
    names = json.dumps(ARRAYS["class_names"].tolist())
    tensors = {name: torch.from_numpy(array) for name, array in NUMBERS.items()}
    save_file(tensors, path / "a.safetensors", metadata={"class_names": names})
    return path / "a.safetensors"


READERS: dict[Callable[[Path], Path], Any] = {
    npz: read_npz,
    npz_compressed: read_npz,
    pt: read_pt,
    safetensors: read_safetensors,
}


@pytest.mark.parametrize("write", READERS)
def test_arrays_and_texts_come_with_their_types(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    found = READERS[write](write(tmp_path)).values
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("write", READERS)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_a_sentence(
    write: Callable[[Path], Path], share: float, tmp_path: Path
) -> None:
    path = write(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"a\.|c\.") as caught:
        READERS[write](path)
    assert "; expected " in str(caught.value)


def test_numpy_files_of_a_folder_are_fields_and_known_lists_of_texts(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", ARRAYS["features"])
    np.save(tmp_path / "labels.npy", ARRAYS["y"])
    (tmp_path / "classes.txt").write_text("2 bee\n1 ant\n")
    (tmp_path / "README.txt").write_text("not a field")
    found = read_npy_files(tmp_path).values
    assert sorted(found) == ["X", "classes", "labels"]
    assert found["classes"].tolist() == ["ant", "bee"]


def test_a_file_that_is_named_holds_the_features(tmp_path: Path) -> None:
    np.save(tmp_path / "resnet.npy", ARRAYS["features"])
    np.save(tmp_path / "features.npy", np.zeros((1, 1)))
    np.save(tmp_path / "labels.npy", ARRAYS["y"])
    found = read_npy_files(tmp_path / "resnet.npy").values
    assert sorted(found) == ["features", "labels"]
    np.testing.assert_array_equal(found["features"], ARRAYS["features"])


def test_a_tuple_of_tensors_has_numbered_fields(tmp_path: Path) -> None:
    torch.save((torch.zeros(2, 3), torch.ones(2, dtype=torch.bfloat16)), tmp_path / "a.pt")
    found = read_pt(tmp_path / "a.pt").values
    assert {name: array.dtype for name, array in found.items()} == {
        "0": np.float32,
        "1": np.float32,
    }


@pytest.mark.parametrize(
    "names", [{"bee": 1, "ant": 0}, {1: "bee", 0: "ant"}, {"1": "bee", "0": "ant"}]
)
def test_names_of_classes_by_their_ids_are_in_the_order_of_the_ids(
    names: dict[Any, Any], tmp_path: Path
) -> None:
    torch.save({"class_to_idx": names}, tmp_path / "a.pt")
    found = read_pt(tmp_path / "a.pt").values
    assert found["class_to_idx"].tolist() == ["ant", "bee"]
    save_file({"x": torch.zeros(1)}, tmp_path / "a.safetensors", {"id2label": json.dumps(names)})
    assert read_safetensors(tmp_path / "a.safetensors").values["id2label"].tolist() == [
        *("ant", "bee")
    ]


def test_ids_with_gaps_are_no_list_of_names(tmp_path: Path) -> None:
    torch.save({"class_to_idx": {"ant": 0, "bee": 2}}, tmp_path / "a.pt")
    assert sorted(read_pt(tmp_path / "a.pt").values) == ["class_to_idx/ant", "class_to_idx/bee"]


def test_tensors_of_eight_bits_become_float32(tmp_path: Path) -> None:
    tensor = torch.tensor([0.5, -2.0]).to(torch.float8_e4m3fn)
    save_file({"x": tensor}, tmp_path / "a.safetensors")
    found = read_safetensors(tmp_path / "a.safetensors").values["x"]
    assert found.dtype == np.float32
    assert found.tolist() == [0.5, -2.0]


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "a.npz", names=objects)
    np.save(tmp_path / "names.npy", objects)
    torch.save({"model": Path("x")}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps({"x": Path("x")}))
    for path, reader in (
        (tmp_path / "a.npz", read_npz),
        (tmp_path, read_npy_files),
        (tmp_path / "a.pt", read_pt),
        (tmp_path / "b.pt", read_pt),
    ):
        with pytest.raises(DataError, match="Python objects, which only a pickle stores"):
            reader(path)


def test_an_array_that_declares_more_than_it_has_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(npz(tmp_path)) as archive:
        content = archive.read("features.npy")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr(
            "features.npy", content.replace(b"(7, 3)", b"(70, 3)").replace(b" \n", b"\n")
        )
    with pytest.raises(DataError, match="found a header that declares 840 bytes"):
        read_npz(tmp_path / "b.npz")


def test_a_large_member_is_mapped_from_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zsl_lab.data.files.foreign import arrays

    monkeypatch.setattr(arrays, "LARGE", 64)
    found = read_npz(npz_compressed(tmp_path)).values["features"]
    assert rows.is_mapped(found)
    np.testing.assert_array_equal(found, ARRAYS["features"])


def test_a_flipped_bit_of_a_tensor_is_noticed(tmp_path: Path) -> None:
    path = pt(tmp_path)
    data = bytearray(path.read_bytes())
    data[data.index(ARRAYS["features"].tobytes()) + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.pt: .*the checksum of its member '.*data/0' is wrong"):
        read_pt(path)
