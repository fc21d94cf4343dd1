"""``extract``: a benchmark of one's own, from a folder of images and a table of classes."""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zsl_lab.console.messages import console, say
from zsl_lab.console.parsers import Parser
from zsl_lab.data.benchmark import FloatArray, Provenance
from zsl_lab.data.files.tables import ClassTable, read_class_table
from zsl_lab.data.recipe import ATTRIBUTES, TEXT, Recipe, TextRecipe
from zsl_lab.errors import ConfigError, DataError, OutputError, nearest, quoted
from zsl_lab.files.atomic import atomic_write

if TYPE_CHECKING:
    from zsl_lab.data.files.benchmark_file import BenchmarkFile
    from zsl_lab.extraction.features import Extracted, Problem
    from zsl_lab.extraction.own_images import Parts, Pictures

PROG = "python -m zsl_lab.data extract"
DESCRIPTION = """\
Make a benchmark of images: features of a pretrained network, averaged over each image; class semantics from a table; and a split
into seen and unseen classes. `python -m zsl_lab dataset.path=OUT.h5` trains on it.

The table of classes is a CSV file with the column class, and attributes (a column of numbers each), the column description, or
both; JSON ({"name": "text", ...}) for descriptions only. Two columns more, if you like: split (seen, validation, unseen, or empty: the
seed decides) and pretrained (yes: the backbone was trained on this class, so it is never unseen).

Interrupted, the same command goes on where it was. Images that cannot be read are left out and listed in OUT.bad.csv."""
EXAMPLES = f"""\
examples:
  {PROG} --images birds --classes birds.csv birds.h5                     a folder for each class, called like it
  {PROG} --images jpg --labels labels.csv --classes birds.csv birds.h5   or a table: file,class
  {PROG} ... --backbone resnet50 --weights my_resnet50.pth               weights of your own (a state dict)
  {PROG} ... --text-encoder tfidf --unseen 10 --seed 1                   other semantics, another split
"""
#: networks whose weights torchvision has; zsl_lab.extraction.backbones knows more of them
BACKBONES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "squeezenet1_1",
    "googlenet",
    "efficientnet_b0",
)
ENCODERS = ("minilm", "bert", "glove", "tfidf")

_IMAGE_SIZE = 224
_TEST_SEEN_FRACTION = 0.2
#: seconds between two lines where there is no terminal
_LINE_INTERVAL = 10.0
_SHOWN = 3


