"""Batches of images: training tasks, and evaluation in slices; images are read when needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from zsl_lab.data.batches.base import (
    WHOLE,
    Batch,
    BatchSize,
    ClassSpace,
    PhaseDataModule,
    Shard,
    tested_mask,
)
from zsl_lab.data.benchmark import ImageArray, ImageBenchmark, IntArray
from zsl_lab.data.splits import Split

#: images per batch in evaluation: enough to keep the device busy, while the activations fit into
#: memory
EVALUATION_BATCH = 128


class ImageDataModule(PhaseDataModule):
    """Images of one phase, cropped to the size of the network's input; a training batch is a task.

    A task has k classes, drawn without replacement from the seen classes, and samples of these. For
    each sample first its class is drawn, then an image of that class, so that all classes occur
    equally often.

    Args:
        benchmark: The benchmark; its images are at least ``image_size`` wide and high.
        split: Which samples train and which are evaluated.
        image_size: Side, in pixels, of the square that is cut from an image: anywhere in training,
            from the centre in evaluation.
        flip: Whether training mirrors half of the images left to right.
    """

    def __init__(
        self, benchmark: ImageBenchmark, split: Split, image_size: int, flip: bool
    ) -> None:
        assert min(benchmark.images.shape[1:3]) >= image_size
        ids = np.union1d(split.seen_classes, split.unseen_classes)
        classes = ClassSpace(
            ids=ids,
            semantics=np.zeros((len(ids), 0), dtype=np.float32),
            seen_mask=np.isin(ids, split.seen_classes),
            tested_mask=tested_mask(ids, benchmark, split),
            names=tuple(benchmark.class_names[i] for i in ids),
            descriptions=tuple(benchmark.descriptions[i] for i in ids),
        )
        super().__init__(benchmark, split, classes)
        # a plain array: slicing numpy's memmap class costs more than reading the pixels
        self._images: ImageArray = np.asarray(benchmark.images)
        self.image_size = image_size
        self.flip = flip
        self._task_classes: int | None = None
        positions = self.positions(split.train)
        # the training samples of class position c are the _counts[c] entries of _by_class from
        # _starts[c] on
        self._by_class = split.train[np.argsort(positions, kind="stable")]
        self._counts = np.bincount(positions, minlength=len(ids))
        self._starts = np.cumsum(self._counts) - self._counts

    @property
    def channels(self) -> int:
        """Number of colour channels: 1 or 3."""
        return int(self._images.shape[3])

    def draw_tasks(self, k: int | None) -> None:
        """Set the number of classes of a training batch; call it before a fit.

        Args:
            k: Number of classes; None, or more than there are seen classes, takes all of them.
        """
        self._task_classes = k

    def samples(self, index: IntArray, device: torch.device | None = None) -> Batch:
        """Samples (0-based indices) cropped at the centre, with class positions as labels."""
        middle = np.array(self._images.shape[1:3]) - self.image_size
        corners = np.broadcast_to(middle // 2, (len(index), 2))
        inputs = crop(
            self._images, index, corners, np.zeros(len(index), dtype=bool), self.image_size
        )
        parts = (inputs, torch.from_numpy(self.positions(index)), torch.from_numpy(index))
        return Batch(*(_on(device, part) for part in parts))

    def training_stream(
        self,
        batch_size: BatchSize,
        check_steps: Sequence[int],
        seed: int,
        device: torch.device,
        shard: Shard = WHOLE,
    ) -> TaskStream:
        """Tasks of the number of classes that :meth:`draw_tasks` set."""
        return TaskStream(self, self._task_classes, batch_size, check_steps, seed, device, shard)

    def evaluation_batches(self, index: IntArray, device: torch.device) -> ImageBatches:
        """Batches of the samples, each read when it is needed."""
        return ImageBatches(self, index, device)

    def draw(self, k: int | None, count: int, seed: Sequence[int], device: torch.device) -> Batch:
        """Draw a task.

        Args:
            k: Number of its classes; None, or more than there are seen classes, takes all of them.
            count: Number of its samples.
            seed: Seed of all that is drawn.
            device: Where the batch is put.
        """
        rng = np.random.default_rng(seed)
        seen = np.flatnonzero(self.classes.seen_mask)
        chosen = (
            seen if k is None or k >= len(seen) else np.sort(rng.choice(seen, k, replace=False))
        )
        labels = rng.choice(chosen, count)
        rows = self._by_class[self._starts[labels] + rng.integers(self._counts[labels])]
        corners = rng.integers(
            0, np.array(self._images.shape[1:3]) - self.image_size + 1, (count, 2)
        )
        flips = rng.random(count) < (0.5 if self.flip else 0)
        inputs = crop(self._images, rows, corners, flips, self.image_size)
        parts = (inputs, *(torch.from_numpy(part) for part in (labels, rows, chosen)))
        return Batch(*(_on(device, part) for part in parts))


class TaskStream:
    """Training tasks, divided into epochs that each end at a check, when an evaluation is due.

    The task of a step depends on the seed, the step and the process alone.

    Args:
        data: Draws a task.
        k: Number of classes of a task; None for all seen classes.
        batch_size: Number of samples of the task at a step.
        check_steps: Increasing steps at which an epoch ends; the last ends the training.
        seed: Seed of the tasks.
        device: Where the batches are put.
        shard: This process's place among those that train together; each draws different tasks.
    """

    def __init__(
        self,
        data: ImageDataModule,
        k: int | None,
        batch_size: BatchSize,
        check_steps: Sequence[int],
        seed: int,
        device: torch.device,
        shard: Shard = WHOLE,
    ) -> None:
        self._data = data
        self._k = k
        self._batch_size = batch_size
        self._check_steps = list(check_steps)
        self._seed = seed
        self._device = device
        # empty for rank 0, so that it draws the tasks of a single process
        self._own = [shard.number] if shard.number else []
        self.step = 0

    def __iter__(self) -> Iterator[Batch]:
        """Yield the tasks up to the next check; none after the last."""
        end = next((step for step in self._check_steps if step > self.step), self.step)
        while self.step < end:
            count = self._batch_size(self.step)
            assert count is not None, "a batch of all images would not fit into memory"
            step, self.step = self.step, self.step + 1
            yield self._data.draw(self._k, count, [self._seed, step, *self._own], self._device)

    def state_after(self, step: int) -> dict[str, Any]:
        """The position after ``step`` batches, for a checkpoint."""
        return {"step": step}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a position from :meth:`state_after`."""
        self.step = state["step"]


