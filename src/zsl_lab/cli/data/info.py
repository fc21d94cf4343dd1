"""``python -m zsl_lab.data info``: what a dataset's files hold, read and checked as a run would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zsl_lab.console.messages import console
from zsl_lab.console.parsers import Parser
from zsl_lab.data.files.mat import read_mat
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
from zsl_lab.files.hashing import md5_file, sha256_file

if TYPE_CHECKING:
    from zsl_lab.data.benchmark import Benchmark, IntArray
    from zsl_lab.data.datasets.base import DatasetConfig

PROG = "python -m zsl_lab.data info"
DESCRIPTION = (
    "What the files of a dataset hold, read and checked as a run would; nothing is written."
)
EXAMPLES = f"""\
examples:
  {PROG} flo --data-dir DIR                                 DIR/FLO/res101.mat and att_splits.mat
  {PROG} flo --data-dir DIR --features efficientnet_lite2   other features
  {PROG} cub --data-dir DIR --semantics sent                other class semantics
  {PROG} my.h5                                              a file that `extract` or `convert` made
"""
_SHOWN = 5
_HIGHEST = 4
_WHERE_FROM = "`python -m zsl_lab.data extract` makes one of images and a table of classes, `python -m zsl_lab.data convert` of .mat files"


@dataclass(frozen=True)
class _Tuning:
    """The samples that the authors published for tuning.

    Attributes:
        train: 0-based sample indices; likewise ``val``.
        place: What a message calls the place they are from.
    """

    train: IntArray
    val: IntArray
    place: str


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Raises:
        ZslLabError: As a sentence.
    """
    parser = Parser(PROG, DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "dataset", metavar="DATASET", help="as `dataset=` has it, or an HDF5 file (.h5)"
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
    options = parser.parse(arguments)
    keys = {
        key: value
        for key in ("features", "semantics")
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
    # Lightning and torch come with it
    from zsl_lab.data.datasets.base import DataPaths, FeatureDatasetConfig
    from zsl_lab.data.datasets.xian import XianDataset

    config = _configured(name, keys)
    if isinstance(config, XianDataset):
        _show_xian(name, config, data_dir)
        return
    with TemporaryDirectory() as cache:
        paths = DataPaths(data_dir, Path(cache))
        benchmark: Benchmark = (
            config.load(paths)
            if isinstance(config, FeatureDatasetConfig)
            else config.load_images(paths)
        )
        _title(f"{benchmark.name} (dataset={name})")
        _say(f"from {benchmark.provenance.origin}")
        _show_benchmark(benchmark, {}, ATTRIBUTES)
        _show_tuning(benchmark, None)
        _show_classes(benchmark, ATTRIBUTES)


def _configured(name: str, keys: Mapping[str, str]) -> DatasetConfig:
    """The dataset as ``dataset=NAME`` configures it."""
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
    _show_benchmark(benchmark, {}, kind)
    others = [
        f"{other} {list(table.shape)}"
        for other, table in content.semantics.items()
        if other != kind
    ]
    if others:
        _say(f"other semantics: {', '.join(others)}")
    tuning = (
        None
        if content.train is None or content.val is None
        else _Tuning(content.train, content.val, "train and val")
    )
    _show_tuning(benchmark, tuning)
    _show_classes(benchmark, kind)


def _show_xian(name: str, config: Any, data_dir: Path) -> None:
    """A benchmark in .mat files; what the split file says where the features are missing."""
    from zsl_lab.data.datasets.base import DataPaths
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
    _show_version(split_version(sha256_file(splits_file)))
    if benchmark is None:
        _show_split_file(name, config, folder, published, data_dir)
        return
    _show_benchmark(benchmark, published, config.semantics)
    _show_tuning(benchmark, _published_tuning(splits_file))
    _show_classes(benchmark, config.semantics)


def _show_split_file(
    name: str, config: Any, folder: Path, published: Mapping[str, int], data_dir: Path
) -> None:
    from zsl_lab.data.datasets.base import DataPaths
    from zsl_lab.data.datasets.xian import read_split, split_parts

    path = folder / SPLITS
    parts = split_parts(read_split(path), path)
    names, semantics = config.read_classes(DataPaths(data_dir, data_dir))
    found: dict[str, int | None] = {
        "samples": sum(len(part) for part in parts.values()),
        "classes": len(semantics),
        "seen": None,
        "unseen": None,
    }
    found = {
        **found,
        "semantic_dim": semantics.shape[1],
        **{part: len(index) for part, index in parts.items()},
    }
    _show_counts(found, _comparable(published, config.semantics))
    _show_range("semantics", f"{config.semantics} {list(semantics.shape)}", semantics)
    tuning = _published_tuning(path)
    if tuning is not None:
        _show_leaks(parts, tuning)
    chosen = np.linspace(0, len(names) - 1, _SHOWN).round().astype(int)
    _say()
    _say("some classes and their highest attributes:")
    _show_highest([(names[i], "") for i in chosen], semantics[chosen], config.semantics)
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


def _published_tuning(path: Path) -> _Tuning | None:
    from zsl_lab.data.datasets.xian import read_split

    fields = read_split(path)
    if "train_loc" not in fields or "val_loc" not in fields:
        return None
    own = read_mat(path, [], ["val_loc"])
    train, val = (fields[field].ravel().astype(np.int64) - 1 for field in ("train_loc", "val_loc"))
    place = "train_loc and val_loc" + ("" if own else f" (of {SENTENCES}: {path.name} has none)")
    return _Tuning(train, val, place)


def _versions(name: str, paths: Sequence[Path]) -> dict[Path, str]:
    """What the hashes of files of a public benchmark say."""
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


def _show_benchmark(benchmark: Benchmark, published: Mapping[str, int], kind: str = "") -> None:
    from zsl_lab.data.benchmark import FeatureBenchmark, ImageBenchmark

    found: dict[str, int | None] = {
        "samples": benchmark.num_samples,
        "classes": benchmark.num_classes,
        "seen": len(benchmark.seen_classes),
        "unseen": len(benchmark.unseen_classes),
    }
    if isinstance(benchmark, FeatureBenchmark):
        found["semantic_dim"] = benchmark.semantics.shape[1]
    for part in ("trainval", "test_seen", "test_unseen"):
        found[part] = len(getattr(benchmark, part))
    _show_counts(found, _comparable(published, kind))
    sizes = np.bincount(benchmark.labels, minlength=benchmark.num_classes)
    least, most = int(sizes.argmin()), int(sizes.argmax())
    names = benchmark.class_names
    if sizes[least] == sizes[most]:
        _say(f"samples per class: {sizes[least]} each")
    else:
        _say(
            f"samples per class: {sizes[least]} ({names[least]}) to {sizes[most]} ({names[most]}), "
            f"median {np.median(sizes):g}"
        )
    if isinstance(benchmark, FeatureBenchmark):
        _show_range("features", str(list(benchmark.features.shape)), benchmark.features)
        _show_range(
            "semantics", f"{kind} {list(benchmark.semantics.shape)}".strip(), benchmark.semantics
        )
    elif isinstance(benchmark, ImageBenchmark):
        words = [len(text.split()) for text in benchmark.descriptions]
        _say(f"images: {list(benchmark.images.shape)}, every one of them could be decoded")
        _say(f"descriptions: {min(words)} to {max(words)} words, median {np.median(words):g}")


def _comparable(published: Mapping[str, int], kind: str) -> dict[str, int]:
    """Published numbers, without the dimension of other semantics than these."""
    own = kind in ("att", "original_att")
    return {name: count for name, count in published.items() if own or name != "semantic_dim"}


def _show_range(what: str, shape: str, table: npt.NDArray[Any]) -> None:
    """Range, mean, share of zeros, in blocks of rows: a large benchmark is not copied."""
    low, high, total, zeros, bad = np.inf, -np.inf, 0.0, 0, 0
    block = max(1, 2**22 // table.shape[1])
    for start in range(0, len(table), block):
        part = table[start : start + block]
        low, high = min(low, float(part.min())), max(high, float(part.max()))
        total += float(part.sum(dtype=np.float64))
        zeros += int((part == 0).sum())
        bad += int((~np.isfinite(part)).sum())
    finite = "all finite" if bad == 0 else f"{bad:,} NOT finite"
    _say(
        f"{what}: {shape}, from {low:.4g} to {high:.4g}, mean {total / table.size:.4g}, "
        f"{100 * zeros / table.size:.1f}% zeros, {finite}"
    )


def _show_tuning(benchmark: Benchmark, tuning: _Tuning | None) -> None:
    if tuning is not None:
        _show_leaks(
            {part: getattr(benchmark, part) for part in ("trainval", "test_seen", "test_unseen")},
            tuning,
        )
    validation = benchmark.validation_classes
    if validation is None:
        _say(
            "validation classes: none published; a run draws them from the seen classes "
            "(selection.validation_seed)"
        )
    else:
        _say(
            f"validation classes: {len(validation)} of the {len(benchmark.seen_classes)} seen "
            "ones, as published"
        )


def _show_leaks(parts: Mapping[str, IntArray], tuning: _Tuning) -> None:
    union = np.union1d(tuning.train, tuning.val)
    counts = {
        part: (len(np.intersect1d(index, union)), len(index)) for part, index in parts.items()
    }
    (seen, all_seen), (unseen, all_unseen) = counts["test_seen"], counts["test_unseen"]
    found = f"{seen:,} of the {all_seen:,} images of test_seen and {unseen:,} of the {all_unseen:,} of test_unseen"
    _say(f"leak check: {tuning.place} hold {found}.")
    if seen or unseen:
        _say(
            "  Used as published they would leak test images into tuning; zsl_lab takes of them "
            "what is in trainval, and no test image."
        )
    outside = len(union) - sum(count for count, _ in counts.values())
    lost = counts["trainval"][1] - counts["trainval"][0]
    if outside or lost:
        _say(
            f"  {lost:,} images of trainval are in neither, and {outside:,} images of theirs in no "
            "part of the split."
        )


def _show_classes(benchmark: Benchmark, kind: str = "") -> None:
    """Some seen and some unseen classes, with what is highest in their semantics."""
    from zsl_lab.data.benchmark import FeatureBenchmark, ImageBenchmark

    seen, unseen = benchmark.seen_classes, benchmark.unseen_classes
    chosen = [
        int(ids[i])
        for ids, n in ((seen, 3), (unseen, 2))
        for i in np.unique(np.linspace(0, len(ids) - 1, n).round().astype(int))
    ]
    shown = [(benchmark.class_names[i], "seen" if i in seen else "unseen") for i in chosen]
    _say()
    if isinstance(benchmark, FeatureBenchmark):
        _say("some classes and their highest attributes:")
        _show_highest(shown, benchmark.semantics[chosen], kind, benchmark.recipe.attributes)
    elif isinstance(benchmark, ImageBenchmark):
        _say("some classes:")
        for (name, part), i in zip(shown, chosen, strict=True):
            text = benchmark.descriptions[i]
            _say(f"  {name} ({part}): {text[:100]}{'...' if len(text) > 100 else ''}")


def _show_highest(
    classes: Sequence[tuple[str, str]],
    semantics: npt.NDArray[Any],
    kind: str,
    attributes: Sequence[str] = (),
) -> None:
    width = max(len(name) for name, _ in classes)
    for (name, part), row in zip(classes, semantics, strict=True):
        # of standardised semantics, zero is the average
        highest = [i for i in np.argsort(-row, kind="stable")[:_HIGHEST] if row[i] > 0]
        values = "  ".join(
            f"{attributes[i] if attributes else f'{kind}[{i}]'} {row[i]:.3g}" for i in highest
        )
        _say(f"  {name:{width}}  {f'{part:7}' if part else ''}{values or 'none above 0'}")


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
    """Print to standard output; a path survives copying, however narrow the terminal."""
    console().print(text, soft_wrap=True)
