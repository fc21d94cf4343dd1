"""``python -m zsl_lab.data download``: fetch an archive, extract a benchmark, check its files."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from zsl_lab.console.messages import say
from zsl_lab.console.parsers import Parser
from zsl_lab.console.progress import Progress, Unit
from zsl_lab.data.files.mat import read_mat
from zsl_lab.data.public import archive as zip_archive
from zsl_lab.data.public import transfer
from zsl_lab.data.public.sources import (
    FEATURES,
    PUBLIC,
    SPLITS,
    Archive,
    Source,
    check_choice,
    default_data_dir,
)
from zsl_lab.errors import ConfigError, DataError, OutputError, interruption_code
from zsl_lab.files.atomic import reason
from zsl_lab.files.hashing import md5_file

PROG = "python -m zsl_lab.data download"
DESCRIPTION = """\
Download the archive of a benchmark, extract its files, check them and show their contents.

The same command resumes an interrupted download. Intact files are kept. Several benchmarks share
one archive: with --keep-archive it stays in the data folder for the next of them."""
EXAMPLES = f"""\
examples:
  {PROG} awa2 --data-dir DIR                   DIR/AWA2/res101.mat and att_splits.mat
  {PROG} cub --data-dir DIR --keep-archive     DIR/xlsa17.zip stays, for awa1, awa2, sun and apy
  {PROG} flo --data-dir DIR --url https://HOST/cvpr18xian.zip
"""
# beginnings of MATLAB files of version 5 and of version 7.3
_MATLAB = (b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file")
_FIELDS = {
    FEATURES: ["features", "labels"],
    SPLITS: ["att", "trainval_loc", "test_seen_loc", "test_unseen_loc"],
}
_ZIP = b"PK\x03\x04"


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Returns:
        The exit code.

    Raises:
        ZslLabError: If the benchmark cannot be downloaded; the message is shown to the user.
    """
    parser = Parser(PROG, DESCRIPTION, EXAMPLES)
    parser.add_argument("dataset", metavar="DATASET", help=f"one of {', '.join(PUBLIC)}")
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        type=Path,
        default=default_data_dir(),
        help="holds a folder per benchmark (default: %(default)s)",
    )
    parser.add_argument(
        "--url",
        metavar="URL",
        nargs="+",
        action="extend",
        help="addresses of the archive, tried in order instead of the known ones",
    )
    parser.add_argument(
        "--keep-archive", action="store_true", help="leave the archive in the data folder"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files that are here and intact"
    )
    options = parser.parse(arguments)
    name, data_dir = options.dataset, options.data_dir.expanduser()
    check_choice(name)
    if name not in PUBLIC:
        raise ConfigError(
            f"{name}: there is nothing to download; `python -m zsl_lab.data list` says what it "
            f"needs. Public: {', '.join(PUBLIC)}."
        )
    for url in options.url or ():
        try:
            transfer.check_url(url)
        except transfer.TransferError as error:
            raise ConfigError(f"--url: {error}.") from error
    command = shlex.join([*PROG.split(), *arguments])
    try:
        download(
            PUBLIC[name],
            data_dir,
            options.url,
            keep_archive=options.keep_archive,
            overwrite=options.overwrite,
        )
    except KeyboardInterrupt as error:
        kept = [part for part in _parts(PUBLIC[name].archive, data_dir) if transfer.size_of(part)]
        what = "".join(
            f" {transfer.size_of(part) / 1e6:,.1f} MB are kept in {part}." for part in kept
        )
        say(f"Interrupted.{what} This goes on: {command}")
        return interruption_code(error)
    from zsl_lab.cli.data import info

    return info.main([name, "--data-dir", str(data_dir)])


def download(
    source: Source,
    data_dir: Path,
    urls: Sequence[str] | None = None,
    *,
    keep_archive: bool = False,
    overwrite: bool = False,
    patience: transfer.Patience = transfer.PATIENCE,
) -> None:
    """Download the files of a benchmark that are missing or not intact.

    Args:
        source: The benchmark.
        data_dir: The folder with one folder per benchmark.
        urls: Addresses of the archive, tried in order; None for the known ones.
        keep_archive: Whether the archive stays in the data folder.
        overwrite: Whether intact files are replaced too.
        patience: Timeout and retries.

    Raises:
        DataError: If no server gave an intact archive with the required files; existing files are
            then unchanged.
        OutputError: If the disk is full, the folder cannot be written, or another download uses it.
    """
    with _locked(data_dir, source.archive):
        folder = data_dir / source.folder
        _sweep(folder, (*source.wanted, *source.extra))
        intact = [
            file
            for file in (*source.wanted, *source.extra)
            if not overwrite and _is_intact(folder / file)
        ]
        if set(source.wanted) <= set(intact):
            say(
                f"{folder}: {' and '.join(source.wanted)} are here and intact; --overwrite "
                "replaces them."
            )
            return
        kept = data_dir / source.archive.name
        failures: list[str] = []
        if kept.is_file():
            say(f"{kept} is here: no download is needed.")
            try:
                _unpack(source, kept, folder, intact)
                return
            except DataError as error:
                say(f"{error} The archive is downloaded instead.")
                failures.append(str(error))
        for url in urls or source.archive.urls:
            part = _part(source.archive, data_dir, url)
            try:
                _fetch(url, part, patience)
                _unpack(source, part, folder, intact)
            except transfer.TransferError as error:
                failures.append(f"{url}: {error}.")
            except DataError as error:
                # complete, but not a usable archive
                transfer.discard(part)
                failures.append(f"{url}: {error}")
            else:
                _put_away(part, kept if keep_archive else None)
                for other in _parts(source.archive, data_dir):
                    transfer.discard(other)
                return
            say(failures[-1])
        raise DataError(_unavailable(source, data_dir, failures))


