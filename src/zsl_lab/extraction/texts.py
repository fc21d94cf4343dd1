"""From the texts of classes to their semantics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zsl_lab.data.benchmark import FloatArray
from zsl_lab.data.files.tables import ClassTable
from zsl_lab.data.recipe import ATTRIBUTES, TEXT, TextRecipe
from zsl_lab.text import CONFIGURATION, TextConfig, encode
from zsl_lab.text import Terms as TextTerms


@dataclass(frozen=True, eq=False)
class Semantics:
    """Class semantics of each kind that a table has.

    Attributes:
        by_kind: ``att`` and ``text``, float32 ``[C, Q]`` each.
        texts: How the texts were encoded; None where there are none.
    """

    by_kind: dict[str, FloatArray]
    texts: TextRecipe | None


def table_semantics(
    table: ClassTable, recipe: TextRecipe | None, terms: TextTerms, *, attributes: bool
) -> Semantics:
    """The semantics of a table of classes.

    Args:
        table: The classes.
        recipe: How to encode their descriptions; None leaves these out.
        terms: For messages.
        attributes: Whether to take the table's attributes, where it has any.

    Raises:
        ConfigError: The encoder is not available.
        DataError: The encoder finds no token in a text.
    """
    found: dict[str, FloatArray] = {}
    if attributes and table.attributes is not None:
        found[ATTRIBUTES] = table.attributes
    if recipe is not None:
        assert table.descriptions is not None
        found[TEXT] = embed_texts(table.descriptions, recipe, terms=terms)
    return Semantics(found, recipe)


def embed_texts(
    texts: Sequence[str],
    recipe: TextRecipe,
    cache_dir: Path | None = None,
    terms: TextTerms = CONFIGURATION,
) -> FloatArray:
    """Encode texts, each as the mean of its token states.

    Args:
        texts: C texts.
        recipe: The encoder.
        cache_dir: The cache of token states; None for none.
        terms: For messages.

    Returns:
        float32 ``[C, Q]``.

    Raises:
        ConfigError: A package is not installed, the model cannot be loaded, or it takes fewer
            tokens.
        DataError: The encoder finds no token in a text.
    """
    config = TextConfig.model_validate(
        {name: getattr(recipe, name) for name in ("encoder", "model", "max_tokens")}
    )
    tokens = encode(config, texts, cache_dir, recipe.fitted_on, terms)
    # padding is 0
    mean: FloatArray = tokens.states.sum(axis=1) / tokens.mask.sum(axis=1, keepdims=True).astype(
        np.float32
    )
    return mean
