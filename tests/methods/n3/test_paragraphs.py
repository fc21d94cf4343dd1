"""``pool=paragraph_means``: the paragraphs of a description, each encoded on its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from tests.conftest import SHORT_FIT
from zsl_lab.data.batches.base import ClassSpace
from zsl_lab.errors import DataError
from zsl_lab.methods.n3 import N3
from zsl_lab.methods.n3.generator import MeanEncoder, mean_state
from zsl_lab.methods.n3.paragraphs import encode_descriptions, paragraphs
from zsl_lab.run.config import parse
from zsl_lab.text import encode

Configure = Callable[..., DictConfig]

TEXTS = (
    "red petals, red stem\n\na rose",
    "yellow petals\n \nthe sun flower of summer",
    "white petals and a yellow heart\n\na daisy",
)


@pytest.fixture
def config(configure: Configure) -> Any:
    return parse(
        configure(
            "method=n3", *SHORT_FIT["n3"], "method.pool=paragraph_means", "method.pool_noise=0"
        )
    ).method


def classes(texts: tuple[str, ...], seen: tuple[bool, ...]) -> ClassSpace:
    semantics = np.zeros((len(texts), 0), dtype=np.float32)
    names = tuple(str(i) for i in range(len(texts)))
    return ClassSpace(np.arange(len(texts)), semantics, np.array(seen), names, texts)


def model(config: Any, texts: tuple[str, ...] = TEXTS) -> N3:
    torch.manual_seed(0)
    return N3.empty_for_checkpoint(config, 1, classes(texts, (True, True, False)))


def test_blank_lines_separate_paragraphs() -> None:
    assert paragraphs("\none\nstill one\n \n\ntwo\n") == ["one\nstill one", "two"]
    assert paragraphs("one") == ["one"]


def test_a_paragraphs_states_are_those_of_the_paragraph_alone(config: Any) -> None:
    fit_on = [part for text in TEXTS for part in paragraphs(text)]
    found = encode_descriptions(config, TEXTS, None, TEXTS)
    assert found.states.shape[:2] == found.mask.shape[:2] == (3, 2)
    for row, text in enumerate(TEXTS):
        for place, part in enumerate(paragraphs(text)):
            alone = encode(config.text, [part], None, fit_on)
            kept = found.states[row, place][found.mask[row, place]]
            assert np.array_equal(kept, alone.states[0])


def test_an_embedding_is_that_of_the_paragraphs_directions_side_by_side() -> None:
    torch.manual_seed(0)
    states, mask = torch.randn(3, 2, 4, 5), torch.rand(3, 2, 4) > 0.3
    mask[..., 0] = True
    centre = torch.randn(2, 5)
    encoder = MeanEncoder(centre, 8, noise=0).eval()
    found = encoder(states, mask)
    for row in range(3):
        directions = []
        for place in range(2):
            away = states[row, place][mask[row, place]].mean(0) - centre[place]
            directions.append(away / away.square().mean().sqrt())
        expected = encoder.projection(torch.cat(directions))
        torch.testing.assert_close(found[row], expected)


def test_one_paragraph_is_the_mean_of_the_description() -> None:
    torch.manual_seed(0)
    states, mask = torch.randn(3, 4, 5), torch.ones(3, 4, dtype=torch.bool)
    plain = MeanEncoder(torch.randn(5), 8, noise=0).eval()
    split = MeanEncoder(plain.seen_mean[None], 8, noise=0).eval()
    split.projection = plain.projection
    torch.testing.assert_close(split(states[:, None], mask[:, None]), plain(states, mask))


def test_the_centre_is_the_mean_of_the_seen_classes(config: Any) -> None:
    made = model(config)
    assert isinstance(made.semantic_encoder, MeanEncoder)
    expected = mean_state(made.states, made.token_mask)[:2].mean(0)
    torch.testing.assert_close(made.semantic_encoder.seen_mean, expected)


def test_word_dropout_leaves_each_paragraph_a_word(configure: Configure) -> None:
    overrides = ("method.pool=paragraph_means", "method.word_dropout=0.99")
    settings = parse(configure("method=n3", *SHORT_FIT["n3"], *overrides)).method
    made = model(settings).train()
    assert made.adapt(torch.arange(3)).classifier.isfinite().all()


def test_another_number_of_paragraphs_is_refused(config: Any) -> None:
    with pytest.raises(
        DataError,
        match=r"method.pool=paragraph_means: found 1 paragraphs in the description 'a rose'; "
        r"expected 2, as in the others\. Separate paragraphs by a blank line",
    ):
        model(config, (*TEXTS[:2], "a rose"))
    made = model(config)
    with pytest.raises(DataError, match=r"found 3 paragraphs .*expected 2"):
        made.set_classes(classes(("a\n\nb\n\nc",), (False,)))


def test_new_classes_are_read_paragraph_by_paragraph(config: Any, tmp_path: Path) -> None:
    made = model(config).eval()
    new = (*TEXTS[::-1],)
    with torch.no_grad():
        before = made.adapt(torch.tensor([0])).classifier
        made.set_classes(classes(new, (False, True, True)))
        assert torch.equal(made.adapt(torch.tensor([2])).classifier, before)
