"""``python -m zsl_lab.data extract``: makes a benchmark from images and a table of classes."""

from __future__ import annotations

import argparse
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from zsl_lab.cli.data.findings import check_content, warn_of_findings
from zsl_lab.console.messages import console, say
from zsl_lab.console.parsers import Parser
from zsl_lab.console.progress import Progress, Unit
from zsl_lab.data.files.tables import ClassTable, read_class_table
from zsl_lab.data.recipe import ImageRecipe, TextRecipe
from zsl_lab.errors import ConfigError, OutputError, nearest, quoted
from zsl_lab.extraction.names import (
    HF_PREFIX,
    IMAGE_TEXT_PREFIXES,
    IMAGENET,
    OPEN_CLIP_PREFIX,
    PREFIXES,
    RANDOM,
    TORCHVISION_NETWORKS,
    TORCHVISION_PREFIX,
    prefix_of,
)

if TYPE_CHECKING:
    from zsl_lab.data.files.benchmark_file import BenchmarkFile
    from zsl_lab.extraction.kept.blocks import Extracted
    from zsl_lab.extraction.own_images import Parts, Pictures
    from zsl_lab.extraction.recipes import Backbone
    from zsl_lab.extraction.texts import Semantics
    from zsl_lab.extraction.weights import Terms

