"""Prompts for image-text models: a class's name and texts, put into templates.

A text of a class is a sentence, or a descriptor: a part of one, such as "a long beak".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from zsl_lab.data.files.descriptions import format_fields
from zsl_lab.errors import ConfigError

#: CLIP's template for class names
OF_NAMES = "a photo of a {name}."
OF_SENTENCES = "{description}"
OF_DESCRIPTORS = "{name}, {clause}"
_FIELDS = ("name", "description", "clause")
#: beginnings of descriptors that directly follow "which" (Menon and Vondrick, ICLR 2023), and of
#: those that follow "which is"; all others follow "which has"
_VERBS = ("has", "is", "are", "often", "typically", "may", "can", "lives", "uses", "used to")
_NOUNS = ("a ", "an ", "used ")


def read_templates(given: Sequence[str], option: str) -> list[str]:
    """Read the templates that a user gave.

    Args:
        given: Each a template with ``{name}`` (or ``{}``), ``{description}`` or ``{clause}``, or
            the path of a file with a list of templates: JSON, or text with one in each line.
        option: Begins messages (``"--template "``).

    Returns:
        The templates without repetitions, with ``{}`` replaced by ``{name}``.

    Raises:
        ConfigError: If a file is missing or holds no such list, or a template has other fields.
    """
    found: list[str] = []
    for value in given:
        found += [value] if "{" in value else _from_file(value, option)
    return list(dict.fromkeys(_checked(template, option) for template in found))


def _from_file(value: str, option: str) -> list[str]:
    path = Path(value).expanduser()
    expected = (
        "expected a template such as 'a photo of a {name}.', or the file of a list of them (JSON, "
        "or text with one in each line)"
    )
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8"
        raise ConfigError(
            f"{option}{value}: cannot be read ({reason}); {expected}. Correct the path, or write "
            "a template."
        ) from error
    if path.suffix.lower() != ".json":
        lines: list[object] = [line.strip() for line in content.splitlines() if line.strip()]
    else:
        try:
            lines = json.loads(content)
        except ValueError as error:
            raise ConfigError(
                f"{option}{value}: found no valid JSON ({error}); {expected}. Correct the file, or "
                "give another."
            ) from error
    texts = [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []
    if not texts or len(texts) < len(lines):
        raise ConfigError(
            f"{option}{value}: found no list of texts; {expected}. Correct the file, or give "
            "another."
        )
    return texts


def _checked(template: str, option: str) -> str:
    ways_out = "Correct it; a brace that is meant is written twice."
    try:
        fields = format_fields(template)
    except ValueError as error:
        raise ConfigError(f"{option}'{template}': {error}. {ways_out}") from error
    unknown = sorted(fields - {"", *_FIELDS})
    if unknown or not fields:
        found = f"the field {{{unknown[0]}}}" if unknown else "no field"
        raise ConfigError(
            f"{option}'{template}': found {found}; expected {{name}}, or {{}}, for the name of the "
            "class, {description} for a text of it, or {clause} for a text after 'which'. "
            f"{ways_out}"
        )
    return template.replace("{}", "{name}")


def default_templates(names: Sequence[str], texts: Sequence[Sequence[str]]) -> list[str]:
    """Templates that fit the texts of classes.

    Args:
        names: Names of the C classes.
        texts: The texts of each class; empty where only its name is known.

    Returns:
        :data:`OF_NAMES` where there are no texts; :data:`OF_SENTENCES` where most texts name their
        class, as CuPL's do, or are sentences; else :data:`OF_DESCRIPTORS`, which suits descriptors
        such as those of DCLIP and WaffleCLIP.
    """
    pairs = [(spoken(name), text) for name, own in zip(names, texts, strict=True) for text in own]
    if not pairs:
        return [OF_NAMES]
    whole = sum(
        name.casefold() in text.casefold() or text.rstrip().endswith((".", "!", "?"))
        for name, text in pairs
    )
    return [OF_SENTENCES if 2 * whole >= len(pairs) else OF_DESCRIPTORS]


def uses_texts(templates: Sequence[str]) -> bool:
    """Whether any template needs a text of the class, not only its name."""
    return any(format_fields(template) - {"name"} for template in templates)


def prompts(name: str, texts: Sequence[str], templates: Sequence[str]) -> list[str]:
    """The prompts of a class: each template with each text, each prompt once.

    Args:
        name: Its name; ``_`` becomes a space.
        texts: Its texts; may be empty where no template uses them.
        templates: As :func:`read_templates` returns them.
    """
    found: list[str] = []
    for template in templates:
        needed = texts if uses_texts([template]) else [""]
        found += [
            template.format(name=spoken(name), description=text.strip(), clause=clause(text))
            for text in needed
        ]
    return list(dict.fromkeys(found))


def spoken(name: str) -> str:
    """The name of a class for a prompt: spaces instead of underscores."""
    return " ".join(name.replace("_", " ").split())


def clause(descriptor: str) -> str:
    """A descriptor as a clause: "which is a seabird", "which lives at sea", "which has fins"."""
    text = descriptor.strip()
    lower = text.casefold()
    if lower.startswith(tuple(f"{verb} " for verb in _VERBS)):
        return f"which {text}"
    return f"which is {text}" if lower.startswith(_NOUNS) else f"which has {text}"
