"""Whether a text encoder can be had is known before a job starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SHORT_FIT
from zsl_lab.errors import ConfigError
from zsl_lab.run.configuration import trial
from zsl_lab.text import TextConfig, check_encoder, hub
from zsl_lab.text.cache import text_file

NAME = "nobody/no-such-model"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The questions to a hub that does not answer."""
    import huggingface_hub

    questions: list[str] = []

    def no_answer(url: str, **options: Any) -> None:
        questions.append(url)
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", no_answer)
    hub._obstacle.cache_clear()
    yield questions
    hub._obstacle.cache_clear()


def bert(name: str) -> TextConfig:
    return TextConfig(encoder="bert", model=name, max_tokens=16)


def test_a_model_that_cannot_be_had_is_named_and_asked_for_once(asked: list[str]) -> None:
    for _ in range(3):  # as for the jobs of a sweep
        with pytest.raises(ConfigError) as raised:
            check_encoder(bert(NAME), None)
        assert str(raised.value).startswith(f"method.text.model={NAME}: found no folder")
        assert "no route to host" in str(raised.value)
    (url,) = asked
    assert NAME in url


def test_the_hub_is_asked_for_no_folder_and_no_encoder_without_a_model(
    asked: list[str], tiny: TextConfig
) -> None:
    check_encoder(tiny, None)
    check_encoder(TextConfig(encoder="tfidf", model=None, max_tokens=16), None)
    assert asked == []


def test_texts_that_a_model_has_read_before_may_be_all_that_is_needed(
    asked: list[str], tmp_path: Path
) -> None:
    kept = text_file(tmp_path, "bert", f"hub:{NAME}", 16, "a flower")
    kept.parent.mkdir(parents=True)
    kept.touch()
    check_encoder(bert(NAME), tmp_path)
    assert asked == []
    other = TextConfig(encoder="bert", model=NAME, max_tokens=15)  # other texts' states
    with pytest.raises(ConfigError):
        check_encoder(other, tmp_path)


@pytest.mark.parametrize("missing", ["skip", "substitute"])
def test_a_run_without_its_encoder_is_left_out(
    asked: list[str], configure: Callable[..., Any], missing: str
) -> None:
    of_images = ("method=n3", *SHORT_FIT["n3"], f"sweep.missing={missing}")
    cfg = configure(*of_images, "method.text.encoder=bert", f"method.text.model={NAME}")
    sentence = trial.missing(cfg)
    assert sentence is not None
    assert NAME in sentence
    assert trial.missing(configure(*of_images, "method.text.encoder=tfidf")) is None
