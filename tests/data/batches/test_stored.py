"""Batches of features on disk, against the same features in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from zsl_lab.data.batches import base, stored
from zsl_lab.data.batches.base import Batch, Shard
from zsl_lab.data.batches.features import FeatureDataModule
from zsl_lab.data.batches.passes import PassStream
from zsl_lab.data.batches.stored import StoredDataModule, StoredSamples, read_ahead, sample_blocks
from zsl_lab.data.benchmark import FeatureBenchmark, StoredBenchmark
from zsl_lab.data.normalization import Normalization
from zsl_lab.data.splits import test_split as final_split
from zsl_lab.data.storage.files import FileSource, Part
from zsl_lab.errors import DataError
from zsl_lab.files import memory as limits

CPU = torch.device("cpu")
SAMPLES, DIM = 500, 6
FIELDS = (
    *("name", "labels", "semantics", "class_names"),
    *("trainval", "test_seen", "test_unseen"),
)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 8 rows, windows of 4 blocks."""
    monkeypatch.setattr(stored, "_BLOCK_BYTES", 8 * 4 * DIM)
    monkeypatch.setattr(stored, "_WINDOW_BYTES", 32 * 4 * DIM)


def benchmark(dtype: str = "<f4") -> FeatureBenchmark:
    rng = np.random.default_rng(0)
    labels = np.sort(rng.integers(0, 7, SAMPLES))
    order = rng.permutation(SAMPLES)
    seen, unseen = order[labels[order] < 5], order[labels[order] >= 5]
    features = rng.standard_normal((SAMPLES, DIM)) * [1, 10, 100, 1, 0, 1] + [0, 5, 1e3, 0, 0.1, 0]
    return FeatureBenchmark(
        name="small",
        features=features.astype(dtype).astype(np.float32),
        labels=labels,
        semantics=rng.standard_normal((7, 3)).astype(np.float32),
        class_names=tuple("abcdefg"),
        trainval=seen[:300],
        test_seen=seen[300:],
        test_unseen=unseen,
    )


def modules(
    folder: Path, normalize: Normalization = "standard", dtype: str = "<f4"
) -> tuple[FeatureDataModule, StoredDataModule]:
    """The same phase in memory and on disk."""
    given = benchmark(dtype)
    path = folder / "features"
    path.write_bytes(b"header" + given.features.astype(dtype).tobytes())
    source = FileSource([Part(path, 6, np.dtype(dtype), SAMPLES, DIM)])
    fields = {name: getattr(given, name) for name in FIELDS}
    on_disk = StoredBenchmark(stored=source, **fields)
    split = final_split(given)
    return (
        FeatureDataModule(given, split, normalize, "none"),
        StoredDataModule(on_disk, split, normalize, "none"),
    )


def stream(data: FeatureDataModule, ends: list[int], size: int = 16, **options: int) -> PassStream:
    shard = Shard(options.get("number", 0), options.get("count", 1))
    return data.training_stream(lambda step: size, ends, options.get("seed", 0), CPU, shard)


def rows(batches: list[Batch]) -> list[int]:
    return torch.cat([batch.rows for batch in batches]).tolist()


@pytest.mark.parametrize(
    "kind", ["none", "minmax", "minmax_sqrt", "l2", "standard", "scale", "centered_l2"]
)
def test_scalers_are_those_of_features_in_memory(tmp_path: Path, kind: Normalization) -> None:
    memory, disk = modules(tmp_path, kind)
    torch.testing.assert_close(disk.scaler.shift, memory.scaler.shift, rtol=1e-6, atol=0)
    torch.testing.assert_close(disk.scaler.scale, memory.scaler.scale, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", ["<f4", "<f2", ">f4", "<f8", ">f2"])
def test_samples_of_any_type_are_those_in_memory(tmp_path: Path, dtype: str) -> None:
    memory, disk = modules(tmp_path, "minmax", dtype)
    index = np.array([499, 0, 17, 18, 250])
    for one, other in zip(memory.samples(index)[:3], disk.samples(index)[:3], strict=True):
        assert torch.equal(one, other)


def test_evaluation_batches_are_those_in_memory(tmp_path: Path) -> None:
    memory, disk = modules(tmp_path)
    given = zip(
        *(data.evaluation_batches(data.evaluation_index, CPU) for data in (memory, disk)),
        strict=True,
    )
    for one, other in given:
        torch.testing.assert_close(one.inputs, other.inputs, rtol=1e-6, atol=1e-6)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.rows, other.rows)


def test_evaluation_batches_are_smaller_with_many_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, disk = modules(tmp_path)
    monkeypatch.setattr(base, "_MOST_SCORES", 5 * len(memory.classes.ids))
    for data in (memory, disk):
        whole, rest = divmod(len(data.evaluation_index), 5)
        batches = data.evaluation_batches(data.evaluation_index, CPU)
        sizes = [len(batch.labels) for batch in batches]
        assert sizes == [5] * whole + [rest] * (rest > 0)


def test_every_pass_holds_each_training_sample_once_in_another_order(tmp_path: Path) -> None:
    _, disk = modules(tmp_path)
    drawn = rows(list(stream(disk, [75], size=8)))
    first, second = drawn[:300], drawn[300:]
    assert sorted(first) == sorted(second) == sorted(disk.split.train)
    assert first != second
    assert sorted(first[:32]) != sorted(second[:32])


