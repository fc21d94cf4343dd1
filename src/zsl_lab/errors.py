"""Errors that a user can solve: the message is all that is shown, without a stack trace."""

from __future__ import annotations

import difflib
import errno
import re
import shlex
from collections.abc import Iterable
from typing import Literal


class ZslLabError(Exception):
    """Base of the errors whose message says what was found, what was expected and what to do."""


class ConfigError(ZslLabError):
    """A configuration value is missing, misspelt, of the wrong type or out of range."""


class InputError(ConfigError):
    """A dataset does not hold the inputs (features or images) that a method takes.

    Attributes:
        holds: What the dataset holds: ``features`` or ``images``.
    """

    def __init__(self, message: str, holds: Literal["features", "images"]) -> None:
        super().__init__(message)
        self.holds = holds


class DataError(ZslLabError):
    """A data file is missing, damaged or inconsistent."""


class UnreachableError(ZslLabError):
    """The file system that files lie on does not answer; nothing is wrong with the files."""


class DataWarning(UserWarning):
    """A data file can be read, but metrics computed from it may be wrong.

    Attributes:
        code: A short name of the kind, for programs.
        level: ``warning``, or ``note`` where no metric is affected.
    """

    def __init__(self, text: str, code: str = "", level: str = "warning") -> None:
        super().__init__(text)
        self.code, self.level = code, level


class CacheWarning(UserWarning):
    """A message about a cache (rebuilt, kept elsewhere, ...), not about the data."""


class CheckpointError(ZslLabError):
    """A file is not a checkpoint of this project, or does not fit what it is used with."""


class OutputError(ZslLabError):
    """A folder cannot be written, or the disk is full."""


class InterruptionError(ZslLabError):
    """Training was stopped by the user; the text says how to go on.

    Attributes:
        exit_code: The command's exit code, by the convention of shells.
    """

    exit_code = 130


class TerminationError(InterruptionError):
    """Training was stopped by SIGTERM, as batch systems send it; the text says how to go on."""

    exit_code = 143


class OutOfMemoryError(ZslLabError):
    """More memory is needed than there is."""


class TrainingError(ZslLabError):
    """Training cannot go on (a loss is not finite, say)."""


#: names of keys in other projects, and what they are called here
_SYNONYMS = {
    "lr": ("learning_rate",),
    "learningrate": ("learning_rate",),
    "epoch": ("steps",),
    "epochs": ("steps",),
    "max_epochs": ("steps",),
    "max_steps": ("steps",),
    "iterations": ("steps",),
    "bs": ("batch_size",),
    "batch": ("batch_size",),
    "wd": ("weight_decay",),
    "hidden": ("hidden_dim", "encoder_hidden", "decoder_hidden"),
    "hidden_size": ("hidden_dim", "encoder_hidden", "decoder_hidden"),
    "z_dim": ("latent_dim",),
    "latent": ("latent_dim",),
    "gpus": ("devices",),
    "gpu": ("devices", "accelerator"),
    "workers": ("devices",),
    "data": ("dataset", "data_dir"),
    "data_path": ("data_dir",),
    "data_root": ("data_dir",),
    "output": ("output_dir",),
    "model": ("method",),
    "algorithm": ("method",),
    "random_seed": ("seed",),
    "checkpoint": ("ckpt",),
    "checkpoint_path": ("ckpt",),
    "ckpt_path": ("ckpt",),
    "attributes": ("semantics",),
}


def exit_code(error: Exception) -> int:
    """The exit code of a command that ends with an error: 2 for a wrong value or key, else 1."""
    return 2 if isinstance(error, ConfigError) else 1


def interruption_code(error: KeyboardInterrupt) -> int:
    """The exit code of an interrupted command: what its handler of SIGTERM gave, else Ctrl-C's."""
    given = error.args[0] if error.args else None
    return given if isinstance(given, int) else InterruptionError.exit_code


def nearest(key: str, keys: Iterable[str]) -> list[str]:
    """The known keys most similar to a misspelt one.

    Args:
        key: The misspelt key, with or without the sections before it.
        keys: The known dotted keys.

    Returns:
        At most three, the best first.
    """
    keys = sorted(set(keys))
    known_as = _known_as(key, keys)
    if known_as:
        return known_as
    found = difflib.get_close_matches(key, keys, n=3, cutoff=0.75)
    tail = key.rsplit(".", 1)[-1]
    tails: dict[str, list[str]] = {}
    for known in keys:
        tails.setdefault(known.rsplit(".", 1)[-1], []).append(known)
    for match in difflib.get_close_matches(tail, tails, n=2, cutoff=0.7):
        found += [known for known in tails[match] if known not in found]
    return found[:3]


def _known_as(key: str, keys: Iterable[str]) -> list[str]:
    """At most three keys that other projects call this; only those of its section, if any are."""
    section, _, name = key.rpartition(".")
    wanted = _SYNONYMS.get(name.lower(), ())
    found = [known for known in keys if known.rpartition(".")[2] in wanted]
    own = [known for known in found if known.rpartition(".")[0] == section]
    return (own or found)[:3]


def output_error(error: OSError, key: str) -> OutputError | None:
    """The error to show for a failed write; None where the failure is of another kind.

    Args:
        error: The system's error.
        key: The configuration key that moves the output elsewhere.
    """
    where = error.filename or "the output folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return OutputError(
            f"{where}: no space left ({error.strerror}). Free some, or set {key} to a folder on "
            "another disk."
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return OutputError(
            f"{where}: there is a file where a folder is to be made ({error.strerror}). Set {key} "
            "to another folder, or move the file away."
        )
    if error.errno in (
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOENT,
        errno.ENAMETOOLONG,
        errno.ELOOP,
    ):
        return OutputError(
            f"{where}: cannot be written ({error.strerror}). Fix its permissions, or set {key} to "
            "a folder that can be written."
        )
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory could not be allocated, by Python, NumPy or PyTorch."""
    texts = ("out of memory", "can't allocate memory", "not enough memory", "size calculation over")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error).lower() for text in texts)
    )


def quoted(key: str, value: str) -> str:
    """``key=value`` quoted for Hydra and then for the shell, whatever characters the value has."""
    if re.fullmatch(r"[\w/.:+@%-]+", value, re.ASCII):
        return f"{key}={value}"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return shlex.quote(f'{key}="{escaped}"')