PROG = "python -m zsl_lab.data extract"
DESCRIPTION = """\
Make a benchmark of images: pooled features of a pretrained network; class semantics from a table;
and a split into seen and unseen classes. `python -m zsl_lab dataset.path=OUT.h5` trains on it.

The table of classes is a CSV file with the column class, and attributes (a column of numbers each),
the column description, or both; JSON for descriptions only ({"name": "text"}, or lists of texts, as
of CuPL, DCLIP and WaffleCLIP). With an image-text model (CLIP, SigLIP) names suffice. Two optional
columns: split (seen, validation, unseen, or empty: drawn by the seed) and pretrained (yes: the
backbone was trained on this class, so it is never unseen). A class without images is unseen: a
candidate by its semantics alone, which no metric tests.

After an interruption the same command continues. Images that cannot be read are left out and listed
in OUT.bad.csv."""
EXAMPLES = f"""\
examples:
  a folder for each class, with the class's name; or train, val and test with such folders:
    {PROG} --images birds --classes birds.csv birds.h5
  or a table of labels (file,class):
    {PROG} --images jpg --labels labels.csv --classes birds.csv birds.h5
  weights of your own (a state dict):
    {PROG} ... --backbone resnet50 --weights my_resnet50.pth
  a network of timm (pip install "zsl-lab[timm]"):
    {PROG} ... --backbone timm:vit_small_patch14_dinov2
  an image-text model, whose text tower makes the class semantics (for method=cosine):
    {PROG} ... --backbone open_clip:ViT-B-32/laion2b_s34b_b79k
    {PROG} ... --backbone hf:google/siglip-base-patch16-224 --template "a photo of a {{name}}."
  a vision model of transformers, in a folder or on the hub:
    {PROG} ... --backbone hf:facebook/dinov2-small
  in eight parts, by as many processes or tasks of an array of Slurm, then joined:
    {PROG} ... --part 3/8
    {PROG} ... --part slurm
    {PROG} ... --join
  other semantics, another split:
    {PROG} ... --text-encoder tfidf --unseen 10 --seed 1
"""
ENCODERS = ("minilm", "bert", "glove", "tfidf")
#: ends of the message about kept features that are not used, by the state of their folder
_UNUSED = {
    "other images": "not used: images of their blocks were changed, added or removed (or an "
    "earlier version kept them, which compared times of change only)",
    "another recipe": "removed: they are of another recipe",
}
_FORMS = (
    "torchvision:NAME, timm:NAME, open_clip:MODEL/WEIGHTS, open_clip:hf-hub:ID, hf:ID_OR_FOLDER "
    "(transformers)"
)


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = _parse(arguments)
    started = time.monotonic()
    tower = _tower_name(options)
    table = read_class_table(options.classes, names_suffice=tower is not None)
    _check_semantics(table, options.semantics, tower)
    # imported late: they import torch, which takes a while, and options are checked before
    from zsl_lab.data.files import benchmark_file as hdf5
    from zsl_lab.extraction.own_benchmark import assemble, list_problems
    from zsl_lab.extraction.own_images import choose_parts, find_class_pictures, with_parts

    pictures = find_class_pictures(options.images, table, options.labels)
    if options.part is not None:
        _extract_part(pictures, options)
        return 0
    table = with_parts(table, pictures)
    folder = None if pictures.parts is None else pictures.folder
    parts = choose_parts(table, options.unseen, options.seed, pictures.labels, folder)
    semantics = (
        _semantics(table, parts, options)
        if tower is None
        else _image_text_semantics(table, tower, options)
    )
    extracted, recipe, kept = _extract(pictures, options)
    problems_file = options.out.with_suffix(".bad.csv")
    list_problems(extracted.problems, pictures, problems_file)
    content = assemble(
        options.name,
        table,
        parts,
        pictures,
        extracted,
        recipe,
        semantics,
        options.seed,
        problems_file,
    )
    hdf5.write(content, options.out)
    for folder in kept:
        shutil.rmtree(folder, ignore_errors=True)
    _print_summary(content, parts, options, time.monotonic() - started)
    warn_of_findings(check_content(content))
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
        help=f"{', '.join(TORCHVISION_NETWORKS)}; or {_FORMS}, each with its own preprocessing "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        default="imagenet",
        help="a state dict; imagenet (default) for published weights, which are downloaded; or "
        "random for random ones, to try a command",
    )
    parser.add_argument(
        "--image-size",
        metavar="N",
        type=int,
        help="side of the square that the network sees (default: 224; for names with a prefix, the "
        "network's own)",
    )
    parser.add_argument(
        "--resize",
        metavar="N",
        type=int,
        help="side of the square that images are scaled and cut to first (default: 8/7 of "
        "--image-size; for names with a prefix, by the network's own crop)",
    )
    parser.add_argument(
        "--semantics",
        metavar="KIND",
        help="attributes or descriptions (default: whatever the table has)",
    )
    parser.add_argument(
        "--text-encoder",
        metavar="NAME",
        help=f"{', '.join(ENCODERS)}, or an image-text model (default: the backbone if it is one, "
        "else minilm)",
    )
    parser.add_argument(
        "--template",
        metavar="TEXT",
        action="append",
        help="for an image-text model: a prompt with {name}, {description} or {clause} (a part of "
        "a sentence, as 'which has ...'), or a file with a list of them; several are averaged "
        "(default: one that fits the table)",
    )
    parser.add_argument(
        "--text-model",
        metavar="NAME",
        help="for bert: a local folder or a name on the hub (default: bert-base-uncased)",
    )
    parser.add_argument(
        "--max-tokens",
        metavar="N",
        type=int,
        default=512,
        help="longer descriptions are cut (default: %(default)s; image-text models have their own "
        "limit)",
    )
    parser.add_argument(
        "--unseen", metavar="N", help="number of unseen classes, or their share (default: 0.2)"
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
        help="images in a forward pass (default: %(default)s)",
    )
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument(
        "--part",
        metavar="N/M",
        help="only the features of the N-th of M parts of the images, into a folder beside OUT.h5; "
        "slurm takes both numbers from an array of Slurm",
    )
    parts.add_argument(
        "--join",
        action="store_true",
        help="write OUT.h5 from the parts; all other options must be those of the parts",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT.h5")
    options = parser.parse(arguments)
    _check_options(options)
    options.unseen = parse_unseen(options.unseen)
    options.name = options.name or options.out.stem
    if options.part is not None:
        from zsl_lab.extraction.kept.parts import parse_part

        options.part = parse_part(options.part, os.environ)
    # absolute, so that kept features are found again from another working folder
    options.images = options.images.absolute()
    return options


def _check_options(options: argparse.Namespace) -> None:
    # names with a prefix are checked by their package
    if not prefix_of(options.backbone):
        _check_name("backbone", options.backbone, TORCHVISION_NETWORKS, PREFIXES)
        if options.weights == RANDOM:
            raise ConfigError(
                f"--weights {RANDOM}: --backbone {options.backbone} takes no random weights. Give "
                f"--backbone {TORCHVISION_PREFIX}{options.backbone}, or leave the option out."
            )
    encoder = options.text_encoder
    if encoder is not None and prefix_of(encoder) not in IMAGE_TEXT_PREFIXES:
        _check_name("text-encoder", encoder, ENCODERS, IMAGE_TEXT_PREFIXES)
    if options.semantics is not None:
        _check_name("semantics", options.semantics, ("attributes", "descriptions"))
    for option in ("image_size", "resize", "batch_size", "max_tokens"):
        value = getattr(options, option)
        if value is not None and value < 1:
            raise ConfigError(
                f"--{option.replace('_', '-')} {value}: expected 1 or more. Give such a number, "
                "or leave the option out."
            )
    if options.seed < 0:
        raise ConfigError(
            f"--seed {options.seed}: expected 0 or more. Give such a number, or "
            "leave the option out."
        )
    if options.resize is not None and options.image_size is not None:
        _check_sizes(options.resize, options.image_size)
    if options.text_model is not None and encoder != "bert":
        raise ConfigError(
            f"--text-model: --text-encoder {encoder or ENCODERS[0]} takes none. Leave it out, or "
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


def _check_name(
    option: str, value: str, known: Sequence[str], prefixes: Sequence[str] = ()
) -> None:
    """Raise a ConfigError if a value is not known; values that begin with a prefix are allowed."""
    if value in known:
        return
    head, colon, rest = value.partition(":")
    near = nearest(value, known)
    near_prefix = nearest(head + colon, prefixes) if colon else []
    if near_prefix:
        hint = f"Did you mean {near_prefix[0]}{rest}?"
    elif near:
        hint = f"Did you mean {near[0]}?"
    else:
        also = f", or one that begins with {', '.join(prefixes)}" if prefixes else ""
        hint = f"Give one of {', '.join(known)}{also}."
    raise ConfigError(f"--{option} {value}: there is none of this name. {hint}")


def _check_sizes(resize: int, image_size: int) -> None:
    if resize < image_size:
        raise ConfigError(
            f"--resize {resize} --image-size {image_size}: expected --image-size to be at most "
            "--resize, from whose centre it is cut. Decrease the first, or increase the second."
        )


def parse_unseen(given: str | None) -> int | float | None:
    """Parse the value of ``--unseen``: a number of classes, a share, or None.

    Raises:
        ConfigError: If it is none of these.
    """
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
        "0 and 1). Give either, or leave the option out."
    )


# ------------------------------------------------------------------------------------------------
# semantics


def _terms() -> Terms:
    from zsl_lab.extraction.weights import Terms

    return Terms(
        "--backbone ",
        "--weights ",
        TORCHVISION_NETWORKS,
        otherwise="",
        larger="Give another --image-size, or another --backbone.",
    )


def _tower_name(options: argparse.Namespace) -> str | None:
    """The image-text model whose text tower computes class semantics; None for none."""
    name: str | None = options.text_encoder
    if name is None and options.semantics != "attributes" and _has_text_tower(options):
        name = options.backbone
    tower = name if name is not None and prefix_of(name) else None
    if options.template and tower is None:
        raise ConfigError(
            "--template: templates are for the text tower of an image-text model. Leave them out, "
            "or give one: --text-encoder open_clip:MODEL/WEIGHTS, or hf:ID_OR_FOLDER."
        )
    return tower


def _has_text_tower(options: argparse.Namespace) -> bool:
    prefix = prefix_of(options.backbone)
    if prefix != HF_PREFIX:
        return prefix == OPEN_CLIP_PREFIX
    from zsl_lab.extraction.pretrained.hf_family import has_text_tower

    return has_text_tower(options.backbone, None, _terms())


def _check_semantics(table: ClassTable, kind: str | None, tower: str | None) -> None:
    if kind == "attributes" and table.attributes is None:
        raise ConfigError(
            f"--semantics attributes: {table.path} has none. Add columns of numbers, or give "
            "--semantics descriptions."
        )
    if kind == "descriptions" and table.descriptions is None and tower is None:
        raise ConfigError(
            f"--semantics descriptions: {table.path} has none. Add the column description, or give "
            "--semantics attributes."
        )


def _image_text_semantics(table: ClassTable, name: str, options: argparse.Namespace) -> Semantics:
    """The semantics of classes from the text tower of an image-text model, and attributes."""
    from zsl_lab.extraction.recipes import build_text_tower
    from zsl_lab.extraction.texts import table_semantics
    from zsl_lab.text import choices
    from zsl_lab.text.prompts import default_templates, read_templates, uses_texts

    none = [()] * len(table.names)
    templates = (
        read_templates(options.template, "--template ")
        if options.template
        else default_templates(table.names, table.texts or none)
    )
    if table.texts is None and uses_texts(templates):
        raise ConfigError(
            f"--template: found {{description}} or {{clause}}, and {table.path} has no texts. Add "
            "the column description, or give templates with {name} only."
        )
    terms = _terms()
    if name != options.backbone:
        terms = replace(terms, network="--text-encoder ")
    weights = options.weights if name == options.backbone else IMAGENET
    tower, recipe = build_text_tower(name, weights, templates, terms)
    say(f"prompts for {tower.name}: {'; '.join(templates)}")
    attributes = options.semantics != "descriptions"
    unused = choices("--text-encoder ", "--text-model ", "--max-tokens ", "give")
    return table_semantics(table, recipe, unused, attributes=attributes, tower=tower)


def _semantics(table: ClassTable, parts: Parts, options: argparse.Namespace) -> Semantics:
    from zsl_lab.extraction.texts import table_semantics
    from zsl_lab.text import choices

    recipe = None
    encoder = options.text_encoder or ENCODERS[0]
    if table.descriptions is not None and options.semantics != "attributes":
        # word statistics must be taken from the texts of seen classes only
        seen = [
            text for class_id, text in enumerate(table.descriptions) if class_id not in parts.unseen
        ]
        recipe = TextRecipe(
            encoder=encoder,
            model=options.text_model,
            max_tokens=options.max_tokens,
            fitted_on=seen if encoder == "tfidf" else [],
        )
    also = "" if table.attributes is None else " Or leave the texts out: --semantics attributes."
    terms = choices("--text-encoder ", "--text-model ", "--max-tokens ", "give", also)
    attributes = options.semantics != "descriptions"
    return table_semantics(table, recipe, terms, attributes=attributes)


# ------------------------------------------------------------------------------------------------
# features


def _extract(
    pictures: Pictures, options: argparse.Namespace
) -> tuple[Extracted, ImageRecipe, list[Path]]:
    """The features, their recipe, and the folders that they were kept in, to be removed later."""
    from zsl_lab.extraction.features import collect, feature_blocks
    from zsl_lab.extraction.kept.parts import find_parts, joined_blocks

    network, recipe = _backbone(options)
    files, width, total = pictures.files, network.feature_dim, len(pictures.names)
    if options.join:
        with _comparing(options.out) as compared:
            parts = find_parts(options.out, files, recipe, compared)
        with _progress(total) as report:
            blocks = joined_blocks(parts, files, width, report)
            return collect(blocks, width, options.out.parent), recipe, list(parts.values())
    kept = options.out.with_name(f"{options.out.name}.part")
    _prepare(kept, pictures, recipe)
    with _computing(network, options), _progress(total) as report:
        blocks = feature_blocks(files, network, recipe, options.batch_size, kept, report)
        return collect(blocks, width, kept), recipe, [kept]


def _extract_part(pictures: Pictures, options: argparse.Namespace) -> None:
    """Extract one part of the images, and keep the features in the part's folder."""
    from zsl_lab.extraction.features import feature_blocks
    from zsl_lab.extraction.kept.blocks import block_of

    started = time.monotonic()
    network, recipe = _backbone(options)
    folder = options.part.folder(options.out)
    _prepare(folder, pictures, recipe, str(options.part))
    files, numbers = pictures.files, options.part.blocks(len(pictures.names))
    total = sum(len(block_of(files, number)) for number in numbers)
    problems = 0
    with _computing(network, options), _progress(total) as report:
        for block in feature_blocks(
            files, network, recipe, options.batch_size, folder, report, numbers
        ):
            problems += len(block.problems)
    bad = f", {problems:,} of which cannot be read" if problems else ""
    console().print(
        f"{folder}: part {options.part}, {total:,} of {len(files):,} images{bad}, in "
        f"{time.monotonic() - started:.0f} s\n"
        f"when all {options.part.count} parts are there: the same command with --join in place "
        "of --part",
        soft_wrap=True,
    )


def _backbone(options: argparse.Namespace) -> tuple[Backbone, ImageRecipe]:
    """The network, and the recipe of its features."""
    from zsl_lab.extraction.recipes import build_backbone, default_sizes

    terms = _terms()
    sizes = default_sizes(
        options.backbone, options.resize, options.image_size, terms, options.weights
    )
    _check_sizes(*sizes)
    network, recipe = build_backbone(options.backbone, options.weights, *sizes, terms)
    if recipe.image_size < network.min_size:
        raise ConfigError(
            f"--image-size {recipe.image_size}: {network.name} takes {network.min_size} or more. "
            "Give such a size."
        )
    if recipe.weights == RANDOM:
        warnings.warn(
            f"{network.name}: its weights are random, so the features tell nothing of the images. "
            "They only show that the command works.",
            stacklevel=2,
        )
    return network, recipe


def _prepare(
    folder: Path, pictures: Pictures, recipe: ImageRecipe, part: str | None = None
) -> None:
    from zsl_lab.extraction.kept.preparing import prepare_kept

    with _comparing(folder) as compared:
        before = prepare_kept(folder, pictures.files, recipe, part, compared)
    if before.unused:
        say(f"{folder}: the features of {before.unused:,} kept images are {_UNUSED[before.state]}.")


@contextmanager
def _computing(network: Backbone, options: argparse.Namespace) -> Iterator[None]:
    """Put the network on the GPU, if there is one; convert errors about too little memory there."""
    import torch

    network.to("cuda" if torch.cuda.is_available() else "cpu")
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"--batch-size {options.batch_size}: the GPU has too little memory for so many images. "
            "Give a smaller one."
        ) from error


