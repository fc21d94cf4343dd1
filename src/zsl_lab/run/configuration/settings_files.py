"""Files of settings for a method on a dataset, and which of them a run takes.

``conf/tuned`` holds settings that were found on validation classes: ``<method>_<dataset>.yaml`` for
one dataset, ``<method>.yaml`` for any. ``conf/published`` holds those of the papers. The user's own
folder holds what ``zsl_lab.tune`` wrote. Nothing here needs torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import platformdirs
from omegaconf import DictConfig, ListConfig, OmegaConf

from zsl_lab.errors import ConfigError
from zsl_lab.files.cache import FileStamp, file_stamp
from zsl_lab.run.configuration.stored_config import config_folders

#: the environment variable that names the user's own folder of settings
VARIABLE = "ZSL_LAB_SETTINGS"
#: the choices of ``settings=``; anything else names a file
Choice = Literal["best", "general", "published", "none"]
CHOICES: tuple[Choice, ...] = ("best", "general", "published", "none")
#: keys that have an effect only if another key is null
WHERE_NULL = {
    "method.epochs": "method.steps",
    "method.fine_tune_epochs": "method.fine_tune_steps",
    "selection.check_every": "selection.checks",
}
#: configuration groups of the files, and the choice for no file
TUNED, PUBLISHED, NONE = "tuned", "published", "none"
#: sections that a file may set
SECTIONS = ("dataset", "method", "selection")
#: sections that say what a file's settings were found for; the first is the former name
_ABOUT = ("tuned", "settings")


@dataclass(frozen=True)
class SettingsFile:
    """A file of settings.

    Attributes:
        path: The file.
        values: The sections that it sets, with those of its ``defaults``.
        method: The method that it was found for; None where it does not say.
        dataset_name: The choice of ``dataset=`` that it was found on; None where it does not say.
        dataset: Keys of the dataset, with the values that it was found for.
    """

    path: Path
    values: Mapping[str, Any]
    method: str | None
    dataset_name: str | None
    dataset: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The file's name without the ending: the choice of the configuration group."""
        return self.path.stem

    def mismatch(self, dataset: Mapping[str, Any]) -> str | None:
        """A clause on the first key of a dataset with another value; None where there is none.

        A dataset without such a key (a file of one's own) may hold the same features: that counts
        as no mismatch.
        """
        for key, value in self.dataset.items():
            if not _equal(dataset.get(key, value), value):
                return (
                    f"the settings of {self.path.parent.name}/{self.path.name} were found for "
                    f"dataset.{key}={value}, not for dataset.{key}={dataset[key]}"
                )
        return None


def _equal(a: Any, b: Any) -> bool:
    if str(a) == str(b):
        return True
    paths = [Path(str(value)).expanduser() for value in (a, b)]
    return any(path.is_absolute() for path in paths) and paths[0].absolute() == paths[1].absolute()


def user_folder() -> Path:
    """The user's own folder of settings, which need not exist."""
    named = os.environ.get(VARIABLE)
    return Path(named or platformdirs.user_config_dir("zsl_lab")).expanduser().absolute()


@contextmanager
def settings_folder(folder: str | None) -> Iterator[None]:
    """Make a folder the user's own one in this process and those that it starts; None changes none.

    Args:
        folder: An absolute path.
    """
    before = os.environ.get(VARIABLE)
    try:
        if folder is not None:
            os.environ[VARIABLE] = folder
        yield
    finally:
        if folder is not None:
            os.environ.pop(VARIABLE)
            if before is not None:
                os.environ[VARIABLE] = before


def searched_folder() -> str:
    """Where Hydra searches for the user's settings: the folder, or this package without it."""
    folder = user_folder()
    return f"file://{folder}" if folder.is_dir() else "pkg://zsl_lab.conf"


# --------------------------------------------------------------------------- which file


def best(method: str, dataset: str, given: Mapping[str, Any] | None = None) -> SettingsFile | None:
    """The settings of the choice ``best``.

    Those found for the dataset and its features, by the user or in this package; else the method's
    general ones; None for the yaml's own values.

    Args:
        method: A choice of ``method=``.
        dataset: A choice of ``dataset=``.
        given: Keys of the dataset that differ from those of its yaml. None where they are not
            known: this package's settings for the dataset are then taken by their name.
    """
    values = {**dataset_values(dataset), **(given or {})}
    packaged = find(f"{method}_{dataset}")
    own = [
        found
        for path in sorted((user_folder() / TUNED).glob(f"{method}_{dataset}_*.yaml"))
        if (found := _usable(path)) and (found.method, found.dataset_name) == (method, dataset)
    ]
    for found in own:
        if found.mismatch(values) is None:
            return found
    if packaged is not None and (given is None or packaged.mismatch(values) is None):
        return packaged
    return general(method, dataset)


def general(method: str, dataset: str) -> SettingsFile | None:
    """The method's general settings; None where there are none, or the dataset lacks their keys.

    Args:
        method: A choice of ``method=``.
        dataset: A choice of ``dataset=``.
    """
    found = find(method)
    known = dataset_values(dataset)
    if found is None or (known and not set(found.values.get("dataset", {})) <= set(known)):
        return None  # scaling of features, say, for a dataset of images
    return found


