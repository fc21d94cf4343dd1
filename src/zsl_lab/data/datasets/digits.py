"""The embedded dataset for demonstrations: scikit-learn's digits, with semantics of each digit."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import field_validator

from zsl_lab.data.benchmark import Benchmark, FeatureBenchmark, ImageBenchmark, IntArray, Provenance
from zsl_lab.data.datasets.base import DataPaths, FeatureDatasetConfig, ImageView
from zsl_lab.data.recipe import Recipe
from zsl_lab.data.splits import Split, hold_out
from zsl_lab.files.hashing import sha256_arrays

if TYPE_CHECKING:
    from zsl_lab.data.batches.base import PhaseDataModule

# How each digit is usually written by hand, with values from 0 to 1: 1 where the statement is true,
# 0.5 where it is true for some writers only or in part (the line touches a cell, the stroke is
# short). The values come from the shape of a digit alone, not from the images; the groups of
# attributes were selected on the digits other than 2, 4 and 5 (experiments/digits/README.md).
#
# attribute                 statement
# top_left ... bottom_right the line passes this cell of a grid laid over the digit: five rows (top,
#                           upper, middle, lower, bottom) of three cells (left, centre, right)
# top_bar                   a straight horizontal stroke at the top
# middle_bar                a straight horizontal stroke at half height (a crossed 7 has one: 0.5)
# base_bar                  a straight horizontal stroke at the bottom
# upright                   a straight vertical stroke over more than half the height
# upper_slant               a straight stroke in the upper half that leans to the right: /
# lower_slant               the same in the lower half
# end_top_left              the line begins or ends at the top left
# end_top_right             ... at the top right
# end_bottom_left           ... at the bottom left
# end_bottom_centre         ... at the bottom, in the centre
# end_bottom_right          ... at the bottom right
# crossing                  strokes cross or join at half height (0.5: they join, or only meet)
# top_corner                two strokes meet in a sharp corner at the top
# base_corner               two strokes meet in a sharp corner at the bottom
_STROKE_ATTRIBUTES = (
    *(
        f"{row}_{column}"
        for row in ("top", "upper", "middle", "lower", "bottom")
        for column in ("left", "centre", "right")
    ),
    *("top_bar", "middle_bar", "base_bar", "upright", "upper_slant", "lower_slant"),
    *("end_top_left", "end_top_right"),
    *("end_bottom_left", "end_bottom_centre", "end_bottom_right"),
    *("crossing", "top_corner", "base_corner"),
)
# fmt: off
# One row per digit: the grid from top to bottom, straight strokes, ends, crossing and corners.
_STROKES = (
    (*(0.5, 1, 0.5), *(1, 0, 1), *(1, 0, 1), *(1, 0, 1), *(0.5, 1, 0.5),
     *(0, 0, 0, 0, 0, 0), *(0, 0, 0, 0, 0), *(0, 0, 0)),  # 0
    (*(0, 1, 0), *(0.5, 1, 0), *(0, 1, 0), *(0, 1, 0), *(0, 1, 0),
     *(0, 0, 0, 1, 0, 0), *(0.5, 0, 0, 1, 0), *(0, 0, 0)),  # 1
    (*(0.5, 1, 0.5), *(0.5, 0, 1), *(0, 1, 0.5), *(0.5, 0.5, 0), *(1, 1, 1),
     *(0, 0, 1, 0, 0, 1), *(1, 0, 0, 0, 1), *(0, 0, 1)),  # 2
    (*(0.5, 1, 0.5), *(0, 0, 1), *(0, 1, 0.5), *(0, 0, 1), *(0.5, 1, 0.5),
     *(0, 0, 0, 0, 0, 0), *(1, 0, 1, 0, 0), *(0.5, 0, 0)),  # 3
    (*(0.5, 0.5, 0), *(1, 0, 0.5), *(1, 1, 1), *(0, 0.5, 0.5), *(0, 0.5, 0.5),
     *(0, 1, 0, 0.5, 0.5, 0), *(1, 1, 0, 1, 0), *(1, 0, 0)),  # 4
    (*(0.5, 1, 1), *(1, 0, 0), *(0.5, 1, 0.5), *(0, 0, 1), *(0.5, 1, 0.5),
     *(1, 0, 0, 0, 0, 0), *(0, 1, 1, 0, 0), *(0, 1, 0)),  # 5
    (*(0, 1, 0.5), *(1, 0.5, 0), *(1, 1, 0.5), *(1, 0, 1), *(0.5, 1, 0.5),
     *(0, 0, 0, 0, 0.5, 0), *(0, 1, 0, 0, 0), *(0.5, 0, 0)),  # 6
    (*(1, 1, 1), *(0, 0, 1), *(0.5, 1, 0.5), *(0, 1, 0), *(0.5, 0.5, 0),
     *(1, 0.5, 0, 0, 0.5, 1), *(1, 0, 0, 1, 0), *(0.5, 1, 0)),  # 7
    (*(0.5, 1, 0.5), *(1, 0, 1), *(0, 1, 0), *(1, 0, 1), *(0.5, 1, 0.5),
     *(0, 0, 0, 0, 0, 0), *(0, 0, 0, 0, 0), *(1, 0, 0)),  # 8
    (*(0.5, 1, 0.5), *(1, 0, 1), *(0.5, 1, 1), *(0, 0, 1), *(0.5, 1, 0.5),
     *(0, 0, 0, 0.5, 0, 0.5), *(0, 0, 1, 0, 0), *(0.5, 0, 0)),  # 9
)
# fmt: on
# Which segments of a seven-segment display are lit, then closed loops and curved strokes of the
# usual handwritten form, both halved so that every column lies in [0, 1].
_SEGMENT_ATTRIBUTES = (
    "top",
    "upper_right",
    "lower_right",
    "bottom",
    "lower_left",
    "upper_left",
    "middle",
    "loops",
    "curves",
)
_SEGMENTS = (
    (1, 1, 1, 1, 1, 1, 0, 0.5, 0.5),
    (0, 1, 1, 0, 0, 0, 0, 0.0, 0.0),
    (1, 1, 0, 1, 1, 0, 1, 0.0, 0.5),
    (1, 1, 1, 1, 0, 0, 1, 0.0, 1.0),
    (0, 1, 1, 0, 0, 1, 1, 0.0, 0.0),
    (1, 0, 1, 1, 0, 1, 1, 0.0, 0.5),
    (1, 0, 1, 1, 1, 1, 1, 0.5, 0.5),
    (1, 1, 1, 0, 0, 0, 0, 0.0, 0.0),
    (1, 1, 1, 1, 1, 1, 1, 1.0, 1.0),
    (1, 1, 1, 1, 0, 1, 1, 0.5, 0.5),
)
# Each digit as printed, row by row, before smoothing: semantics in the space of the features. Drawn
# from the shape of a digit alone, not from the images.
# fmt: off
_GLYPHS = (
    "...##... ..#..#.. ..#..#.. ..#..#.. "
    "..#..#.. ..#..#.. ..#..#.. ...##...",  # 0
    "...#.... ..##.... ...#.... ...#.... "
    "...#.... ...#.... ...#.... ...#....",  # 1
    "..###... .#...#.. .....#.. ....#... "
    "...#.... ..#..... .#...... .#####..",  # 2
    "..###... .....#.. .....#.. ..###... "
    ".....#.. .....#.. .....#.. ..###...",  # 3
    "....#... ...#.... ..#..... ..#..#.. "
    ".#...#.. .#####.. .....#.. .....#..",  # 4
    "..####.. ..#..... ..#..... ..###... "
    ".....#.. .....#.. .....#.. ..###...",  # 5
    "...#.... ..#..... .#...... .####... "
    ".#...#.. .#...#.. .#...#.. ..###...",  # 6
    ".#####.. .....#.. ....#... ..####.. "
    "...#.... ...#.... ..#..... ..#.....",  # 7
    "..###... .#...#.. .#...#.. ..###... "
    ".#...#.. .#...#.. .#...#.. ..###...",  # 8
    "..###... .#...#.. .#...#.. ..####.. "
    ".....#.. .....#.. ....#... ..##....",  # 9
)
# fmt: on


def _smoothed(glyph: str) -> tuple[float, ...]:
    """The pixels of a printed digit with soft edges: each pixel spreads to its four neighbours."""
    ink = np.array([pixel == "#" for pixel in glyph.replace(" ", "")], dtype=float).reshape(8, 8)
    soft = np.pad(ink, 1)
    spilled = soft[:-2, 1:-1] + soft[2:, 1:-1] + soft[1:-1, :-2] + soft[1:-1, 2:]
    return tuple(((ink + 0.3 * spilled) / 2.2).ravel().tolist())


_SEMANTICS: dict[str, tuple[tuple[str, ...], tuple[tuple[float, ...], ...]]] = {
    "segments": (_SEGMENT_ATTRIBUTES, _SEGMENTS),
    "strokes": (_STROKE_ATTRIBUTES, _STROKES),
    "glyphs": (
        tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8)),
        tuple(map(_smoothed, _GLYPHS)),
    ),
}
# The path of the line of the usual handwritten form, in words, with places named as on a clock's
# face (a handwritten 1 is in the middle, not on the right as on a display). Each place has a word
# of its own, so that even an encoder of single words can compose an unseen digit from seen ones.
_DESCRIPTIONS = tuple(
    f"On a clock's face, the line passes {places}."
    for places in (
        "eleven, twelve, one, three, five, six, seven and nine",
        "twelve, the hub and six",
        "eleven, twelve, one, the hub, seven, six and five",
        "eleven, twelve, one, the hub, five and six",
        "eleven, nine, the hub, three and six",
        "one, twelve, eleven, nine, the hub, five, six and seven",
        "twelve, nine, seven, six, five and the hub",
        "eleven, twelve, one, the hub and six",
        "one, twelve, eleven, the hub, five, six, seven, the hub and one",
        "one, twelve, eleven, the hub, one, three and six",
    )
)
_PIXEL_MAX = 16
_SIDE = 8
_TEST_SEEN_FRACTION = 0.2
_HOLD_OUT_SEED = 0


class DigitsDataset(FeatureDatasetConfig):
    """1,797 images of 8 x 8 pixels, ten classes; no file is read and no download is needed.

    A fifth of each seen class, always the same samples, is ``test_seen``.

    Attributes:
        unseen: The unseen digits: 1 to 7 different ones, so that at least 3 are seen (two to train
            on while a third is held out for validation).
        semantics: ``strokes`` (29 attributes of the handwritten form), ``segments`` (9: the
            segments of a display, loops and curves) or ``glyphs`` (64: the pixels of a printed
            digit). The default is that of runs that are older than this key.
    """

    pretrained: ClassVar[bool] = False

    unseen: list[int]
    semantics: Literal["segments", "strokes", "glyphs"] = "segments"

    @field_validator("unseen")
    @classmethod
    def _check_unseen(cls, unseen: list[int]) -> list[int]:
        if not unseen or len(unseen) > 7:
            raise ValueError(
                f"found {len(unseen)} unseen digits; expected 1 to 7, to leave at least 3 seen ones"
            )
        outside = [digit for digit in unseen if not 0 <= digit <= 9]
        if outside:
            raise ValueError(
                f"found {outside[0]} among the unseen digits; expected digits from 0 to 9"
            )
        if len(set(unseen)) != len(unseen):
            raise ValueError(
                f"found the same digit more than once in {unseen}; expected different digits"
            )
        return unseen

    def sources(self, paths: DataPaths) -> tuple[Path, ...]:
        """Empty: no file is read."""
        return ()

    def load(self, paths: DataPaths) -> FeatureBenchmark:
        """Build the benchmark: features are pixels / 16, semantics ``[10, Q]``."""
        attributes, semantics = _SEMANTICS[self.semantics]
        pixels, labels = _samples()
        features = (pixels / _PIXEL_MAX).astype(np.float32)
        return FeatureBenchmark(
            features=features,
            semantics=np.array(semantics, dtype=np.float32),
            recipe=Recipe(attributes=list(attributes)),
            **self._split_of(labels, sha256_arrays(features)),
        )

    def load_images(self, paths: DataPaths) -> ImageBenchmark:
        """Build the benchmark of uint8 images ``[1797, 8, 8, 1]`` and a sentence for each digit."""
        pixels, labels = _samples()
        images = np.rint(pixels * (255 / _PIXEL_MAX)).astype(np.uint8).reshape(-1, _SIDE, _SIDE, 1)
        sha256 = sha256_arrays(images, np.array(_DESCRIPTIONS))
        return ImageBenchmark(
            images=images, descriptions=_DESCRIPTIONS, **self._split_of(labels, sha256)
        )

    def image_view(self) -> ImageView:
        """Eight by eight pixels, bright strokes on black."""
        return ImageView(_SIDE, _SIDE, 1, "{description}")

    def data_module(self, benchmark: Benchmark, split: Split) -> PhaseDataModule:
        """Scaled features, or whole images: neither cropped (8 x 8 pixels) nor mirrored."""
        if isinstance(benchmark, ImageBenchmark):
            from zsl_lab.data.batches.images import ImageDataModule  # it needs torch

            return ImageDataModule(benchmark, split, image_size=_SIDE, flip=False)
        return super().data_module(benchmark, split)

    def _split_of(self, labels: IntArray, sha256: str) -> dict[str, Any]:
        """The fields that the benchmarks of features and of images have in common."""
        is_unseen = np.isin(labels, self.unseen)
        trainval, test_seen = hold_out(
            np.flatnonzero(~is_unseen),
            labels,
            _TEST_SEEN_FRACTION,
            np.random.default_rng(_HOLD_OUT_SEED),
        )
        test_unseen = np.flatnonzero(is_unseen)
        return {
            "name": self.name,
            "labels": labels,
            "class_names": tuple(str(digit) for digit in range(10)),
            "trainval": trainval,
            "test_seen": test_seen,
            "test_unseen": test_unseen,
            "provenance": Provenance(
                origin="scikit-learn's digits",
                splits_sha256=sha256_arrays(trainval, test_seen, test_unseen),
                features_sha256=sha256,
                splits_version="unseen digits "
                f"{', '.join(str(digit) for digit in sorted(self.unseen))}",
            ),
        }


def _samples() -> tuple[npt.NDArray[np.float64], IntArray]:
    """Pixels from 0 to 16, ``[1797, 64]``, and digits, ``[1797]``."""
    pixels, digits = _stored_samples()
    return pixels.copy(), digits.astype(np.int64)


@cache
def _stored_samples() -> tuple[npt.NDArray[np.float64], IntArray]:
    """The samples as scikit-learn has them; it reads a text file, which takes a while."""
    # scikit-learn takes a second to import
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    return pixels, digits