@contextmanager
def _comparing(place: Path) -> Iterator[Callable[[int, int], None]]:
    """A function that shows the progress of comparing images, after a first line that says so."""
    shown: Progress | None = None
    with ExitStack() as stack:

        def show(done: int, total: int) -> None:
            nonlocal shown
            if shown is None:
                say(
                    f"{place}: paths, sizes or times of change differ; comparing the contents of "
                    f"{total:,} kept images"
                )
                shown = stack.enter_context(Progress(Unit("images"), total))
            shown.update(done)

        yield show


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A function that shows the number of finished images; its first call, of those kept before."""
    begun = False
    with Progress(Unit("images"), total) as shown:

        def show(done: int) -> None:
            nonlocal begun
            if not begun and not shown.is_bar:
                before = f"; the features of {done:,} are there already" if done else ""
                say(f"{total:,} images{before}")
            begun = True
            shown.update(done)

        yield show


# ------------------------------------------------------------------------------------------------
# the result


def _print_summary(
    content: BenchmarkFile, parts: Parts, options: argparse.Namespace, seconds: float
) -> None:
    screen = console()
    assert content.recipe.images is not None
    images, width = content.features.shape
    kinds = ", ".join(f"{kind} of {values.shape[1]}" for kind, values in content.semantics.items())
    seen = content.num_classes - len(parts.unseen)
    held = "" if parts.validation is None else f", {len(parts.validation)} of them for validation"
    lines = [
        f"{options.out}: {images:,} images of {content.num_classes} classes in {seconds:.0f} s",
        f"  features    {width} numbers each, {content.recipe.images.backbone}",
        f"  semantics   {kinds}"
        + (" (chosen by dataset.semantics; default: att)" if len(content.semantics) > 1 else ""),
        f"  seen        {seen} classes{held}: {len(content.trainval):,} images to train on, "
        f"{len(content.test_seen):,} to test",
        f"  unseen      {len(parts.unseen)} classes: {len(content.test_unseen):,} images "
        f"({parts.version})",
        *_unseen_names(content, parts),
        *_untrained(content, options.out),
        f"train on it: python -m zsl_lab {_setting(options.out)}",
    ]
    screen.print("\n".join(lines), soft_wrap=True)


def _untrained(content: BenchmarkFile, path: Path) -> list[str]:
    """A line on the training-free baseline, if both towers are of one image-text model."""
    images, texts = content.recipe.images, content.recipe.texts
    if images is None or texts is None or texts.weights_sha256 != images.weights_sha256:
        return []
    scaling = "dataset.normalize=l2 dataset.normalize_semantics=l2"
    return [f"without training: python -m zsl_lab method=cosine {_setting(path)} {scaling}"]


def _unseen_names(content: BenchmarkFile, parts: Parts) -> list[str]:
    """Lines with the names of the drawn unseen classes, and of those without images."""
    assert content.class_names is not None
    tested = set(content.labels.tolist())
    without = [class_id for class_id in parts.unseen if class_id not in tested]
    return [
        f"              {what}: {', '.join(content.class_names[class_id] for class_id in ids)}"
        for what, ids in (("drawn", parts.drawn), ("without images", without))
        if len(ids)
    ]


def _setting(path: Path) -> str:
    return quoted("dataset.path", str(path))
