"""Decodes image files into one array, and caches the decoded images.

The cache has a NumPy file (``.npy``, uint8 ``[N, side, side, 3]``) for each list of images and
side. It is mapped into memory: rows are read when needed, and processes share the memory. Its name
contains a hash of the image files' bytes. So images are decoded again if one of them changes, and
two folders with the same images share a file.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat as stat_module
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.lib import format as npy

from zsl_lab.data.benchmark import ImageArray
from zsl_lab.errors import CacheWarning, ConfigError, DataError, OutputError, UnreachableError
from zsl_lab.files.atomic import atomic_write
from zsl_lab.files.hashing import sha256_file

if TYPE_CHECKING:
    from PIL import Image

# part of the cache's key: increase it when the result of decoding the same files changes
_READER_VERSION = "2"
# images decoded before they are written
_BLOCK = 256
# number of images from which on decoding is announced
_MANY = 2000
_SHOWN = 3
_SHOWN_LEFT_OUT = 2
#: files and folders that operating systems make by themselves
_SYSTEM_NAMES = {"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir"}
_WHITE_16 = 2**16 - 1
#: errors of a file system that cannot be reached, rather than of a file
_UNREACHABLE = {
    getattr(errno, name)
    for name in (
        "EIO",
        "ESTALE",
        "ENOTCONN",
        "ENODEV",
        "ENXIO",
        "ETIMEDOUT",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETUNREACH",
        "ECONNABORTED",
        "ECONNREFUSED",
        "ECONNRESET",
        "EREMOTEIO",
        "ESHUTDOWN",
    )
    if hasattr(errno, name)
}
_SUFFIXES = {
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".bmp",
    ".gif",
    ".webp",
    ".tif",
    ".tiff",
}
#: Pillow's names of the formats that are read, whatever a file's suffix; for others, such as
#: PostScript, Pillow may start another program
_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP", "AVIF")
_POSTSCRIPT_STARTS = (b"%!PS", b"\xc5\xd0\xd3\xc6")


def hash_files(files: Sequence[Path]) -> str:
    """The SHA-256 of the files' contents in their order, in hexadecimal.

    Raises:
        DataError: If a file cannot be read.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return hashlib.sha256("".join(pool.map(sha256_file, files)).encode()).hexdigest()


def cached_images(
    name: str, files: Sequence[Path], sha256: str, side: int, cache_dir: Path
) -> ImageArray:
    """Decoded images, mapped from the cache; decoded and stored if they are not in it.

    Args:
        name: Start of the cache file's name, for people who look into the folder.
        files: The image files.
        sha256: The result of :func:`hash_files` for them.
        side: Side, in pixels, of the square that each is cut and scaled to (see :func:`decode`).
        cache_dir: The cache's folder.

    Returns:
        uint8 ``[N, side, side, 3]``, read-only.

    Raises:
        DataError: If a file is not an image or is damaged; all files are tried, and nothing is
            stored.
        OutputError: If the cache cannot be written; nothing half-written remains.
    """
    key = hashlib.sha256(f"{_READER_VERSION} {side} {sha256}".encode()).hexdigest()[:32]
    path = cache_dir / f"{name}-images-{key}.npy"
    shape = (len(files), side, side, 3)
    if path.exists():
        found = _mapped(path, shape)
        if found is not None:
            return found
        said = f"{path}: the cache is damaged; the images are decoded again."
        warnings.warn(said, CacheWarning, stacklevel=2)
    if len(files) >= _MANY:
        warnings.warn(
            f"{len(files):,} images are decoded once and kept in {path}; this takes a while.",
            CacheWarning,
            stacklevel=2,
        )
    try:
        atomic_write(path, partial(_write, files, shape))
    except OutputError as error:
        size = int(np.prod(shape)) / 2**20
        raise OutputError(
            f"{error} The decoded images take {size:.0f} MiB; set paths.cache_dir to a folder that "
            "has room for them."
        ) from None
    images = _mapped(path, shape)
    assert images is not None
    return images


@dataclass(frozen=True)
class FoundPictures:
    """The content of a folder and its subfolders.

    Attributes:
        pictures: The image files, recognised by suffix, sorted.
        left_out: The other entries, sorted: the relative path, and the kind of entry (``hidden``,
            ``.txt``, ``link to nothing``, ...).
    """

    pictures: tuple[Path, ...]
    left_out: tuple[tuple[Path, str], ...]

    def sentence(self, origin: str | Path) -> str | None:
        """A warning that counts the entries left out, by kind; None where there are none."""
        if not self.left_out:
            return None
        kinds: dict[str, list[Path]] = {}
        for path, kind in self.left_out:
            kinds.setdefault(kind, []).append(path)
        parts = [
            f"{len(paths)} {kind} ({', '.join(str(path) for path in paths[:_SHOWN_LEFT_OUT])}"
            f"{', ...' if len(paths) > _SHOWN_LEFT_OUT else ''})"
            for kind, paths in kinds.items()
        ]
        count = len(self.left_out)
        return (
            f"{origin}: {count:,} {'entry was' if count == 1 else 'entries were'} left out: "
            f"{'; '.join(parts)}. Images end in {', '.join(sorted(_SUFFIXES))}; rename or move "
            "what should count."
        )