def _fetch(url: str, part: Path, patience: transfer.Patience) -> None:
    have = transfer.size_of(part)
    say(f"From {url}" + (f", going on at {have / 1e6:,.1f} MB" if have else ""))
    with Progress(Unit("MB", 10**6)) as shown:
        transfer.fetch(url, part, _ZIP, shown.update, patience)


def _unpack(source: Source, archive: Path, folder: Path, intact: list[str]) -> None:
    """Extract the files that are not intact yet, and print their versions."""
    ends = {file: f"{source.folder}/{file}" for file in (*source.wanted, *source.extra)}
    found = zip_archive.find(
        archive, [ends[file] for file in source.wanted], [ends[file] for file in source.extra]
    )
    members = {file: found[end] for file, end in ends.items() if end in found}
    targets = {folder / file: member for file, member in members.items() if file not in intact}
    transfer.check_space(folder.parent, sum(member.file_size for member in targets.values()))
    zip_archive.extract(archive, targets, _MATLAB)
    for file in ends:
        path = folder / file
        if path in targets:
            md5 = md5_file(path)
            say(
                f"{path}: {path.stat().st_size / 1e6:,.1f} MB, md5 {md5}: "
                f"{source.version(file, md5)}."
            )
        elif file in members and zip_archive.crc32(path) != members[file].CRC:
            say(f"{path}: it differs from the archive's and is kept; --overwrite replaces it.")
        elif file not in members and not path.exists():
            say(f"{path}: not in the archive; it is {source.extra[file]}.")


def _is_intact(path: Path) -> bool:
    """Whether a file exists and can be read; prints why if it cannot."""
    if not path.exists():
        return False
    try:
        read_mat(path, _FIELDS.get(path.name, ["att"]))
    except DataError as error:
        say(f"{error} It is replaced when an intact file has been downloaded.")
        return False
    return True


def _part(archive: Archive, data_dir: Path, url: str) -> Path:
    """The file of a partial download, one for each address: servers may have other versions."""
    return data_dir / f"{archive.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part"


def _parts(archive: Archive, data_dir: Path) -> list[Path]:
    return sorted(data_dir.glob(f"{archive.name}.*.part"))


def _put_away(part: Path, kept: Path | None) -> None:
    if kept is not None:
        try:
            os.replace(part, kept)
        except OSError as error:
            raise OutputError(f"Cannot write {kept}: {reason(error)}.") from error
        say(f"{kept} is kept: other benchmarks in it need no download.")
    transfer.discard(part)


def _sweep(folder: Path, files: Sequence[str]) -> None:
    """Remove temporary files of a killed download; the lock excludes that one is still running."""
    for file in files:
        for left in folder.glob(f".{file}.*.tmp"):
            with suppress(OSError):
                left.unlink()


def _unavailable(source: Source, data_dir: Path, failures: list[str]) -> str:
    archive = source.archive
    here = sum(transfer.size_of(part) for part in _parts(archive, data_dir))
    kept = f" (what has arrived, {here / 1e6:,.1f} MB, is kept)" if here else ""
    return (
        f"{archive.name}: no source gave it; {len(failures)} tried, each named above. Try again "
        f"later{kept}, name another place with --url"
        f" URL, or get it by hand ({archive.page}) and put it at {data_dir / archive.name}: the "
        "same command takes the files out of it."
    )


@contextmanager
def _locked(data_dir: Path, archive: Archive) -> Iterator[None]:
    place = data_dir / f".{archive.name}.lock"
    try:
        # the deepest folder first, to remove them in this order if they stay empty
        made = [folder for folder in (data_dir, *data_dir.parents) if not folder.exists()]
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(str(place))
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputError(
            f"{data_dir}: another download of {archive.name} into this folder is running. Wait for "
            "its end, or choose another folder with --data-dir."
        ) from error
    except OSError as error:
        raise OutputError(
            f"Cannot write to {data_dir}: {reason(error)}, with --data-dir."
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            # only if nothing else was written: another download may have opened the lock file, and
            # a third one would not see its lock if the file were removed
            if made and list(data_dir.iterdir()) == [place]:
                place.unlink()
        lock.release()
        with suppress(OSError):
            for folder in made:
                folder.rmdir()
