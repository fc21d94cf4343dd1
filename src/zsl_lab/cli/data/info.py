"""``python -m zsl_lab.data info``: shows a dataset's contents, read and checked as in a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from zsl_lab.cli.data.findings import check_content, show_findings
from zsl_lab.console.messages import console
from zsl_lab.console.parsers import Parser
from zsl_lab.data.public.sources import (
    FEATURES,
    PUBLIC,
    SENTENCES,
    SPLITS,
    check_choice,
    default_data_dir,
    download_command,
)
from zsl_lab.data.recipe import ATTRIBUTES
from zsl_lab.errors import ConfigError, DataError, nearest
from zsl_lab.files.escaping import one_line
from zsl_lab.files.hashing import md5_file, sha256_file

if TYPE_CHECKING:
    from zsl_lab.data.benchmark import Benchmark, IntArray
    from zsl_lab.data.datasets.base import DataPaths, DatasetConfig
    from zsl_lab.data.datasets.xian import XianDataset
    from zsl_lab.data.files.benchmark_mat import Splits
    from zsl_lab.data.summary import (
        BenchmarkSummary,
        ClassExample,
        ClassSizes,
        TableSummary,
        TuningOverlap,
    )

    Tuning = tuple[IntArray, IntArray, str]

PROG = "python -m zsl_lab.data info"
DESCRIPTION = "The contents of a dataset's files, read and checked as in a run; nothing is written."
EXAMPLES = f"""\
examples:
  {PROG} flo --data-dir DIR                                 DIR/FLO/res101.mat and att_splits.mat
  {PROG} flo --data-dir DIR --features efficientnet_lite2   other features
  {PROG} cub --data-dir DIR --semantics sent                other class semantics
  {PROG} cub --data-dir DIR --split standard                another split
  {PROG} my.h5                                              a file that `extract` or `convert` made
"""
#: maximum number of class names that a line lists
_SHOWN_NAMES = 5
_WHERE_FROM = (
    "`python -m zsl_lab.data extract` makes one of images and a table of classes, "
    "`python -m zsl_lab.data convert` of .mat files"
)


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Returns:
        The exit code.

    Raises:
        ZslLabError: If the dataset cannot be read; the message is shown to the user.
    """
    parser = Parser(PROG, DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "dataset", metavar="DATASET", help="a value of `dataset=`, or an HDF5 file (.h5)"
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        type=Path,
        default=default_data_dir(),
        help="as paths.data_dir: holds a folder per benchmark (default: %(default)s)",
    )
    parser.add_argument(
        "--features",
        metavar="STEM",
        help="the feature file's name without .mat, as dataset.features",
    )
    parser.add_argument(
        "--semantics",
        metavar="KIND",
        help="att, original_att, sent, ... or a file, as dataset.semantics",
    )
    parser.add_argument(
        "--split",
        metavar="SPLIT",
        help="proposed, random, standard, ..., as dataset.split",
    )
    options = parser.parse(arguments)
    keys = {
        key: value
        for key in ("features", "semantics", "split")
        if (value := getattr(options, key)) is not None
    }
    # h5py takes a while to import
    from zsl_lab.data.files.benchmark_file import is_hdf5

    if is_hdf5(Path(options.dataset)):
        _show_file(Path(options.dataset).expanduser(), keys)
    else:
        _show_dataset(options.dataset, options.data_dir.expanduser(), keys)
    return 0


def _show_dataset(name: str, data_dir: Path, keys: Mapping[str, str]) -> None:
    check_choice(name)
    if name == "own":
        raise ConfigError(f"own: this is a file of yours; name it: {PROG} my.h5. {_WHERE_FROM}.")
    # imported late: they import Lightning and torch
    from zsl_lab.data.datasets.base import DataPaths, FeatureDatasetConfig
    from zsl_lab.data.datasets.xian import XianDataset

    config = _configured(name, keys)
    if isinstance(config, XianDataset):
        _show_xian(name, config, data_dir)
        return
    with TemporaryDirectory() as cache:
        paths = DataPaths(data_dir, Path(cache))
        config.check_files(paths)
        loaded: Benchmark = (
            config.load(paths)
            if isinstance(config, FeatureDatasetConfig)
            else config.load_images(paths)
        )
        benchmark = config.with_split(loaded, paths)
        _title(f"{benchmark.name} (dataset={name})")
        _say(f"from {benchmark.provenance.origin}")
        _say(f"splits: {benchmark.provenance.splits_version}")
        _show_benchmark(benchmark, ATTRIBUTES)
        _show_check(benchmark)


