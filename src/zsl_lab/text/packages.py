"""Optional packages of the text encoders: their modules, their model files, and hashes of these."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from zsl_lab.errors import ConfigError
from zsl_lab.files.hashing import sha256_file

#: suffixes of the files that a loader reads; other files of a model's folder, such as a README, may
#: change without changing the model
_MODEL_FILES = (".json", ".txt", ".model", ".safetensors", ".bin", ".npy", ".parquet")


@dataclass(frozen=True)
class Terms:
    """Words for error messages, which depend on where the user chooses the encoder.

    Attributes:
        encoder: Precedes an encoder's name (``"method.text.encoder="``, ``"--text-encoder "``).
        model: Precedes a model's name.
        max_tokens: Precedes the limit of tokens.
        uninstalled: What to do instead of installing a package.
        unloadable: Sentence on what to do about a model that cannot be loaded.
        limit: Sentence on what to do about a limit that the model does not take; ``{most}`` is
            replaced by the model's own limit.
        longer: What to do instead of shortening texts.
        another: What to do instead of changing a text; names of encoders follow.
        also: Sentence that ends every error, beginning with a space.
    """

    encoder: str
    model: str
    max_tokens: str
    uninstalled: str
    unloadable: str
    limit: str
    longer: str
    another: str
    also: str = ""


def choices(encoder: str, model: str, max_tokens: str, do: str, also: str = "") -> Terms:
    """Terms for a user who can choose the encoder.

    Args:
        encoder: As in :class:`Terms`.
        model: As in :class:`Terms`.
        max_tokens: As in :class:`Terms`.
        do: Verb for making another choice (``"train with"``, ``"give"``).
        also: As in :class:`Terms`.
    """
    return Terms(
        encoder,
        model,
        max_tokens,
        uninstalled=f"set {encoder}tfidf, which needs nothing more",
        unloadable=(
            f"Either set {model}<a local folder with config.json, tokenizer and weights>, or "
            f"choose an encoder that needs no download: {encoder}minilm or tfidf."
        ),
        limit=f"Set {max_tokens}{{most}}, or another {model.strip(' =')}.",
        longer=f"{do} a higher {max_tokens.strip(' =')}, as far as the encoder allows",
        another=f"{do} another {encoder.strip(' =')}",
        also=also,
    )


CONFIGURATION = choices(
    "method.text.encoder=", "method.text.model=", "method.text.max_tokens=", "train with"
)


def module(name: str, encoder: str, terms: Terms = CONFIGURATION) -> Any:
    """Import a module that comes with the extra ``images``.

    Args:
        name: The module.
        encoder: The encoder that needs it, for the message.
        terms: Words for the message.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise _not_installed(str(error.name), encoder, terms) from error


def package_folder(package: str, folder: str, encoder: str, terms: Terms = CONFIGURATION) -> Path:
    """A folder of files inside an installed package, which is not imported.

    Args:
        package: The package.
        folder: The folder in it.
        encoder: The encoder that needs it, for the message.
        terms: Words for the message.

    Raises:
        ConfigError: If the package is not installed or has no such folder.
    """
    spec = find_spec(package)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / folder).is_dir():
            return Path(place) / folder
    raise _not_installed(package, encoder, terms)


def fingerprint(folder: Path, also: tuple[str, ...] = ()) -> str:
    """A hash of the names and contents of a model's files, the same wherever the folder lies.

    Args:
        folder: The folder.
        also: Further suffixes of files that its loader reads.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (*_MODEL_FILES, *also) and path.is_file():
            digest.update(f"{path.name}\0{sha256_file(path)}\0".encode())
    return digest.hexdigest()


def _not_installed(package: str, encoder: str, terms: Terms) -> ConfigError:
    return ConfigError(
        f"{terms.encoder}{encoder}: the package {package} is not installed. Either install what "
        "text encoders need with"
        f' pip install "zsl-lab[images]", or {terms.uninstalled}.{terms.also}'
    )
