"""Batches of feature vectors that stay on disk and are read in blocks while training.

A pass over the training samples reads blocks of neighbouring rows in a shuffled order. The blocks
of a window are read together and their rows are shuffled, so that reading is sequential within
blocks and every sample is drawn once per pass. The next window is read while the present one is
used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from zsl_lab.data.batches.base import (
    WHOLE,
    Batch,
    BatchSize,
    Shard,
    evaluation_rows,
)
from zsl_lab.data.batches.features import FeatureDataModule
from zsl_lab.data.batches.passes import PassStream
from zsl_lab.data.benchmark import IntArray
from zsl_lab.data.checks.statistics import ColumnStatistics
from zsl_lab.data.normalization import Normalization
from zsl_lab.data.scaling import Scaler
from zsl_lab.data.storage.arrays import Array
from zsl_lab.data.storage.source import indexed_blocks
from zsl_lab.files.memory import check_size

T = TypeVar("T")

#: bytes, as float32, of a block of neighbouring rows, and of a window of blocks that are shuffled
#: together. The order of samples depends on them: after a change, older checkpoints cannot resume.
_BLOCK_BYTES, _WINDOW_BYTES = 2**19, 2**27
#: bytes, as float32, of a block in a pass in the order of the file
_PASS_BYTES = 2**24


class StoredTrainStream(PassStream):
    """Passes over training samples on disk: shuffled blocks of rows, whose rows are shuffled.

    Args:
        data: The phase; samples are drawn from its ``split.train``.
        device: Where batches are put.
        batch_size: Batch size at a step.
        check_steps: Increasing steps at which an epoch ends; the last ends the training.
        seed: Seed of the order.
        shard: This process's place among those that train together. Each reads all blocks and
            takes its own part of every batch.
    """

    def __init__(
        self,
        data: StoredDataModule,
        device: torch.device,
        batch_size: BatchSize,
        check_steps: Sequence[int],
        seed: int,
        shard: Shard = WHOLE,
    ) -> None:
        self._data, self._device = data, device
        self._index = np.sort(data.split.train)
        row = 4 * data.feature_dim
        self._block = max(1, _BLOCK_BYTES // row)
        self._window = max(1, _WINDOW_BYTES // row // self._block)
        self._reader = ThreadPoolExecutor(1)
        self._held: list[tuple[IntArray, Array]] = []
        self._ahead: tuple[int, Future[tuple[IntArray, Array]]] | None = None
        super().__init__(len(self._index), batch_size, check_steps, seed, shard)

    @property
    def layout(self) -> dict[str, int]:
        """The number of rows of a block (``rows``) and of blocks of a window (``blocks``)."""
        return {"rows": self._block, "blocks": self._window}

    def _permutation(self, generator: torch.Generator) -> Tensor:
        blocks = torch.randperm(-(-self._count // self._block), generator=generator).numpy()
        ends = range(self._window, len(blocks), self._window)
        self._windows = [np.sort(part) for part in np.split(blocks, ends)]
        self._window_of = np.empty(len(blocks), dtype=np.int64)
        for number, members in enumerate(self._windows):
            self._window_of[members] = number
        self._ahead = None  # it was read for the previous pass
        parts = []
        for members in self._windows:
            rows = torch.from_numpy(self._rows_of(members))
            parts.append(rows[torch.randperm(len(rows), generator=generator)])
        return torch.cat(parts)

    def _rows_of(self, blocks: IntArray) -> IntArray:
        """The rows of the given blocks (increasing numbers), in increasing order."""
        rows = (blocks[:, None] * self._block + np.arange(self._block)).ravel()
        return rows[rows < self._count]

    def _take(self, rows: Tensor) -> Batch:
        wanted = rows.numpy()
        features = np.empty((len(wanted), self._data.feature_dim), dtype=self._data.dtype)
        missing = np.arange(len(wanted))
        for held in reversed(self._held):
            missing = _copy(held, wanted, missing, features)
        while len(missing):
            number = int(self._window_of[wanted[missing[0]] // self._block])
            self._held = [*self._held[-1:], self._load(number)]
            missing = _copy(self._held[-1], wanted, missing, features)
        return self._data.batch(features, self._index[wanted], self._device)

    def _load(self, number: int) -> tuple[IntArray, Array]:
        """The rows of a window, increasing, and their features; begins to read the next window."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == number:
            loaded = ahead[1].result()
        else:
            loaded = self._read(self._windows[number])
        following = number + 1
        if following < len(self._windows):
            future = self._reader.submit(self._read, self._windows[following])
            self._ahead = following, future
        return loaded

    def _read(self, blocks: IntArray) -> tuple[IntArray, Array]:
        rows = self._rows_of(blocks)
        return rows, self._data.unscaled(self._index[rows])

    def _all(self) -> Batch:
        return StoredSamples.of(self._data, self._device)


def _copy(
    held: tuple[IntArray, Array], wanted: IntArray, missing: IntArray, out: Array
) -> IntArray:
    """Copy the features of missing rows from a window to ``out``; returns what remains missing."""
    rows, features = held
    at = np.searchsorted(rows, wanted[missing])
    there = rows[np.minimum(at, len(rows) - 1)] == wanted[missing]
    out[missing[there]] = features[at[there]]
    rest: IntArray = missing[~there]
    return rest


