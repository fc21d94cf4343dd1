"""Files of unknown origin: damaged ones give a sentence or the same numbers, large claims none.

``ALWAYS_ALLOWED`` is lowered for files that claim much, so that small ones show what large ones do.
"""

from __future__ import annotations

import io
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.benchmark_files import WriteMat, cells
from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.data.files import own_file
from zsl_lab.data.files.mat import field_names, read_mat
from zsl_lab.errors import DataError
from zsl_lab.files import memory, probe
from zsl_lab.files.npy import load_npy

NAMES = ["features", "labels", "image_files"]
#: hypothesis forgets what it found: a test's result depends on the code alone
QUICK = settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
#: `make test-long` takes 400
THOROUGH = settings(QUICK, max_examples=int(os.environ.get("ZSL_LAB_EXAMPLES", 40)))

Damage = tuple[str, float, int, bytes]


def damages() -> st.SearchStrategy[Damage]:
    """How bytes are damaged, where (a share of the file), how many, and by what."""
    return st.tuples(
        st.sampled_from(["flip", "write", "cut", "remove", "insert"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 7),
        st.binary(min_size=1, max_size=64),
    )


def damaged(intact: bytes, how: Damage) -> bytes:
    kind, share, bit, new = how
    place = int(share * len(intact))
    if kind == "flip":
        return intact[:place] + bytes([intact[place] ^ (1 << bit)]) + intact[place + 1 :]
    if kind == "cut":
        return intact[:place]
    if kind == "remove":
        return intact[:place] + intact[place + len(new) :]
    if kind == "insert":
        return intact[:place] + new + intact[place:]
    return (intact[:place] + new + intact[place + len(new) :])[: len(intact)]


def equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(a[name].shape == b[name].shape and np.array_equal(a[name], b[name]) for name in b)


@pytest.fixture
def fields() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "features": rng.random((6, 20)),
        "labels": rng.integers(1, 6, (20, 1)).astype(float),
        "image_files": cells([f"/images/{i}.jpg" for i in range(20)]),
    }


def read_or_refused(path: Path, read: Callable[[], Any]) -> Any:
    """What a reader finds; None where it refuses the file in a sentence that names it."""
    try:
        return read()
    except DataError as error:
        sentence = str(error)
    assert path.name in sentence
    assert len(sentence) < 2000
    return None


def read_fields(path: Path, content: bytes) -> Any:
    path.write_bytes(content)
    return read_or_refused(path, lambda: (field_names(path), read_mat(path, NAMES))[1])


def check_mat(path: Path, content: bytes, expected: dict[str, Any]) -> None:
    found = read_fields(path, content)
    assert found is None or equal(found, expected)


# --------------------------------------------------------------------------- damaged files


@pytest.mark.slow
@THOROUGH
@given(how=damages())
def test_many_damaged_compressed_mat_files(
    tmp_path: Path, fields: dict[str, Any], how: Damage
) -> None:
    scipy.io.savemat(tmp_path / "a.mat", fields, do_compression=True)
    intact = (tmp_path / "a.mat").read_bytes()
    expected = read_mat(tmp_path / "a.mat", NAMES)
    check_mat(tmp_path / "b.mat", damaged(intact, how), expected)


@pytest.mark.slow
@QUICK
@given(how=damages())
def test_a_damaged_plain_mat_file_is_no_stack_trace(
    tmp_path: Path, fields: dict[str, Any], how: Damage
) -> None:
    scipy.io.savemat(tmp_path / "a.mat", fields)
    # its numbers have no checksum
    read_fields(tmp_path / "b.mat", damaged((tmp_path / "a.mat").read_bytes(), how))


@pytest.fixture
def both_versions(tmp_path: Path, write_mat: WriteMat, fields: dict[str, Any]) -> list[bytes]:
    """The same fields in files of both versions."""
    scipy.io.savemat(tmp_path / "5.mat", fields)
    write_mat(tmp_path / "7.3.mat", fields, "7.3")
    return [(tmp_path / name).read_bytes() for name in ("5.mat", "7.3.mat")]


