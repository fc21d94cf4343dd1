"""``python -m zsl_lab.data list``: all datasets, which files are here, how to get the others."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from zsl_lab.console.messages import console
from zsl_lab.console.parsers import Parser
from zsl_lab.data.public.sources import (
    IMAGES,
    NOT_STATED,
    PUBLIC,
    Source,
    choices,
    default_data_dir,
    download_command,
    settings,
)
from zsl_lab.errors import ConfigError

PROG = "python -m zsl_lab.data list"
DESCRIPTION = (
    "Every dataset: its counts, class semantics and terms, which of its files are here, and how to "
    "get the others."
)
EXAMPLES = f"""\
examples:
  {PROG}                   in `data`, or where ZSL_LAB_DATA says
  {PROG} --data-dir DIR
"""
_WIDTH = 80


@dataclass(frozen=True)
class Entry:
    """The description of a dataset in the list.

    Attributes:
        name: The value of ``dataset=``.
        samples: Number of samples; None where it depends on the user's files.
        seen: Number of seen classes; None where it depends on the user's files.
        unseen: Number of unseen classes; None where it depends on the user's files.
        semantics: Kinds of class semantics with their dimensions.
        state: Whether its files are on the disk, in a word or two.
        here: Files on the disk, with their sizes where they are known.
        missing: Files that a run needs, or can use, and that are not on the disk.
        command: How to get them, mostly a command; empty where nothing is missing.
        terms: Its authors' terms of use.
    """

    name: str
    samples: int | None
    seen: int | None
    unseen: int | None
    semantics: str
    state: str
    here: tuple[str, ...]
    missing: tuple[str, ...]
    command: str
    terms: str


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Returns:
        The exit code.

    Raises:
        ConfigError: If the data folder is a file.
    """
    parser = Parser(PROG, DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        type=Path,
        default=default_data_dir(),
        help="holds a folder per benchmark (default: %(default)s)",
    )
    data_dir = parser.parse(arguments).data_dir.expanduser()
    if data_dir.is_file():
        raise ConfigError(
            f"{data_dir}: found a file; expected the folder that holds a folder per benchmark. "
            "Name it with --data-dir, or in the environment variable ZSL_LAB_DATA."
        )
    found = entries(data_dir)
    screen = console()
    # in a narrow terminal, lines are wrapped rather than cells of the table cut off
    screen.width = max(screen.width, _WIDTH)
    screen.print(
        f"data folder: {data_dir.absolute()}" + ("" if data_dir.is_dir() else " (not there yet)"),
        soft_wrap=True,
    )
    deeper = data_dir / "xlsa17" / "data"
    if deeper.is_dir():
        screen.print(
            f"There are benchmarks in {deeper.absolute()} too: --data-dir (in a run, "
            "paths.data_dir) chooses them.",
            soft_wrap=True,
        )
    screen.print()
    screen.print(_table(found))
    sections = {
        "files": _files(found, screen.width - 2),
        "to get what is missing": _commands(found),
        "archives": _archives(),
        "terms of images and annotations": _terms(found),
    }
    for title, lines in sections.items():
        screen.print()
        screen.print(f"{title}:", style="bold")
        for line in lines:
            screen.print(f"  {line}", soft_wrap=True)
    return 0


def entries(data_dir: Path) -> list[Entry]:
    """The entries of all values of ``dataset=``, public benchmarks first."""
    return [
        _public(name, PUBLIC[name], data_dir) if name in PUBLIC else _other(name, data_dir)
        for name in choices()
    ]


def _public(name: str, source: Source, data_dir: Path) -> Entry:
    counts = settings(name)["counts"]
    folder = data_dir / source.folder
    here = (
        {path.name: path.stat().st_size for path in sorted(folder.glob("*.mat"))}
        if folder.is_dir()
        else {}
    )
    missing = [file for file in source.wanted if file not in here]
    optional = [f"{file} (optional)" for file in source.extra if file not in here]
    dimensions = ", ".join(
        f"{kind} {'1024' if kind == 'sent' else counts['semantic_dim']}"
        for kind in source.semantics
    )
    return Entry(
        name=name,
        samples=counts["samples"],
        seen=counts["seen"],
        unseen=counts["unseen"],
        semantics=dimensions,
        state=_state(here, missing),
        here=tuple(f"{file} ({size / 1e6:,.1f} MB)" for file, size in here.items()),
        missing=(*missing, *optional),
        command=download_command(name, data_dir) if missing else "",
        terms=source.terms,
    )


def _state(here: Collection[str], missing: Collection[str]) -> str:
    return "yes" if not missing else "in part" if here else "no"


def _other(name: str, data_dir: Path) -> Entry:
    """The entry of an embedded dataset, a folder of images, ImageNet, or the user's own file."""
    keys = settings(name)
    entry = Entry(name, None, None, None, "", "", (), (), "", NOT_STATED)
    if name in IMAGES:
        return _images(name, keys, data_dir)
    describe = {"digits": _digits, "synthetic": _synthetic, "own": _own, "imagenet": _imagenet}.get(
        name
    )
    return entry if describe is None else describe(keys, data_dir)


