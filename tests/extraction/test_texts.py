"""Texts of classes as vectors."""

from __future__ import annotations

import numpy as np
import pytest

from zsl_lab.data.recipe import TextRecipe
from zsl_lab.extraction.texts import embed_texts
from zsl_lab.text import TextConfig, encode


def test_a_text_is_the_mean_of_its_tokens_whatever_texts_come_with_it() -> None:
    texts = ["a red bell", "a blue flower with five petals and a bell", "bell"]
    recipe = TextRecipe(encoder="tfidf", model=None, max_tokens=5, fitted_on=texts[:2])
    with pytest.warns(UserWarning, match="more than 5 tokens"):
        found = embed_texts(texts, recipe)
    with pytest.warns(UserWarning, match="more than 5 tokens"):
        tokens = encode(
            TextConfig(encoder="tfidf", model=None, max_tokens=5), texts, None, texts[:2]
        )
    alone = embed_texts(texts[:1], recipe)
    assert tokens.mask.sum(1).tolist() == [3, 5, 1]
    for row, states, mask in zip(found, tokens.states, tokens.mask, strict=True):
        np.testing.assert_allclose(row, states[mask].mean(0), rtol=1e-6)
    assert np.array_equal(alone[0], found[0])
