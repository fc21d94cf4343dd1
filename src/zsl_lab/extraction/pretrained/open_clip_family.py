"""``open_clip:MODEL/PRETRAINED``: both towers of the image-text models of open_clip.

Also ``open_clip:hf-hub:ORG/NAME``, a model published on the Hugging Face Hub for open_clip, and
``open_clip:local-dir:FOLDER``, the files of such a model in a folder. ``hf-hub:`` and
``local-dir:`` are open_clip's own prefixes.
"""

from __future__ import annotations

import json
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
    measure,
    random_weights,
    seeded,
)
from zsl_lab.extraction.weights import Terms, import_package
from zsl_lab.files.hashing import sha256_file
from zsl_lab.text.hub import reason
from zsl_lab.text.packages import fingerprint

#: CLIP's own mean and standard deviation, for presets of open_clip without them
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
#: crop modes of :class:`Preparation` by open_clip's resize modes
_CROP_MODES = {"shortest": "center", "squash": "squash"}
_HUB, _FOLDER = "hf-hub:", "local-dir:"
#: file with the architecture and preprocessing of a model on the hub or in a folder
_CONFIG_FILE = "open_clip_config.json"
#: label, in a recipe, of weights on the hub
_HUB_LABEL = "hub"


class _ImageTower(nn.Module):
    """Computes projected embeddings of normalised images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Compute embeddings ``[B, D]`` of images ``[B, 3, height, width]``."""
        embeddings: Tensor = self.model.encode_image(images)  # type: ignore[operator]
        return embeddings


def defaults(name: str, weights: str | None, image_size: int | None, terms: Terms) -> Defaults:
    """The sizes and the preparation of images that open_clip uses for a model.

    Args:
        name: ``open_clip:MODEL/PRETRAINED``.
        weights: As in :func:`build`.
        image_size: Side, in pixels, of the square that the model sees; None for its own.
        terms: Words for messages.

    Raises:
        ConfigError: If open_clip is missing or has no such model or weights, or the model's images
            are not scaled or cropped to a square.
    """
    open_clip = import_package("open_clip", name, "open_clip", terms)
    if is_published(name):
        config = _published_config(open_clip, name, weights, terms)
        preset, model_config = config.get("preprocess_cfg", {}), config["model_cfg"]
    else:
        model, pretrained = _chosen(open_clip, name, weights, terms)
        preset = open_clip.get_pretrained_cfg(model, pretrained)
        model_config = open_clip.get_model_config(model)
    size = image_size or _own_size(model_config)
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
    """Load the image tower of a model, frozen; its features are the projected embeddings.

    Args:
        name: ``open_clip:MODEL/PRETRAINED``; PRETRAINED is a tag of open_clip (downloaded), a file,
            or ``random`` for random weights. Or ``open_clip:hf-hub:ORG/NAME`` or
            ``open_clip:local-dir:FOLDER``, which include the weights.
        weights: PRETRAINED if the name has none; None otherwise.
        image_size: Side of its images, in pixels.
        preparation: Mean and standard deviation of its images.
        terms: Words for messages.

    Raises:
        ConfigError: If open_clip is missing or has no such model or weights, they cannot be
            downloaded or do not fit, or the model does not take images of this size.
        CheckpointError: If there is no such file.
    """
    open_clip = import_package("open_clip", name, "open_clip", terms)
    if is_published(name):
        model_config = _published_config(open_clip, name, weights, terms)["model_cfg"]
    else:
        model_config = open_clip.get_model_config(_chosen(open_clip, name, weights, terms)[0])
    own_size = _own_size(model_config)
    model, loaded = _load(open_clip, name, weights, image_size, terms)
    network = PooledNetwork(loaded.name, _ImageTower(model), preparation)
    return measure(network, image_size, own_size, terms), loaded


def text_tower(name: str, weights: str | None, terms: Terms) -> TextTower:
    """Load the text tower of a model; arguments and errors as in :func:`build`."""
    open_clip = import_package("open_clip", name, "open_clip", terms)
    model, loaded = _load(open_clip, name, weights, None, terms)
    bare = name.removeprefix(OPEN_CLIP_PREFIX) if is_published(name) else _parts(name)[0]
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
        # tokenizers without encode() do not tell the length of a whole text
        return len(tokenizer.encode(text)) + 2 if hasattr(tokenizer, "encode") else 0

    return TextTower(loaded.name, loaded, int(tokenizer.context_length), embed, count_tokens)


def _parts(name: str) -> tuple[str, str]:
    model, _, pretrained = name.removeprefix(OPEN_CLIP_PREFIX).partition("/")
    return model, pretrained


