"""Variables of MATLAB 5 files, checked before SciPy reads them.

SciPy trusts a file: it allocates as much memory as dimensions declare, follows nested cells until
the stack is used up, unpacks compressed variables of any size, and does not notice missing bytes at
the end. So the file's structure is checked first: each variable has to end within the file,
compressed ones have to unpack to the size that they declare (their checksum is verified), and
dimensions have to match the number of bytes. Format: "MAT-File Format", The MathWorks, 2023,
chapter 1.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import scipy.io

from zsl_lab.errors import DataError
from zsl_lab.files.memory import check_size

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
#: bytes per number, by the type of a data element
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
#: minimum number of bytes per character, by the type of a data element
_TEXTS = {1: 1, 2: 1, 4: 2, 16: 1, 17: 2, 18: 4}
_CELL, _CHAR, _NUMBERS, _OBJECT = 1, 4, range(6, 16), 17
_OTHER_CLASSES = {
    2: "a struct",
    3: "an object",
    5: "a sparse matrix",
    16: "a function handle",
    _OBJECT: "an object, such as a string array, which only MATLAB reads (cellstr converts it)",
}
_COMPLEX = 0x0800
_MAX_DIMENSIONS = 32
#: maximum depth of nested arrays: text in a cell of a cell in a cell array is at level 3
_MAX_DEPTH = 8
#: bytes that are enough for the head of a variable: its class, dimensions and name
_HEAD = 1024
_PIECE = 2**24


class UnsupportedError(Exception):
    """A variable holds something other than numbers or strings."""


class _DamagedError(Exception):
    """The bytes are not those of a MATLAB file; the message says what was found."""


@dataclass(frozen=True)
class Variable:
    """A variable of a file.

    Attributes:
        name: Its name.
        start: Offset of its bytes in the file, after its tag.
        size: Number of its bytes in the file.
        compressed: Whether these bytes are compressed.
    """

    name: str
    start: int
    size: int
    compressed: bool


def variables(path: Path) -> list[Variable]:
    """The variables of a file, in its order.

    Raises:
        DataError: If the file is truncated or damaged.
    """
    size = path.stat().st_size
    found: list[Variable] = []
    with path.open("rb") as file:
        order = _order(file)
        place = _HEADER
        while place < size:
            file.seek(place)
            tag = file.read(8)
            kind, length = struct.unpack(f"{order}II", tag) if len(tag) == 8 else (0, 0)
            after = f" after field '{found[-1].name}'" if found else ""
            if kind not in (_MATRIX, _COMPRESSED):
                raise _damaged(path, f"bytes{after} that begin no variable, at byte {place:,}")
            end = place + 8 + length
            if end > size:
                raise _damaged(
                    path,
                    f"{size:,} bytes, where the variable{after or ' at the beginning'} ends at "
                    f"byte {end:,}",
                )
            compressed = kind == _COMPRESSED
            try:
                start = file.read(min(length, _HEAD))
                name = _Structure(_head_of(start, compressed=compressed), order).name()
            except _DamagedError as error:
                raise _damaged(path, f"{error}{after}") from error
            found.append(Variable(name, place + 8, length, compressed))
            place = end
    return found


def read(path: Path, variable: Variable) -> Any:
    """The value of a variable, as :func:`scipy.io.loadmat` gives it.

    Raises:
        DataError: If it is damaged, or too large for the file or the memory.
        UnsupportedError: If it is not numbers, a string, or a cell array of these.
    """
    with path.open("rb") as file:
        order = _order(file)
        file.seek(0)
        header = file.read(_HEADER)
        file.seek(variable.start)
        try:
            content = (
                _unpacked(file, variable, order, path)
                if variable.compressed
                else _plain(file, variable, path)
            )
            _Structure(content, order).check()
        except _DamagedError as error:
            raise _damaged(path, f"{error}, in field '{variable.name}'") from error
    tag = struct.pack(f"{order}II", _MATRIX, len(content))
    loaded = scipy.io.loadmat(io.BytesIO(b"".join((header, tag, content))))
    return loaded[variable.name or "__function_workspace__"]


def _damaged(path: Path, found: str) -> DataError:
    return DataError(
        f"{path}: found a damaged or truncated file ({found}); expected a whole MATLAB file "
        "(version 5 or 7.3). Copy or save the file again, or give another."
    )


def _order(file: BinaryIO) -> str:
    """The byte order, in the notation of :mod:`struct`."""
    file.seek(_HEADER - 2)
    return "<" if file.read(2) == b"IM" else ">"


# --------------------------------------------------------------------------- bytes of a variable


def _head_of(start: bytes, *, compressed: bool) -> bytes:
    """The first bytes of a variable, unpacked, after its tag."""
    if not compressed:
        return start
    try:
        return zlib.decompressobj().decompress(start, _HEAD)[8:]
    except zlib.error as error:
        raise _DamagedError(f"compressed bytes, {error}") from error


def _plain(file: BinaryIO, variable: Variable, path: Path) -> bytes:
    _check_memory(variable, variable.size, path)
    return file.read(variable.size)


def _unpacked(file: BinaryIO, variable: Variable, order: str, path: Path) -> bytes:
    """The bytes of a compressed variable, after its inner tag."""
    stream = zlib.decompressobj()
    content = bytearray()
    declared, rest = -1, variable.size
    try:
        while rest and not stream.eof:
            packed = file.read(min(rest, _PIECE))
            if not packed:
                break
            rest -= len(packed)
            while packed and not stream.eof:
                # one byte more than declared is enough to detect that there are too many
                room = 8 if declared < 0 else 8 + declared + 1 - len(content)
                if room <= 0:
                    raise _DamagedError("more bytes than declared")
                content += stream.decompress(packed, min(room, _PIECE))
                packed = stream.unconsumed_tail
                if declared < 0 and len(content) >= 8:
                    kind, declared = struct.unpack(f"{order}II", content[:8])
                    if kind != _MATRIX:
                        raise _DamagedError("a compressed variable that is no array")
                    _check_memory(variable, declared, path)
    except zlib.error as error:
        raise _DamagedError(f"compressed bytes, {error}") from error
    if not stream.eof or stream.unused_data or rest or len(content) != 8 + declared:
        raise _DamagedError("other compressed bytes than declared")
    return bytes(memoryview(content)[8:])


def _check_memory(variable: Variable, plain: int, path: Path) -> None:
    # three copies: the bytes, SciPy's stream of them and its array
    check_size(plain, variable.size, f"{path}: field '{variable.name}'", needed=3 * plain)


# --------------------------------------------------------------------------- structure


class _Element(NamedTuple):
    """A data element: its type, start and end of its data, and the start of the next element."""

    kind: int
    start: int
    end: int
    after: int


class _Head(NamedTuple):
    """The head of an array: its class, flags, dimensions and name, and the start of its data."""

    kind: int
    flags: int
    shape: tuple[int, ...]
    name: bytes
    after: int


class _Structure:
    """Parses and checks the structure of an array's bytes.

    Args:
        content: The bytes, after the array's tag.
        order: The byte order, in the notation of :mod:`struct`.
    """

    def __init__(self, content: bytes, order: str) -> None:
        self._content = content
        self._order = order
        self._word = struct.Struct(f"{order}I").unpack_from
        self._tag = struct.Struct(f"{order}II").unpack_from

    def check(self) -> None:
        """Raise an error if the array, or one nested in it, does not match its bytes."""
        self._check_array(0, len(self._content), 1)

    def name(self) -> str:
        """The array's name."""
        end = len(self._content)
        if self._class(0) == _OBJECT:  # an object has no dimensions
            part = self._element(self._element(0, end).after, end)
            name = self._content[part.start : part.end]
        else:
            name = self._head(0, end).name
        return name.rstrip(b"\0").decode("latin-1")

    def _class(self, place: int) -> int:
        if len(self._content) < place + 12:
            raise _DamagedError("an array that is missing")
        return int(self._word(self._content, place + 8)[0]) & 0xFF

    def _element(self, place: int, end: int) -> _Element:
        if place + 8 > end:
            raise _DamagedError("a part that is missing")
        kind, length = self._tag(self._content, place)
        if kind >> 16:  # a small element: type, length and at most 4 bytes of data
            kind, length = kind & 0xFFFF, kind >> 16
            if length > 4:
                raise _DamagedError("a small element of more than 4 bytes")
            return _Element(kind, place + 4, place + 4 + length, place + 8)
        start = place + 8
        if start + length > end:
            raise _DamagedError(f"an element of {length:,} bytes where {end - start:,} are left")
        # arrays in cells have no padding, since their parts are padded
        padding = 0 if kind == _MATRIX else -length % 8
        return _Element(kind, start, start + length, min(start + length + padding, end))

    def _head(self, place: int, end: int) -> _Head:
        flags = self._element(place, end)
        if flags.kind != 6 or flags.end - flags.start != 8:
            raise _DamagedError("an array without a class")
        [word] = self._word(self._content, flags.start)
        dims = self._element(flags.after, end)
        count, left = divmod(dims.end - dims.start, 4)
        if dims.kind not in (5, 6) or left or not 1 <= count <= _MAX_DIMENSIONS:
            raise _DamagedError("an array without dimensions")
        shape = struct.unpack_from(f"{self._order}{count}i", self._content, dims.start)
        if min(shape) < 0:
            raise _DamagedError(f"dimensions {list(shape)}")
        name = self._element(dims.after, end)
        if name.kind not in (1, 2):
            raise _DamagedError("an array without a name")
        return _Head(word & 0xFF, word, shape, self._content[name.start : name.end], name.after)

    def _check_array(self, place: int, end: int, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise _DamagedError(f"cells within cells, more than {_MAX_DEPTH} deep")
        other = _OTHER_CLASSES.get(self._class(place))
        if other is not None:
            raise UnsupportedError(other)
        head = self._head(place, end)
        count = math.prod(head.shape)
        if head.kind == _CELL:
            self._check_cells(head.after, end, count, depth)
        elif head.kind == _CHAR:
            if count:
                self._check_text(self._element(head.after, end), count)
        elif head.kind in _NUMBERS:
            self._check_numbers(head, self._element(head.after, end), count)
        else:
            raise _DamagedError(f"an array of the unknown class {head.kind}")

    def _check_cells(self, place: int, end: int, count: int, depth: int) -> None:
        # each cell has a tag of eight bytes
        if 8 * count > end - place:
            raise _DamagedError(f"{end - place:,} bytes for {count:,} cells")
        for _ in range(count):
            cell = self._element(place, end)
            if cell.kind != _MATRIX:
                raise _DamagedError("a cell that is no array")
            if cell.end > cell.start:
                self._check_array(cell.start, cell.end, depth + 1)
            place = cell.after

    def _check_text(self, data: _Element, count: int) -> None:
        # a character takes at least one byte, in UTF-16 two and in UTF-32 four
        least = _TEXTS.get(data.kind, 0)
        if not least or count * least > data.end - data.start:
            raise _DamagedError(f"{data.end - data.start:,} bytes for {count:,} characters")

    def _check_numbers(self, head: _Head, data: _Element, count: int) -> None:
        width = _WIDTHS.get(data.kind, 0)
        if not width or width * count != data.end - data.start:
            raise _DamagedError(
                f"{data.end - data.start:,} bytes of numbers for dimensions {list(head.shape)}"
            )
        if head.flags & _COMPLEX:
            raise UnsupportedError("complex numbers")
