"""The part of ``convert`` that reads files of other programs."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from zsl_lab.console.messages import console
from zsl_lab.console.progress import Progress, Unit
from zsl_lab.errors import ConfigError, DataError

if TYPE_CHECKING:
    from zsl_lab.data.files.benchmark_file import BenchmarkFile
    from zsl_lab.data.files.foreign.assembly import GivenSplit, Samples
    from zsl_lab.data.files.tables import ClassTable
    from zsl_lab.files.rows import Advance

#: size of a file, in bytes, from which on progress is shown
_SHOWN = 2**26
_OPTIONS = ("map", "semantics", "split", "unseen", "seed", "ids_from", "name")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that files of other programs need."""
    group = parser.add_argument_group("files of other programs")
    group.add_argument(
        "--map",
        metavar="ROLE=FIELD",
        action="append",
        help="the field of each role, such as features=emb,labels=y; roles: features, labels, "
        "class_names, semantics, semantics/KIND, trainval, test_seen, test_unseen, train, val, "
        "validation_classes, unseen_classes, split, files, descriptions",
    )
    group.add_argument(
        "--semantics",
        metavar="PLACE",
        type=Path,
        help="class semantics: a table (CSV with the column class, JSON, .npy, .mat), or the "
        "folder of AwA2, CUB, SUN or aPY",
    )
    group.add_argument(
        "--split",
        metavar="PLACE",
        type=Path,
        help="the unseen classes: a text file, one name per line, or a folder with testclasses.txt",
    )
    group.add_argument(
        "--unseen",
        metavar="N",
        help="without a split in SOURCE: number of unseen classes, or their share (default: 0.2)",
    )
    group.add_argument(
        "--seed", metavar="N", type=int, help="draws unseen classes and test samples (default: 0)"
    )
    group.add_argument(
        "--ids-from",
        metavar="0|1",
        type=int,
        choices=(0, 1),
        help="whether class ids and sample indices count from 0 or 1, if their values do not show "
        "it",
    )
    group.add_argument("--name", help="the benchmark's name in results (default: SOURCE's)")


@contextmanager
def shown_progress(size: int) -> Iterator[Advance]:
    """A function that shows the progress of reading or writing a large file of ``size`` bytes."""
    from zsl_lab.files.rows import no_progress

    if size < _SHOWN:
        yield no_progress
        return
    with Progress(Unit("MB", 10**6), size) as progress:
        progress.start()
        yield lambda done: progress.update(min(done, size))


def refuse_options(options: argparse.Namespace, source: Path) -> None:
    """Raise an error if options for files of other programs are given for our own formats."""
    given = next((name for name in _OPTIONS if getattr(options, name) is not None), None)
    if given is not None:
        raise ConfigError(
            f"--{given.replace('_', '-')}: {source} has the fields of a benchmark, which need no "
            "such option. Leave it out."
        )


def read_foreign(source: Path, options: argparse.Namespace) -> BenchmarkFile:
    """Read a benchmark from a file or folder of another program.

    Raises:
        ConfigError: If an option is needed to find a field or the base of ids.
        DataError: If a file is damaged, or its fields are inconsistent.
    """
    from zsl_lab.data.files.foreign.assembly import (
        assemble,
        describe_roles,
        is_by_position,
        read_samples,
    )
    from zsl_lab.data.files.foreign.class_sources import is_class_source, read_classes
    from zsl_lab.data.files.foreign.fields import parse_map
    from zsl_lab.data.files.foreign.sources import find_reader
    from zsl_lab.files.hashing import sha256_file

    reader = find_reader(source)
    assert reader is not None
    mapping = parse_map(options.map or ())
    place = options.semantics
    if place is None and is_class_source(source):
        place = source
    if place is not None and not place.exists():
        raise DataError(
            f"--semantics {place}: no such file or folder; expected a table of classes. Correct "
            "the path."
        )
    classes = (None, None) if place is None else read_classes(place)
    files = source.rglob("*") if source.is_dir() else [source]
    size = sum(file.stat().st_size for file in files if file.is_file())
    with shown_progress(size) as advance:
        fields = reader(source, advance)
    samples = read_samples(fields, mapping, classes, options.ids_from)
    if options.name:
        samples = replace(samples, name=options.name)
    taken = describe_roles(samples)
    if taken:
        console().print(f"{source}: {taken}", soft_wrap=True)
    if is_by_position(samples, fields):
        assert samples.class_names is not None
        console().print(
            f"{source}: the ids of '{samples.roles['labels']}' are rows of {place}: the first one "
            f"is '{samples.class_names[0]}'",
            soft_wrap=True,
        )
    split = _split(samples, options)
    console().print(f"split: {split.version}", soft_wrap=True)
    return assemble(samples, split, sha256_file(source) if source.is_file() else "")


