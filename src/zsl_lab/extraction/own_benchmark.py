"""Assembles a benchmark file from extracted features, class semantics and a split."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zsl_lab.data.benchmark import IntArray, Provenance
from zsl_lab.data.files.benchmark_file import BenchmarkFile
from zsl_lab.data.files.tables import ClassTable
from zsl_lab.data.recipe import ATTRIBUTES, ImageRecipe, Recipe
from zsl_lab.data.splits import hold_out
from zsl_lab.errors import DataError
from zsl_lab.extraction.kept.blocks import Extracted, Problem
from zsl_lab.extraction.own_images import Parts, Pictures
from zsl_lab.extraction.texts import Semantics
from zsl_lab.files.atomic import atomic_write
from zsl_lab.files.escaping import csv_row
from zsl_lab.files.hashing import sha256_arrays

#: the share of a seen class's images that is held out for testing
_TEST_SEEN_FRACTION = 0.2
#: maximum number of names that a warning lists
_SHOWN = 3


def assemble(
    name: str,
    table: ClassTable,
    parts: Parts,
    pictures: Pictures,
    extracted: Extracted,
    recipe: ImageRecipe,
    semantics: Semantics,
    seed: int,
    problems_file: Path,
) -> BenchmarkFile:
    """Assemble a benchmark of the readable images; warns of seen classes with a single image.

    Args:
        name: The benchmark's name.
        table: The classes.
        parts: The unseen classes and the validation classes.
        pictures: The images.
        extracted: The features of the images.
        recipe: How the features were computed.
        semantics: The semantics of the classes.
        seed: Draws the test images of seen classes.
        problems_file: The file that lists unreadable images, for messages.

    Raises:
        DataError: If no image of a class is readable, or no seen class has two images.
    """
    labels = pictures.labels[extracted.readable]
    _expect_each_class(table, pictures, labels, problems_file)
    is_unseen = np.isin(labels, parts.unseen)
    if pictures.parts is not None:
        is_test = np.array(pictures.parts)[extracted.readable] == "test"
        trainval, test_seen = (np.flatnonzero(~is_unseen & part) for part in (~is_test, is_test))
    else:
        trainval, test_seen = hold_out(
            np.flatnonzero(~is_unseen), labels, _TEST_SEEN_FRACTION, np.random.default_rng(seed)
        )
        _check_seen(table, parts, pictures, labels, test_seen)
    test_unseen = np.flatnonzero(is_unseen)
    return BenchmarkFile(
        name=name,
        features=extracted.features,
        labels=labels,
        class_names=table.names,
        semantics=semantics.by_kind,
        trainval=trainval,
        test_seen=test_seen,
        test_unseen=test_unseen,
        validation_classes=parts.validation,
        files=tuple(
            name for name, good in zip(pictures.names, extracted.readable, strict=True) if good
        ),
        descriptions=table.descriptions,
        recipe=Recipe(
            images=recipe,
            texts=semantics.texts,
            attributes=list(table.attribute_names) if ATTRIBUTES in semantics.by_kind else [],
        ),
        provenance=Provenance(
            origin=pictures.folder.name,
            splits_sha256=sha256_arrays(trainval, test_seen, test_unseen),
            features_sha256=sha256_arrays(extracted.features, labels),
            splits_version=parts.version,
        ),
    )


def _expect_each_class(
    table: ClassTable, pictures: Pictures, labels: IntArray, problems_file: Path
) -> None:
    lost = np.setdiff1d(pictures.labels, labels)
    if len(lost):
        raise DataError(
            f"{pictures.folder}: class '{table.names[lost[0]]}': none of its "
            f"{int((pictures.labels == lost[0]).sum())} images can be read "
            f"({problems_file} says why); expected at least one. Repair them, or remove the "
            f"class from {table.path} and move its folder away. Nothing was written; the features "
            "are kept."
        )


def _check_seen(
    table: ClassTable, parts: Parts, pictures: Pictures, labels: IntArray, test_seen: IntArray
) -> None:
    """Raise an error if no seen class has a test image; warn of those that have none."""
    counts = np.bincount(labels, minlength=len(table.names))
    seen = np.setdiff1d(np.arange(len(table.names)), parts.unseen)
    if not len(test_seen):
        raise DataError(
            f"{pictures.folder}: found one image of each of the {len(seen)} seen classes; expected "
            "at least one class with 2, to test on one. Add images, or make other classes unseen."
        )
    single = [table.names[class_id] for class_id in seen if counts[class_id] == 1]
    if single:
        names = ", ".join(f"'{name}'" for name in single[:_SHOWN])
        verb = "has" if len(single) == 1 else "have"
        warnings.warn(
            f"{len(single)} of {len(seen)} seen classes {verb} a single image ({names}): it is "
            "trained on, and no image is left to test the class.",
            stacklevel=2,
        )


def list_problems(problems: Sequence[Problem], pictures: Pictures, path: Path) -> None:
    """Write the unreadable images to a CSV file and warn of them.

    Args:
        problems: The unreadable images; if there are none, the file of an earlier run is deleted.
        pictures: All images.
        path: The file.

    Raises:
        OutputError: If the file cannot be written.
    """
    if not problems:
        path.unlink(missing_ok=True)
        return
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["file", "reason"])
    writer.writerows(
        csv_row((problem.file.relative_to(pictures.folder).as_posix(), problem.reason))
        for problem in problems
    )
    # a file's name may hold bytes that are not UTF-8
    atomic_write(path, lines.getvalue().encode(errors="backslashreplace"))
    first, count = problems[0], len(pictures.names)
    verb = "is" if len(problems) == 1 else "are"
    warnings.warn(
        f"{len(problems):,} of {count:,} images cannot be read and {verb} left out; {path} lists "
        f"them (the first: {first.file.relative_to(pictures.folder)}: {first.reason})",
        stacklevel=2,
    )