@dataclass(frozen=True, eq=False)
class _Semantics:
    """What is known of the classes: by kind, ``[C, Q]`` each, and how the texts were encoded."""

    by_kind: dict[str, FloatArray]
    texts: TextRecipe | None


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = _parse(arguments)
    started = time.monotonic()
    table = read_class_table(options.classes)
    _check_semantics(table, options.semantics)
    # these bring torch, which a misspelt option need not wait for
    import torch

    from zsl_lab.data.files import benchmark_file as hdf5
    from zsl_lab.extraction import features as extraction
    from zsl_lab.extraction.own_images import choose_parts, find_class_pictures

    parts = choose_parts(table, options.unseen, options.seed)
    pictures = find_class_pictures(options.images, table, options.labels)
    semantics = _semantics(table, parts, options)
    network, recipe = extraction.build_backbone(
        options.backbone, options.weights, options.resize, options.image_size, _terms(options)
    )
    if options.image_size < network.min_size:
        raise ConfigError(
            f"--image-size {options.image_size}: {options.backbone} takes {network.min_size} or "
            "more. Give that, or another."
        )
    kept = options.out.with_name(f"{options.out.name}.part")
    before = extraction.prepare_kept(kept, pictures.files, recipe)
    if before in ("other pictures", "another recipe"):
        say(f"{kept}: found features of {before}; starting anew.")
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    with _progress(len(pictures.names)) as report:
        extracted = _out_of_memory(
            options.batch_size,
            lambda: extraction.extract_features(
                pictures.files, network, recipe, options.batch_size, kept, report
            ),
        )
    _list_problems(extracted.problems, options.images, len(pictures.names), _bad_file(options.out))
    whole = Recipe(
        images=recipe,
        texts=semantics.texts,
        attributes=list(table.attribute_names) if ATTRIBUTES in semantics.by_kind else [],
    )
    content = _assemble(table, parts, pictures, extracted, semantics, whole, options)
    hdf5.write(content, options.out)
    shutil.rmtree(kept, ignore_errors=True)
    _print_summary(content, parts, options, time.monotonic() - started)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(PROG, DESCRIPTION, EXAMPLES)
    parser.add_argument("out", metavar="OUT.h5", type=Path, help="the file to write")
    parser.add_argument(
        "--images",
        metavar="DIR",
        type=Path,
        required=True,
        help="a folder for each class, or any files with --labels",
    )
    parser.add_argument(
        "--classes",
        metavar="FILE",
        type=Path,
        required=True,
        help="the table of classes, CSV or JSON",
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        type=Path,
        help="CSV with the columns file (below --images) and class",
    )
    parser.add_argument(
        "--backbone",
        metavar="NAME",
        default="resnet101",
        help=f"{', '.join(BACKBONES)} (default: %(default)s)",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        default="imagenet",
        help="a state dict, or imagenet (default; torchvision downloads)",
    )
    parser.add_argument(
        "--image-size",
        metavar="N",
        type=int,
        default=_IMAGE_SIZE,
        help="what the network sees (default: %(default)s)",
    )
    parser.add_argument(
        "--resize",
        metavar="N",
        type=int,
        help="images are scaled and cut to this square first (default: 8/7 of --image-size)",
    )
    parser.add_argument(
        "--semantics",
        metavar="KIND",
        help="attributes or descriptions (default: whatever the table has)",
    )
    parser.add_argument(
        "--text-encoder",
        metavar="NAME",
        default="minilm",
        help=f"{', '.join(ENCODERS)} (default: %(default)s)",
    )
    parser.add_argument(
        "--text-model",
        metavar="NAME",
        help="of bert: a local folder or a name on the hub (default: bert-base-uncased)",
    )
    parser.add_argument(
        "--max-tokens",
        metavar="N",
        type=int,
        default=512,
        help="longer descriptions are cut (default: %(default)s)",
    )
    parser.add_argument(
        "--unseen", metavar="N", help="how many classes are unseen, or what share (default: 0.2)"
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=int,
        default=0,
        help="draws unseen classes and test samples (default: %(default)s)",
    )
    parser.add_argument("--name", help="the benchmark's name in results (default: OUT)")
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=int,
        default=64,
        help="images at once (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT.h5")
    options = parser.parse(arguments)
    if options.resize is None:
        options.resize = round(options.image_size * 8 / 7)
    _check_options(options)
    options.unseen = _unseen(options.unseen)
    options.name = options.name or options.out.stem
    # so that what is kept is found again from another folder
    options.images = options.images.absolute()
    return options


def _check_options(options: argparse.Namespace) -> None:
    for option, known in (
        ("backbone", BACKBONES),
        ("text_encoder", ENCODERS),
        ("semantics", ("attributes", "descriptions")),
    ):
        value = getattr(options, option)
        if value is not None and value not in known:
            near = nearest(value, known)
            hint = f"Did you mean {near[0]}?" if near else f"Give one of {', '.join(known)}."
            raise ConfigError(
                f"--{option.replace('_', '-')} {value}: there is none of this name. {hint}"
            )
    for option in ("image_size", "resize", "batch_size", "max_tokens"):
        if getattr(options, option) < 1:
            raise ConfigError(
                f"--{option.replace('_', '-')} {getattr(options, option)}: expected 1 or more. "
                "Give such a number, or none."
            )
    if options.seed < 0:
        raise ConfigError(
            f"--seed {options.seed}: expected 0 or more. Give such a number, or none."
        )
    if options.resize < options.image_size:
        raise ConfigError(
            f"--resize {options.resize} --image-size {options.image_size}: expected --image-size "
            "to be at most --resize, from whose centre it is cut. Lower the one, or raise the "
            "other."
        )
    if options.text_model is not None and options.text_encoder != "bert":
        raise ConfigError(
            f"--text-model: --text-encoder {options.text_encoder} takes none. Leave it out, or "
            "give --text-encoder bert."
        )
    # h5py takes a while to import
    from zsl_lab.data.files.benchmark_file import is_hdf5

    if not is_hdf5(options.out):
        raise ConfigError(
            f"{options.out}: expected a name that ends in .h5, of the file to write. Give one: "
            f"{options.out}.h5."
        )
    if options.out.is_dir() or (options.out.exists() and not options.overwrite):
        what = (
            "this is a folder"
            if options.out.is_dir()
            else "this file exists; --overwrite replaces it"
        )
        raise OutputError(f"{options.out}: {what}. Or give another name.")