def _split(samples: Samples, options: argparse.Namespace) -> GivenSplit:
    """The split that an option gives; else that of the source; else one drawn by the seed."""
    from zsl_lab.cli.data.extract import parse_unseen
    from zsl_lab.data.files.foreign.assembly import split_by_class
    from zsl_lab.data.files.tables import ClassTable
    from zsl_lab.extraction.own_images import choose_parts

    asked = options.split is not None or options.unseen is not None
    if samples.split is not None and not asked:
        return samples.split
    if options.split is not None and options.unseen is not None:
        raise ConfigError("--split names the unseen classes and --unseen draws them. Give either.")
    seed = options.seed or 0
    if seed < 0:
        raise ConfigError(f"--seed {seed}: expected 0 or more.")
    names = samples.class_names or tuple(f"class {i + 1}" for i in range(samples.num_classes))
    parts = samples.parts if options.unseen is None else None
    if options.split is not None:
        return _listed_split(samples, options.split, names, seed)
    table = ClassTable(samples.parts_path or samples.path, names, None, (), None, parts)
    chosen = choose_parts(table, parse_unseen(options.unseen), seed, samples.labels)
    return split_by_class(samples, chosen.unseen, chosen.validation, chosen.version, seed)


def _listed_split(samples: Samples, place: Path, names: tuple[str, ...], seed: int) -> GivenSplit:
    from zsl_lab.data.files.class_lists import read_class_lists
    from zsl_lab.data.files.foreign.assembly import split_by_class

    try:
        lists = read_class_lists(place, names)
    except DataError as error:
        raise DataError(f"{error} Correct the list, or name another with --split.") from error
    validation = lists.validation[0] if lists.validation else None
    version = f"unseen classes of {place.name}, seed={seed}"
    return split_by_class(samples, lists.unseen, validation, version, seed)


def refuse_tables(source: Path) -> None:
    """Raise an error if a folder has .parquet files, as repositories of datasets on the Hub do."""
    first = next((path for path in sorted(source.rglob("*.parquet")) if path.is_file()), None)
    if first is not None:
        raise ConfigError(
            f"{source}: found a folder of .parquet files; expected one of them, such as {first}, "
            "or a folder of save_to_disk. Write one: datasets.load_dataset('parquet', "
            f"data_files='{source}/**/*.parquet').save_to_disk(FOLDER)"
        )


def refuse_images(source: Path) -> None:
    """Raise an error if a folder has images, which ``extract`` takes, not ``convert``."""
    from zsl_lab.data.files.images import entry_kind

    folders = [path for path in sorted(source.iterdir()) if path.is_dir()]
    inner = [path for folder in folders[:8] for path in sorted(folder.iterdir())[:50]]
    deeper = [path for folder in inner if folder.is_dir() for path in sorted(folder.iterdir())[:9]]
    if any(entry_kind(path) == "image" for path in (*inner, *deeper)):
        raise ConfigError(
            f"{source}: found folders of images, which have no features yet. Make them: `python -m "
            f"zsl_lab.data extract --images {source} --classes CLASSES.csv my.h5` (a folder for "
            "each class; or train, val and test, with these folders in each)."
        )


def write_class_table(table: ClassTable, path: Path) -> None:
    """Write a table of classes as CSV, which ``extract`` reads.

    Raises:
        OutputError: If the file cannot be written.
    """
    from zsl_lab.data.files.tables import COLUMNS
    from zsl_lab.files.atomic import atomic_write

    labels = list(table.attribute_names if table.attributes is not None else ())
    for i, label in enumerate(labels):
        if label in COLUMNS or label in labels[:i] or not label.strip():
            labels[i] = f"{label} ({i + 1})"
    columns: list[list[str]] = [["class", *table.names]]
    for i, label in enumerate(labels):
        assert table.attributes is not None
        columns.append([label, *(repr(float(str(value))) for value in table.attributes[:, i])])
    if table.descriptions is not None:
        columns.append(["description", *table.descriptions])
    if table.parts is not None:
        columns.append(["split", *table.parts])
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows(zip(*columns, strict=True))
    atomic_write(path, lines.getvalue().encode())
