"""A trained model in a folder: ``model.safetensors`` and ``config.json``, without pickle.

``model.safetensors`` holds every tensor: ``method.*`` (weights), ``classifier.*`` (its fitted
tensors), ``classes.semantics``, ``scaling.features.*`` and ``scaling.semantics.*``, and
``statistics.*`` of the training samples. ``config.json`` holds the rest, see :func:`facts`, and a
seal: the SHA-256 of both files.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

import torch
from torch import Tensor

from zsl_lab import __version__
from zsl_lab.errors import CheckpointError, DataError
from zsl_lab.files.bounded import read_bounded
from zsl_lab.result import Result, refuse_constant, without_nan
from zsl_lab.sharing.packages import required

MODEL_FILE, CONFIG_FILE = "model.safetensors", "config.json"
SUFFIX = ".safetensors"
LIBRARY = "zsl_lab"
#: version of the layout; files of the first one have no seal
FORMAT = 2
_UNSEALED = 1
#: the field of config.json with the SHA-256 of model.safetensors and config.json, the latter
#: computed with zeros in this field
_SEAL, _ZEROS = "sha256", "0" * 64
#: a file of 100,000 classes has 10 MB
_MAX_BYTES = 2**27
#: fields of a checkpoint that only resuming needs
_TRAINING_ONLY = ("draw", "earlier", "pretraining", "metrics")
#: keys that may hold a path although they are not marked as :class:`zsl_lab.keys.Place`
_MAYBE_PATHS = {"settings.name", "tuned.name"}
#: stored in place of the folders of the training machine, which mean nothing elsewhere
_FOLDERS = {
    "data_dir": "data",
    "cache_dir": None,
    "output_dir": "outputs",
    "run_dir": "outputs",
    "pretrained_dir": None,
    "settings_dir": None,
}


def is_saved(folder: Path) -> bool:
    """Whether a folder holds a model that :func:`contents` describes."""
    return (folder / MODEL_FILE).is_file() and (folder / CONFIG_FILE).is_file()


def facts(
    content: Mapping[str, Any],
    data: Mapping[str, Any],
    places: Iterable[str],
    result: Result | None,
) -> dict[str, Any]:
    """The content of ``config.json``, without its seal.

    Args:
        content: Content of a checkpoint: ``zsl_lab``, the section of the run; ``method_state``;
            ``state_dict``; ``classifier``.
        data: The state of its data module.
        places: Dotted keys of the configuration that name a file, of which only the name is kept.
        result: The run's result; None where it is not known.
    """
    section = dict(content["zsl_lab"])
    config = section.pop("config")
    known, statistics = data["classes"], data.get("feature_statistics")
    for name in _TRAINING_ONLY:
        section.pop(name, None)
    texts = known["descriptions"] or [None] * len(known["names"])
    classes = [
        {"name": name, "seen": seen, "id": number} | ({} if text is None else {"description": text})
        for name, seen, number, text in zip(
            known["names"], known["seen"].tolist(), known["ids"].tolist(), texts, strict=True
        )
    ]
    found: dict[str, Any] = {
        "library_name": LIBRARY,
        "format": FORMAT,
        "zsl_lab_version": __version__,
        "method": config["method"]["name"],
        "classifier": config.get("classifier", {}).get("name", "own"),
        "dataset": str(data["benchmark"]),
        "calibration": section.pop("calibration", None),
    }
    if "semantics" in known:
        recipe = {**data["recipe"]}
        if recipe.get("images"):  # the hash identifies the weights
            recipe["images"] = {k: v for k, v in recipe["images"].items() if k != "weights_path"}
        found |= {
            "feature_dim": data["feature_dim"],
            "semantic_dim": known["semantics"].shape[1],
            "scaling": {
                "features": data["scaler"]["kind"],
                "semantics": known["semantics_scaler"]["kind"],
            },
            "training_samples": None if statistics is None else statistics["rows"],
            "recipe": recipe,
        }
    plain: dict[str, Any] = without_nan(
        found
        | {
            "classes": classes,
            "run": {**section, "step": content["method_state"]["step"]},
            "config": _without_places(config, {*places, *_MAYBE_PATHS}),
            "result": None if result is None else _public(result),
        }
    )
    return plain


def tensors(content: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of ``model.safetensors`` by name; see :func:`facts` for the arguments."""
    groups: dict[str, Mapping[str, Any]] = {
        "method": content["state_dict"],
        "classifier": content.get("classifier", {}),
    }
    known = data["classes"]
    if "semantics" in known:
        groups |= {
            "classes": {"semantics": known["semantics"]},
            "scaling.features": data["scaler"],
            "scaling.semantics": known["semantics_scaler"],
            "statistics": data.get("feature_statistics") or {},
        }
    return {
        # tensors that share memory cannot be stored as one
        f"{group}.{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for group, members in groups.items()
        for name, tensor in members.items()
        if isinstance(tensor, Tensor)
    }


