"""Findings kept in the cache's folder, so that a benchmark is not checked again.

They are found by a hash of the content (the verified hash of the features' file, the labels, the
split, the semantics, the names) and of the code of the checks. If any of these differs, the
benchmark is checked again.
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

#: number of rows of the features that are hashed too, besides the hash that their file states
_ROWS = 16
#: maximum size, in bytes, of a file of findings
_LIMIT = 2**22


def checked_once(benchmark: Benchmark, folder: Path) -> list[Finding]:
    """Like :func:`zsl_lab.data.checks.check.check`, with findings kept in a folder.

    Args:
        benchmark: The benchmark. Findings are kept only if its features come from a file with a
            verified hash (``provenance.file_sha256``).
        folder: The cache's folder. If it cannot be written, the benchmark is checked each time.

    Returns:
        The findings, the most serious first.
    """
    if not isinstance(benchmark, FeatureBenchmark) or not benchmark.provenance.file_sha256:
        return check(benchmark)
    key = _key(benchmark)
    path = folder / f"findings-{key[:32]}.json"
    kept = _read(path, key)
    if kept is None:
        kept = check(benchmark)
        # as ASCII, since names may hold surrogates, which UTF-8 cannot encode
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
    """The findings in a file; None if it is missing, damaged or belongs to other content."""
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
