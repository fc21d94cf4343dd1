"""``python -m zsl_lab.data convert``: converts a benchmark from one format into another."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

from zsl_lab.cli.data import foreign
from zsl_lab.cli.data.findings import check_content, warn_of_findings
from zsl_lab.console.messages import console
from zsl_lab.console.parsers import Parser
from zsl_lab.errors import ConfigError, DataError, OutputError, nearest, quoted

if TYPE_CHECKING:
    from zsl_lab.data.files.benchmark_file import BenchmarkFile

_PROG = "python -m zsl_lab.data convert"
_DESCRIPTION = """\
Writes a benchmark in another form; the numbers and their types stay as they are.

SOURCE  a folder with att_splits.mat and a feature file; an HDF5 file; or of other programs:
        .npz, .npy (with labels.npy and so on beside it) or a folder of .npy, .pt, .safetensors,
        .csv, .parquet, a folder of Hugging Face datasets, AwA2's folder of features;
        or the folder of class attributes of AwA2, CUB, SUN or aPY, for a table of classes
TARGET  FILE.h5; FILE.npz; a folder for <features>.mat, att_splits.mat and, with sentence
        embeddings, sent_splits.mat; with --to datasets a folder of Hugging Face datasets;
        or FILE.csv for a table of classes

Fields of other programs are found by their names (features, x, embeddings; labels, y, targets;
class_names; attributes, att; split, trainval, test_seen, test_unseen; ...). Without a split some
classes are drawn as unseen. Pickles are never loaded.
"""
_EPILOG = f"""\
examples:
  {_PROG} DIR/FLO flo.h5
  {_PROG} DIR/FLO flo.h5 --features resnet50   features of DIR/FLO/resnet50.mat
  {_PROG} flo.h5 DIR/FLO                          back
  {_PROG} my.h5 sealed.h5         of other programs: checked, a SHA-256 added
  {_PROG} mine.h5 new.h5 --edited   a file that you changed: checked, sealed again
  {_PROG} clip.npz my.h5 --map features=emb,labels=y --semantics classes.csv
  {_PROG} table.parquet my.h5 --semantics att.csv --split testclasses.txt
  {_PROG} my.h5 FOLDER --to datasets              for datasets.load_from_disk
  {_PROG} Animals_with_Attributes2 classes.csv    a table for `extract --classes`

