"""What the estimator learns and predicts."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zsl_lab
from tests.conftest import REPOSITORY
from tests.estimator.conftest import QUICK, Birds
from tests.helpers.packages import skip_without
from tests.helpers.pretrained import hf_model
from zsl_lab.errors import ConfigError
from zsl_lab.estimator.classifier import ZeroShotClassifier
from zsl_lab.estimator.inputs import InputDataError
from zsl_lab.run.records import run_figures


def test_it_recognises_classes_that_have_no_samples(
    trained: ZeroShotClassifier, birds: Birds
) -> None:
    assert trained.classes_.tolist() == sorted(birds.semantics)
    assert trained.unseen_classes_.tolist() == ["kite", "wren"]
    assert trained.seen_classes_.tolist() == sorted(set(birds.y))
    assert (trained.predict(birds.X_unseen, among="unseen") == birds.y_unseen).all()
    scores = trained.predict_scores(birds.X_unseen)
    assert scores.shape == (24, 10)
    best = trained.classes_[scores.argmax(1)]
    np.testing.assert_array_equal(trained.predict(birds.X_unseen), best)


def test_score_is_the_mean_recall_of_the_classes_present(
    trained: ZeroShotClassifier, birds: Birds
) -> None:
    X = np.concatenate([birds.X_unseen, birds.X[:18]])
    y = np.concatenate([birds.y_unseen, birds.y[:18]])
    predicted = trained.predict(X)
    recalls = [(predicted[y == name] == name).mean() for name in set(y.tolist())]
    assert trained.score(X, y) == pytest.approx(np.mean(recalls))


def test_new_classes_are_given_with_the_samples(trained: ZeroShotClassifier, birds: Birds) -> None:
    new = {7: birds.semantics["kite"], 8: birds.semantics["wren"]}
    expected = np.where(birds.y_unseen == "kite", 7, 8)
    np.testing.assert_array_equal(trained.predict(birds.X_unseen, classes=new), expected)
    assert trained.predict_scores(birds.X[:3], classes=new, among="all").shape == (3, 12)


def test_numbers_stay_numbers_beside_names(trained: ZeroShotClassifier, birds: Birds) -> None:
    found = trained.predict(birds.X_unseen, classes={7: birds.semantics["kite"]}, among="unseen")
    assert found.dtype == object
    assert set(found) <= {7, "wren", "kite"}
    assert not {"7"} & set(found)


@pytest.mark.slow
def test_a_folder_keeps_the_run(
    birds: Birds,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    drawn: list[Path] = []
    monkeypatch.setattr(run_figures, "draw_figures", lambda folder, *_: drawn.append(folder))
    folder = tmp_path / "run"
    estimator = ZeroShotClassifier(**{**QUICK, "selection": "validation"}, folder=folder)
    estimator.fit(torch.as_tensor(birds.X), birds.y.tolist(), birds.semantics)
    assert capfd.readouterr() == ("", "")
    assert drawn == [folder]
    assert set(estimator.result_.validation or {}) >= {"zsl_top1", "harmonic_mean"}
    loaded = zsl_lab.load(folder).predict(birds.X_unseen)
    np.testing.assert_array_equal(loaded.scores, estimator.predict_scores(birds.X_unseen))
    with pytest.raises(ConfigError, match="holds a finished run"):
        estimator.fit(birds.X, birds.y, birds.semantics)


@pytest.mark.slow
def test_semantics_are_an_array_with_names_or_texts(birds: Birds) -> None:
    ids = np.array([sorted(birds.semantics).index(name) for name in birds.y])
    table = np.stack([birds.semantics[name] for name in sorted(birds.semantics)])
    numbered = ZeroShotClassifier(**QUICK).fit(birds.X, ids, table, class_names=range(10))
    assert numbered.predict(birds.X[:2]).dtype.kind == "i"
    assert numbered.unseen_classes_.tolist() == [5, 9]
    texts = {name: f"a {name} is a bird of kind {i}" for i, name in enumerate(birds.semantics)}
    told = ZeroShotClassifier(**QUICK, text_encoder="tfidf").fit(birds.X, birds.y, texts)
    assert told.predict_scores(birds.X, classes={"a": "a crow", "b": "a duck"}).shape == (96, 2)


@pytest.mark.slow
def test_texts_go_through_the_text_tower_of_an_image_text_model(
    birds: Birds, tmp_path: Path
) -> None:
    skip_without("transformers", "hf")
    model = hf_model("clip", tmp_path / "clip")
    # of the words that the tiny model knows
    pairs = combinations(("ant", "bee", "cat", "dog", "eel"), 2)
    texts = {name: f"a {a} of a {b}." for name, (a, b) in zip(birds.semantics, pairs, strict=True)}
    name = f"hf:{tmp_path / 'clip'}"
    told = ZeroShotClassifier(**QUICK, text_encoder=name).fit(birds.X, birds.y, texts)
    predictor: Any = told.predictor_
    assert predictor.recipe.texts.templates == ["{description}"]
    semantics = predictor.semantics
    assert semantics.shape == (10, model.config.projection_dim)
    np.testing.assert_allclose(np.linalg.norm(semantics, axis=1), 1, rtol=1e-5)
    new = {"crow again": texts["crow"], "duck again": texts["duck"]}
    scores = told.predict_scores(birds.X[:5], classes=new)
    known = told.predict_scores(birds.X[:5])[:, np.isin(told.classes_, ["crow", "duck"])]
    np.testing.assert_allclose(scores, known, rtol=1e-4, atol=1e-5)


def test_a_misspelt_text_encoder_is_named(birds: Birds) -> None:
    texts = dict.fromkeys(birds.semantics, "a bird")
    with pytest.raises(
        ConfigError,
        match=r"^text_encoder=mini_lm: expected one of minilm, .* an image-text model, which "
        r"begins with open_clip: or hf:\. Did you mean minilm\?$",
    ):
        ZeroShotClassifier(**QUICK, text_encoder="mini_lm").fit(birds.X, birds.y, texts)


@pytest.mark.slow
def test_pandas_in_pandas_out(birds: Birds) -> None:
    pd = pytest.importorskip("pandas")
    index = [f"photo {i}" for i in range(len(birds.X))]
    X = pd.DataFrame(birds.X, columns=list("abcdef"), index=index)
    semantics = pd.DataFrame(birds.semantics, index=list("xyz")).T
    estimator = ZeroShotClassifier(**QUICK).fit(X, pd.Series(birds.y, index=index), semantics)
    plain = ZeroShotClassifier(**QUICK).fit(birds.X, birds.y, birds.semantics)
    predicted, scores = estimator.predict(X), estimator.predict_scores(X)
    assert predicted.index.tolist() == scores.index.tolist() == index
    assert scores.columns.tolist() == estimator.classes_.tolist()
    assert predicted.tolist() == plain.predict(birds.X).tolist()
    with pytest.raises(ValueError, match="feature names"):
        estimator.predict(X[list("fabcde")])


@pytest.mark.slow
def test_the_example_of_the_readme_scores_as_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = (REPOSITORY / "README.md").read_text().split("```python\n")[1:]
    [example] = [block for block in blocks if "ZeroShotClassifier" in block]
    exec(example.split("```")[0], {})
    assert float(capsys.readouterr().out) == pytest.approx(0.572, abs=0.005)


# --------------------------------------------------------------------------- wrong input


def _fit(birds: Birds, **changed: Any) -> None:
    given = {"X": birds.X, "y": birds.y, "semantics": birds.semantics, **changed}
    ZeroShotClassifier(**QUICK).fit(**given)


def _with(array: Any, place: Any, value: Any) -> Any:
    copied = np.array(array)
    copied[place] = value
    return copied


def test_samples_that_are_not_finite_are_named_by_row_and_column(birds: Birds) -> None:
    for value in (np.nan, np.inf, 1e300):
        with pytest.raises(InputDataError, match=r"X: found .* in row 3, column 2 \(0-based\)"):
            _fit(birds, X=_with(birds.X, (3, 2), value))


def test_semantics_that_are_not_finite_are_named_by_class(birds: Birds) -> None:
    wrong = {**birds.semantics, "duck": _with(birds.semantics["duck"], 2, np.nan)}
    with pytest.raises(InputDataError, match=r"row 2 \(class 'duck'\), column 2"):
        _fit(birds, semantics=wrong)


def test_labels_and_samples_have_one_length(birds: Birds) -> None:
    with pytest.raises(InputDataError, match="found 95 labels; expected one for each of the 96"):
        _fit(birds, y=birds.y[1:])


def test_every_class_of_y_is_described(birds: Birds) -> None:
    others = {name: row for name, row in birds.semantics.items() if name != "duck"}
    with pytest.raises(InputDataError, match="found none for 'duck', a class of y"):
        _fit(birds, semantics=others)


def test_one_class_has_no_samples(birds: Birds) -> None:
    seen = {name: birds.semantics[name] for name in set(birds.y.tolist())}
    with pytest.raises(InputDataError, match="at least one class without samples"):
        _fit(birds, semantics=seen)


@pytest.mark.parametrize(
    ("semantics", "class_names", "found"),
    [
        (None, None, "semantics: found none"),
        (np.zeros((2, 3)), None, "class_names: found none"),
        (np.zeros((2, 3)), ["a"], "found 1 classes for 2 rows"),
        (np.zeros((2, 3)), ["a", "a"], "found class 'a' more than once"),
        (np.zeros((2, 3)), ["a", 1], "found classes of type int, str"),
        (np.zeros(3), ["a", "b", "c"], r"found an array of shape \[3\]"),
        ({"a": [1.0], "b": [1.0, 2.0]}, None, "vectors of different lengths"),
        ({"a": [1.0], "b": "a bird"}, None, "texts for some classes and vectors for others"),
        ({"a": "a bird", "b": " "}, None, "an empty text for class 'b'"),
        ({"a": [1.0], "b": [2.0]}, ["a", "b"], "Leave class_names out"),
        ("classes.csv", None, "found a string"),
    ],
)
def test_semantics_of_another_form_are_refused(
    birds: Birds, semantics: Any, class_names: Any, found: str
) -> None:
    with pytest.raises(InputDataError, match=found):
        _fit(birds, semantics=semantics, class_names=class_names)


@pytest.mark.slow
def test_a_method_that_takes_images_is_refused(birds: Birds) -> None:
    with pytest.raises(ConfigError, match=r"method=n3: it takes images, and X holds feature"):
        ZeroShotClassifier("n3").fit(birds.X, birds.y, birds.semantics)


def test_an_unknown_method_or_choice_is_answered_with_the_nearest(birds: Birds) -> None:
    with pytest.raises(ConfigError, match="Did you mean method=sgal"):
        ZeroShotClassifier("sgall").fit(birds.X, birds.y, birds.semantics)
    with pytest.raises(ConfigError, match="Choices of classifier: means, own"):
        ZeroShotClassifier(classifier="svm").fit(birds.X, birds.y, birds.semantics)
    with pytest.raises(ConfigError, match=r"among=unsean: expected .* mean unseen\?"):
        ZeroShotClassifier(among="unsean").fit(  # type: ignore[arg-type]
            birds.X, birds.y, birds.semantics
        )


def test_samples_of_other_dimensions_are_refused(trained: ZeroShotClassifier) -> None:
    with pytest.raises(ValueError, match="6 features"):
        trained.predict(np.zeros((2, 4)))


def test_a_class_that_is_no_candidate_is_not_scored(
    trained: ZeroShotClassifier, birds: Birds
) -> None:
    with pytest.raises(InputDataError, match="found class 'robin', which is not among the 10"):
        trained.score(birds.X[:2], ["robin", "crow"])
    with pytest.raises(InputDataError, match="classes: found a value of type list"):
        trained.predict(birds.X, classes=["robin"])
