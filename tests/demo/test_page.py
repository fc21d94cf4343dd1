"""The demo page: its parts, its function, and one real server."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.untrained import predictor, samples
from zsl_lab.demo import command
from zsl_lab.demo.page import add_classes, as_html, build, classify
from zsl_lab.demo.session import Answer, Score, Session

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(predictor("eszsl"))


def test_scores_become_bars_of_escaped_names() -> None:
    answer = Answer(
        [Score("<b>", "seen", 3.0), Score("gnu", "unseen", 1.0), Score("yak", "new", -1.0)], ["a<b"]
    )
    html = as_html(answer, "score")
    assert "<b>" not in html
    assert [f"width:{w}%" in html for w in ("100.0", "50.0", "0.0")] == [True] * 3
    assert html.index("&lt;b&gt;") < html.index("gnu") < html.index("yak")
    assert '<div class="zsl-note">a&lt;b</div>' in html
    assert "width:25.0%" in as_html(Answer([Score("a", "seen", 0.25)]), "probability")


def test_the_function_takes_what_was_given(session: Session, tmp_path: Path) -> None:
    x, table = samples(2), session.rows()
    np.save(tmp_path / "x.npy", samples(4, seed=5))
    of_sample = classify(session, x, None, 1, None, 0, table)
    assert of_sample == as_html(session.score(x[1], table), "score")
    of_file = classify(session, x, None, 1, str(tmp_path / "x.npy"), 3, table)
    assert of_file == as_html(session.score(samples(4, seed=5)[3], table), "score")
    assert "no sample yet" in classify(session, x, None, None, None, None, table)
    assert "zsl-error" in classify(session, x, None, 1, None, 0, table[:1])


def test_a_wrong_table_of_classes_leaves_the_table_as_it_is(
    session: Session, tmp_path: Path
) -> None:
    (tmp_path / "classes.csv").write_text("class,wings\nyak,1\n")
    table, problem = add_classes(session, str(tmp_path / "classes.csv"), session.rows())
    assert table == session.rows()
    assert "found other columns" in problem


@pytest.fixture(scope="module")
def page(session: Session) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "samples", lambda: (["0: ant", "1: bee"], samples(2)))
        return build(session)


@pytest.mark.slow
def test_the_page_has_what_the_method_takes(page: Any) -> None:
    shown = {
        block["props"].get("label"): block["props"].get("visible")
        for block in page.config["components"]
    }
    assert shown["Picture"] is False
    assert shown["Test sample (row: class)"] is True
    assert shown["Features [N, 12] (.npy, .h5, .mat, .csv)"] is True
    assert not page.analytics_enabled


@pytest.mark.slow
def test_the_server_answers_on_this_machine_only(page: Any, session: Session) -> None:
    url = command.serve(page)
    try:
        assert url.startswith("http://127.0.0.1:")
        assert not page.share
        head = urllib.request.urlopen(url, timeout=5).read().decode()
        assert "fonts.googleapis.com" not in head
        table = {"headers": session.headers, "data": session.rows(), "metadata": None}
        body = json.dumps({"data": [None, 1, None, 0, table]}).encode()
        asked = urllib.request.Request(
            f"{url}gradio_api/call/classify", body, {"Content-Type": "application/json"}
        )
        event = json.loads(urllib.request.urlopen(asked, timeout=5).read())["event_id"]
        answer = urllib.request.urlopen(f"{url}gradio_api/call/classify/{event}", timeout=10)
        lines = answer.read().decode().splitlines()
        assert lines[0] == "event: complete"
        expected = as_html(session.score(samples(2)[1], session.rows()), "score")
        assert json.loads(lines[1].removeprefix("data: ")) == [expected]
    finally:
        page.close()


def test_wrong_commands_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([str(tmp_path)]) == 1
    assert "has no checkpoints/best.ckpt" in capsys.readouterr().err
    assert command.main(["RUN", "--port", "0"]) == 2
    assert "--port 0: expected a number" in capsys.readouterr().err


def test_without_gradio_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert command.main(["RUN"]) == 2
    assert 'pip install "zsl-lab[demo]"' in capsys.readouterr().err
