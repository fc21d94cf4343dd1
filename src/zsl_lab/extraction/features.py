"""Extracts feature vectors from images."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from zsl_lab.data.benchmark import ImageArray
from zsl_lab.data.files.images import decode
from zsl_lab.data.recipe import ImageRecipe
from zsl_lab.errors import DataError
from zsl_lab.extraction.kept.blocks import (
    Extracted,
    Problem,
    block_of,
    count_blocks,
    read_block,
    write_block,
)
from zsl_lab.extraction.kept.contents import as_digests, digest_of, read_content
from zsl_lab.extraction.recipes import Backbone
from zsl_lab.files.rows import RowBuffer

BATCH_SIZE = 64
#: number of batches that are decoded ahead of the network
_AHEAD = 2

#: a prepared image, or the reason why there is none; and the digest of its file
_Decoded = tuple[ImageArray | Problem, bytes]


def extract_features(
    files: Sequence[Path],
    network: Backbone,
    recipe: ImageRecipe,
    batch_size: int = BATCH_SIZE,
    kept: Path | None = None,
    report: Callable[[int], object] = lambda _: None,
) -> Extracted:
    """Pooled features of images; large ones are collected in a temporary file.

    Args:
        files: The N image files.
        network: As in :func:`feature_blocks`.
        recipe: As in :func:`feature_blocks`.
        batch_size: As in :func:`feature_blocks`.
        kept: As in :func:`feature_blocks`; the temporary file is in this folder too.
        report: As in :func:`feature_blocks`.

    Raises:
        ZslLabError: As :func:`feature_blocks`.
        OutputError: If the temporary file cannot be written.
    """
    found = feature_blocks(files, network, recipe, batch_size, kept, report)
    return collect(found, network.feature_dim, kept)


def feature_blocks(
    files: Sequence[Path],
    network: Backbone,
    recipe: ImageRecipe,
    batch_size: int = BATCH_SIZE,
    kept: Path | None = None,
    report: Callable[[int], object] = lambda _: None,
    numbers: Sequence[int] | None = None,
) -> Iterator[Extracted]:
    """Pooled features of images, a block of images at a time.

    An image is rotated upright, its short side is scaled to ``recipe.resize``, and the square of
    ``recipe.image_size`` is cut from its centre.

    Args:
        files: The N image files.
        network: The network of ``recipe``, on the device that computes.
        recipe: How images are prepared.
        batch_size: Images per forward pass.
        kept: A folder that :func:`prepare_kept` prepared for these files, from which features are
            read if it has them, and to which they are written; None for none.
        report: Called with the number of finished images: first with that of the images whose
            features were kept, then after each batch.
        numbers: Numbers of the blocks to extract, ascending; None for all.

    Yields:
        The features of each block, and its unreadable images.

    Raises:
        DataError: If features are not finite.
        UnreachableError: If the images' file system cannot be reached any more.
        OutputError: If ``kept`` cannot be written.
    """
    numbers = range(count_blocks(len(files))) if numbers is None else numbers
    whole = {
        number
        for number in numbers
        if kept is not None
        and read_block(kept, number, block_of(files, number), network.feature_dim) is not None
    }
    done = sum(len(block_of(files, number)) for number in whole)
    report(done)
    network.eval()
    left = [
        block_of(files, number)[start : start + batch_size]
        for number in numbers
        if number not in whole
        for start in range(0, len(block_of(files, number)), batch_size)
    ]
    with closing(_decoded(left, recipe)) as decoded:
        batches = zip(left, decoded, strict=True)
        for number in numbers:
            block = block_of(files, number)
            if kept is not None and number in whole:
                before = read_block(kept, number, block, network.feature_dim)
                assert before is not None
                yield before
                continue
            parts: list[Extracted] = []
            digests: list[bytes] = []
            for batch, images in islice(batches, -(-len(block) // batch_size)):
                parts.append(_through(network, batch, [picture for picture, _ in images]))
                digests += [digest for _, digest in images]
                done += len(batch)
                report(done)
            found = collect(parts, network.feature_dim)
            if kept is not None:
                write_block(kept, number, found, as_digests(digests))
            yield found


def collect(blocks: Iterable[Extracted], feature_dim: int, folder: Path | None = None) -> Extracted:
    """Join blocks into one; large features are mapped from a temporary file.

    Args:
        blocks: The blocks, in the order of the images.
        feature_dim: The dimension of the features.
        folder: Folder of the temporary file; None for the system's temporary folder.

    Raises:
        OutputError: If the temporary file cannot be written.
    """
    features = RowBuffer(folder)
    features.append(np.zeros((0, feature_dim), dtype=np.float32))
    readable = [np.zeros(0, dtype=bool)]
    problems: list[Problem] = []
    for block in blocks:
        features.append(block.features)
        readable.append(block.readable)
        problems += block.problems
    return Extracted(features.array(), np.concatenate(readable), tuple(problems))


def _decoded(
    batches: Sequence[Sequence[Path]], recipe: ImageRecipe
) -> Generator[list[_Decoded], None, None]:
    """The images of each batch; the next batches are decoded in threads meanwhile."""
    pool = ThreadPoolExecutor(os.cpu_count())
    waiting: deque[list[Future[_Decoded]]] = deque()
    try:
        for batch in batches:
            waiting.append([pool.submit(_prepared, file, recipe) for file in batch])
            if len(waiting) > _AHEAD:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def _prepared(file: Path, recipe: ImageRecipe) -> _Decoded:
    # read once, to decode and to hash; if it cannot be read, decoding reports why
    content = read_content(file)
    return _picture(file, content, recipe), digest_of(content)


def _picture(file: Path, content: bytes | None, recipe: ImageRecipe) -> ImageArray | Problem:
    preparation = recipe.preparation
    try:
        if preparation is None:
            picture = decode(file, recipe.resize, content=content)
        else:
            squash = preparation.crop_mode == "squash"
            filter_name = preparation.interpolation
            picture = decode(file, recipe.resize, filter_name, squash=squash, content=content)
    except DataError as error:
        return Problem(file, str(error).removeprefix(f"{file}: "))
    margin = recipe.resize - recipe.image_size
    # with a preparation, the crop is rounded as timm does
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
    """A context of half precision on a GPU, for the networks that use it."""
    device = network.mean.device.type
    if device != "cuda" or not network.half_precision:
        return nullcontext()
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.autocast(device, dtype)
