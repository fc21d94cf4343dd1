"""Classes of one's own: a trained N3 makes a network for them from their texts, and sorts a folder of images with it."""

from __future__ import annotations

import csv
import io
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from zsl_lab import checkpoints
from zsl_lab.config import RunConfig, parse
from zsl_lab.data.benchmark import ImageArray
from zsl_lab.data.datamodule import ClassSpace
from zsl_lab.data.dataset import ImageView
from zsl_lab.data.image_files import decode
from zsl_lab.data.image_folder import find_pictures, read_descriptions
from zsl_lab.data.image_module import EVALUATION_BATCH, crop
from zsl_lab.errors import CheckpointError, ConfigError, DataError, OutputError
from zsl_lab.files import atomic_write
from zsl_lab.hardware import TrainerConfig
from zsl_lab.methods.n3 import N3
from zsl_lab.methods.n3.base_network import build_base_network
from zsl_lab.methods.n3.generator import Adaptation
from zsl_lab.text import encode

PREDICTIONS_FILE = "predictions.csv"
NETWORK_FILE = "network.pth"

_OWN_COLUMNS = ("file", "predicted", "probability")
_MISSING = {
    "ckpt": "task=predict needs a trained N3: ckpt=RUN, a run's folder, or ckpt=RUN/checkpoints/best.ckpt.",
    "descriptions": 'task=predict needs the classes: descriptions=my_classes.json, with {"name": "text", ...} in the file.',
    "images": "task=predict needs a folder of images: images=my_images/.",
}
#: so many broken images are named, so many classes printed
_SHOWN_IMAGES = 3
_SHOWN_CLASSES = 20


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was made for the classes, and what it says of the images.

    Attributes:
        classes: The k classes' names, in the order of the file that describes them.
        files: The N images, relative to their folder.
        probabilities: ``[N, k]``; a row adds up to 1.
        base: The network that was adapted (``method.base.name``), and what of it the classifier reads if that is not its end.
        table: The file of predictions.
        network: The file of the adapted network's state dict.
    """

    classes: tuple[str, ...]
    files: tuple[str, ...]
    probabilities: Tensor
    base: str
    table: Path
    network: Path

    @property
    def predicted(self) -> list[str]:
        """The likeliest class of each image."""
        return [self.classes[position] for position in self.probabilities.argmax(1).tolist()]


def predict(cfg: DictConfig) -> Prediction:
    """Classify a folder of images among classes that nobody need have trained on.

    Writes ``predictions.csv`` (file, predicted class, its probability, then the probability of each class) and
    ``network.pth``, the adapted network (see :meth:`N3.export`): both, or nothing.

    Args:
        cfg: The configuration that the checkpoint was trained with, and ``ckpt``, ``descriptions``, ``images``;
            ``paths.run_dir`` is the folder that is written to.

    Raises:
        ZslLabError: Anything that the user can mend, as a sentence.
    """
    config = parse(cfg)
    if config.ckpt and not issubclass(config.method_class, N3):
        raise ConfigError(
            f"ckpt={config.ckpt}: this is a checkpoint of method={config.method.name}. task=predict so far works for methods that take "
            "images (method=n3): give a checkpoint of such a run."
        )
    missing = [sentence for key, sentence in _MISSING.items() if getattr(config, key) is None]
    if missing:
        raise ConfigError("\n".join(missing))
    assert config.ckpt
    assert config.descriptions
    assert config.images
    path = checkpoints.reported(config.ckpt)
    checkpoint = checkpoints.read(path, "ckpt")
    checkpoints.check_reported(checkpoint, path)
    view = config.dataset.image_view()
    names, texts = _read_classes(config.descriptions, view.description_format)
    files = _find_images(config.images)
    method = _made_for(names, texts, config, view.channels, checkpoint, path).to(_device(config.trainer)).eval()
    with torch.no_grad():
        adaptation = method.adapt(torch.arange(len(names), device=method.device))
        probabilities = _probabilities(method, adaptation, files, view)
    folder = Path(config.paths.run_dir)
    relative = tuple(file.relative_to(config.images).as_posix() for file in files)
    prediction = Prediction(names, relative, probabilities, method.base.description, folder / PREDICTIONS_FILE, folder / NETWORK_FILE)
    _write(prediction, method.export(adaptation))
    return prediction


def print_prediction(prediction: Prediction) -> None:
    """Print how many images each class got, and where the rest stands."""
    # names and paths are printed as they are: "[" begins no markup
    console = Console(highlight=False, markup=False, emoji=False)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("predicted")
    table.add_column("images", justify="right")
    table.add_column("mean probability", justify="right")
    predicted = prediction.predicted
    highest = prediction.probabilities.amax(1).tolist()
    counts = Counter(predicted).most_common()
    for name, count in counts[:_SHOWN_CLASSES]:
        mean = sum(value for value, of in zip(highest, predicted, strict=True) if of == name) / count
        table.add_row(name, str(count), f"{mean:.2f}")
    console.print()
    images = len(prediction.files)
    found = f"{len(counts)} of {len(prediction.classes)} classes predicted"
    console.print(f"{images} image{'s' if images > 1 else ''}, {found}", style="bold")
    console.print()
    console.print(table)
    if len(counts) > _SHOWN_CLASSES:
        console.print(f"and {len(counts) - _SHOWN_CLASSES} more classes", style="dim")
    console.print()
    console.print(f"predictions: {prediction.table}", soft_wrap=True)
    console.print(f"network:     {prediction.network} (state dict of {prediction.base})", soft_wrap=True)


# ------------------------------------------------------------------------------------------------ what is given


def _read_classes(path: Path, description_format: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and texts of the classes."""
    try:
        names, texts = read_descriptions(path, description_format)
        if len(names) < 2:
            raise DataError(f"{path}: found {len(names)} class; expected at least 2, to tell them apart.")
        reserved = [name for name in names if name in _OWN_COLUMNS]
        if reserved:
            raise DataError(f"{path}: field 'name': found '{reserved[0]}', which is a column of {PREDICTIONS_FILE}; expected another name.")
    except DataError as error:
        raise DataError(f"descriptions={error} Mend the file, or give another: descriptions=FILE.") from error
    return names, texts


