"""Settings of runs: read from a run's folder, flattened to dotted keys, compared.

Nothing here needs torch, except reading a ``config.yaml`` of an older version that names files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsl_lab.classifiers.config import OWN
from zsl_lab.errors import ConfigError, DataError
from zsl_lab.files.bounded import read_bounded
from zsl_lab.keys import AddedLater, Marks, is_below, marked
from zsl_lab.run.configuration.old_names import with_current_targets
from zsl_lab.run.configuration.schema import RunKeys, run_marks

CONFIG_FILE = "config.yaml"
#: a configuration has about 5 KB
_MAX_BYTES, _MAX_DEPTH = 2**18, 50

#: values by dotted keys
Settings = dict[str, Any]


@dataclass(frozen=True)
class Configuration:
    """A run's configuration, and what its keys mean.

    Attributes:
        plain: Plain containers, with current names in each ``_target_``.
        marks: The marks of its keys, as far as they are known.
    """

    plain: dict[str, Any]
    marks: Marks

    def settings(self, left_out: Iterable[str] = ()) -> Settings:
        """The values by dotted keys, without keys that no metric depends on.

        A key that was added later is left out if it has the value that gives the behaviour of older
        versions, so that a configuration stored before the key existed compares equal.

        Args:
            left_out: More keys and sections to leave out.
        """
        without = {*self.marks.irrelevant, *left_out}
        later = marked(RunKeys, AddedLater)
        return {
            key: value
            for key, value in _flat(self.plain, "")
            if not (key in later and value == later[key].value) and not is_below(key, without)
        }


def read_configuration(path: Path) -> Configuration:
    """The configuration that a run wrote.

    Args:
        path: Its ``config.yaml``.

    Raises:
        DataError: The file is missing, damaged, or of another program.
    """
    import yaml

    from zsl_lab.files import fast_yaml

    advice = (
        f"expected the {CONFIG_FILE} that the run wrote. Restore it, or remove it: the run then "
        "counts as one of unknown settings."
    )
    try:
        text = read_bounded(path, _MAX_BYTES).decode()
        _check_structure(text)
        config = yaml.load(text, fast_yaml.loader())
        if "${" in text:  # not resolved, since runs store values; but refused if malformed
            from omegaconf import OmegaConf

            OmegaConf.create(config)
    except Exception as error:  # the parser's errors share no narrower base
        brief = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: cannot be read ({brief}); {advice}") from error
    for section in ("method", "dataset", "paths"):
        if not isinstance(config, dict) or not isinstance(config.get(section), dict):
            raise DataError(f"{path}: field {section!r}: found no section of keys; {advice}")
    assert isinstance(config, dict)
    config = {str(key): value for key, value in config.items()}
    plain = with_current_targets({"classifier": OWN, **config})
    return Configuration(plain, run_marks() | (Marks.of_header(text) or _marks_of_classes(plain)))


def _check_structure(text: str) -> None:
    """Refuse YAML that takes much longer to read than to write, or holds more than plain values.

    Raises:
        ValueError: It has an alias or a tag, or is nested too deep.
        yaml.YAMLError: It is not YAML.
    """
    import yaml

    depth = 0
    # the loader in C is not always compiled
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("an alias, which no run writes")
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"the tag {event.tag}, which no run writes")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise ValueError(f"sections within sections, more than {_MAX_DEPTH} deep")


def _marks_of_classes(plain: dict[str, Any]) -> Marks:
    """Marks of a configuration that was stored without them, from the classes of its sections.

    Importing the classes takes seconds, so it is done only if a key holds an absolute path, as keys
    with the mark :class:`zsl_lab.keys.Place` are stored.
    """
    sections = {name: plain[name] for name in ("method", "dataset")}
    if any(isinstance(value, str) and os.path.isabs(value) for _, value in _flat(sections, "")):
        from zsl_lab.run.config import class_marks

        with suppress(ConfigError):
            return class_marks(plain)
    return Marks()


def _flat(node: Mapping[Any, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _frozen(value)


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return tuple(_flat(value, "")) if isinstance(value, dict) else value


def shown_value(value: Any) -> str:
    """A value of a configuration, written as in an override."""
    if isinstance(value, tuple):
        return f"[{','.join(shown_value(item) for item in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
