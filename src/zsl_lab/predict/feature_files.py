"""Feature vectors from files: NumPy (``.npy``), HDF5 (``.h5``), MATLAB (``.mat``) and CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from zsl_lab.data.benchmark import FloatArray
from zsl_lab.data.files.benchmark_file import is_hdf5
from zsl_lab.data.files.mat import read_mat
from zsl_lab.data.recipe import ImageRecipe, Recipe
from zsl_lab.errors import DataError
from zsl_lab.files.hdf5 import check_dataset, names_in, open_hdf5
from zsl_lab.files.npy import load_npy
from zsl_lab.predict.feature_table import read_feature_table

_FIELD = "features"
EXAMPLES = "features=FILE (.npy, .h5, .mat or .csv)"
_NPY_START, _ZIP_START, _PICKLE_START = b"\x93NUMPY", b"PK\x03\x04", b"\x80"
_ARCHIVE = (
    "found an archive of arrays; expected a single one. Save that as .npy, np.save('FILE.npy', "
    "np.load('FILE.npz')['NAME']), or give another file."
)


@dataclass(frozen=True)
class FeatureFile:
    """The content of a file of features.

    Attributes:
        rows: Feature vectors ``[N, D]``: an array, or an open dataset that is read when sliced.
        recipe: How they were made of images; None where the file does not say.
        names: The samples' names; None where the file has none.
    """

    rows: Any
    recipe: ImageRecipe | None = None
    names: tuple[str, ...] | None = None


@contextmanager
def open_features(
    path: Path, feature_dim: int, folder: Path | None = None
) -> Iterator[FeatureFile]:
    """Open the feature vectors ``[N, D]`` of a file; rows are read when they are sliced.

    Args:
        path: A ``.npy`` file of an array ``[N, D]``, an HDF5 file whose dataset ``features`` is
            that array, a ``.mat`` file whose field ``features`` is ``[D, N]``, or a ``.csv`` file
            with a row a sample (see :func:`zsl_lab.predict.feature_table.read_feature_table`).
        feature_dim: D.
        folder: Where a temporary file is written for a large table; None for the system's
            temporary folder.

    Raises:
        DataError: The file is missing, damaged or of another kind.
        OutputError: The temporary file cannot be written.
    """
    origin = f"features={path}"
    if path.is_dir():
        raise DataError(
            f"{origin}: this is a folder; expected a file. Give one: {EXAMPLES}, or images=DIR, a "
            "folder of images."
        )
    if is_hdf5(path):
        with _opened(path, origin) as file:
            found = FeatureFile(_dataset(file, origin), _recipe(file))
            try:
                yield found
            except OSError as error:  # while a slice is read
                raise DataError(
                    f"{origin}: its rows cannot be read ({error}): the file is damaged. Give "
                    "another, or .npy."
                ) from error
    elif path.suffix.lower() == ".mat":
        yield FeatureFile(_from_matlab(path, origin, feature_dim))
    elif path.suffix.lower() == ".npy":
        yield FeatureFile(_from_numpy(path, origin))
    elif path.suffix.lower() in (".csv", ".tsv", ".txt"):
        rows, names = read_feature_table(path, origin, feature_dim, folder)
        yield FeatureFile(rows, names=names)
    elif path.suffix.lower() == ".npz":
        raise DataError(f"{origin}: {_ARCHIVE}")
    else:
        ending = f"a file that ends in {path.suffix}" if path.suffix else "a file without an ending"
        raise DataError(
            f"{origin}: found {ending}; expected .npy, .h5, .mat or .csv. Rename it, or save it as "
            "one of these."
        )


def _from_numpy(path: Path, origin: str) -> FloatArray:
    def read(mode: Any) -> Any:
        return load_npy(path, mode)

    ways_out = "Save it with np.save(FILE, features), or give another."
    objects = "Python objects, which were not unpickled"
    try:
        with path.open("rb") as file:
            start = file.read(len(_NPY_START))
        if start.startswith(_ZIP_START):
            raise DataError(f"{origin}: {_ARCHIVE}")
        if start and start != _NPY_START:  # NumPy would read anything else as a pickle
            what = (
                objects
                if start.startswith(_PICKLE_START)
                else f"a file of another kind (it starts with {start!r})"
            )
            raise DataError(
                f"{origin}: found {what}; expected an array of numbers, as NumPy saves it. "
                f"{ways_out}"
            )
        try:
            found: FloatArray = read("r")
        except ValueError:  # an empty array cannot be mapped into memory
            found = read(None)
    except DataError as error:
        raise DataError(f"features={str(error).removeprefix('features=')}") from error
    except OSError as error:
        raise DataError(
            f"{origin}: cannot be read ({error.strerror or error}); expected a file of numbers. "
            f"{ways_out}"
        ) from error
    except ValueError as error:
        # NumPy's own message would say how to unpickle the file
        reason = "" if "pickle" in str(error) else f" ({error})"
        what = objects if "Object arrays" in str(error) else f"a damaged file{reason}"
        raise DataError(
            f"{origin}: found {what}; expected an array of numbers. {ways_out}"
        ) from error
    return found


@contextmanager
def _opened(path: Path, origin: str) -> Iterator[h5py.File]:
    ways_out = f"expected an HDF5 file with the dataset {_FIELD}. Repair it, or give another."
    if not path.is_file():
        raise DataError(f"{origin}: there is no such file; {ways_out}")
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_hdf5(path))
        except DataError as error:
            raise DataError(f"features={error}") from error
        except Exception as error:  # damaged bytes surface as almost any exception
            raise DataError(
                f"{origin}: cannot be read ({str(error).splitlines()[0]}); {ways_out}"
            ) from error
        yield file


def _dataset(file: h5py.File, origin: str) -> Any:
    found = file[_FIELD] if isinstance(file.get(_FIELD, getlink=True), h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset):
        raise DataError(
            f"{origin}: found {names_in(file)}; expected a dataset called {_FIELD}, and no "
            "link. Rename it, or give another file."
        )
    check_dataset(found, origin, itemsize=0)  # rows are read when they are sliced
    return found


def _recipe(file: h5py.File) -> ImageRecipe | None:
    """The recipe of a benchmark file's features; None where it has none that can be read."""
    try:
        plain = json.loads(file["recipe"][()])
        return Recipe.from_plain(plain, "recipe").images
    except (KeyError, TypeError, ValueError, AttributeError, OSError, DataError):
        return None


def _from_matlab(path: Path, origin: str, feature_dim: int) -> Any:
    try:
        found = read_mat(path, [_FIELD])[_FIELD]
    except DataError as error:
        raise DataError(
            f"features={error} Repair the file, or give another: features=FILE."
        ) from error
    if found.ndim == 2 and found.shape[0] != feature_dim:
        hint = (
            f" Its columns would fit: transpose it ({_FIELD}'),"
            if found.shape[1] == feature_dim
            else " Give such a file,"
        )
        raise DataError(
            f"{origin}: field '{_FIELD}': found shape {list(found.shape)}; expected "
            f"[{feature_dim}, samples], a column for each sample, as the benchmarks' files have it."
            f"{hint} or give .npy, [samples, {feature_dim}]."
        )
    return found.T
