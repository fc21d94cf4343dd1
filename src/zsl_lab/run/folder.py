"""The folder of a run: which command may write to it, and what a failed command leaves in it.

A command claims its folder before anything is written there. The claim is refused while another
command holds it, and where the folder holds a run that would be replaced. Nothing here needs torch.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from zsl_lab.errors import ConfigError, OutputError, output_error, quoted
from zsl_lab.files.atomic import reason
from zsl_lab.keys import Marks
from zsl_lab.result import RESULT_FILE
from zsl_lab.run.configuration.settings import CONFIG_FILE

#: in a claimed folder: the lock, with the process that holds it
LOCK_FILE = ".lock"
#: in a run's folder: Hydra's record of the command
RECORD = ".hydra"
RECORD_FILES = ("config.yaml", "hydra.yaml", "overrides.yaml")
#: the results of a run, which only another training could make again
RESULTS = (
    RESULT_FILE,
    "checkpoints/best.ckpt",
    "checkpoints/last.ckpt",
    "predictions.csv",
    "tradeoff.csv",
)
#: what else a run writes from its start on
BEGUN = (CONFIG_FILE, "metrics.csv")


@dataclass
class Claim:
    """A folder that this process may write to.

    Attributes:
        folder: The folder.
        made: Folders that the claim made, the innermost first.
        earlier: Files of :data:`BEGUN` and of Hydra's record that were there before.
    """

    folder: Path
    made: list[Path] = field(default_factory=list)
    earlier: set[str] = field(default_factory=set)
    _lock: FileLock | None = None

    def release(self) -> None:
        """Let other commands claim the folder."""
        if self._lock is None:
            return
        # removed while locked: a process that waits for the lock notices that the file is gone
        with suppress(OSError):
            (self.folder / LOCK_FILE).unlink()
        self._lock.release()
        self._lock = None

    def discard(self) -> None:
        """Remove what the command made before it failed: records and empty folders, no more."""
        record = self.folder / RECORD
        inside = {path.name for path in _children(self.folder)} - {LOCK_FILE}
        if inside <= {RECORD}:
            for name in RECORD_FILES:
                if f"{RECORD}/{name}" not in self.earlier:
                    with suppress(OSError):
                        (record / name).unlink()
            if RECORD not in self.earlier:
                with suppress(OSError):
                    record.rmdir()
        self.release()
        for folder in self.made:
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:  # not empty
                return


#: the claims of this process, by resolved folder
_claims: dict[Path, Claim] = {}


def claim(
    folder: Path, *, overwrite: bool = False, goes_on: bool = False, wait: float = 0.0
) -> Claim:
    """Claim a folder for this process, until :func:`release_all`; make it where it is missing.

    Args:
        folder: The folder of a run or of a sweep.
        overwrite: Whether the files of a run in it may be replaced.
        goes_on: Whether the run in it is resumed, or its folder is not that of a run.
        wait: Seconds to wait for another command that holds the folder.

    Raises:
        ConfigError: Another command holds the folder, or it holds a run.
        OutputError: The folder cannot be made.
    """
    key = folder.resolve()
    if key in _claims:
        return _claims[key]
    if not goes_on and not overwrite:
        check_free(folder)
    made = [path for path in (key, *key.parents) if not path.exists()]
    try:
        key.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        for path in made:
            with suppress(OSError):
                path.rmdir()
        raise output_error(error, "paths.output_dir") or OutputError(
            f"{folder}: cannot be made: {reason(error)}."
        ) from error
    names = (*BEGUN, RECORD, *(f"{RECORD}/{name}" for name in RECORD_FILES))
    earlier = {name for name in names if (key / name).exists()}
    found = Claim(key, made, earlier)
    try:
        found._lock = _locked(key, wait)
        if not goes_on and not overwrite:  # a run may have ended in between
            check_free(folder)
    except BaseException:
        found.discard()
        raise
    _claims[key] = found
    return found


def claimed(folder: Path) -> Claim | None:
    """The claim of this process on a folder, if it has one."""
    return _claims.get(folder.resolve())


def release_all() -> None:
    """Release every claim of this process."""
    while _claims:
        _claims.popitem()[1].release()


@contextmanager
def held(
    folder: Path, *, overwrite: bool = False, goes_on: bool = False, wait: float = 0.0
) -> Iterator[Claim]:
    """Hold a folder, which a command may have claimed before; see :func:`claim`."""
    before = claimed(folder)
    if before is not None:
        yield before
        return
    found = claim(folder, overwrite=overwrite, goes_on=goes_on, wait=wait)
    try:
        yield found
    finally:
        del _claims[found.folder]
        found.release()


def check_free(folder: Path) -> None:
    """Raise ConfigError where a new run would replace files in a folder."""
    found = next((name for name in RESULTS if (folder / name).exists()), None)
    if found is not None:
        state = folder / "checkpoints" / "last.ckpt"
        finished = (folder / RESULT_FILE).exists()
        resume = f", go on with it ({quoted('ckpt', str(state))})" if state.exists() else ""
        raise ConfigError(
            f"hydra.run.dir={folder}: this folder holds {'a finished' if finished else 'a'} run "
            f"(found {found}); expected a new or empty folder. Give another hydra.run.dir{resume}, "
            "or replace the run: overwrite=true."
        )
    strange = _strange_file(folder)
    if strange is not None:
        raise ConfigError(
            f"hydra.run.dir={folder}: this folder holds {strange}, which is not a file of a run "
            "and would be replaced; expected a new or empty folder. Give another hydra.run.dir, "
            f"or replace {strange}: overwrite=true."
        )


def _strange_file(folder: Path) -> str | None:
    """A file that a run would replace and that no run of this project has written."""
    config, record = folder / CONFIG_FILE, folder / RECORD / "hydra.yaml"
    ours = Marks.of_header(_text(config)) is not None
    if config.exists() and not ours:
        return CONFIG_FILE
    if (folder / BEGUN[1]).exists() and not ours:
        return BEGUN[1]
    if record.exists() and "name: zsl_lab" not in _text(record):
        return RECORD
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


# --------------------------------------------------------------------------- the lock


def _locked(folder: Path, wait: float) -> FileLock | None:
    """The lock of a folder, held; None where its file system or its permissions have no locks."""
    path = folder / LOCK_FILE
    holder = _holder(path)  # before the attempt: some versions of filelock empty the file
    lock = FileLock(str(path))
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise ConfigError(
            f"{folder}: {holder or _holder(path) or 'another process'} is using this folder, and "
            "two commands must not write to one. Wait until it ends, or give another folder "
            "(hydra.run.dir; hydra.sweep.dir for a sweep)."
        ) from None
    except (OSError, NotImplementedError):
        return None
    with suppress(OSError):
        path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    return lock


def _holder(path: Path) -> str:
    """The process that a lock names, for messages; empty where it names none."""
    try:
        values = json.loads(_text(path))
        return f"process {int(values['pid'])} on {str(values['host'])[:80]!r}"
    except (ValueError, TypeError, KeyError):
        return ""