@pytest.mark.slow
@THOROUGH
@given(how=damages())
def test_many_damaged_mat_files_of_both_versions(
    tmp_path: Path, both_versions: list[bytes], how: Damage
) -> None:
    for intact in both_versions:
        read_fields(tmp_path / "b.mat", damaged(intact, how))


@pytest.mark.parametrize("compressed", [False, True])
def test_a_mat_file_cut_anywhere_is_refused(
    tmp_path: Path, fields: dict[str, Any], compressed: bool
) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, fields, do_compression=compressed)
    intact = path.read_bytes()
    # behind the last whole variable nothing is missing but the field that follows
    for length in (*range(len(intact) - 40, len(intact)), *range(129, len(intact), 97)):
        path.write_bytes(intact[:length])
        with pytest.raises(DataError, match=r"a\.mat: found a damaged or truncated file|missing"):
            read_mat(path, NAMES)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A benchmark that h5py alone has written, without a seal."""
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file.attrs.update(format="zsl_lab benchmark", format_version=2, name="toy")
        file["features"] = rng.random((20, 6)).astype(np.float32)
        file["labels"] = np.repeat(np.arange(5), 4)
        file["class_names"] = ["ant", "bee", "cat", "dog", "eel"]
        file["semantics/att"] = rng.random((5, 3))
        file["split/trainval"] = np.array([0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14])
        file["split/test_seen"] = np.array([3, 7, 11, 15])
        file["split/test_unseen"] = np.array([16, 17, 18, 19])
    return tmp_path / "own.h5"


def load_own(path: Path, content: bytes) -> Any:
    path.write_bytes(content)
    return read_or_refused(path, lambda: own_file.load(path, None, None))


@pytest.mark.slow
@QUICK
@given(how=damages())
def test_a_damaged_sealed_file_is_refused_or_the_same(
    tmp_path: Path, own: Path, how: Damage
) -> None:
    hdf5.write(hdf5.read(own), tmp_path / "sealed.h5")
    intact = (tmp_path / "sealed.h5").read_bytes()
    expected = own_file.load(tmp_path / "sealed.h5", None, None)
    found = load_own(tmp_path / "b.h5", damaged(intact, how))
    if found is not None:
        np.testing.assert_array_equal(found.features, expected.features)
        np.testing.assert_array_equal(found.labels, expected.labels)


@pytest.mark.slow
@THOROUGH
@given(how=damages())
def test_many_damaged_files_without_a_seal(tmp_path: Path, own: Path, how: Damage) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "TIMEOUT", 5.0)  # some make HDF5 loop for ever
        load_own(tmp_path / "b.h5", damaged(own.read_bytes(), how))


# --------------------------------------------------------------------------- MATLAB 5: claims


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def array(kind: int, shape: Iterable[int], data: bytes, name: bytes = b"features") -> bytes:
    lengths = list(shape)
    body = element(6, struct.pack("<II", kind, 0))
    body += element(5, struct.pack(f"<{len(lengths)}i", *lengths)) + element(1, name) + data
    return struct.pack("<II", 14, len(body)) + body


def packed(content: bytes) -> bytes:
    small = zlib.compress(content, 9)
    return struct.pack("<II", 15, len(small)) + small


def nested(depth: int) -> bytes:
    heads: list[bytes] = []
    length = 0
    for level in range(depth):
        cell = array(1, (1, 1), b"", b"features" if level == depth - 1 else b"")[8:]
        length += len(cell)
        heads.append(struct.pack("<II", 14, length) + cell)
        length += 8
    return b"".join(reversed(heads))


HEADER = b"MATLAB 5.0".ljust(124) + b"\0\1IM"
DOUBLES = element(9, np.arange(6.0).tobytes())
CELL, STRUCT, CHAR, SPARSE, DOUBLE = 1, 2, 4, 5, 6
LARGE = 2**31 - 1
CLAIMS = {
    "more numbers than bytes": array(DOUBLE, (2, 4), DOUBLES),
    "fewer numbers than bytes": array(DOUBLE, (2, 2), DOUBLES),
    "2**62 numbers": array(DOUBLE, (LARGE, LARGE), DOUBLES),
    "negative dimensions": array(DOUBLE, (-2, -3), DOUBLES),
    "40 dimensions": array(DOUBLE, (1,) * 40, DOUBLES),
    "no dimensions": array(DOUBLE, (), DOUBLES),
    "numbers of an unknown type": array(DOUBLE, (2, 3), element(99, bytes(48))),
    "numbers of no type": array(DOUBLE, (2, 3), element(14, bytes(48))),
    "2**31 cells": array(CELL, (LARGE, 1), b""),
    "2**62 cells": array(CELL, (LARGE, LARGE), b""),
    "cells that are numbers": array(CELL, (1, 1), DOUBLES),
    "cells 20,000 deep": nested(20_000),
    "2**62 characters": array(CHAR, (LARGE, LARGE), element(16, b"abc")),
    "characters of no type": array(CHAR, (1, 3), element(9, bytes(24))),
    "2**62 structs": array(STRUCT, (LARGE, LARGE), element(5, struct.pack("<i", 32))),
    "a sparse matrix of 2**62": array(SPARSE, (LARGE, LARGE), DOUBLES),
    "an unknown class": array(77, (2, 3), DOUBLES),
    "a name of numbers": element(14, element(6, bytes(8)) + DOUBLES),
    "nothing": struct.pack("<II", 14, 0),
    "an element that ends after the file": struct.pack("<II", 14, 2**31) + bytes(64),
    "another element": element(9, bytes(64)),
}


@pytest.mark.slow
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", CLAIMS)
def test_a_mat_file_that_claims_what_it_has_not_is_refused(
    tmp_path: Path, name: str, compressed: bool
) -> None:
    content = CLAIMS[name]
    (tmp_path / "a.mat").write_bytes(HEADER + (packed(content) if compressed else content))
    begun = time.monotonic()
    with pytest.raises(DataError, match=r"a\.mat: "):
        read_mat(tmp_path / "a.mat", ["features"])
    assert time.monotonic() - begun < 10


def test_a_compressed_variable_must_unpack_to_what_it_declares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "ALWAYS_ALLOWED", 2**20)
    path = tmp_path / "a.mat"
    zeros = struct.pack("<II", 2, 2**23) + bytes(2**23)
    path.write_bytes(HEADER + packed(array(9, (1, 2**23), zeros)))
    with pytest.raises(DataError, match=r"field 'features': found 8\.0 MiB declared by .* KiB of"):
        read_mat(path, ["features"])
    small = array(DOUBLE, (2, 3), DOUBLES)
    for content in (small + bytes(2**16), small[:-8]):
        path.write_bytes(HEADER + packed(content))
        with pytest.raises(DataError, match="found a damaged or truncated file"):
            read_mat(path, ["features"])
    whole = packed(small)
    for content in (whole[:-2] + bytes(2), whole + struct.pack("<II", 15, 0)):
        path.write_bytes(HEADER + content)
        with pytest.raises(DataError, match="found a damaged or truncated file"):
            read_mat(path, ["features"])


def test_a_field_may_stand_only_once(tmp_path: Path) -> None:
    content = array(DOUBLE, (2, 3), DOUBLES)
    (tmp_path / "a.mat").write_bytes(HEADER + content)
    np.testing.assert_array_equal(
        read_mat(tmp_path / "a.mat", ["features"])["features"],
        np.arange(6.0).reshape(2, 3, order="F"),
    )
    (tmp_path / "a.mat").write_bytes(HEADER + content + content)
    with pytest.raises(DataError, match=r"a\.mat: found field 'features' twice"):
        read_mat(tmp_path / "a.mat", ["features"])


# --------------------------------------------------------------------------- HDF5: claims, links

Change = Callable[[Any], None]


def in_chunks(shape: tuple[int, ...], chunks: tuple[int, ...], *, written: int) -> Change:
    """Compressed zeros in the place of the features, of which some chunks are written."""

    def change(file: Any) -> None:
        del file["features"]
        made = file.create_dataset(
            "features", shape=shape, maxshape=(None,) * len(shape), chunks=chunks, compression=9
        )
        zeros = zlib.compress(bytes(int(np.prod(chunks)) * 4), 9)
        for number in range(written):
            made.id.write_direct_chunk((0, number * chunks[1]), zeros)

    return change


def in_place_of(name: str, value: Any) -> Change:
    def change(file: Any) -> None:
        del file[name]
        file[name] = value

    return change


def external(file: Any) -> None:
    del file["features"]
    file.create_dataset("features", (20, 6), "f4", external=[("/etc/hostname", 0, 480)])


def virtual(file: Any) -> None:
    del file["features"]
    layout = h5py.VirtualLayout((20, 6), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "features", (20, 6))
    file.create_virtual_dataset("features", layout)


def virtual_names(file: Any) -> None:
    del file["class_names"]
    layout = h5py.VirtualLayout((5,), h5py.string_dtype())
    layout[:] = h5py.VirtualSource("other.h5", "names", (5,), h5py.string_dtype())
    file.create_virtual_dataset("class_names", layout)


def many_names(file: Any) -> None:
    del file["class_names"]
    file.create_dataset("class_names", (2**40,), h5py.string_dtype(), chunks=(2**10,))


def many_attributes(file: Any) -> None:
    file.attrs["name"] = np.array(["x" * 100] * 500, dtype=object)


def loop(file: Any) -> None:
    file["semantics/loop"] = file["/"]


def many_kinds(file: Any) -> None:
    for number in range(1500):
        file[f"semantics/k{number}"] = file["semantics/att"]


def contiguous(file: Any) -> None:
    del file["features"]
    file.create_dataset("features", (20, 2**40), "f4")


UNTRUSTED: dict[str, tuple[Change, str]] = {
    "external link": (
        in_place_of("features", h5py.ExternalLink("/etc/hostname", "/")),
        "field 'features': found a link to something else ('/' in another file, '/etc/hostname')",
    ),
    "external link, group": (
        in_place_of("split", h5py.ExternalLink("other.h5", "/split")),
        "field 'split': found a link to something else ('/split' in another file, 'other.h5')",
    ),
    "soft link": (
        in_place_of("labels", h5py.SoftLink("/split/trainval")),
        "field 'labels': found a link to something else ('/split/trainval')",
    ),
    "soft link to itself": (
        in_place_of("labels", h5py.SoftLink("/labels")),
        "field 'labels': found a link to something else ('/labels')",
    ),
    "external storage": (external, "lie in another file (external storage)"),
    "virtual dataset": (virtual, "lie in another file (a virtual dataset)"),
    "virtual names": (virtual_names, "field 'class_names': found a dataset whose numbers lie in"),
    "16 MiB in 16 KiB": (
        in_chunks((20, 2**18), (20, 2**14), written=16),
        "field 'features': found 20.0 MiB declared by ",
    ),
    "1 TiB in one chunk": (
        in_chunks((20, 2**36), (20, 2**14), written=1),
        "field 'features': found a dataset of which only a part was written",
    ),
    "a chunk beyond the dataset": (
        in_chunks((20, 6), (2**10, 2**12), written=1),
        "field 'features': found 16.0 MiB declared by ",
    ),
    "80 TiB of nothing": (contiguous, "field 'features': found a dataset that nothing was written"),
    "2**40 names": (many_names, "field 'class_names': found 8.0 TiB declared by "),
    "500 names of the benchmark": (many_attributes, "field 'name': found an attribute of several"),
    "a group that holds itself": (loop, "field 'semantics/loop': found a group"),
    "1,500 kinds of semantics": (many_kinds, "field 'semantics': found 1,501 datasets"),
}


@pytest.mark.parametrize("name", UNTRUSTED)
def test_what_points_elsewhere_or_claims_too_much_is_refused(
    own: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "ALWAYS_ALLOWED", 2**20)
    change, found = UNTRUSTED[name]
    with h5py.File(own, "r+") as file:
        change(file)
    begun = time.monotonic()
    with pytest.raises(DataError) as caught:
        own_file.load(own, None, None)
    assert time.monotonic() - begun < 20
    assert str(own) in str(caught.value)
    assert found in str(caught.value)
    assert "expected" in str(caught.value)


def test_numbers_are_measured_against_the_free_memory(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "ALWAYS_ALLOWED", 16)
    monkeypatch.setattr(memory, "free_memory", lambda: 400)
    with pytest.raises(DataError, match=r"field 'features': found numbers that take 480 bytes"):
        own_file.load(own, None, None)


def matlab73(path: Path, change: Change) -> Path:
    with h5py.File(path, "w", userblock_size=512) as file:
        change(file)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3".ljust(124) + b"\0\2IM")
    return path


def empty(*shape: int) -> Change:
    def change(file: Any) -> None:
        file["features"] = np.array(shape, dtype="u8")
        file["features"].attrs["MATLAB_empty"] = 1

    return change


def one_text_many_times(file: Any) -> None:
    text = file.create_dataset("#refs#/a", data=np.full((2**16, 1), 97, "u2"))
    text.attrs["MATLAB_class"] = np.bytes_("char")
    references = np.full((1, 2**12), text.ref, dtype=h5py.ref_dtype)
    file.create_dataset("features", data=references, dtype=h5py.ref_dtype)


def link_out(file: Any) -> None:
    file["features"] = h5py.ExternalLink("other.h5", "/x")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (empty(2**31, 1), r"found an array marked as empty, of dimensions \[2147483648, 1\]"),
        (empty(*[1] * 50), "found an empty array without dimensions"),
        (one_text_many_times, "found strings that are longer together than the whole file"),
        (link_out, "found a link to something else"),
    ],
)
def test_a_mat_file_of_version_73_claims_too_much_or_points_elsewhere(
    tmp_path: Path, change: Change, found: str
) -> None:
    with pytest.raises(DataError, match=rf"a\.mat: field 'features': {found}"):
        read_mat(matlab73(tmp_path / "a.mat", change), ["features"])


def test_an_empty_array_of_version_73_is_empty(tmp_path: Path) -> None:
    path = matlab73(tmp_path / "a.mat", empty(0, 5))
    assert read_mat(path, ["features"])["features"].shape == (0, 5)


# --------------------------------------------------------------------------- open elsewhere


def test_a_file_that_is_open_for_reading_is_read(own: Path) -> None:
    with h5py.File(own):
        assert len(own_file.load(own, None, None).labels) == 20


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no locks of that kind there")
def test_a_file_that_is_open_for_writing_is_not_called_damaged(own: Path) -> None:
    with h5py.File(own, "r+"), pytest.raises(DataError) as caught:
        own_file.load(own, None, None)
    assert f"{own}: found a file that is open for writing" in str(caught.value)
    assert "It is not damaged: close it there" in str(caught.value)
    assert len(own_file.load(own, None, None).labels) == 20


# --------------------------------------------------------------------------- .npy


def npy(shape: tuple[int, ...], data: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + data


@pytest.mark.parametrize("mode", [None, "r"])
@pytest.mark.parametrize(
    ("content", "found"),
    [
        (npy((2**20, 2**20)), "declares 8,796,093,022,208 bytes"),
        (npy((10,), bytes(79)), "declares 80 bytes"),
        (npy((2**62, 2**62)), "declares"),
    ],
)
def test_a_header_of_npy_that_claims_too_much_is_refused(
    tmp_path: Path, content: bytes, found: str, mode: Any
) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.npy: found a header that {found}"):
        load_npy(tmp_path / "a.npy", mode)


@QUICK
@given(how=damages())
def test_a_damaged_npy_file_is_no_other_error(tmp_path: Path, how: Damage) -> None:
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(2, 3))
    (tmp_path / "b.npy").write_bytes(damaged((tmp_path / "a.npy").read_bytes(), how))
    try:
        load_npy(tmp_path / "b.npy")
    except (DataError, ValueError):
        return
