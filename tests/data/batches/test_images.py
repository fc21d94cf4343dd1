"""Training tasks and evaluation slices of pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from zsl_lab.data import splits
from zsl_lab.data.batches.base import Batch
from zsl_lab.data.batches.images import EVALUATION_BATCH, ImageDataModule, TaskStream, crop
from zsl_lab.data.benchmark import ImageBenchmark

SIDE, SIZE = 12, 9
CPU = torch.device("cpu")
#: class sizes far apart, so that a draw over samples would not be a draw over classes
PER_CLASS = (6, 90, 6, 30, 6, 6, 160)


def pixel(row: int, y: int, x: int) -> int:
    """Pixel values that depend on the place, so that a crop tells where it was cut."""
    return (row * 31 + y * 16 + x) % 256


def benchmark() -> ImageBenchmark:
    labels = np.repeat(np.arange(7), PER_CLASS)
    y, x = np.mgrid[:SIDE, :SIDE]
    images = np.stack([pixel(0, y, x) + row * 31 for row in range(len(labels))]).astype(np.uint8)
    seen = labels < 6
    held = np.arange(len(labels)) % 5 == 0
    return ImageBenchmark(
        name="toy",
        images=np.stack([images, 255 - images, images // 2], axis=3),
        labels=labels,
        class_names=tuple("abcdefg"),
        descriptions=tuple(f"like {name}" for name in "abcdefg"),
        trainval=np.flatnonzero(seen & ~held),
        test_seen=np.flatnonzero(seen & held),
        test_unseen=np.flatnonzero(~seen),
    )


def module(flip: bool = True, split: splits.Split | None = None) -> ImageDataModule:
    b = benchmark()
    return ImageDataModule(b, split or splits.test_split(b), SIZE, flip)


def stream(
    data: ImageDataModule, k: int | None, steps: int = 20, size: int = 16, seed: int = 0
) -> TaskStream:
    data.draw_tasks(k)
    return data.training_stream(lambda step: size, [steps], seed, CPU)


def same(a: Batch, b: Batch) -> bool:
    return all(
        torch.equal(first, second)
        for first, second in zip(a, b, strict=True)
        if first is not None and second is not None
    )


def places(square: Tensor, row: int) -> Iterator[tuple[int, int, bool]]:
    """Where in its picture a square was cut, and whether it is mirrored."""
    y, x = np.mgrid[:SIZE, :SIZE]
    for flipped in (False, True):
        shown = square[0].flip(1) if flipped else square[0]
        for top in range(SIDE - SIZE + 1):
            for left in range(SIDE - SIZE + 1):
                if np.array_equal(shown.numpy(), pixel(row, y + top, x + left)):
                    yield top, left, flipped


def placed(batches: Iterable[Batch]) -> list[tuple[int, int, bool]]:
    return [
        next(places(square, row))
        for batch in batches
        for square, row in zip(batch.inputs, batch.rows.tolist(), strict=True)
    ]


def test_a_task_has_k_different_classes_and_samples_of_these_alone() -> None:
    data = module()
    seen = set(np.flatnonzero(data.classes.seen_mask))
    for batch in stream(data, 3):
        assert batch.classes is not None
        chosen = batch.classes.tolist()
        assert len(chosen) == len(set(chosen)) == 3
        assert set(batch.labels.tolist()) <= set(chosen) <= seen


@pytest.mark.parametrize("k", [None, 6, 50])
def test_a_task_of_all_classes_has_all_that_train(k: int | None) -> None:
    for batch in stream(module(), k):
        assert batch.classes is not None
        assert batch.classes.tolist() == [0, 1, 2, 3, 4, 5]


def test_tasks_differ_from_step_to_step() -> None:
    drawn = {
        tuple(batch.classes.tolist())
        for batch in stream(module(), 2, steps=60)
        if batch.classes is not None
    }
    assert len(drawn) == 15  # every pair of six classes


def test_a_batch_holds_training_samples_with_their_own_labels() -> None:
    data = module()
    for batch in stream(data, 3):
        assert set(batch.rows.tolist()) <= set(data.split.train.tolist())
        assert batch.labels.tolist() == data.positions(batch.rows.numpy()).tolist()


def test_small_classes_are_drawn_as_often_as_large_ones_and_their_samples_alike() -> None:
    batches = list(stream(module(), None, steps=300, size=40))
    labels = torch.cat([batch.labels for batch in batches])
    shares = torch.bincount(labels, minlength=6) / len(labels)
    assert torch.allclose(shares, torch.tensor(1 / 6), atol=0.015)
    largest = torch.cat([batch.rows for batch in batches])[labels == 1]
    counts = torch.unique(largest, return_counts=True)[1]
    assert len(counts) == 72
    assert counts.max() < 3 * counts.min()


def test_batches_have_the_size_that_is_due() -> None:
    data = module()
    batches = list(data.training_stream(lambda step: 4 + step, [3], 0, CPU))
    assert [tuple(batch.inputs.shape) for batch in batches] == [
        (size, 3, SIZE, SIZE) for size in (4, 5, 6)
    ]
    assert {batch.inputs.dtype for batch in batches} == {torch.uint8}


def test_squares_are_cut_from_everywhere_in_the_picture_of_their_row_and_half_are_mirrored() -> (
    None
):
    found = [
        next(places(square, row))
        for batch in stream(module(), None)
        for square, row in zip(batch.inputs, batch.rows.tolist(), strict=True)
    ]
    assert {place[:2] for place in found} == {(top, left) for top in range(4) for left in range(4)}
    assert np.mean([flipped for _, _, flipped in found]) == pytest.approx(0.5, abs=0.1)


def test_nothing_is_mirrored_where_mirrored_pictures_are_something_else() -> None:
    assert not any(flipped for _, _, flipped in placed(stream(module(flip=False), None)))


def test_all_channels_are_cut_alike() -> None:
    for batch in stream(module(), None):
        assert torch.equal(batch.inputs[:, 1], 255 - batch.inputs[:, 0])


def test_the_same_seed_draws_the_same_and_another_seed_does_not() -> None:
    a, b, c = (list(stream(module(), 3, seed=seed)) for seed in (1, 1, 2))
    assert all(same(first, second) for first, second in zip(a, b, strict=True))
    assert not any(same(first, second) for first, second in zip(a, c, strict=True))


def test_a_stream_goes_on_where_its_state_was_taken() -> None:
    data = module()
    whole = data.training_stream(lambda step: 8, [3, 9], 0, CPU)
    assert len(list(whole)) == 3
    state = whole.state_after(3)
    rest = list(whole)
    again = data.training_stream(lambda step: 8, [3, 9], 0, CPU)
    again.load_state(state)
    resumed = list(again)
    assert len(resumed) == 6
    assert all(same(first, second) for first, second in zip(rest, resumed, strict=True))


def test_an_epoch_ends_where_a_check_is_due() -> None:
    tasks = module().training_stream(lambda step: 2, [3, 7, 8], 0, CPU)
    assert [len(list(tasks)) for _ in range(4)] == [3, 4, 1, 0]


def test_evaluation_sees_every_sample_once_in_order_from_the_centre_each_time() -> None:
    data = module()
    index = np.concatenate([data.split.eval_seen, data.split.eval_unseen])
    batches = data.evaluation_batches(index, CPU)
    assert len(batches) == 2
    for _ in range(2):
        seen = list(batches)
        assert [len(batch.rows) for batch in seen] == [
            EVALUATION_BATCH,
            len(index) - EVALUATION_BATCH,
        ]
        assert torch.cat([batch.rows for batch in seen]).tolist() == index.tolist()
        assert (
            torch.cat([batch.labels for batch in seen]).tolist() == data.positions(index).tolist()
        )
        assert next(places(seen[1].inputs[-1], int(index[-1]))) == (1, 1, False)
        assert all(batch.classes is None for batch in seen)


def test_a_validation_phase_knows_the_texts_of_its_own_classes_only() -> None:
    b = benchmark()
    split = splits.validation_split(b, 0)
    data = module(split=split)
    assert data.classes.descriptions == tuple(f"like {data.classes.names[i]}" for i in range(6))
    assert "like g" not in data.classes.descriptions
    assert data.classes.semantics.shape == (6, 0)
    assert data.classes.ids[~data.classes.seen_mask].tolist() == split.unseen_classes.tolist()
    seen = {int(label) for batch in stream(data, None) for label in batch.labels}
    assert seen == set(np.flatnonzero(data.classes.seen_mask))


def test_one_channel_stays_one_channel() -> None:
    squares = crop(
        np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1),
        np.array([1]),
        np.array([[1, 2]]),
        np.array([True]),
        2,
    )
    assert squares.tolist() == [[[[23, 22], [27, 26]]]]
