"""``task=predict``: classes for samples of one's own, by a checkpoint alone, among its classes or others that are given only now."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
import torch
from omegaconf import DictConfig
from rich import box
from rich.table import Table

from zsl_lab.console.messages import console
from zsl_lab.data.batches.features import ClassSpace
from zsl_lab.data.benchmark import FloatArray
from zsl_lab.data.files.benchmark_file import is_hdf5
from zsl_lab.data.files.descriptions import read_descriptions
from zsl_lab.data.files.images import find_pictures
from zsl_lab.data.files.mat import read_mat
from zsl_lab.errors import ConfigError, DataError
from zsl_lab.files.atomic import atomic_write_all
from zsl_lab.methods.base import ExportedNetwork
from zsl_lab.predict.inference import (
    FeaturePredictor,
    ImagePredictor,
    Predictions,
    Predictor,
    restore,
)
from zsl_lab.result import RESULT_FILE
from zsl_lab.run.config import RunConfig, parse

PREDICTIONS_FILE = "predictions.csv"
SUMMARY_FILE = "predictions.json"
NETWORK_FILE = "network.pth"

_FIELD = "features"
_EXAMPLES = "features=FILE (.npy, .h5 or .mat)"
_NPY_START, _ZIP_START, _PICKLE_START = b"\x93NUMPY", b"PK\x03\x04", b"\x80"
_ARCHIVE = (
    "found an archive of arrays; expected a single one. Save that as .npy, np.save('FILE.npy', "
    "np.load('FILE.npz')['NAME']), or give another file."
)
_RESERVED = ("file", "sample", "predicted", "score", "probability")
#: so many classes of a sample stand in the summary
_BEST = 5
#: so many classes are printed
_SHOWN_CLASSES = 20
#: rows made into text at once
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was predicted, and where it stands.

    Attributes:
        predictions: Classes and scores.
        files: The N images, relative to their folder; None where the samples are feature vectors.
        method: The name of the method.
        dataset: What it was trained on.
        checkpoint: Its file.
        score: What a score is called: ``score`` or ``probability``.
        table: The file of predictions.
        summary: The file of each sample's best classes.
        network: The file of the adapted network's state dict, where there is one.
        base: The network that was adapted (``method.base.name``), and what of it the classifier
            reads if that is not its end.
    """

    predictions: Predictions
    files: tuple[str, ...] | None
    method: str
    dataset: str
    checkpoint: Path
    score: str
    table: Path
    summary: Path
    network: Path | None = None
    base: str | None = None


def predict(cfg: DictConfig) -> Prediction:
    """Classify samples among the classes of a checkpoint, or classes that nobody need have trained on.

    Writes ``predictions.csv`` (file or sample, predicted class, its score, then the score of each
    class) and ``predictions.json`` (the classes, and each sample's best), and
    ``network.pth`` where the method makes a network for the classes: all, or nothing.

    Args:
        cfg: The configuration that the checkpoint was trained with, ``ckpt`` and the keys of
            task=predict; ``paths.run_dir`` is the folder that is written to.

    Raises:
        ZslLabError: Anything that the user can mend, as a sentence.
    """
    config = parse(cfg)
    _check_keys(config)
    files = _find_images(config.images) if config.images else None
    predictor = restore(config)
    given = _new_classes(config, predictor)
    candidates = predictor.candidates_with(given, config.among)
    if isinstance(predictor, FeaturePredictor):
        with _features(config, files, predictor) as (rows, origin):
            predictions = predictor.scored(predictor.checked(rows, origin), candidates, origin)
    else:
        assert isinstance(predictor, ImagePredictor)
        predictions = predictor.scored(files, candidates)
    exported = predictor.network.export()
    folder = Path(config.paths.run_dir)
    prediction = Prediction(
        predictions,
        tuple(file.relative_to(config.images).as_posix() for file in files)
        if files and config.images
        else None,
        predictor.method,
        predictor.dataset,
        predictor.checkpoint,
        predictor.score,
        folder / PREDICTIONS_FILE,
        folder / SUMMARY_FILE,
        folder / NETWORK_FILE if exported else None,
        exported.description if exported else None,
    )
    contents: dict[Path, Any] = {
        prediction.table: lambda file: _write_table(prediction, file),
        prediction.summary: lambda file: _write_summary(prediction, file),
    }
    if exported and prediction.network:
        contents[prediction.network] = _bytes_of(exported)
    atomic_write_all(contents)
    return prediction


