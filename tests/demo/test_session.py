"""What the demo page does, without gradio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.untrained import CLASSES, image_predictor, predictor, samples
from zsl_lab.demo.session import Session
from zsl_lab.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(predictor("eszsl"))


@pytest.fixture
def rows(session: Session) -> list[list[Any]]:
    """The table as it is shown at first."""
    return session.rows()


def test_the_table_has_the_classes_and_their_semantics(
    session: Session, rows: list[list[Any]]
) -> None:
    assert [row[0] for row in rows] == list(CLASSES)
    assert len(session.headers) == len(rows[0]) == 13
    assert not session.takes_pictures


def test_an_unchanged_table_gives_the_scores_of_predict(
    session: Session, rows: list[list[Any]]
) -> None:
    x = samples(1)
    # a browser sends texts
    found = session.score(x[0], [[str(cell) for cell in row] for row in rows])
    expected = session.predictor.predict(x)
    assert {s.name: s.value for s in found.scores} == dict(
        zip(expected.names, expected.scores[0].tolist(), strict=True)
    )
    assert found.scores[0].name == expected.predicted[0]
    assert {s.name: s.kind for s in found.scores}["gnu"] == "unseen"


def test_rows_are_left_out_added_and_edited(session: Session, rows: list[list[Any]]) -> None:
    x, vector = samples(1), np.linspace(0, 1, 12).tolist()
    edited = [rows[1][0], *vector]
    table = [rows[0], edited, ["yak", *vector], [""] * 13]
    found = {s.name: s for s in session.score(x[0], table).scores}
    assert {name: s.kind for name, s in found.items()} == {
        "ant": "seen",
        "bee (edited)": "new",
        "yak": "new",
    }
    expected = session.predictor.predict(x, {"yak": vector, "yak2": vector}, "all")
    by_name = dict(zip(expected.names, expected.scores[0].tolist(), strict=True))
    assert found["yak"].value == pytest.approx(by_name["yak"], rel=1e-5)
    assert found["bee (edited)"].value == pytest.approx(by_name["yak"], rel=1e-5)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (["yak", *["1"] * 11, "x"], "'yak': found 'x'; expected a number in every column"),
        (["yak", *["1"] * 11, None], "'yak': found ''; expected a number"),
        ([None, *["1"] * 12], "a row without a name"),
    ],
)
def test_wrong_rows_are_named(
    row: list[Any], words: str, session: Session, rows: list[list[Any]]
) -> None:
    with pytest.raises(DataError, match=words):
        session.score(samples(1)[0], [*rows, row])


def test_one_class_is_none_to_choose_among(session: Session, rows: list[list[Any]]) -> None:
    with pytest.raises(DataError, match="fewer than two classes"):
        session.score(samples(1)[0], rows[:1])


def test_a_row_of_a_file_is_a_sample(session: Session, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", samples(3))
    np.testing.assert_array_equal(session.row_of(tmp_path / "x.npy", 2), samples(3)[2])
    with pytest.raises(DataError, match=r"x\.npy: found 3 rows; there is no row 3"):
        session.row_of(tmp_path / "x.npy", 3)


def test_a_table_in_a_file_is_added(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "classes.csv"
    heads = session.headers[1:]
    path.write_text(",".join(["class", *map(str, heads)]) + "\nyak" + ",0.5" * 12 + "\n")
    assert session.with_table(session.rows()[:1], path)[-1] == ["yak", *[0.5] * 12]
    path.write_text("class,wings\nyak,1\n")
    with pytest.raises(DataError, match=r"classes\.csv: found other columns"):
        session.with_table([], path)


def test_a_picture_is_scored_among_texts(tmp_path: Path) -> None:
    session = Session(image_predictor("n3"))
    assert session.takes_pictures
    assert session.rows()[1] == ["bee", "a striped bee"]
    Image.new("L", (20, 20), 90).save(tmp_path / "grey.png")
    answer = session.score(tmp_path / "grey.png", [*session.rows(), ["dog", "a brown dog"]])
    assert {s.name: s.kind for s in answer.scores} == {
        "ant": "seen",
        "bee": "seen",
        "cat": "unseen",
        "dog": "new",
    }
    assert sum(s.value for s in answer.scores) == pytest.approx(1, abs=1e-5)
    with pytest.raises(DataError, match="'dog' has no description"):
        session.score(tmp_path / "grey.png", [*session.rows(), ["dog", ""]])
