"""What the text encoders need beside the base installation: modules, files that packages bring, and what identifies them."""

from __future__ import annotations

import hashlib
import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from zsl_lab.data.hashing import sha256_file
from zsl_lab.errors import ConfigError

#: what a model's folder holds for the loader; a README may change
_MODEL_FILES = (".json", ".txt", ".model", ".safetensors", ".bin", ".npy", ".parquet")


def module(name: str, encoder: str) -> Any:
    """Import a module that comes with the extra ``n3``.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise _not_installed(str(error.name), encoder) from error


def package_folder(package: str, folder: str, encoder: str) -> Path:
    """The folder of files inside a package, which is looked up and not imported.

    Raises:
        ConfigError: If the package is not installed or has no such folder.
    """
    spec = find_spec(package)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / folder).is_dir():
            return Path(place) / folder
    raise _not_installed(package, encoder)


def fingerprint(folder: Path) -> str:
    """A hash of the names and contents of a model's files, the same wherever the folder lies."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in _MODEL_FILES and path.is_file():
            digest.update(f"{path.name}\0{sha256_file(path)}\0".encode())
    return digest.hexdigest()


def _not_installed(package: str, encoder: str) -> ConfigError:
    return ConfigError(
        f"method.text.encoder={encoder}: the package {package} is not installed. Either install what N3 needs with"
        ' pip install "zsl-lab[n3]", or set method.text.encoder=tfidf, which needs nothing more.'
    )