class StoredSamples(Batch):
    """All training samples on disk as one batch: :meth:`blocks` reads them a block at a time."""

    #: position in this batch, which has the order of the file, of each sample of the split, ``[N]``
    order: Tensor
    _data: StoredDataModule
    _index: IntArray
    _device: torch.device

    @classmethod
    def of(cls, data: StoredDataModule, device: torch.device) -> StoredSamples:
        """The training samples of a phase.

        Args:
            data: The phase.
            device: Where blocks are put.
        """
        index = np.sort(data.split.train)
        labels = torch.from_numpy(data.positions(index)).to(device)
        found = cls(torch.empty(0), labels, torch.from_numpy(index).to(device))
        found._data, found._index, found._device = data, index, device
        found.order = torch.from_numpy(np.searchsorted(index, data.split.train)).to(device)
        return found

    @property
    def inputs(self) -> Tensor:
        """All features in memory, for methods that cannot take them in blocks.

        Raises:
            DataError: If they do not fit into the free memory.
        """
        return self.every(1)

    def every(self, stride: int) -> Tensor:
        """Features of the first sample and of each ``stride``-th one after it."""
        return self._data.samples(self._index[::stride], self._device).inputs

    def blocks(self, rows: int) -> Iterator[Batch]:
        """The samples in blocks of at most ``rows``."""
        return iter(StoredBatches(self._data, self._index, self._device, rows))


def sample_blocks(batch: Batch, rows: int) -> Iterator[Batch]:
    """A batch in blocks of at most ``rows`` samples; one on disk is read a block at a time."""
    if isinstance(batch, StoredSamples):
        yield from batch.blocks(rows)
        return
    for start in range(0, len(batch.labels), rows):
        yield Batch(*(part[start : start + rows] for part in batch[:3]))


class StoredBatches:
    """Samples on disk in batches, the next of which is read ahead; can be iterated repeatedly.

    Args:
        data: The phase.
        index: 0-based indices of the samples.
        device: Where batches are put.
        rows: Samples per batch.
    """

    def __init__(
        self, data: StoredDataModule, index: IntArray, device: torch.device, rows: int
    ) -> None:
        self._data, self._index, self._device, self._rows = data, index, device, rows

    def __len__(self) -> int:
        return -(-len(self._index) // self._rows)

    def __iter__(self) -> Iterator[Batch]:
        parts = (
            self._index[start : start + self._rows]
            for start in range(0, len(self._index), self._rows)
        )
        for index, features in read_ahead((part, self._data.unscaled(part)) for part in parts):
            yield self._data.batch(features, index, self._device)


def read_ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items; the next is made in a thread while the present one is used."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(next, iterator, None)
        while (item := future.result()) is not None:
            future = thread.submit(next, iterator, None)
            yield item


class StoredDataModule(FeatureDataModule):
    """Scaled features that are read from disk in blocks; see :class:`FeatureDataModule`."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The type in which the features are stored."""
        return self._source.dtype

    def _statistics(self) -> ColumnStatistics:
        index = np.sort(self.split.train)
        rows = max(1, _PASS_BYTES // 8 // self.feature_dim)
        blocks = read_ahead(indexed_blocks(self._source, index, rows))
        return ColumnStatistics.of_blocks(blocks, self.feature_dim)

    def _fitted(self, normalize: Normalization) -> Scaler:
        if normalize in ("none", "l2"):  # these need no statistics
            dim = self.feature_dim
            return Scaler(normalize, torch.zeros(dim), torch.ones(dim))
        return Scaler.of_statistics(normalize, self.statistics)

    def unscaled(self, index: IntArray) -> Array:
        """Features as they are stored, ``[n, D]``."""
        return self._source.take(index)

    def batch(self, features: Array, index: IntArray, device: torch.device | None) -> Batch:
        """A batch of scaled samples; labels are class positions.

        Args:
            features: The samples' features as they are stored, ``[B, D]``.
            index: 0-based sample indices in the benchmark, ``[B]``.
            device: Where the batch is put; None leaves it on the CPU.
        """
        # torch converts float16 several times faster than NumPy, but takes native byte order only
        native = np.ascontiguousarray(features, dtype=features.dtype.newbyteorder("="))
        if native.dtype.kind == "u" and native.dtype.itemsize > 1:
            native = native.astype(np.float32)
        inputs = self.scaler.apply(torch.from_numpy(native).to(device).float())
        labels = torch.from_numpy(self.positions(index)).to(device)
        return Batch(inputs, labels, torch.from_numpy(index).to(device))

    def samples(self, index: IntArray, device: torch.device | None = None) -> Batch:
        """Scaled samples (0-based indices) in memory.

        Raises:
            DataError: If they do not fit into the free memory.
        """
        size = 4 * len(index) * self.feature_dim
        remedy = (
            "This method, classifier or figure needs all of these samples in memory: choose "
            "another, or a machine with more memory."
        )
        check_size(
            size, size, f"{self._name}: {len(index):,} samples", needed=2 * size, remedy=remedy
        )
        return self.batch(self.unscaled(index), index, device)

    def training_stream(
        self,
        batch_size: BatchSize,
        check_steps: Sequence[int],
        seed: int,
        device: torch.device,
        shard: Shard = WHOLE,
    ) -> PassStream:
        """Shuffled blocks of the training samples."""
        return StoredTrainStream(self, device, batch_size, check_steps, seed, shard)

    def training_batches(self, device: torch.device, shard: Shard = WHOLE) -> Iterable[Batch]:
        """Batches of the training samples; each process reads a contiguous range of them."""
        index = np.array_split(np.sort(self.split.train), shard.count)[shard.number]
        return StoredBatches(self, index, device, evaluation_rows(len(self.classes.ids)))

    def evaluation_batches(self, index: IntArray, device: torch.device) -> Iterable[Batch]:
        """Batches of the samples, each read when it is due."""
        return StoredBatches(self, index, device, evaluation_rows(len(self.classes.ids)))
