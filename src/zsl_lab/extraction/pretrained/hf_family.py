"""``hf:ID_OR_FOLDER``: vision and image-text models of transformers.

Code in a model's repository is never run (``trust_remote_code=False``).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zsl_lab.data.recipe import Preparation
from zsl_lab.errors import ConfigError
from zsl_lab.extraction.names import HF_PREFIX, RANDOM
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
from zsl_lab.text.hub import load_from_hub, quiet

#: names of Pillow's filters by number
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
#: size from which on ConvNeXt's images are squashed, not cropped
_CONVNEXT_WHOLE = 384
#: names of the class token's parameter
_CLASS_TOKENS = ("cls_token", "class_embedding")
#: lengths from this on mean that a tokenizer has no limit
_NO_LIMIT = 10**6


class _ImageTower(nn.Module):
    """Computes pooled features of normalised images.

    They are the projected embedding of an image-text model, else the pooler's output, else (without
    a pooler) the class token, else (without a class token) the mean over positions.

    Args:
        model: The model.
        has_pooler: Whether it has a pooler with loaded weights.
    """

    def __init__(self, model: nn.Module, has_pooler: bool) -> None:
        super().__init__()
        self.model: Any = model
        self._has_pooler = has_pooler
        self._has_class_token = any(
            name.endswith(_CLASS_TOKENS) for name, _ in model.named_parameters()
        )

    def forward(self, images: Tensor) -> Tensor:
        """Compute features ``[B, D]`` of images ``[B, 3, height, width]``."""
        if hasattr(self.model, "get_image_features"):
            return _pooled(self.model.get_image_features(pixel_values=images))
        output = self.model(pixel_values=images)
        if self._has_pooler and getattr(output, "pooler_output", None) is not None:
            return _pooled(output).flatten(1)
        hidden: Tensor = output.last_hidden_state
        if hidden.ndim == 4:
            return hidden.mean((2, 3))
        return hidden[:, 0] if self._has_class_token else hidden.mean(1)


@dataclass(frozen=True)
class _Loaded:
    """A model of transformers, the description of its weights, and missing keys of its files."""

    model: Any
    weights: LoadedWeights
    missing: tuple[str, ...]


def defaults(name: str, weights: str | None, image_size: int | None, terms: Terms) -> Defaults:
    """The sizes and the preparation of images that a model's image processor uses.

    Args:
        name: ``hf:ID_OR_FOLDER``.
        weights: As in :func:`build`.
        image_size: Side, in pixels, of the square that the model sees; None for its own.
        terms: Words for messages.

    Raises:
        ConfigError: If transformers is missing, the model has no image processor or cannot be
            downloaded, or its images are not scaled or cropped to a square.
    """
    transformers = import_package("transformers", name, "hf", terms)
    source = _source(name, weights)

    def load(local: bool) -> Any:
        return transformers.AutoImageProcessor.from_pretrained(
            source, local_files_only=local, trust_remote_code=False
        )

    with quiet():
        processor = load_from_hub(
            source, load, f"{terms.network}{name}", _ways_out(source), "preprocessor_config.json"
        )
    return _defaults_of(processor.to_dict(), name, image_size, terms)


def _defaults_of(
    config: dict[str, Any], name: str, image_size: int | None, terms: Terms
) -> Defaults:
    size = dict(config.get("size") or {})
    kept = size.get("shortest_edge")  # the aspect ratio is kept
    own_resize = kept or size.get("height")
    cut = config.get("crop_size") if config.get("do_center_crop") else None
    own_size = cut["height"] if cut else own_resize
    squash = not kept
    if config.get("crop_pct") and kept:  # ConvNeXt: the size is that of the cropped square
        squash = kept >= _CONVNEXT_WHOLE
        own_resize = kept if squash else int(kept / config["crop_pct"])
    interpolation = _FILTERS.get(int(config.get("resample", -1)))
    if (
        not own_resize
        or not own_size
        or not interpolation
        or size.get("height") != size.get("width")
        or (cut and cut["height"] != cut["width"])
        or (kept and not cut and not config.get("crop_pct"))
        or abs(config.get("rescale_factor", 0) * 255 - 1) > 1e-6
        or not config.get("do_rescale", True)
    ):
        shown = {key: config[key] for key in ("size", "crop_size", "resample") if key in config}
        raise ConfigError(
            f"{terms.network}{name}: its image processor ({config.get('image_processor_type')}) "
            f"has {shown}; expected images that are scaled to a square, or cut to one, with "
            f"{', '.join(_FILTERS.values())}. Choose another model."
        )
    normal = config.get("do_normalize", True)
    preparation = Preparation.model_validate(
        {
            "mean": [float(v) for v in config["image_mean"]] if normal else [0.0] * 3,
            "std": [float(v) for v in config["image_std"]] if normal else [1.0] * 3,
            "interpolation": interpolation,
            "crop_mode": "squash" if squash else "center",
        }
    )
    size_seen = image_size or int(own_size)
    return Defaults(round(own_resize * size_seen / own_size), size_seen, preparation)


def build(
    name: str, weights: str | None, image_size: int, preparation: Preparation, terms: Terms
) -> tuple[PooledNetwork, LoadedWeights]:
    """Load the image tower of a model, frozen.

    Args:
        name: ``hf:ID_OR_FOLDER``: a repository of the Hugging Face Hub, or a folder with
            ``config.json``, weights and the image processor's configuration.
        weights: ``random`` for random weights; another folder instead of the name's; or None.
        image_size: Side of its images, in pixels.
        preparation: Mean and standard deviation of its images.
        terms: Words for messages.

    Raises:
        ConfigError: If transformers is missing, or the model cannot be loaded or downloaded, lacks
            weights, or does not take images of this size.
    """
    transformers = import_package("transformers", name, "hf", terms)
    loaded = _load(transformers, name, weights, terms)
    pooler = [key for key in loaded.missing if "pooler" in key]
    tower = _ImageTower(loaded.model, has_pooler=not pooler)
    network = PooledNetwork(loaded.weights.name, tower, preparation)
    config = loaded.model.config
    own_size = getattr(getattr(config, "vision_config", config), "image_size", image_size)
    return measure(network, image_size, own_size, terms), loaded.weights


def text_tower(name: str, weights: str | None, terms: Terms) -> TextTower:
    """Load the text tower of an image-text model; arguments as in :func:`build`.

    Raises:
        ConfigError: As :func:`build`, or if the model has no text tower.
    """
    transformers = import_package("transformers", name, "hf", terms)
    source = _source(name, weights)
    loaded = _load(transformers, name, weights, terms)
    model = loaded.model
    if not hasattr(model, "get_text_features"):
        raise ConfigError(
            f"{terms.network}{name}: found {type(model).__name__}, which reads no texts; expected "
            "an image-text model such as CLIP or SigLIP. Give one, or --text-encoder minilm."
        )

    def load(local: bool) -> Any:
        return transformers.AutoTokenizer.from_pretrained(
            source, local_files_only=local, trust_remote_code=False
        )

    with quiet():
        tokenizer = load_from_hub(
            source, load, f"{terms.network}{name}", _ways_out(source), "tokenizer_config.json"
        )
    own = getattr(model.config.text_config, "max_position_embeddings", tokenizer.model_max_length)
    context = min(own, tokenizer.model_max_length)
    # SigLIP was trained with texts padded to full length, without an attention mask
    siglip = str(model.config.model_type).startswith("siglip")

    @torch.inference_mode()
    def embed(texts: list[str]) -> Tensor:
        tokens = tokenizer(
            texts,
            padding="max_length" if siglip else True,
            truncation=True,
            max_length=context,
            return_tensors="pt",
        )
        names = ("input_ids",) if siglip else ("input_ids", "attention_mask")
        return _pooled(model.get_text_features(**{key: tokens[key] for key in names})).float()

    def count_tokens(text: str) -> int:
        return len(tokenizer(text, verbose=False)["input_ids"])

    return TextTower(loaded.weights.name, loaded.weights, int(context), embed, count_tokens)


def has_text_tower(name: str, weights: str | None, terms: Terms) -> bool:
    """Whether a model is an image-text model, by its configuration alone.

    Raises:
        ConfigError: If transformers is missing, or the configuration cannot be loaded.
    """
    config = _config(
        import_package("transformers", name, "hf", terms), name, _source(name, weights), terms
    )
    return hasattr(config, "text_config") and hasattr(config, "vision_config")


def _source(name: str, weights: str | None) -> str:
    """The folder or repository to read from.

    Raises:
        ConfigError: If the name is empty after its prefix.
    """
    own = name.removeprefix(HF_PREFIX)
    if not own:  # as a path, it would mean the working folder
        raise ConfigError(
            f"{name} names no model; expected {HF_PREFIX}OWNER/MODEL, or the "
            f"folder of one: {HF_PREFIX}FOLDER."
        )
    source = own if weights in (None, RANDOM) else str(weights)
    folder = Path(source).expanduser()
    return str(folder.absolute()) if folder.is_dir() else source


def _ways_out(source: str) -> str:
    return (
        "Download the repository beforehand (hf download ID, on a machine with a connection) and "
        f"give the folder: {HF_PREFIX}FOLDER; or correct the name"
        + ("." if "/" in source else ", which has the form OWNER/MODEL.")
    )


def _config(transformers: Any, name: str, source: str, terms: Terms) -> Any:
    def load(local: bool) -> Any:
        return transformers.AutoConfig.from_pretrained(
            source, local_files_only=local, trust_remote_code=False
        )

    with quiet():
        return load_from_hub(source, load, f"{terms.network}{name}", _ways_out(source))


def _load(transformers: Any, name: str, weights: str | None, terms: Terms) -> _Loaded:
    """A model with all weights that its features depend on.

    Raises:
        ConfigError: If it cannot be loaded, or weights are missing in its files.
    """
    source = _source(name, weights)
    is_folder = Path(source).is_dir()
    shown = f"{HF_PREFIX}{Path(source).name if is_folder else source}"
    if weights == RANDOM:
        config = _config(transformers, name, source, terms)
        with seeded(), quiet():
            model = transformers.AutoModel.from_config(config, trust_remote_code=False)
        found = random_weights(shown, model)
        path = Path(source) if is_folder else None
        found = LoadedWeights(RANDOM, found.sha256, path, shown)
        return _Loaded(model.float().requires_grad_(False).eval(), found, ())

    def load(local: bool) -> tuple[Any, Any]:
        found: tuple[Any, Any] = transformers.AutoModel.from_pretrained(
            source,
            local_files_only=local,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
        return found

    # the loader draws weights that the files lack; it must not change the run's random state
    with quiet(), torch.random.fork_rng(devices=[]):
        model, info = load_from_hub(source, load, f"{terms.network}{name}", _ways_out(source))
    missing = tuple(sorted(info["missing_keys"]))
    of_both = hasattr(model, "get_image_features")
    other = [key for key in missing if of_both or "pooler" not in key]
    if other:
        raise ConfigError(
            f"{terms.network}{name}: found no weights for {len(other)} tensors ({other[0]}); "
            f"expected all of them. {_ways_out(source)}"
        )
    sha256 = _sha256(_folder(source)) or random_weights(shown, model).sha256
    path = Path(source) if is_folder else None
    label = path.name if path else "hub"
    found = LoadedWeights(label, sha256, path, shown)
    return _Loaded(model.requires_grad_(False).eval(), found, missing)


def _folder(source: str) -> Path:
    """The folder that a model was read from: the user's, or the hub's cache."""
    if Path(source).is_dir():
        return Path(source)
    hub = import_module("huggingface_hub")
    return Path(str(hub.try_to_load_from_cache(source, "config.json"))).parent


def _sha256(folder: Path) -> str:
    """SHA-256 of the weights' file; if there are several, of their hashes; empty if none."""
    files = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    hashes = [sha256_file(file) for file in files]
    if len(hashes) <= 1:
        return "".join(hashes)
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _pooled(output: Any) -> Tensor:
    """The pooled vectors of an output; older versions of transformers return them directly."""
    pooled: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return pooled