def print_prediction(prediction: Prediction) -> None:
    """Print how many samples each class got, and where the rest stands."""
    predictions, of_images = prediction.predictions, prediction.files is not None
    kinds = dict(zip(predictions.names, predictions.kinds, strict=True))
    probable = prediction.score == "probability"
    out = console()
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("predicted")
    table.add_column("class")
    table.add_column("images" if of_images else "samples", justify="right")
    if probable:  # the mean of other scores says nothing
        table.add_column("mean probability", justify="right")
    predicted = predictions.predicted
    highest = predictions.scores.max(1).tolist()
    counts = Counter(predicted).most_common()
    for name, count in counts[:_SHOWN_CLASSES]:
        mean = (
            sum(value for value, of in zip(highest, predicted, strict=True) if of == name) / count
        )
        table.add_row(name, kinds[name], str(count), *([f"{mean:.2f}"] if probable else []))
    out.print()
    noun = "image" if of_images else "sample"
    out.print(
        f"{len(predicted)} {noun}{'s' if len(predicted) > 1 else ''}, {len(counts)} of "
        f"{len(predictions.names)} classes predicted",
        style="bold",
    )
    out.print()
    out.print(table)
    if len(counts) > _SHOWN_CLASSES:
        out.print(f"and {len(counts) - _SHOWN_CLASSES} more classes", style="dim")
    out.print()
    out.print(f"predictions: {prediction.table}", soft_wrap=True)
    out.print(f"best five:   {prediction.summary}", soft_wrap=True)
    if prediction.network:
        out.print(
            f"network:     {prediction.network} (state dict of {prediction.base})", soft_wrap=True
        )


# ------------------------------------------------------------------------------------------------
# what is given


def _check_keys(config: RunConfig) -> None:
    """Raise ConfigError where keys are missing, exclude each other or do not suit the method."""
    of_images, method = config.method_class.takes == "images", f"method={config.method.name}"
    problems = []
    if config.ckpt is None:
        problems.append(
            "task=predict needs a trained method: ckpt=RUN, a run's folder, or "
            "ckpt=RUN/checkpoints/best.ckpt."
        )
    if config.features is None and config.images is None:
        either = "" if config.ckpt and of_images else f"{_EXAMPLES}, or "
        problems.append(f"task=predict needs samples: {either}images=DIR, a folder of images.")
    if config.features is not None and config.images is not None:
        problems.append(
            f"features={config.features}, images={config.images}: found both; expected one of "
            "them. Leave one out."
        )
    elif config.ckpt and config.features is not None and of_images:
        problems.append(
            f"features={config.features}: {method} takes images. Give images=DIR, or a checkpoint "
            "of a method that takes features."
        )
    if config.weights is not None and (config.images is None or (config.ckpt and of_images)):
        problems.append(
            f"weights={config.weights}: the weights are those of the network that features are "
            "extracted from images with. Leave weights out, or give images=DIR and a checkpoint "
            "of a method that takes features."
        )
    if config.classes is not None and config.descriptions is not None:
        problems.append(
            f"classes={config.classes}, descriptions={config.descriptions}: found both; expected "
            "one of them. Leave one out."
        )
    folder = Path(config.paths.run_dir)
    if (folder / RESULT_FILE).exists() or (folder / "checkpoints").exists():
        problems.append(
            f"hydra.run.dir={folder}: this folder holds a run, whose {PREDICTIONS_FILE} would be "
            "written over. Give another."
        )
    if problems:
        raise ConfigError("\n".join(problems))


