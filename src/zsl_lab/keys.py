"""Values against a model: every wrong one becomes a sentence that names its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from zsl_lab.errors import ConfigError, nearest

Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], values: Mapping[str, Any], section: str) -> Model:
    """The values as the model; raises ConfigError with a sentence for each wrong key, named below ``section``."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems = [_sentence(model, section, problem) for problem in error.errors()]
        raise ConfigError("\n".join(problems)) from None


def _sentence(model: type[BaseModel], section: str, problem: Any) -> str:
    place, model, section = _place(model, section, problem["loc"])
    key = ".".join([section, *place]).strip(".")
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
    inner = model.model_fields[place[0]].annotation if problem["type"] == "model_type" else None
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return _section_sentence(inner, key, problem["input"])
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{key}={_shown(problem['input'])}: {message}."


def _section_sentence(model: type[BaseModel], key: str, value: Any) -> str:
    names = list(model.model_fields)
    # mostly the value is meant for the first key, which names a choice
    example = f"{key}.{names[0]}={value if isinstance(value, str) else '...'}"
    return f"{key}={_shown(value)}: this is a section of keys ({', '.join(names)}); set one of them, such as {example}."


def _place(
    model: type[BaseModel], section: str, loc: Sequence[int | str]
) -> tuple[list[str], type[BaseModel], str]:
    """Walk into sections of a section; of the rest only field and index mean something, what follows names a branch of a union."""
    field = model.model_fields.get(str(loc[0])) if loc else None
    inner = field.annotation if field else None
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return (
            _place(inner, f"{section}.{loc[0]}".strip("."), loc[1:])
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


@dataclass(frozen=True)
class Place:
    """The key names a file or folder, as in ``Annotated[str, Place()]``."""
