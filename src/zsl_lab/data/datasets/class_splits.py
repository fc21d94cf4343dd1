"""Splits by lists of classes, used in the literature besides the proposed splits of Xian et al.

``standard`` are the conventional splits (AwA 40/10, CUB 150/50, SUN 645/72 or 707/10); ``easy`` and
``hard`` are the super-category splits of CUB and NABirds; ``n3`` draws as many classes as in the N3
paper, which does not publish its classes. All samples of a seen class are trained on unless
``test_seen_fraction`` holds some out.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from zsl_lab.data.benchmark import B, Benchmark
from zsl_lab.data.datasets.base import DataPaths, DatasetConfig, warn_of_pretraining
from zsl_lab.data.files.class_lists import (
    SEEN,
    UNSEEN,
    ClassLists,
    has_lists,
    list_files,
    read_class_lists,
)
from zsl_lab.data.splits import split_by_classes
from zsl_lab.errors import ConfigError, DataError
from zsl_lab.keys import AddedLater, Irrelevant

#: the split that draws classes with the numbers of ``class_counts``
COUNTED = "n3"
#: where the lists of a split come from, for messages
_ORIGINS = {
    "standard": "standard_split.zip of Xian et al., "
    "http://datasets.d2.mpi-inf.mpg.de/xian/standard_split.zip, has them for AWA1, AWA2, CUB, SUN "
    "(645/72) and APY",
    "easy": "data/ of https://github.com/tzuf/ZEST has it",
    "hard": "data/ of https://github.com/tzuf/ZEST has it",
}


class ClassCounts(BaseModel):
    """Numbers of classes to draw.

    Attributes:
        train: Seen classes that are never held out.
        validation: Seen classes that are held out for tuning.
        test: Unseen classes.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    train: int = Field(ge=2)
    validation: int = Field(ge=1)
    test: int = Field(ge=1)


