"""Token states without a language model: a vector for each word, whatever its context."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from zsl_lab.errors import DataError
from zsl_lab.text.cache import EncodedText
from zsl_lab.text.packages import CONFIGURATION, Terms, module

#: size of tf-idf's vocabulary, the most frequent words: limits the states of a text of hundreds of
#: words to a few MiB
MAX_VOCABULARY = 2048


def words(text: str) -> list[str]:
    """The words of a text in lower case; hyphens and apostrophes separate words."""
    return re.findall(r"[^\W_]+", text.lower())


def load_glove(
    folder: Path, max_tokens: int, terms: Terms = CONFIGURATION
) -> Callable[[str], EncodedText]:
    """Load GloVe's word vectors.

    Args:
        folder: Holds ``glove_6B_50d_emb.npy``, float32 ``[V, 50]``, and ``glove_6B_index.parquet``,
            the word of each row.
        max_tokens: Number of known words at which texts are cut.
        terms: Words for messages.

    Returns:
        A function that takes a text and returns the vectors of its words; words without a vector
        are left out. It raises :class:`DataError` for a text without any known word.

    Raises:
        ConfigError: If pyarrow is not installed.
    """
    parquet = module("pyarrow.parquet", "glove", terms)
    row = {
        word: i
        for i, word in enumerate(
            parquet.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
        )
    }
    vectors = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r", allow_pickle=False)

    def encode(text: str) -> EncodedText:
        known = [row[word] for word in words(text) if word in row]
        if not known:
            raise DataError(
                f"The description '{shortened(text)}' has no word that GloVe knows; expected at "
                f"least one. Either correct this description, or {terms.another} (bert, minilm or "
                f"tfidf).{terms.also}"
            )
        return EncodedText(np.array(vectors[known[:max_tokens]], dtype=np.float32), len(known))

    return encode


def encode_tfidf(
    texts: Sequence[str], fit_on: Sequence[str], max_tokens: int, terms: Terms = CONFIGURATION
) -> list[EncodedText]:
    """Encode each distinct word of a text as a one-hot vector times its tf-idf weight in the text.

    A word that occurs tf times in the text, and in df of the n texts of ``fit_on``, has the weight
    (1 + ln tf)(1 + ln((1 + n) / (1 + df))), divided by the L2 norm of all weights of the text.

    Args:
        texts: The texts to encode.
        fit_on: The texts that vocabulary and document frequencies are taken from.
        max_tokens: Number of distinct known words at which a text is cut, in order of their first
            occurrence.
        terms: Words for messages.

    Returns:
        For each text, states ``[T, V]`` with V the size of the vocabulary; a single zero vector,
        with a warning, where no word is known.

    Raises:
        DataError: If ``fit_on`` has no words.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(map(words, fit_on)):
        raise DataError(
            f"The {len(fit_on)} descriptions of the seen classes have no words; expected some to "
            "count for tf-idf."
        )
    vectorizer = TfidfVectorizer(
        tokenizer=words,
        token_pattern=None,
        lowercase=False,
        sublinear_tf=True,
        max_features=MAX_VOCABULARY,
    )
    vectorizer.fit(fit_on)
    column = vectorizer.vocabulary_
    encoded, strangers = [], []
    for text, weights in zip(texts, vectorizer.transform(texts).toarray(), strict=True):
        known = list(dict.fromkeys(column[word] for word in words(text) if word in column))
        if not known:
            strangers.append(text)
        kept = known[:max_tokens]
        states = np.zeros((max(len(kept), 1), len(column)), dtype=np.float32)
        states[np.arange(len(kept)), kept] = weights[kept]
        encoded.append(EncodedText(states, len(known)))
    if strangers:
        warnings.warn(
            f"{len(strangers)} of {len(texts)} descriptions have no word that occurs in those of "
            "the seen classes, and cannot be told apart: "
            f"'{', '.join(map(shortened, strangers))}'. Either correct them, or {terms.another} "
            "(minilm or bert).",
            stacklevel=3,
        )
    return encoded


def shortened(text: str) -> str:
    """The start of a text, enough to find it."""
    return text if len(text) <= 60 else f"{text[:57]}..."
