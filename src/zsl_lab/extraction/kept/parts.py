"""Extraction by several processes: each extracts a part of the images, and the parts are joined.

A part is a folder beside the output (``birds.h5.part-3-of-8``) with blocks of features, as
:mod:`zsl_lab.extraction.kept.blocks` writes them. Blocks and batches are the same as with a single
process, so that the joined features are bit-equal to those of one process on the same kind of
machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zsl_lab.data.recipe import ImageRecipe, recipe_differences
from zsl_lab.errors import ConfigError, DataError
from zsl_lab.extraction.kept.blocks import (
    Extracted,
    block_file,
    block_of,
    count_blocks,
    read_block,
    read_digests,
)
from zsl_lab.extraction.kept.contents import digest_files
from zsl_lab.extraction.kept.preparing import Key, read_key

#: value of --part that takes the number of the Slurm array task
SLURM = "slurm"
#: maximum number of parts that a message names
_SHOWN = 5


@dataclass(frozen=True, order=True)
class Part:
    """Part ``number``, from 1, of ``count`` parts."""

    number: int
    count: int

    def __str__(self) -> str:
        """The part as written on the command line: ``3/8``."""
        return f"{self.number}/{self.count}"

    def folder(self, out: Path) -> Path:
        """The folder of its features, beside the output."""
        return out.with_name(f"{out.name}.part-{self.number}-of-{self.count}")

    def blocks(self, images: int) -> range:
        """The numbers of its blocks.

        Args:
            images: Number of images of all parts.
        """
        total = count_blocks(images)
        return range(total * (self.number - 1) // self.count, total * self.number // self.count)


def parse_part(text: str, environment: Mapping[str, str]) -> Part:
    """Parse the value of ``--part``.

    Args:
        text: ``3/8``, or ``slurm`` for the number of this task in a Slurm array.
        environment: The environment variables.

    Raises:
        ConfigError: If it is neither, or this is not a task of a whole Slurm array.
    """
    if text == SLURM:
        return _of_slurm(environment)
    part = _read(text)
    if part is None:
        raise ConfigError(
            f"--part {text}: expected the part's number, from 1, and how many there are. Give "
            f"--part 3/8 for the third of eight, or --part {SLURM} in an array of Slurm."
        )
    return part


def _read(text: str | None) -> Part | None:
    """A part as ``3/8``; None for anything else."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text or "", re.ASCII)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        return None
    return Part(int(match[1]), int(match[2]))


def _of_slurm(environment: Mapping[str, str]) -> Part:
    names = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "COUNT")]
    values = [environment.get(name, "") for name in names]
    if not all(value.isdecimal() for value in values):
        missing = ", ".join(n for n, v in zip(names, values, strict=True) if not v.isdecimal())
        raise ConfigError(
            f"--part {SLURM}: found no number in {missing}; expected a task of an array of Slurm. "
            "Start it by sbatch --array=1-8, or give the part: --part 3/8."
        )
    task, least, most, count = map(int, values)
    if least > 1 or most - least + 1 != count or count == 1:
        raise ConfigError(
            f"--part {SLURM}: found an array of {count} tasks from {least} to {most}; expected a "
            "whole array from 0 or 1 on, whose length is the number of parts. To start single "
            "tasks again give the number of parts yourself: --part $SLURM_ARRAY_TASK_ID/8."
        )
    return Part(task - least + 1, count)


def joined_blocks(
    parts: Mapping[Part, Path],
    files: Sequence[Path],
    feature_dim: int,
    report: Callable[[int], object] = lambda _: None,
) -> Iterator[Extracted]:
    """The blocks of all parts, in the order of the images.

    Args:
        parts: The folder of each part, as :func:`find_parts` returns them.
        files: The images of all parts.
        feature_dim: The dimension of the features.
        report: Called with the number of images whose features have been read.

    Raises:
        DataError: If a block is damaged.
    """
    done = 0
    report(done)
    for part, folder in sorted(parts.items()):
        for number in part.blocks(len(files)):
            block = read_block(folder, number, block_of(files, number), feature_dim)
            if block is None:
                raise DataError(
                    f"{block_file(folder, number)}: found a damaged file or one of other images; "
                    f"expected features of part {part}. {_again([part])}"
                )
            done += len(block.readable)
            report(done)
            yield block


def find_parts(
    out: Path,
    files: Sequence[Path],
    recipe: ImageRecipe,
    report: Callable[[int, int], object] = lambda _done, _total: None,
) -> dict[Part, Path]:
    """Find the folders of all parts, and check that they belong to these images and this recipe.

    If the paths, sizes or modification times of the images differ from those of a part, the
    contents of the part's images are compared by their digests.

    Args:
        out: The output file; the parts are in its folder.
        files: The images of all parts.
        recipe: How their features are computed.
        report: If contents are compared, called with the numbers of images compared so far and of
            images to compare.

    Raises:
        DataError: If a part is missing, unfinished or duplicated, or of other images or another
            recipe.
        UnreachableError: If the images' file system cannot be reached any more.
    """
    folders = _part_folders(out)
    expected = Key.of(files, recipe)
    parts: dict[Part, Path] = {}
    to_compare: dict[Part, Path] = {}
    for folder in folders:
        part, key = _part_of(folder, expected, recipe)
        if part in parts:
            raise DataError(
                f"{folder}: found part {part}, which {parts[part]} has too; expected each part "
                "once. Remove one of the folders."
            )
        parts[part] = folder
        if key.files != expected.files:
            to_compare[part] = folder
    _check_division(out, parts)
    _check_finished(parts, len(files))
    _check_contents(to_compare, files, report)
    return parts


