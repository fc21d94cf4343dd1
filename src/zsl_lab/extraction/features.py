"""From images to feature vectors."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch

from zsl_lab.data.benchmark import ImageArray
from zsl_lab.data.files.images import decode
from zsl_lab.data.recipe import ImageRecipe
from zsl_lab.errors import DataError
from zsl_lab.extraction.kept import Extracted, Problem, read_block, write_block
from zsl_lab.extraction.recipes import Backbone

BATCH_SIZE = 64
#: how many images a kept block has
BLOCK = 256
#: how many batches are decoded ahead of the network
_AHEAD = 2


def extract_features(
    files: Sequence[Path],
    network: Backbone,
    recipe: ImageRecipe,
    batch_size: int = BATCH_SIZE,
    kept: Path | None = None,
    report: Callable[[int], object] = lambda _: None,
) -> Extracted:
    """Pooled features of images.

    An image is turned upright, its short side scaled to ``recipe.resize``, and the square of
    ``recipe.image_size`` cut from its centre.

    Args:
        files: N images.
        network: The network of ``recipe``, on the device that computes.
        recipe: How images are prepared.
        batch_size: Images in a forward pass.
        kept: A folder that :func:`prepare_kept` prepared for these files; None keeps nothing.
        report: Called with the number of images that are done: first those that were kept, then
            after each batch.

    Raises:
        DataError: Features are not finite.
        OutputError: ``kept`` cannot be written.
    """
    blocks = [files[start : start + BLOCK] for start in range(0, len(files), BLOCK)]
    found: dict[int, Extracted] = {}
    if kept is not None:
        for number, block in enumerate(blocks):
            before = read_block(kept, number, block, network.feature_dim)
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
                write_block(kept, number, found[number])
        report(done)
    return _joined([found[number] for number in range(len(blocks))], network.feature_dim)


def _decoded(
    batches: Sequence[Sequence[Path]], recipe: ImageRecipe
) -> Iterator[list[ImageArray | Problem]]:
    """The images of each batch; the next batches are decoded meanwhile."""
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
    preparation = recipe.preparation
    try:
        if preparation is None:
            picture = decode(file, recipe.resize)
        else:
            squash = preparation.crop_mode == "squash"
            picture = decode(file, recipe.resize, preparation.interpolation, squash=squash)
    except DataError as error:
        return Problem(file, str(error).removeprefix(f"{file}: "))
    margin = recipe.resize - recipe.image_size
    # timm's crop rounds
    edge = margin // 2 if preparation is None else round(margin / 2)
    return picture[edge : edge + recipe.image_size, edge : edge + recipe.image_size]


def _through(
    network: Backbone, files: Sequence[Path], decoded: Sequence[ImageArray | Problem]
) -> Extracted:
    problems = tuple(result for result in decoded if isinstance(result, Problem))
    pictures = [result for result in decoded if not isinstance(result, Problem)]
    readable = np.array([not isinstance(result, Problem) for result in decoded])
    if not pictures:
        return Extracted(np.zeros((0, network.feature_dim), dtype=np.float32), readable, problems)
    with torch.inference_mode(), _precision(network):
        images = torch.from_numpy(np.stack(pictures)).to(network.mean.device).permute(0, 3, 1, 2)
        features = network(images).float().cpu().numpy()
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        file = [path for path, good in zip(files, readable, strict=True) if good][bad[0]]
        raise DataError(
            f"{file}: {network.name} gives features that are not finite; expected numbers. Give "
            "other weights, or remove the image if it is the only one."
        )
    return Extracted(features, readable, problems)


def _precision(network: Backbone) -> AbstractContextManager[object]:
    """Half precision on a GPU, but for the networks whose features are in float32 from before."""
    device = network.mean.device.type
    if device != "cuda" or not network.half_precision:
        return nullcontext()
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.autocast(device, dtype)


def _joined(parts: Sequence[Extracted], feature_dim: int) -> Extracted:
    features = [np.zeros((0, feature_dim), dtype=np.float32), *(part.features for part in parts)]
    return Extracted(
        np.concatenate(features),
        np.concatenate([np.zeros(0, dtype=bool), *(part.readable for part in parts)]),
        tuple(problem for part in parts for problem in part.problems),
    )
