"""The estimator in scikit-learn: its own checks, pipelines, cross-validation over classes."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import zsl_lab
from tests.estimator.conftest import QUICK, Birds
from zsl_lab.errors import ConfigError
from zsl_lab.estimator.classifier import ZeroShotClassifier

LEFT_OUT = {
    "check_no_attributes_set_in_init": "settings are kept in one attribute, since the name of one "
    "may hold a dot",
    "check_classifiers_classes": "classes_ holds the unseen classes too",
}


class Described(ZeroShotClassifier):
    """Describes the classes of y and one more: the checks give no semantics."""

    def fit(self, X: Any, y: Any, semantics: Any = None, class_names: Any = None) -> Any:
        labels = [] if y is None else np.asarray(y).ravel().tolist()
        if labels and all(isinstance(label, str | int | float) for label in labels):
            seen = sorted(set(labels))
            class_names = [*seen, seen[-1] + ("s" if isinstance(seen[-1], str) else 1)]
        else:
            class_names = [0, 1]
        return super().fit(X, y, np.eye(len(class_names)), class_names)


def _left_out(estimator: Any) -> dict[str, str]:
    return LEFT_OUT


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [Described(**QUICK)], expected_failed_checks=_left_out
)
def test_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def test_settings_are_parameters() -> None:
    settings: dict[str, Any] = {"g": 0.8, "dataset.normalize": "minmax"}
    estimator = ZeroShotClassifier("sgal", **settings)
    copied = clone(estimator.set_params(g=0.9, among="unseen"))
    assert copied.get_params() == {
        "method": "sgal",
        "among": "unseen",
        "random_state": 0,
        "progress": False,
        "folder": None,
        "text_encoder": "minilm",
        "g": 0.9,
        "dataset.normalize": "minmax",
    }
    assert "g=0.9" in repr(copied)


def test_importing_the_package_imports_the_estimator_when_it_is_asked_for() -> None:
    assert zsl_lab.ZeroShotClassifier is ZeroShotClassifier
    assert "ZeroShotClassifier" in zsl_lab.__all__


@pytest.mark.slow
def test_cross_validation_over_classes_scores_classes_that_were_not_trained_on(
    birds: Birds,
) -> None:
    pipeline = make_pipeline(StandardScaler(), ZeroShotClassifier(**QUICK, among="unseen"))
    scores = cross_val_score(
        pipeline,
        birds.X,
        birds.y,
        groups=birds.y,
        cv=GroupKFold(3),
        params={"zeroshotclassifier__semantics": birds.semantics},
        error_score="raise",
    )
    assert scores.shape == (3,)
    # of four or five candidates: the classes left out, kite and wren
    assert scores.mean() > 0.5


@pytest.mark.slow
def test_a_grid_search_sets_settings(birds: Birds) -> None:
    search = GridSearchCV(
        ZeroShotClassifier(**QUICK),
        {"gammas": [[1e6], [1.0]]},
        cv=GroupKFold(2),
        error_score="raise",
    )
    search.fit(birds.X, birds.y, groups=birds.y, semantics=birds.semantics)
    assert search.best_params_ == {"gammas": [1.0]}


def test_pickled_it_predicts_the_same(trained: ZeroShotClassifier, birds: Birds) -> None:
    copied = pickle.loads(pickle.dumps(trained))
    np.testing.assert_array_equal(
        copied.predict_scores(birds.X_unseen), trained.predict_scores(birds.X_unseen)
    )


@pytest.mark.slow
def test_a_misspelt_setting_is_named_when_it_is_fitted(birds: Birds) -> None:
    estimator = ZeroShotClassifier("sgal", gama=0.1)
    with pytest.raises(ConfigError, match=r"method.gama: there is no such key.*method.gamma"):
        estimator.fit(birds.X, birds.y, birds.semantics)