def _configured(name: str, keys: Mapping[str, str]) -> DatasetConfig:
    """The configuration of ``dataset=NAME``, changed by the options."""
    from hydra import compose, initialize_config_module
    from hydra.utils import get_class
    from omegaconf import OmegaConf

    from zsl_lab.keys import checked

    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        plain: Any = OmegaConf.to_container(compose(f"dataset/{name}").dataset, resolve=True)
    kind: type[DatasetConfig] = get_class(plain.pop("_target_"))
    for key, value in keys.items():
        if key not in plain:
            raise ConfigError(f"--{key}: dataset={name} has no such choice.")
        plain[key] = value
        try:
            checked(kind, plain, "dataset")
        except ConfigError as error:
            near = (
                nearest(value, PUBLIC[name].semantics)
                if key == "semantics" and name in PUBLIC
                else []
            )
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(f"--{key}: {str(error).removeprefix('dataset: ')}{hint}") from error
    return checked(kind, plain, "dataset")


def _show_file(path: Path, keys: Mapping[str, str]) -> None:
    from zsl_lab.data.files import benchmark_file as hdf5

    if "features" in keys:
        raise ConfigError(f"--features: {path} holds one kind of features.")
    if "split" in keys:
        raise ConfigError(f"--split: {path} holds one split.")
    if not path.exists():
        raise DataError(
            f"{path}: no such file; expected a benchmark in an HDF5 file. Name another, or make "
            f"it: {_WHERE_FROM}."
        )
    content = hdf5.read(path)
    kind = keys.get("semantics", content.default_kind)
    if kind is None or kind not in content.semantics:
        near = nearest(kind, content.semantics) if kind else []
        hint = f"Did you mean {near[0]}?" if near else f"Semantics: {', '.join(content.semantics)}."
        raise ConfigError(
            f"--semantics: found {kind or 'nothing'}; expected one of those in {path}. {hint}"
        )
    benchmark = content.benchmark(kind)
    _title(f"{content.name} ({path})")
    _show_files([path], {})
    origin = content.provenance.origin
    _say(f"made of: {origin}" if origin else "made of: not stated")
    _show_version(content.provenance.splits_version)
    for what, recipe in (("features", content.recipe.images), ("semantics", content.recipe.texts)):
        if recipe is not None:
            made = ", ".join(
                f"{key} {value}"
                for key, value in recipe.model_dump().items()
                if isinstance(value, (str, int))
            )
            _say(f"{what} made by: {made}")
    others = [
        f"{other} {list(table.shape)}"
        for other, table in content.semantics.items()
        if other != kind
    ]
    tuning = (
        None
        if content.train is None or content.val is None
        else (content.train, content.val, "train and val")
    )
    _show_benchmark(benchmark, kind, tuning=tuning, others=others)
    _say()
    show_findings(check_content(content))


def _show_xian(name: str, config: XianDataset, data_dir: Path) -> None:
    """Show a benchmark in .mat files; without features, the content of its split file."""
    from zsl_lab.data.datasets.base import DataPaths
    from zsl_lab.data.files.benchmark_mat import read_splits
    from zsl_lab.data.public.sources import split_version

    paths = DataPaths(data_dir, data_dir)
    folder = data_dir.absolute() / config.name
    splits_file, features_file = folder / SPLITS, folder / f"{config.features}.mat"
    published = config.counts.model_dump() if config.counts is not None else {}
    lacking = splits_file.is_file() and not features_file.is_file()
    benchmark = None if lacking else config.read(paths)
    _title(f"{config.name} (dataset={name})")
    known = sorted({path for path in (*config.sources(paths), features_file) if path.is_file()})
    _show_files(known, _versions(name, known))
    if benchmark is not None and config.split != "proposed":
        config.check_split(paths)
        benchmark = config.with_split(benchmark, paths)
        _say(f"splits: {benchmark.provenance.splits_version}")
        _show_benchmark(benchmark, config.semantics)
        _show_check(benchmark)
        return
    _show_version(split_version(sha256_file(splits_file)))
    splits = read_splits(splits_file)
    if config.split != "proposed":
        _say(f"The split shown is the proposed one: {config.split} needs the labels of samples.")
    if benchmark is not None:
        _show_benchmark(benchmark, config.semantics, published, _published_tuning(splits))
        _show_check(benchmark)
        return
    _show_splits(config, splits, paths, published)
    _show_missing_features(name, config, folder, data_dir)


