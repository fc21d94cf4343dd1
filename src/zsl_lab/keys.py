"""The keys of a configuration: what each means, and sentences for wrong values.

What a key means is declared where the key is, as a mark in its annotation::

    class MyConfig(MethodConfig):
        word_vectors: Annotated[str, Place()]           # a file or folder
        chunk_size: Annotated[int, Irrelevant()]        # no metric depends on it
        fine_tune_steps: Annotated[int, AfterPretraining()]

:func:`marks_of` collects the marks of a model, :meth:`Marks.header` and :meth:`Marks.of_header`
keep them in a run's ``config.yaml``, so that a report knows them without importing the model.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from zsl_lab.errors import ConfigError, nearest

Model = TypeVar("Model", bound=BaseModel)
Mark = TypeVar("Mark")


class Section(BaseModel):
    """A section of a run's configuration: no other keys, no conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


# --------------------------------------------------------------------------- marks


@dataclass(frozen=True)
class Place:
    """The key names a file or folder.

    It is stored as an absolute path. It may lie elsewhere on another machine, so a run that starts
    from a checkpoint may set it to another value.

    Attributes:
        names: Values that are no path, such as ``imagenet``.
        any_name: Whether a value that is not an existing path is taken as a name, such as that of
            a model to download.
        per_seed: Whether each seed has its own file. Runs that differ only in this file are
            grouped as repetitions.
    """

    names: tuple[str, ...] = ()
    any_name: bool = False
    per_seed: bool = False

    def absolute(self, value: str) -> str:
        """The value to store: an absolute path, or the value itself where it is a name."""
        path = Path(value).expanduser()
        if value in self.names or (self.any_name and not path.exists()):
            return value
        return str(path.absolute())


@dataclass(frozen=True)
class Irrelevant:
    """No metric depends on the key: it is ignored when runs are grouped, resumed or matched."""


@dataclass(frozen=True)
class AfterPretraining:
    """The key has no effect before the end of a method's pre-training, which runs may share."""


@dataclass(frozen=True)
class AddedLater:
    """A key that older versions did not have.

    Attributes:
        value: The value that gives the older versions' behaviour. A configuration with this value
            is compared as if it did not have the key.
    """

    value: Any


@dataclass(frozen=True)
class PredictOnly:
    """The key belongs to ``task=predict``: refused with other tasks, not stored, not compared."""


@dataclass(frozen=True)
class NotStored:
    """The key controls how the command makes or finds runs: not stored, not compared."""


@dataclass(frozen=True)
class FixedByCheckpoint:
    """The value is taken from the checkpoint; only keys in it marked :class:`Place` may be set."""


@dataclass(frozen=True)
class FilledBy:
    """The section is filled by a configuration group of another name.

    Attributes:
        group: The group's name, a folder of ``conf``.
    """

    group: str


def marked(model: type[BaseModel], mark: type[Mark], prefix: str = "") -> dict[str, Mark]:
    """The dotted keys of a model, and of the sections in it, that carry a mark.

    Args:
        model: The model of a section.
        mark: The kind of mark.
        prefix: The section's own dotted key; empty for the whole configuration.

    Returns:
        The mark of each such key.
    """
    marks: dict[str, Mark] = {}
    for key, metadata in _annotated(model, prefix):
        for found in metadata:
            if isinstance(found, mark):
                marks.setdefault(key, found)
    return marks


@cache  # every run of a process asks for the same models
def _annotated(model: type[BaseModel], prefix: str) -> list[tuple[str, list[Any]]]:
    """The dotted keys of a model, and of the sections in it, with their annotations' metadata."""
    return [
        (key, [*info.metadata, *_metadata(info.annotation)]) for key, info in _walk(model, prefix)
    ]


def _metadata(annotation: Any) -> list[Any]:
    """The metadata in an annotation or union; of ``Annotated[str, Place()] | None``, the place."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [found for part in get_args(annotation) for found in _metadata(part)]
    return list(getattr(annotation, "__metadata__", ()))


def _walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        key = f"{prefix}.{name}".lstrip(".")
        yield key, info
        for inner in _models(info.annotation):
            yield from _walk(inner, key)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models in an annotation or a union: ``[Inner]`` of ``Inner | None``."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [model for part in get_args(annotation) for model in _models(part)]
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return [annotation] if is_model else []


@dataclass(frozen=True)
class Marks:
    """The marks of a configuration's keys that are needed to compare runs.

    Attributes:
        places: Keys that name a file or folder.
        per_seed: Those of ``places`` with a separate file for each seed.
        irrelevant: Keys and sections that no metric depends on.
    """

    places: frozenset[str] = field(
        default=frozenset(), metadata={"title": "keys that name a file or folder"}
    )
    per_seed: frozenset[str] = field(
        default=frozenset(), metadata={"title": "keys with a file for each seed"}
    )
    irrelevant: frozenset[str] = field(
        default=frozenset(), metadata={"title": "keys that no metric depends on"}
    )

    def __or__(self, other: Marks) -> Marks:
        """The marks of two parts of a configuration together."""
        return Marks(
            self.places | other.places,
            self.per_seed | other.per_seed,
            self.irrelevant | other.irrelevant,
        )

    def header(self) -> str:
        """The marks as comments at the top of a YAML file."""
        return "".join(
            f"# {part.metadata['title']}: {', '.join(sorted(getattr(self, part.name)))}\n"
            for part in fields(self)
        )

    @classmethod
    def of_header(cls, text: str) -> Marks | None:
        """The marks in a YAML file that begins with :meth:`header`; None where it does not."""
        found = {}
        for part, line in zip(fields(cls), text.splitlines(), strict=False):
            title, _, keys = line.partition(": ")
            if title.rstrip(":") != f"# {part.metadata['title']}":
                return None
            found[part.name] = frozenset(filter(None, keys.split(", ")))
        return cls(**found) if len(found) == len(fields(cls)) else None


def marks_of(model: type[BaseModel], prefix: str = "") -> Marks:
    """The marks of a section's model; see :func:`marked`."""
    places = marked(model, Place, prefix)
    irrelevant = [marked(model, mark, prefix) for mark in (Irrelevant, PredictOnly, NotStored)]
    return Marks(
        frozenset(places),
        frozenset(key for key, place in places.items() if place.per_seed),
        frozenset(key for keys in irrelevant for key in keys),
    )


