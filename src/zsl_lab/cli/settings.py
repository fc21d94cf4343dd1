"""Resolves ``settings=`` to files of settings, and records the choice.

While Hydra composes the configuration, ``settings=best`` is resolved by method and dataset only:
keys such as ``dataset.features`` are not known then. So the command examines these keys beforehand.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from zsl_lab.cli import overrides as command
from zsl_lab.console.messages import say
from zsl_lab.errors import ConfigError
from zsl_lab.run.configuration import settings_files
from zsl_lab.run.configuration.settings_files import (
    CHOICES,
    NONE,
    PUBLISHED,
    TUNED,
    WHERE_NULL,
    SettingsFile,
)

#: default choices of ``method`` and ``dataset``
_METHOD, _DATASET = "sgal", "digits"

#: the method and the dataset of a job, and the dataset's keys that the command sets
_Job = tuple[str, str, dict[str, str]]


def choose(arguments: list[str]) -> list[str]:
    """Replace ``settings=`` by choices that Hydra knows and that fit the command's data.

    Args:
        arguments: The command line.

    Returns:
        The changed arguments.

    Raises:
        ConfigError: If a file of settings does not exist, is not valid or is of another method; or
            if jobs of a sweep need different files.
    """
    given = command.parsed(arguments)
    if command.has_checkpoint(given):
        return arguments
    nulls = [
        f"{other}=null"
        for key, other in WHERE_NULL.items()
        if key in given and other not in given and command.text(given[key]) != "null"
    ]
    _check_published(given)
    chosen = _chosen(arguments, given)
    return command.insert(chosen, *nulls) if nulls else chosen


def _chosen(arguments: list[str], given: Mapping[str, Any]) -> list[str]:
    if "experiment" in given and "settings" not in given and "tuned" not in given:
        return arguments  # the experiment's file chooses the settings
    if "settings" not in given and "tuned" not in given:
        return _fitting(arguments, given)
    if "settings" not in given:
        for name in _values(given["tuned"]):
            _check_methods(settings_files.find(name), f"tuned={name}", given)
        return arguments
    if "tuned" in given:
        raise ConfigError(
            f"{given['settings'].input_line} and {given['tuned'].input_line}: both say which "
            "settings to begin with. Leave one of them out; settings=NAME takes files of "
            "conf/tuned too."
        )
    typed = command.text(given["settings"])
    if typed == "best":
        return _fitting(arguments, given)
    if all(choice in CHOICES for choice in typed.split(",")):
        return arguments
    return _named(arguments, given, typed)


# --------------------------------------------------------------------------- settings=best


def _fitting(arguments: list[str], given: Mapping[str, Any]) -> list[str]:
    """Choose other settings if those for method and dataset were found for other features."""
    chosen: list[tuple[str, str]] = []
    others: list[str] = []
    clauses: list[str] = []
    for method, dataset, values in _jobs(given):
        named = settings_files.best(method, dataset)
        found = settings_files.best(method, dataset, values)
        chosen.append((method, _name(found)))
        if _name(named) != _name(found):
            others.append(_name(found))
            known = {**settings_files.dataset_values(dataset), **values}
            clauses.append((named.mismatch(known) if named else None) or "")
    if not others:
        return arguments
    names = {name for _, name in chosen}
    general = all(name in (NONE, method) for method, name in chosen)
    clause = next(filter(None, clauses), "")
    if len(names) > 1 and not general:
        raise ConfigError(
            f"{clause or 'some jobs of this sweep have settings of their own'}, and other jobs of "
            "this sweep take other settings. Sweep over them separately, or choose settings for "
            "every job: settings=general, settings=none or settings=FILE."
        )
    if clause:
        used = sorted(set(others))
        what = "the values of the method's yaml" if used == [NONE] else ", ".join(used)
        say(f"Note: {clause}; settings used instead: {what}.")
    return _replaced(arguments, f"tuned={names.pop()}" if len(names) == 1 else "settings=general")


def _replaced(arguments: list[str], *new: str) -> list[str]:
    """The arguments with ``settings=...`` replaced by others."""
    place = next((i for i, given in enumerate(arguments) if given.startswith("settings=")), None)
    if place is None:
        return command.insert(arguments, *new)
    return [*arguments[:place], *new, *arguments[place + 1 :]]


def _name(found: SettingsFile | None) -> str:
    return NONE if found is None else found.name


def _jobs(given: Mapping[str, Any]) -> Iterator[_Job]:
    """Each combination of the methods, datasets and dataset keys that the command names."""
    keys = [key for key in given if key.startswith("dataset.") and not given[key].is_delete()]
    choices = [_values(given[key]) for key in keys]
    for dataset in _values(given.get("dataset")) or [_DATASET]:
        for method in _methods(given):
            for choice in itertools.product(*choices):
                own = {k.removeprefix("dataset."): v for k, v in zip(keys, choice, strict=True)}
                yield method, dataset, own


def _methods(given: Mapping[str, Any]) -> list[str]:
    """The methods that the command names; all methods for a named sweep, which chooses its own."""
    known = settings_files.names("method")
    methods = _values(given.get("method")) or ([] if "sweep" in given else [_METHOD])
    if not methods or not set(methods) <= set(known):
        return known if not methods or "${" in methods[0] else methods
    return methods


def _values(override: Any) -> list[str]:
    return [] if override is None else command.text(override).split(",")


# --------------------------------------------------------------------------- settings=published


def _check_published(given: Mapping[str, Any]) -> None:
    """Raise a ConfigError if the paper of a method has no settings for a dataset."""
    if "published" in _values(given.get("settings")) and "sweep" not in given:
        for method, dataset, _ in _jobs(given):
            if method in settings_files.names("method"):
                settings_files.published_of_choice("published", method, dataset)


# --------------------------------------------------------------------------- settings=FILE


def _named(arguments: list[str], given: Mapping[str, Any], typed: str) -> list[str]:
    """The arguments with Hydra's name of a file of settings, or with the values in the file."""
    names = typed.split(",")
    if set(names) <= set(settings_files.names(TUNED)):
        for name in names:
            _check_methods(settings_files.find(name), f"settings={name}", given)
        return _replaced(arguments, f"tuned={typed}")
    if typed in settings_files.names(PUBLISHED):
        _check_methods(settings_files.find(typed, PUBLISHED), f"settings={typed}", given)
        return _replaced(arguments, "settings=none", f"published={typed}")
    path = Path(str(command.value(given["settings"]) or typed)).expanduser()
    if not path.is_file():
        raise _no_such_file(typed)
    found = settings_files.read(path.absolute())
    _check_methods(found, f"settings={typed}", given)
    for method, dataset, values in _jobs(given):
        clause = found.mismatch({**settings_files.dataset_values(dataset), **values})
        if clause is not None:
            say(f"Note: {clause} (method={method}); they are used all the same.")
            break
    flat = {"settings.name": str(found.path), "settings.choice": "file", **dict(_flat(found))}
    return _replaced(
        arguments,
        "settings=none",
        *(f"++{key}={command.literal(value)}" for key, value in flat.items() if key not in given),
    )