class ImageBatches:
    """Evaluation samples in slices; an iterable of known length, as Lightning's loops expect.

    Args:
        data: Reads the samples.
        index: 0-based sample indices in the benchmark.
        device: Where the batches are put.
    """

    def __init__(self, data: ImageDataModule, index: IntArray, device: torch.device) -> None:
        self._data = data
        self._index = index
        self._device = device

    def __len__(self) -> int:
        return -(-len(self._index) // EVALUATION_BATCH)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self._index), EVALUATION_BATCH):
            yield self._data.samples(self._index[start : start + EVALUATION_BATCH], self._device)


def crop(
    images: ImageArray, rows: IntArray, corners: IntArray, flips: npt.NDArray[np.bool_], size: int
) -> Tensor:
    """Cut squares from images.

    Args:
        images: uint8 ``[N, height, width, channels]``.
        rows: Indices of the images, ``[B]``.
        corners: Upper left corner of each square, ``[B, 2]``: row, column.
        flips: Whether to mirror each square left to right, ``[B]``.
        size: Side of the squares, in pixels.

    Returns:
        uint8 ``[B, channels, size, size]``.
    """
    squares = np.empty((len(rows), images.shape[3], size, size), dtype=np.uint8)
    # one slice per image reads only the pixels it needs; indexing with arrays takes nine times as
    # long
    for i, (row, (top, left), flip) in enumerate(
        zip(rows.tolist(), corners.tolist(), flips.tolist(), strict=True)
    ):
        square = images[row, top : top + size, left : left + size].transpose(2, 0, 1)
        squares[i] = square[:, :, ::-1] if flip else square
    return torch.from_numpy(squares)


def _on(device: torch.device | None, part: Tensor) -> Tensor:
    if device is None or device.type != "cuda":
        return part.to(device)
    # from pinned memory the copy overlaps with the device's work
    return part.pin_memory().to(device, non_blocking=True)
