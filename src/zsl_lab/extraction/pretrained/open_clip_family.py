"""``open_clip:MODEL/PRETRAINED``: both towers of the image-text models of open_clip."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zsl_lab.data.recipe import Preparation
from zsl_lab.errors import CheckpointError, ConfigError, nearest
from zsl_lab.extraction.names import OPEN_CLIP_PREFIX, RANDOM
from zsl_lab.extraction.pretrained.network import (
    Defaults,
    LoadedWeights,
    PooledNetwork,
    TextTower,
    import_package,
    measure,
    random_weights,
    seeded,
)
from zsl_lab.extraction.weights import Terms
from zsl_lab.files.hashing import sha256_file
from zsl_lab.text.hub import reason

#: what open_clip's presets lack is CLIP's own
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
#: from open_clip's names for how images are scaled to ours
_CROP_MODES = {"shortest": "center", "squash": "squash"}


class _ImageTower(nn.Module):
    """From normalised images to projected embeddings."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """``[B, 3, height, width]`` to ``[B, D]``."""
        embeddings: Tensor = self.model.encode_image(images)  # type: ignore[operator]
        return embeddings


def defaults(name: str, weights: str | None, image_size: int | None, terms: Terms) -> Defaults:
    """How open_clip prepares images for a model.

    Args:
        name: ``open_clip:MODEL/PRETRAINED``.
        weights: As in :func:`build`.
        image_size: Side of the square that the model sees; None for its own.
        terms: For messages.

    Raises:
        ConfigError: open_clip is missing, has no such model or weights, or its images are prepared
            in another way than by a square.
    """
    open_clip = import_package("open_clip", name, "open_clip", terms)
    model, pretrained = _chosen(open_clip, name, weights, terms)
    preset = open_clip.get_pretrained_cfg(model, pretrained)
    size = image_size or _own_size(open_clip, model)
    mode = preset.get("resize_mode", "shortest")
    if mode not in _CROP_MODES:
        raise ConfigError(
            f"{terms.network}{name}: open_clip scales the images of this model with "
            f"resize_mode={mode}; expected {' or '.join(_CROP_MODES)}. Choose another model."
        )
    preparation = Preparation.model_validate(
        {
            "mean": list(preset.get("mean", _CLIP_MEAN)),
            "std": list(preset.get("std", _CLIP_STD)),
            "interpolation": preset.get("interpolation", "bicubic"),
            "crop_mode": _CROP_MODES[mode],
        }
    )
    return Defaults(size, size, preparation)


def build(
    name: str, weights: str | None, image_size: int, preparation: Preparation, terms: Terms
) -> tuple[PooledNetwork, LoadedWeights]:
    """The image tower of a model: its projected embeddings.

    Args:
        name: ``open_clip:MODEL/PRETRAINED``; PRETRAINED is a tag of open_clip (downloaded), a file,
            or ``random`` for random weights.
        weights: PRETRAINED where the name has none; None otherwise.
        image_size: Side of the images that it will see.
        preparation: Mean and standard deviation of its images.
        terms: For messages.

    Raises:
        ConfigError: open_clip is missing, has no such model or weights, they cannot be downloaded
            or do not fit, or the model does not take images of this size.
        CheckpointError: There is no such file.
    """
    open_clip = import_package("open_clip", name, "open_clip", terms)
    own_size = _own_size(open_clip, _chosen(open_clip, name, weights, terms)[0])
    model, loaded = _load(open_clip, name, weights, image_size, terms)
    network = PooledNetwork(loaded.name, _ImageTower(model), preparation)
    return measure(network, image_size, own_size, terms), loaded


def text_tower(name: str, weights: str | None, terms: Terms) -> TextTower:
    """The text tower of a model; see :func:`build`."""
    open_clip = import_package("open_clip", name, "open_clip", terms)
    model, loaded = _load(open_clip, name, weights, None, terms)
    bare = _parts(name)[0]
    try:
        tokenizer = open_clip.get_tokenizer(bare)
    except Exception as error:  # of the package that some tokenizers come from
        raise ConfigError(
            f"{terms.network}{name}: its tokenizer cannot be loaded ({reason(error)}). Download it "
            "on a machine with a connection and copy the cache of the Hugging Face Hub, or choose "
            "another model."
        ) from error

    @torch.inference_mode()
    def embed(texts: list[str]) -> Tensor:
        found: Tensor = model.encode_text(tokenizer(texts))  # type: ignore[operator]
        return found.float()

    def count_tokens(text: str) -> int:
        # its other tokenizers do not tell the length of a whole text
        return len(tokenizer.encode(text)) + 2 if hasattr(tokenizer, "encode") else 0

    return TextTower(loaded.name, loaded, int(tokenizer.context_length), embed, count_tokens)


def _parts(name: str) -> tuple[str, str]:
    model, _, pretrained = name.removeprefix(OPEN_CLIP_PREFIX).partition("/")
    return model, pretrained


def _chosen(open_clip: Any, name: str, weights: str | None, terms: Terms) -> tuple[str, str]:
    """The model and its weights, checked: a tag, an existing file, or ``random``."""
    model, pretrained = _parts(name)
    known = open_clip.list_models()
    if model not in known:
        near = nearest(model, known)
        hint = (
            f"Did you mean {OPEN_CLIP_PREFIX}{near[0]}?"
            if near
            else "Give one that open_clip.list_models() lists."
        )
        raise ConfigError(f"{terms.network}{name}: open_clip has no model of this name. {hint}")
    if pretrained and weights is not None and weights != pretrained:
        raise ConfigError(
            f"{terms.network}{name}: found the weights {weights} too ({terms.weights.strip('= ')})."
            f" Leave these out, or give {OPEN_CLIP_PREFIX}{model}."
        )
    chosen = weights or pretrained
    tags = open_clip.list_pretrained_tags_by_model(model)
    listed = ", ".join((*tags, RANDOM))
    if not chosen:
        raise ConfigError(
            f"{terms.network}{name}: found no weights; expected {OPEN_CLIP_PREFIX}{model}/WEIGHTS. "
            f"Give one of {listed}, or a file."
        )
    if chosen == RANDOM or chosen in tags or Path(chosen).expanduser().is_file():
        return model, chosen
    if Path(chosen).suffix or "/" in chosen:
        raise CheckpointError(
            f"{terms.network}{name}: there is no file {chosen}. Correct its path, or give one of "
            f"{listed}."
        )
    near = nearest(chosen, tags)
    hint = f"Did you mean {OPEN_CLIP_PREFIX}{model}/{near[0]}?" if near else f"Give one of {listed}"
    raise ConfigError(
        f"{terms.network}{name}: open_clip has no weights {chosen} for {model}. {hint}"
        + ("" if near else ", or a file.")
    )


def _own_size(open_clip: Any, model: str) -> int:
    size = open_clip.get_model_config(model)["vision_cfg"].get("image_size", 224)
    return int(size if isinstance(size, int) else size[0])


def _load(
    open_clip: Any, name: str, weights: str | None, image_size: int | None, terms: Terms
) -> tuple[nn.Module, LoadedWeights]:
    """The whole model in evaluation mode, and where its weights come from."""
    model_name, chosen = _chosen(open_clip, name, weights, terms)
    preset = open_clip.get_pretrained_cfg(model_name, chosen)
    bare = f"{OPEN_CLIP_PREFIX}{model_name}"
    path = _weights_file(open_clip, name, chosen, preset, terms)
    try:
        with seeded(), _silent():
            model: nn.Module = open_clip.create_model(
                model_name,
                pretrained=None if path is None else str(path),
                # the activation that the weights were trained with
                force_quick_gelu=bool(preset.get("quick_gelu")),
                force_image_size=image_size,
                pretrained_text=False,
            )
    except Exception as error:  # of a file with other weights, or of transformers
        raise ConfigError(
            f"{terms.network}{name}: cannot be loaded ({reason(error)}). Give weights of "
            f"{model_name}, or another model."
        ) from error
    model.requires_grad_(False).eval()
    if path is None:
        return model, random_weights(bare, model)
    if preset:
        return model, LoadedWeights(chosen, sha256_file(path), None, f"{bare}/{chosen}")
    return model, LoadedWeights(path.name, sha256_file(path), path, bare)


def _weights_file(
    open_clip: Any, name: str, chosen: str, preset: dict[str, Any], terms: Terms
) -> Path | None:
    """The file of the weights, downloaded where it has to be; None for random ones."""
    if chosen == RANDOM:
        return None
    if not preset:
        return Path(chosen).expanduser().absolute()
    try:
        return Path(open_clip.download_pretrained(preset))
    except Exception as error:  # of the connection, the disk or the server
        source = preset.get("hf_hub") or preset.get("url")
        raise ConfigError(
            f"{terms.network}{name}: its weights cannot be downloaded from {source} "
            f"({reason(error)}). Download the file on another machine and give it: "
            f"{OPEN_CLIP_PREFIX}{_parts(name)[0]}/FILE; or copy the cache of the Hugging Face Hub."
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Without open_clip's warnings about random weights, which are chosen here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
