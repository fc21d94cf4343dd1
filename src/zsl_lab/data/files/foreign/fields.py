"""The roles of a file's fields in a benchmark: found by name, or mapped by the user."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zsl_lab.errors import ConfigError, DataError, nearest

Array = npt.NDArray[Any]

#: names that fields of each role may have; the first is the name in the HDF5 layout
ALIASES: Mapping[str, tuple[str, ...]] = {
    "features": (
        *("features", "feature", "feats", "feat", "x", "embeddings", "embedding", "emb"),
        *("image_features", "image_embeddings", "image_embeds", "visual_features", "vectors"),
    ),
    "labels": (
        *("labels", "label", "y", "targets", "target", "class_id", "class_ids", "class"),
        *("class_label", "class_labels", "category", "species"),
    ),
    "class_names": (
        *("class_names", "classes", "classnames", "allclasses_names", "names"),
        *("class_to_idx", "idx_to_class", "label2id", "id2label"),
    ),
    "files": (
        *("files", "file", "image_files", "image_file", "filenames", "filename", "paths", "path"),
        *("file_name", "image_path", "image_paths", "img_path"),
    ),
    "descriptions": ("descriptions", "description"),
    **{
        part: (part, *(f"{part}_{kind}" for kind in ("loc", "idx", "mask")))
        for part in ("trainval", "test_seen", "test_unseen", "test", "train", "val")
    },
    "validation_classes": ("validation_classes", "val_classes"),
    "unseen_classes": ("unseen_classes", "test_classes", "testclasses", "novel_classes"),
    "split": ("split", "splits", "part", "partition", "subset"),
    "name": ("name",),
    "recipe": ("recipe",),
    "semantics/att": (
        *("semantics/att", "att", "attributes", "attribute", "semantics", "class_attributes"),
        *("class_semantics", "class_embeddings", "signatures"),
    ),
    "semantics/original_att": ("semantics/original_att", "original_att"),
    "semantics/sent": ("semantics/sent", "sent"),
    "semantics/text": (
        *("semantics/text", "text_features", "text_embeddings", "text_embeds", "class_text"),
    ),
}
#: columns of a table that only number its rows
_ROW_NUMBERS = ("", "index", "id", "idx", "unnamed:_0", "__index_level_0", "position")
#: roles that a field of a nested dictionary (``meta/name``) is not given by its name
_NEVER_WITHIN = ("files", "descriptions", "name", "recipe")
#: roles as a message lists them
_ROLES = "features, labels, class_names, semantics (or semantics/KIND), trainval, test_seen, ..."


@dataclass(frozen=True, eq=False)
class Fields:
    """The fields of a file, by name.

    Attributes:
        path: The file or folder.
        values: Arrays of numbers or texts (``U``), of any shape.
        left_out: Types of the fields that are neither.
        is_table: Whether fields of one dimension are columns of a table of samples.
        names_of: For fields of class ids with names attached, the names of the classes.
    """

    path: Path
    values: Mapping[str, Array]
    left_out: Mapping[str, str] = field(default_factory=dict)
    is_table: bool = False
    names_of: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def where(self, name: str) -> str:
        """File and field, for messages."""
        return f"{self.path}: field '{name}'"


def parse_map(texts: Sequence[str]) -> dict[str, str]:
    """Parse the values of ``--map``, such as ``features=emb,labels=y``.

    Returns:
        The field of each role.

    Raises:
        ConfigError: If a part is not ``ROLE=FIELD``, or a role is unknown or given twice.
    """
    found: dict[str, str] = {}
    for part in (part.strip() for text in texts for part in text.split(",") if part.strip()):
        role, equals, name = part.partition("=")
        role = {"semantics": "semantics/att"}.get(role.strip(), role.strip())
        if not equals or not name.strip():
            raise ConfigError(
                f"--map {part}: expected ROLE=FIELD, such as features=emb,labels=y. Roles: {_ROLES}"
            )
        if role not in ALIASES and not role.startswith("semantics/"):
            near = nearest(role, ALIASES)
            hint = f"Did you mean {near[0]}?" if near else f"Roles: {', '.join(ALIASES)}."
            if name.strip() in (*ALIASES, "semantics"):
                hint = f"The role comes first: --map {name.strip()}={role}"
            raise ConfigError(f"--map {part}: there is no role '{role}'. {hint}")
        if role in found:
            raise ConfigError(f"--map: found {role} twice; expected one field for it.")
        found[role] = name.strip()
    return found


def find_roles(fields: Fields, mapping: Mapping[str, str]) -> dict[str, str]:
    """Find the field of each role.

    Args:
        fields: The fields of the file.
        mapping: Fields by role, as the user maps them.

    Returns:
        The field of each role that the file has.

    Raises:
        ConfigError: If a mapped field is missing, or several fields may have the same role.
        DataError: If there are no features or no labels.
    """
    for role, name in mapping.items():
        if name not in fields.values:
            near = nearest(name, fields.values)
            hint = f"Did you mean {near[0]}?" if near else "Name one of these."
            raise ConfigError(
                f"--map {role}={name}: {fields.path} has no such field; found "
                f"{listed_fields(fields)}. {hint}"
            )
    roles = dict(mapping)
    for role, aliases in ALIASES.items():
        if role in roles:
            continue
        left = [name for name in fields.values if name not in roles.values()]
        found = [name for name in left if meaning(name) in aliases]
        if not found and role not in _NEVER_WITHIN:
            found = [name for name in left if meaning(name.rpartition("/")[2]) in aliases]
        if len(found) > 1:
            raise _ambiguous(fields, role, found)
        if found:
            roles[role] = found[0]
    for name in fields.values:
        kind = meaning(name).removeprefix("semantics/")
        if name not in roles.values() and meaning(name).startswith("semantics/") and kind:
            roles[f"semantics/{kind}"] = name
    if "features" not in roles:
        roles |= _only_matrix(fields, roles)
    missing = [
        role
        for role in ("features", "labels")
        if role not in roles and not (role == "features" and feature_columns(fields, roles))
    ]
    if missing:
        raise _missing(fields, missing)
    return roles


def meaning(name: str) -> str:
    """A field's name in lower case, with ``_`` for other separators and without ``split/``."""
    plain = re.sub(r"[\s.\-]+", "_", name.strip().casefold())
    return plain.removeprefix("split/").removesuffix("*").rstrip("_")


