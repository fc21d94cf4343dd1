"""What a ``dataset`` configuration may say, and what it promises: a :class:`Benchmark`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from zsl_lab.data.benchmark import Benchmark
from zsl_lab.data.datamodule import FeatureDataModule
from zsl_lab.data.scaling import Normalization
from zsl_lab.data.splits import Split


@dataclass(frozen=True)
class DataPaths:
    """Where data are looked for and where caches go.

    Attributes:
        data_dir: The folder that holds one folder per benchmark (``paths.data_dir``).
        cache_dir: A writable folder for converted benchmarks (``paths.cache_dir``).
    """

    data_dir: Path
    cache_dir: Path


class DatasetConfig(BaseModel, ABC):
    """The keys that every dataset has; a kind of dataset adds its own and says how to :meth:`load`.

    Attributes:
        name: The benchmark's name, also its folder's below ``paths.data_dir``.
        normalize: How features are scaled, with statistics of the training samples only.
        normalize_semantics: How class semantics are scaled, with statistics of the seen classes only.
        split: ``proposed`` (the files' own) or ``random`` (the same numbers of classes, redrawn).
        split_seed: The seed that redraws the unseen classes; used with ``split=random``.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str
    normalize: Normalization
    normalize_semantics: Normalization
    split: Literal["proposed", "random"]
    split_seed: int = Field(ge=0)

    @abstractmethod
    def load(self, paths: DataPaths) -> Benchmark:
        """Read, validate and return the benchmark with its own (proposed) split."""

    def data_module(self, benchmark: Benchmark, split: Split) -> FeatureDataModule:
        """Batches of one phase; a dataset of another kind than features returns one of its own."""
        return FeatureDataModule(benchmark, split, self.normalize, self.normalize_semantics)