def scan_pictures(folder: Path) -> FoundPictures:
    """Find the image files in a folder and its subfolders, linked ones included.

    Hidden entries are left out, and those that operating systems make by themselves (``__MACOSX``,
    ``Thumbs.db``). So is a folder that is reached a second time, by a link. A folder that does not
    exist has no images.

    Raises:
        DataError: If the folder itself cannot be read.
    """
    pictures: list[Path] = []
    left_out: list[tuple[Path, str]] = []
    seen: set[tuple[int, int]] = set()
    # links last: a folder that is reached both directly and by a link counts at its own path
    waiting: list[Path] = [folder] if folder.exists() else []
    while waiting:
        links: list[Path] = []
        for place in waiting:
            links += _scan(place, folder, seen, pictures, left_out)
        waiting = links
    return FoundPictures(tuple(sorted(pictures)), tuple(sorted(left_out)))


def _scan(
    top: Path,
    folder: Path,
    seen: set[tuple[int, int]],
    pictures: list[Path],
    left_out: list[tuple[Path, str]],
) -> list[Path]:
    """Add the entries below a folder to the lists; returns the linked folders, not yet scanned."""
    links: list[Path] = []
    stack = [top]
    while stack:
        place = stack.pop()
        try:
            stat = place.stat()
            if (stat.st_dev, stat.st_ino) in seen:
                left_out.append((place.relative_to(folder), "link to a folder that is counted"))
                continue
            seen.add((stat.st_dev, stat.st_ino))
            entries = sorted(place.iterdir())
        except OSError as error:
            if place == folder:
                raise DataError(
                    f"{folder}: cannot be read ({error.strerror}). Fix its permissions, or give "
                    "another folder."
                ) from error
            left_out.append((place.relative_to(folder), f"unreadable ({error.strerror})"))
            continue
        for path in entries:
            kind = entry_kind(path)
            if kind == "folder":
                (links if path.is_symlink() else stack).append(path)
            elif kind == "image":
                pictures.append(path)
            else:
                left_out.append((path.relative_to(folder), kind))
    return links


def entry_kind(path: Path) -> str:
    """``folder``, ``image``, or the kind of an entry that is left out (``hidden``, ``.txt``...)."""
    if path.name.startswith(".") or path.name in _SYSTEM_NAMES:
        return "hidden"
    try:
        mode = path.stat().st_mode
    except OSError:
        return "link to nothing" if path.is_symlink() else "unreadable"
    if stat_module.S_ISDIR(mode):
        return "folder"
    if not stat_module.S_ISREG(mode):
        return "not a regular file"
    if path.suffix.lower() in _SUFFIXES:
        return "image"
    return path.suffix.lower() or "without an ending"


def find_pictures(folder: Path) -> list[Path]:
    """The image files of :func:`scan_pictures`, sorted."""
    return list(scan_pictures(folder).pictures)