The layout of the HDF5 file: python -m pydoc zsl_lab.data.files.benchmark_file
"""
_FORMS = ("h5", "npz", "mat", "datasets")
#: seconds without a write after which a temporary file counts as left by a killed process
_IDLE = 600.0


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = _parse(arguments)
    source, target = Path(options.source).expanduser(), Path(options.target).expanduser()
    _check_source(source)
    if _is_class_table(source, target):
        _convert_classes(source, target, overwrite=options.overwrite)
        return 0
    form = _form(target, options.to)
    _check_places(source, target, form, options)
    content = _read(source, options)
    findings = check_content(content)  # first, so that nothing is written that no run could read
    _remove_leftovers(target)
    written = _write(content, target, form, options)
    _tell(content, written)
    warn_of_findings(findings)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(_PROG, _DESCRIPTION, _EPILOG)
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument(
        "--to",
        metavar="FORM",
        help=f"the form of TARGET: {', '.join(_FORMS)} (default: by its name; a folder is mat)",
    )
    parser.add_argument(
        "--features",
        metavar="STEM",
        help="the feature file's name without .mat; default: res101, or the only one",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument(
        "--edited",
        action="store_true",
        help="SOURCE is an HDF5 file that was changed on purpose after it was sealed",
    )
    parser.add_argument(
        "--shards",
        type=int,
        default=0,
        metavar="N",
        help="write the features of an HDF5 file to N .npy files beside it",
    )
    foreign.add_options(parser)
    return parser.parse(arguments)


def _read(source: Path, options: argparse.Namespace) -> BenchmarkFile:
    # SciPy and h5py take a while to import
    from zsl_lab.data.files import benchmark_file as hdf5
    from zsl_lab.data.files import benchmark_mat
    from zsl_lab.data.files.foreign.sources import find_reader

    if find_reader(source) is not None:
        return foreign.read_foreign(source, options)
    bare = source.is_dir() and not next(source.glob("*.mat"), None)
    if bare:
        foreign.refuse_tables(source)
    foreign.refuse_options(options, source)
    if source.is_dir():
        if bare:
            foreign.refuse_images(source)
        return benchmark_mat.read(source, options.features)
    return hdf5.read(source, edited=options.edited)


def _write(
    content: BenchmarkFile, target: Path, form: str, options: argparse.Namespace
) -> list[Path]:
    from zsl_lab.data.files import benchmark_file as hdf5
    from zsl_lab.data.files import benchmark_mat
    from zsl_lab.data.files.foreign import writers

    if form == "h5":
        with foreign.shown_progress(content.features.nbytes) as advance:
            shards = hdf5.write(
                content,
                target,
                elsewhere="name another TARGET",
                shards=options.shards,
                advance=advance,
            )
        return [target, *shards]
    if form == "npz":
        with foreign.shown_progress(content.features.nbytes) as advance:
            writers.write_npz(content, target, advance)
    elif form == "datasets":
        with foreign.shown_progress(content.features.nbytes) as advance:
            writers.write_datasets(content, target, overwrite=options.overwrite, advance=advance)
    else:
        return benchmark_mat.write(content, target, options.features, overwrite=options.overwrite)
    return [target]


def _form(target: Path, asked: str | None) -> str:
    """The format that TARGET is written in, one of ``_FORMS``."""
    from zsl_lab.data.files.foreign.sources import PICKLES, READERS

    suffixes = {".h5": "h5", ".hdf5": "h5", ".npz": "npz"}
    ending = target.suffix.lower()
    by_name = suffixes.get(ending)
    if ending in (*READERS, *PICKLES, ".mat") and by_name is None and not target.exists():
        raise ConfigError(
            f"{target}: found the ending '{target.suffix}', a form that is not written; expected "
            "FILE.h5, FILE.npz or a folder."
        )
    if asked is None:
        return by_name or "mat"
    if asked not in _FORMS:
        near = nearest(asked, _FORMS)
        hint = f"Did you mean {near[0]}?" if near else f"Forms: {', '.join(_FORMS)}."
        raise ConfigError(f"--to {asked}: there is no such form. {hint}")
    of_file = asked in suffixes.values()
    if (of_file and by_name != asked) or (not of_file and by_name is not None):
        expected = f"a name that ends in .{asked}" if of_file else "the name of a folder"
        raise ConfigError(f"--to {asked}: found TARGET {target}; expected {expected}.")
    return asked


def _check_source(source: Path) -> None:
    from zsl_lab.data.files.benchmark_file import is_hdf5
    from zsl_lab.data.files.foreign.sources import PICKLES, READERS

    if not source.exists():
        raise DataError(
            f"{source}: no such file or folder; expected a folder with att_splits.mat, an HDF5 "
            "file or one of another program. Name another, or get one: `python -m zsl_lab.data "
            "list` says which there are and how."
        )
    suffix = source.suffix.lower()
    if source.is_dir() or is_hdf5(source) or suffix in READERS:
        return
    if suffix == ".mat":
        raise ConfigError(
            f"{source}: found a .mat file; expected the folder that holds it and att_splits.mat. "
            f"Name {source.parent}."
        )
    if suffix in PICKLES:
        raise ConfigError(
            f"{source}: found a pickle, which can run any program and is never loaded; expected "
            "arrays. Where you trust it, load it yourself and save what it holds with numpy.savez."
        )
    raise ConfigError(
        f"{source}: found the ending '{source.suffix}'; expected a folder, or a file that ends in "
        f".h5, {', '.join(READERS)}. Rename the file, or save the data as .npz."
    )


def _is_class_table(source: Path, target: Path) -> bool:
    """Whether to write a table of classes: SOURCE has only classes, and TARGET is a CSV file.

    Raises:
        ConfigError: If only one of these is so.
    """
    from zsl_lab.data.files.foreign.class_sources import is_class_source
    from zsl_lab.data.files.foreign.sources import find_reader

    only_classes = source.is_dir() and is_class_source(source)
    if only_classes and target.suffix.lower() == ".csv":
        return True
    if only_classes and find_reader(source) is None:
        raise ConfigError(
            f"{source}: found classes and no features; expected features too, or TARGET to be a "
            f"table of classes. Name it FILE.csv, for `extract --classes`; or give the features: "
            f"{_PROG} FEATURES {target} --semantics {source}"
        )
    if target.suffix.lower() == ".csv":
        raise ConfigError(
            f"{target}: found the name of a table; expected FILE.h5, FILE.npz or a folder: a table "
            "holds the classes of AwA2, CUB, SUN or aPY only."
        )
    return False


def _convert_classes(source: Path, target: Path, *, overwrite: bool) -> None:
    from zsl_lab.data.files.foreign.class_sources import read_class_source

    _check_new_file(target, overwrite=overwrite)
    table = read_class_source(source)
    foreign.write_class_table(table, target)
    attributes = 0 if table.attributes is None else table.attributes.shape[1]
    what = f"{attributes} attributes" if attributes else "descriptions"
    out = console()
    out.print(f"{len(table.names)} classes with {what}", soft_wrap=True)
    out.print(f"wrote {target} ({target.stat().st_size / 1e6:.1f} MB)", soft_wrap=True)
    out.print(
        f"make features of images: python -m zsl_lab.data extract --images DIR --classes {target} "
        "my.h5",
        soft_wrap=True,
    )


def _check_places(source: Path, target: Path, form: str, options: argparse.Namespace) -> None:
    from zsl_lab.data.files import benchmark_mat
    from zsl_lab.data.files.foreign.sources import find_reader

    # converting an HDF5 file onto itself is allowed: it checks and seals the file
    if form != "h5" and target.exists() and target.samefile(source):
        raise ConfigError(
            f"{target}: found SOURCE as TARGET; expected another name. What is not converted would "
            "be lost."
        )
    mat_source = source.is_dir() and find_reader(source) is None
    if form == "mat" and (mat_source or target.is_file()):
        found = "a file" if target.is_file() else "a folder, as SOURCE is"
        raise ConfigError(
            f"{target}: found {found}; expected a name that ends in .h5 or .npz, a folder with "
            "--to datasets, or, where SOURCE is another form, a folder."
        )
    features = options.features
    if features and not mat_source and form != "mat":
        raise ConfigError(
            "--features names a .mat file, and there is none: neither SOURCE nor TARGET is a "
            "folder of them. Leave it out; --map features=FIELD names a field."
        )
    if features is not None and not benchmark_mat.is_feature_file(features):
        raise ConfigError(
            f"--features {features}: expected a feature file's name without .mat and "
            "without folders, such as res101."
        )
    if options.shards < 0:
        raise ConfigError(f"--shards {options.shards}: expected a number of files, at least 1.")
    if options.shards and form != "h5":
        raise ConfigError(
            f"--shards {options.shards}: TARGET is {target}; expected a name that ends in .h5: "
            "only an HDF5 file has its features in files beside it. Leave it out, or name one."
        )
    if options.edited and source.is_dir():
        raise ConfigError(f"--edited: {source} is a folder of .mat files, which have no seal.")
    if form in ("h5", "npz"):
        _check_new_file(target, overwrite=options.overwrite)


def _remove_leftovers(target: Path) -> None:
    """Remove temporary files of killed conversions to TARGET, not of running ones."""
    from zsl_lab.files.atomic import remove_leftovers

    remove_leftovers(target.parent, escape(target.name), _IDLE)
    if target.is_dir():
        remove_leftovers(target, idle=_IDLE)


def _check_new_file(target: Path, *, overwrite: bool) -> None:
    if target.is_dir():
        raise ConfigError(f"{target}: found a folder; expected the name of a file to write.")
    if target.exists() and not overwrite:
        raise OutputError(
            f"{target}: the file exists. Add --overwrite to replace it, or name another."
        )


def _tell(content: BenchmarkFile, written: list[Path]) -> None:
    import numpy as np

    out = console()
    seen = len(np.unique(content.labels[content.trainval]))
    unseen = content.num_classes - seen
    kinds = ", ".join(
        f"{kind} {list(table.shape)} {table.dtype}" for kind, table in content.semantics.items()
    )
    features = content.features
    out.print(
        f"{content.name}: {len(features)} samples, {seen} seen + {unseen} unseen classes",
        soft_wrap=True,
    )
    out.print(
        f"features {list(features.shape)} {features.dtype}; semantics {kinds}", soft_wrap=True
    )
    for path in written:
        out.print(f"wrote {path} ({_size(path) / 1e6:.1f} MB)", soft_wrap=True)
    if written[0].suffix.lower() in (".h5", ".hdf5", ".mat"):
        out.print(f"train on it: {_command(written[0])}", soft_wrap=True)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _command(path: Path) -> str:
    """The command that trains on an HDF5 file, or on the folder of a feature file."""
    from zsl_lab.data.files.benchmark_file import is_hdf5
    from zsl_lab.data.public.sources import PUBLIC

    if is_hdf5(path):
        return f"python -m zsl_lab {quoted('dataset.path', str(path))}"
    folder = path.absolute().parent
    published = {source.folder: name for name, source in PUBLIC.items()}
    if folder.name in published:
        dataset = f"dataset={published[folder.name]}"
    else:
        dataset = f"dataset=awa2 {quoted('dataset.name', folder.name)} dataset.counts=null"
    features, data_dir = path.stem, str(folder.parent)
    return (
        f"python -m zsl_lab {dataset} {quoted('dataset.features', features)} "
        f"{quoted('paths.data_dir', data_dir)}"
    )
