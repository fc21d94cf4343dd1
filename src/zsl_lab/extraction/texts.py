"""Computes class semantics from the texts of classes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

from zsl_lab.data.benchmark import FloatArray
from zsl_lab.data.files.tables import ClassTable
from zsl_lab.data.recipe import ATTRIBUTES, TEXT, TextRecipe
from zsl_lab.errors import DataError
from zsl_lab.extraction.pretrained.network import TextTower
from zsl_lab.text import CONFIGURATION, TextConfig, encode
from zsl_lab.text import Terms as TextTerms
from zsl_lab.text.prompts import prompts, uses_texts

#: number of prompts that a text tower encodes at once
_PROMPTS = 128


@dataclass(frozen=True, eq=False)
class Semantics:
    """The class semantics of a table.

    Attributes:
        by_kind: Class semantics of the kinds ``att`` and ``text``, or one of them, each float32
            ``[C, Q]``.
        texts: How the texts were encoded; None where there are none.
    """

    by_kind: dict[str, FloatArray]
    texts: TextRecipe | None


def table_semantics(
    table: ClassTable,
    recipe: TextRecipe | None,
    terms: TextTerms,
    *,
    attributes: bool,
    tower: TextTower | None = None,
) -> Semantics:
    """The semantics of a table of classes.

    Args:
        table: The classes.
        recipe: How to encode their texts; None leaves out the texts.
        terms: Words for messages.
        attributes: Whether to include the table's attributes, if it has any.
        tower: The recipe's text tower, if the recipe is that of an image-text model.

    Raises:
        ConfigError: If the encoder is not available.
        DataError: If the encoder finds no token in a text.
    """
    found: dict[str, FloatArray] = {}
    if attributes and table.attributes is not None:
        found[ATTRIBUTES] = table.attributes
    if tower is not None:
        assert recipe is not None
        found[TEXT] = embed_classes(table.names, table.texts, recipe.templates or [], tower)
    elif recipe is not None:
        assert table.descriptions is not None
        found[TEXT] = embed_texts(table.descriptions, recipe, terms=terms)
    return Semantics(found, recipe)


def embed_classes(
    names: Sequence[str],
    texts: Sequence[Sequence[str]] | None,
    templates: Sequence[str],
    tower: TextTower,
) -> FloatArray:
    """Class semantics from an image-text model, computed like CLIP's zero-shot classifiers.

    The embeddings of a class's prompts are scaled to length 1 and averaged, and their mean is
    scaled to length 1 again (Radford et al., ICML 2021, section 3.1.4). If texts are cut, a warning
    is given.

    Args:
        names: Names of the C classes.
        texts: The texts of each class; None where only names are known.
        templates: The templates of the prompts.
        tower: The model's text tower.

    Returns:
        float32 ``[C, D]``, rows of length 1.

    Raises:
        DataError: If a template needs texts, and there are none.
    """
    if texts is None and uses_texts(templates):
        raise DataError(
            f"template '{next(t for t in templates if uses_texts([t]))}': found names of classes "
            "and no texts; expected both. Give texts, or a template with {name} only."
        )
    own = [
        prompts(name, of_class, templates)
        for name, of_class in zip(names, texts or [()] * len(names), strict=True)
    ]
    # equal prompts of several classes are encoded once
    every = list(dict.fromkeys(prompt for of_class in own for prompt in of_class))
    _warn_of_cut(every, tower)
    rows = torch.cat([tower.embed(every[i : i + _PROMPTS]) for i in range(0, len(every), _PROMPTS)])
    vectors = dict(zip(every, normalize(rows, dim=1), strict=True))
    means = [torch.stack([vectors[prompt] for prompt in of_class]).mean(0) for of_class in own]
    found: FloatArray = normalize(torch.stack(means), dim=1).numpy()
    return found


def _warn_of_cut(texts: Sequence[str], tower: TextTower) -> None:
    lengths = [tower.count_tokens(text) for text in texts]
    cut = sum(length > tower.max_tokens for length in lengths)
    if cut:
        warnings.warn(
            f"{cut} of {len(texts)} prompts have more than {tower.max_tokens} tokens (the longest "
            f"{max(lengths)}), which is what {tower.name} reads, and are cut there. Shorten the "
            "texts, or give several short ones for a class.",
            stacklevel=3,
        )


def embed_texts(
    texts: Sequence[str],
    recipe: TextRecipe,
    cache_dir: Path | None = None,
    terms: TextTerms = CONFIGURATION,
) -> FloatArray:
    """Encode texts, each as the mean of its token states.

    Args:
        texts: The C texts.
        recipe: The encoder.
        cache_dir: The cache of token states; None for none.
        terms: Words for messages.

    Returns:
        float32 ``[C, Q]``.

    Raises:
        ConfigError: If a package is not installed, the model cannot be loaded, or it takes fewer
            tokens than the recipe's.
        DataError: If the encoder finds no token in a text.
    """
    config = TextConfig.model_validate(
        {name: getattr(recipe, name) for name in ("encoder", "model", "max_tokens")}
    )
    tokens = encode(config, texts, cache_dir, recipe.fitted_on, terms)
    # the sum over all positions is that over the tokens, as padding is 0
    mean: FloatArray = tokens.states.sum(axis=1) / tokens.mask.sum(axis=1, keepdims=True).astype(
        np.float32
    )
    return mean
