"""Token states of texts, cached on disk: one file per text, encoder and limit of tokens.

A file is one line with the format version and the SHA-256 of all that follows, then an ``.npz``
archive with ``states`` (float32 ``[T, E]``) and ``num_tokens``. There is a file for each text,
since the phases of a run encode different sets of texts that share many.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zsl_lab.data.benchmark import FloatArray
from zsl_lab.errors import DataError, OutputError
from zsl_lab.files.atomic import atomic_write
from zsl_lab.files.cache import LRUCache, file_stamp

FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class EncodedText:
    """One text as an encoder sees it.

    Attributes:
        states: A vector for each token, float32 ``[T, E]``.
        num_tokens: Number of tokens of the whole text; more than T where it was cut.
    """

    states: FloatArray
    num_tokens: int


#: texts that the next jobs of a sweep need not read again, up to 256 MiB
_texts: LRUCache[EncodedText] = LRUCache(2**28, lambda encoded: encoded.states.nbytes)


def text_file(cache_dir: Path, encoder: str, identity: str, max_tokens: int, text: str) -> Path:
    """The file that a text's states are cached in.

    Args:
        cache_dir: The cache's folder.
        encoder: The encoder's name, which begins the folder's, for people who look into the cache.
        identity: Identifies the encoder, such as a hash of its weights.
        max_tokens: Number of tokens at which texts are cut.
        text: The text.
    """
    key = json.dumps(
        {"format_version": FORMAT_VERSION, "identity": identity, "max_tokens": max_tokens},
        sort_keys=True,
    )
    return (
        cache_dir
        / "text"
        / f"{encoder}-{_sha256(key.encode())[:32]}"
        / f"{_sha256(text.encode())[:32]}.states"
    )


def cached(path: Path, build: Callable[[], EncodedText]) -> EncodedText:
    """Read a text's states from a file if it exists and is intact; else build and save them.

    Raises:
        OutputError: If the cache cannot be written.
    """
    if path.exists():
        try:
            return _texts.get(file_stamp([path]), lambda: load(path))
        except DataError as error:
            warnings.warn(f"The description is encoded anew: {error}", stacklevel=2)
    encoded = build()
    save(encoded, path)
    return encoded


def save(encoded: EncodedText, path: Path) -> None:
    """Write one text's states, completely or not at all.

    Raises:
        OutputError: If the folder cannot be written or the disk is full.
    """
    buffer = io.BytesIO()
    np.savez(buffer, states=encoded.states, num_tokens=np.int64(encoded.num_tokens))
    payload = buffer.getvalue()
    try:
        atomic_write(path, _header(payload) + payload)
    except OutputError as error:
        raise OutputError(f"{error} The folder of caches is set with paths.cache_dir.") from error


def load(path: Path) -> EncodedText:
    """Read what :func:`save` wrote.

    Raises:
        DataError: If the file cannot be read, is damaged or of another format version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); expected a readable file."
        ) from error
    line, _, payload = content.partition(b"\n")
    if line + b"\n" != _header(payload):
        raise DataError(
            f"{path}: found a damaged file or another format (first line {line[:40]!r}); expected "
            f"token states stored by zsl_lab, format {FORMAT_VERSION}, with the SHA-256 that its "
            "first line states."
        )
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        return EncodedText(arrays["states"], int(arrays["num_tokens"]))


def _header(payload: bytes) -> bytes:
    return f"zsl_lab token states, format {FORMAT_VERSION}, sha256 {_sha256(payload)}\n".encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
