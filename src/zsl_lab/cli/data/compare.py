"""``python -m zsl_lab.data compare``: compares the features in two files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from zsl_lab.console.messages import console
from zsl_lab.console.parsers import Parser
from zsl_lab.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from zsl_lab.data.benchmark import IntArray
    from zsl_lab.data.feature_comparison import Accuracies, Agreement

_PROG = "python -m zsl_lab.data compare"
_DESCRIPTION = """\
Compares two files of features of the same images: the cosine of each image's two vectors, and the
accuracy of a linear probe and of nearest neighbours on each. So features that you extracted can be
checked against published ones.

A, B  .mat (features, labels, as res101.mat; with att_splits.mat beside it, its split),
      .h5 (a benchmark of extract or convert), or .npy [images, dimensions], in the order of the
      other file
"""
_EPILOG = f"""\
examples:
  {_PROG} DIR/AWA2/res101.mat my_awa2.h5
  {_PROG} DIR/FLO/res101.mat features.npy
"""
_MORE = "Give two files of features of the same images."
_SEED, _TEST_SHARE = 0, 0.2


@dataclass(frozen=True, eq=False)
class _Features:
    """The content of a file.

    Attributes:
        path: The file.
        features: ``[N, D]``.
        labels: Class ids, ``[N]``; None for ``.npy``.
        files: Names of the images without folders; None if they are not known or not different.
        parts: Sample indices of ``trainval`` and ``test_seen``; None without a split.
    """

    path: Path
    features: npt.NDArray[np.floating[Any]]
    labels: IntArray | None = None
    files: tuple[str, ...] | None = None
    parts: tuple[IntArray, IntArray] | None = None


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = Parser(_PROG, _DESCRIPTION, _EPILOG)
    parser.add_argument("first", metavar="A")
    parser.add_argument("second", metavar="B")
    options = parser.parse(arguments)

    # SciPy and h5py take a while to import
    from zsl_lab.data import feature_comparison as comparison

    a, b = (_read(Path(name).expanduser()) for name in (options.first, options.second))
    b = _aligned(a, b)
    same_dim = a.features.shape[1] == b.features.shape[1]
    found = comparison.agreement(a.features, b.features) if same_dim else None
    split = _split(a, b)
    learnt: list[Accuracies | None] = [None, None]
    if split is not None:
        labels, train, test, _ = split
        learnt = [comparison.accuracies(f.features, labels, train, test) for f in (a, b)]
    _tell(a, b, found)
    if split is not None:
        _tell_accuracies(learnt, split)
    else:
        _say("no labels in either file: no accuracies")
    _say(comparison.verdict(found, *learnt))
    return 0


# --------------------------------------------------------------------------- reading


def _read(path: Path) -> _Features:
    from zsl_lab.data.files import benchmark_file as hdf5
    from zsl_lab.data.files import benchmark_mat
    from zsl_lab.data.public.sources import SPLITS

    if not path.is_file():
        raise DataError(f"{path}: no such file; expected a .mat, .h5 or .npy file. {_MORE}")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _checked(_of_npy(path))
    if suffix == ".mat" and not (path.parent / SPLITS).is_file():
        return _checked(_of_mat(path))
    if suffix == ".mat":
        content = benchmark_mat.read(path.parent, path.stem)
    elif hdf5.is_hdf5(path):
        content = hdf5.read(path)
    else:
        raise ConfigError(f"{path}: expected a file that ends in .mat, .h5 or .npy. {_MORE}")
    parts = content.trainval, content.test_seen
    return _checked(
        _Features(path, content.features, content.labels, _base_names(content.files), parts)
    )


def _of_npy(path: Path) -> _Features:
    from zsl_lab.files.npy import load_npy

    try:
        return _Features(path, load_npy(path))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({str(error).splitlines()[0]}). {_MORE}"
        ) from error


def _of_mat(path: Path) -> _Features:
    from zsl_lab.data.files import mat

    fields = mat.read_mat(path, ["features", "labels"], ["image_files"])
    names = fields.get("image_files")
    files = None if names is None else mat.texts(names, path, "image_files")
    labels = mat.integers(fields["labels"], path, "labels") - 1
    return _Features(
        path, mat.matrix(fields["features"], path, "features").T, labels, _base_names(files)
    )


def _base_names(files: tuple[str, ...] | None) -> tuple[str, ...] | None:
    names = tuple(PurePosixPath(name.replace("\\", "/")).name for name in files or ())
    return names if names and len(set(names)) == len(names) else None


def _checked(given: _Features) -> _Features:
    import numpy as np

    features = given.features
    if features.ndim != 2 or 0 in features.shape or features.dtype.kind not in "fiu":
        raise DataError(
            f"{given.path}: found {features.dtype} of shape {list(features.shape)}; expected "
            f"numbers [images, dimensions]. {_MORE}"
        )
    bad = np.flatnonzero(~np.isfinite(features).all(1))
    zero = np.flatnonzero(~features.any(1))
    for rows, what in ((bad, "numbers that are not finite"), (zero, "only zeros")):
        if len(rows):
            raise DataError(
                f"{given.path}: found {what} in row {rows[0]} (0-based); expected a vector of each "
                "image. Extract these images again."
            )
    if given.labels is not None and len(given.labels) != len(features):
        raise DataError(
            f"{given.path}: found {len(given.labels)} labels for {len(features)} images; expected "
            f"one for each. {_MORE}"
        )
    return given


# --------------------------------------------------------------------------- the same images


def _aligned(a: _Features, b: _Features) -> _Features:
    """The second file with its images in the order of the first.

    Raises:
        DataError: If they are not the same images.
    """
    import numpy as np

    if len(a.features) != len(b.features):
        raise DataError(
            f"{b.path}: found {len(b.features)} images; expected the {len(a.features)} of "
            f"{a.path}. {_MORE}"
        )
    if a.files and b.files:
        missing = sorted(set(a.files) - set(b.files))
        if missing:
            raise DataError(
                f"{b.path}: found no image called {missing[0]} ({len(missing)} of {len(a.files)} "
                f"are missing); expected the images of {a.path}. {_MORE}"
            )
        place = {name: row for row, name in enumerate(b.files)}
        order = np.array([place[name] for name in a.files])
        labels = None if b.labels is None else b.labels[order]
        row_of = np.argsort(order)
        parts = None if b.parts is None else (row_of[b.parts[0]], row_of[b.parts[1]])
        b = replace(b, features=b.features[order], labels=labels, files=a.files, parts=parts)
    if a.labels is not None and b.labels is not None:
        _check_labels(a, b)
    return b


def _check_labels(a: _Features, b: _Features) -> None:
    """Check that both files group the images into the same classes, up to the classes' ids."""
    import numpy as np

    assert a.labels is not None
    assert b.labels is not None
    pairs = np.unique(np.stack([a.labels, b.labels]), axis=1)
    for (one, other), classes in (((a, b), pairs[0]), ((b, a), pairs[1])):
        found, partners = np.unique(classes, return_counts=True)
        if (partners > 1).any():
            raise DataError(
                f"{other.path}: found {partners.max()} classes for the images of class "
                f"{found[partners.argmax()] + 1} (1-based) of {one.path}; expected the same images "
                f"in the same order. {_MORE}"
            )


