"""What every classifier must do with every method that can feed it, another package's included."""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf, open_dict

import zsl_lab
from tests.conftest import ENTRIES, OF_FEATURES, REFIT_ALONE, Command, Finished, composed
from tests.contract.conftest import Overrides, of_dataset
from tests.helpers.equal_runs import assert_resumed_equals_whole, assert_same_weights
from zsl_lab.classifiers.config import OWN
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.errors import CheckpointError, ConfigError
from zsl_lab.methods.module import MethodModule
from zsl_lab.result import Result
from zsl_lab.run.checkpoints import files as checkpoints
from zsl_lab.run.config import parse
from zsl_lab.run.experiment import run

Configure = Callable[..., DictConfig]
NOWHERE = DataPaths(Path("nowhere"), Path("nowhere"))

#: short runs of the classifiers of the package
CLASSIFIERS = {
    "means": ("classifier=means", "classifier.samples=5", "classifier.shrinkage=0.3"),
    "softmax": ("classifier=softmax", "classifier.samples=5", "classifier.steps=5"),
    "zlap": ("classifier=zlap", "classifier.samples=5", "classifier.steps=5"),
}
GENERATING = [m for m in OF_FEATURES if ENTRIES[m].generates and not ENTRIES[m].variant]
WITH_PROTOTYPES = [m for m in OF_FEATURES if ENTRIES[m].has_prototypes and not ENTRIES[m].variant]
#: each method with a classifier that it can feed: zlap asks of a method what softmax does.
#: ``prototypes`` is of another package
PAIRS = [
    *(("means", method) for method in WITH_PROTOTYPES),
    *(("softmax", method) for method in GENERATING),
    ("zlap", "mmvae"),
    *((classifier, "prototypes") for classifier in CLASSIFIERS),
]
#: the methods whose short runs select a step and calibrate; those of the others have one phase
CALIBRATED = ("mmvae", "prototypes")
every_pair = pytest.mark.parametrize(("classifier", "method"), PAIRS)

Fitted = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def fitted(finished: Finished, overrides: Overrides) -> Fitted:
    """The folder of a finished short run of a pair; shared, so do not change it."""

    def fitted(classifier: str, method: str) -> Path:
        return finished(*overrides(method), *CLASSIFIERS[classifier], *selection(method))

    return fitted


def selection(method: str) -> tuple[str, ...]:
    """How the short run of a method selects a step."""
    return ("selection.calibrate=true",) if method in CALIBRATED else REFIT_ALONE


def digits(method: str = "") -> tuple[Any, Any]:
    cfg = composed(Path("run"), *of_dataset(method))
    benchmark: Any = parse(cfg).dataset.load(NOWHERE)
    return benchmark, benchmark.features