def _chosen(open_clip: Any, name: str, weights: str | None, terms: Terms) -> tuple[str, str]:
    """The model and its weights (a tag, an existing file, or ``random``), checked to exist."""
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


def _own_size(config: dict[str, Any]) -> int:
    size = config["vision_cfg"].get("image_size", 224)
    return int(size if isinstance(size, int) else size[0])


# ---------------------------------------------------------------- models outside the package


def is_published(name: str) -> bool:
    """Whether a name is that of a model on the hub or in a folder, not one of open_clip's own."""
    return name.removeprefix(OPEN_CLIP_PREFIX).startswith((_HUB, _FOLDER))


def renamed(name: str, place: str) -> str:
    """The name of a model in a folder, with another path of the folder; other names unchanged."""
    in_folder = name.startswith(f"{OPEN_CLIP_PREFIX}{_FOLDER}")
    return f"{OPEN_CLIP_PREFIX}{_FOLDER}{place}" if in_folder else name


def _published_config(
    open_clip: Any, name: str, weights: str | None, terms: Terms
) -> dict[str, Any]:
    """Architecture and preprocessing of a model on the hub or in a folder."""
    if weights is not None:
        raise ConfigError(
            f"{terms.network}{name}: found the weights {weights} too ({terms.weights.strip('= ')}),"
            " and this model has its own. Leave these out, or give open_clip:MODEL with yours."
        )
    path = _published_file(open_clip, name, _CONFIG_FILE, terms)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        config["model_cfg"]["vision_cfg"], config["model_cfg"]["text_cfg"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{terms.network}{name}: {path}: found no configuration of a model of open_clip "
            f"({type(error).__name__}: {error}); expected model_cfg with vision_cfg and text_cfg. "
            "Give another model; models of transformers begin with hf:."
        ) from error
    found: dict[str, Any] = config
    return found


def _published_file(open_clip: Any, name: str, file: str | None, terms: Terms) -> Path:
    """A file of a model on the hub or in a folder.

    With ``file=None``, the file of the weights on the hub, or the folder itself.
    """
    bare = name.removeprefix(OPEN_CLIP_PREFIX)
    if bare.startswith(_FOLDER):
        folder = Path(bare.removeprefix(_FOLDER)).expanduser()
        path = folder / (file or "")
        if not path.exists():
            what = f"there is no {file} in it" if folder.is_dir() else "there is no such folder"
            raise ConfigError(
                f"{terms.network}{name}: {what}; expected the files of a model of open_clip. "
                "Correct the path, or give another model."
            )
        return path
    repository = bare.removeprefix(_HUB)
    try:
        return Path(open_clip.pretrained.download_pretrained_from_hf(repository, filename=file))
    except Exception as error:  # of the connection, the disk or the server
        raise ConfigError(
            f"{terms.network}{name}: cannot be downloaded from the Hugging Face Hub "
            f"({reason(error)}). Correct the name; or download its files on another machine and "
            f"give their folder: {OPEN_CLIP_PREFIX}{_FOLDER}FOLDER."
        ) from error


def _load_published(
    open_clip: Any, name: str, image_size: int | None, terms: Terms
) -> tuple[nn.Module, LoadedWeights]:
    place = _published_file(open_clip, name, None, terms)
    try:
        with seeded(), _silent():
            model: nn.Module = open_clip.create_model(
                renamed(name, str(place)).removeprefix(OPEN_CLIP_PREFIX),
                force_image_size=image_size,
                # else open_clip would draw random weights if the model's are missing
                require_pretrained=True,
            )
    except Exception as error:
        raise ConfigError(
            f"{terms.network}{name}: cannot be loaded ({reason(error)}). Give another model."
        ) from error
    model.requires_grad_(False).eval()
    if place.is_dir():
        path = place.absolute()
        own_name = renamed(name, path.name)
        return model, LoadedWeights(path.name, fingerprint(path, (".pth",)), path, own_name)
    return model, LoadedWeights(_HUB_LABEL, sha256_file(place), None, name)


# -------------------------------------------------------------------- models of the package


def _load(
    open_clip: Any, name: str, weights: str | None, image_size: int | None, terms: Terms
) -> tuple[nn.Module, LoadedWeights]:
    """The whole model in evaluation mode, and the description of its weights."""
    if is_published(name):
        _published_config(open_clip, name, weights, terms)
        return _load_published(open_clip, name, image_size, terms)
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
    """The file of the weights, downloaded if needed; None for random weights."""
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
    """Suppress open_clip's warnings about random weights, which are drawn on purpose here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
