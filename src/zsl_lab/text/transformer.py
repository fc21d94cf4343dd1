"""Token states of BERT and of encoders like it: the last hidden states, one text at a time.

A text is encoded alone, so that its states are the same bits whichever texts come with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zsl_lab.errors import ConfigError
from zsl_lab.text.cache import EncodedText
from zsl_lab.text.packages import module

_WAYS_OUT = (
    "Either set method.text.model=<a local folder with config.json, tokenizer and weights>, or choose an encoder that needs no"
    " download: method.text.encoder=minilm or tfidf."
)
#: seconds for the first answer of the hub
_PATIENCE = 10


def load_transformer(name: str, encoder: str, max_tokens: int) -> Callable[[str], EncodedText]:
    """Load a frozen encoder.

    Args:
        name: A local folder, or a name on the hub, which is downloaded where it was not before.
        encoder: The value of ``method.text.encoder``, for messages.
        max_tokens: At how many tokens texts are cut; those that the tokenizer adds at both ends count.

    Returns:
        A function from a text to its token states.

    Raises:
        ConfigError: If transformers is not installed, the model cannot be loaded, or ``max_tokens`` does not suit it.
    """
    transformers = module("transformers", encoder)
    torch = module("torch", encoder)
    # loading may draw initial weights of layers without use here: a run must draw the same numbers whether the cache is warm
    with _quiet(), torch.random.fork_rng(devices=[]):
        tokenizer, model, info = _load(transformers, torch, name)
    if getattr(model.config, "is_encoder_decoder", False):
        raise ConfigError(f"method.text.model={name}: found a model with a decoder; expected an encoder such as BERT. {_WAYS_OUT}")
    # BERT's pooler acts after the token states
    missing = sorted(key for key in info["missing_keys"] if "pooler" not in key)
    if missing:
        raise ConfigError(
            f"method.text.model={name}: found no weights for {len(missing)} tensors of the encoder ({missing[0]}); expected all of"
            f" them. {_WAYS_OUT}"
        )
    least = tokenizer.num_special_tokens_to_add() + 1
    most = min(getattr(model.config, "max_position_embeddings", tokenizer.model_max_length), tokenizer.model_max_length)
    if not least <= max_tokens <= most:
        raise ConfigError(
            f"method.text.max_tokens={max_tokens}: expected {least} to {most}, what {name} takes. Set method.text.max_tokens={most},"
            " or another method.text.model."
        )

    def encode(text: str) -> EncodedText:
        whole = tokenizer(text, verbose=False)["input_ids"]
        tokens = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")
        with torch.inference_mode():
            states = model(**tokens).last_hidden_state[0]
        return EncodedText(states.numpy(), len(whole))

    return encode


def _load(transformers: Any, torch: Any, name: str) -> tuple[Any, Any, Any]:
    """Tokenizer, model in evaluation mode, and what the loader noticed."""

    def load(local: bool) -> tuple[Any, Any, Any]:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, local_files_only=local)
        model, info = transformers.AutoModel.from_pretrained(name, local_files_only=local, dtype=torch.float32, output_loading_info=True)
        return tokenizer, model.eval(), info

    # whatever a foreign folder holds, the loader may raise anything on it
    try:
        return load(local=True)
    except Exception as error:
        if Path(name).is_dir():
            raise ConfigError(f"method.text.model={name}: cannot be loaded ({_reason(error)}). {_WAYS_OUT}") from error
    try:
        hub = module("huggingface_hub", "bert")
        # asked once: the loader itself would try again for most of a minute
        hub.get_hf_file_metadata(hub.hf_hub_url(name, "config.json"), timeout=_PATIENCE)
        return load(local=False)
    except Exception as error:
        raise ConfigError(
            f"method.text.model={name}: found no folder of this name, and it cannot be downloaded ({_reason(error)}). {_WAYS_OUT}"
        ) from error


def _reason(error: Exception) -> str:
    # the hub's messages are paragraphs, of which the first line may say no more than a number
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither progress bars nor reports of the loader, which would mix with the run's own."""
    logs = [module("transformers.utils.logging", "bert"), module("huggingface_hub.utils.logging", "bert")]
    levels = [log.get_verbosity() for log in logs]
    bars = logs[0].is_progress_bar_enabled()
    for log in logs:
        log.set_verbosity_error()
    logs[0].disable_progress_bar()
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.set_verbosity(level)
        if bars:
            logs[0].enable_progress_bar()
