"""Configurations read from files: literal data, which may name only allowed classes.

A checkpoint or a run's folder may come from a stranger. Nothing in its configuration is looked up
(no ``${...}``), and a ``_target_`` in it is imported only if it is allowed: the choices of this
package's own groups, those of the folders of yamls that the command line gives
(``--config-dir``, ``hydra.searchpath``), and what the command line itself names.
"""

from __future__ import annotations

import reprlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra

from zsl_lab.classifiers.config import OWN
from zsl_lab.errors import CheckpointError, ConfigError
from zsl_lab.files import fast_yaml
from zsl_lab.files.cache import file_stamp
from zsl_lab.files.escaping import printable
from zsl_lab.run.configuration.old_names import current_target

#: the groups whose sections name a class, and the base of such classes where this package has one
_CLASSES = ("method", "dataset", "classifier")
_PARTS = ("callbacks", "logger")
#: written by every run; older versions named it in the section ``logger``
_METRICS_CSV = "zsl_lab.run.records.metrics_csv.MetricsCSV"
#: levels of sections and keys that a configuration may have; the largest of a run has 5 and 200
_MOST_LEVELS, _MOST_KEYS = 20, 20_000

Keys = tuple[str, ...]


def check_literal(config: object) -> dict[str, Any]:
    """Check that a configuration holds plain values only.

    Raises:
        ValueError: It has another type, too many keys, or an interpolation; the message names the
            key.
    """
    if not isinstance(config, dict):
        raise ValueError(f"it is {reprlib.repr(config)}, expected a mapping of settings")
    for count, (keys, value) in enumerate(_walk(config)):
        key = shown(keys)
        if len(keys) > _MOST_LEVELS or count > _MOST_KEYS:
            raise ValueError(f"{key} lies too deep, or there are more than {_MOST_KEYS} keys")
        if not isinstance(value, str | int | float | dict | list | tuple | None):
            raise ValueError(f"{key} is of type {type(value).__name__}, expected a plain value")
        if isinstance(value, int) and value.bit_length() > 64:
            raise ValueError(f"{key} is a whole number of more than 64 bits")
        if isinstance(value, str) and "${" in value:
            raise ValueError(
                f"{key} is {reprlib.repr(value)}: stored values are literal, and ${{...}} is not "
                "looked up"
            )
    return config