def _show_splits(
    config: XianDataset, splits: Splits, paths: DataPaths, published: Mapping[str, int]
) -> None:
    from zsl_lab.data.checks.semantics import check_semantics
    from zsl_lab.data.summary import summarize_splits

    names, semantics = config.read_classes(paths)
    summary = summarize_splits(splits.test_parts(), names, semantics, _published_tuning(splits))
    _show_counts(summary.counts, _comparable(published, config.semantics))
    if summary.semantics is not None:
        _show_range("semantics", summary.semantics, config.semantics)
    if summary.tuning is not None:
        _show_leaks(summary.tuning)
    _show_classes(summary.examples, config.semantics)
    _say()
    where = f"{paths.data_dir / config.name}: dataset.semantics={config.semantics}"
    show_findings(check_semantics(semantics, names, where))


def _show_missing_features(name: str, config: XianDataset, folder: Path, data_dir: Path) -> None:
    _say()
    _say(
        f"Missing: {folder / config.features}.mat, with the features, and the labels that say "
        "which class a sample is of."
    )
    others = [
        file.stem for file in sorted(folder.glob("*.mat")) if file.name not in (SPLITS, SENTENCES)
    ]
    if others:
        _say(
            f"Here are other features: {' or '.join(f'--features {stem}' for stem in others)} "
            "(dataset.features in a run)."
        )
    if config.features == Path(FEATURES).stem and name in PUBLIC:
        _say(f"This gets it: {download_command(name, data_dir)}")


def _published_tuning(splits: Splits) -> Tuning | None:
    if "train" not in splits.parts or "val" not in splits.parts:
        return None
    source = Path(splits.sources["val"][0]).name
    lent = f" (of {source}: {splits.path.name} has none)" if source != splits.path.name else ""
    return splits.parts["train"], splits.parts["val"], f"train_loc and val_loc{lent}"


def _versions(name: str, paths: Sequence[Path]) -> dict[Path, str]:
    """Descriptions of the versions of a public benchmark's files, found by their hashes."""
    source = PUBLIC.get(name)
    known = (
        {}
        if source is None
        else {path: md5_file(path) for path in paths if path.name in (SPLITS, *source.extra)}
    )
    return {
        path: f"md5 {md5}: {source.version(path.name, md5)}"
        for path, md5 in known.items()
        if source is not None
    }


def _show_benchmark(
    benchmark: Benchmark,
    kind: str,
    published: Mapping[str, int] | None = None,
    tuning: Tuning | None = None,
    others: Sequence[str] = (),
) -> None:
    from zsl_lab.data.summary import summarize

    summary = summarize(benchmark, tuning)
    _show_counts(summary.counts, _comparable(published or {}, kind))
    if summary.class_sizes is not None:
        _show_class_sizes(summary.class_sizes)
    _show_untested(summary)
    if summary.features is not None:
        _show_range("features", summary.features)
    if summary.semantics is not None:
        _show_range("semantics", summary.semantics, kind)
    if summary.images is not None and summary.words is not None:
        least, most, median = summary.words
        _say(f"images: {list(summary.images)}, every one of them could be decoded")
        _say(f"descriptions: {least} to {most} words, median {median:g}")
    if others:
        _say(f"other semantics: {', '.join(others)}")
    if summary.tuning is not None:
        _show_leaks(summary.tuning)
    _show_validation(summary)
    recipe = getattr(benchmark, "recipe", None)
    _show_classes(summary.examples, kind, recipe.attributes if recipe is not None else ())


def _show_check(benchmark: Benchmark) -> None:
    from zsl_lab.data.checks.check import check

    _say()
    show_findings(check(benchmark))


def _show_class_sizes(sizes: ClassSizes) -> None:
    (smallest, least), (largest, most) = sizes.smallest, sizes.largest
    if least == most:
        _say(f"samples per class: {least} each")
    else:
        _say(
            f"samples per class: {least} ({one_line(smallest)}) to {most} ({one_line(largest)}), "
            f"median {sizes.median:g}"
        )


