"""The page: inputs at the left, scores as bars at the right, the table of classes below."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from zsl_lab.data.benchmark import FloatArray
from zsl_lab.demo.session import DESCRIPTION, Answer, Session
from zsl_lab.errors import ZslLabError
from zsl_lab.files.escaping import one_line
from zsl_lab.sharing.packages import required

#: bars that are shown
_MOST_BARS = 15
#: seen, unseen and new classes: Okabe and Ito's palette, as in figures
_COLOURS = {"seen": "#0072B2", "unseen": "#D55E00", "new": "#009E73"}
#: seconds that uploaded files are kept
_KEPT = 3600
CSS = """
.zsl-bars { display: grid; grid-template-columns: minmax(5rem, max-content) 1fr max-content;
  gap: .3rem .7rem; align-items: center; font-size: .95rem; }
.zsl-bars .track { background: rgb(128 128 128 / .15); border-radius: .25rem; height: 1.1rem; }
.zsl-bars .bar { height: 100%; border-radius: .25rem; min-width: 2px; }
.zsl-bars .value { font-variant-numeric: tabular-nums; text-align: right; }
.zsl-bars .name { overflow-wrap: anywhere; }
.zsl-key { display: flex; gap: 1rem; margin: .8rem 0 0; font-size: .85rem; opacity: .85; }
.zsl-key i { display: inline-block; width: .8rem; height: .8rem; border-radius: .2rem;
  margin-right: .35rem; }
.zsl-note { border-left: 4px solid #E69F00; padding: .3rem .7rem; margin: .6rem 0 0;
  font-size: .85rem; overflow-wrap: anywhere; }
