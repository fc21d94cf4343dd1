"""Batches of feature vectors, cut from tensors on the training device."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zsl_lab.data.batches.base import (
    EVALUATION_BATCH,
    WHOLE,
    Batch,
    BatchSize,
    ClassSpace,
    PhaseDataModule,
    Shard,
    evaluation_rows,
    tested_mask,
)
from zsl_lab.data.batches.kept import kept
from zsl_lab.data.batches.passes import PassStream
from zsl_lab.data.benchmark import FloatArray, IntArray, VectorBenchmark
from zsl_lab.data.checks.equal_rows import twins
from zsl_lab.data.checks.statistics import ColumnStatistics
from zsl_lab.data.normalization import Normalization
from zsl_lab.data.scaling import Scaler
from zsl_lab.data.splits import Split
from zsl_lab.data.storage.arrays import float32
from zsl_lab.data.storage.source import indexed_blocks


class TrainStream(PassStream):
    """Shuffled passes over training samples on the training device.

    Args:
        samples: The training samples.
        batch_size: Batch size at a step.
        check_steps: Increasing steps at which an epoch ends; the last ends the training.
        seed: Seed of the permutations.
        shard: This process's place among those that train together.
    """

    def __init__(
        self,
        samples: Batch,
        batch_size: BatchSize,
        check_steps: Sequence[int],
        seed: int,
        shard: Shard = WHOLE,
    ) -> None:
        self._samples = samples
        super().__init__(len(samples.labels), batch_size, check_steps, seed, shard)

    def _permutation(self, generator: torch.Generator) -> Tensor:
        order = torch.randperm(self._count, generator=generator)
        return order.to(self._samples.labels.device)

    def _take(self, rows: Tensor) -> Batch:
        return _rows_of(self._samples, rows)

    def _all(self) -> Batch:
        return self._samples


def _rows_of(samples: Batch, rows: Tensor) -> Batch:
    return Batch(*(part.index_select(0, rows) for part in samples[:3]))


class _Batches:
    """Evaluation samples in slices; an iterable of known length, as Lightning's loops expect."""

    def __init__(self, samples: Batch, size: int = EVALUATION_BATCH) -> None:
        self._samples, self._size = samples, size

    def __len__(self) -> int:
        return -(-len(self._samples.labels) // self._size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self._samples.labels), self._size):
            yield Batch(*(part[start : start + self._size] for part in self._samples[:3]))


class FeatureDataModule(PhaseDataModule):
    """Scaled features as tensors on the training device, from which batches are taken by index.

    Args:
        benchmark: The benchmark.
        split: Which samples train and which are evaluated.
        normalize: How features are scaled; fitted on ``split.train``.
        normalize_semantics: How class semantics are scaled; fitted on the seen classes of the
            split.
    """

    def __init__(
        self,
        benchmark: VectorBenchmark,
        split: Split,
        normalize: Normalization,
        normalize_semantics: Normalization,
    ) -> None:
        semantics_scaler = Scaler.fit(normalize_semantics, benchmark.semantics[split.seen_classes])
        ids = np.union1d(split.seen_classes, split.unseen_classes)
        semantics = torch.from_numpy(benchmark.semantics[ids])
        classes = ClassSpace(
            ids=ids,
            semantics=semantics_scaler.apply(semantics).numpy(),
            seen_mask=np.isin(ids, split.seen_classes),
            tested_mask=tested_mask(ids, benchmark, split),
            names=tuple(benchmark.class_names[i] for i in ids),
        )
        super().__init__(benchmark, split, classes)
        self._source = benchmark.source
        self._semantics, self._semantics_scaler = semantics, semantics_scaler
        self._recipe = benchmark.recipe
        _warn_of_twins(benchmark, semantics_scaler)
        self._owner = self._source if self._source.constant else self
        self.scaler = kept(
            self._owner, split.train, ("scaler", normalize), lambda: self._fitted(normalize)
        )
        self._training: Batch | None = None

    @property
    def feature_dim(self) -> int:
        """D, the dimension of the features."""
        return self._source.shape[1]

    def _fitted(self, normalize: Normalization) -> Scaler:
        """The scaler of the features, fitted on the training samples."""
        return Scaler.fit(normalize, self._rows(self.split.train))

    def _rows(self, index: IntArray) -> FloatArray:
        """Unscaled features of samples, ``[n, D]``."""
        return float32(self._source.take(index))

    @property
    def statistics(self) -> ColumnStatistics:
        """Statistics of the unscaled features of the training samples."""
        return kept(self._owner, self.split.train, "statistics", self._statistics)

    def _statistics(self) -> ColumnStatistics:
        blocks = indexed_blocks(self._source, self.split.train)
        return ColumnStatistics.of_blocks(blocks, self.feature_dim)

    def samples(self, index: IntArray, device: torch.device | None = None) -> Batch:
        """Scaled samples (0-based indices), with class positions as labels."""
        features = self.scaler.apply(torch.from_numpy(self._rows(index)).to(device))
        labels = torch.from_numpy(self.positions(index)).to(device)
        return Batch(features, labels, torch.from_numpy(index).to(device))

    def training_stream(
        self,
        batch_size: BatchSize,
        check_steps: Sequence[int],
        seed: int,
        device: torch.device,
        shard: Shard = WHOLE,
    ) -> PassStream:
        """Shuffled passes over the training samples."""
        self._training = self.samples(self.split.train, device)
        return TrainStream(self._training, batch_size, check_steps, seed, shard)

    def training_batches(self, device: torch.device, shard: Shard = WHOLE) -> Iterable[Batch]:
        """Batches of the training samples; those that training put on the device are reused."""
        samples = self._training
        if samples is None or samples.labels.device != device:
            samples = self.samples(self.split.train, device)
        own = Batch(*(part[shard.number :: shard.count] for part in samples[:3]))
        return _Batches(own, evaluation_rows(len(self.classes.ids)))

    def evaluation_batches(self, index: IntArray, device: torch.device) -> Iterable[Batch]:
        """Slices of the samples, on the device."""
        return _Batches(self.samples(index, device), evaluation_rows(len(self.classes.ids)))

    def state_dict(self) -> dict[str, Any]:
        """The base class's state, the scalers, and statistics of the training samples.

        Prediction scales new data with the scalers and compares them with the statistics. Loading
        ignores both: the scalers are fitted again, on the same samples.
        """
        state = super().state_dict()
        state["classes"] |= {
            "semantics": self._semantics,
            "semantics_scaler": self._semantics_scaler.state(),
        }
        return {
            **state,
            "scaler": self.scaler.state(),
            "feature_dim": self.feature_dim,
            "feature_statistics": self.statistics.state(),
            "recipe": self._recipe.model_dump(),
        }


def _warn_of_twins(benchmark: VectorBenchmark, scaler: Scaler) -> None:
    """Warn of equal semantics among all classes of the benchmark, so that all phases warn alike."""
    ids = np.union1d(benchmark.seen_classes, benchmark.unseen_classes)
    table = torch.from_numpy(benchmark.semantics[ids])
    pair = twins(scaler.apply(table).numpy())
    if pair is None:
        return
    first, second = (f"'{benchmark.class_names[ids[position]]}'" for position in pair)
    if twins(table.numpy()[list(pair)]) is not None:
        way_out = (
            "Give one of them other semantics (dataset.semantics chooses among the available "
            "ones), or merge the two classes."
        )
    else:
        way_out = (
            "Choose another scaling, such as dataset.normalize_semantics=standard, or semantics "
            "that it does not make equal."
        )
    _warn_once(
        f"{benchmark.name}: found the same semantics for the classes {first} and {second}, scaled "
        f"with dataset.normalize_semantics={scaler.kind}. Such classes cannot be told apart. "
        f"{way_out}"
    )


@cache  # warn once per run: imports between its phases reset Python's own record of warnings
def _warn_once(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=1)
