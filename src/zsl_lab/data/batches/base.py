"""The base class of the data modules of a phase, and the types of their batches and classes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import Tensor

from zsl_lab.data.batches.groups import StepGroups
from zsl_lab.data.benchmark import Benchmark, FloatArray, IntArray
from zsl_lab.data.splits import Split

#: samples per batch in evaluation
EVALUATION_BATCH = 4096
#: maximum number of scores (samples times classes) of an evaluation batch: several tables of this
#: size are in memory at once
_MOST_SCORES = 2**23

#: batch size at a step (numbered from 0); None for all samples, in their order
BatchSize = Callable[[int], int | None]


def evaluation_rows(classes: int) -> int:
    """Samples per batch in evaluation, fewer with many classes so that memory is bounded."""
    return min(EVALUATION_BATCH, max(1, _MOST_SCORES // classes))


class Batch(NamedTuple):
    """Samples with their labels.

    Attributes:
        inputs: Scaled features, ``[B, D]``, or images, uint8 ``[B, channels, height, width]``.
        labels: Class positions in the phase's :class:`ClassSpace`, ``[B]``.
        rows: 0-based index of each sample in the benchmark, ``[B]``.
        classes: Positions of the classes that the batch was drawn from, ``[k]``, in no
            particular order; None for all seen classes.
    """

    inputs: Tensor
    labels: Tensor
    rows: Tensor
    classes: Tensor | None = None


@dataclass(frozen=True, eq=False)
class ClassSpace:
    """The classes of one phase, at positions 0 to C-1.

    A phase may have fewer classes than the benchmark.

    Attributes:
        ids: Class id in the benchmark of each position, ``[C]``.
        semantics: Scaled class semantics, float32 ``[C, Q]``; Q is 0 where classes have
            descriptions instead.
        seen_mask: Whether each class is seen, bool ``[C]``.
        names: The classes' names.
        descriptions: The C descriptions; empty where classes have semantics instead.
        tested_mask: Whether the phase evaluates samples of each class, bool ``[C]``; None for all.
    """

    ids: IntArray
    semantics: FloatArray
    seen_mask: npt.NDArray[np.bool_]
    names: tuple[str, ...]
    descriptions: tuple[str, ...] = ()
    tested_mask: npt.NDArray[np.bool_] | None = None


def tested_mask(ids: IntArray, benchmark: Benchmark, split: Split) -> npt.NDArray[np.bool_]:
    """Whether a phase evaluates samples of each class.

    Args:
        ids: Class ids of the phase, ``[C]``.
        benchmark: The benchmark.
        split: The phase's samples.
    """
    return np.isin(ids, benchmark.labels[np.concatenate([split.eval_seen, split.eval_unseen])])


@dataclass(frozen=True)
class Shard:
    """A process's place among the processes that divide the samples between them.

    Attributes:
        number: Rank of the process, from 0.
        count: Number of processes.
    """

    number: int
    count: int


#: a single process, which takes all samples
WHOLE = Shard(0, 1)


class Stream(Protocol):
    """Training batches, divided into epochs that each end at a check, when an evaluation is due.

    Attributes:
        step: Number of batches given so far.
    """

    step: int

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches up to the next check; none after the last."""

    def state_after(self, step: int) -> dict[str, Any]:
        """The stream's position after ``step`` batches, for a checkpoint.

        The result holds plain containers and tensors only.

        Args:
            step: The number of batches given, or one less where a batch was drawn ahead.
        """

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a position from :meth:`state_after`."""


class PhaseDataModule(pl.LightningDataModule):
    """A phase of a benchmark: its classes, and batches of its samples on the training device.

    Only the rows of the split are taken from the benchmark: a validation phase holds no test sample
    at all.

    Args:
        benchmark: The benchmark.
        split: Which samples train and which are evaluated.
        classes: The phase's classes.
    """

    #: with very few samples a process may have none to evaluate
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
        """A batch of samples, prepared as for evaluation; labels are class positions.

        Args:
            index: 0-based sample indices in the benchmark, ``[B]``.
            device: Where the batch is put; None leaves it on the CPU.
        """

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
        """The given samples in batches: an iterable with a length, which can be repeated."""

    def training_batches(self, device: torch.device, shard: Shard = WHOLE) -> Iterable[Batch]:
        """The training samples in batches, prepared as for evaluation, each sample once.

        Args:
            device: Where the batches are put.
            shard: This process's place among all; it takes only its share of the samples.
        """
        return self.evaluation_batches(self.split.train[shard.number :: shard.count], device)

    @property
    def evaluation_index(self) -> IntArray:
        """0-based indices of the evaluated samples, those of seen classes first."""
        return np.concatenate([self.split.eval_seen, self.split.eval_unseen])

    @property
    def last_step(self) -> int:
        """The step that ends the training."""
        return self._plan[1][-1]

    def plan_training(
        self,
        batch_size: BatchSize,
        check_steps: Sequence[int],
        seed: int,
        first_step: int = 0,
        pause_every: int | None = None,
        stopped: Callable[[], bool] = lambda: False,
        runs: int = 1,
    ) -> None:
        """Set how training batches are drawn; required before a fit.

        Args:
            batch_size: Batch size at a step.
            check_steps: Increasing steps at which an evaluation is due; the last one ends the
                training.
            seed: Seed of the order of samples.
            first_step: Number of steps taken before.
            pause_every: Callbacks are called at least after every multiple of this number of steps;
                None for no such steps.
            stopped: Returns whether training is to end after the present step.
            runs: How many runs take turns in this process.
        """
        self._plan = (batch_size, list(check_steps), seed, first_step)
        self._pauses = (pause_every, stopped)
        self._runs = runs

    def labels(self, index: IntArray) -> IntArray:
        """Benchmark class ids of the given samples."""
        return self._labels[index]

    def positions(self, index: IntArray) -> IntArray:
        """Class positions of the given samples."""
        return np.searchsorted(self.classes.ids, self._labels[index])

    def setup(self, stage: str) -> None:
        """Put the stage's samples on the training device.

        Each of several processes evaluates its own share of the samples.
        """
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        shard = Shard(self.trainer.global_rank, self.trainer.world_size) if self.trainer else WHOLE
        if stage == "fit":
            batch_size, check_steps, seed, first_step = self._plan
            self._stream = self.training_stream(batch_size, check_steps, seed, device, shard)
            self._stream.step = first_step
        self._evaluation = self.evaluation_batches(
            self.evaluation_index[shard.number :: shard.count], device
        )

    def train_dataloader(self) -> StepGroups[Batch]:
        """The training batches up to the next check, in groups."""
        assert self._stream is not None
        if self._stream_state is not None:
            self._stream.load_state(self._stream_state)
            self._stream_state = None
        alone = self.trainer is None or self.trainer.world_size == 1
        return StepGroups(self._stream, self._plan[1], *self._pauses, alone=alone, runs=self._runs)

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
        """The benchmark's name, the classes, and the training stream's position.

        The position is the one after as many steps as the method's ``step`` says. Prediction reads
        the name and the classes; :meth:`load_state_dict` ignores them.
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
            step: Any = self.trainer.lightning_module.step
            stream = self._stream.state_after(int(step))
        return {"benchmark": self._name, "classes": classes, "stream": stream}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the training stream's position."""
        self._stream_state = state_dict["stream"]
