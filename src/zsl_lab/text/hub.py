"""Loads models of transformers: from a folder, the cache of the Hugging Face Hub, or the Hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

from zsl_lab.errors import ConfigError
from zsl_lab.text.packages import module

#: seconds to wait for the hub's answer
_PATIENCE = 10

Loaded = TypeVar("Loaded")


def load_from_hub(
    name: str,
    load: Callable[[bool], Loaded],
    origin: str,
    ways_out: str,
    file: str = "config.json",
) -> Loaded:
    """Load something from a folder, the cache, or the hub, in this order.

    Args:
        name: A folder, or a repository's name.
        load: Loads it; its argument is True where downloads are forbidden.
        origin: Begins messages.
        ways_out: Ends messages.
        file: A file that the repository must have.

    Returns:
        What ``load`` returns.

    Raises:
        ConfigError: If it cannot be loaded.
    """
    # a loader may raise any type of error on a folder of unknown content
    try:
        return load(True)
    except Exception as error:
        if Path(name).is_dir():
            raise ConfigError(
                f"{origin}: cannot be loaded ({reason(error)}). {ways_out}"
            ) from error
    try:
        # asked first, and once: the loader itself would retry for most of a minute
        _ask(name, file)
        return load(False)
    except Exception as error:
        raise _unobtainable(origin, ways_out, error) from error


def check_available(name: str, origin: str, ways_out: str, file: str = "config.json") -> None:
    """Check that a repository is in the cache, or that the hub has it; nothing is downloaded.

    Args:
        name: The repository's name.
        origin: Begins messages.
        ways_out: Ends messages.
        file: A file that the repository must have.

    Raises:
        ConfigError: If it is in neither, or the hub does not answer.
    """
    obstacle = _obstacle(name, file)
    if obstacle is not None:
        raise _unobtainable(origin, ways_out, obstacle) from obstacle


@cache
def _obstacle(name: str, file: str) -> Exception | None:
    """The error that makes a repository unavailable, if any; asked once for all jobs of a sweep."""
    try:
        found = module("huggingface_hub", "bert").try_to_load_from_cache(name, file)
        if not isinstance(found, str):
            _ask(name, file)
    except Exception as error:
        return error
    return None


def _ask(name: str, file: str) -> None:
    hub = module("huggingface_hub", "bert")
    hub.get_hf_file_metadata(hub.hf_hub_url(name, file), timeout=_PATIENCE)


def _unobtainable(origin: str, ways_out: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"{origin}: found no folder of this name, and it cannot be downloaded "
        f"({reason(error)}). {ways_out}"
    )


def reason(error: Exception) -> str:
    """The text of an error, in one line of at most 200 characters."""
    # the hub's messages have several lines, of which the first may be only a status code
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the loader's progress bars and reports, which would mix with the run's own."""
    logs = [
        module("transformers.utils.logging", "bert"),
        module("huggingface_hub.utils.logging", "bert"),
    ]
    levels = [log.get_verbosity() for log in logs]
    bars = logs[0].is_progress_bar_enabled()
    for log in logs:
        log.set_verbosity_error()
    logs[0].disable_progress_bar()
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.set_verbosity(level)
        if bars:
            logs[0].enable_progress_bar()
