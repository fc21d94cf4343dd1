"""Token states of BERT and similar encoders: the last hidden states, one text at a time.

Texts are encoded one by one, so that the states of a text are bit-equal whatever other texts there
are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zsl_lab.errors import ConfigError
from zsl_lab.text.cache import EncodedText
from zsl_lab.text.hub import load_from_hub, quiet
from zsl_lab.text.packages import CONFIGURATION, Terms, module


def load_transformer(
    name: str, encoder: str, max_tokens: int, terms: Terms = CONFIGURATION
) -> Callable[[str], EncodedText]:
    """Load a frozen encoder.

    Args:
        name: A local folder, or the name of a model on the hub, downloaded if it is not cached.
        encoder: The encoder's name, for messages.
        max_tokens: Number of tokens at which texts are cut, with those that the tokenizer adds at
            both ends.
        terms: Words for messages.

    Returns:
        A function that takes a text and returns its token states.

    Raises:
        ConfigError: If transformers is not installed, the model cannot be loaded, or ``max_tokens``
            does not suit it.
    """
    transformers = module("transformers", encoder, terms)
    torch = module("torch", encoder, terms)
    # loading may draw initial weights of unused layers; the run's random numbers must not depend on
    # whether the texts were cached
    with quiet(), torch.random.fork_rng(devices=[]):
        tokenizer, model, info = _load(transformers, torch, name, terms)
    ways_out = f"{terms.unloadable}{terms.also}"
    if getattr(model.config, "is_encoder_decoder", False):
        raise ConfigError(
            f"{terms.model}{name}: found a model with a decoder; expected an encoder such as BERT. "
            f"{ways_out}"
        )
    # BERT's pooler acts after the token states
    missing = sorted(key for key in info["missing_keys"] if "pooler" not in key)
    if missing:
        raise ConfigError(
            f"{terms.model}{name}: found no weights for {len(missing)} tensors of the encoder "
            f"({missing[0]}); expected all of them. {ways_out}"
        )
    least = tokenizer.num_special_tokens_to_add() + 1
    most = min(
        getattr(model.config, "max_position_embeddings", tokenizer.model_max_length),
        tokenizer.model_max_length,
    )
    if not least <= max_tokens <= most:
        raise ConfigError(
            f"{terms.max_tokens}{max_tokens}: expected {least} to {most}, what {name} takes. "
            f"{terms.limit.format(most=most)}{terms.also}"
        )

    def encode(text: str) -> EncodedText:
        whole = tokenizer(text, verbose=False)["input_ids"]
        tokens = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")
        with torch.inference_mode():
            states = model(**tokens).last_hidden_state[0]
        return EncodedText(states.numpy(), len(whole))

    return encode


def _load(transformers: Any, torch: Any, name: str, terms: Terms) -> tuple[Any, Any, Any]:
    """The tokenizer, the model in evaluation mode, and the loader's report (missing keys, ...)."""

    def load(local: bool) -> tuple[Any, Any, Any]:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, local_files_only=local)
        model, info = transformers.AutoModel.from_pretrained(
            name, local_files_only=local, dtype=torch.float32, output_loading_info=True
        )
        return tokenizer, model.eval(), info

    return load_from_hub(name, load, f"{terms.model}{name}", f"{terms.unloadable}{terms.also}")
