"""The methods that can be chosen, one for each yaml in ``conf/method``, and what they can do.

Reading the yamls imports no method; the class of a method is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.global_hydra import GlobalHydra
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel

from zsl_lab.files import fast_yaml
from zsl_lab.files.cache import FileStamp, file_stamp
from zsl_lab.methods.config import MethodConfig, Takes

KeysClass = TypeVar("KeysClass", bound=BaseModel)

#: blocks of a method's yaml that are not keys of the method: ``short``, the overrides of a run of a
#: second or two for tests, and ``bench``, those of a measurement of speed
EXAMPLE_BLOCKS = ("short", "bench")


@dataclass(frozen=True)
class MethodEntry:
    """A choice of ``method=``.

    Attributes:
        name: The choice.
        settings: Its keys, those of the yamls that it derives from included.
        variant: Whether it derives from another yaml and has the same class.
    """

    name: str
    settings: Mapping[str, Any]
    variant: bool

    @property
    def method_class(self) -> type[Any]:
        """The class, a :class:`zsl_lab.methods.base.ZeroShotMethod`; importing it may take time."""
        return get_class(str(self.settings["_target_"]))

    @property
    def takes(self) -> Takes:
        """The kind of sample that the method takes."""
        light = config_class_of(str(self.settings["_target_"]))
        takes: Takes = self.method_class.takes if light is None else light.takes
        return takes

    @property
    def one_space(self) -> bool:
        """Whether features and class semantics must lie in one space."""
        keys = config_class_of(str(self.settings["_target_"])) or self.method_class.config_class
        return bool(keys.one_space)

    @property
    def trains_on_generated(self) -> bool:
        """Whether it learns from generated features of the unseen classes."""
        return self._says("trains_on_generated")

    @property
    def generates(self) -> bool:
        """Whether it generates features."""
        return self._says("generates")

    @property
    def has_prototypes(self) -> bool:
        """Whether it has a prototype of each class."""
        return self._says("has_prototypes")

    def _says(self, question: str) -> bool:
        """The result of a class method of the method, called with its configuration."""
        cls = self.method_class
        keys = {k: v for k, v in without_examples(self.settings).items() if k != "_target_"}
        return bool(getattr(cls, question)(cls.config_class.model_validate(keys)))

    def overrides(self, block: str) -> tuple[str, ...]:
        """The overrides of a block of :data:`EXAMPLE_BLOCKS`; none where there is no such block."""
        values = self.settings.get(block) or {}
        return tuple(f"{k}={'null' if v is None else v}" for k, v in values.items())


def entries() -> Iterator[MethodEntry]:
    """Every method found: in the package, then in the folders that Hydra's search path adds."""
    folders = _folders()
    found = [path for folder in folders for path in sorted(folder.glob("*.yaml"))]
    yield from _entries(tuple(folders), file_stamp(found))


@lru_cache(maxsize=8)  # each job of a sweep over methods asks for them
def _entries(folders: tuple[Path, ...], files: FileStamp) -> list[MethodEntry]:
    return [_entry(name, folders) for name in dict.fromkeys(Path(path).stem for path, *_ in files)]


def names(
    able: Callable[[MethodEntry], bool] = lambda entry: True, *, variants: bool = True
) -> list[str]:
    """Names of the methods found.

    Args:
        able: Whether to include a method; by default all are.
        variants: Whether to include those that only change keys of another method's yaml.
    """
    return [e.name for e in entries() if (variants or not e.variant) and able(e)]


def methods_taking(takes: Takes) -> str:
    """Comma-separated names of the methods that take features, or images, without variants.

    Methods whose features and class semantics must lie in one space are left out.
    """
    return ",".join(
        names(lambda entry: entry.takes == takes and not entry.one_space, variants=False)
    )


def config_class_of(target: str) -> type[MethodConfig] | None:
    """The class of a method's keys, from ``config.py`` beside it (:mod:`zsl_lab.methods.config`).

    Args:
        target: The dotted name of the method's class, which is not imported.

    Returns:
        None where the method has no such file.
    """
    return keys_beside(target, MethodConfig)


def keys_beside(target: str, base: type[KeysClass]) -> type[KeysClass] | None:
    """The class of the keys of a class: ``<Name>Config`` in the ``config.py`` beside its module.

    Args:
        target: The dotted name of the class, which is not imported.
        base: What the class of its keys derives from.

    Returns:
        None where there is no such file.
    """
    package, _, name = target.rpartition(".")
    module = f"{package}.config"
    try:
        if find_spec(module) is None:
            return None
        found = getattr(import_module(module), f"{name}Config", None)
    except Exception:  # reported where the method's class itself is imported
        return None
    return found if isinstance(found, type) and issubclass(found, base) else None


def without_examples(method: Mapping[str, Any]) -> dict[str, Any]:
    """The ``method`` section of a composed configuration without the blocks for tests."""
    return {key: value for key, value in method.items() if key not in EXAMPLE_BLOCKS}


def _entry(name: str, folders: tuple[Path, ...]) -> MethodEntry:
    merged, parents = _merged(name, folders)
    settings = OmegaConf.to_container(OmegaConf.create({"method": merged}), resolve=True)
    assert isinstance(settings, dict)
    inherited = any(parent["_target_"] == merged["_target_"] for parent in parents)
    return MethodEntry(name, settings["method"], inherited)


def _merged(name: str, folders: tuple[Path, ...]) -> tuple[DictConfig, list[DictConfig]]:
    """Merge a yaml over the yamls that its ``defaults`` name, as Hydra does.

    Returns:
        The merged yaml, and those that it was merged over.
    """
    path = next(path for folder in folders if (path := folder / f"{name}.yaml").is_file())
    own = OmegaConf.create(fast_yaml.load(path) or {})
    assert isinstance(own, DictConfig)
    # entries that are no strings are choices of other groups, such as the classifier
    names = [p for p in own.pop("defaults", []) if isinstance(p, str) and p != "_self_"]
    parents = [_merged(parent, folders)[0] for parent in names]
    merged = OmegaConf.merge(*parents, own) if parents else own
    assert isinstance(merged, DictConfig)
    return merged, parents


def _folders() -> list[Path]:
    """Folders of method yamls: the package's own, and ``method`` in each folder given to Hydra."""
    folders = [Path(str(files("zsl_lab.conf").joinpath("method")))]
    hydra = GlobalHydra.instance()
    if hydra.is_initialized():
        sources = hydra.config_loader().get_sources()
        folders += [Path(s.path) / "method" for s in sources if s.scheme() == "file"]
    return folders
