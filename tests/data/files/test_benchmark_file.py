"""The HDF5 layout: round trips, files made by its documentation, and errors."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from zsl_lab.data.benchmark import Provenance
from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.data.files.benchmark_file import BenchmarkFile
from zsl_lab.data.recipe import Recipe, TextRecipe
from zsl_lab.errors import DataError, OutputError
from zsl_lab.files.hashing import sha256_file

NAMES = ("ant", "bee", "čáp 🐦", "dog", "eel")
LABELS = np.repeat(np.arange(5), 4)
INDEX: dict[str, Any] = {
    "trainval": np.flatnonzero((LABELS < 4) & (np.arange(20) % 4 < 3)),
    "test_seen": np.flatnonzero((LABELS < 4) & (np.arange(20) % 4 == 3)),
    "test_unseen": np.flatnonzero(LABELS == 4),
}
WAYS_OUT = (
    r"Correct the file .*zsl_lab\.data\.files\.benchmark_file.*or recreate it: .*convert.*extract"
)


def content(**changes: Any) -> BenchmarkFile:
    """Five classes of four samples; classes 0 to 3 are seen."""
    rng = np.random.default_rng(0)
    given: dict[str, Any] = {
        "name": "toy",
        "features": rng.random((20, 6), dtype=np.float32),
        "labels": LABELS,
        "class_names": NAMES,
        "semantics": {"att": rng.random((5, 3))},
        **INDEX,
    }
    return BenchmarkFile(**{**given, **changes})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "b.h5"


@pytest.fixture
def made(path: Path) -> Path:
    """A file made with h5py, as the documentation shows it."""
    documented = textwrap.dedent(
        str(hdf5.__doc__).split("five lines::\n\n")[1].split("\n\nFiles")[0]
    ).replace('"my.h5"', "path")
    known = content()
    exec(
        documented,
        {
            **{
                "h5py": h5py,
                "path": path,
                "features": known.features,
                "labels": known.labels,
                "names": list(NAMES),
            },
            **{"attributes": known.semantics["att"], **INDEX},
        },
    )
    return path


def message(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        hdf5.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert re.search(WAYS_OUT, str(caught.value))
    return str(caught.value)


def test_everything_written_comes_back_with_its_type(path: Path) -> None:
    rng = np.random.default_rng(1)
    texts = TextRecipe(
        encoder="tfidf", model=None, max_tokens=9, fitted_on=["a long description " * 2000] * 2
    )
    b = content(
        features=rng.random((20, 6)),
        semantics={
            "att": rng.random((5, 3), dtype=np.float32),
            "count": rng.integers(9, size=(5, 2), dtype=np.int16),
        },
        train=np.arange(9),
        val=np.array([9, 10, 11, 15]),
        validation_classes=np.array([3]),
        files=tuple(f"jpg/{i}.jpg" for i in range(20)),
        descriptions=("small", "yellow", "", "loyal", "long"),
        recipe=Recipe(texts=texts, attributes=["a", "b", "c"]),
        provenance=Provenance("somewhere", "12", "34", "proposed split"),
        mat={"res101": {"labels": "uint8"}},
    )
    hdf5.write(b, path)
    c = hdf5.read(path)
    for name in ("features", "labels", *INDEX, "train", "val", "validation_classes"):
        expected, found = getattr(b, name), getattr(c, name)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype, name
    for kind, table in b.semantics.items():
        np.testing.assert_array_equal(c.semantics[kind], table)
        assert c.semantics[kind].dtype == table.dtype
    for name in ("name", "class_names", "files", "descriptions", "recipe", "mat"):
        assert getattr(c, name) == getattr(b, name)
    assert replace(c.provenance, sources={}, file_sha256="") == b.provenance
    assert c.provenance.file_sha256 == sha256_file(path, 512)
    assert [file.name for file in path.parent.iterdir()] == ["b.h5"]


def test_what_is_absent_stays_absent(path: Path) -> None:
    hdf5.write(content(class_names=None), path)
    found = hdf5.read(path)
    optional = {field.name for field in fields(BenchmarkFile) if getattr(found, field.name) is None}
    assert optional == {
        "class_names",
        "train",
        "val",
        "validation_classes",
        "files",
        "descriptions",
    }
    assert (found.recipe, found.mat) == (Recipe(), {})
    assert found.benchmark("att").class_names == (
        "class 1",
        "class 2",
        "class 3",
        "class 4",
        "class 5",
    )


def test_the_documented_example_is_a_benchmark(made: Path) -> None:
    found, known = hdf5.read(made), content()
    assert (found.name, found.class_names, found.default_kind) == ("birds", NAMES, "att")
    for name in ("features", "labels", *INDEX):
        np.testing.assert_array_equal(getattr(found, name), getattr(known, name))
    np.testing.assert_array_equal(found.semantics["att"], known.semantics["att"])
    benchmark = found.benchmark("att")
    assert benchmark.semantics.dtype == np.float32
    assert benchmark.provenance.origin == str(made)


def test_h5py_alone_reads_what_is_written(path: Path) -> None:
    b = content()
    hdf5.write(b, path)
    with h5py.File(path) as file:
        assert (file.attrs["format"], file.attrs["format_version"], file.attrs["name"]) == (
            "zsl_lab benchmark",
            2,
            "toy",
        )
        assert file["class_names"].asstr()[()].tolist() == list(NAMES)
        np.testing.assert_array_equal(file["features"][()], b.features)
        np.testing.assert_array_equal(file["split/test_unseen"][()], b.test_unseen)
        assert sorted(file["split"]) == sorted(INDEX)


@pytest.mark.parametrize(
    "field",
    ["features", "labels", "semantics", "split", "split/trainval", "split/test_unseen"],
)
def test_a_missing_field_is_named(made: Path, field: str) -> None:
    with h5py.File(made, "r+") as file:
        del file[field]
    assert f"field '{field}' is missing; found " in message(made)


def test_a_missing_test_part_of_seen_classes_is_empty_unless_it_is_misspelt(made: Path) -> None:
    with h5py.File(made, "r+") as file:
        kept = file["split/test_seen"][()]
        del file["split/test_seen"]
    assert len(hdf5.read(made).test_seen) == 0
    with h5py.File(made, "r+") as file:
        file["split/testseen"] = kept
    assert "'split/testseen': found a field that is not read; expected 'split/test_seen'" in (
        message(made)
    )


@pytest.mark.parametrize(
    ("field", "misspelt"),
    [("class_names", "classnames"), ("split/val", "split/vals"), ("files", "file")],
)
@pytest.mark.parametrize("lean", [True, False])
def test_a_field_with_nearly_the_name_of_an_absent_one_is_refused(
    made: Path, field: str, misspelt: str, lean: bool
) -> None:
    with h5py.File(made, "r+") as file:
        if field in file:
            del file[field]
        file[misspelt] = [0]
    said = f"'{misspelt}': found a field that is not read; expected '{field}'; rename it"
    with pytest.raises(DataError, match=said):
        hdf5.read(made, lean=lean)


def test_a_field_of_ones_own_beside_a_present_one_is_left_alone(made: Path) -> None:
    with h5py.File(made, "r+") as file:
        file["features2"] = file["features"][()]
    assert hdf5.read(made, lean=True).class_names == hdf5.read(made).class_names


@pytest.mark.parametrize("empty", [np.zeros(0), np.zeros((0, 1), dtype=int), h5py.Empty("f8")])
def test_a_part_of_the_test_may_be_empty_in_every_form(made: Path, empty: Any) -> None:
    with h5py.File(made, "r+") as file:
        for part in ("test_seen", "test_unseen"):
            del file[f"split/{part}"]
            file[f"split/{part}"] = empty
    content = hdf5.read(made)
    assert (len(content.test_seen), len(content.test_unseen)) == (0, 0)


Change = Callable[[Any], None]


def put(name: str, value: Any) -> Change:
    """Another dataset in place of one."""

    def change(file: Any) -> None:
        if name in file:
            del file[name]
        file[name] = value

    return change


def attribute(name: str, value: Any) -> Change:
    """Another attribute in place of one; None takes it away."""

    def change(file: Any) -> None:
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    return change


def link(name: str, to: Any) -> Change:
    """A link in place of a dataset, which goes elsewhere."""

    def change(file: Any) -> None:
        file.move(name, "recipe")
        file[name] = to

    return change


def folder(file: Any) -> None:
    del file["features"]
    file["features/rows"] = np.zeros((20, 6))


def unwritten(file: Any) -> None:
    del file["features"]
    file.create_dataset("features", shape=(20, 2**40), dtype="f4")


def elsewhere(file: Any) -> None:
    del file["features"]
    file.create_dataset("features", shape=(20, 6), dtype="f4", external=[("/etc/passwd", 0, 480)])


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((20, 6), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "features", (20, 6))
    del file["features"]
    file.create_virtual_dataset("features", layout)


def latin(file: Any) -> None:
    del file["class_names"]
    file["class_names"] = np.array(["käfer".encode("latin-1")] * 5)


NAN = np.where(np.arange(15).reshape(5, 3) == 7, np.nan, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            attribute("format", None),
            "field 'format': found no such attribute, in a file with class_names, features",
        ),
        (
            attribute("format", "other"),
            "field 'format': found 'other'; expected an attribute 'zsl_lab benchmark'",
        ),
        (
            attribute("format", 5),
            "field 'format': found an attribute 5; expected an attribute that is a text",
        ),
        (
            attribute("format_version", None),
            "field 'format_version': found no such attribute; expected an attribute 2",
        ),
        (attribute("format_version", "2"), "field 'format_version': found '2'; expected"),
        (
            attribute("format_version", 3),
            "found format version 3, a newer one; expected version 2. A newer zsl_lab reads it",
        ),
        (
            attribute("format_version", 1),
            "found format version 1, an older one; expected version 2.",
        ),
        (attribute("name", None), "field 'name': found no such attribute"),
        (
            put("features", np.zeros(20)),
            "field 'features': found shape [20]; expected two dimensions",
        ),
        (put("features", np.zeros((20, 0))), "field 'features': found shape [20, 0]"),
        (
            put("features", np.zeros((20, 2), dtype=complex)),
            "field 'features': found type complex128; expected numbers",
        ),
        (
            put("features", np.zeros((19, 2))),
            "field 'labels': found shape [20]; expected one label for each of the 19 samples",
        ),
        (
            put("features", np.full((20, 2), np.inf)),
            "field 'features': found inf in row 0, column 0 (0-based); expected finite numbers",
        ),
        (link("features", h5py.SoftLink("/split")), "field 'features': found a link"),
        (folder, "field 'features': found a group; expected a dataset"),
        (
            put("semantics/att", NAN),
            "field 'semantics/att': found nan in row 2, column 1 (0-based); expected finite",
        ),
        (
            put("semantics/more", NAN),
            "field 'semantics/more': found nan in row 2, column 1 (0-based); expected finite",
        ),
        (
            put("semantics/more", np.zeros((4, 3))),
            "field 'semantics/more': found shape [4, 3]; expected 5 rows",
        ),
        (
            put("semantics", np.zeros((5, 3))),
            "field 'semantics': found a dataset; expected a group",
        ),
        (
            put("labels", LABELS + 1),
            "field 'labels': found 5; expected numbers from 0 to 4: ids and indices count from 0",
        ),
        (
            put("labels", LABELS.astype(float)),
            "field 'labels': found type float64; expected integers",
        ),
        (
            put("labels", np.full(20, 2**64 - 1, dtype=np.uint64)),
            "field 'labels': found 18446744073709551615; expected numbers from 0",
        ),
        (
            put("class_names", list(NAMES[:4])),
            "field 'class_names': found 4 names; expected 5, one for each row of the semantics",
        ),
        (
            put("class_names", ["ant", "bee", "ant", "dog", "eel"]),
            "field 'class_names': found 2 x 'ant'; expected a name for each class",
        ),
        (
            put("class_names", ["ant", "bee", " ", "dog", "eel"]),
            "field 'class_names': found 1 x ' '; expected a name for each class",
        ),
        (put("class_names", np.arange(5)), "field 'class_names': found type int64; expected texts"),
        (latin, "field 'class_names': found b'k\\xe4fer'; expected texts in UTF-8"),
        (
            put("split/trainval", np.array([], dtype=int)),
            "field 'split/trainval': found no sample; expected",
        ),
        (
            put("split/trainval", np.array([[0, 1]])),
            "field 'split/trainval': found shape [1, 2]; expected one dimension",
        ),
        (
            put("split/test_seen", np.array([-1])),
            "field 'split/test_seen': found -1; expected numbers from 0 to 19",
        ),
        (
            put("split/test_seen", np.array([0])),
            "fields 'split/trainval' and 'split/test_seen': found 1 samples in both",
        ),
        (
            put("labels", LABELS * (np.arange(20) != 16)),
            "'split/test_unseen': found class 1 ('ant'), which also has training samples",
        ),
        (
            put("split/val", np.array([20])),
            "field 'split/val': found 20; expected numbers from 0 to 19",
        ),
        (
            put("split/validation_classes", np.array([4])),
            "field 'split/validation_classes': found class 5 ('eel'), which is not a seen class",
        ),
        (
            put("files", ["a", "b"]),
            "field 'files': found 2 texts; expected 20, one for each sample",
        ),
        (
            put("descriptions", ["a", "b"]),
            "field 'descriptions': found 2 texts; expected 5, one for each class",
        ),
        (put("recipe", "[1]"), "field 'recipe': found '[1]'; expected a JSON object"),
        (put("recipe", '{"images": 1}'), "field 'recipe.images': found 1"),
        (
            link("labels", h5py.SoftLink("/elsewhere")),
            "field 'labels': found a link to something else ('/elsewhere'); expected the data "
            "themselves",
        ),
        (
            link("semantics", h5py.ExternalLink("other.h5", "/")),
            "field 'semantics': found a link to something else",
        ),
        (
            link("semantics/att", h5py.ExternalLink("/dev/zero", "/")),
            "field 'semantics/att': found a link to something else",
        ),
        (unwritten, "field 'features': found a dataset that nothing was written to"),
        (elsewhere, "field 'features': found a dataset whose numbers lie in another file"),
        (virtual, "field 'features': found a dataset whose numbers lie in another file"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_found_and_expected(
    made: Path, change: Change, found: str
) -> None:
    with h5py.File(made, "r+") as file:
        change(file)
    assert found in message(made)


def test_pickled_objects_are_never_loaded(made: Path) -> None:
    with h5py.File(made, "r+") as file:
        del file["features"]
        file.create_dataset("features", (20, 6), dtype=h5py.vlen_dtype(np.uint8))[0, 0] = (
            np.frombuffer(b"cos\nsystem\n.", np.uint8)
        )
    assert "field 'features': found type object; expected numbers" in message(made)


def test_other_types_of_the_same_numbers_are_read(made: Path) -> None:
    known = content()
    with h5py.File(made, "r+") as file:
        for name in ("features", "labels", "class_names"):
            del file[name]
        file.create_dataset(
            "features", data=known.features.astype(">f8"), chunks=(5, 2), compression="gzip"
        )
        file["labels"] = LABELS.astype(np.uint8)
        file["class_names"] = np.array([name.encode() for name in NAMES])
    found = hdf5.read(made)
    assert found.features.dtype == np.float64
    np.testing.assert_array_equal(found.features, known.features)
    assert found.labels.dtype == np.int64
    assert found.class_names == NAMES


def test_training_takes_the_float32_that_numpy_makes(path: Path) -> None:
    values = np.array([[1 / 3, 1e-45, 1e-310, -0.0, 3e38, 16777217.0]] * 20)
    hdf5.write(content(features=values), path)
    lean = hdf5.read(path, lean=True).features
    assert lean.dtype == np.float32
    np.testing.assert_array_equal(lean, values.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(lean), np.signbit(values))


def test_unknown_fields_are_left_out_with_a_warning(made: Path) -> None:
    with h5py.File(made, "r+") as file:
        file["lables"], file["split/extra"] = LABELS, LABELS
    with pytest.warns(
        UserWarning,
        match=r"b\.h5: fields that the layout does not know are left out: lables, split/extra\.",
    ):
        hdf5.read(made)


@pytest.mark.parametrize(
    ("bytes_", "found"),
    [
        (b"", "found a damaged file or another format (it begins with b'')"),
        (
            b"file,class\n" * 100,
            "found a damaged file or another format (it begins with b'file,class",
        ),
        (b"\x89HDF\r\n\x1a\n" + bytes(2000), "found a damaged or truncated file"),
        (bytes(2000), "found a damaged or truncated file"),
    ],
)
def test_another_file_is_refused(path: Path, bytes_: bytes, found: str) -> None:
    path.write_bytes(bytes_)
    assert found in message(path)


def test_no_file_is_refused(path: Path) -> None:
    assert "no such file; expected a benchmark" in message(path)
    assert "cannot be read (Is a directory)" in message(path.parent)


def test_a_truncated_file_of_somebody_else_is_noticed(made: Path) -> None:
    whole = made.read_bytes()
    for length in (9, 100, len(whole) // 2, len(whole) - 1):
        made.write_bytes(whole[:length])
        assert "damaged" in message(made)


def test_a_newer_file_of_ours_is_not_called_damaged(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5, "FORMAT_VERSION", 3)
    hdf5.write(content(), path)
    monkeypatch.undo()
    assert "found format version 3, a newer one; expected version 2." in message(path)


def test_a_file_changed_on_purpose_is_read_where_that_is_said(path: Path) -> None:
    hdf5.write(content(provenance=Provenance("x", splits_version="proposed split")), path)
    assert hdf5.read(path).provenance.splits_version == "proposed split"
    with h5py.File(path, "r+") as file:
        file.attrs["name"] = "mine"
    with pytest.raises(DataError, match="found a damaged or edited file") as caught:
        hdf5.read(path)
    new = path.with_name(f"{path.stem}_sealed.h5")
    assert f"`python -m zsl_lab.data convert {path} {new} --edited`" in str(caught.value)
    found = hdf5.read(path, edited=True)
    with path.open("r+b") as raw:
        raw.write(bytes(512))
    for content_ in (found, hdf5.read(path)):
        assert content_.name == "mine"
        # nothing vouches for it any more
        assert content_.provenance.splits_version == "unknown"
        assert content_.provenance.file_sha256 == ""


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"features": np.full((20, 2), np.nan)}, "memory: field 'features': found nan"),
        ({"class_names": ("ant",) * 5}, "memory: field 'class_names': found 5 x 'ant'"),
        (
            {"class_names": ("ant", "bee", "c\0t", "dog", "eel")},
            "found 'c\\x00t'; expected text without the character NUL",
        ),
        (
            {"files": ("\udce4.jpg",) * 20},
            "found '\\udce4.jpg'; expected text that can be written as UTF-8",
        ),
        (
            {"train": np.array([20])},
            "field 'train': found sample index 21 (1-based); expected 1 to 20",
        ),
    ],
)
def test_what_could_not_be_read_again_is_not_written(
    path: Path, changes: dict[str, Any], found: str
) -> None:
    with pytest.raises(DataError) as caught:
        hdf5.write(content(**changes), path)
    assert found in str(caught.value)
    assert list(path.parent.iterdir()) == []


def test_what_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        OutputError, match=r"file/b\.h5: cannot be written .*or name another file\."
    ):
        hdf5.write(content(), tmp_path / "file" / "b.h5")


def test_validation_classes_come_from_the_published_samples_in_trainval() -> None:
    # val has class 3, whose test_seen sample (15) is in it as published; train has the others
    b = content(train=np.arange(12), val=np.array([12, 13, 14, 15]))
    found = b.benchmark("att").validation_classes
    assert found is not None
    assert found.tolist() == [3]
    with pytest.warns(
        UserWarning, match="fields 'train' and 'val' are ignored: found class 'dog' in both"
    ):
        assert replace(b, train=np.arange(14)).benchmark("att").validation_classes is None


def test_attribute_names_are_those_of_the_kind_that_has_as_many_columns() -> None:
    b = content(
        semantics={"att": np.ones((5, 3)), "text": np.ones((5, 7))},
        recipe=Recipe(attributes=["a", "b", "c"]),
    )
    assert b.default_kind == "att"
    assert b.benchmark("att").recipe.attributes == ["a", "b", "c"]
    assert b.benchmark("text").recipe.attributes == []
    with pytest.raises(DataError, match="field 'semantics': found att, text; expected sent"):
        b.benchmark("sent")