def _split(a: _Features, b: _Features) -> tuple[IntArray, IntArray, IntArray, str] | None:
    """Labels, training and test samples, and a description of the split; None without labels."""
    import numpy as np

    from zsl_lab.data.splits import hold_out

    labels = a.labels if a.labels is not None else b.labels
    if labels is None:
        return None
    for given in (a, b):
        if given.parts is not None and len(given.parts[1]):
            return labels, *given.parts, f"trainval and test_seen of {given.path.name}"
    rng = np.random.default_rng(_SEED)
    train, test = hold_out(np.arange(len(labels)), labels, _TEST_SHARE, rng)
    return labels, train, test, "a fifth of each class held out, as neither file has test_seen"


# --------------------------------------------------------------------------- the answer


def _tell(a: _Features, b: _Features, found: Agreement | None) -> None:
    for letter, given in (("A", a), ("B", b)):
        images, dim = given.features.shape
        _say(f"{letter}  {given.path}: {images:,} images, {dim} dimensions")
    if found is None:
        _say("cosine of the two vectors of an image: none, the dimensions differ")
        return
    _say(
        f"cosine of the two vectors of an image: min {found.least:.4f}, median {found.median:.4f}, "
        f"{100 * found.equal:.1f} % above 0.99"
    )


def _tell_accuracies(
    learnt: Sequence[Accuracies | None], split: tuple[IntArray, IntArray, IntArray, str]
) -> None:
    _, train, test, what = split
    _say(f"mean per-class top-1, %: {len(train):,} images train, {len(test):,} test ({what})")
    _say(f"  {'':18} {'A':>6} {'B':>6}")
    for name in ("linear_probe", "nearest_neighbour"):
        a, b = (getattr(found, name) for found in learnt)
        _say(f"  {name.replace('_', ' '):18} {a:6.1f} {b:6.1f}")


def _say(line: str) -> None:
    console().print(line, soft_wrap=True)