def _unseen(given: str | None) -> int | float | None:
    if given is None:
        return None
    if given.isdecimal() and int(given) >= 1:
        return int(given)
    try:
        share = float(given)
    except ValueError:
        share = 0.0
    if 0 < share < 1:
        return share
    raise ConfigError(
        f"--unseen {given}: expected a number of classes (1 or more), or a share of them (between "
        "0 and 1). Give either, or none."
    )


def _terms(options: argparse.Namespace) -> Any:
    from zsl_lab.extraction.backbones import Terms

    return Terms(
        "--backbone ",
        "--weights ",
        BACKBONES,
        otherwise="",
        larger="Give a larger --image-size, or another --backbone.",
    )


# ------------------------------------------------------------------------------------------------
# semantics


def _check_semantics(table: ClassTable, kind: str | None) -> None:
    if kind == "attributes" and table.attributes is None:
        raise ConfigError(
            f"--semantics attributes: {table.path} has none. Add columns of numbers, or give "
            "--semantics descriptions."
        )
    if kind == "descriptions" and table.descriptions is None:
        raise ConfigError(
            f"--semantics descriptions: {table.path} has none. Add the column description, or give "
            "--semantics attributes."
        )


def _semantics(table: ClassTable, parts: Parts, options: argparse.Namespace) -> _Semantics:
    found: dict[str, FloatArray] = {}
    recipe = None
    if table.attributes is not None and options.semantics != "descriptions":
        found[ATTRIBUTES] = table.attributes
    if table.descriptions is not None and options.semantics != "attributes":
        from zsl_lab.extraction.features import embed_texts

        # the words of unseen classes must not say which words count
        seen = [
            text for class_id, text in enumerate(table.descriptions) if class_id not in parts.unseen
        ]
        recipe = TextRecipe(
            encoder=options.text_encoder,
            model=options.text_model,
            max_tokens=options.max_tokens,
            fitted_on=seen if options.text_encoder == "tfidf" else [],
        )
        from zsl_lab.text import choices

        also = (
            "" if table.attributes is None else " Or leave the texts out: --semantics attributes."
        )
        terms = choices("--text-encoder ", "--text-model ", "--max-tokens ", "give", also)
        found[TEXT] = embed_texts(table.descriptions, recipe, terms=terms)
    return _Semantics(found, recipe)


# ------------------------------------------------------------------------------------------------
# features


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A function that is told how many images are done, and shows rate and time left; plain lines where there is no terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.0f} images/s")

    screen = console(stderr=True)
    start, first, due = 0.0, -1, 0.0

    def line(done: int) -> None:
        nonlocal start, first, due
        now = time.monotonic()
        if first < 0:
            start, first, due = now, done, now + _LINE_INTERVAL
            say(
                f"{total:,} images"
                + (f"; the features of {done:,} are there already" if done else "")
            )
        elif now > due and done > first:
            due = now + _LINE_INTERVAL
            rate = (done - first) / (now - start)
            say(
                f"  {done:,} of {total:,} images, {rate:.0f} images/s, {(total - done) / rate:.0f} "
                "s left"
            )

    if not screen.is_terminal:
        yield line
        return
    columns = (
        TextColumn("images"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=screen) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)


def _out_of_memory(batch_size: int, extract: Callable[[], Extracted]) -> Extracted:
    import torch

    try:
        return extract()
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"--batch-size {batch_size}: the GPU has no memory for so many images. Give a smaller "
            "one."
        ) from error


def _bad_file(out: Path) -> Path:
    return out.with_suffix(".bad.csv")


def _list_problems(problems: Sequence[Problem], folder: Path, count: int, path: Path) -> None:
    """Write the list of images that are left out, in place of one that an earlier run left."""
    if not problems:
        path.unlink(missing_ok=True)
        return
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["file", "reason"])
    writer.writerows(
        [problem.file.relative_to(folder).as_posix(), problem.reason] for problem in problems
    )
    # a file's name may hold bytes that are no text
    atomic_write(path, lines.getvalue().encode(errors="backslashreplace"))
    first = problems[0]
    verb = "is" if len(problems) == 1 else "are"
    warnings.warn(
        f"{len(problems):,} of {count:,} images cannot be read and {verb} left out; {path} lists "
        f"them (the first: {first.file.relative_to(folder)}: {first.reason})",
        stacklevel=1,
    )