class ClassSplitConfig(DatasetConfig):
    """The keys of a dataset that can be split by lists of classes.

    Attributes:
        class_splits: Further values of ``split``, and the folder or file of the class lists of each
            (:mod:`zsl_lab.data.files.class_lists`), absolute or relative to ``paths.data_dir``.
        class_counts: Numbers of classes of ``split=n3``; None if the dataset has no such split.
        test_seen_fraction: With a split by class lists or ``n3``, the share of each seen class's
            samples that becomes ``test_seen``; with 0, all are trained on and no metric of seen
            classes is measured.
    """

    # irrelevant: the content of these files is compared by the hash of the split
    class_splits: Annotated[dict[str, str], Irrelevant()] = Field(default={})
    class_counts: Annotated[ClassCounts | None, Irrelevant()] = None
    test_seen_fraction: Annotated[float, AddedLater(0.0)] = Field(default=0.0, ge=0, lt=1)

    @field_validator("class_splits")
    @classmethod
    def _check_names(cls, class_splits: dict[str, str]) -> dict[str, str]:
        taken = {"random", COUNTED} & class_splits.keys()
        if taken:
            raise ValueError(
                f"found '{min(taken)}' in class_splits, a split that is drawn; expected another "
                "name"
            )
        return class_splits

    @property
    def has_proposed(self) -> bool:
        """Whether ``proposed`` is the split of the loaded benchmark."""
        return True

    @property
    def loads_proposed(self) -> bool:
        """Whether the loaded benchmark has the proposed split, whatever ``split`` is."""
        return self.has_proposed

    @property
    def splits(self) -> tuple[str, ...]:
        """The values that ``split`` may have."""
        first = ["proposed"] if self.has_proposed else []
        counted = [COUNTED] if self.class_counts is not None else []
        return tuple(dict.fromkeys([*first, "random", *self.class_splits, *counted]))

    @property
    def applied_later(self) -> set[str]:
        """Keys that do not change the loaded benchmark."""
        return {*super().applied_later, "class_splits", "class_counts", "test_seen_fraction"}

    def split_files(self, paths: DataPaths) -> tuple[Path, ...]:
        """The files of the class lists of ``split``; empty if it needs none."""
        return list_files(self.list_place(self.split, paths)) if self._reads_lists else ()

    def check_split(self, paths: DataPaths) -> None:
        """Check that the class lists of ``split`` exist.

        Raises:
            DataError: If they are missing.
        """
        if self._reads_lists and not has_lists(place := self.list_place(self.split, paths)):
            raise self._missing_lists(place)

    def with_split(self, benchmark: B, paths: DataPaths) -> B:
        """A loaded benchmark with the split that ``split`` names."""
        if self.split == COUNTED:
            return self._drawn(benchmark)
        if self._reads_lists:
            return self.by_lists(self.split, benchmark, paths)
        return super().with_split(benchmark, paths)

    def by_lists(self, split: str, benchmark: B, paths: DataPaths) -> B:
        """A benchmark split by the class lists of a name in ``class_splits``.

        Raises:
            DataError: If the lists are missing, damaged or inconsistent.
        """
        place = self.list_place(split, paths)
        lists = self._read_lists(place, benchmark)
        seen = benchmark.num_classes - len(lists.unseen)
        version = f"{split} ({seen} seen + {len(lists.unseen)} unseen classes of {place.name})"
        return self._by_classes(benchmark, lists, version)

    @property
    def _reads_lists(self) -> bool:
        is_own = self.split == "proposed" and self.has_proposed
        return self.split in self.class_splits and not is_own

    def list_place(self, split: str, paths: DataPaths) -> Path:
        """The path of the class lists of a name in ``class_splits``, whether it exists or not."""
        data_dir = paths.data_dir.expanduser().absolute()
        place = Path(self.class_splits[split]).expanduser()
        # lists may lie beside the folder xlsa17, where data_dir is xlsa17/data
        beside = data_dir.parents[1] / place if data_dir.parts[-2:] == ("xlsa17", "data") else None
        first = data_dir / place
        return beside if beside is not None and beside.exists() and not first.exists() else first

    def _read_lists(self, place: Path, benchmark: Benchmark) -> ClassLists:
        if not has_lists(place):
            raise self._missing_lists(place)
        try:
            lists = read_class_lists(place, benchmark.class_names)
        except DataError as error:
            raise DataError(f"{error} {self._ways_out()}") from error
        same = np.array_equal(lists.unseen, benchmark.unseen_classes)
        if same and self.split != "proposed" and self.loads_proposed:
            warnings.warn(
                f"{place}: its unseen classes are those of the proposed split of {self.name}. The "
                f"archive xlsa17.zip has lists of that split, by the same names; {self.split} ones "
                f"come from elsewhere: {_ORIGINS.get(self.split, 'see the yaml of the dataset')}.",
                stacklevel=4,
            )
        return lists

    def _missing_lists(self, place: Path) -> DataError:
        expected = (
            "expected a file with train_cid and test_cid"
            if place.suffix == ".mat"
            else "expected a file with the names of the unseen classes, one per line"
            if place.suffix == ".txt"
            else f"expected a folder with {UNSEEN} and {SEEN} (and, for tuning, trainclasses1.txt, "
            "valclasses1.txt, ... up to 3)"
        )
        names = sorted(path.name for path in place.glob("*")) if place.is_dir() else []
        found = f"found {', '.join(names[:5])}" if names else "no such file or folder"
        return DataError(
            f"{place}: {found}; {expected}, the class lists of dataset.split={self.split} of "
            f"{self.name}. {self._ways_out()}"
        )

    def _ways_out(self) -> str:
        origin = _ORIGINS.get(self.split)
        there = f" ({origin})" if origin else ""
        others = " or ".join(split for split in self.splits if split != self.split)
        return (
            f"Either put them there{there}, name another place with "
            f"dataset.class_splits.{self.split}=PLACE, or set dataset.split={others}."
        )

    def _drawn(self, benchmark: B) -> B:
        counts = self.class_counts
        assert counts is not None
        parts = (benchmark.trainval, benchmark.test_seen, benchmark.test_unseen)
        classes = np.unique(benchmark.labels[np.concatenate(parts)])
        wanted = counts.train + counts.validation + counts.test
        if wanted != len(classes):
            raise ConfigError(
                f"dataset.class_counts: found {counts.train} + {counts.validation} + "
                f"{counts.test} = {wanted} classes; expected {len(classes)} in total, the classes "
                f"of {self.name} with samples."
            )
        warn_of_pretraining(self.split)
        order = np.random.default_rng(self.split_seed).permutation(classes)
        unseen, validation = np.split(order, [counts.test])[0], order[counts.test :]
        lists = ClassLists(np.sort(unseen), (np.sort(validation[: counts.validation]),))
        version = (
            f"{COUNTED} ({counts.train} + {counts.validation} + {counts.test} classes as in the "
            f"paper, which ones is not published: drawn with split_seed={self.split_seed})"
        )
        return self._by_classes(benchmark, lists, version)

    def _by_classes(self, benchmark: B, lists: ClassLists, version: str) -> B:
        return split_by_classes(
            benchmark,
            lists.unseen,
            lists.validation,
            version=version,
            test_seen_fraction=self.test_seen_fraction,
            seed=self.split_seed,
        )