@every_pair
def test_a_checkpoint_predicts_what_its_run_predicted(
    fitted: Fitted, classifier: str, method: str
) -> None:
    folder = fitted(classifier, method)
    assert Result.load(folder).classifier == classifier
    with (folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    predictor = zsl_lab.load(folder)
    _, features = digits(method)
    x = features[[int(row["index"]) for row in rows]]
    assert predictor.predict(x).predicted == [row["gzsl"] for row in rows]
    unseen = [i for i, row in enumerate(rows) if row["split"] == "test_unseen"]
    found = predictor.predict(x[unseen], among="unseen").predicted
    assert found == [rows[i]["zsl"] for i in unseen]


@pytest.mark.parametrize("method", CALIBRATED)
@pytest.mark.parametrize("classifier", sorted(CLASSIFIERS))
def test_testing_a_checkpoint_gives_the_stored_metrics(
    configure: Configure, overrides: Overrides, fitted: Fitted, classifier: str, method: str
) -> None:
    trained = Result.load(fitted(classifier, method))
    keys = (*overrides(method), *CLASSIFIERS[classifier], *selection(method))
    again = configure(*keys, "task=test", run_dir="again")
    again.ckpt = str(fitted(classifier, method) / "checkpoints" / "best.ckpt")
    assert run(again).metrics == pytest.approx(trained.metrics, abs=1e-6)


@pytest.mark.parametrize(
    ("classifier", "method"), [pair for pair in PAIRS if pair[0] in ("means", "zlap")]
)
def test_new_classes_described_as_unseen_ones_get_their_scores(
    fitted: Fitted, classifier: str, method: str
) -> None:
    benchmark, features = digits(method)
    predictor: Any = zsl_lab.load(fitted(classifier, method))
    x = features[benchmark.test_unseen[:50]]
    own = predictor.predict(x, among="unseen")
    told = {f"new {name}": benchmark.semantics[int(name)] for name in own.names}
    new = predictor.predict(x, told)
    np.testing.assert_allclose(new.scores, own.scores, rtol=1e-3, atol=1e-4)
    assert float(own.scores.std()) > 0


def test_new_classes_get_softmax_weights_beside_those_of_known_ones(fitted: Fitted) -> None:
    benchmark, features = digits()
    predictor: Any = zsl_lab.load(fitted("softmax", "prototypes"))
    x = features[benchmark.test_unseen[:50]]
    known = predictor.predict(x)
    joined = predictor.predict(x, {"new": benchmark.semantics[3]}, among="all")
    np.testing.assert_array_equal(joined.scores[:, : len(known.names)], known.scores)
    assert np.isfinite(joined.scores).all()


@pytest.mark.parametrize("classifier", sorted(CLASSIFIERS))
def test_a_resumed_run_ends_with_the_same_classifier(
    configure: Configure, overrides: Overrides, finished: Finished, classifier: str
) -> None:
    keys = (*overrides("sgal"), *CLASSIFIERS[classifier])
    whole, cuts = finished(*keys), [("select", 14), ("refit", 14)]
    cut = assert_resumed_equals_whole(configure, whole, keys, *cuts)
    first, second = (
        checkpoints.read(folder / "checkpoints" / "best.ckpt", "ckpt").classifier
        for folder in (whole, cut)
    )
    assert first
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_training_is_the_same_with_every_classifier(
    configure: Configure, overrides: Overrides, tmp_path: Path
) -> None:
    keys: dict[str, tuple[str, ...]] = {"own": (), **CLASSIFIERS}
    for name, chosen in keys.items():
        run(configure(*overrides("vzsl"), *REFIT_ALONE, *chosen, run_dir=name))
    best = "checkpoints/best.ckpt"
    for name in CLASSIFIERS:
        assert_same_weights(tmp_path / "own" / best, tmp_path / name / best)


def test_in_mixed_precision_the_classifier_is_fitted_in_single_precision(
    configure: Configure, overrides: Overrides, tmp_path: Path
) -> None:
    mixed = ("trainer.precision=bf16-mixed", *REFIT_ALONE)
    run(configure(*overrides("mmvae"), *CLASSIFIERS["means"], *mixed))
    stored = checkpoints.read(tmp_path / "run" / "checkpoints" / "best.ckpt", "ckpt").classifier
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}


def test_the_classifier_is_stored_in_the_reported_checkpoint_only(fitted: Fitted) -> None:
    folder = fitted("means", "mmvae") / "checkpoints"
    assert checkpoints.read(folder / "best.ckpt", "ckpt").classifier.keys() == {
        *("centres", "origin", "scale")
    }
    assert not checkpoints.read(folder / "last.ckpt", "ckpt").classifier


@pytest.mark.parametrize("method", ["linear_map", "eszsl"])
@pytest.mark.parametrize("classifier", sorted(CLASSIFIERS))
def test_a_method_that_cannot_feed_it_is_refused_before_training(
    configure: Configure, overrides: Overrides, tmp_path: Path, method: str, classifier: str
) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"^classifier={classifier}: method={method} (has no class prototypes and )?"
        r"generates no features, which this classifier needs. Choose classifier=own, or a method "
        r"that does ",
    ):
        run(configure(*overrides(method), *CLASSIFIERS[classifier]))
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.slow
def test_a_misspelt_key_of_a_classifier_is_named(configure: Configure) -> None:
    with pytest.raises(ConfigError, match=r"classifier.shrink: there is no such key. Did you mean"):
        run(configure("classifier=means", "+classifier.shrink=0.5"))


def test_a_checkpoint_without_the_classifiers_state_is_refused(
    fitted: Fitted, tmp_path: Path
) -> None:
    from zsl_lab.files import seal

    source = fitted("means", "mmvae") / "checkpoints" / "best.ckpt"
    content = torch.load(source, weights_only=True)
    for change, problem in (
        ({}, r"field 'classifier.centres' is missing, .*for 10 classes"),
        ({"centres": torch.full((10, 4), torch.nan)}, r"'classifier.'centres'' holds numbers"),
        ({"centres": [1.0]}, r"field 'classifier.'centres'' is \[1.0\]; expected a tensor"),
        (7, r"field 'classifier' is 7; expected tensors by name"),
    ):
        content["classifier"] = change
        path = tmp_path / "best.ckpt"
        torch.save(content, path)
        path.write_bytes(seal.seal(path.read_bytes()))
        with pytest.raises(CheckpointError, match=problem):
            zsl_lab.load(path)