def _part_folders(out: Path) -> list[Path]:
    """The folders beside the output whose names are those of its parts."""
    start = f"{out.name}.part-"
    folders = sorted(
        path
        for path in (out.parent.iterdir() if out.parent.is_dir() else ())
        if path.name.startswith(start) and path.is_dir()
    )
    if not folders:
        raise DataError(
            f"{out}: found no part of it, a folder {start}1-of-8 and so on; expected all parts in "
            f"{out.parent.absolute()}. Extract them first: the same command with --part 1/8 in "
            "place of --join, and so on."
        )
    return folders


def _part_of(folder: Path, expected: Key, recipe: ImageRecipe) -> tuple[Part, Key]:
    """The part in a folder, and its key; raises an error if it is of another recipe."""
    key = read_key(folder)
    part = None if key is None else _read(key.part)
    try:
        if key is None or part is None or key.format_version != expected.format_version:
            raise ValueError("no key of a part")
        found = ImageRecipe.model_validate(key.recipe)
    except ValueError as error:
        raise DataError(
            f"{folder}: found no file key.json of a part of this version; expected features of a "
            "part. Remove the folder, and extract the part again."
        ) from error
    if key.recipe != expected.recipe:
        raise DataError(
            f"{folder}: found features of another recipe than this command's: "
            f"{'; '.join(recipe_differences(found, recipe, 'here'))}. Join with the options of the "
            f"parts, or extract the part again: --part {part} in place of --join."
        )
    return part, key


def _check_division(out: Path, parts: Mapping[Part, Path]) -> None:
    """Raise an error if parts have different counts, or one is missing."""
    counts = {part.count: folder for part, folder in parts.items()}
    if len(counts) > 1:
        found = ", ".join(f"of {count} ({folder.name})" for count, folder in counts.items())
        raise DataError(
            f"{out}: found parts {found}; expected those of one division. Remove the others."
        )
    count = next(iter(counts))
    missing = [part for n in range(1, count + 1) if (part := Part(n, count)) not in parts]
    if missing:
        raise DataError(f"{out}: found no {_named(missing)}. {_again(missing)}")


def _check_contents(
    parts: Mapping[Part, Path], files: Sequence[Path], report: Callable[[int, int], object]
) -> None:
    """Raise an error if an image is not the one that a part has features of."""
    blocks = [
        (part, folder, number)
        for part, folder in sorted(parts.items())
        for number in part.blocks(len(files))
    ]
    total, done = sum(len(block_of(files, number)) for _, _, number in blocks), 0
    if total:
        report(done, total)
    for part, folder, number in blocks:
        block = block_of(files, number)
        difference = _difference(part, block_file(folder, number), block)
        if difference is not None:
            raise DataError(
                f"{difference}. Join with the images that the parts were extracted of, or extract "
                f"the part again: --part {part} in place of --join; only blocks of changed images "
                "are computed again."
            )
        done += len(block)
        report(done, total)


def _difference(part: Part, file: Path, block: Sequence[Path]) -> str | None:
    """A sentence on the first image that differs from that of a block's file; None for none."""
    digests = read_digests(file)
    if digests is None:
        return (
            f"{file}: found no digests of the images, and paths, sizes or times of change differ "
            f"from those of part {part}; expected a whole file of this version"
        )
    if len(digests) != len(block):
        return (
            f"{file}: found features of {len(digests)} images; expected {len(block)}: images were "
            "added or removed"
        )
    changed = np.flatnonzero((digests != digest_files(block)).any(axis=1))
    if not len(changed):
        return None
    return (
        f"{block[changed[0]]}: found another image than the one that part {part} has features of "
        f"({file.parent}): it was changed, or images were added or removed"
    )


def _check_finished(parts: Mapping[Part, Path], images: int) -> None:
    unfinished = [
        part
        for part, folder in sorted(parts.items())
        if not all(block_file(folder, number).is_file() for number in part.blocks(images))
    ]
    if unfinished:
        verb = "is" if len(unfinished) == 1 else "are"
        raise DataError(f"{_named(unfinished)} {verb} not finished. {_again(unfinished)}")


def _named(parts: Sequence[Part]) -> str:
    more = f" and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return f"part{'s' if len(parts) > 1 else ''} {', '.join(map(str, parts[:_SHOWN]))}{more}"


def _again(parts: Sequence[Part]) -> str:
    which = "and so on " if len(parts) > 1 else ""
    return (
        f"Extract {'them' if len(parts) > 1 else 'it'} first: the same command with --part "
        f"{parts[0]} {which}in place of --join; what it has already is not computed again."
    )