# ------------------------------------------------------------------------------------------------
# the benchmark


def _assemble(
    table: ClassTable,
    parts: Parts,
    pictures: Pictures,
    extracted: Extracted,
    semantics: _Semantics,
    recipe: Recipe,
    options: argparse.Namespace,
) -> BenchmarkFile:
    from zsl_lab.data.files.benchmark_file import BenchmarkFile
    from zsl_lab.data.splits import hold_out
    from zsl_lab.files.hashing import sha256_arrays

    labels = pictures.labels[extracted.readable]
    counts = np.bincount(labels, minlength=len(table.names))
    lost = np.flatnonzero(counts == 0)
    if len(lost):
        raise DataError(
            f"{options.images}: class '{table.names[lost[0]]}': none of its "
            f"{int((pictures.labels == lost[0]).sum())} images can be read "
            f"({_bad_file(options.out)} says why); expected at least one. Mend them, or take the "
            f"class out of {table.path} and its folder away. Nothing was written; the features are "
            "kept."
        )
    is_unseen = np.isin(labels, parts.unseen)
    seen = np.setdiff1d(np.arange(len(table.names)), parts.unseen)
    trainval, test_seen = hold_out(
        np.flatnonzero(~is_unseen), labels, _TEST_SEEN_FRACTION, np.random.default_rng(options.seed)
    )
    test_unseen = np.flatnonzero(is_unseen)
    single = [table.names[class_id] for class_id in seen if counts[class_id] == 1]
    if not len(test_seen):
        raise DataError(
            f"{options.images}: found one image of each of the {len(seen)} seen classes; expected "
            "at least one class with 2, to test on one. Add images, or let others be unseen."
        )
    if single:
        names = ", ".join(f"'{name}'" for name in single[:_SHOWN])
        verb = "has" if len(single) == 1 else "have"
        warnings.warn(
            f"{len(single)} of {len(seen)} seen classes {verb} a single image ({names}): it is "
            "trained on, none tests them.",
            stacklevel=1,
        )
    return BenchmarkFile(
        name=options.name,
        features=extracted.features,
        labels=labels,
        class_names=table.names,
        semantics=semantics.by_kind,
        trainval=trainval,
        test_seen=test_seen,
        test_unseen=test_unseen,
        validation_classes=parts.validation,
        files=tuple(
            name for name, good in zip(pictures.names, extracted.readable, strict=True) if good
        ),
        descriptions=table.descriptions,
        recipe=recipe,
        provenance=Provenance(
            origin=options.images.name,
            splits_sha256=sha256_arrays(trainval, test_seen, test_unseen),
            features_sha256=sha256_arrays(extracted.features, labels),
            splits_version=parts.version,
        ),
    )


def _print_summary(
    content: BenchmarkFile, parts: Parts, options: argparse.Namespace, seconds: float
) -> None:
    screen = console()
    images, width = content.features.shape
    kinds = ", ".join(f"{kind} of {values.shape[1]}" for kind, values in content.semantics.items())
    seen = content.num_classes - len(parts.unseen)
    held = "" if parts.validation is None else f", {len(parts.validation)} of them for validation"
    lines = [
        f"{options.out}: {images:,} images of {content.num_classes} classes in {seconds:.0f} s",
        f"  features    {width} numbers each, {options.backbone}",
        f"  semantics   {kinds}"
        + (" (dataset.semantics chooses; att by itself)" if len(content.semantics) > 1 else ""),
        f"  seen        {seen} classes{held}: {len(content.trainval):,} images to train on, "
        f"{len(content.test_seen):,} to test",
        f"  unseen      {len(parts.unseen)} classes: {len(content.test_unseen):,} images "
        f"({parts.version})",
        f"train on it: python -m zsl_lab {_setting(options.out)}",
    ]
    screen.print("\n".join(lines), soft_wrap=True)


def _setting(path: Path) -> str:
    return quoted("dataset.path", str(path))
