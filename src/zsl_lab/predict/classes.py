"""The classes to choose among: those that a checkpoint knows, new ones, or both."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor

from zsl_lab.data.batches.base import ClassSpace
from zsl_lab.data.benchmark import FloatArray
from zsl_lab.data.checks.class_names import alike
from zsl_lab.errors import ConfigError, DataError
from zsl_lab.predict.predictions import Kind
from zsl_lab.run.configuration.schema import Among

#: how a class is described: a vector in the units of the training semantics, or a text
Description = npt.ArrayLike | Tensor | str
#: new classes: the file of a table, a description by name, or names alone
Classes = str | os.PathLike[str] | Mapping[str, Description] | Sequence[str]


class KnownClass(NamedTuple):
    """A class that a checkpoint knows.

    Attributes:
        name: Its name in the benchmark.
        seen: Whether it was trained on.
    """

    name: str
    seen: bool


@dataclass(frozen=True, eq=False)
class Candidates:
    """The classes that a sample may be assigned to.

    Attributes:
        kinds: Of each class, whether it is ``seen`` or ``unseen`` in the checkpoint, or ``new``.
        space: Their semantics or texts, as the method takes them.
    """

    kinds: tuple[Kind, ...]
    space: ClassSpace

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return self.space.names


def choose_candidates(
    known: ClassSpace, given: ClassSpace | None, among: Among | None
) -> Candidates:
    """Choose among the classes of a checkpoint and new ones.

    Args:
        known: The checkpoint's classes.
        given: New classes; None for none.
        among: ``all``, ``unseen`` or ``new``, see :meth:`Predictor.predict`; None for ``new`` where
            classes are given, else ``all``.

    Raises:
        ConfigError: ``among`` is none of these, there are no new classes to choose among, or one
            has the name of a known class.
        DataError: There are fewer than two classes to choose among.
    """
    among = among or ("all" if given is None else "new")
    if among not in get_args(Among):
        # the same message as on the command line
        raise ConfigError(f"among={among}: input should be 'all', 'unseen' or 'new'.")
    if among == "new" and given is None:
        raise ConfigError(
            "among=new: no new classes were given. Give some with classes=..., or choose "
            "among=all or among=unseen."
        )
    # of the known classes: none, the unseen ones, or all
    chosen = ~known.seen_mask if among == "unseen" else np.full(len(known.names), among == "all")
    space = subset(known, np.flatnonzero(chosen))
    kinds: list[Kind] = ["seen" if seen else "unseen" for seen in space.seen_mask]
    if given is not None:
        twice = sorted(set(space.names) & set(given.names))
        if twice:
            raise ConfigError(
                f"classes: '{twice[0]}' is the name of a class of the checkpoint. Give it another "
                "name, or choose among=new, which chooses among the given classes only."
            )
        _warn_of_alike(space.names, given.names)
        kinds += ["new"] * len(given.names)
        space = _joined(space, given)
    _expect_two(space.names, among)
    return Candidates(tuple(kinds), space)


def subset(space: ClassSpace, positions: npt.NDArray[np.intp]) -> ClassSpace:
    """Some of the classes, in the order of ``positions``, with ids from 0."""
    return ClassSpace(
        np.arange(len(positions)),
        space.semantics[positions],
        space.seen_mask[positions],
        tuple(space.names[position] for position in positions),
        tuple(space.descriptions[p] for p in positions) if space.descriptions else (),
    )


def _joined(first: ClassSpace, second: ClassSpace) -> ClassSpace:
    return ClassSpace(
        np.arange(len(first.names) + len(second.names)),
        np.concatenate([first.semantics, second.semantics]),
        np.concatenate([first.seen_mask, second.seen_mask]),
        first.names + second.names,
        first.descriptions + second.descriptions,
    )


def _warn_of_alike(known: Sequence[str], new: Sequence[str]) -> None:
    """Warn of new classes whose names differ from known ones in spelling only."""
    spelled = {alike(name): name for name in known}
    pairs = [(name, spelled[alike(name)]) for name in new if alike(name) in spelled]
    if pairs:
        warnings.warn(
            f"classes: found '{pairs[0][0]}' beside '{pairs[0][1]}' of the checkpoint"
            + (f", and {len(pairs) - 1} more such pairs" if len(pairs) > 1 else "")
            + "; expected names that differ in more than case, separators or characters that look "
            "alike. They may be one class, whose samples are then shared between two candidates. "
            "Rename it, leave it out, or choose among=new.",
            stacklevel=3,
        )


def _expect_two(names: tuple[str, ...], among: Among) -> None:
    if len(names) >= 2:
        return
    origin = "classes" if among == "new" else f"among={among}"
    raise DataError(
        f"{origin}: found {len(names)} class; expected at least 2, to tell them apart. "
        "Give more classes, or choose among=all."
        if names
        else f"{origin}: found no class to choose among; expected at least 2. Give some "
        "with classes=..., or choose among=all."
    )


def check_descriptions(classes: Any) -> bool:
    """Check a mapping of names to vectors or texts.

    Returns:
        Whether the classes are described by texts.

    Raises:
        DataError: It is not a mapping of names to vectors or texts, a name or text is empty, or
            texts and vectors are mixed.
    """
    if not isinstance(classes, Mapping):
        raise DataError(
            f"classes: found a value of type {type(classes).__name__}; expected the file of a "
            "table, or a mapping of names to vectors or texts. Give one of these; or leave "
            "classes out, and choose among the known classes with among=..."
        )
    if not classes:
        raise DataError(
            "classes: found none; expected a name and a description of each. Leave classes out "
            "to predict among the known classes."
        )
    for name in classes:
        if not isinstance(name, str) or not name.strip():
            raise DataError(
                f"classes: found {name!r} as a name; expected a text, and not an empty one."
            )
    are_texts = {bool(texts_of(description)) for description in classes.values()}
    if len(are_texts) > 1:
        raise DataError(
            "classes: found texts for some and vectors for others; expected one kind. Give "
            "texts only, or vectors only."
        )
    if are_texts == {True}:
        empty = [
            name
            for name, description in classes.items()
            if not all(text.strip() for text in texts_of(description))
        ]
        if empty:
            raise DataError(
                f"classes: found an empty text for '{empty[0]}'; expected a description of "
                "every class. Write one, or leave the class out."
            )
    return are_texts == {True}


def texts_of(description: Any) -> list[str]:
    """The texts of a class; none where it is described by a vector."""
    if isinstance(description, str):
        return [description]
    several = isinstance(description, list | tuple)
    if several and all(isinstance(text, str) for text in description):
        return list(description)
    return []


def as_vector(value: Any, name: str) -> FloatArray:
    """The description of the class ``name`` as a float32 vector.

    Raises:
        DataError: It is no array of numbers, or one of them is not finite.
    """
    if isinstance(value, Tensor):
        value = value.detach().cpu().float().numpy()
    try:
        vector = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"classes: found {value!r} for '{name}'; expected a vector of numbers, or a text for "
            "every class."
        ) from error
    if not np.isfinite(vector).all():
        raise DataError(
            f"classes: found a value for '{name}' that is not finite; expected finite numbers. "
            "Correct it, or leave the class out."
        )
    return vector
