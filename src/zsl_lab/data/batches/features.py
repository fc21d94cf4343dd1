"""Batches for training and evaluation: what every phase of a benchmark has, and features cut from tensors on the training device."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import Tensor

from zsl_lab.data.benchmark import Benchmark, FeatureBenchmark, FloatArray, IntArray
from zsl_lab.data.scaling import Normalization, Scaler, twins
from zsl_lab.data.splits import Split

#: rows scored at once in evaluation: enough to keep a processor busy, little beside the features
#: themselves
EVALUATION_BATCH = 4096


#: how many samples the batch has that follows a number of steps; None for all of them, in their
#: order
BatchSize = Callable[[int], int | None]


class Batch(NamedTuple):
    """Samples and what is known of them.

    Attributes:
        inputs: Scaled features, ``[B, D]``; of an image benchmark pictures, uint8 ``[B, channels,
            height, width]``.
        labels: Class positions in the phase's :class:`ClassSpace`, ``[B]``.
        rows: 0-based index of each sample in the benchmark, ``[B]``.
        classes: Positions of the classes that the batch was drawn from, ``[k]``, in no order; None
            for all that train.
    """

    inputs: Tensor
    labels: Tensor
    rows: Tensor
    classes: Tensor | None = None


@dataclass(frozen=True, eq=False)
class ClassSpace:
    """The classes of one phase. Their positions run from 0 to C-1; a phase need not hold every class of the benchmark.

    Attributes:
        ids: Class id in the benchmark of each position, ``[C]``.
        semantics: Scaled class semantics, float32 ``[C, Q]``; Q is 0 where texts describe the
            classes.
        seen_mask: Whether each class is seen, bool ``[C]``.
        names: The classes' names.
        descriptions: The classes' texts, C of them; empty where vectors describe the classes.
    """

    ids: IntArray
    semantics: FloatArray
    seen_mask: npt.NDArray[np.bool_]
    names: tuple[str, ...]
    descriptions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shard:
    """One process of those that share the work.

    Attributes:
        number: Which one, from 0.
        count: How many there are.
    """

    number: int
    count: int


#: a process that shares with none
WHOLE = Shard(0, 1)


class TrainStream:
    """Shuffled passes over the training samples, cut in epochs that end where a check is due.

    A pass is a permutation; a batch may straddle two passes, so that every batch has its size and
    every sample is drawn equally often. All state is a generator's, a position and a step:
    :meth:`state_after` resumes exactly.

    Args:
        samples: The training samples.
        batch_size: Samples of the batch that follows the given number of steps.
        check_steps: Increasing steps at which an epoch ends; the last ends the training.
        seed: Seed of the permutations.
        shard: Which process this is of those that train together; all draw one sequence, of which
            each takes its own batch.
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
        """Where the stream stands after so many batches: now, or one batch ago."""
        state = self._state() if step == self.step else self._one_before
        assert state["step"] == step
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Go where :meth:`state_after` stood."""
        self._generator.set_state(state["pass_state"])
        self._begin_pass()
        self.step, self._position = state["step"], state["position"]


def _rows_of(samples: Batch, rows: Tensor) -> Batch:
    return Batch(*(part.index_select(0, rows) for part in samples[:3]))


class _Batches:
    """Evaluation samples in slices; an iterable of known length, as Lightning's loops expect."""

    def __init__(self, samples: Batch) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return -(-len(self._samples.labels) // EVALUATION_BATCH)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self._samples.labels), EVALUATION_BATCH):
            yield Batch(*(part[start : start + EVALUATION_BATCH] for part in self._samples[:3]))


class Stream(Protocol):
    """Training batches, cut in epochs that end where a check is due.

    Attributes:
        step: How many batches were given.
    """

    step: int

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches up to the next check; none after the last."""

    def state_after(self, step: int) -> dict[str, Any]:
        """Where the stream stands after so many batches, for a checkpoint: plain containers and tensors.

        ``step`` is the number of batches given, or one less: Lightning draws a batch ahead.
        """

    def load_state(self, state: dict[str, Any]) -> None:
        """Go where :meth:`state_after` stood."""


class PhaseDataModule(pl.LightningDataModule):
    """A phase of a benchmark: its classes, and batches of its samples on the training device.

    Only the rows of the split are taken from the benchmark: a validation phase holds no test sample
    at all.

    Args:
        benchmark: The benchmark.
        split: Which samples train and which are evaluated.
        classes: The phase's classes.
    """

    #: a process may have no sample to evaluate where there are very few
    allow_zero_length_dataloader_with_multiple_devices = True

    def __init__(self, benchmark: Benchmark, split: Split, classes: ClassSpace) -> None:
        super().__init__()
        self._name = benchmark.name
        self._labels = benchmark.labels
        self.split = split
        self.classes = classes
        self._evaluation: Iterable[Batch] | None = None
        self._stream: Stream | None = None
        self._stream_state: dict[str, Any] | None = None

    @abstractmethod
    def samples(self, index: IntArray, device: torch.device | None = None) -> Batch:
        """The given samples (0-based in the benchmark) as evaluation sees them, with class positions as labels."""

    @abstractmethod
    def training_stream(
        self,
        batch_size: BatchSize,
        check_steps: Sequence[int],
        seed: int,
        device: torch.device,
        shard: Shard = WHOLE,
    ) -> Stream:
        """The training batches of one process, from step 0 on (see :meth:`plan_training`)."""

    @abstractmethod
    def evaluation_batches(self, index: IntArray, device: torch.device) -> Iterable[Batch]:
        """The given samples in slices, as often as they are asked for; their number is known."""

    @property
    def evaluation_index(self) -> IntArray:
        """The samples that are evaluated, seen ones first."""
        return np.concatenate([self.split.eval_seen, self.split.eval_unseen])

    @property
    def last_step(self) -> int:
        """The step that ends the training."""
        return self._plan[1][-1]

    def plan_training(
        self, batch_size: BatchSize, check_steps: Sequence[int], seed: int, first_step: int = 0
    ) -> None:
        """Say how training batches are drawn; needed before a fit.

        Args:
            batch_size: Samples of the batch that follows the given number of steps.
            check_steps: Increasing steps at which an evaluation is due; the last one ends the
                training.
            seed: Seed of the order of samples.
            first_step: Steps that count as taken already.
        """
        self._plan = (batch_size, list(check_steps), seed, first_step)

    def labels(self, index: IntArray) -> IntArray:
        """Benchmark class ids of the given samples."""
        return self._labels[index]

    def positions(self, index: IntArray) -> IntArray:
        """Class positions of the given samples."""
        return np.searchsorted(self.classes.ids, self._labels[index])

    def setup(self, stage: str) -> None:
        """Put what the stage needs on the training device; of several processes each evaluates its own share of the samples."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        shard = Shard(self.trainer.global_rank, self.trainer.world_size) if self.trainer else WHOLE
        if stage == "fit":
            batch_size, check_steps, seed, first_step = self._plan
            self._stream = self.training_stream(batch_size, check_steps, seed, device, shard)
            self._stream.step = first_step
        self._evaluation = self.evaluation_batches(
            self.evaluation_index[shard.number :: shard.count], device
        )

    def train_dataloader(self) -> Stream:
        """Training batches."""
        assert self._stream is not None
        if self._stream_state is not None:
            self._stream.load_state(self._stream_state)
            self._stream_state = None
        return self._stream

    def val_dataloader(self) -> Iterable[Batch]:
        """Evaluation samples, seen and unseen."""
        assert self._evaluation is not None
        return self._evaluation

    def test_dataloader(self) -> Iterable[Batch]:
        """Evaluation samples, seen and unseen."""
        return self.val_dataloader()

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Nothing to do: batches are on the device already."""
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The classes, and where the training stream stands after the steps that the method has taken, which counts them in ``step``.

        Whoever predicts with the checkpoint reads the benchmark's name and its classes; on loading
        they are those at hand.
        """
        classes = {
            "names": list(self.classes.names),
            "ids": torch.from_numpy(self.classes.ids),
            "seen": torch.from_numpy(self.classes.seen_mask),
            "descriptions": list(self.classes.descriptions),
        }
        stream = None
        if self._stream is not None:
            assert self.trainer is not None
            stream = self._stream.state_after(int(self.trainer.lightning_module.step))  # type: ignore[arg-type]
        return {"benchmark": self._name, "classes": classes, "stream": stream}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back the stream's place."""
        self._stream_state = state_dict["stream"]


class FeatureDataModule(PhaseDataModule):
    """Features as scaled tensors that lie on the training device; a batch is an index into them.

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
            names=tuple(benchmark.class_names[i] for i in ids),
        )
        super().__init__(benchmark, split, classes)
        self._features = benchmark.features
        self._semantics, self._semantics_scaler = semantics, semantics_scaler
        self._recipe = benchmark.recipe
        _warn_of_twins(benchmark, semantics_scaler)
        self.scaler = Scaler.fit(normalize, benchmark.features[split.train])

    @property
    def feature_dim(self) -> int:
        """D."""
        return int(self._features.shape[1])

    def samples(self, index: IntArray, device: torch.device | None = None) -> Batch:
        """The given samples (0-based in the benchmark), scaled, with class positions as labels."""
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
        return TrainStream(
            self.samples(self.split.train, device), batch_size, check_steps, seed, shard
        )

    def evaluation_batches(self, index: IntArray, device: torch.device) -> _Batches:
        """Slices of the samples, which lie on the device."""
        return _Batches(self.samples(index, device))

    def state_dict(self) -> dict[str, Any]:
        """How features and semantics of others become like these, too; on loading, the scalers are fitted anew, on the same samples."""
        state = super().state_dict()
        state["classes"] |= {
            "semantics": self._semantics,
            "semantics_scaler": self._semantics_scaler.state(),
        }
        return {
            **state,
            "scaler": self.scaler.state(),
            "feature_dim": self.feature_dim,
            "recipe": self._recipe.model_dump(),
        }


def _warn_of_twins(benchmark: FeatureBenchmark, scaler: Scaler) -> None:
    """Say which classes nothing tells apart: of all classes whatever the phase, so that every phase would say the same."""
    ids = np.union1d(benchmark.seen_classes, benchmark.unseen_classes)
    table = torch.from_numpy(benchmark.semantics[ids])
    pair = twins(scaler.apply(table).numpy())
    if pair is None:
        return
    first, second = (f"'{benchmark.class_names[ids[position]]}'" for position in pair)
    if twins(table.numpy()[list(pair)]) is not None:
        way_out = "Give one of them other semantics (dataset.semantics chooses among those there are), or make one class of the two."
    else:
        way_out = "Choose another scaling, such as dataset.normalize_semantics=standard, or give them semantics that it does not make equal."
    _warn_once(
        f"{benchmark.name}: found the same semantics for the classes {first} and {second}, scaled "
        f"with dataset.normalize_semantics={scaler.kind}. Such classes cannot be told apart. "
        f"{way_out}"
    )


@cache  # a run has several phases, and what they import makes Python forget what it has warned of
def _warn_once(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=1)