def feature_columns(fields: Fields, roles: Mapping[str, str]) -> list[str]:
    """The columns of a table that are features: all numeric columns without another role."""
    if not fields.is_table:
        return []
    return [
        name
        for name, array in fields.values.items()
        if array.ndim == 1
        and array.dtype.kind in "iuf"
        and name not in roles.values()
        and meaning(name) not in _ROW_NUMBERS
    ]


def unused(fields: Fields, roles: Mapping[str, str]) -> list[str]:
    """The fields without a role, except columns that only number the rows."""
    columns = [] if "features" in roles else feature_columns(fields, roles)
    known = {*roles.values(), *columns}
    return [
        name
        for name in fields.values
        if name not in known and not (fields.is_table and meaning(name) in _ROW_NUMBERS)
    ]


def listed_fields(fields: Fields) -> str:
    """Names, types and shapes, for messages."""
    shown = [
        f"{name} ({'text' if array.dtype.kind == 'U' else array.dtype} {list(array.shape)})"
        for name, array in list(fields.values.items())[:12]
    ]
    shown += [f"{name} ({what}, not read)" for name, what in list(fields.left_out.items())[:6]]
    more = len(fields.values) + len(fields.left_out) - len(shown)
    return (", ".join(shown) + (f" and {more} more" if more > 0 else "")) or "no field"


def _only_matrix(fields: Fields, roles: Mapping[str, str]) -> dict[str, str]:
    """The role ``features`` for the only matrix with a row for each label, if there is one."""
    labels = fields.values.get(roles.get("labels", ""))
    if labels is None:
        return {}
    found = [
        name
        for name, array in fields.values.items()
        if name not in roles.values()
        and array.ndim == 2
        and array.dtype.kind in "iuf"
        and len(array) == labels.size
    ]
    if len(found) > 1:
        raise _ambiguous(fields, "features", found)
    return {"features": found[0]} if found else {}


def _ambiguous(fields: Fields, role: str, found: Sequence[str]) -> ConfigError:
    short = {"semantics/att": "semantics"}.get(role, role)
    return ConfigError(
        f"{fields.path}: found {', '.join(found)}, each of which may be the {short}; expected one. "
        f"Say which: --map {short}={found[0]}"
    )


def _missing(fields: Fields, roles: Sequence[str]) -> DataError:
    images = [name for name, what in fields.left_out.items() if "struct" in what or "bin" in what]
    hint = (
        f". '{images[0]}' may hold images: write these to a folder for each class, and "
        "`python -m zsl_lab.data extract` makes features of them."
        if images and "features" in roles
        else ""
    )
    expected = ", and ".join(
        f"the {role}, a field called {', '.join(ALIASES[role][:4])} or similar" for role in roles
    )
    mapping = ",".join(f"{role}=FIELD" for role in roles)
    return DataError(
        f"{fields.path}: found {listed_fields(fields)}; expected {expected}. Say which: --map "
        f"{mapping}{hint}"
    )


def number_base(values: Array, count: int) -> int | None:
    """The number, 0 or 1, that ids or indices of ``count`` items count from; None if unclear."""
    if not values.size:
        return 0
    low, high = values.min(), values.max()
    if low == 0:
        return 0
    return 1 if high == count else None


def is_text(array: Array) -> bool:
    """Whether an array holds texts."""
    return array.dtype.kind == "U"


def text_array(texts: Sequence[str]) -> Array:
    """Texts as an array, ``[n]``."""
    return np.array(list(texts), dtype=np.str_)