def is_below(key: str, sections: Iterable[str]) -> bool:
    """Whether a dotted key is one of the given keys or lies in one of these sections."""
    return any(key == section or key.startswith(f"{section}.") for section in sections)


def with_absolute_places(section: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """A section with its places as absolute paths.

    A checkpoint may be used from another working folder than the one it was trained in.

    Args:
        section: Plain containers.
        model: The section's model.
    """
    places = marked(model, Place)

    def absolute(node: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        changed: dict[str, Any] = {}
        for name, value in node.items():
            place = places.get(f"{prefix}{name}")
            if isinstance(value, Mapping):
                changed[name] = absolute(value, f"{prefix}{name}.")
            elif place and isinstance(value, list):
                changed[name] = [place.absolute(str(item)) for item in value]
            else:
                changed[name] = place.absolute(str(value)) if place and value else value
        return changed

    return absolute(section, "")


def without(section: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """A copy of a section without some dotted keys.

    Args:
        section: Plain containers.
        keys: Dotted keys within the section.
    """

    def kept(node: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        return {
            name: kept(value, f"{prefix}{name}.") if isinstance(value, Mapping) else value
            for name, value in node.items()
            if f"{prefix}{name}" not in keys
        }

    return kept(section, "")


# --------------------------------------------------------------------------- wrong values


def checked(model: type[Model], values: Mapping[str, Any], section: str) -> Model:
    """Validate values against a model.

    Args:
        model: The section's model.
        values: Its keys and values.
        section: The section's dotted key, for the messages.

    Returns:
        The model with these values.

    Raises:
        ConfigError: If values are wrong; the message has a sentence for each wrong key.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        # grouped by key: pydantic reports an error for each alternative of a union
        problems: dict[str, list[str]] = {}
        for problem in error.errors():
            key, _, what = _sentence(model, section, problem).partition(": ")
            problems.setdefault(key, []).append(what)
        raise ConfigError(
            "\n".join(
                f"{key}: {', or '.join([*(w.rstrip('.') for w in whats[:-1]), whats[-1]])}"
                for key, whats in problems.items()
            )
        ) from None


def _sentence(model: type[BaseModel], section: str, problem: Any) -> str:
    parts, model, section = _key_of(model, section, problem["loc"])
    key = ".".join([section, *parts]).strip(".")
    if problem["type"] == "extra_forbidden":
        near = nearest(str(problem["loc"][-1]), model.model_fields)
        hint = (
            f" Did you mean {section}.{near[0]}?"
            if near
            else f" The keys of {section or 'the run'}: {', '.join(model.model_fields)}."
        )
        return f"{key}: there is no such key.{hint}"
    if problem["type"] == "missing":
        return f"{key}: this key is missing."
    if problem["type"] == "value_error":
        return f"{section}: {problem['ctx']['error']}."
    inner = model.model_fields[parts[0]].annotation if problem["type"] == "model_type" else None
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return _section_sentence(inner, key, problem["input"])
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{key}={_shown(problem['input'])}: {message}."


def _section_sentence(model: type[BaseModel], key: str, value: Any) -> str:
    names = list(model.model_fields)
    # the value is usually meant for the first key, which names a choice
    example = f"{key}.{names[0]}={value if isinstance(value, str) else '...'}"
    return (
        f"{key}={_shown(value)}: this is a section of keys ({', '.join(names)}); set one of them, "
        f"such as {example}."
    )


def _key_of(
    model: type[BaseModel], section: str, loc: Sequence[int | str]
) -> tuple[list[str], type[BaseModel], str]:
    """The parts of the key at a location (``loc``) of a pydantic error, its model and section.

    After the field's name only list indices are kept: other parts name a branch of a union.
    """
    field = model.model_fields.get(str(loc[0])) if loc else None
    inner = field.annotation if field else None
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return (
            _key_of(inner, f"{section}.{loc[0]}".strip("."), loc[1:])
            if len(loc) > 1
            else ([str(loc[0])], model, section)
        )
    return (
        [str(part) for i, part in enumerate(loc) if i == 0 or isinstance(part, int)],
        model,
        section,
    )


def _shown(value: Any) -> str:
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )
