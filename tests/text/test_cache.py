"""The cache of token states: found again, verified, rebuilt; and what it spares."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from zsl_lab.errors import DataError, OutputError
from zsl_lab.text import TextConfig, encode
from zsl_lab.text import cache as store
from zsl_lab.text.cache import EncodedText
from zsl_lab.text.packages import Terms
from zsl_lab.text.transformer import load_transformer

TEXTS = ["a red flower", "a blue bell with five petals", "flowers"]


@pytest.fixture
def encoded_texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that an encoder was asked for, and ``load`` for each time one was loaded."""
    asked: list[str] = []

    def counting(
        name: str, encoder: str, max_tokens: int, terms: Terms
    ) -> Callable[[str], EncodedText]:
        asked.append("load")
        encode_text = load_transformer(name, encoder, max_tokens, terms)

        def encode_and_count(text: str) -> EncodedText:
            asked.append(text)
            return encode_text(text)

        return encode_and_count

    monkeypatch.setattr("zsl_lab.text.encoders.load_transformer", counting)
    return asked


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_a_text_is_encoded_once_whichever_others_come_with_it(
    tiny: TextConfig, tmp_path: Path, encoded_texts: list[str]
) -> None:
    first = encode(tiny, TEXTS[:2], tmp_path, [])
    second = encode(tiny, [TEXTS[2], TEXTS[1], TEXTS[1]], tmp_path, [])
    assert encoded_texts == ["load", TEXTS[0], TEXTS[1], "load", TEXTS[2]]
    third = encode(tiny, TEXTS, tmp_path, [])
    assert len(encoded_texts) == 5
    assert len(files(tmp_path / "text")) == 3
    for found in (second.states[1], second.states[2], third.states[1]):
        assert found.tobytes() == first.states[1].tobytes()


def test_without_a_cache_a_text_is_still_encoded_once(
    tiny: TextConfig, encoded_texts: list[str]
) -> None:
    encode(tiny, [TEXTS[0], TEXTS[0]], None, [])
    assert encoded_texts == ["load", TEXTS[0]]


def test_another_limit_and_another_model_have_files_of_their_own(
    tiny: TextConfig, tiny_bert: Path, tmp_path: Path, encoded_texts: list[str]
) -> None:
    cache_dir = tmp_path / "cache"
    encode(tiny, TEXTS, cache_dir, [])
    with pytest.warns(UserWarning, match="1 of 3 descriptions have more than 6 tokens"):
        cut = encode(tiny.model_copy(update={"max_tokens": 6}), TEXTS, cache_dir, [])
    assert cut.states.shape[1] == 6
    # the folder's content counts and its place does not
    copy = shutil.copytree(tiny_bert, tmp_path / "copy")
    config = tiny.model_copy(update={"model": str(copy)})
    encoded_texts.clear()
    encode(config, TEXTS, cache_dir, [])
    assert encoded_texts == []
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    encode(config, TEXTS, cache_dir, [])
    assert encoded_texts == ["load", *TEXTS]


@pytest.mark.slow
def test_a_damaged_file_is_rebuilt_with_a_warning(
    tiny: TextConfig, tmp_path: Path, encoded_texts: list[str]
) -> None:
    fresh = encode(tiny, TEXTS, tmp_path, [])
    damaged, *others = files(tmp_path)
    intact = damaged.read_bytes()
    for content in (b"", intact[:100], intact[:-1], intact[:-200] + b"\x01" + intact[-199:]):
        damaged.write_bytes(content)
        encoded_texts.clear()
        with pytest.warns(
            UserWarning, match=rf"encoded anew: .*{damaged.name}: found a damaged file"
        ):
            again = encode(tiny, TEXTS, tmp_path, [])
        assert len(encoded_texts) == 2
        assert again.states.tobytes() == fresh.states.tobytes()
        assert damaged.read_bytes() == intact
    assert files(tmp_path) == [damaged, *others]


def test_a_damaged_byte_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.states"
    store.save(EncodedText(np.ones((3, 4), dtype=np.float32), 7), path)
    intact = path.read_bytes()
    assert (store.load(path).states.tolist(), store.load(path).num_tokens) == ([[1.0] * 4] * 3, 7)
    for position in range(0, len(intact), 5):
        damaged = bytearray(intact)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.states: found a damaged file"):
            store.load(path)


def test_a_cache_that_cannot_be_written_names_its_key(tiny: TextConfig, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("")
    with pytest.raises(OutputError, match=r"text/bert-.*paths\.cache_dir"):
        encode(tiny, TEXTS, tmp_path, [])


FROM_THE_CACHE = """
import sys
from pathlib import Path
from zsl_lab.text import TextConfig, encode
config = TextConfig(encoder="bert", model=sys.argv[1], max_tokens=12)
encode(config, sys.argv[3:], Path(sys.argv[2]), [])
names = ("torch", "transformers", "sklearn", "pyarrow", "tokenizers")
print([name for name in names if name in sys.modules])
"""


@pytest.mark.slow
def test_what_is_cached_needs_neither_transformers_nor_torch(
    tiny: TextConfig, tiny_bert: Path, tmp_path: Path
) -> None:
    encode(tiny, TEXTS, tmp_path, [])
    command = [sys.executable, "-c", FROM_THE_CACHE, str(tiny_bert), str(tmp_path), *TEXTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
