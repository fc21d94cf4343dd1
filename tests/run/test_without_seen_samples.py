"""Conventional zero-shot learning: no test sample is of a seen class."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import SHORT_FIT, composed
from tests.helpers.benchmark_files import BASE
from tests.helpers.image_datasets import class_ids, make_nabirds
from zsl_lab.console.result_table import undefined
from zsl_lab.data.benchmark import FeatureBenchmark
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.datasets.synthetic import SyntheticDataset
from zsl_lab.result import Result
from zsl_lab.run.config import parse
from zsl_lab.run.configuration.schema import SelectionConfig
from zsl_lab.run.experiment import run


@pytest.fixture
def benchmark() -> FeatureBenchmark:
    sizes = {"classes": 6, "unseen": 2, "feature_dim": 3, "semantic_dim": 3, "seed": 0}
    keys = {**BASE, **sizes, "name": "toy", "samples_per_class": 5, "difficulty": 0.5}
    b = SyntheticDataset.model_validate(keys).load(DataPaths.__new__(DataPaths))
    return replace(b, test_seen=np.zeros(0, dtype=np.int64))


def test_what_test_samples_do_not_measure_selects_and_calibrates_nothing(
    benchmark: FeatureBenchmark, tmp_path: Path
) -> None:
    config = parse(composed(tmp_path))

    def selection(**keys: object) -> SelectionConfig:
        chosen = config.selection.model_copy(update=keys)
        return config.model_copy(update={"selection": chosen}).for_benchmark(benchmark).selection

    for metric in ("harmonic_mean", "seen", "unseen", "ausuc"):
        with pytest.warns(
            UserWarning, match=f"{metric} cannot be measured .* is selected by zsl_top1"
        ):
            assert selection(name="oracle", metric=metric).metric == "zsl_top1"
        # held-out samples of seen classes measure it on validation classes
        assert selection(name="validation", calibrate=False, metric=metric).metric == metric
    with pytest.warns(UserWarning, match=r"selection\.calibrate: toy has no test_seen sample"):
        selection(name="validation", calibrate=True)


def test_without_any_test_sample_nothing_is_said_of_what_test_shows(
    benchmark: FeatureBenchmark, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    config = parse(composed(tmp_path))
    chosen = config.selection.model_copy(update={"name": "validation", "calibrate": True})
    config = config.model_copy(update={"selection": chosen})
    config.for_benchmark(replace(benchmark, test_unseen=np.zeros(0, dtype=np.int64)))
    assert not recwarn.list


@pytest.mark.slow
def test_images_of_an_archive_train_and_measure_unseen_classes_only(tmp_path: Path) -> None:
    make_nabirds(tmp_path / "data" / "nabirds")
    class_ids(tmp_path / "data" / "splits_sce" / "NAB_easy.mat", [1, 2, 3, 5], [4, 6])
    small = ("image_size=16", "resize=18", "counts=null")
    overrides = (
        "method=n3",
        "dataset=nabirds",
        f"paths.data_dir={tmp_path / 'data'}",
        f"paths.cache_dir={tmp_path / 'cache'}",
        *(f"dataset.{key}" for key in small),
        *SHORT_FIT["n3"],
        "method.base.name=small_cnn",
        "method.text.encoder=tfidf",
    )
    result = run(composed(tmp_path / "run", *overrides))
    assert not math.isnan(result.metrics["zsl_top1"])
    assert math.isnan(result.metrics["seen"])
    assert math.isnan(result.metrics["harmonic_mean"])
    assert Result.load(tmp_path / "run" / "result.json").benchmark["splits_version"] == (
        "easy (4 seen + 2 unseen classes of NAB_easy.mat)"
    )
    assert any("conventional zero-shot learning" in note for note in undefined(result))
