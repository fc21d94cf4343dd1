"""Unseen classes without samples that a run adds to its benchmark (``data.extra_classes``)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from zsl_lab.data.benchmark import Benchmark, ImageBenchmark, VectorBenchmark
from zsl_lab.data.files.tables import ClassTable, read_class_table
from zsl_lab.errors import DataError
from zsl_lab.extraction.new_classes import SemanticsOfBenchmark
from zsl_lab.text import Terms

KEY = "data.extra_classes"

#: words for messages: encoder and model cannot be chosen here, only when the benchmark was made
_TEXT_TERMS = Terms(
    encoder="The text encoder of the benchmark's semantics, ",
    model="The model of the benchmark's text encoder, ",
    max_tokens="The limit of the benchmark's text encoder, ",
    uninstalled=f"give numbers in place of texts ({KEY}), as many as the encoder makes",
    unloadable="Either bring back the model that the semantics were made with, or give numbers in "
    f"place of texts ({KEY}).",
    limit="Either bring back the model that the semantics were made with, or give numbers in place "
    f"of texts ({KEY}).",
    longer="take a benchmark whose semantics were made with a higher --max-tokens",
    another="take a benchmark whose semantics were made with another --text-encoder",
)


def with_extra_classes(benchmark: Benchmark, file: Path, cache_dir: Path | None) -> Benchmark:
    """The benchmark with further unseen classes, which have no samples.

    Args:
        benchmark: A benchmark of features or of images.
        file: A table of classes, as :func:`zsl_lab.data.files.tables.read_class_table` reads it,
            with attributes; or with texts, if the benchmark's semantics were computed from texts.
        cache_dir: The cache of token states; None for none.

    Raises:
        ConfigError: If the text encoder is not available.
        DataError: If the table is damaged, does not have the semantics that the benchmark has, or
            names a class of the benchmark.
    """
    origin = f"{KEY}={file}"
    described = (
        SemanticsOfBenchmark(
            benchmark.name, benchmark.semantics.shape[1], benchmark.recipe, _TEXT_TERMS, cache_dir
        )
        if isinstance(benchmark, VectorBenchmark)
        else None
    )
    try:
        table = read_class_table(
            file, names_suffice=described is not None and described.names_suffice
        )
    except DataError as error:
        raise DataError(f"{KEY}={error}") from error
    _check_names(benchmark, table, origin)
    names = (*benchmark.class_names, *table.names)
    if isinstance(benchmark, ImageBenchmark):
        if table.descriptions is None:
            raise DataError(
                f"{origin}: found no column of descriptions; expected a text for each class, as "
                f"{benchmark.name} has them. Add it, or give another table."
            )
        texts = (*benchmark.descriptions, *table.descriptions)
        return replace(benchmark, class_names=names, descriptions=texts)
    assert isinstance(benchmark, VectorBenchmark)
    assert described is not None
    semantics = np.concatenate([benchmark.semantics, described.of_table(table, origin)])
    return replace(benchmark, class_names=names, semantics=semantics)


def _check_names(benchmark: Benchmark, table: ClassTable, origin: str) -> None:
    there = sorted(set(benchmark.class_names) & set(table.names))
    if there:
        raise DataError(
            f"{origin}: found '{there[0]}', which is a class of {benchmark.name}; expected classes "
            "that it lacks. Leave the class out of the table, or give it another name."
        )
