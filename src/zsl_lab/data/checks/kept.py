"""Findings that are kept beside the cache: a benchmark that was checked is not checked again.

They belong to the content: the verified hash of the file that features come from, the labels, the
split, the semantics and the names, and the code of the checks. Where any of it differs, the
benchmark is checked.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from pathlib import Path

import numpy as np

from zsl_lab.data.benchmark import PARTS, Benchmark, FeatureBenchmark
from zsl_lab.data.checks.check import check
from zsl_lab.data.checks.findings import LEVELS, Finding
from zsl_lab.errors import DataError, OutputError
from zsl_lab.files.atomic import atomic_write
from zsl_lab.files.bounded import read_bounded
from zsl_lab.files.hashing import sha256_arrays

#: rows of the features that are compared too, whatever their file says
_ROWS = 16
#: bytes of a file of findings at most
_LIMIT = 2**22


def checked_once(benchmark: Benchmark, folder: Path) -> list[Finding]:
    """:func:`zsl_lab.data.checks.check.check` of a benchmark, kept in a folder.

    Args:
        benchmark: It is checked anew, and nothing is kept, unless its features come from a file
            with a verified hash (``provenance.file_sha256``).
        folder: The cache's folder. One that cannot be written only costs the time of the check.
    """
    if not isinstance(benchmark, FeatureBenchmark) or not benchmark.provenance.file_sha256:
        return check(benchmark)
    key = _key(benchmark)
    path = folder / f"findings-{key[:32]}.json"
    kept = _read(path, key)
    if kept is None:
        kept = check(benchmark)
        # ASCII: names may hold bytes that are not UTF-8
        content = json.dumps([finding.plain() for finding in kept]).encode()
        with contextlib.suppress(OutputError):
            atomic_write(path, _digest(key, content).encode() + b"\n" + content)
    return kept


def _key(benchmark: FeatureBenchmark) -> str:
    provenance, features = benchmark.provenance, benchmark.features
    texts = (
        *(_code(), provenance.file_sha256, benchmark.name, provenance.origin),
        sorted((name, *where) for name, where in provenance.sources.items()),
        *(benchmark.class_names, benchmark.recipe, features.shape),
    )
    rows = np.unique(np.linspace(0, len(features) - 1, _ROWS).astype(np.int64))
    arrays = (
        *(benchmark.labels, *(getattr(benchmark, name) for name in PARTS)),
        *(benchmark.semantics, features[rows]),
    )
    return hashlib.sha256(f"{texts}{sha256_arrays(*arrays)}".encode()).hexdigest()


@functools.cache
def _code() -> str:
    """A hash of the code of the checks."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _digest(key: str, content: bytes) -> str:
    return hashlib.sha256(key.encode() + content).hexdigest()


def _read(path: Path, key: str) -> list[Finding] | None:
    """The findings in a file; None where it is absent, damaged or of other content."""
    try:
        digest, _, content = read_bounded(path, _LIMIT).partition(b"\n")
    except (OSError, DataError):
        return None
    if digest != _digest(key, content).encode():
        return None
    return [
        Finding(
            level=next(level for level in LEVELS if level == plain["level"]),
            code=plain["code"],
            sentence=plain["sentence"],
            way_out=plain["way_out"],
            rows=tuple(plain["rows"]),
            classes=tuple(plain["classes"]),
        )
        for plain in json.loads(content)
    ]
