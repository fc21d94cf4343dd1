"""Token states of descriptions, where asked paragraph by paragraph."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from zsl_lab.errors import DataError
from zsl_lab.methods.n3.config import N3Config
from zsl_lab.text import CONFIGURATION, Terms, TokenStates, encode

_BLANK_LINE = re.compile(r"\n\s*\n")


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text, which blank lines separate."""
    return [part.strip() for part in _BLANK_LINE.split(text.strip())]


def encode_descriptions(
    config: N3Config,
    texts: Sequence[str],
    cache_dir: Path | None,
    fit_on: Sequence[str],
    terms: Terms = CONFIGURATION,
    expected: int | None = None,
) -> TokenStates:
    """Encode descriptions; see :func:`zsl_lab.text.encode`.

    Args:
        config: The keys of N3.
        texts: ``C`` descriptions.
        cache_dir: The folder of caches.
        fit_on: The descriptions of the seen classes.
        terms: Words for messages.
        expected: Number of paragraphs of each description; None for that of the first.

    Returns:
        States ``[C, T, E]``; with ``pool=paragraph_means`` each paragraph is encoded on its own,
        and the states of P paragraphs are ``[C, P, T, E]``.

    Raises:
        ConfigError: As :func:`zsl_lab.text.encode`.
        DataError: As there, or the numbers of paragraphs differ.
    """
    if config.pool != "paragraph_means":
        return encode(config.text, texts, cache_dir, fit_on, terms)
    split = [paragraphs(text) for text in texts]
    count = len(split[0]) if expected is None else expected
    for text, parts in zip(texts, split, strict=True):
        if len(parts) != count:
            raise DataError(
                f"method.pool=paragraph_means: found {len(parts)} paragraphs in the description "
                f"{text[:60]!r}; expected {count}, as in the others. Separate paragraphs by a "
                "blank line, the same number in each description, or train with method.pool=mean."
            )
    encoded = encode(
        config.text,
        [part for parts in split for part in parts],
        cache_dir,
        [part for text in fit_on for part in paragraphs(text)],
        terms,
    )
    return TokenStates(
        encoded.states.reshape(len(texts), count, *encoded.states.shape[1:]),
        encoded.mask.reshape(len(texts), count, -1),
    )