def _no_such_file(typed: str) -> ConfigError:
    known = [*CHOICES, *settings_files.names(TUNED), *settings_files.names(PUBLISHED)]
    near = difflib.get_close_matches(typed, known, n=1)
    hint = f" Did you mean settings={near[0]}?" if near else ""
    return ConfigError(
        f"settings={typed}: there is no such choice, and no such file.{hint} Expected "
        f"{', '.join(CHOICES)}, a file of conf/tuned or conf/published by its name (sgal_flo), or "
        "the path of a yaml that python -m zsl_lab.tune wrote."
    )


def _flat(found: SettingsFile) -> Iterator[tuple[str, Any]]:
    def walk(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in node.items():
            if isinstance(value, Mapping):
                yield from walk(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    return walk(found.values, "")


def _check_methods(found: SettingsFile | None, typed: str, given: Mapping[str, Any]) -> None:
    """Check that a file's settings are for the methods that the command names.

    Raises:
        ConfigError: If they were found for another method, or set a key that the method lacks.
    """
    if found is None:
        return
    for method in _values(given.get("method")) or [_METHOD]:
        keys = settings_files.yaml_keys("method", method)
        if not keys:  # not a method of this package: Hydra checks it
            continue
        if found.method not in (None, method):
            raise ConfigError(
                f"{typed}: these settings were found for method={found.method}, not for "
                f"method={method}. Give a file of method={method}, or settings=best."
            )
        foreign = [key for key in found.values.get("method") or {} if key not in keys]
        if foreign:
            raise ConfigError(
                f"{typed}: it sets method.{foreign[0]}, which method={method} does not have: these "
                "are settings of another method. Give a file of this method, or settings=best."
            )


# --------------------------------------------------------------------------- the record


def record(cfg: DictConfig) -> None:
    """Record the chosen settings in a composed configuration, in its section ``settings``."""
    choices = HydraConfig.get().runtime.choices
    name = OmegaConf.select(cfg, "settings.name")
    if name is not None:  # recorded already, for a file given by path
        return
    method, dataset = choices.get("method"), choices.get("dataset")
    published = choices.get("published")
    if published not in (None, NONE):
        _store(cfg, "published", str(published))
        return
    name = choices.get("tuned")
    found = None if name in (None, NONE) else settings_files.find(str(name))
    if found is None:
        _store(cfg, NONE, None)
        return
    own = str(name) == f"{method}_{dataset}" or str(name).startswith(f"{method}_{dataset}_")
    _store(cfg, "best" if own else "general" if name == method else "file", found.name)
    clause = found.mismatch(OmegaConf.to_container(cfg.dataset))  # type: ignore[arg-type]
    if clause is not None:
        say(f"Note: {clause}; they are used all the same. settings=best takes those that fit.")


def _store(cfg: DictConfig, choice: str, name: str | None) -> None:
    OmegaConf.update(cfg, "settings.choice", choice, force_add=True)
    OmegaConf.update(cfg, "settings.name", name, force_add=True)


def folder_given(arguments: Sequence[str]) -> str | None:
    """The folder that ``paths.settings_dir`` gives on a command line; None if it is not given."""
    value = command.value(command.parsed(arguments).get("paths.settings_dir"))
    return None if value is None else str(Path(str(value)).expanduser().absolute())
