"""``python -m zsl_lab.report --html`` over runs written by hand; the page is parsed as XML."""

from __future__ import annotations

import base64
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from tests.helpers.runs import METRICS, Reported, WriteRun
from zsl_lab.report import charts
from zsl_lab.report.groups import find_runs, group_runs
from zsl_lab.report.sections import MAX_COLUMNS, MAX_OPEN
from zsl_lab.report.tables import result_sheet
from zsl_lab.run.records import tradeoff_csv

Make = Callable[..., Element]

CURVE = [(-math.inf, 90.0, 0.0), (0.0, 80.0, 30.0), (0.5, 60.0, 50.0), (math.inf, 0.0, 55.0)]
HOSTILE = """<script>alert("1")</script> & 'x'\u2603<img src="x" onerror="alert(1)">"""


def read(path: Path) -> Element:
    """The page as a tree; this parser takes nothing that is not well formed."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>\n")
    return ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>"))


@pytest.fixture
def page(reported: Reported) -> Make:
    """Report the runs; nothing may be wrong with them."""

    def page(*arguments: str) -> Element:
        assert reported("runs", "--html", "new/page.html", *arguments)[::2] == (0, "")
        return read(Path("new/page.html"))

    return page


def text_of(node: Element) -> str:
    return " ".join("".join(node.itertext()).split())


def having(node: Element, tag: str, name: str) -> list[Element]:
    return [found for found in node.iter(tag) if name in found.get("class", "").split()]


def section(tree: Element, heading: str) -> Element:
    [found] = [node for node in tree.iter("section") if text_of(node[0]) == heading]
    return found


def rows(table: Element) -> list[list[str]]:
    return [[text_of(cell) for cell in row] for row in table.iter("tr")]


def facts(node: Element) -> dict[str, str]:
    [found] = having(node, "dl", "facts")
    return {text_of(pair[0]): text_of(pair[1]) for pair in found}


def of_class(table: Element, name: str) -> list[str]:
    return [text_of(cell) for cell in (*having(table, "td", name), *having(table, "th", name))]


# --------------------------------------------------------------------------- the whole


def test_the_page_needs_no_other_file(write_run: WriteRun, page: Make) -> None:
    tradeoff_csv.write(write_run("a", dataset="FLO"), CURVE)
    tree = page()
    for node in tree.iter():
        for name in ("src", "href", "data", "action", "srcset", "poster"):
            value = node.get(name, "#")
            assert value.startswith(("#", "data:image/svg+xml;base64,")), value
    [style], [script] = tree.iter("style"), tree.iter("script")
    assert not re.search(r"url\(|@import|https?:", f"{style.text}{script.text}")
    [policy] = [node.get("content", "") for node in tree.iter("meta") if node.get("http-equiv")]
    assert policy.startswith("default-src 'none';")
    assert {node.get("id") for node in tree.iter()} >= {
        node.get("href", "#")[1:] for node in tree.iter("a")
    }


def test_names_are_text_whatever_they_hold(write_run: WriteRun, page: Make) -> None:
    recalls = {"unseen": {HOSTILE: 50.0, "b\x00\x1b": 1.0}, "seen": {"</td>": 1.0}}
    hostile = {
        "method": HOSTILE,
        "dataset": f"{HOSTILE}-->",
        "versions": {"torch": HOSTILE},
        "git_commit": "<i>",
    }
    for name, value in (("<a>", '"><b>'), ("&amp;", "&lt;")):
        folder = write_run(
            name,
            per_class=recalls,
            config={"dataset.features": "<u>", "method.g": value},
            **hostile,
        )
        tradeoff_csv.write(folder, CURVE)
    tree = page()
    shown = text_of(tree)
    assert len(list(tree.iter("script"))) == 1
    assert not list(tree.iter("i"))
    assert not list(tree.iter("img"))
    assert not list(tree.iter("u"))
    for text in (
        HOSTILE,
        "runs/<a>",
        "runs/&amp;",
        'method.g="><b>',
        "method.g=&lt;",
        "<i>",
        "<u>",
        "</td>",
        r"b\x00\x1b",
    ):
        assert text in shown


def test_the_title_counts_runs_and_names_datasets_and_nothing_dates_it(
    write_run: WriteRun, page: Make
) -> None:
    for seed in range(3):
        write_run(f"{seed}", seed=seed, versions={"torch": "2.6.0", "zsl_lab": f"0.{seed}"})
    write_run("flo", dataset="FLO")
    tree = page()
    assert text_of(next(tree.iter("h1"))) == "zsl_lab: 4 runs on FLO, digits"
    versions = {
        "zsl_lab": "0.0, 0.1, 0.2, unknown",
        "torch": "2.6.0",
        "python": "unknown",
        "commit": "unknown",
    }
    assert facts(next(tree.iter("header"))) == {"settings": "2", "methods": "sgal", **versions}
    first = Path("new/page.html").read_bytes()
    page()
    assert Path("new/page.html").read_bytes() == first


def test_whatever_is_left_out_or_incomplete_is_named(
    write_run: WriteRun, reported: Reported
) -> None:
    write_run("a")
    write_run("b")
    (write_run("c", seed=1) / "result.json").unlink()
    (write_run("d", seed=2) / "result.json").write_text("{")
    (write_run("e", seed=3) / "tradeoff.csv").write_text("constant,seen,unseen\n0,1\n")
    code, _, err = reported("runs", "--html", "page.html")
    assert code == 1
    [warning] = having(read(Path("page.html")), "section", "warning")
    items = [text_of(item) for item in warning.iter("li")]
    assert len(items) == 4
    assert items[0].startswith("runs/d/result.json: not valid JSON")
    assert items[1].startswith(
        "runs/e/tradeoff.csv: line 2: found 0,1; expected three numbers. Test the run again"
    )
    assert items[2:] == [
        "runs/b: left out, same seed and settings as runs/a.",
        "runs/c: unfinished, without result.json.",
    ]
    assert all(sentence in " ".join(err.split()) for sentence in items[:3])


@pytest.mark.slow
def test_html_csv_and_markdown_come_together_and_need_no_torch(
    write_run: WriteRun, tmp_path: Path
) -> None:
    tradeoff_csv.write(write_run("a"), CURVE)
    code = (
        "import sys; from zsl_lab.report.command import main; "
        "assert main(['runs', '--html', 'p.html', '--csv', 't.csv', '--markdown', 't.md']) == 0; "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{name}: run groups: 1, runs: 1" for name in ("p.html", "t.csv", "t.md")
    ]
    assert all((tmp_path / name).stat().st_size for name in ("p.html", "t.csv", "t.md"))


# --------------------------------------------------------------------------- tables


@pytest.mark.slow
def test_every_figure_of_the_table_is_on_the_page(
    write_run: WriteRun, page: Make, tmp_path: Path
) -> None:
    for seed, h in enumerate((50.0, 60.0, 55.5)):
        write_run(f"s{seed}", h, seed=seed)
    for seed in (0, 1, 2, 5, 7):
        write_run(f"c{seed}", 40.0 + seed, seed=seed, method="aspn", calibration=0.5)
    write_run("o", 70.0, selection="oracle", oracle=None)
    write_run("n", math.nan, method="vzsl", selection="last")
    groups, _ = group_runs(find_runs([tmp_path / "runs"]).runs)
    sheet = result_sheet(groups)
    results = next(section(page(), "digits").iter("table"))
    heads, *found = rows(results)
    assert heads == [
        "method",
        "seeds",
        *METRICS,
        *("oracle zsl_top1 (selected on test)", "oracle H (selected on test)"),
        "selected on",
        "calibrated",
    ]
    expected = [
        [f"{cell.text} {cell.sd}".strip() for cell in row.cells[1:8]]
        for part in sheet.sections
        for row in part
    ]
    assert [row[2:9] for row in found] == expected
    assert [(row[0], row[1], *row[9:]) for row in found] == [
        ("sgal", "3 (0 to 2)", "validation", "no"),
        ("aspn (calibrated)", "5 (0 to 2, 5, 7)", "validation", "yes"),
        ("sgal (selected on test)", "1 (0)", "test (oracle)", "no"),
        ("vzsl (last step)", "1 (0)", "last step", "no"),
    ]
    best = [cell.best for part in sheet.sections for row in part for cell in row.cells[1:8]]
    cells = [cell for row in results.findall("tbody/tr") for cell in row[2:9]]
    assert ["best" in cell.get("class", "").split() for cell in cells] == best
    # the oracle's columns are set apart, from their heads down
    assert of_class(results, "oracle") == [
        *(text for row in found for text in row[7:9]),
        *("oracle zsl_top1 (selected on test)", "oracle H (selected on test)"),
    ]


def test_runs_on_other_data_have_sections_of_their_own_that_name_splits_and_features(
    write_run: WriteRun, page: Make
) -> None:
    given = {"config": {"dataset.features": "res101", "dataset.semantics": "sent"}}
    write_run("a", 61.0, dataset="CUB", **given)
    write_run("b", 62.0, dataset="CUB", features="12" * 32, **given)
    write_run("c", 63.0, dataset="CUB", features="12" * 32, selection="last", **given)
    write_run("d", 64.0)
    tree = page()
    found = [node for node in tree.iter("section") if node[0].get("id", "").startswith("data-")]
    assert [text_of(node[0]) for node in found] == [
        *(
            f"CUB, res101 (splits abababab, features {features})"
            for features in ("12121212", "cdcdcdcd")
        ),
        "digits",
    ]
    assert [[row[5] for row in rows(next(node.iter("table")))[1:]] for node in found] == [
        ["62.0", "63.0"],
        ["61.0"],
        ["64.0"],
    ]
    assert facts(found[0]) == {
        **{"classes": "1 seen + 2 unseen", "samples": "30", "splits": "unknown (sha256 abababab)"},
        **{"features": "res101 (sha256 12121212)", "semantics": "sent"},
    }
    assert facts(found[2])["features"] == "the dataset’s own (sha256 cdcdcdcd)"


def test_what_papers_print_stands_apart_with_its_features_and_only_where_there_is_any(
    write_run: WriteRun, page: Make
) -> None:
    write_run("a", method="aspn", dataset="FLO")
    write_run("b")
    tree = page()
    assert not having(section(tree, "digits"), "section", "papers")
    [papers] = having(section(tree, "FLO"), "section", "papers")
    heads, first, *others = rows(next(papers.iter("table")))
    assert heads == ["method", *METRICS[:4], "features", "split", "where"]
    # the method that ran comes first
    assert first == [
        "ASP (Ours)",
        "78.1",
        "67.3",
        "87.4",
        "76.0",
        "ResNet-101, 2,048-d, not fine-tuned",
        "not named",
        "Lu et al. (ASPN), Table 1",
    ]
    assert [text_of(row[0]) for row in having(papers, "tr", "mine")] == ["ASP (Ours)"]
    assert ["ESZSL", "51.0", "11.4", "56.8", "19.0"] in [row[:5] for row in others]
    assert "not measured here" in text_of(papers)
    # and in no other table of the section
    assert "ASP (Ours)" not in text_of(next(section(tree, "FLO").iter("table")))


def test_every_run_is_listed_with_where_it_lies_and_what_made_it(
    write_run: WriteRun, page: Make
) -> None:
    write_run(
        "a",
        51.24,
        seed=3,
        git_commit=f"{'0123456789' * 4}-dirty",
        versions={"torch": "2.6.0", "zsl_lab": "9.9"},
        metric="harmonic_mean",
        tuned="sgal_flo",
    )
    write_run("b", 40.0, seed=4, oracle=None)
    tree = page()
    heads, *found = rows(next(section(tree, "Runs").iter("table")))
    assert heads == [
        "method",
        "dataset",
        "seed",
        "H",
        *("oracle zsl_top1", "oracle H", "settings"),
        "folder",
        "commit",
        "zsl_lab",
        "torch",
    ]
    taken = "sgal_flo (found on validation classes of this dataset)"
    assert found == [
        [
            *("sgal", "digits", "3", "51.2", "-", "52.2", taken),
            *("runs/a", "01234567-dirty", "9.9", "2.6.0"),
        ],
        [
            *("sgal", "digits", "4", "40.0", "-", "-", "unknown"),
            *("runs/b", "unknown", "unknown", "2.6.0"),
        ],
    ]


def test_speed_and_size_stand_beside_the_device(write_run: WriteRun, page: Make) -> None:
    training = {
        "steps": 100,
        "seconds": 2.0,
        "steps_per_second": 50.0,
        "device": "cpu (x)",
        "precision": "32-true",
        "world_size": 1,
        "peak_memory": 700_000_000,
    }
    write_run("a", training=training, model={"parameters": 1_500_000, "flops": 2_000_000})
    write_run(
        "b",
        seed=1,
        training={**training, "seconds": 4.0, "steps_per_second": 25.0, "device": "gpu"},
    )
    unknown = {name: 7 if name == "steps" else None for name in training}
    write_run("c", 40.0, method="vzsl", training=unknown)
    heads, *found = rows(next(section(page(), "Training and size").iter("table")))
    assert heads == [
        "method",
        "dataset",
        "steps",
        "seconds",
        "steps/s",
        "memory (MB)",
        "params (M)",
        "MFLOPs",
        "processes",
        "precision",
        "device",
    ]
    assert found == [
        [
            "sgal",
            "digits",
            "100",
            "3.0 ± 1.4",
            "38 ± 18",
            "700",
            "1.50",
            "2.00",
            "1",
            "32-true",
            "cpu (x), gpu",
        ],
        ["vzsl", "digits", "7", *["-"] * 5, *["unknown"] * 3],
    ]


# --------------------------------------------------------------------------- curves


def test_a_curve_a_row_with_its_operating_points(write_run: WriteRun, page: Make) -> None:
    for seed, h in enumerate((55.0, 50.0, 40.0)):
        figures = {
            "zsl_top1": 60.0,
            "unseen": 50.0,
            "seen": 60.0,
            "harmonic_mean": h,
            "ausuc": 40.0,
        }
        tradeoff_csv.write(write_run(f"{seed}", seed=seed, calibration=0.5, metrics=figures), CURVE)
    tradeoff_csv.write(write_run("m", 44.0, method="mmvae"), CURVE)
    own = section(page(), "digits")
    [whole] = having(own, "figure", "tradeoff")
    chart = whole[0]
    assert len(having(chart, "path", "curve")) == 2
    # the row's median run, without and with its constant; the other row's as it is
    told = [text_of(mark) for mark in chart.iter("title")]
    assert told == [
        "sgal, seed 1: u 30.0, s 80.0",
        "sgal, seed 1, 0.5 added: u 50.0, s 60.0, H 50.0",
        "mmvae, seed 0: u 30.0, s 80.0",
    ]
    assert (len(having(chart, "circle", "plain")), len(having(chart, "rect", "calibrated"))) == (
        2,
        1,
    )
    legend = [text_of(item) for item in whole[1]]
    assert legend[:2] == ["sgal (calibrated)", "mmvae"]
    assert "chosen on validation classes" in legend[-1]
    [every] = having(own, "div", "multiples")
    assert [text_of(figure[0]) for figure in every] == ["sgal (calibrated)"]
    assert len(having(every, "path", "curve")) == 3


def test_a_run_that_left_no_curve_is_named(write_run: WriteRun, page: Make) -> None:
    tradeoff_csv.write(write_run("a"), CURVE)
    write_run("b", seed=1)
    own = section(page(), "digits")
    assert len(having(own, "path", "curve")) == 1 + 1
    assert (
        "No curve of 1 run without a usable tradeoff.csv (older versions did not write it): runs/b."
        in text_of(own)
    )
    Path("runs/a/tradeoff.csv").unlink()
    own = section(page(), "digits")
    assert not having(own, "svg", "chart")
    assert "No curve of 2 runs" in text_of(own)


@pytest.mark.slow
def test_more_curves_than_looks_are_cut_and_the_page_says_so(
    write_run: WriteRun, page: Make
) -> None:
    for number in range(charts.MAX_LINES + 2):
        tradeoff_csv.write(
            write_run(f"{number}", 99.0 - number, config={"method.g": number}), CURVE
        )
    own = section(page(), "digits")
    assert len(having(own, "path", "curve")) == charts.MAX_LINES
    assert f"The first {charts.MAX_LINES} of {charts.MAX_LINES + 2} rows of the table." in text_of(
        own
    )
    looks = {path.get("class") for path in having(own, "path", "curve")}
    assert len(looks) == charts.MAX_LINES


def test_points_are_where_their_accuracies_say() -> None:
    line = charts.Line([(0.0, 100.0), (50.0, 50.0), (100.0, 0.0)], [], 0)
    # margins take 48 and 14 of the width, 12 and 38 of the height: one unit per percent is left
    chart = charts.tradeoff([line], "label", width=162, height=150)
    [curve] = chart.curves
    assert curve.path == "M48 12L98 62L148 112"
    [contour] = [contour for contour in chart.contours if contour.label == "H 40"]
    assert (contour.x, contour.y) == ("88", "75")
    for contour in chart.contours:
        places = [tuple(map(float, pair.split())) for pair in contour.path[1:].split("L")]
        means = [2 * u * s / (u + s) for u, s in ((x - 48, 112 - y) for x, y in places)]
        assert means == pytest.approx([means[-1]] * len(means), abs=0.3)


def test_a_tradeoff_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert tradeoff_csv.read(tmp_path) == []
    tradeoff_csv.write(tmp_path, CURVE)
    assert [
        (point.constant, point.seen, point.unseen) for point in tradeoff_csv.read(tmp_path)
    ] == CURVE


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1: found nothing; expected constant,seen,unseen."),
        (b"a,b\n", "line 1: found a,b; expected constant,seen,unseen."),
        (
            b"constant,seen,unseen\n0,nan,1\n",
            "line 2: found 0,nan,1; expected a constant and two accuracies from 0 to 100.",
        ),
        (
            b"constant,seen,unseen\nnan,1,1\n",
            "line 2: found nan,1,1; expected a constant and two accuracies from 0 to 100.",
        ),
        (b"\xff", "cannot be read ("),
    ],
)
def test_a_damaged_tradeoff_is_a_sentence(
    write_run: WriteRun, reported: Reported, content: bytes, said: str
) -> None:
    (write_run("a") / "tradeoff.csv").write_bytes(content)
    code, _, err = reported("runs", "--html", "page.html")
    assert code == 1
    assert err.startswith(f"runs/a/tradeoff.csv: {said}")
    assert err.endswith("or remove the file: the report then leaves its curve out.\n")
    assert "No curve of 1 run" in text_of(read(Path("page.html")))


# --------------------------------------------------------------------------- recalls, sweeps


def test_recalls_are_shaded_cells_and_many_classes_stay_folded(
    write_run: WriteRun, page: Make
) -> None:
    many = {f"class {number}": number / 7.17 for number in range(717)}
    write_run(
        "a", per_class={"unseen": {"rose": 4.9, "iris": 55.0, "none": math.nan}, "seen": many}
    )
    write_run(
        "b",
        60.0,
        method="aspn",
        per_class={"unseen": {"rose": 100.0, "iris": 0.0, "none": math.nan}, "seen": many},
    )
    own = section(page(), "digits")
    unseen, seen = (
        node
        for node in own.iter("details")
        if node[0].text in ("3 unseen classes", "717 seen classes")
    )
    assert (unseen.get("open"), seen.get("open")) == ("open", None)
    assert len(many) > MAX_OPEN
    assert rows(unseen) == [
        ["class", "aspn", "sgal"],
        ["rose", "100.0", "4.9"],
        ["iris", "0.0", "55.0"],
        ["none", "-", "-"],
    ]
    assert [cell.get("class") for cell in unseen.iter("td")] == [
        "r10",
        "r0",
        "r0",
        "r6",
        None,
        None,
    ]
    assert len(rows(seen)) == 718
    [profiles] = [table for table in own.iter("table") if "never found" in text_of(table)]
    assert rows(profiles)[1] == [
        *("aspn", "unseen: iris 0.0, median 0.0, rose 100.0", "0.0", "0.0", "1 of 2"),
        *("seen: class 0 0.0, median 49.9, class 716 99.9", "0.0", "49.9", "1 of 717"),
    ]
    assert Path("new/page.html").stat().st_size < 400_000


@pytest.mark.slow
def test_of_many_settings_the_first_have_their_recalls_shown(
    write_run: WriteRun, page: Make
) -> None:
    for number in range(MAX_COLUMNS + 3):
        write_run(f"{number}", 99.0 - number, config={"method.g": number})
    own = section(page(), "digits")
    assert len(rows(next(own.iter("table")))) == 1 + MAX_COLUMNS + 3
    [table] = [table for table in having(own, "table", "heat") if "Zwölf" in text_of(table)]
    assert len(rows(table)[0]) == 1 + MAX_COLUMNS
    assert "3 more with --per-class --csv FILE." in text_of(own)


@pytest.mark.slow
def test_a_sweep_has_its_table_and_its_figures(write_run: WriteRun, page: Make) -> None:
    for number, g in enumerate(("0.8", "0.9")):
        for seed in (0, 1):
            folder = write_run(
                f"{number}{seed}", 50.0 + number + seed, seed=seed, config={"method.g": float(g)}
            )
            job = {
                "number": 2 * number + seed,
                "overrides": [f"method.g={g}", f"seed={seed}"],
                "metric": "harmonic_mean",
            }
            (folder / "job.json").write_text(json.dumps({**job, "outcome": "finished"}))
    assert "Sweeps" not in text_of(page())
    Path("runs/sweep.json").write_text('{"command": []}')
    own = section(page(), "Sweeps")
    heads, *found = rows(next(own.iter("table")))
    assert heads[:3] == ["method.g", "seeds", "harmonic_mean on validation classes"]
    assert [(row[0], row[1], row[-1]) for row in found] == [
        ("0.9", "2", "51.5 ± 0.7"),
        ("0.8", "2", "50.5 ± 0.7"),
    ]
    [picture] = own.iter("img")
    drawing = base64.b64decode(picture.get("src", "").partition("base64,")[2])
    assert "method.g" in text_of(ElementTree.fromstring(drawing))
    assert picture.get("alt") == "Harmonic mean by method.g; the table above has the numbers"


# --------------------------------------------------------------------------- tables of papers


def test_the_table_of_a_paper_has_the_columns_of_runs_beside_the_papers(
    write_run: WriteRun, page: Make
) -> None:
    genuine = {"dataset.features": "res101", "dataset.split": "proposed"}
    version = {"splits_version": "proposed split (AWA1)"}
    write_run("a", dataset="AWA1", config=genuine, facts=version)
    write_run("b", dataset="AWA1 (synthetic)", config=genuine)
    tree = page("--paper", "sgal_table2")
    assert next(text_of(a) for a in next(tree.iter("nav")).iter("a")) == "Table of a paper"
    own = section(tree, "Table of a paper")
    assert [text_of(head).split(": ")[1] for head in own.iter("h3")] == [
        *("awa1 (split", "awa2 (split", "cub (split", "sun (split")
    ]
    table = next(own.iter("table"))
    head, below, *body = rows(table)
    assert head == ["method", "", "validation", "oracle", "paper"]
    assert below == ["seeds", *["unseen", "seen", "H"] * 3]
    assert ["SGAL", "1", *["50.0"] * 3, *["51.0"] * 3, "52.7", "74.0", "61.5"] in body
    assert ["mmVAE", *["-"] * 7, "39.4", "86.8", "54.2"] in body
    assert len(list(table.iter("tbody"))) == 2
    assert body[-2] == ["[synthetic data, features res101, split proposed]"]
    assert body[-1][:3] == ["SGAL", "1", "50.0"]
    widths = {sum(int(cell.get("colspan", "1")) for cell in row) for row in table.iter("tr")}
    assert widths == {11, 10}  # the method's head spans two lines
    assert "trained until H is highest" in text_of(own)


def test_without_a_paper_the_page_has_no_such_section(write_run: WriteRun, page: Make) -> None:
    write_run("a", dataset="AWA1")
    assert "Table of a paper" not in text_of(page())