def test_a_window_is_drawn_from_whole_blocks_that_lie_apart(tmp_path: Path) -> None:
    _, disk = modules(tmp_path)
    train = np.sort(disk.split.train)
    window = rows(list(stream(disk, [2], size=12)))
    blocks = {int(np.searchsorted(train, row)) // 8 for row in window}
    assert len(blocks) == 4
    assert max(blocks) - min(blocks) > 4
    assert window != sorted(window)


@pytest.mark.parametrize("size", [5, 16, 100, 300, 700])
def test_features_labels_and_rows_of_a_batch_belong_together(tmp_path: Path, size: int) -> None:
    memory, disk = modules(tmp_path, "none")
    for batch in stream(disk, [9], size=size):
        expected = memory.samples(batch.rows.numpy())
        assert len(batch.rows) == size
        assert torch.equal(batch.inputs, expected.inputs)
        assert torch.equal(batch.labels, expected.labels)


def test_the_same_seed_draws_the_same_and_another_seed_does_not(tmp_path: Path) -> None:
    _, disk = modules(tmp_path)
    one, same, other = (rows(list(stream(disk, [40], seed=seed))) for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("step", [1, 18, 19, 25])
def test_a_stream_goes_on_exactly_where_its_state_was_taken(tmp_path: Path, step: int) -> None:
    _, disk = modules(tmp_path)
    whole = stream(disk, [step, 60])
    list(whole)
    state = whole.state_after(step)
    again = stream(disk, [step, 60], seed=5)
    again.load_state(state)
    for one, other in zip(whole, again, strict=True):
        assert torch.equal(one.rows, other.rows)
        assert torch.equal(one.inputs, other.inputs)


def test_a_state_of_a_run_in_memory_is_refused_with_the_way_out(tmp_path: Path) -> None:
    memory, disk = modules(tmp_path)
    one, other = stream(memory, [3]), stream(disk, [3])
    with pytest.raises(ValueError, match=r"features in memory.*expected dataset\.storage=memory"):
        other.load_state(one.state_after(0))
    with pytest.raises(ValueError, match=r"features on disk.*expected dataset\.storage=disk"):
        one.load_state(other.state_after(0))


def test_processes_share_the_batches_of_one(tmp_path: Path) -> None:
    _, disk = modules(tmp_path)
    whole = list(stream(disk, [30], size=16))
    parts = [list(stream(disk, [30], size=8, number=number, count=2)) for number in (0, 1)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert torch.equal(batch.rows, torch.cat([first.rows, second.rows]))
        assert torch.equal(batch.inputs, torch.cat([first.inputs, second.inputs]))


def test_each_block_is_read_once_a_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, disk = modules(tmp_path)
    read: list[int] = []
    take = disk.unscaled

    def counted(index: np.typing.NDArray[np.int64]) -> np.typing.NDArray[np.generic]:
        read.extend(index)
        return take(index)

    monkeypatch.setattr(disk, "unscaled", counted)
    list(stream(disk, [19], size=16))  # 300 samples and 4 of the next pass
    assert sorted(read[:300]) == sorted(disk.split.train)
    assert len(read) <= 300 + 2 * 32


def test_a_closed_form_is_given_all_samples_in_blocks_or_at_once(tmp_path: Path) -> None:
    memory, disk = modules(tmp_path)
    (batch,) = disk.training_stream(lambda step: None, [1], 0, CPU)
    assert isinstance(batch, StoredSamples)
    expected = memory.samples(np.sort(disk.split.train))
    torch.testing.assert_close(batch.inputs, expected.inputs)
    for given in (batch, expected):
        blocks = list(sample_blocks(given, 128))
        assert [len(block.labels) for block in blocks] == [128, 128, 44]
        torch.testing.assert_close(torch.cat([b.inputs for b in blocks]), expected.inputs)
        assert torch.equal(torch.cat([b.rows for b in blocks]), expected.rows)
    assert torch.equal(batch.rows[batch.order], torch.from_numpy(disk.split.train))


def test_processes_divide_the_training_samples_that_a_classifier_is_fitted_to(
    tmp_path: Path,
) -> None:
    _, disk = modules(tmp_path)
    parts = [rows(list(disk.training_batches(CPU, Shard(number, 3)))) for number in range(3)]
    assert sorted(row for part in parts for row in part) == sorted(disk.split.train)


def test_an_error_while_reading_ahead_reaches_the_reader() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    reader = read_ahead(items())
    assert next(reader) == 1
    with pytest.raises(OSError, match="gone"):
        next(reader)


def test_samples_that_do_not_fit_into_memory_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, disk = modules(tmp_path)
    monkeypatch.setattr(limits, "free_memory", lambda: 1000)
    monkeypatch.setattr(limits, "ALWAYS_ALLOWED", 16)
    with pytest.raises(DataError, match=r"small: 300 samples: found .* to read; .*choose another"):
        disk.samples(disk.split.train)


def test_a_split_of_a_benchmark_on_disk_reads_no_features(tmp_path: Path) -> None:
    given = benchmark()
    path = tmp_path / "features"
    path.write_bytes(given.features.tobytes())
    source = FileSource([Part(path, 0, np.dtype("<f4"), SAMPLES, DIM)])
    on_disk = StoredBenchmark(stored=source, **{name: getattr(given, name) for name in FIELDS})
    path.write_bytes(b"")
    assert len(replace(on_disk, trainval=on_disk.trainval[:200]).trainval) == 200
