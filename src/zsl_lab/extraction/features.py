"""From pictures to feature vectors and from texts to semantics: what a benchmark of one's own, and new inputs, are made by.

Features computed so far can be kept in a folder: a file per block of pictures, each complete or
absent. Whoever asks for the same pictures by the same recipe again gets those and computes the
rest; the batches are the same, so are the bits.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import torch

from zsl_lab.data.benchmark import FloatArray, ImageArray
from zsl_lab.data.files.images import decode
from zsl_lab.data.recipe import ImageRecipe, TextRecipe
from zsl_lab.errors import CheckpointError, DataError, OutputError
from zsl_lab.extraction.backbones import ARCHITECTURES, IMAGENET, BaseNetwork, Terms, build_network
from zsl_lab.files.atomic import atomic_write
from zsl_lab.files.hashing import sha256_file
from zsl_lab.text import CONFIGURATION, TextConfig, encode
from zsl_lab.text import Terms as TextTerms

BATCH_SIZE = 64
#: so many pictures are kept at a time
BLOCK = 256
#: so many batches are decoded ahead of the network
_AHEAD = 2
#: part of what identifies kept features: raise it when the same recipe would give others
_FORMAT_VERSION = 1
_KEY_FILE = "key.json"


@dataclass(frozen=True)
class Problem:
    """A file that gave no features.

    Attributes:
        file: The file.
        reason: Why, as a sentence without the file's name.
    """

    file: Path
    reason: str


@dataclass(frozen=True, eq=False)
class Extracted:
    """Features of pictures.

    Attributes:
        features: Of the pictures that could be read, in their order, float32 ``[n, D]``.
        readable: Which of the N pictures these are, ``[N]``.
        problems: The others, in their order.
    """

    features: FloatArray
    readable: npt.NDArray[np.bool_]
    problems: tuple[Problem, ...]


def build_backbone(
    name: str, weights: str, resize: int, image_size: int, terms: Terms
) -> tuple[BaseNetwork, ImageRecipe]:
    """Make the network that a benchmark's features come from, and the recipe that says how it was done.

    Args:
        name: One of :data:`zsl_lab.extraction.backbones.ARCHITECTURES`.
        weights: ``imagenet``, or the file of a state dict, with the classifier or without.
        resize: Side of the square that a picture is scaled and cut to.
        image_size: Side of the square that the network sees, at most ``resize``.
        terms: For messages.

    Raises:
        ConfigError: torchvision is missing, or the weights cannot be downloaded.
        CheckpointError: The weights' file is missing, damaged or of another network.
    """
    network = build_network(name, weights, terms)
    assert network.weights_file is not None
    path = network.weights_file.absolute()
    recipe = ImageRecipe(
        backbone=name,
        # no place of this machine: the file is for others, too, and its hash says which weights
        # they are
        weights=weights if weights == IMAGENET else path.name,
        weights_sha256=sha256_file(path),
        resize=resize,
        image_size=image_size,
    )
    return network, recipe


def load_backbone(
    recipe: ImageRecipe, weights: str | None = None, key: str = "weights="
) -> BaseNetwork:
    """The network that a benchmark's features were made with, for new pictures.

    Args:
        recipe: Of the benchmark.
        weights: The file of its weights; None looks for one of the recipe's name in the working
            folder.
        key: What stands before this file where a user gives it, for messages.

    Raises:
        ConfigError: torchvision is missing, or the weights cannot be downloaded.
        CheckpointError: The file is missing, damaged, or holds other weights.
    """
    given = weights or recipe.weights
    what = f"the weights of {recipe.backbone} that the features were made with"
    if given != IMAGENET and not Path(given).expanduser().is_file():
        where = (
            "" if weights or Path(given).is_absolute() else f" in the working folder {Path.cwd()}"
        )
        raise CheckpointError(
            f"{given}: there is no such file{where}; expected {what}. Put it there, or say where "
            f"it is: {key}FILE."
        )
    if recipe.backbone not in ARCHITECTURES:
        raise CheckpointError(
            f"The features were made with the network {recipe.backbone}, which is not among "
            f"{', '.join(ARCHITECTURES)}. Make the features elsewhere, or train with those of one "
            "of these."
        )
    path = Path(given).expanduser()
    if given != IMAGENET:
        _check_weights(path, what, recipe, key)
    network = build_network(
        recipe.backbone, given, Terms("backbone ", key, (recipe.backbone,), "", "")
    )
    if given == IMAGENET:
        assert network.weights_file is not None
        _check_weights(network.weights_file, what, recipe, key)
    return network


def extract_features(
    files: Sequence[Path],
    network: BaseNetwork,
    recipe: ImageRecipe,
    batch_size: int = BATCH_SIZE,
    kept: Path | None = None,
    report: Callable[[int], object] = lambda _: None,
) -> Extracted:
    """The network's last features of pictures, averaged over each.

    A picture is made upright, its short side scaled to ``recipe.resize``, and the square of
    ``recipe.image_size`` cut from its centre.

    Args:
        files: N pictures.
        network: The network of ``recipe``, on the device that is to compute.
        recipe: How pictures are prepared.
        batch_size: So many go through the network at once.
        kept: A folder that :func:`prepare_kept` made ready for these files; None keeps nothing.
        report: Is told now and then how many pictures are done, those that were kept before first.

    Raises:
        DataError: Features are not finite.
        OutputError: ``kept`` cannot be written.
    """
    blocks = [files[start : start + BLOCK] for start in range(0, len(files), BLOCK)]
    found: dict[int, Extracted] = {}
    if kept is not None:
        for number, block in enumerate(blocks):
            before = _read_block(_block_file(kept, number), block, network.feature_dim)
            if before is not None:
                found[number] = before
    done = sum(len(before.readable) for before in found.values())
    report(done)
    network.eval()
    batches = [
        (number, blocks[number][start : start + batch_size])
        for number in range(len(blocks))
        if number not in found
        for start in range(0, len(blocks[number]), batch_size)
    ]
    parts: list[Extracted] = []
    for position, ((number, batch), decoded) in enumerate(
        zip(batches, _decoded([b for _, b in batches], recipe), strict=True)
    ):
        parts.append(_through(network, batch, decoded))
        done += len(batch)
        if position + 1 == len(batches) or batches[position + 1][0] != number:
            found[number] = _joined(parts, network.feature_dim)
            parts.clear()
            if kept is not None:
                atomic_write(_block_file(kept, number), partial(_write_block, found[number]))
        report(done)
    return _joined([found[number] for number in range(len(blocks))], network.feature_dim)


def prepare_kept(folder: Path, files: Sequence[Path], recipe: ImageRecipe) -> str:
    """Make a folder ready for keeping features; what it holds of other pictures or another recipe is removed.

    Args:
        folder: The folder; made where it is missing.
        files: The pictures, whose names, sizes and times of change count.
        recipe: The recipe.

    Returns:
        What the folder held: ``"nothing"``, ``"the same"``, or ``"other pictures"`` or ``"another
        recipe"``, which are gone.

    Raises:
        DataError: A picture has vanished.
        OutputError: The folder cannot be written, or holds something else.
    """
    key = {
        "format_version": _FORMAT_VERSION,
        "recipe": recipe.model_dump(),
        "files": _identity(files),
    }
    path = folder / _KEY_FILE
    state = "nothing"
    if path.is_file():
        try:
            before = json.loads(path.read_bytes())
        except (OSError, ValueError):
            before = None
        if before == key:
            return "the same"
        same_recipe = isinstance(before, dict) and before.get("recipe") == key["recipe"]
        state = "other pictures" if same_recipe else "another recipe"
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(
            f"{folder}: this is where features are kept until all are computed, and something else "
            "is there. Move it away, or choose another name for the output."
        )
    atomic_write(path, json.dumps(key, indent=1).encode())
    return state


def embed_texts(
    texts: Sequence[str],
    recipe: TextRecipe,
    cache_dir: Path | None = None,
    terms: TextTerms = CONFIGURATION,
) -> FloatArray:
    """The mean of each text's token states.

    Args:
        texts: C texts.
        recipe: The encoder.
        cache_dir: Where token states are kept; None keeps none.
        terms: For messages.

    Returns:
        float32 ``[C, Q]``.

    Raises:
        ConfigError: A package is not installed, the model cannot be loaded, or it takes fewer
            tokens.
        DataError: The encoder can make nothing of a text.
    """
    config = TextConfig.model_validate(
        {name: getattr(recipe, name) for name in ("encoder", "model", "max_tokens")}
    )
    tokens = encode(config, texts, cache_dir, recipe.fitted_on, terms)
    # what is padded is 0
    mean: FloatArray = tokens.states.sum(axis=1) / tokens.mask.sum(axis=1, keepdims=True).astype(
        np.float32
    )
    return mean


# ------------------------------------------------------------------------------------------------
# pictures


def _check_weights(path: Path, what: str, recipe: ImageRecipe, key: str) -> None:
    found = sha256_file(path)
    if found != recipe.weights_sha256:
        raise CheckpointError(
            f"{path}: found a file with SHA-256 {found[:16]}...; expected "
            f"{recipe.weights_sha256[:16]}..., {what}: others would give other"
            f" features. Give that file: {key}FILE, or extract and train anew with this one."
        )


def _decoded(
    batches: Sequence[Sequence[Path]], recipe: ImageRecipe
) -> Iterator[list[ImageArray | Problem]]:
    """Pictures of each batch; those of the next are decoded meanwhile."""
    pool = ThreadPoolExecutor(os.cpu_count())
    waiting: deque[list[Future[ImageArray | Problem]]] = deque()
    try:
        for batch in batches:
            waiting.append([pool.submit(_prepared, file, recipe) for file in batch])
            if len(waiting) > _AHEAD:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def _prepared(file: Path, recipe: ImageRecipe) -> ImageArray | Problem:
    try:
        picture = decode(file, recipe.resize)
    except DataError as error:
        return Problem(file, str(error).removeprefix(f"{file}: "))
    edge = (recipe.resize - recipe.image_size) // 2
    return picture[edge : edge + recipe.image_size, edge : edge + recipe.image_size]


def _through(
    network: BaseNetwork, files: Sequence[Path], decoded: Sequence[ImageArray | Problem]
) -> Extracted:
    problems = tuple(result for result in decoded if isinstance(result, Problem))
    pictures = [result for result in decoded if not isinstance(result, Problem)]
    readable = np.array([not isinstance(result, Problem) for result in decoded])
    if not pictures:
        return Extracted(np.zeros((0, network.feature_dim), dtype=np.float32), readable, problems)
    with torch.inference_mode():
        images = torch.from_numpy(np.stack(pictures)).to(network.mean.device).permute(0, 3, 1, 2)
        features = network(images).float().cpu().numpy()
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        file = [path for path, good in zip(files, readable, strict=True) if good][bad[0]]
        raise DataError(
            f"{file}: {network.name} gives features that are not finite; expected numbers. Give "
            "other weights, or take the picture out if it is the only one."
        )
    return Extracted(features, readable, problems)


def _joined(parts: Sequence[Extracted], width: int) -> Extracted:
    features = [np.zeros((0, width), dtype=np.float32), *(part.features for part in parts)]
    return Extracted(
        np.concatenate(features),
        np.concatenate([np.zeros(0, dtype=bool), *(part.readable for part in parts)]),
        tuple(problem for part in parts for problem in part.problems),
    )


# ------------------------------------------------------------------------------------------------
# kept features


def _identity(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        try:
            state = file.stat()
        except OSError as error:
            raise DataError(
                f"{file}: cannot be read ({error.strerror}); expected an image."
            ) from error
        digest.update(
            f"{file}\0{state.st_size}\0{state.st_mtime_ns}\0".encode(errors="surrogateescape")
        )
    return digest.hexdigest()


def _block_file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.npz"


def _write_block(block: Extracted, output: IO[bytes]) -> None:
    reasons = np.array([problem.reason for problem in block.problems], dtype=np.str_)
    np.savez(output, features=block.features, readable=block.readable, reasons=reasons)


def _read_block(path: Path, files: Sequence[Path], width: int) -> Extracted | None:
    """None for a block that is not there, or damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            features, readable, reasons = arrays["features"], arrays["readable"], arrays["reasons"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if (
        readable.shape != (len(files),)
        or features.shape != (int(readable.sum()), width)
        or len(reasons) != int((~readable).sum())
    ):
        return None
    unreadable = [file for file, good in zip(files, readable, strict=True) if not good]
    problems = tuple(
        Problem(file, str(reason)) for file, reason in zip(unreadable, reasons, strict=True)
    )
    return Extracted(features, readable, problems)