def _new_classes(config: RunConfig, predictor: Predictor) -> ClassSpace | None:
    """The classes that a file describes; None where there is none."""
    if config.descriptions is not None:
        origin, given = (
            f"descriptions={config.descriptions}",
            _of_descriptions(config.descriptions, predictor),
        )
    elif config.classes is not None:
        origin, given = f"classes={config.classes}", predictor.described(config.classes)
    else:
        return None
    reserved = [name for name in given.names if name in _RESERVED]
    if reserved:
        raise DataError(
            f"{origin}: field 'name': found '{reserved[0]}', which is a column of "
            f"{PREDICTIONS_FILE}; expected another name. "
            "Rename the class, or leave it out."
        )
    return given


def _of_descriptions(path: Path, predictor: Predictor) -> ClassSpace:
    """Classes of a file of texts, of which a class may have several parts (see ``dataset.description_format``)."""
    origin = f"descriptions={path}"
    try:
        if isinstance(predictor, ImagePredictor):
            return predictor.of_whole_texts(*read_descriptions(path, predictor.description_format))
        names, texts = read_descriptions(path, "{description}", named=True)
    except DataError as error:
        raise DataError(
            f"descriptions={error} Mend the file, or give another: descriptions=FILE."
        ) from error
    return predictor.of_texts(names, texts, origin)


def _find_images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        what = "this is a file" if folder.exists() else "there is no such folder"
        raise DataError(
            f"images={folder}: {what}; expected a folder of images. Give one: images=FOLDER."
        )
    files = find_pictures(folder)
    if not files:
        raise DataError(
            f"images={folder}: found no image in this folder or those in it; expected files such "
            "as .jpg or .png. Put some there, or give another folder: images=FOLDER."
        )
    return files


@contextmanager
def _features(
    config: RunConfig, files: list[Path] | None, predictor: FeaturePredictor
) -> Iterator[tuple[Any, str]]:
    """Feature vectors that can be sliced, and what messages call them."""
    if files is not None:
        yield predictor.extract(files, config.weights), f"images={config.images}"
        return
    assert config.features is not None
    path, origin = config.features, f"features={config.features}"
    if path.is_dir():
        raise DataError(
            f"{origin}: this is a folder; expected a file. Give one: {_EXAMPLES}, or images=DIR, a "
            "folder of images."
        )
    if is_hdf5(path):
        with _opened(path, origin) as file:
            found = _dataset(file, origin)
            try:
                yield found, origin
            except OSError as error:  # rows are read as they are needed
                raise DataError(
                    f"{origin}: its rows cannot be read ({error}): the file is damaged. Give "
                    "another, or .npy."
                ) from error
    elif path.suffix.lower() == ".mat":
        yield _of_matlab(path, origin, predictor), origin
    elif path.suffix.lower() == ".npy":
        yield _of_numpy(path, origin), origin
    elif path.suffix.lower() == ".npz":
        raise DataError(f"{origin}: {_ARCHIVE}")
    else:
        found = f"a file that ends in {path.suffix}" if path.suffix else "a file without an ending"
        raise DataError(
            f"{origin}: found {found}; expected .npy, .h5 or .mat. Rename it, or save it as one of "
            "these."
        )


def _of_numpy(path: Path, origin: str) -> FloatArray:
    def read(mode: Any) -> Any:
        return np.load(path, mmap_mode=mode, allow_pickle=False)

    ways_out = "Save it with np.save(FILE, features), or give another."
    objects = "Python objects, which were not unpickled"
    try:
        with path.open("rb") as file:
            start = file.read(len(_NPY_START))
        if start.startswith(_ZIP_START):
            raise DataError(f"{origin}: {_ARCHIVE}")
        if start and start != _NPY_START:  # NumPy takes all else for pickles
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
        except ValueError:  # an array without any number cannot be mapped
            found = read(None)
    except OSError as error:
        raise DataError(
            f"{origin}: cannot be read ({error.strerror or error}); expected a file of numbers. "
            f"{ways_out}"
        ) from error
    except (ValueError, EOFError, SyntaxError) as error:
        reason = (
            "" if "pickle" in str(error) else f" ({error})"
        )  # where NumPy says how to unpickle all the same
        what = objects if "Object arrays" in str(error) else f"a damaged file{reason}"
        raise DataError(
            f"{origin}: found {what}; expected an array of numbers. {ways_out}"
        ) from error
    return found


