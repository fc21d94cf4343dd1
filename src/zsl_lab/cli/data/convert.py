"""``python -m zsl_lab.data convert``: a benchmark between .mat files and one HDF5 file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zsl_lab.cli.data.findings import check_content, warn_of_findings
from zsl_lab.console.messages import console
from zsl_lab.console.parsers import Parser
from zsl_lab.errors import ConfigError, DataError, OutputError, quoted

if TYPE_CHECKING:
    from zsl_lab.data.files.benchmark_file import BenchmarkFile

_PROG = "python -m zsl_lab.data convert"
_DESCRIPTION = """\
Writes a benchmark in another form; the numbers and their types stay as they are.

SOURCE  a folder with att_splits.mat and a feature file, or an HDF5 file
TARGET  FILE.h5, or a folder for <features>.mat, att_splits.mat and, with sentence embeddings,
        sent_splits.mat
"""
_EPILOG = f"""\
examples:
  {_PROG} DIR/FLO flo.h5
  {_PROG} DIR/FLO flo.h5 --features resnet50   features of DIR/FLO/resnet50.mat
  {_PROG} flo.h5 DIR/FLO                          back
  {_PROG} my.h5 sealed.h5         of other programs: checked, a SHA-256 added
  {_PROG} mine.h5 new.h5 --edited   a file that you changed: checked, sealed again

The layout of the HDF5 file: python -m pydoc zsl_lab.data.files.benchmark_file
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = Parser(_PROG, _DESCRIPTION, _EPILOG)
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("target", metavar="TARGET")
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
    options = parser.parse(arguments)
    source, target = Path(options.source).expanduser(), Path(options.target).expanduser()

    # SciPy and h5py take a while to import
    from zsl_lab.data.files import benchmark_file as hdf5
    from zsl_lab.data.files import benchmark_mat

    _check_places(source, target, options.features, overwrite=options.overwrite)
    if options.features is not None and not benchmark_mat.is_feature_file(options.features):
        raise ConfigError(
            f"--features {options.features}: expected a feature file's name without .mat and "
            "without folders, such as res101."
        )
    if options.edited and source.is_dir():
        raise ConfigError(f"--edited: {source} is a folder of .mat files, which have no seal.")
    content = (
        benchmark_mat.read(source, options.features)
        if source.is_dir()
        else hdf5.read(source, edited=options.edited)
    )
    if hdf5.is_hdf5(target):
        hdf5.write(content, target, elsewhere="name another TARGET", shards=max(0, options.shards))
        written = [target]
    else:
        written = benchmark_mat.write(
            content, target, options.features, overwrite=options.overwrite
        )
    _tell(content, written)
    warn_of_findings(check_content(content))
    return 0


def _check_places(source: Path, target: Path, features: str | None, *, overwrite: bool) -> None:
    from zsl_lab.data.files.benchmark_file import is_hdf5

    if not source.exists():
        raise DataError(
            f"{source}: no such file or folder; expected a folder with att_splits.mat, or an HDF5 "
            "file. Name another, or get one: `python -m zsl_lab.data list` says which there are "
            "and how."
        )
    if source.is_file() and source.suffix.lower() == ".mat":
        raise ConfigError(
            f"{source}: found a .mat file; expected the folder that holds it and att_splits.mat. "
            f"Name {source.parent}."
        )
    if not is_hdf5(target) and (source.is_dir() or target.is_file()):
        found = "a file" if target.is_file() else "a folder, as SOURCE is"
        raise ConfigError(
            f"{target}: found {found}; expected a name that ends in .h5, or, where SOURCE is such "
            "a file, a folder."
        )
    if is_hdf5(target):
        if features and source.is_file():
            raise ConfigError(
                "--features names a .mat file, and there is none: both are HDF5 files. Leave it "
                "out."
            )
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
        out.print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)", soft_wrap=True)
    out.print(f"train on it: {_command(written[0])}", soft_wrap=True)


def _command(path: Path) -> str:
    """What trains on an HDF5 file, or on the folder that a feature file lies in."""
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
