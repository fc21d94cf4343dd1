from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from zsl_lab.data.batches.base import EVALUATION_BATCH, Batch, evaluation_rows
from zsl_lab.data.batches.features import FeatureDataModule, TrainStream, _Batches
from zsl_lab.data.benchmark import FeatureBenchmark, FloatArray
from zsl_lab.data.normalization import Normalization
from zsl_lab.data.recipe import Recipe
from zsl_lab.data.scaling import Scaler
from zsl_lab.data.splits import test_split as final_split
from zsl_lab.data.splits import validation_split


def samples(count: int) -> Batch:
    return Batch(
        torch.arange(count, dtype=torch.float32)[:, None],
        torch.arange(count) % 3,
        torch.arange(count),
    )


def rows(batches: list[Batch]) -> list[int]:
    return torch.cat([batch.rows for batch in batches]).tolist()


def test_every_pass_over_the_samples_holds_each_once_in_another_order() -> None:
    stream = TrainStream(samples(10), lambda step: 4, [5], seed=0)
    drawn = rows(list(stream))
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert drawn[:10] != drawn[10:]


def test_batches_have_their_size_even_where_a_pass_ends() -> None:
    assert [
        len(batch.rows) for batch in TrainStream(samples(10), lambda step: 4 + step, [4], seed=0)
    ] == [4, 5, 6, 7]


def test_features_labels_and_rows_of_a_batch_belong_together() -> None:
    for batch in TrainStream(samples(10), lambda step: 4, [5], seed=0):
        assert torch.equal(batch.inputs[:, 0].long(), batch.rows)
        assert torch.equal(batch.labels, batch.rows % 3)


def test_an_epoch_ends_where_a_check_is_due() -> None:
    stream = TrainStream(samples(10), lambda step: 2, [3, 7, 8], seed=0)
    assert [len(list(stream)) for _ in range(4)] == [3, 4, 1, 0]


def test_the_same_seed_draws_the_same_and_another_seed_does_not() -> None:
    a, b, c = (
        rows(list(TrainStream(samples(50), lambda step: 5, [10], seed=seed))) for seed in (1, 1, 2)
    )
    assert a == b != c


def test_a_stream_goes_on_where_its_state_was_taken() -> None:
    whole = TrainStream(samples(10), lambda step: 4, [3, 9], seed=0)
    list(whole)
    state = whole.state_after(3)
    rest = rows(list(whole))
    again = TrainStream(samples(10), lambda step: 4, [3, 9], seed=5)
    again.load_state(state)
    assert rows(list(again)) == rest


def test_a_closed_form_is_given_all_samples_at_once() -> None:
    (batch,) = TrainStream(samples(10), lambda step: None, [1], seed=0)
    assert rows([batch]) == list(range(10))


def test_evaluation_goes_through_every_sample_once_in_order() -> None:
    batches = _Batches(samples(EVALUATION_BATCH + 7))
    assert len(batches) == 2
    assert rows(list(batches)) == list(range(EVALUATION_BATCH + 7))


def test_a_checkpoint_is_told_the_classes_and_how_others_become_like_them() -> None:
    rng = np.random.default_rng(0)
    benchmark = FeatureBenchmark(
        name="four",
        features=rng.standard_normal((8, 3)).astype(np.float32),
        labels=np.arange(8) // 2,
        semantics=rng.standard_normal((4, 2)).astype(np.float32),
        class_names=("a", "b", "c", "d"),
        trainval=np.array([0, 4]),
        test_seen=np.array([1, 5]),
        test_unseen=np.array([6, 7]),  # of d; b, which does not train, is a candidate too
        recipe=Recipe(attributes=["wings", "tail"]),
    )
    data = FeatureDataModule(benchmark, final_split(benchmark), "standard", "minmax")
    state = data.state_dict()
    assert (state["feature_dim"], state["recipe"]["attributes"]) == (3, ["wings", "tail"])
    classes = state["classes"]
    assert (classes["names"], classes["ids"].tolist(), classes["seen"].tolist()) == (
        ["a", "b", "c", "d"],
        [0, 1, 2, 3],
        [True, False, True, False],
    )
    np.testing.assert_array_equal(classes["semantics"].numpy(), benchmark.semantics)
    scaled = Scaler.from_state(classes["semantics_scaler"]).apply(classes["semantics"])
    assert np.array_equal(scaled.numpy(), data.classes.semantics)
    assert torch.equal(
        Scaler.from_state(state["scaler"]).apply(torch.from_numpy(benchmark.features)),
        data.samples(np.arange(8)).inputs,
    )


def four(name: str, semantics: list[list[float]]) -> FeatureBenchmark:
    """Classes a to d of three samples each; d is unseen."""
    return FeatureBenchmark(
        name=name,
        features=np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32),
        labels=np.arange(12) // 3,
        semantics=np.array(semantics, dtype=np.float32),
        class_names=("a", "b", "c", "d"),
        trainval=np.array([0, 1, 3, 4, 6, 7]),
        test_seen=np.array([2, 5, 8]),
        test_unseen=np.array([9, 10, 11]),
    )


def test_classes_that_scaling_makes_equal_are_named_once_a_run() -> None:
    benchmark = four("sizes", [[1], [-2], [3], [4]])
    with pytest.warns(
        UserWarning,
        match=r"^sizes: .* classes 'a' and 'c', scaled with .*=l2\. .*another scaling.*=standard, "
        r"or",
    ) as caught:
        FeatureDataModule(benchmark, validation_split(benchmark, 0), "none", "l2")
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FeatureDataModule(benchmark, final_split(benchmark), "none", "l2")
        FeatureDataModule(benchmark, final_split(benchmark), "none", "standard")


def test_classes_of_the_same_semantics_are_named_with_what_helps() -> None:
    benchmark = four("twins", [[1, 2], [3, 3], [1, 2], [4, 5]])
    with pytest.warns(
        UserWarning,
        match=r"^twins: .* 'a' and 'c', .*Give one of them other semantics .*, or merge the two "
        r"classes\.$",
    ):
        FeatureDataModule(benchmark, final_split(benchmark), "none", "standard")


@pytest.mark.parametrize("classes", [2, 2048, 21_841, 10_000_000])
def test_with_many_classes_a_batch_of_evaluation_has_fewer_samples(classes: int) -> None:
    rows = evaluation_rows(classes)
    assert rows == EVALUATION_BATCH if classes <= 2048 else rows < EVALUATION_BATCH
    assert rows == 1 or rows * classes <= 2**23


@pytest.mark.parametrize("writeable", [False, True])
def test_scaling_is_fitted_once_to_samples_that_stay_as_they_are(
    monkeypatch: pytest.MonkeyPatch, writeable: bool
) -> None:
    fit, fitted = Scaler.fit, []

    def counted(kind: Normalization, rows: FloatArray) -> Scaler:
        fitted.append(kind)
        return fit(kind, rows)

    benchmark = four("fitted", [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [2.0, 1.0]])
    benchmark.features.flags.writeable = writeable
    split = final_split(benchmark)
    of_features = []
    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(Scaler, "fit", counted)
            data = FeatureDataModule(benchmark, split, "minmax", "none")
        of_features.append(data.scaler.scale[0].item())
        if writeable:
            benchmark.features[:] *= 2
    assert fitted.count("minmax") == (2 if writeable else 1)
    assert of_features[1] == pytest.approx(of_features[0] * (2 if writeable else 1))
