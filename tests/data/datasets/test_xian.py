"""Published files: orientation, order of classes, validation classes, cache, and errors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tests.data.files.test_mat import Bomb
from tests.helpers.benchmark_files import Fields, MakeDataset, WriteMat, cells
from zsl_lab.data.benchmark import VectorBenchmark
from zsl_lab.data.datasets import xian
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.splits import validation_split
from zsl_lab.errors import DataError, DataWarning, OutputError

COUNTS = {
    "samples": 20,
    "classes": 5,
    "seen": 4,
    "unseen": 1,
    "semantic_dim": 3,
    "trainval": 12,
    "test_seen": 4,
    "test_unseen": 4,
}


@pytest.fixture(autouse=True)
def _no_unexpected_warning() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def same(a: VectorBenchmark, b: VectorBenchmark) -> bool:
    arrays = (
        "features",
        "labels",
        "semantics",
        "trainval",
        "test_seen",
        "test_unseen",
        "validation_classes",
    )
    return a.class_names == b.class_names and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays
    )


def test_files_are_transposed_and_counted_from_zero(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths, version: str
) -> None:
    b = make(splits, recorded, version, counts=COUNTS).load(paths)
    np.testing.assert_array_equal(b.features, recorded["features"].T.astype(np.float32))
    np.testing.assert_array_equal(b.semantics, splits["att"].T.astype(np.float32))
    np.testing.assert_array_equal(b.labels, np.repeat(np.arange(5), 4))
    np.testing.assert_array_equal(b.test_seen, [3, 7, 11, 15])
    assert b.class_names == ("ant", "bee", "cat", "dog", "eel")
    assert b.features.dtype == np.float32
    assert b.features.flags.c_contiguous
    assert b.provenance.splits_version == "unknown"


def test_a_second_load_reads_the_cache_and_gives_the_same(
    make: MakeDataset,
    splits: Fields,
    recorded: Fields,
    paths: DataPaths,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make(splits, recorded)
    first = config.load(paths)
    monkeypatch.setattr(xian, "read_mat", None)
    second = config.load(paths)
    assert same(first, second)
    assert replace(second.provenance, file_sha256="") == replace(first.provenance, sources={})


def test_a_changed_source_or_choice_is_read_anew(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths
) -> None:
    first = make(splits, recorded).load(paths)
    assert make(splits, recorded, semantics="original_att").load(paths).semantics[1, 0] == 10
    recorded["features"][0, 0] = 42
    second = make(splits, recorded).load(paths)
    assert second.features[0, 0] == 42
    assert second.provenance.features_sha256 != first.provenance.features_sha256


def test_a_damaged_cache_is_rebuilt_never_trusted(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths
) -> None:
    config = make(splits, recorded)
    first = config.load(paths)
    (cache,) = paths.cache_dir.iterdir()
    intact = cache.read_bytes()
    for damaged in (intact[:700], intact[:-9] + bytes([intact[-9] ^ 1]) + intact[-8:], b""):
        cache.write_bytes(damaged)
        with pytest.warns(UserWarning, match="rebuilt from its sources"):
            assert same(config.load(paths), first)
        assert cache.read_bytes()[:100] == intact[:100]


def test_an_unwritable_cache_folder_names_its_key(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths
) -> None:
    paths.cache_dir.write_text("a file is in the way")
    with pytest.raises(OutputError, match=r"cache/TOY.*cannot be written.*paths\.cache_dir"):
        make(splits, recorded).load(paths)


def set_labels(s: Fields, r: Fields) -> None:
    r["labels"][3] = 6


def set_label_zero(s: Fields, r: Fields) -> None:
    r["labels"][3] = 0


def set_label_fraction(s: Fields, r: Fields) -> None:
    r["labels"][3] = 1.5


def drop_labels(s: Fields, r: Fields) -> None:
    del r["labels"]


def shorten_labels(s: Fields, r: Fields) -> None:
    r["labels"] = r["labels"][:-1]


def set_loc(s: Fields, r: Fields) -> None:
    s["test_seen_loc"][1] = 21


def set_loc_zero(s: Fields, r: Fields) -> None:
    s["trainval_loc"][1] = 0


def repeat_loc(s: Fields, r: Fields) -> None:
    s["trainval_loc"][1] = 1


def overlap_seen(s: Fields, r: Fields) -> None:
    s["test_seen_loc"][0] = 1


def overlap_unseen(s: Fields, r: Fields) -> None:
    s["test_unseen_loc"][0] = 1


def empty_split(s: Fields, r: Fields) -> None:
    s["trainval_loc"] = np.zeros((0, 1), dtype=np.uint16)
    del s["train_loc"], s["val_loc"]


def nan_feature(s: Fields, r: Fields) -> None:
    r["features"][2, 7] = np.nan


def infinite_feature(s: Fields, r: Fields) -> None:
    r["features"][2, 7] = -np.inf


def huge_feature(s: Fields, r: Fields) -> None:
    r["features"][2, 7] = 1e300


def nan_semantics(s: Fields, r: Fields) -> None:
    s["att"][2, 4] = np.nan


def too_few_classes(s: Fields, r: Fields) -> None:
    s["att"] = np.ones((3, 4))
    del s["allclasses_names"]


def too_few_names(s: Fields, r: Fields) -> None:
    s["allclasses_names"] = s["allclasses_names"][:-1]


def unseen_class_trains(s: Fields, r: Fields) -> None:
    s["trainval_loc"] = np.append(s["trainval_loc"], s["test_unseen_loc"][-1:], axis=0)
    s["test_unseen_loc"] = s["test_unseen_loc"][:-1]


def untrained_class_in_test_seen(s: Fields, r: Fields) -> None:
    s["test_seen_loc"] = np.append(s["test_seen_loc"], s["test_unseen_loc"][-1:], axis=0)
    s["test_unseen_loc"] = s["test_unseen_loc"][:-1]


def drop_loc(s: Fields, r: Fields) -> None:
    del s["test_unseen_loc"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "file", "field", "found", "expected"),
    [
        (set_labels, "res101.mat", "labels", "class ids from 1 to 6", "1 to 5"),
        (set_label_zero, "res101.mat", "labels", "class ids from 0 to 5", "1 to 5"),
        (set_label_fraction, "res101.mat", "labels", "1.5", "whole numbers"),
        (drop_labels, "res101.mat", "labels", "features", "missing"),
        (shorten_labels, "res101.mat", "labels", "shape [19]", "one label for each of the 20"),
        (set_loc, "att_splits.mat", "test_seen_loc", "sample index 21", "1 to 20"),
        (set_loc_zero, "att_splits.mat", "trainval_loc", "sample index 0", "1 to 20"),
        (repeat_loc, "att_splits.mat", "trainval_loc", "more than once", "at most once"),
        (
            overlap_seen,
            "att_splits.mat",
            "trainval_loc' and 'test_seen_loc",
            "1 samples in both",
            "no sample in two parts",
        ),
        (
            overlap_unseen,
            "att_splits.mat",
            "trainval_loc' and 'test_unseen_loc",
            "1 samples in both",
            "no sample in two parts",
        ),
        (empty_split, "att_splits.mat", "trainval_loc", "no sample", "at least one"),
        (nan_feature, "res101.mat", "features", "nan in row 7, column 2", "finite"),
        (infinite_feature, "res101.mat", "features", "-inf in row 7, column 2", "finite"),
        (huge_feature, "res101.mat", "features", "inf in row 7, column 2", "finite"),
        (nan_semantics, "att_splits.mat", "att", "nan in row 4, column 2", "finite"),
        (
            too_few_classes,
            "res101.mat",
            "labels",
            "class ids from 1 to 5",
            "1 to 4, the classes of the semantics",
        ),
        (too_few_names, "att_splits.mat", "allclasses_names", "4 names", "5, one for each"),
        (
            unseen_class_trains,
            "att_splits.mat",
            "test_unseen_loc",
            "5 ('eel'), which also has training",
            "without any sample in trainval",
        ),
        (
            untrained_class_in_test_seen,
            "att_splits.mat",
            "test_seen_loc",
            "5 ('eel'), which has no training",
            "only classes that train",
        ),
        (drop_loc, "att_splits.mat", "test_unseen_loc", "trainval_loc", "missing"),
    ],
)
def test_bad_input_names_file_field_found_expected_and_ways_out(
    make: MakeDataset,
    splits: Fields,
    recorded: Fields,
    paths: DataPaths,
    version: str,
    spoil: Callable[[Fields, Fields], None],
    file: str,
    field: str,
    found: str,
    expected: str,
) -> None:
    spoil(splits, recorded)
    with pytest.raises(DataError) as error:
        make(splits, recorded, version).load(paths)
    text = str(error.value)
    for part in (
        str(paths.data_dir / "TOY" / file),
        f"'{field}'",
        found,
        expected,
        "paths.data_dir",
        "dataset.features",
        "Correct the file",
    ):
        assert part in text
    assert not paths.cache_dir.exists(), "nothing is cached of bad files"


def test_a_truncated_file_names_the_ways_out(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths, version: str
) -> None:
    config = make(splits, recorded, version)
    path = paths.data_dir / "TOY" / "res101.mat"
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match=r"res101\.mat: .*paths\.data_dir"):
        config.load(paths)


def test_other_counts_than_the_published_ones_are_a_warning(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths
) -> None:
    with pytest.warns(
        UserWarning,
        match=r"not the published TOY: samples 20 \(published: 21\), unseen 1 \(published: 2\)\. "
        r"Results cannot",
    ):
        make(splits, recorded, counts={**COUNTS, "samples": 21, "unseen": 2}).load(paths)


def test_a_missing_file_says_where_it_comes_from_and_which_keys_matter(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths
) -> None:
    config = make(splits, recorded)
    folder = paths.data_dir / "TOY"
    (folder / "res101.mat").rename(folder / "other.mat")
    with pytest.raises(DataError) as error:
        config.load(paths)
    for part in (
        str(folder / "res101.mat"),
        "xlsa17",
        "mpi-inf.mpg.de",
        "ZSL_LAB_DATA",
        "paths.data_dir",
        "dataset.features=other",
    ):
        assert part in str(error.value)


def test_features_that_no_archive_has_are_made_or_exchanged(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths
) -> None:
    with pytest.raises(
        DataError,
        match=r"No archive known here has vgg19\.mat: make it .* extract.*dataset\.features=res101",
    ):
        make(splits, recorded, features="vgg19").load(paths)


@pytest.mark.parametrize("wrong", ["", "xlsa17", "xlsa17/data/TOY"])
def test_a_data_folder_one_level_off_is_noticed(
    tmp_path: Path,
    make: MakeDataset,
    splits: Fields,
    recorded: Fields,
    paths: DataPaths,
    wrong: str,
) -> None:
    config = make(splits, recorded)
    right = tmp_path / "xlsa17" / "data"
    right.parent.mkdir()
    paths.data_dir.rename(right)
    with pytest.raises(DataError, match=f"set paths.data_dir={right}\\."):
        config.load(DataPaths(tmp_path / wrong, paths.cache_dir))


def test_validation_classes_come_from_training_samples_and_leak_no_test_image(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths
) -> None:
    assert np.isin(
        splits["test_seen_loc"], np.union1d(splits["train_loc"], splits["val_loc"])
    ).all(), "the published files leak"
    b = make(splits, recorded).load(paths)
    np.testing.assert_array_equal(b.validation_classes, [3])
    v = validation_split(b, seed=0)
    np.testing.assert_array_equal(v.eval_unseen, [12, 13, 14])
    used = np.concatenate([v.train, v.eval_seen, v.eval_unseen])
    assert not np.isin(used, np.concatenate([b.test_seen, b.test_unseen])).any()


@pytest.mark.parametrize(("missing", "there"), [("val", "train"), ("train", "val")])
def test_one_published_part_without_the_other_is_named(
    make: MakeDataset,
    splits: Fields,
    recorded: Fields,
    paths: DataPaths,
    missing: str,
    there: str,
) -> None:
    del splits[f"{missing}_loc"]
    said = f"'{there}_loc' is ignored: found no field '{missing}_loc'"
    with pytest.warns(UserWarning, match=said):
        assert make(splits, recorded).load(paths).validation_classes is None


def test_names_of_files_must_be_as_many_as_samples(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths
) -> None:
    recorded["image_files"] = cells([f"/a/{i}.jpg" for i in range(19)])
    with pytest.raises(DataError, match="'image_files': found 19 texts; expected 20, one for each"):
        make(splits, recorded).load(paths)


def test_validation_classes_that_also_train_are_ignored_with_a_warning(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths
) -> None:
    splits["val_loc"][0], splits["train_loc"][0] = splits["train_loc"][0], splits["val_loc"][0]
    with pytest.warns(UserWarning, match="'train_loc' and 'val_loc' are ignored"):
        assert make(splits, recorded).load(paths).validation_classes is None


@pytest.mark.parametrize("identical", [True, False])
def test_sent_splits_lends_validation_classes_only_for_the_same_split(
    make: MakeDataset,
    write_mat: WriteMat,
    splits: Fields,
    recorded: Fields,
    paths: DataPaths,
    identical: bool,
) -> None:
    lacking = {
        name: value for name, value in splits.items() if name not in ("train_loc", "val_loc")
    }
    config = make(lacking, recorded)
    if not identical:
        splits["trainval_loc"] = splits["trainval_loc"][1:]
    write_mat(paths.data_dir / "TOY" / "sent_splits.mat", splits)
    found = config.load(paths).validation_classes
    assert (found is not None) == identical


def test_sentences_in_another_class_order_are_put_in_order(
    make: MakeDataset,
    write_mat: WriteMat,
    splits: Fields,
    recorded: Fields,
    paths: DataPaths,
    version: str,
) -> None:
    config = make(splits, recorded, version, semantics="sent")
    att = np.array([[5.0, 4, 3, 2, 1]])
    names = cells(["eel", "dog", "cat", "bee", "ant"])
    write_mat(
        paths.data_dir / "TOY" / "sent_splits.mat", {"att": att, "allclasses_names": names}, version
    )
    np.testing.assert_array_equal(config.load(paths).semantics, [[1], [2], [3], [4], [5]])
    names[0, 0] = "fox"
    write_mat(
        paths.data_dir / "TOY" / "sent_splits.mat", {"att": att, "allclasses_names": names}, version
    )
    with pytest.raises(
        DataError, match=r"sent_splits\.mat: field 'att': .*\('eel'\), and rows for 'fox'"
    ):
        config.load(paths)


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".mat"])
def test_semantics_of_ones_own(
    make: MakeDataset,
    write_mat: WriteMat,
    splits: Fields,
    recorded: Fields,
    paths: DataPaths,
    tmp_path: Path,
    suffix: str,
) -> None:
    path = tmp_path / f"own{suffix}"

    def write(table: np.ndarray) -> None:
        if suffix == ".csv":
            np.savetxt(path, table, delimiter=",")
        elif suffix == ".npy":
            np.save(path, table)
        else:
            write_mat(path, {"att": table.T})

    config = make(splits, recorded, semantics=str(path))
    with pytest.raises(DataError, match=rf"own\{suffix}: no such file.*dataset\.semantics"):
        config.load(paths)
    table = np.random.default_rng(1).random((5, 7))
    write(table)
    for _ in range(2):  # from the sources, then from the cache
        with pytest.warns(UserWarning, match="rows have no names; they were taken in the order of"):
            np.testing.assert_allclose(config.load(paths).semantics, table, rtol=1e-6)
    write(table[:4])
    with pytest.raises(
        DataError, match=rf"own\{suffix}: field .*found 4 classes; expected 5.*dataset\.semantics"
    ):
        config.load(paths)


def test_a_pickle_in_semantics_is_refused_not_executed(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths, tmp_path: Path
) -> None:
    trace = tmp_path / "executed"
    np.save(tmp_path / "own.npy", np.array([Bomb(trace)], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"own\.npy: cannot be read as a table"):
        make(splits, recorded, semantics=str(tmp_path / "own.npy")).load(paths)
    assert not trace.exists()


def test_unknown_semantics_are_refused_with_the_choices(
    make: MakeDataset, splits: Fields, recorded: Fields
) -> None:
    with pytest.raises(ValidationError, match="expected att, original_att, sent, or a file"):
        make(splits, recorded, semantics="atributes")


def with_more_classes(splits: Fields, recorded: Fields) -> None:
    """Tables of 12 attributes, wide enough to be compared, and class folders."""
    table = np.random.default_rng(0).uniform(0, 1, (12, 5))
    splits["original_att"], splits["att"] = table * 100, table / np.linalg.norm(table, axis=0)
    names = ["ant", "bee", "cat", "dog", "eel"]
    recorded["image_files"] = cells(
        [
            f"/x/{names[int(label) - 1].upper()}/{i}.jpg"
            for i, label in enumerate(recorded["labels"].ravel())
        ]
    )


def test_tables_that_contradict_each_other_are_refused(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths
) -> None:
    with_more_classes(splits, recorded)
    make(splits, recorded).load(paths)
    splits["att"] = splits["att"][:, [1, 0, 2, 3, 4]]
    for semantics in ("att", "original_att"):
        with pytest.raises(
            DataError, match=r"'att' and 'original_att' contradict each other.*'bee'"
        ):
            make(splits, recorded, semantics=semantics).load(paths)


def test_a_square_table_that_is_transposed_is_refused(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths
) -> None:
    table = np.random.default_rng(0).uniform(0, 1, (5, 5))
    splits["original_att"], splits["att"] = table, table.T
    with pytest.raises(DataError, match=r"contradict each other.*transposed"):
        make(splits, recorded).load(paths)


def test_labels_are_compared_with_class_folders_at_every_load(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths, version: str
) -> None:
    with_more_classes(splits, recorded)
    make(splits, recorded, version).load(paths)
    files = recorded["image_files"]
    files[0, 0] = "/x/bee/0.jpg"
    config = make(splits, recorded, version)
    for _ in range(2):  # from the sources, then from the cache
        with pytest.warns(DataWarning, match=r"1 of 20 samples .*row 1: bee/0\.jpg, label 'ant'"):
            config.load(paths)
    recorded["image_files"] = np.roll(files, 4)
    with pytest.raises(DataError, match=r"res101\.mat: fields 'labels' and 'image_files': found"):
        make(splits, recorded, version).load(paths)


def test_a_transposed_table_is_called_transposed(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths
) -> None:
    fields = {**splits, "att": splits["att"].T, "original_att": splits["original_att"].T}
    with pytest.raises(DataError, match=r"'att': found shape \[5, 3\], a transposed table"):
        make(fields, recorded).load(paths)
    del fields["allclasses_names"]
    with pytest.raises(DataError, match=r"'att': found shape \[5, 3\], a transposed table"):
        make(fields, recorded).load(paths)
    turned = {**recorded, "features": recorded["features"].T}
    with pytest.raises(DataError, match=r"'features': found shape \[20, 6\], a transposed table"):
        make(splits, turned).load(paths)


def test_class_numbers_in_place_of_names_are_taken_as_text(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths, version: str
) -> None:
    splits["allclasses_names"] = np.arange(1.0, 6)[:, None]
    assert make(splits, recorded, version).load(paths).class_names == ("1", "2", "3", "4", "5")


def test_names_beside_a_table_are_part_of_it(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths, tmp_path: Path
) -> None:
    table = np.random.default_rng(1).random((5, 7)).astype(np.float32)
    np.save(tmp_path / "own.npy", table)
    config = make(splits, recorded, semantics=str(tmp_path / "own.npy"))
    names = tmp_path / "own.names.txt"
    names.write_text("eel\ndog\ncat\nbee\nant\n")
    np.testing.assert_array_equal(config.load(paths).semantics, table[::-1])
    assert names in config.sources(paths)
    names.write_text("ant\nbee\ncat\ndog\neel\n")
    np.testing.assert_array_equal(config.load(paths).semantics, table)


def test_a_folder_of_another_spelling_and_missing_sentences_are_hinted_at(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths
) -> None:
    config = make(splits, recorded)
    (paths.data_dir / "TOY").rename(paths.data_dir / "ToY")
    with pytest.raises(DataError, match=r"Hint: there is .*/ToY, spelled otherwise: rename it"):
        config.load(paths)
    with pytest.raises(DataError, match=r"No published archive has a sent_splits\.mat for TOY"):
        make(splits, recorded, semantics="sent").load(paths)


def test_a_class_without_samples_is_an_unseen_candidate(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths, version: str
) -> None:
    splits["att"] = np.random.default_rng(0).random((splits["att"].shape[0], 6))
    del splits["allclasses_names"]
    benchmark = make(splits, recorded, version).load(paths)
    assert benchmark.untested_classes.tolist() == [5]
    assert 5 in benchmark.unseen_classes


@pytest.mark.parametrize("part", ["test_seen_loc", "test_unseen_loc"])
def test_a_part_of_the_test_may_be_empty(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths, version: str, part: str
) -> None:
    splits[part] = np.zeros((0, 1))
    benchmark = make(splits, recorded, version).load(paths)
    assert len(getattr(benchmark, part.removesuffix("_loc"))) == 0
    assert len(benchmark.unseen_classes) > 0
