"""Batches of feature vectors, cut from tensors on the training device."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
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
from zsl_lab.data.benchmark import FeatureBenchmark, IntArray
from zsl_lab.data.checks.equal_rows import twins
from zsl_lab.data.checks.statistics import ColumnStatistics
from zsl_lab.data.normalization import Normalization
from zsl_lab.data.scaling import Scaler
from zsl_lab.data.splits import Split


class TrainStream:
    """Shuffled passes over the training samples, cut in epochs that end where a check is due.

    A pass is a permutation; a batch may span two passes, so that every batch has its full size and
    every sample is drawn equally often. The state is that of a generator, a position and a step,
    and is restored exactly.

    Args:
        samples: The training samples.
        batch_size: Batch size at a step.
        check_steps: Increasing steps at which an epoch ends; the last ends the training.
        seed: Seed of the permutations.
        shard: This process of those that train together; all draw the same sequence, and each
            takes its own batches of it.
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
        self._shard = shard
        self._batch_size = batch_size
        self._check_steps = list(check_steps)
        self._generator = torch.Generator().manual_seed(seed)
        self.step = 0
        self._begin_pass()
        self._one_before = self._state()

    def _begin_pass(self) -> None:
        self._pass_state = self._generator.get_state()
        order = torch.randperm(len(self._samples.labels), generator=self._generator)
        self._order = order.to(self._samples.labels.device)
        self._position = 0

    def _draw(self, wanted: int) -> Tensor:
        parts = []
        while wanted:
            if self._position == len(self._order):
                self._begin_pass()
            part = self._order[self._position : self._position + wanted]
            self._position += len(part)
            wanted -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches up to the next check; none after the last."""
        end = next((step for step in self._check_steps if step > self.step), self.step)
        while self.step < end:
            wanted = self._batch_size(self.step)
            self._one_before = self._state()
            self.step += 1
            if wanted is None:
                yield self._samples
            else:
                rows = self._draw(wanted * self._shard.count)
                yield _rows_of(
                    self._samples,
                    rows[wanted * self._shard.number : wanted * (self._shard.number + 1)],
                )

    def _state(self) -> dict[str, Any]:
        return {"step": self.step, "position": self._position, "pass_state": self._pass_state}

    def state_after(self, step: int) -> dict[str, Any]:
        """The position after ``step`` batches: the present one or the one before."""
        state = self._state() if step == self.step else self._one_before
        assert state["step"] == step
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a position from :meth:`state_after`.

        Raises:
            ValueError: The position lies outside a pass over these samples.
        """
        position = state["position"]
        if type(position) is not int or not 0 <= position <= len(self._order):
            raise ValueError(
                f"the position in the training samples is {position!r:.60}; expected 0 to "
                f"{len(self._order)}"
            )
        self._generator.set_state(state["pass_state"])
        self._begin_pass()
        self.step, self._position = state["step"], position


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
    """Scaled features as tensors on the training device; a batch is an index into them.

    Args:
        benchmark: The benchmark.
        split: Which samples train and which are evaluated.
        normalize: How features are scaled; fitted on ``split.train``.
        normalize_semantics: How class semantics are scaled; fitted on the seen classes of the
            split.
    """

    def __init__(
        self,
        benchmark: FeatureBenchmark,
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
        self._features = benchmark.features
        self._semantics, self._semantics_scaler = semantics, semantics_scaler
        self._recipe = benchmark.recipe
        _warn_of_twins(benchmark, semantics_scaler)
        self.scaler = Scaler.fit(normalize, benchmark.features[split.train])
        self._training: Batch | None = None

    @property
    def feature_dim(self) -> int:
        """D."""
        return int(self._features.shape[1])

    @cached_property
    def statistics(self) -> ColumnStatistics:
        """Statistics of the unscaled features of the training samples."""
        return ColumnStatistics.of(self._features, self.split.train)

    def samples(self, index: IntArray, device: torch.device | None = None) -> Batch:
        """Scaled samples (0-based indices), with class positions as labels."""
        features = self.scaler.apply(torch.from_numpy(self._features[index]).to(device))
        labels = torch.from_numpy(self.positions(index)).to(device)
        return Batch(features, labels, torch.from_numpy(index).to(device))

    def training_stream(
        self,
        batch_size: BatchSize,
        check_steps: Sequence[int],
        seed: int,
        device: torch.device,
        shard: Shard = WHOLE,
    ) -> TrainStream:
        """Shuffled passes over the training samples."""
        self._training = self.samples(self.split.train, device)
        return TrainStream(self._training, batch_size, check_steps, seed, shard)

    def training_batches(self, device: torch.device, shard: Shard = WHOLE) -> _Batches:
        """Slices of the samples that training holds on the device already."""
        samples = self._training
        if samples is None or samples.labels.device != device:
            samples = self.samples(self.split.train, device)
        own = Batch(*(part[shard.number :: shard.count] for part in samples[:3]))
        return _Batches(own, evaluation_rows(len(self.classes.ids)))

    def evaluation_batches(self, index: IntArray, device: torch.device) -> _Batches:
        """Slices of the samples, on the device."""
        return _Batches(self.samples(index, device), evaluation_rows(len(self.classes.ids)))

    def state_dict(self) -> dict[str, Any]:
        """The base class's state, the scalers, and statistics of the training samples.

        Prediction scales new data with the first and compares them with the second. On loading,
        the scalers are fitted again, on the same samples.
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


def _warn_of_twins(benchmark: FeatureBenchmark, scaler: Scaler) -> None:
    """Warn of classes with equal semantics, among all classes so that each phase warns alike."""
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


@cache  # once a run: imports between its phases reset Python's own record of warnings
def _warn_once(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=1)