def _walk(node: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Every value below a node, sections included, and the keys that lead to it."""
    waiting = [(keys, node)]
    while waiting:
        keys, node = waiting.pop()
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for name, value in items:
            if not isinstance(name, str | int):
                raise ValueError(f"{shown(keys)} has a key of type {type(name).__name__}")
            if isinstance(name, str) and "${" in name:
                raise ValueError(f"{shown(keys)} has the key {reprlib.repr(name)}")
            below = (*keys, str(name))
            yield below, value
            if isinstance(value, dict | list | tuple):
                waiting.append((below, value))


def shown(keys: Keys) -> str:
    """A dotted key, written for messages."""
    text = ".".join(keys)
    return text if text.isprintable() and len(text) <= 80 else reprlib.repr(text)


# --------------------------------------------------------------------------- classes


def check_classes(config: Mapping[str, Any], origin: str, command: Any = None) -> None:
    """Check, before anything is imported, that a stored configuration names only allowed classes.

    Args:
        config: A stored configuration, plain containers.
        origin: The file that it is from, for messages.
        command: The configuration that the command line composed, unresolved plain containers; what
            it names is allowed. None where there is none.

    Raises:
        CheckpointError: A class is not allowed.
    """
    for keys, target in foreign(config, command):
        raise CheckpointError(_refusal(keys, target, origin))


def foreign(config: Mapping[str, Any], command: Any = None) -> Iterator[tuple[Keys, Any]]:
    """The keys ``_target_`` of a stored configuration that are not allowed, and what they name.

    Args:
        config: See :func:`check_classes`.
        command: See :func:`check_classes`.
    """
    named = set(_targets(command)) if isinstance(command, Mapping) else set()
    for keys, target in _targets(config):
        if (keys, target) not in named and not _is_allowed(config, keys, target):
            yield keys, target


def _targets(config: Mapping[str, Any]) -> Iterator[tuple[Keys, Any]]:
    for keys, value in _walk(config):
        if keys[-1] == "_target_":
            yield keys, current_target(value) if isinstance(value, str) else repr(value)


def _is_allowed(config: Mapping[str, Any], keys: Keys, target: str) -> bool:
    group, level = keys[0], len(keys)
    if group in _CLASSES and level == 2:
        return target in _choices(group) or _is_imported(group, target)
    if group in _PARTS and level == 3:
        known = {_METRICS_CSV: {"_target_", "folder"}, **_choices(group)}.get(target)
        node = config[group].get(keys[1])
        return known is not None and isinstance(node, dict) and set(node) <= known
    return False


def _choices(group: str) -> dict[str, set[str]]:
    """The classes that the yamls of a group name, and the keys beside each name."""
    found: dict[str, set[str]] = {}
    for folder in config_folders(group):
        for file in file_stamp(folder.rglob("*.yaml")):
            for target, keys in _named_in(*file):
                found.setdefault(target, set()).update(keys)
    return found


@lru_cache(maxsize=1000)  # reading all files of a group takes longer than loading a checkpoint
def _named_in(path: str, size: int, modified: int) -> list[tuple[str, list[str]]]:
    """The classes that a yaml names, and the keys beside each name."""
    found = []
    with suppress(Exception):  # Hydra reports a yaml that is chosen and cannot be read
        node = fast_yaml.load(Path(path))
        for section in [node, *node.values()]:
            if isinstance(section, dict) and isinstance(section.get("_target_"), str):
                found.append((current_target(section["_target_"]), list(map(str, section))))
    return found


def config_folders(group: str) -> list[Path]:
    """The folders of a group's yamls: the package's own, and those that the command line adds."""
    folders = [Path(str(files("zsl_lab.conf").joinpath(group)))]
    hydra = GlobalHydra.instance()
    if hydra.is_initialized():
        sources = hydra.config_loader().get_sources()
        folders += [Path(s.path) / group for s in sources if s.scheme() == "file"]
    return folders


def _is_imported(group: str, target: str) -> bool:
    """Whether the calling program has imported the class itself."""
    module, _, name = target.rpartition(".")
    found = getattr(sys.modules.get(module), "__dict__", {}).get(name)
    if group == "method":
        from zsl_lab.methods.base import ZeroShotMethod as Base
    elif group == "classifier":
        from zsl_lab.classifiers.base import Classifier as Base  # type: ignore[assignment]
    else:
        from zsl_lab.data.datasets.base import DatasetConfig as Base  # type: ignore[assignment]
    return isinstance(found, type) and issubclass(found, Base)


def _refusal(keys: Keys, target: str, origin: str) -> str:
    group, key = keys[0], shown(keys)
    start = f"{origin}: its configuration names {key}={reprlib.repr(target)[1:-1]}, which is "
    if group in _CLASSES and len(keys) == 2:
        return (
            f"{start}no {group} of this package. A file alone cannot name code to run. If you "
            "trust it, give the folder of yamls that names this class (--config-dir FOLDER with "
            f"{group}/NAME.yaml; in Python, import the class first); or give another checkpoint."
        )
    if group in _PARTS:
        return (
            f"{start}no part of this package, or has other keys than its own. A file alone cannot "
            f"name code to run. Choose on the command line instead ({group}="
            f"{'default' if group == 'callbacks' else 'csv'}, or +{key}=... if you trust it), or "
            "give another checkpoint."
        )
    return (
        f"{start}not expected there. A file alone cannot name code to run. Give another "
        "checkpoint, or train anew."
    )


# --------------------------------------------------------------------------- use


def of_checkpoint(
    config: Mapping[str, Any], origin: str, command: Any = None, *, trains: bool
) -> dict[str, Any]:
    """A checkpoint's configuration for use: checked, without keys that only a command may set.

    Args:
        config: The stored configuration.
        origin: ``KEY=PATH`` of the checkpoint, for messages.
        command: As of :func:`check_classes`; sections ``callbacks`` and ``logger`` that the command
            line chose must have been left out of ``config``.
        trains: Whether training goes on with it. If not, callbacks and loggers are not used, and
            those that are not allowed are left out with a warning.

    Raises:
        CheckpointError: A section is missing, or a class is not allowed.
    """
    from zsl_lab.keys import NotStored, PredictOnly, marked
    from zsl_lab.run.configuration.schema import RunKeys

    for section in ("method", "dataset", "paths", "selection", "trainer"):
        if not isinstance(config.get(section), dict):
            raise CheckpointError(
                f"{origin}: field 'config.{section}' is {reprlib.repr(config.get(section))}; "
                "expected a section of keys. Give another checkpoint, or train anew."
            )
    dropped = {*marked(RunKeys, PredictOnly), *marked(RunKeys, NotStored)}
    kept = {key: value for key, value in config.items() if key not in dropped}
    kept = {"classifier": OWN, **kept, "ckpt": None, "debug": False}
    for group in _PARTS:
        if not isinstance(kept.get(group, {}), dict | None):
            raise CheckpointError(
                f"{origin}: field 'config.{group}' is {reprlib.repr(kept[group])}; expected a "
                "section of keys. Give another checkpoint, or train anew."
            )
        if not trains:
            kept[group] = _own_parts(kept, group, origin)
    check_classes(kept, origin, command)
    return kept


def _own_parts(config: Mapping[str, Any], group: str, origin: str) -> dict[str, Any]:
    section = config.get(group) or {}
    refused = {keys[1]: target for keys, target in foreign({group: section})}
    for name, target in refused.items():
        warnings.warn(
            f"{origin}: {shown((group, name))} names {reprlib.repr(target)[1:-1]}, which is no "
            "part of this package, or has other keys than its own; it is left out.",
            stacklevel=1,
        )
    return {name: node for name, node in section.items() if name not in refused}


def refused(origin: str, error: ConfigError) -> CheckpointError:
    """The error for a stored configuration whose values are wrong."""
    return CheckpointError(
        f"{origin}: its configuration cannot be used: {printable(str(error))} Give another "
        "checkpoint, or train anew."
    )