def test_a_changed_classifier_is_a_changed_setting(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ("method=mmvae", *ENTRIES["mmvae"].overrides("short"), "callbacks=none")
    same = (*short, "hydra.run.dir=here", "resume=auto")
    assert command(*same) == 0
    assert command(*same, "classifier=means") == 2
    said = capsys.readouterr().err
    assert "holds a run of other settings" in said
    assert "classifier.name is own there, means here" in said
    ckpt = ("task=test", "ckpt=here", "hydra.run.dir=tested")
    assert command(*ckpt, "classifier=means") == 2
    assert "classifier=means: a checkpoint brings the settings" in capsys.readouterr().err
    assert command(*ckpt, "classifier=own") == 0


def test_a_configuration_without_the_section_means_the_methods_own_scores(
    configure: Configure,
) -> None:
    cfg = configure("method=mmvae")
    assert OmegaConf.to_container(cfg.classifier) == OWN
    with open_dict(cfg):
        del cfg["classifier"]
    parsed = parse(cfg)
    assert (parsed.classifier.name, parsed.plain["classifier"]) == ("own", OWN)


NEAREST = '''
"""Minus the distance to the mean of a seen class; unseen classes are never predicted."""

import torch

from zsl_lab.classifiers.base import Classifier
from zsl_lab.classifiers.config import ClassifierConfig


class NearestConfig(ClassifierConfig):
    power: float


class Nearest(Classifier):
    config_class = NearestConfig
    fitted = ("means",)

    def fit(self, method, data):
        batches = list(data.training_batches(method.device))
        x, y = (torch.cat([batch[i] for batch in batches]) for i in (0, 1))
        self.means = torch.stack(
            [x[y == c].mean(0) if (y == c).any() else x.new_full(x[0].shape, 1e3)
             for c in range(len(self.names))]
        )

    def scores(self, method, features):
        if self.means is None:
            return method.class_scores(features)
        return -torch.cdist(features, self.means) ** self.config.power
'''


def test_another_package_brings_a_classifier_by_a_yaml(
    own_conf: Path, overrides: Overrides, tmp_path: Path
) -> None:
    (own_conf.parent / "my_package" / "nearest.py").write_text(NEAREST)
    (own_conf / "classifier").mkdir(exist_ok=True)
    (own_conf / "classifier" / "nearest.yaml").write_text(
        "_target_: my_package.nearest.Nearest\nname: nearest\npower: 2.0\n"
    )
    result = run(composed(tmp_path / "run", *overrides("linear_map"), "classifier=nearest"))
    assert (result.classifier, result.metrics["unseen"]) == ("nearest", 0)
    assert result.metrics["seen"] > 80
    benchmark, features = digits()
    predictor: Any = zsl_lab.load(tmp_path / "run")
    names = predictor.predict(features[benchmark.test_seen]).predicted
    right = np.array(names, int) == benchmark.labels[benchmark.test_seen]
    assert right.mean() > 0.8
    stored = json.loads((tmp_path / "run" / "result.json").read_text())
    assert stored["classifier"] == "nearest"


@pytest.mark.parametrize("chosen", ["means", "own", "softmax"])
def test_a_methods_yaml_names_the_classifier_that_it_is_used_with(
    own_conf: Path, tmp_path: Path, chosen: str
) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(own_conf, conf)
    (conf / "method" / "mapped.yaml").write_text(
        "defaults:\n  - linear_map\n  - override /classifier@_global_.classifier: means\n"
        "  - _self_\nname: mapped\n"
    )
    folder = f"hydra.searchpath=[file://{conf}]"
    asked = [] if chosen == "means" else [f"classifier={chosen}"]
    cfg = composed(tmp_path / "run", folder, "method=mapped", *asked)
    assert (cfg.method.name, cfg.classifier.name) == ("mapped", chosen)


@pytest.mark.slow
def test_class_means_cost_little_of_the_training(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spent, fit = [], MethodModule.fit_classifier

    def timed(self: MethodModule) -> None:
        began = time.process_time()
        fit(self)
        spent.append(time.process_time() - began)

    monkeypatch.setattr(MethodModule, "fit_classifier", timed)
    short = ("method.steps=100", "selection.check_every=20", "callbacks=none", "tuned=none")
    run(configure("method=mmvae", "classifier=means", *short))
    seconds = Result.load(tmp_path / "run").training["seconds"]
    assert sum(spent) < 0.2 * seconds  # 10 % are meant; this machine may be busy
