from __future__ import annotations

import torch

from zsl_lab.data.datamodule import EVALUATION_BATCH, Batch, TrainStream, _Batches


def samples(count: int) -> Batch:
    return Batch(torch.arange(count, dtype=torch.float32)[:, None], torch.arange(count) % 3, torch.arange(count))


def rows(batches: list[Batch]) -> list[int]:
    return torch.cat([batch.rows for batch in batches]).tolist()


def test_every_pass_over_the_samples_holds_each_once_in_another_order() -> None:
    stream = TrainStream(samples(10), lambda step: 4, [5], seed=0)
    drawn = rows(list(stream))
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert drawn[:10] != drawn[10:]


def test_batches_have_their_size_even_where_a_pass_ends() -> None:
    assert [len(batch.rows) for batch in TrainStream(samples(10), lambda step: 4 + step, [4], seed=0)] == [4, 5, 6, 7]


def test_features_labels_and_rows_of_a_batch_belong_together() -> None:
    for batch in TrainStream(samples(10), lambda step: 4, [5], seed=0):
        assert torch.equal(batch.inputs[:, 0].long(), batch.rows)
        assert torch.equal(batch.labels, batch.rows % 3)


def test_an_epoch_ends_where_a_check_is_due() -> None:
    stream = TrainStream(samples(10), lambda step: 2, [3, 7, 8], seed=0)
    assert [len(list(stream)) for _ in range(4)] == [3, 4, 1, 0]


def test_the_same_seed_draws_the_same_and_another_seed_does_not() -> None:
    a, b, c = (rows(list(TrainStream(samples(50), lambda step: 5, [10], seed=seed))) for seed in (1, 1, 2))
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