def contents(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, bytes]:
    """The bytes of the two files by name, from the outputs of :func:`facts` and :func:`tensors`.

    Raises:
        ConfigError: The package safetensors is not installed.
    """
    library = required("safetensors.torch", "hub", "save_pretrained")
    model = library.save(dict(weights), metadata={"format": "pt"})
    return {MODEL_FILE: model, CONFIG_FILE: sealed(config, model)}


def sealed(config: Mapping[str, Any], model: bytes) -> bytes:
    """The bytes of ``config.json`` with a seal.

    Args:
        config: The output of :func:`facts`.
        model: The bytes of ``model.safetensors``.
    """
    # the first field, so that the first zeros are its own
    fields = {_SEAL: _ZEROS} | dict(config) | {_SEAL: _ZEROS}
    text = json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False)
    # a name may hold bytes that are not UTF-8: lone surrogates, which JSON escapes like this
    empty = f"{text}\n".encode(errors="backslashreplace")
    return empty.replace(_ZEROS.encode(), _digest(empty, model).encode(), 1)


def _digest(config: bytes, model: bytes) -> str:
    # programs that check files out may change the ends of lines
    digest = hashlib.sha256(config.replace(b"\r\n", b"\n"))
    digest.update(model)
    return digest.hexdigest()


def _without_places(config: Mapping[str, Any], places: set[str]) -> dict[str, Any]:
    """A configuration without callbacks and loggers, and with names in place of absolute paths."""

    def kept(node: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        changed = {}
        for name, value in node.items():
            if isinstance(value, Mapping):
                changed[name] = kept(value, f"{prefix}{name}.")
            elif f"{prefix}{name}" in places:
                changed[name] = _named(value)
            else:
                changed[name] = value
        return changed

    plain = kept(config, "")
    return {**plain, "paths": _FOLDERS, "callbacks": {}, "logger": {}}


def _named(value: Any) -> Any:
    if isinstance(value, list):
        return [_named(item) for item in value]
    return (
        PurePath(value).name if isinstance(value, str) and PurePath(value).is_absolute() else value
    )


def _public(result: Result) -> dict[str, Any]:
    """A result without the paths of its files."""
    plain = result.to_plain()
    plain |= {"checkpoint": None, "findings": None}
    if plain.get("settings"):
        plain["settings"]["name"] = _named(plain["settings"]["name"])
    if plain.get("tuned"):
        plain["tuned"] = _named(plain["tuned"])
    return plain


# ------------------------------------------------------------------------------------------------
# reading


def read_config(folder: Path, origin: str) -> dict[str, Any]:
    """The content of ``config.json``; only its format is checked.

    Args:
        folder: The model's folder.
        origin: The beginning of messages.

    Raises:
        CheckpointError: It cannot be read, or is of another program or version.
    """
    return _parsed(_config_bytes(folder, origin), origin)


def _config_bytes(folder: Path, origin: str) -> bytes:
    try:
        return read_bounded(folder / CONFIG_FILE, _MAX_BYTES)
    except OSError as error:
        raise CheckpointError(
            f"{origin}: {CONFIG_FILE} beside {MODEL_FILE} cannot be read "
            f"({error.strerror or error}). Both files are needed: copy the folder again."
        ) from error
    except DataError as error:
        raise _unreadable(error, origin) from error


def _unreadable(error: Exception, origin: str) -> CheckpointError:
    return CheckpointError(
        f"{origin}: {CONFIG_FILE} is not readable ({error}). Copy the folder again, or save the "
        "model anew."
    )


def _parsed(data: bytes, origin: str) -> dict[str, Any]:
    """The content of ``config.json``; see :func:`read_config`."""
    try:
        found = json.loads(data, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _unreadable(error, origin) from error
    if not isinstance(found, dict) or found.get("library_name") != LIBRARY:
        name = found.get("library_name") if isinstance(found, dict) else None
        raise CheckpointError(
            f"{origin}: {CONFIG_FILE} names the library {name!r:.80}; expected {LIBRARY!r}. Give a "
            "folder that save_pretrained of zsl_lab wrote, or a run's folder."
        )
    if type(found.get("format")) is not int or found["format"] not in (_UNSEALED, FORMAT):
        raise CheckpointError(
            f"{origin}: field 'format' of {CONFIG_FILE} is {found.get('format')!r:.80}; this "
            f"version reads {FORMAT}. Use the version of zsl_lab that wrote it "
            f"({found.get('zsl_lab_version')!r:.80})."
        )
    return found


def read_result(folder: Path) -> Result | None:
    """The result of the run that made a saved model; None where it is not known.

    Raises:
        CheckpointError: ``config.json`` cannot be read.
        DataError: A field of the result is wrong.
    """
    raw = read_config(folder, f"ckpt={folder}").get("result")
    return None if raw is None else Result.from_plain(raw, folder / CONFIG_FILE)


def read(path: Path, origin: str) -> tuple[dict[str, Any], int, str]:
    """Read a saved model as the content of a checkpoint, which the caller checks.

    Args:
        path: Its ``model.safetensors``.
        origin: The beginning of messages.

    Returns:
        The content, the size of the files in bytes, and the SHA-256 of both.

    Raises:
        CheckpointError: A file is missing or damaged, or a field is missing.
        ConfigError: The package safetensors is not installed.
    """
    library = required("safetensors.torch", "hub", f"{origin}: reading {MODEL_FILE}")
    raw = _config_bytes(path.parent, origin)
    config = _parsed(raw, origin)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{origin}: it cannot be read ({error.strerror or error}). Copy the folder again."
        ) from error
    if config["format"] == FORMAT:
        _check_seal(config.get(_SEAL), raw, data, origin)
    try:
        weights = library.load(data)
    except Exception as error:  # the library raises its own type and several of Python's
        raise CheckpointError(
            f"{origin}: this is not a readable safetensors file ({error!s:.200}). Copy the folder "
            "again, or save the model anew."
        ) from error
    try:
        content = _content(config, weights)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(
            f"{origin}: {CONFIG_FILE} is damaged ({type(error).__name__}: {error!s:.200}). Copy "
            "the folder again, or save the model anew."
        ) from error
    digest = hashlib.sha256(data)
    digest.update(json.dumps(config, sort_keys=True).encode())
    return content, len(data), digest.hexdigest()


def _check_seal(seal: object, config: bytes, model: bytes, origin: str) -> None:
    """Raise CheckpointError where the files are not those that were saved together."""
    if (
        isinstance(seal, str)
        and _digest(config.replace(seal.encode(), _ZEROS.encode(), 1), model) == seal
    ):
        return
    raise CheckpointError(
        f"{origin}: found other bytes in {MODEL_FILE} or {CONFIG_FILE} than save_pretrained wrote: "
        f"they do not match the SHA-256 in field '{_SEAL}' of {CONFIG_FILE}. A file is damaged or "
        "was edited, or the two do not belong together. Copy the folder again, or save the model "
        "anew."
    )


def _content(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The content of a checkpoint, rebuilt from the two files."""

    def group(name: str) -> dict[str, Any]:
        start = f"{name}."
        return {k.removeprefix(start): t for k, t in weights.items() if k.startswith(start)}

    section = {**config["run"], "config": config["config"], "calibration": config["calibration"]}
    step = section.pop("step")
    if section.get("validation"):
        section["validation"] = {
            name: math.nan if value is None else value
            for name, value in section["validation"].items()
        }
    listed = config["classes"]
    classes: dict[str, Any] = {
        "names": [known["name"] for known in listed],
        "ids": torch.tensor([known["id"] for known in listed]),
        "seen": torch.tensor([known["seen"] for known in listed]),
        "descriptions": [known["description"] for known in listed if "description" in known],
    }
    data: dict[str, Any] = {"benchmark": config["dataset"], "classes": classes}
    if "feature_dim" in config:
        kinds, statistics = config["scaling"], group("statistics")
        classes |= group("classes")
        classes["semantics_scaler"] = {"kind": kinds["semantics"], **group("scaling.semantics")}
        data |= {
            "scaler": {"kind": kinds["features"], **group("scaling.features")},
            "feature_dim": config["feature_dim"],
            "recipe": config["recipe"],
        }
        if statistics:
            data["feature_statistics"] = {"rows": config["training_samples"], **statistics}
    return {
        LIBRARY: section,
        "method_state": {"step": step},
        "state_dict": group("method"),
        "classifier": group("classifier"),
        "data": data,
    }
