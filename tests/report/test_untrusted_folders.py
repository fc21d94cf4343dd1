"""Run folders of unknown origin: the damaged one is named, the others are reported, nothing hangs.

Each damage is done to a folder beside an intact run; the command has to report the intact one.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.runs import WriteRun
from zsl_lab.report.command import main

Damage = Callable[[Path], None]
#: seconds that a report of two runs may take on a busy machine
LIMIT = 60.0


def changed(**fields: Any) -> Damage:
    """Replace fields of result.json; a name like ``a__b`` is field b of field a."""

    def change(folder: Path) -> None:
        path = folder / "result.json"
        content = json.loads(path.read_text())
        for name, value in fields.items():
            *parents, last = name.split("__")
            node = content
            for parent in parents:
                node = node[parent]
            node[last] = value
        path.write_text(json.dumps(content))

    return change


def written(name: str, content: str | bytes) -> Damage:
    def write(folder: Path) -> None:
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(data)

    return write


def replaced(old: str, new: str) -> Damage:
    """Replace text in result.json."""

    def replace(folder: Path) -> None:
        path = folder / "result.json"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return replace


def appended(name: str, content: str) -> Damage:
    def append(folder: Path) -> None:
        with (folder / name).open("a") as file:
            file.write(content)

    return append


def without(name: str) -> Damage:
    def remove(folder: Path) -> None:
        path = folder / "result.json"
        content = json.loads(path.read_text())
        del content[name]
        path.write_text(json.dumps(content))

    return remove


def instead(name: str, make: Callable[[Path], object]) -> Damage:
    """Put something that is no ordinary file in the place of a file."""

    def put(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return put


def link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(b)}: &{chr(b)} [{', '.join(['*' + chr(b - 1)] * 9)}]\n" for b in range(98, 107)
)
SECTIONS = "method: {name: m}\ndataset: {name: d}\npaths: {}\n"
H = '"harmonic_mean": 40.0'

#: the folder is named as damaged
REFUSED: dict[str, Damage] = {
    "empty": written("result.json", ""),
    "no JSON": written("result.json", "{"),
    "a list": written("result.json", "[]"),
    "a number": written("result.json", "1"),
    "null": written("result.json", "null"),
    "bytes": written("result.json", bytes(range(256)) * 20),
    "UTF-16": written("result.json", "{}".encode("utf-16")),
    "lists 100,000 deep": written("result.json", "[" * 10**5 + "]" * 10**5),
    "objects 100,000 deep": written("result.json", '{"a":' * 10**5 + "1" + "}" * 10**5),
    "lists 900 deep as the method": replaced('"mmvae"', "[" * 900 + "]" * 900),
    "40 MB": written("result.json", b" " * (40 * 2**20) + b"{}"),
    "a pipe": instead("result.json", lambda path: os.mkfifo(path)),
    "a device without end": instead("result.json", link("/dev/zero")),
    "a link to itself": instead("result.json", link("result.json")),
    "integer of 400 digits as a metric": replaced(H, f'"harmonic_mean": {"9" * 400}'),
    "integer of 400 digits as the seed": changed(seed=10**400),
    "integer of 400 digits as steps": changed(training__steps=10**400),
    "integer of 400 digits as classes": changed(benchmark__classes=10**400),
    "integer of 400 digits as parameters": changed(model={"parameters": 10**400, "flops": 1}),
    "integer of 400 digits as the step": changed(oracle__step=10**400),
    "integer of 5,000 digits": replaced('"seed": 0', f'"seed": {"9" * 5000}'),
    "1e999 as a metric": replaced(H, '"harmonic_mean": 1e999'),
    "-1e999 as seconds": replaced('"seconds": ', '"seconds": -1e999, "s": '),
    "1e308 as a metric": replaced(H, '"harmonic_mean": 1e308'),
    "NaN": replaced(H, '"harmonic_mean": NaN'),
    "Infinity": replaced(H, '"harmonic_mean": Infinity'),
    "a text as a metric": replaced(H, '"harmonic_mean": "40"'),
    "true as the seed": changed(seed=True),
    "no metrics": without("metrics"),
    "no per_class": without("per_class"),
    "metrics a list": changed(metrics=[1, 2]),
    "per_class a text": changed(per_class="x"),
    "benchmark null": changed(benchmark=None),
    "versions of numbers": changed(versions={"torch": 2}),
    "another selection": changed(selection="test"),
    "config.yaml: alias bomb": written("config.yaml", BOMB + SECTIONS),
    "config.yaml: alias of itself": written("config.yaml", "a: &a [*a]\n" + SECTIONS),
    "config.yaml: 100,000 deep": written("config.yaml", "[" * 10**5),
    "config.yaml: 1 MB": written("config.yaml", SECTIONS + "x: " + "a" * 2**20),
    "config.yaml: a Python object": written(
        "config.yaml", SECTIONS + "x: !!python/object/apply:os.system [true]"
    ),
    "config.yaml: bytes": written("config.yaml", b"\xff\xfe\x00"),
    "config.yaml: a list": written("config.yaml", "[1, 2]"),
    "config.yaml: a method of text": written("config.yaml", "method: x\ndataset: {}\npaths: {}"),
    "config.yaml: a pipe": instead("config.yaml", lambda path: os.mkfifo(path)),
    "config.yaml: a folder": instead("config.yaml", lambda path: path.mkdir()),
    "config.yaml: an unfinished interpolation": written("config.yaml", SECTIONS + "x: ${"),
    "tradeoff.csv: a pipe": instead("tradeoff.csv", lambda path: os.mkfifo(path)),
    "tradeoff.csv: NUL": written("tradeoff.csv", "constant,seen,unseen\n\0,1,1\n"),
    "tradeoff.csv: a cell of 200 kB": written(
        "tradeoff.csv", "constant,seen,unseen\n" + "1" * 200_000 + ",1,1\n"
    ),
    "tradeoff.csv: 1e999": written("tradeoff.csv", "constant,seen,unseen\n0,1e999,1\n"),
    "tradeoff.csv: 12 MB": written("tradeoff.csv", "constant,seen,unseen\n" + "0,1,1\n" * 2**21),
    "tradeoff.csv: bytes": written("tradeoff.csv", b"\xff\xfe\x00"),
}

#: the folder is reported, whatever it holds
REPORTED: dict[str, Damage] = {
    "unknown fields": changed(more={"a": [1]}),
    "a null recall": changed(per_class__unseen={"a": None}),
    "an escape sequence as a class": changed(per_class__seen={"\x1b[2J\x1b]0;x\x07": 1.0}),
    "a lone surrogate as the method": replaced('"method": "mmvae"', r'"method": "\ud800"'),
    "a lone surrogate as a class": changed(per_class__seen={"\ud800": 1.0}),
    "HTML as the dataset": changed(dataset="<img src=x onerror=alert(1)>"),
    "a formula as the method": changed(method="=cmd|' /C calc'!A0"),
    "a method of 100,000 characters": changed(method="m" * 10**5),
    "a class of 100,000 characters": changed(per_class__seen={"c" * 10**5: 1.0}),
    "a direction override as the method": changed(method="a\u202eb\u2066c"),
    "NUL as the dataset": changed(dataset="a\0b"),
    "10,000 versions": changed(versions={f"p{i}": "1" for i in range(10_000)}),
    "a calibration of 1e300": changed(calibration=1e300),
    "steps of 2**62": changed(training__steps=2**62),
    "config.yaml: interpolations": appended("config.yaml", "x: ${oc.env:HOME}\ny: ${y}\n"),
    "config.yaml: nulls and infinity": appended("config.yaml", "x: [null, .inf, .nan]\n"),
    "job.json without keys": written("job.json", "{}"),
    "a folder that links to its parent": instead("sub", link("..")),
}


@pytest.fixture
def places(write_run: WriteRun, tmp_path: Path) -> tuple[Path, Path]:
    """The folder of two runs, and that of the run to damage."""
    write_run("intact", 50.0)
    return tmp_path / "runs", write_run("damaged", 40.0, method="mmvae")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no pipes there")
@pytest.mark.parametrize("name", REFUSED)
def test_a_damaged_folder_is_named_and_the_others_are_reported(
    places: tuple[Path, Path], name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    runs, damaged = places
    REFUSED[name](damaged)
    begun = time.monotonic()
    code = main([str(runs), "--html", str(tmp_path / "page.html")])
    assert time.monotonic() - begun < LIMIT
    said = capsys.readouterr().err
    page = (tmp_path / "page.html").read_text()
    assert code == 1
    assert str(damaged) in said
    assert "Traceback" not in said
    assert all(len(line) < 2000 for line in said.splitlines())
    assert str(runs / "intact") in page
    assert str(damaged) in page


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no links there")
@pytest.mark.parametrize("name", REPORTED)
def test_what_a_run_may_hold_is_reported(
    places: tuple[Path, Path], name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    runs, damaged = places
    REPORTED[name](damaged)
    html, table, markdown = (tmp_path / f"all.{suffix}" for suffix in ("html", "csv", "md"))
    begun = time.monotonic()
    assert main([str(runs), "--html", str(html), "--csv", str(table)]) == 0
    assert main([str(runs), "--per-class", "--markdown", str(markdown)]) == 0
    assert main([str(runs)]) == 0
    assert main([str(runs), "--per-class"]) == 0
    assert time.monotonic() - begun < LIMIT
    said = "".join(capsys.readouterr())
    page, marked = html.read_text(), markdown.read_text()
    for text in (said, page, marked):
        assert not {"\x1b", "\x07", "\0", "\u202e"} & set(text)
    assert "<img src=x" not in page
    assert "<img" not in marked.replace("\\<img", "")
    assert not any(cell.startswith("=") for cell in table.read_text().replace("\n", ",").split(","))
    assert max(map(len, said.splitlines())) < 1000
    assert str(damaged) in page


@pytest.mark.slow
def test_a_run_of_100_000_classes_is_reported_in_part(
    places: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, run = places
    recalls = {f"class {i}": i % 101 for i in range(100_000)}
    changed(per_class={"unseen": recalls, "seen": {"a": 1.0}})(run)
    begun = time.monotonic()
    assert main([str(run), "--html", str(tmp_path / "page.html")]) == 0
    assert main([str(run), "--per-class"]) == 0
    assert time.monotonic() - begun < LIMIT
    said = " ".join(capsys.readouterr().out.split())
    assert "99,000 more classes: --per-class --csv FILE." in said
    page = (tmp_path / "page.html").read_text()
    assert "98,000 more classes" in page
    assert len(page) < 2**20
    assert main([str(run), "--per-class", "--csv", str(tmp_path / "all.csv")]) == 0
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 100_002


def test_folders_that_are_nested_deep_are_not_searched(
    places: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    runs, damaged = places
    damaged.joinpath(*["d"] * 100).mkdir(parents=True)
    assert main([str(runs)]) == 1
    found = capsys.readouterr()
    assert "sgal" in found.out
    assert "folders that are nested more than 64 deep are not searched" in found.err
