"""Prepares a folder of kept features: finds the blocks that belong to the present images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zsl_lab.data.recipe import ImageRecipe
from zsl_lab.errors import DataError, OutputError
from zsl_lab.extraction.kept.blocks import (
    block_file,
    block_of,
    count_images,
    read_digests,
    unused_file,
)
from zsl_lab.extraction.kept.contents import Digests, digest_files
from zsl_lab.files.atomic import atomic_write, reason

#: increase it when the same recipe gives other features, so that old ones are not used
_FORMAT_VERSION = 1
_KEY_FILE = "key.json"


@dataclass(frozen=True)
class Key:
    """Identifies the images and the recipe of kept features.

    Kept features with an equal key can be used. If only ``files`` differs, those blocks can be used
    whose images have the same contents.

    Attributes:
        recipe: The identity of the recipe (:attr:`ImageRecipe.identity`).
        files: A hash of the images' paths, sizes and modification times.
        part: The part of the images, as ``3/8``; None for all of them.
        format_version: Format version of the blocks.
    """

    recipe: Mapping[str, Any]
    files: str
    part: str | None = None
    format_version: int = _FORMAT_VERSION

    @classmethod
    def of(cls, files: Sequence[Path], recipe: ImageRecipe, part: str | None = None) -> Key:
        """The key of these images and this recipe.

        Raises:
            DataError: If an image is missing.
        """
        return cls(recipe.identity, _stamp(files), part)


def read_key(folder: Path) -> Key | None:
    """The key of a folder; None if it has no readable key."""
    try:
        plain = json.loads((folder / _KEY_FILE).read_bytes())
        key = Key(dict(plain["recipe"]), plain["files"], plain.get("part"), plain["format_version"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return key if isinstance(key.part, str | None) else None


@dataclass(frozen=True)
class Before:
    """The content of a folder before it was prepared.

    Attributes:
        state: ``"nothing"``, ``"the same"`` (images and recipe), ``"other images"`` or ``"another
            recipe"``.
        unused: In the last two states, the number of images whose features are not used.
    """

    state: str
    unused: int = 0


def prepare_kept(
    folder: Path,
    files: Sequence[Path],
    recipe: ImageRecipe,
    part: str | None = None,
    report: Callable[[int, int], object] = lambda _done, _total: None,
) -> Before:
    """Prepare a folder of kept features, so that its blocks are of these images and this recipe.

    If paths, sizes and modification times are unchanged, no image is read. Otherwise, the contents
    of the kept blocks' images are compared by their digests. Blocks of other images are renamed, so
    that a later command with those images can use them; blocks of another recipe are removed.

    Args:
        folder: The folder; created if it is missing.
        files: All images.
        recipe: The recipe.
        part: The part of the images whose features are kept; None for all of them.
        report: If contents are compared, called with the numbers of images compared so far and of
            images to compare.

    Raises:
        DataError: If an image is missing.
        OutputError: If the folder cannot be written, or has other content.
        UnreachableError: If the images' file system cannot be reached any more.
    """
    key = Key.of(files, recipe, part)
    if not (folder / _KEY_FILE).is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(
                f"{folder}: this is where features are kept until all are computed, and something "
                "else is there. Move it away, or choose another name for the output."
            )
        _write_key(folder, key)
        return Before("nothing")
    before = read_key(folder)
    if before == key:
        return Before("the same")
    if before is not None and before.part != part:
        raise OutputError(
            f"{folder}: found features of part {before.part or '1/1'} of the images; expected "
            f"those of part {part or '1/1'}. Give the folder its own name again, or remove it."
        )
    same = before is not None and (before.recipe, before.format_version) == (
        key.recipe,
        key.format_version,
    )
    if not same:
        return Before("another recipe", _remove_all(folder, key))
    unused = _choose(folder, key, _matching(folder, files, report))
    return Before("other images" if unused else "the same", unused)


def _write_key(folder: Path, key: Key) -> None:
    plain = {name: value for name, value in asdict(key).items() if value is not None}
    atomic_write(folder / _KEY_FILE, json.dumps(plain, indent=1).encode())


def _remove_all(folder: Path, key: Key) -> int:
    """Remove the blocks and write the key; returns the number of their images."""
    removed = 0
    with _writing(folder):
        for number in _numbers(folder):
            removed += count_images(block_file(folder, number))
            block_file(folder, number).unlink(missing_ok=True)
            unused_file(folder, number).unlink(missing_ok=True)
    _write_key(folder, key)
    return removed


def _choose(folder: Path, key: Key, matching: Mapping[int, Path | None]) -> int:
    """Leave the matching blocks in use and write the key; returns the number of other images."""
    unused = 0
    with _writing(folder):
        for number, match in matching.items():
            file = block_file(folder, number)
            if match == file or not file.exists():
                continue
            unused += count_images(file)
            if match is None and read_digests(file) is not None:
                file.replace(unused_file(folder, number))
            else:
                file.unlink()
    # Even if this is interrupted, blocks in use always belong to the key in the folder: the blocks
    # left in use above belong to both keys, and others are put into use after the new key is there.
    _write_key(folder, key)
    with _writing(folder):
        for number, match in matching.items():
            if match == unused_file(folder, number):
                match.replace(block_file(folder, number))
    return unused


def _matching(
    folder: Path, files: Sequence[Path], report: Callable[[int, int], object]
) -> dict[int, Path | None]:
    """For each kept block, the file whose images have the same contents as now, or None."""
    candidates = {
        number: _candidates(folder, number, len(block_of(files, number)))
        for number in _numbers(folder)
    }
    total = sum(len(block_of(files, number)) for number, found in candidates.items() if found)
    done = 0
    if total:
        report(done, total)
    result: dict[int, Path | None] = {}
    for number, found in candidates.items():
        result[number] = None
        if not found:
            continue
        present = digest_files(block_of(files, number))
        for file, digests in found.items():
            if np.array_equal(digests, present):
                result[number] = file
                break
        done += len(present)
        report(done, total)
    return result


def _candidates(folder: Path, number: int, size: int) -> dict[Path, Digests]:
    """The files of a block, in use or not, that have ``size`` images; with their digests."""
    found = {}
    for file in (block_file(folder, number), unused_file(folder, number)):
        digests = read_digests(file)
        if digests is not None and len(digests) == size:
            found[file] = digests
    return found


def _numbers(folder: Path) -> list[int]:
    """The numbers of the blocks that a folder holds, in use or not, ascending."""
    starts = {file.name.partition(".")[0] for file in folder.glob("*.npz")}
    return sorted(int(start) for start in starts if start.isdecimal())


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Convert an OSError raised inside to an OutputError about the folder."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"Cannot write {folder}: {reason(error)}.") from error


def _stamp(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        try:
            state = file.stat()
        except OSError as error:
            raise DataError(
                f"{file}: cannot be read ({error.strerror}); expected an image."
            ) from error
        digest.update(
            f"{file}\0{state.st_size}\0{state.st_mtime_ns}\0".encode(errors="surrogateescape")
        )
    return digest.hexdigest()
