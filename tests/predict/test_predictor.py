"""Predictions and generated features of every method."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zsl_lab
from tests.conftest import ENTRIES
from tests.helpers.predict import UNSEEN, Load, ShortRun, altered, described
from zsl_lab.data.benchmark import FeatureBenchmark, ImageBenchmark
from zsl_lab.errors import ConfigError, DataError
from zsl_lab.run.configuration.schema import Among

GENERATING = [name for name in sorted(ENTRIES) if ENTRIES[name].generates]


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
            rf"\({', '.join(GENERATING)}\), or only predict",
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
    with pytest.raises(DataError, match=r"found shape \[2\] for 'the class'; expected \[29\]"):
        load("sgal").generate([1.0, 2.0], 1)
    for n in (0, 2.5, True, "3"):
        with pytest.raises(
            ConfigError, match=rf"^n={n!r}: expected a whole number of at least 1\.$"
        ):
            load("sgal").generate("2", n)
    with pytest.raises(ConfigError, match=r"^seed=0\.5: expected a whole number of at least 0\.$"):
        load("sgal").generate("2", 1, seed=0.5)
    assert len(load("sgal").generate("2", np.int64(3))) == 3


def test_predictions_that_are_nearly_all_one_class_are_reported(
    load: Load, digits: FeatureBenchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = load("eszsl")
    x = digits.features[np.resize(digits.test_unseen, 25)]
    scores = torch.zeros(25, 10)
    monkeypatch.setattr(predictor.network, "class_scores", lambda rows: scores[: len(rows)])
    scores[:, 3] = 1
    scores[:4, 1] = 2
    with pytest.warns(UserWarning, match=r"^features: 21 of 25 samples were assigned to '3', one"):
        predictor.predict(x)
    scores[4, 1] = 2  # 80 % are not more than 80 %
    for given in (x, x[:19]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            predictor.predict(given)


def test_methods_that_learned_generated_features_say_that_they_know_no_new_classes(
    load: Load, digits: FeatureBenchmark, pictures: ImageBenchmark
) -> None:
    x = digits.features[:2]
    with pytest.warns(
        UserWarning,
        match=r"method=sgal was trained on features that it generated .* or take a checkpoint of "
        r"ale, aspn, cada_vae, .*eszsl, exem, .*mmvae, .*vzsl\.$",
    ):
        load("sgal").predict(x, described("sgal", digits, pictures))
    for method, classes in (("sgal", None), ("mmvae", described("mmvae", digits, pictures))):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load(method).predict(x, classes)


def test_an_older_checkpoint_without_statistics_predicts_the_same_without_a_check(
    load: Load, short_run: ShortRun, digits: FeatureBenchmark, tmp_path: Path
) -> None:
    path = altered(
        short_run("eszsl"),
        tmp_path / "older.ckpt",
        lambda c: c["FeatureDataModule"].pop("feature_statistics"),
    )
    older, x = zsl_lab.load(path), 255 * digits.features[:5]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = older.predict(x).scores
    with pytest.warns(UserWarning, match="scaled, by about 2"):
        assert np.array_equal(found, load("eszsl").predict(x).scores)