@contextmanager
def _opened(path: Path, origin: str) -> Iterator[h5py.File]:
    ways_out = f"expected an HDF5 file with the dataset {_FIELD}. Mend it, or give another."
    if not path.is_file():
        raise DataError(f"{origin}: there is no such file; {ways_out}")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise DataError(
            f"{origin}: cannot be read ({str(error).splitlines()[0]}); {ways_out}"
        ) from error
    with file:
        yield file


def _dataset(file: h5py.File, origin: str) -> Any:
    found = file[_FIELD] if isinstance(file.get(_FIELD, getlink=True), h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset):
        names = ", ".join(islice(file, 10)) or "nothing"
        raise DataError(
            f"{origin}: found {names}; expected a dataset called {_FIELD}, and no link. Rename it, "
            "or give another file."
        )
    if found.external or found.is_virtual:
        raise DataError(
            f"{origin}: found a dataset whose numbers lie in other files; expected them in this "
            "one. Copy it, or give .npy."
        )
    return found


def _of_matlab(path: Path, origin: str, predictor: FeaturePredictor) -> Any:
    try:
        found = read_mat(path, [_FIELD])[_FIELD]
    except DataError as error:
        raise DataError(
            f"features={error} Mend the file, or give another: features=FILE."
        ) from error
    if found.ndim == 2 and found.shape[0] != predictor.feature_dim:
        hint = (
            f" Its columns would fit: transpose it ({_FIELD}'),"
            if found.shape[1] == predictor.feature_dim
            else " Give such a file,"
        )
        raise DataError(
            f"{origin}: field '{_FIELD}': found shape {list(found.shape)}; expected "
            f"[{predictor.feature_dim}, samples], a column for each "
            f"sample, as the benchmarks' files have it.{hint} or give .npy, [samples, "
            f"{predictor.feature_dim}]."
        )
    return found.T


# ------------------------------------------------------------------------------------------------
# what is found


def _bytes_of(exported: ExportedNetwork) -> bytes:
    buffer = io.BytesIO()
    torch.save(dict(exported.state), buffer)
    return buffer.getvalue()


def _samples(prediction: Prediction) -> Iterable[str | int]:
    return (
        range(len(prediction.predictions.scores)) if prediction.files is None else prediction.files
    )


def _sample(prediction: Prediction) -> str:
    return "sample" if prediction.files is None else "file"


def _write_table(prediction: Prediction, file: IO[bytes]) -> None:
    predictions = prediction.predictions
    # a file's name may hold bytes that are no text
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_sample(prediction), "predicted", prediction.score, *predictions.names])
    for sample, name, row in zip(
        _samples(prediction), predictions.predicted, predictions.scores, strict=True
    ):
        values = row.tolist()
        writer.writerow([sample, name, *(f"{value:.6g}" for value in (max(values), *values))])
    text.flush()
    text.detach()


def _write_summary(prediction: Prediction, file: IO[bytes]) -> None:
    """JSON with a line for each class and each sample, so that it can be read by eye."""
    predictions, samples = prediction.predictions, iter(_samples(prediction))

    def write_lines(key: str, entries: Iterable[dict[str, Any]]) -> None:
        separator = f',\n "{key}": [\n  '
        for entry in entries:
            file.write((separator + json.dumps(entry)).encode())
            separator = ",\n  "
        file.write(b"\n ]")

    def of_samples() -> Iterator[dict[str, Any]]:
        for start in range(0, len(predictions.scores), _BLOCK):
            for best in predictions.top_of(slice(start, start + _BLOCK), _BEST):
                named = [
                    {"class": name, prediction.score: float(f"{score:.6g}")} for name, score in best
                ]
                yield {_sample(prediction): next(samples), "best": named}

    about = {
        "method": prediction.method,
        "dataset": prediction.dataset,
        "checkpoint": str(prediction.checkpoint.absolute()),
        "score": prediction.score,
    }
    file.write(json.dumps(about, indent=1).removesuffix("\n}").encode())
    write_lines(
        "classes",
        (
            {"name": name, "kind": kind}
            for name, kind in zip(predictions.names, predictions.kinds, strict=True)
        ),
    )
    write_lines("samples", of_samples())
    file.write(b"\n}\n")
