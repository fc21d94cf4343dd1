"""Saved models on the Hugging Face Hub, which is contacted only to download or upload one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from zsl_lab import __version__
from zsl_lab.errors import CheckpointError, ConfigError, OutputError
from zsl_lab.sharing.packages import required
from zsl_lab.sharing.saved_model import CONFIG_FILE, LIBRARY, MODEL_FILE, is_saved

#: how an id begins; the second is another spelling of the first
PREFIX, _OTHER = "hf-hub:", "hf_hub:"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def is_hub_id(source: object) -> bool:
    """Whether this is ``hf-hub:USER/NAME`` or ``hf-hub:USER/NAME@REVISION``."""
    return isinstance(source, str) and source.startswith((PREFIX, _OTHER))


def download(source: str) -> Path:
    """Download a saved model, into the Hub's own cache, unless it is there already.

    Args:
        source: ``hf-hub:USER/NAME``, with ``@REVISION`` for a branch, tag or commit.

    Returns:
        Its folder.

    Raises:
        CheckpointError: There is no such model, or it cannot be fetched.
        ConfigError: The package huggingface_hub is not installed, or the id is not valid.
    """
    repository, _, revision = source[len(PREFIX) :].partition("@")
    _check(repository, f"ckpt={source}")
    library = required("huggingface_hub", "hub", f"ckpt={source}")
    try:
        folder = library.snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=[CONFIG_FILE, MODEL_FILE],
            library_name=LIBRARY,
            library_version=__version__,
        )
    except Exception as error:  # of the Hub, of its transport, of the disk
        raise CheckpointError(
            f"ckpt={source}: the model cannot be fetched ({_first_line(error)}). Check the id, the "
            "network, and for a private model the token (`hf auth login`); or give a folder that "
            "save_pretrained wrote."
        ) from error
    if not is_saved(Path(folder)):
        raise CheckpointError(
            f"ckpt={source}: this repository has no {CONFIG_FILE} and {MODEL_FILE}; expected a "
            "model that save_pretrained of zsl_lab wrote. Give another id."
        )
    return Path(folder)


def upload(
    folder: Path,
    repository: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
) -> str:
    """Upload a saved model; the repository is created if it is missing.

    Args:
        folder: The model's folder.
        repository: ``USER/NAME``.
        private: Whether a new repository is private; None for the account's default.
        token: The account's token; None for the one that is stored on this machine.
        revision: The branch; None for ``main``.
        commit_message: The message of the commit; None for a default.

    Returns:
        The commit's URL.

    Raises:
        OutputError: The Hub refuses it, or cannot be reached.
        ConfigError: The package huggingface_hub is not installed, or the id is not valid.
    """
    _check(repository, f"push_to_hub({repository!r})")
    library = required("huggingface_hub", "hub", "push_to_hub")
    api = library.HfApi(token=token, library_name=LIBRARY, library_version=__version__)
    try:
        made = api.create_repo(repository, private=private, exist_ok=True)
        commit: Any = api.upload_folder(
            repo_id=made.repo_id,
            folder_path=folder,
            revision=revision,
            commit_message=commit_message or f"Upload a model of zsl_lab {__version__}",
        )
    except Exception as error:  # of the Hub, of its transport
        raise OutputError(
            f"push_to_hub({repository!r}): the upload failed ({_first_line(error)}). Check the "
            "token (`hf auth login`, with the right to write), the id and the network; or write a "
            "folder with save_pretrained, and upload it yourself."
        ) from error
    return str(commit.commit_url)


def _check(repository: str, origin: str) -> None:
    if not _REPOSITORY.fullmatch(repository):
        raise ConfigError(f"{origin}: found {repository!r}; expected USER/NAME, as on the Hub.")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]