def _find_images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        what = "this is a file" if folder.exists() else "there is no such folder"
        raise DataError(f"images={folder}: {what}; expected a folder of images. Give one: images=FOLDER.")
    files = find_pictures(folder)
    if not files:
        raise DataError(
            f"images={folder}: found no image in this folder or those in it; expected files such as .jpg or .png. "
            "Put some there, or give another folder: images=FOLDER."
        )
    return files


def _device(trainer: TrainerConfig) -> torch.device:
    if trainer.accelerator != "cpu" and torch.cuda.is_available():
        return torch.device("cuda")
    if trainer.accelerator == "gpu":
        warnings.warn("trainer.accelerator=gpu: PyTorch finds no GPU on this machine; images are classified on the CPU.", stacklevel=3)
    return torch.device("cpu")


def _made_for(
    names: tuple[str, ...], texts: tuple[str, ...], config: RunConfig, channels: int, checkpoint: dict[str, Any], path: Path
) -> N3:
    """A trained N3 that knows of no classes but these."""
    settings = config.method
    assert isinstance(settings, N3.config_class)
    # only tf-idf looks at the seen classes' texts
    seen_texts = checkpoint["method_state"]["extra"].get("seen_texts", ())
    states = encode(settings.text, texts, config.paths.cache_folder, fit_on=seen_texts)
    ids = np.arange(len(names))
    # nothing is evaluated here; the figures of an evaluation want a seen class and an unseen one, whichever
    classes = ClassSpace(ids, np.zeros((len(ids), 0), dtype=np.float32), ids == 0, names, texts)
    method = N3(settings, build_base_network(settings.base, channels, load=False), states, classes)
    method.base_classifier = None  # told the training classes apart
    state = {name: tensor for name, tensor in checkpoint["state_dict"].items() if not name.startswith("base_classifier.")}
    try:
        method.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"ckpt={path}: its weights do not fit the configuration ({str(error).splitlines()[1].strip()}). "
            "Give the configuration that it was trained with, as the command does by itself, or train anew."
        ) from error
    return method


# ------------------------------------------------------------------------------------------------ what is found


def _probabilities(method: N3, adaptation: Adaptation, files: Sequence[Path], view: ImageView) -> Tensor:
    """Probabilities ``[N, k]`` that the adapted network gives.

    Raises:
        DataError: If a file is no picture or is damaged; all of them are looked at.
    """
    found: list[Tensor] = []
    broken: list[DataError] = []
    middle = (view.resize - view.image_size) // 2
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), EVALUATION_BATCH):
            results = list(pool.map(partial(_attempt, view), files[start : start + EVALUATION_BATCH]))
            pictures = [result for result in results if not isinstance(result, DataError)]
            broken += [result for result in results if isinstance(result, DataError)]
            if broken:  # nothing will come of it, but all of them are named
                continue
            count = len(pictures)
            squares = crop(np.stack(pictures), np.arange(count), np.full((count, 2), middle), np.zeros(count, bool), view.image_size)
            found.append(method.logits(squares.to(method.device), adaptation).softmax(1).cpu())
    if broken:
        more = f"\n{len(broken) - _SHOWN_IMAGES} more cannot be read." if len(broken) > _SHOWN_IMAGES else ""
        raise DataError(
            "\n".join(str(problem) for problem in broken[:_SHOWN_IMAGES])
            + f"{more}\n{len(broken)} of {len(files)} images: mend them, or take them out of the folder. Nothing was written."
        )
    return torch.cat(found)


def _attempt(view: ImageView, file: Path) -> ImageArray | DataError:
    try:
        picture = decode(file, view.resize)
    except DataError as error:
        return error
    if view.channels == 3:
        return picture
    from PIL import Image

    return np.asarray(Image.fromarray(picture).convert("L"))[:, :, None]


def _write(prediction: Prediction, state: dict[str, Tensor]) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*_OWN_COLUMNS, *prediction.classes])
    for file, name, row in zip(prediction.files, prediction.predicted, prediction.probabilities.tolist(), strict=True):
        writer.writerow([file, name, *(f"{probability:.6g}" for probability in (max(row), *row))])
    network = io.BytesIO()
    torch.save(state, network)
    # a file's name may hold bytes that are no text
    atomic_write(prediction.table, table.getvalue().encode(errors="backslashreplace"))
    try:
        atomic_write(prediction.network, network.getvalue())
    except OutputError:
        prediction.table.unlink()
        raise