def _usable(path: Path) -> SettingsFile | None:
    """A file of the user's folder; None if it is damaged: one bad file must not end every run."""
    try:
        return read(path)
    except ConfigError:
        return None


def of_choice(choice: str, method: str, dataset: str) -> str:
    """The choice of the group ``tuned`` for a choice of ``settings``.

    Args:
        choice: One of :data:`CHOICES`.
        method: A choice of ``method=``.
        dataset: A choice of ``dataset=``.
    """
    found = None
    if choice == "best":
        found = best(method, dataset)
    elif choice == "general":
        found = general(method, dataset)
    return NONE if found is None else found.name


def published_of_choice(choice: str, method: str, dataset: str) -> str:
    """The choice of the group ``published`` for a choice of ``settings``.

    Raises:
        ConfigError: ``choice`` is ``published``, and the paper has no settings for the dataset.
    """
    if choice != "published":
        return NONE
    found = find(f"{method}_{dataset}", PUBLISHED)
    if found is None:
        others = [name for name in names("dataset") if find(f"{method}_{name}", PUBLISHED)]
        where = f"only for {', '.join(others)}" if others else "for no single dataset"
        raise ConfigError(
            f"settings=published: method={method} has no published settings for dataset={dataset} "
            f"({where}). Take the values of conf/method/{method}.yaml, each with its source "
            "(settings=none), or those that validate best (settings=best)."
        )
    return found.name


def dataset_values(dataset: str) -> dict[str, Any]:
    """The keys of a choice of ``dataset=`` in its yaml; empty where there is no such choice."""
    return yaml_keys("dataset", dataset)


def yaml_keys(group: str, choice: str) -> dict[str, Any]:
    """The keys of a choice of a group in its yaml; empty where there is no such choice."""
    for folder in config_folders(group):
        path = folder / f"{choice}.yaml"
        if path.is_file():
            return merged_yaml(path)
    return {}


def names(group: str = TUNED) -> list[str]:
    """The files of a group, without endings."""
    found = {path.stem for folder in _folders(group) for path in folder.glob("*.yaml")}
    return sorted(found - {NONE})


def find(name: str, group: str = TUNED) -> SettingsFile | None:
    """A file of a group by its name; None where there is none."""
    paths = (folder / f"{name}.yaml" for folder in _folders(group))
    path = next((path for path in paths if path.is_file()), None)
    return None if path is None else _loaded(path)


def _folders(group: str) -> Iterator[Path]:
    yield from config_folders(group)
    if group == TUNED:
        yield user_folder() / TUNED


# --------------------------------------------------------------------------- reading


def read(path: Path) -> SettingsFile:
    """Read a file of settings that may come from anywhere.

    Raises:
        ConfigError: It cannot be read, or it is no file of settings.
    """
    found = _loaded(path)
    unknown = [str(key) for key in found.values if key not in SECTIONS]
    if unknown or not found.values:
        raise ConfigError(
            f"settings={path}: found {f'the section {unknown[0]!r:.60}' if unknown else 'no keys'}."
            f" {_EXPECTED}"
        )
    _check_plain(found.values, path)
    return found


def _loaded(path: Path) -> SettingsFile:
    try:
        merged = merged_yaml(path)
    except Exception as error:  # the parser's errors share no narrower base
        brief = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"settings={path}: it cannot be read ({brief}). {_EXPECTED}") from error
    about: dict[str, Any] = {}
    for section in _ABOUT:
        node = merged.pop(section, None)
        about |= node if isinstance(node, dict) else {}
    dataset = about.get("dataset")
    return SettingsFile(
        path,
        merged,
        about.get("method"),
        about.get("dataset_name"),
        dataset if isinstance(dataset, dict) else {},
    )


_EXPECTED = (
    "Expected a yaml with the sections dataset, method and selection, as conf/tuned holds and "
    "python -m zsl_lab.tune writes; give such a file, or settings=best|general|published|none."
)


def _check_plain(node: Any, path: Path) -> None:
    """Refuse what is not a plain value: a file of settings has no classes and interpolations."""
    for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
        if key == "_target_" or (isinstance(value, str) and "${" in value):
            raise ConfigError(f"settings={path}: found {key}={value!s:.60}. {_EXPECTED}")
        if isinstance(value, Mapping | list):
            _check_plain(value, path)


def merged_yaml(path: Path) -> dict[str, Any]:
    """Merge a yaml over those of its folder that its ``defaults`` name; nothing is resolved."""
    above, own = _parsed(path, file_stamp([path]))
    if not above:
        return deepcopy(own)
    parents = [merged_yaml(path.parent / f"{name}.yaml") for name in above]
    return _plain(OmegaConf.merge(*parents, own))


@lru_cache(maxsize=256)  # each job of a sweep asks for the same ones
def _parsed(path: Path, stamp: FileStamp) -> tuple[list[str], dict[str, Any]]:
    """The names in the ``defaults`` of a yaml, and its other keys."""
    own = OmegaConf.load(path)
    if not isinstance(own, DictConfig):
        raise ValueError("it is a list")
    parents: Sequence[Any] = own.pop("defaults", [])
    return [str(name).partition("@")[0] for name in parents if name != "_self_"], _plain(own)


def _plain(cfg: DictConfig | ListConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