.zsl-error { border-left: 4px solid #D55E00; padding: .4rem .8rem; overflow-wrap: anywhere; }
"""


def build(session: Session) -> Any:
    """Make the page.

    Returns:
        A ``gradio.Blocks`` with the endpoint ``/classify``.

    Raises:
        ConfigError: The package gradio is not installed.
    """
    gr = required("gradio", "demo", "python -m zsl_lab.demo")
    predictor = session.predictor
    labels, features = session.samples()
    seen = sum(known.seen for known in predictor.classes)
    title = f"{predictor.method} on {one_line(predictor.dataset)}"
    with gr.Blocks(analytics_enabled=False, title=title, delete_cache=(_KEPT, _KEPT)) as page:
        gr.HTML(
            f"<h1>{escape(title)}</h1><p>{seen} seen and {len(predictor.classes) - seen} unseen "
            "classes. Edit the table to change, add or leave out classes.</p>"
        )
        with gr.Row():
            with gr.Column():
                inputs = _inputs(gr, session, labels)
                button = gr.Button("Classify", variant="primary")
            with gr.Column():  # below the other one on a narrow screen
                scores = gr.HTML(label="Scores", show_label=True, container=True, padding=True)
        table = _table(gr, session)
        asked = {
            "fn": partial(classify, session, features),
            "inputs": [*inputs, table],
            "outputs": scores,
        }
        button.click(**asked, api_name="classify")
        picture, sample, file, _ = inputs
        if sample.value is not None:
            page.load(**asked, api_visibility="private")
        for given in (picture, file):
            given.upload(**asked, api_visibility="private")
        # the sample that was chosen last counts
        sample.input(lambda: (None, None), None, [picture, file], api_visibility="private").then(
            **asked, api_visibility="private"
        )
    return page


def _inputs(gr: Any, session: Session, labels: Sequence[str]) -> tuple[Any, Any, Any, Any]:
    """A picture, a test sample, a file of features and its row; what does not fit is hidden."""
    dim = session.predictor.feature_dim
    pictures, of_features = session.takes_pictures, dim is not None
    choices = [(label, number) for number, label in enumerate(labels)]
    return (
        gr.Image(
            label="Picture", type="filepath", sources=["upload", "clipboard"], visible=pictures
        ),
        gr.Dropdown(
            choices,
            value=0 if choices and not pictures else None,
            label="Test sample (row: class)",
            visible=bool(choices),
        ),
        gr.File(
            label=f"Features [N, {dim}] (.npy, .h5, .mat, .csv)", height=150, visible=of_features
        ),
        gr.Number(value=0, precision=0, minimum=0, label="Row of the file", visible=of_features),
    )


def _table(gr: Any, session: Session) -> Any:
    """The table of classes, a button that adds those of a file, and one that restores the table."""
    table = gr.Dataframe(
        session.rows(),
        headers=session.headers,
        type="array",
        interactive=True,
        label="Classes",
        max_height=420,
        wrap=session.headers[1:] == [DESCRIPTION],
    )
    with gr.Row():
        file = gr.UploadButton("Add classes from a table (.csv)", file_types=[".csv"], size="sm")
        reset = gr.Button("Restore the classes of training", size="sm")
    problem = gr.HTML()
    file.upload(
        partial(add_classes, session), [file, table], [table, problem], api_visibility="private"
    )
    reset.click(lambda: (session.rows(), ""), None, [table, problem], api_visibility="private")
    return table


def classify(
    session: Session,
    features: FloatArray,
    picture: str | None,
    sample: int | None,
    file: str | None,
    row: float | None,
    table: Sequence[Sequence[Any]],
) -> str:
    """Score a picture, else a row of a file, else a test sample.

    Args:
        session: The method.
        features: The test samples, ``[n, D]``.
        picture: The file of an image.
        sample: A row of ``features``.
        file: A file of features.
        row: A row of ``file``.
        table: The table of classes.

    Returns:
        The scores as HTML, or an error message as HTML.
    """
    chosen: Any = None
    try:
        if picture:
            chosen = Path(picture)
        elif file:
            chosen = session.row_of(Path(file), int(row or 0))
        elif sample is not None:
            chosen = features[sample]
        if chosen is None:
            return _error("There is no sample yet: give one above.")
        return as_html(session.score(chosen, table), session.predictor.score)
    except ZslLabError as error:
        return _error(str(error))


def add_classes(
    session: Session, file: str | None, table: Sequence[Sequence[Any]]
) -> tuple[Sequence[Sequence[Any]], str]:
    """The table with the classes of a file, and what is wrong with that file, as HTML."""
    try:
        return (session.with_table(table, Path(file)) if file else table), ""
    except ZslLabError as error:
        return table, _error(str(error))


def as_html(answer: Answer, what: str) -> str:
    """Scores as bars in HTML; every text is escaped.

    Args:
        answer: The scores, highest first.
        what: Name of a score. Bars of a ``probability`` are from 0 to 1, others from the lowest
            score to the highest.
    """
    values = [score.value for score in answer.scores]
    probability = what == "probability"
    low, high = (0.0, 1.0) if probability else (min(values), max(values))
    lines = []
    for score in answer.scores[:_MOST_BARS]:
        share = 100 * (score.value - low) / (high - low) if high > low else 100.0
        value = f"{score.value:.1%}" if probability else f"{score.value:.4g}"
        lines.append(
            f'<div class="name">{_text(score.name)}</div><div class="track"><div class="bar" '
            f'style="width:{share:.1f}%;background:{_COLOURS[score.kind]}"></div></div>'
            f'<div class="value">{value}</div>'
        )
    kinds = dict.fromkeys(score.kind for score in answer.scores)
    key = "".join(
        f'<span><i style="background:{_COLOURS[kind]}"></i>{kind}</span>'
        for kind in _COLOURS
        if kind in kinds
    )
    hidden = len(answer.scores) - _MOST_BARS
    more = f"<span>and {hidden} more classes</span>" if hidden > 0 else ""
    notes = "".join(f'<div class="zsl-note">{escape(note)}</div>' for note in answer.notes)
    return (
        f'<div class="zsl-bars">{"".join(lines)}</div><div class="zsl-key">{key}'
        f"<span>{escape(what)}</span>{more}</div>{notes}"
    )


def _error(sentence: str) -> str:
    return f'<div class="zsl-error">{escape(sentence)}</div>'


def _text(name: str) -> str:
    return escape(one_line(name))
