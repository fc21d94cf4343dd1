"""Computes semantics of new classes in the same way as those of a benchmark's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from zsl_lab.data.benchmark import FloatArray
from zsl_lab.data.files.tables import ClassTable
from zsl_lab.data.recipe import Recipe, TextRecipe
from zsl_lab.errors import DataError
from zsl_lab.extraction.pretrained.network import TextTower
from zsl_lab.extraction.recipes import load_text_tower
from zsl_lab.extraction.texts import embed_classes, embed_texts
from zsl_lab.text import Terms
from zsl_lab.text.prompts import uses_texts

#: maximum number of names of attributes that a message lists
_SHOWN_NAMES = 5


@dataclass(frozen=True)
class SemanticsOfBenchmark:
    """The kind of semantics that a benchmark's classes have, to compute those of new classes.

    Attributes:
        benchmark: The benchmark's name.
        dim: Dimension of the semantics, Q.
        recipe: How the benchmark's semantics were computed.
        terms: Words for messages about the text encoder.
        cache_dir: The cache of token states; None for none.
    """

    benchmark: str
    dim: int
    recipe: Recipe
    terms: Terms
    cache_dir: Path | None = None

    @property
    def attributes(self) -> list[str]:
        """Names of the semantics' dimensions; empty where they have none."""
        return self.recipe.attributes if len(self.recipe.attributes) == self.dim else []

    @property
    def wanted(self) -> str:
        """The semantics that are expected for each class, in words, for messages."""
        named = f" ({_listed(self.attributes)})" if self.attributes else ""
        return f"{self.dim} numbers for each class{named}, as {self.benchmark} has them"

    @property
    def names_suffice(self) -> bool:
        """Whether a name suffices for a class: prompts of an image-text model without texts."""
        templates = self.recipe.texts.templates if self.recipe.texts else None
        return templates is not None and not uses_texts(templates)

    def takes_texts_of(self, table: ClassTable) -> bool:
        """Whether semantics are computed from a table's texts or names, not from its attributes."""
        if table.descriptions is None:
            return self.names_suffice
        return self.recipe.texts is not None or table.attributes is None

    def of_table(self, table: ClassTable, origin: str) -> FloatArray:
        """The semantics of a table of classes, ``[C, Q]``.

        Args:
            table: The classes.
            origin: Begins messages.

        Raises:
            ConfigError: If the text encoder is not available.
            DataError: If the table lacks the texts or attributes that the benchmark's semantics
                need.
        """
        if self.takes_texts_of(table):
            return self.of_texts(table.names, table.descriptions, origin, table.text_lists)
        if table.attributes is None:
            raise DataError(
                f"{origin}: found no column of attributes; expected {self.wanted}. "
                "Add them, or give another table."
            )
        return table.attributes[:, self._columns(table, origin)]

    def of_texts(
        self,
        names: Sequence[str],
        descriptions: Sequence[str] | None,
        origin: str,
        text_lists: Sequence[Sequence[str]] | None = None,
    ) -> FloatArray:
        """The semantics of classes from their texts, ``[C, Q]``; see :meth:`of_table`.

        Args:
            names: Names of the C classes, which prompts of an image-text model may contain.
            descriptions: A text for each class; None where names suffice.
            origin: Begins messages.
            text_lists: For each class the separate texts that ``descriptions`` joins; None where
                each class has one text.
        """
        recipe = self.recipe.texts
        if recipe is None:
            raise DataError(
                f"{origin}: found texts; the classes of {self.benchmark} are described by "
                f"{self.wanted}, not by a text encoder of this project. Give such vectors, or "
                "train on a benchmark whose texts were encoded by `python -m zsl_lab.data extract`."
            )
        if recipe.templates is not None:
            lists = [(text,) for text in descriptions] if descriptions else None
            tower = _text_tower(recipe.model_dump_json())
            semantics = embed_classes(names, text_lists or lists, recipe.templates, tower)
        else:
            assert descriptions is not None
            semantics = embed_texts(descriptions, recipe, self.cache_dir, self.terms)
        if semantics.shape[1] != self.dim:
            raise DataError(
                f"{origin}: {recipe.encoder} makes {semantics.shape[1]} numbers of a text; "
                f"expected {self.dim}, as when {self.benchmark} was made. Make the benchmark and "
                "train anew with the encoder as it is now, or give vectors."
            )
        return semantics

    def _columns(self, table: ClassTable, origin: str) -> list[int]:
        """Indices of the table's columns in the order of the semantics' dimensions."""
        found, expected = table.attribute_names, self.attributes
        missing = [name for name in expected if name not in found]
        extra = [name for name in found if name not in expected] if expected else []
        ways_out = "Correct the table, or train on a benchmark with its attributes."
        if missing or extra:
            what = [
                f"{word} {_listed(names)}"
                for word, names in (("missing", missing), ("not among them", extra))
                if names
            ]
            raise DataError(
                f"{origin}: found other attributes than the {len(expected)} of "
                f"training: {'; '.join(what)}. {ways_out}"
            )
        if len(found) != self.dim:
            plural = "s" if len(found) != 1 else ""
            raise DataError(
                f"{origin}: found {len(found)} column{plural} of attributes "
                f"({_listed(found)}); expected {self.wanted}. {ways_out}"
            )
        return [found.index(name) for name in expected] if expected else list(range(len(found)))


@lru_cache(maxsize=1)
def _text_tower(recipe: str) -> TextTower:
    """The text tower of a recipe (as JSON), cached for further classes."""
    return load_text_tower(TextRecipe.model_validate_json(recipe))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(names[:_SHOWN_NAMES]) + more
