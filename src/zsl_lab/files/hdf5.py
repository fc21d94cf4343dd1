"""HDF5 files of unknown origin: nothing outside the file is read, sizes are checked first.

An HDF5 file can name other files (external links, external storage, virtual datasets), declare far
more numbers than it stores (compression, unwritten chunks), and refer to one text many times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import h5py

from zsl_lab.errors import DataError
from zsl_lab.files.memory import ALWAYS_ALLOWED, check_size, free_memory
from zsl_lab.files.probe import check_structure

#: maximum number of names of a group that a message lists
_SHOWN_NAMES = 12
#: maximum number of texts that are read at once
_MAX_TEXTS = 2**16


@contextmanager
def open_hdf5(path: Path, *, trusted: bool = False) -> Iterator[Any]:
    """Open a file for reading, also one that this process has open for reading already.

    Args:
        path: The file.
        trusted: Whether its bytes are known to be undamaged; then they are not checked in another
            process first.

    Raises:
        DataError: If it is open for writing, here or in another program; or damaged in a way that
            makes HDF5 loop or crash.
        OSError: If it cannot be opened: it is damaged in another way, or missing.
    """
    check_not_written(path)
    if not trusted:
        check_structure(path)
    try:
        # data folders may be read-only or on a network file system, where locks fail
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        if "lock" not in str(error) and "already open" not in str(error):
            raise
        file = _opened_like_before(path, error)
    with file:
        yield file


def check_not_written(path: Path) -> None:
    """Refuse a file that a program has open for writing: its data may be half written.

    Raises:
        DataError: If it is locked, as HDF5 locks a file that is open for writing.
    """
    try:
        import fcntl
    except ImportError:  # Windows refuses to open such a file
        return
    # where locks do not work nothing is checked; a file that cannot be opened is its reader's error
    with suppress(OSError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _written(path) from None


def _written(path: Path) -> DataError:
    return DataError(
        f"{path}: found a file that is open for writing, in this process (an earlier cell of a "
        "notebook, say) or in another program; expected one that nobody writes to. It is not "
        "damaged: close it there (file.close(), or end that program), or give a copy of it."
    )


def _opened_like_before(path: Path, error: OSError) -> Any:
    """Open a file that this process has open already: HDF5 then requires the same flags."""
    for locking in (True, "best-effort"):
        with suppress(OSError):
            return h5py.File(path, "r", locking=locking)
    raise DataError(
        f"{path}: found a file that this process has open already, in a way that does not allow "
        f"reading it again ({str(error).splitlines()[0]}); expected a closed file. It is not "
        "damaged: close it (file.close() in the cell that opened it), or give a copy of it."
    ) from error


def member(group: Any, name: str, where: str) -> Any:
    """A group or dataset; None where it is absent.

    Args:
        group: The group that holds it.
        name: Its name in the group.
        where: File and field, for the message.

    Raises:
        DataError: If it is a soft or external link: links are not followed.
    """
    link = group.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        if isinstance(link, h5py.ExternalLink):
            target = f"{link.path!r} in another file, {link.filename!r}"
        else:
            target = repr(getattr(link, "path", "of an unknown kind"))
        found = f"a link to something else ({target})"
        raise DataError(
            f"{where}: found {found}; expected the data themselves: links are not followed. Copy "
            "what it points to into this file, or take the field out."
        )
    return group[name]


def check_dataset(dataset: Any, where: str, *, itemsize: int | None = None) -> None:
    """Check that a dataset's numbers lie in its file, were all written, and fit into memory.

    Args:
        dataset: The dataset.
        where: File and field, for the message.
        itemsize: Bytes per number once it is read; None for those of the dataset's type.

    Raises:
        DataError: If one of these is not so.
    """
    check_inside(dataset, where)
    stored = min(dataset.id.get_storage_size(), file_size(dataset))
    if dataset.shape is None or (dataset.size and not stored):
        raise DataError(
            f"{where}: found a dataset that nothing was written to; expected its numbers. Write "
            "them, or take the field out."
        )
    if not dataset.size:
        return
    count = math.prod(map(int, dataset.shape))
    unpacked = count * dataset.dtype.itemsize
    needed = count * (dataset.dtype.itemsize if itemsize is None else itemsize)
    if dataset.chunks is not None:
        _check_chunks(dataset, where)
        # a chunk is unpacked as a whole, though the dataset may end within it
        chunk = math.prod(map(int, dataset.chunks)) * dataset.dtype.itemsize
        unpacked, needed = max(unpacked, chunk), max(needed, chunk)
    elif stored < unpacked:
        raise _partly_written(where)
    check_size(unpacked, stored, where, needed=needed)


def check_inside(dataset: Any, where: str) -> None:
    """Refuse a dataset whose numbers lie in another file.

    Raises:
        DataError: If they lie in another file (external storage, a virtual dataset).
    """
    if dataset.external or dataset.is_virtual:
        found = "a virtual dataset" if dataset.is_virtual else "external storage"
        raise DataError(
            f"{where}: found a dataset whose numbers lie in another file ({found}); expected them "
            "in this file. Copy the numbers into it, or give another file."
        )


def _check_chunks(dataset: Any, where: str) -> None:
    expected = math.prod(
        -(-int(length) // int(chunk))
        for length, chunk in zip(dataset.shape, dataset.chunks, strict=True)
    )
    if dataset.id.get_num_chunks() < expected:
        raise _partly_written(where)


def _partly_written(where: str) -> DataError:
    return DataError(
        f"{where}: found a dataset of which only a part was written; expected all of its numbers. "
        "Write them, or take the field out."
    )


def read_texts(dataset: Any, where: str) -> list[str]:
    """The texts of a dataset of one dimension, or the single text of one without dimensions.

    A file can refer to one long text many times, so the texts are read in parts, and all of them
    together may not be longer than the file.

    Raises:
        DataError: If the texts are longer than the file, or lie in another file.
        UnicodeDecodeError: If a text is not UTF-8.
    """
    check_inside(dataset, where)
    rows = dataset.asstr("utf-8")
    if not dataset.shape:
        return [str(rows[()])]
    count = int(dataset.shape[0])
    limit = max(file_size(dataset), ALWAYS_ALLOWED // 256)
    check_size(count * dataset.dtype.itemsize, limit, where)
    # any of them may be as long as the file
    at_once = min(_MAX_TEXTS, max(1, (free_memory() or ALWAYS_ALLOWED) // 8 // limit))
    texts: list[str] = []
    total = 0
    for start in range(0, count, at_once):
        part = rows[start : start + at_once].tolist()
        total += sum(map(len, part))
        if total > limit:
            raise DataError(
                f"{where}: found texts that are longer together than the whole file; expected "
                "each text once. The file is damaged or made to exhaust the memory: give another."
            )
        texts += part
    return texts


def file_size(dataset: Any) -> int:
    """Bytes of the file that a dataset lies in."""
    return Path(dataset.file.filename).stat().st_size


def names_in(group: Any) -> str:
    """The first names of a group, for messages."""
    names = [name if len(name) <= 40 else f"{name[:37]}..." for name in islice(group, _SHOWN_NAMES)]
    more = len(group) - len(names)
    return ", ".join([*sorted(names), *([f"{more} more"] if more > 0 else [])]) or "nothing"