def _show_untested(summary: BenchmarkSummary) -> None:
    """Show which classes and metrics are not measured, for lack of test samples."""
    names, counts = summary.untested, summary.counts
    if names:
        more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
        _say(
            f"without test samples: {len(names)} of the {counts['unseen']} unseen classes "
            f"({', '.join(names[:_SHOWN_NAMES])}{more}), candidates that no metric tests"
        )
    if not counts["test_unseen"]:
        _say("no sample in test_unseen: a run trains and predicts, and measures no unseen class")
    if not counts["test_seen"]:
        _say(
            "no sample in test_seen (conventional zero-shot learning): a run measures zsl_top1 only"
        )


def _comparable(published: Mapping[str, int], kind: str) -> dict[str, int]:
    """Published counts; without that of semantic dimensions if ``kind`` has no published one."""
    own = kind in ("att", "original_att")
    return {name: count for name, count in published.items() if own or name != "semantic_dim"}


def _show_range(what: str, table: TableSummary, kind: str = "") -> None:
    bad = table.not_finite
    finite = "all finite" if bad == 0 else f"{bad:,} NOT finite"
    _say(
        f"{what}: {f'{kind} {list(table.shape)}'.strip()}, from {table.low:.4g} to "
        f"{table.high:.4g}, mean {table.mean:.4g}, {100 * table.zeros:.1f}% zeros, {finite}"
    )


def _show_validation(summary: BenchmarkSummary) -> None:
    if summary.validation_classes is None:
        _say(
            "validation classes: none published; a run draws them from the seen classes "
            "(selection.validation_seed)"
        )
    else:
        _say(
            f"validation classes: {summary.validation_classes} of the {summary.counts['seen']} "
            "seen ones, as published"
        )


def _show_leaks(tuning: TuningOverlap) -> None:
    inside, sizes = tuning.inside, tuning.sizes
    _say(
        f"leak check: {tuning.place} hold {inside['test_seen']:,} of the "
        f"{sizes['test_seen']:,} images of test_seen and {inside['test_unseen']:,} of the "
        f"{sizes['test_unseen']:,} of test_unseen."
    )
    if tuning.leaks:
        _say(
            "  Used as published they would leak test images into tuning; zsl_lab uses only those "
            "in trainval."
        )
    if tuning.outside or tuning.unused:
        _say(
            f"  {tuning.unused:,} images of trainval are in neither, and {tuning.outside:,} of "
            "their images are in no part of the split."
        )


def _show_classes(
    examples: Sequence[ClassExample], kind: str, attributes: Sequence[str] = ()
) -> None:
    _say()
    names = [one_line(example.name) for example in examples]
    if any(example.text for example in examples):
        _say("some classes:")
        for name, example in zip(names, examples, strict=True):
            _say(f"  {name} ({example.part}): {one_line(example.text, 103)}")
        return
    _say("some classes and their highest attributes:")
    width = max(map(len, names))
    for name, example in zip(names, examples, strict=True):
        values = "  ".join(
            f"{one_line(attributes[i]) if attributes else f'{kind}[{i}]'} {value:.3g}"
            for i, value in example.highest
        )
        part = f"{example.part:7}" if example.part else ""
        _say(f"  {name:{width}}  {part}{values or 'none above 0'}")


def _show_files(paths: Sequence[Path], versions: Mapping[Path, str]) -> None:
    for path in paths:
        _say(f"{path}: {path.stat().st_size / 1e6:,.1f} MB")
        _say(f"  sha256 {sha256_file(path)}")
        if path in versions:
            _say(f"  {versions[path]}")


def _show_version(version: str) -> None:
    _say(
        f"splits: {version}"
        if version != "unknown"
        else "splits: a version that zsl_lab does not know by its hash"
    )


def _show_counts(found: Mapping[str, int | None], published: Mapping[str, int | None]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("")
    table.add_column("found", justify="right")
    if published:
        table.add_column("published", justify="right")
        table.add_column("")
    for name, count in found.items():
        expected = published.get(name)
        row = [name, "?" if count is None else f"{count:,}"]
        if published:
            differs = None not in (count, expected) and count != expected
            row += ["-" if expected is None else f"{expected:,}", "differs" if differs else ""]
        table.add_row(*row)
    _say()
    console().print(table)
    _say()


def _title(text: str) -> None:
    console().print(text, style="bold", soft_wrap=True)


def _say(text: str = "") -> None:
    """Print to standard output without breaking lines, so that paths can be copied."""
    console().print(text, soft_wrap=True)
