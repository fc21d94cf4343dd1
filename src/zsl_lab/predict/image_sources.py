"""The image files that ``images=`` means: a folder, a file, or a pattern."""

from __future__ import annotations

import glob
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from zsl_lab.data.files.images import FoundPictures, entry_kind, scan_pictures
from zsl_lab.errors import DataError

_WAYS_OUT = "Give a folder, a file or a pattern: images=DIR, images=photo.jpg, images='DIR/*.jpg'."


@dataclass(frozen=True)
class ImageSource:
    """Image files and what they are called.

    Attributes:
        origin: ``images=VALUE``, for messages.
        folder: The folder that names are relative to.
        files: The image files, at least one.
    """

    origin: str
    folder: Path
    files: tuple[Path, ...]

    def name(self, file: Path) -> str:
        """The name of a file in results, with ``/`` between folders."""
        return file.relative_to(self.folder).as_posix()


def find_images(images: Path) -> ImageSource:
    """Find the images; warns of other files in the folder or among those that match the pattern.

    Args:
        images: A folder, a file, or a path with ``*``, ``?``, ``[...]`` or ``**``.

    Raises:
        DataError: There is no such folder or file, or no image.
    """
    origin = f"images={images}"
    if images.is_dir():
        found = scan_pictures(images)
        sentence = found.sentence(origin)
        if sentence is not None:
            warnings.warn(sentence, stacklevel=2)
        if not found.pictures:
            raise DataError(
                f"{origin}: found no image in this folder or those in it; expected files such "
                f"as .jpg or .png. Put some there, or give another. {_WAYS_OUT}"
            )
        return ImageSource(origin, images, found.pictures)
    if images.is_file():  # named by the user, whatever it ends in
        return ImageSource(origin, images.parent, (images,))
    if glob.has_magic(str(images)):
        return _matching(origin, str(images))
    raise DataError(f"{origin}: there is no such folder or file. {_WAYS_OUT}")


def _matching(origin: str, pattern: str) -> ImageSource:
    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    fixed = Path(pattern)
    while glob.has_magic(str(fixed)):
        fixed = fixed.parent
    pictures: dict[Path, None] = {}
    left_out: list[tuple[Path, str]] = []
    for match in matches:
        kind = entry_kind(match)
        if kind == "image":
            pictures[match] = None
        elif kind == "folder":
            if "**" in pattern:  # what is in it matches by itself
                continue
            inside = scan_pictures(match)
            pictures |= dict.fromkeys(inside.pictures)
            left_out += [(match / path, what) for path, what in inside.left_out]
        else:
            left_out.append((match, kind))
    sentence = FoundPictures((), tuple(left_out)).sentence(origin)
    if sentence is not None:
        warnings.warn(sentence, stacklevel=3)
    if not pictures:
        found = f"{len(matches)} matches, none of them an image" if matches else "no match"
        raise DataError(f"{origin}: found {found}. {_WAYS_OUT}")
    return ImageSource(origin, fixed, tuple(sorted(pictures, key=os.fspath)))