def _digits(keys: dict[str, Any], data_dir: Path) -> Entry:
    unseen = len(keys["unseen"])
    terms = "carried by scikit-learn (BSD-3-Clause)"
    semantics = "strokes 29, segments 9, glyphs 64"
    return Entry("digits", 1797, 10 - unseen, unseen, semantics, "embedded", (), (), "", terms)


def _synthetic(keys: dict[str, Any], data_dir: Path) -> Entry:
    classes, unseen = keys["classes"], keys["unseen"]
    samples = classes * keys["samples_per_class"]
    return Entry(
        "synthetic",
        samples,
        classes - unseen,
        unseen,
        f"drawn {keys['semantic_dim']}",
        "embedded",
        (),
        (),
        "",
        "none",
    )


def _images(name: str, keys: dict[str, Any], data_dir: Path) -> Entry:
    source, folder = IMAGES[name], data_dir / (keys["folder"] or keys["name"])
    inside = ("images", "classes", "image_list", "labels", "hierarchy", "descriptions")
    places = [(folder, keys[key]) for key in inside if keys.get(key)]
    places += [(data_dir, keys[key]) for key in ("split_file", "image_order") if keys[key]]
    lists = keys["class_splits"].get(keys["split"])
    if lists is not None and keys["split_file"] is None:
        places.append((data_dir, lists))
    here = tuple(place for base, place in places if (base / place).exists())
    missing = tuple(place for base, place in places if not (base / place).exists())
    return Entry(
        name=name,
        samples=source.samples,
        seen=source.seen,
        unseen=source.unseen,
        semantics="a text each",
        state=_state(here, missing),
        here=here,
        missing=missing,
        command=f"the images are at {source.page}, conf/dataset/{name}.yaml explains the rest"
        if missing
        else "",
        terms=source.terms,
    )


def _imagenet(keys: dict[str, Any], data_dir: Path) -> Entry:
    folder = data_dir / keys["folder"]
    files = {name: folder / name for name in ("ImageNet_splits.mat", "ImageNet_w2v.mat")}
    here = tuple(name for name, path in files.items() if path.is_file())
    missing = tuple(name for name in files if name not in here)
    command = "conf/dataset/imagenet.yaml says where they are; features are your own"
    semantics = "w2v 500"
    state = _state(here, missing)
    return Entry(
        "imagenet", None, 1000, 20842, semantics, state, here, missing, command, NOT_STATED
    )


def _own(keys: dict[str, Any], data_dir: Path) -> Entry:
    command = (
        "python -m zsl_lab.data extract (of images) or convert (of .mat files) makes a FILE; "
        "dataset.path=FILE"
    )
    return Entry("own", None, None, None, "yours", "-", (), (), command, "yours")


def _table(found: Sequence[Entry]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("dataset", "samples", "classes", "semantics", "on disk"):
        table.add_column(
            name,
            justify="right" if name in ("samples", "classes") else "left",
            no_wrap=name != "semantics",
        )
    for entry in found:
        classes = "" if entry.seen is None else f"{entry.seen} + {entry.unseen}"
        samples = "" if entry.samples is None else f"{entry.samples:,}"
        table.add_row(entry.name, samples, classes, entry.semantics, entry.state)
    return table


def _files(found: Sequence[Entry], columns: int) -> list[str]:
    """Present and missing files, in lines of at most ``columns`` characters; names stay whole."""
    width = max(len(entry.name) for entry in found) + 2
    lines = []
    for entry in found:
        parts = {"on disk": entry.here, "missing": entry.missing}
        # spaces in names are replaced meanwhile, so that lines are not broken there
        texts = [
            f"{what}: {', '.join(name.replace(' ', chr(0)) for name in names)}"
            for what, names in parts.items()
            if names
        ]
        wrapped = textwrap.wrap(
            "; ".join(texts), columns - width, break_long_words=False, break_on_hyphens=False
        )
        lines += [
            f"{'' if i else entry.name:{width}}{line.replace(chr(0), ' ')}"
            for i, line in enumerate(wrapped)
        ]
    return lines


def _commands(found: Sequence[Entry]) -> list[str]:
    width = max(len(entry.name) for entry in found)
    return [f"{entry.name:{width}}  {entry.command}" for entry in found if entry.command]


def _archives() -> list[str]:
    lines = []
    for archive in dict.fromkeys(source.archive for source in PUBLIC.values()):
        names = [name for name, source in PUBLIC.items() if source.archive is archive]
        kept = "; --keep-archive fetches it once for all of them" if len(names) > 1 else ""
        lines.append(
            f"{archive.name} ({archive.size or 'size ' + NOT_STATED}): {', '.join(names)}{kept}"
        )
        lines.append(f"  {archive.page}")
    for name, source in PUBLIC.items():
        lines += [
            f"{file} of {name}, for dataset.semantics=sent: {place}"
            for file, place in source.extra.items()
        ]
    return lines


def _terms(found: Sequence[Entry]) -> list[str]:
    by_terms: dict[str, list[str]] = {}
    for entry in found:
        by_terms.setdefault(entry.terms, []).append(entry.name)
    return [f"{', '.join(names)}: {terms}" for terms, names in by_terms.items()]
