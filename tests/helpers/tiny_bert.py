"""A BERT of a few thousand weights in a local folder, made once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zsl_lab.text import TextConfig

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "red",
    "blue",
    "flower",
    "with",
    "petals",
    "five",
    "bell",
    "##s",
    ",",
]
#: tokens that the tiny BERT takes
LIMIT = 12


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: two layers of width 8 with random weights, 15 word pieces, 12 positions."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers", reason="needs the extra n3")
    folder = tmp_path_factory.mktemp("tiny_bert")
    config = transformers.BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=LIMIT,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # without a pooler, as language models are saved: loading one draws the pooler's weights
        transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True})
    )
    return folder


@pytest.fixture
def tiny(tiny_bert: Path) -> TextConfig:
    """The configuration that names the tiny BERT."""
    return TextConfig(encoder="bert", model=str(tiny_bert), max_tokens=LIMIT)
