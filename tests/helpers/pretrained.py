"""Tiny models with random weights of transformers and open_clip, in the files of real ones."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

#: sizes of a transformer of one layer
_TINY = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
_IMAGES = {"image_size": 32, "patch_size": 8}
WORDS = ("ant", "bee", "cat", "dog", "eel", "a", "photo", "of", "small", "animal", "which", "has")
_VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", *WORDS)
_TEXTS = {"vocab_size": len(_VOCABULARY), "max_position_embeddings": 12}
#: of BERT's tokenizer
_IDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}


def hf_model(kind: str, folder: Path, seed: int = 0) -> Any:
    """Save a model of a family with its image processor and tokenizer; returns the model."""
    hf: Any = import_module("transformers")

    torch.manual_seed(seed)
    vision, text = {**_TINY, **_IMAGES}, {**_TINY, **_TEXTS, **_IDS}
    cut = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
    whole = {"size": {"height": 32, "width": 32}}
    if kind == "clip":
        config = hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
        model, processor = hf.CLIPModel(config), hf.CLIPImageProcessor(**cut)
    elif kind == "siglip":
        model = hf.SiglipModel(hf.SiglipConfig(text_config=text, vision_config=vision))
        processor = hf.SiglipImageProcessor(**whole)
    elif kind == "dinov2":
        model = hf.Dinov2Model(hf.Dinov2Config(**vision))
        processor = hf.BitImageProcessor(**cut)
    elif kind == "vit":  # its checkpoints of classifiers have no pooler
        model = hf.ViTForImageClassification(hf.ViTConfig(**vision))
        processor = hf.ViTImageProcessor(**whole)
    else:
        sizes = {"hidden_sizes": [8, 8, 8, 12], "depths": [1, 1, 1, 1]}
        model = hf.ConvNextModel(hf.ConvNextConfig(**sizes))
        processor = hf.ConvNextImageProcessor(size={"shortest_edge": 32})
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    if kind in ("clip", "siglip"):
        (folder / "vocab.txt").write_text("\n".join(_VOCABULARY))
        hf.BertTokenizer(str(folder / "vocab.txt"), model_max_length=12).save_pretrained(folder)
    return model


def open_clip_model(folder: Path, name: str = "tiny-clip", **options: Any) -> tuple[Any, Path]:
    """Register a model with open_clip; returns it and the file of its weights."""
    open_clip: Any = import_module("open_clip")

    config = {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8},
        "text_cfg": {
            "context_length": 12,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
        **options,
    }
    (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{name}.json")
    torch.manual_seed(0)
    model = open_clip.create_model(name).eval()
    torch.save(model.state_dict(), folder / f"{name}.pt")
    return model, folder / f"{name}.pt"
