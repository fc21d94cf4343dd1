"""Loading models of transformers: from a folder, the cache of the Hugging Face Hub, or the Hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from zsl_lab.errors import ConfigError
from zsl_lab.text.packages import module

#: seconds for the first answer of the hub
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
        load: Loads it; True forbids downloads.
        origin: Begins messages.
        ways_out: Ends messages.
        file: A file that the repository must have.

    Raises:
        ConfigError: It cannot be loaded.
    """
    # whatever a foreign folder holds, the loader may raise anything on it
    try:
        return load(True)
    except Exception as error:
        if Path(name).is_dir():
            raise ConfigError(
                f"{origin}: cannot be loaded ({reason(error)}). {ways_out}"
            ) from error
    try:
        hub = module("huggingface_hub", "bert")
        # asked once: the loader itself would try again for most of a minute
        hub.get_hf_file_metadata(hub.hf_hub_url(name, file), timeout=_PATIENCE)
        return load(False)
    except Exception as error:
        raise ConfigError(
            f"{origin}: found no folder of this name, and it cannot be downloaded "
            f"({reason(error)}). {ways_out}"
        ) from error


def reason(error: Exception) -> str:
    """The text of an error, in one line of at most 200 characters."""
    # the hub's messages are paragraphs, of which the first line may say no more than a number
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Neither progress bars nor reports of the loader, which would mix with the run's own."""
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