def decode(
    path: Path,
    side: int,
    interpolation: str = "bicubic",
    *,
    squash: bool = False,
    content: bytes | None = None,
) -> ImageArray:
    """Decode an image as a square.

    It is rotated upright, its short side is scaled to ``side`` with antialiasing, and the centre is
    cut. 16-bit grey is scaled to 8 bits (divided by 257); transparent images get a white
    background.

    Args:
        path: The file.
        side: Height and width of the result, in pixels.
        interpolation: The name of a filter of Pillow.
        squash: Whether to scale the long side to ``side`` too, instead of cutting it.
        content: The file's bytes; None to read them.

    Returns:
        uint8 ``[side, side, 3]``.

    Raises:
        DataError: If the file is not an image, is damaged or truncated.
        UnreachableError: If its file system, or its folder, cannot be reached any more.
        ConfigError: If Pillow is not installed.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise ConfigError(
            "Reading images needs Pillow, which is not installed. Install it: pip install "
            '"zsl-lab[images]".'
        ) from error
    try:
        source: Path | BytesIO = path if content is None else BytesIO(content)
        with Image.open(source, formats=_formats()) as image:
            # a JPEG can be decoded at a half, a quarter or an eighth of its size, which is faster;
            # at least twice the side is kept for the antialiased scaling
            image.draft("", (2 * side, 2 * side))
            return _square(
                _in_colour(ImageOps.exif_transpose(image)), side, interpolation, squash=squash
            )
    # damaged bytes surface as almost any exception: OSError, SyntaxError, ValueError, struct.error,
    # ...
    except Exception as error:
        check_reachable(path, error)
        reason = (
            _unidentified(path)
            if isinstance(error, UnidentifiedImageError)
            else str(error) or type(error).__name__
        )
        raise DataError(
            f"{path}: cannot be read as an image ({reason}); expected a whole picture, such as a "
            "JPEG or PNG."
        ) from error


def check_reachable(path: Path, error: Exception) -> None:
    """Check that an error in reading a file does not come from its file system.

    Args:
        path: The file.
        error: The error.

    Raises:
        UnreachableError: If the file system or the folder cannot be reached.
    """
    gone = isinstance(error, FileNotFoundError) and not path.parent.is_dir()
    if gone or (isinstance(error, OSError) and error.errno in _UNREACHABLE):
        assert isinstance(error, OSError)
        raise UnreachableError(
            f"{path}: cannot be read ({error.strerror or error}): its folder or the file system "
            "that it lies on cannot be reached. Bring it back (mount it again), and start the same "
            "command again. If only this file has the error, its disk is damaged: remove it."
        ) from error


@cache
def _formats() -> tuple[str, ...]:
    """The formats of :data:`_FORMATS` that this Pillow has."""
    from PIL import Image

    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _unidentified(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        check_reachable(path, error)
        return error.strerror or str(error)
    if not start:
        return "an empty file"
    if start.startswith(_POSTSCRIPT_STARTS):
        return "PostScript, which is not read, since that would run another program"
    return "the bytes of no known format"


def square(picture: ImageArray, side: int) -> ImageArray:
    """A decoded image, uint8 ``[height, width, 1 or 3]``, cut and scaled as by :func:`decode`."""
    from PIL import Image

    return _square(
        Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture).convert("RGB"), side
    )


def grey(picture: ImageArray) -> ImageArray:
    """A colour image, uint8 ``[height, width, 3]``, converted to grey, ``[height, width, 1]``."""
    from PIL import Image

    return np.asarray(Image.fromarray(picture).convert("L"))[:, :, None]


def _square(
    image: Image.Image, side: int, interpolation: str = "bicubic", *, squash: bool = False
) -> ImageArray:
    from PIL import Image, ImageOps

    resample = Image.Resampling[interpolation.upper()]
    if squash:
        return np.asarray(image.resize((side, side), resample))
    return np.asarray(ImageOps.fit(image, (side, side), resample))


def _in_colour(image: Image.Image) -> Image.Image:
    """Convert any image to 8-bit RGB.

    Unlike Pillow's conversion, this does not clip 16-bit grey, and hides the colours of transparent
    pixels.

    Raises:
        ValueError: If the range of the stored values is not known.
    """
    from PIL import Image

    transparency = image.info.get("transparency")
    if image.mode.startswith("I"):
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > _WHITE_16:
            raise ValueError(
                f"grey from {grey.min()} to {grey.max()}, where 16 bits hold 0 to {_WHITE_16}"
            )
        image = Image.fromarray(np.round(grey / 257).astype(np.uint8))
        if transparency is not None:
            image.putalpha(Image.fromarray(np.where(grey == transparency, 0, 255).astype(np.uint8)))
    elif image.mode == "F":
        raise ValueError("grey as floating-point numbers")
    if transparency is None and image.mode not in ("LA", "PA", "RGBA"):
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _mapped(path: Path, shape: tuple[int, ...]) -> ImageArray | None:
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return (
        images
        if isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.shape == shape
        else None
    )


def _write(files: Sequence[Path], shape: tuple[int, ...], output: IO[bytes]) -> None:
    npy.write_array_header_1_0(output, {"descr": "|u1", "fortran_order": False, "shape": shape})
    problems: list[DataError] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), _BLOCK):
            for result in pool.map(partial(_attempt, shape[1]), files[start : start + _BLOCK]):
                if isinstance(result, DataError):
                    problems.append(result)
                elif not problems:
                    output.write(result.tobytes())
    if problems:
        more = (
            f"\n{len(problems) - _SHOWN} more of the {len(files)} images cannot be read."
            if len(problems) > _SHOWN
            else ""
        )
        raise DataError("\n".join(str(problem) for problem in problems[:_SHOWN]) + more)


def _attempt(side: int, path: Path) -> ImageArray | DataError:
    try:
        return decode(path, side)
    except DataError as error:
        return error
