"""Which kept features are used again."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.extraction import backbone
from tests.helpers.packages import skip_without
from zsl_lab.data.recipe import ImageRecipe
from zsl_lab.errors import OutputError, UnreachableError
from zsl_lab.extraction import features as extraction
from zsl_lab.extraction.features import extract_features
from zsl_lab.extraction.kept import blocks, preparing
from zsl_lab.extraction.kept.blocks import Extracted
from zsl_lab.extraction.kept.preparing import Before, prepare_kept
from zsl_lab.extraction.recipes import Backbone

skip_without("torchvision", "images")

USED = Before("the same")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 images make six blocks of three images and one of two."""
    monkeypatch.setattr(blocks, "BLOCK", 3)


class Kept:
    """A folder of kept features; says how many images went through the network."""

    def __init__(self, folder: Path, network: Backbone, recipe: ImageRecipe) -> None:
        self.folder, self.network, self.recipe = folder, network, recipe
        self.compared: list[tuple[int, int]] = []

    def prepare(self, files: Sequence[Path], **changes: Any) -> Before:
        recipe = self.recipe.model_copy(update=changes)
        self.compared = []

        def report(done: int, total: int) -> None:
            self.compared.append((done, total))

        return prepare_kept(self.folder, files, recipe, report=report)

    def extract(self, files: Sequence[Path]) -> tuple[Extracted, list[Path]]:
        """The features, and the images that were not kept."""
        extracted: list[Path] = []
        through = extraction._through

        def counted(network: Backbone, batch: Sequence[Path], *given: Any) -> Any:
            extracted.extend(batch)
            return through(network, batch, *given)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(extraction, "_through", counted)
            return extract_features(files, self.network, self.recipe, kept=self.folder), extracted

    def fresh(self, files: Sequence[Path]) -> Extracted:
        return extract_features(files, self.network, self.recipe)


@pytest.fixture
def files(own: Path) -> list[Path]:
    """20 images, the sixth of which has no compression: other pixels do not change its size."""
    found = sorted((own / "images").rglob("*.png"))
    paint(found[5], 100)
    return found


@pytest.fixture
def kept(own: Path, weights: Path, files: list[Path]) -> Kept:
    """Features of all images are kept."""
    made = Kept(own / "kept", *backbone(weights))
    assert made.prepare(files) == Before("nothing")
    assert made.extract(files)[1] == files
    return made


def paint(file: Path, grey: int) -> None:
    Image.fromarray(np.full((30, 40, 3), grey, np.uint8)).save(file, format="BMP")


def touch(files: Sequence[Path]) -> None:
    for file in files:
        os.utime(file, (1, 1))


def strip_digests(folder: Path) -> None:
    """Make the blocks those of an earlier version."""
    for file in folder.glob("*.npz"):
        with np.load(file) as arrays:
            others = {name: arrays[name] for name in arrays if name != "digests"}
        np.savez(file, **others)


def test_images_with_equal_times_are_not_read(
    kept: Kept, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_bytes = Path.read_bytes

    def only_the_key(file: Path) -> bytes:
        assert file.name == "key.json"
        return read_bytes(file)

    monkeypatch.setattr(Path, "read_bytes", only_the_key)
    assert kept.prepare(files) == USED
    assert not kept.compared
    assert kept.extract(files)[1] == []


def test_touched_images_are_compared_once_and_not_extracted_again(
    kept: Kept, files: list[Path]
) -> None:
    expected = kept.fresh(files)
    touch(files)
    assert kept.prepare(files) == USED
    assert kept.compared[0] == (0, 20)
    assert kept.compared[-1] == (20, 20)
    found, extracted = kept.extract(files)
    assert extracted == []
    assert np.array_equal(found.features, expected.features)
    assert kept.prepare(files) == USED
    assert not kept.compared


def test_images_in_another_folder_are_not_extracted_again(
    kept: Kept, files: list[Path], own: Path
) -> None:
    (own / "images").rename(own / "moved")
    moved = [own / "moved" / file.relative_to(own / "images") for file in files]
    assert kept.prepare(moved) == USED
    assert len(kept.compared) == 8
    assert kept.extract(moved)[1] == []


@pytest.mark.slow
def test_only_the_block_of_a_changed_image_is_extracted_again(
    kept: Kept, files: list[Path]
) -> None:
    before, size = kept.fresh(files), files[5].stat().st_size
    paint(files[5], 200)
    touch(files[5:6])
    assert files[5].stat().st_size == size
    assert kept.prepare(files) == Before("other images", 3)
    found, extracted = kept.extract(files)
    assert extracted == files[3:6]
    assert np.array_equal(found.features, kept.fresh(files).features)
    assert not np.array_equal(found.features, before.features)
    assert kept.prepare(files) == USED
    assert not kept.compared


def test_added_and_removed_images_leave_the_blocks_before_them(
    kept: Kept, files: list[Path], own: Path
) -> None:
    added = [*files, Path(shutil.copy(files[0], own / "images" / "eel" / "9.png"))]
    assert kept.prepare(added) == Before("other images", 2)
    assert kept.extract(added)[1] == added[18:]
    assert kept.prepare(files[:10]) == Before("other images", 12)
    found, extracted = kept.extract(files[:10])
    assert extracted == files[9:10]
    assert np.array_equal(found.features, kept.fresh(files[:10]).features)


@pytest.mark.slow
def test_features_outlast_a_command_with_the_wrong_folder(
    kept: Kept, files: list[Path], own: Path
) -> None:
    others = [own / "wrong" / file.name for file in (files[7], files[3])] * 4
    (own / "wrong").mkdir()
    for number, file in enumerate(others[:2]):
        paint(file, number)
    assert kept.prepare(others) == Before("other images", 20)
    found, extracted = kept.extract(others)
    assert extracted == others
    assert np.array_equal(found.features, kept.fresh(others).features)
    assert kept.prepare(files) == Before("other images", 8)
    assert kept.extract(files)[1] == []
    assert kept.prepare(files) == USED


@pytest.mark.slow
def test_an_interruption_while_preparing_gives_no_features_of_other_images(
    kept: Kept, files: list[Path], own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [own / f"{number}.png" for number in range(20)]
    for number, file in enumerate(others):
        paint(file, number)
    assert kept.prepare(others) == Before("other images", 20)
    kept.extract(others)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(preparing, "_write_key", interrupt)
        with pytest.raises(KeyboardInterrupt):
            kept.prepare(files)
    assert kept.prepare(others) == USED
    found, _ = kept.extract(others)
    assert np.array_equal(found.features, kept.fresh(others).features)


def test_features_stay_where_the_images_cannot_be_reached(
    kept: Kept, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(files)
    read_bytes = Path.read_bytes

    def stale(file: Path) -> bytes:
        if file == files[-1]:
            raise OSError(errno.ESTALE, "Stale file handle")
        return read_bytes(file)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", stale)
        with pytest.raises(UnreachableError, match="Stale file handle"):
            kept.prepare(files)
    assert kept.prepare(files) == USED
    assert kept.extract(files)[1] == []


@pytest.mark.slow
def test_features_of_an_earlier_version_are_used_where_times_are_equal(
    kept: Kept, files: list[Path]
) -> None:
    strip_digests(kept.folder)
    assert kept.prepare(files) == USED
    (kept.folder / "000002.npz").unlink()
    assert kept.extract(files)[1] == files[6:9]
    touch(files)
    assert kept.prepare(files) == Before("other images", 17)
    assert kept.extract(files)[1] == files[:6] + files[9:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "damaged",
    [b"", b"[1, 2", b"[]", b"null", b'{"recipe": 3}', "recipe", "part", "files", "format_version"],
)
def test_a_damaged_key_gives_no_features_of_other_images(
    kept: Kept, files: list[Path], damaged: bytes | str
) -> None:
    if isinstance(damaged, str):
        key = json.loads((kept.folder / "key.json").read_bytes())
        damaged = json.dumps(key | {damaged: 7}).encode()
    (kept.folder / "key.json").write_bytes(damaged)
    paint(files[5], 200)
    kept.prepare(files)
    found, extracted = kept.extract(files)
    assert set(files[3:6]) <= set(extracted)
    assert np.array_equal(found.features, kept.fresh(files).features)


def test_features_of_another_recipe_are_removed(kept: Kept, files: list[Path]) -> None:
    (kept.folder / "000000.npz").write_bytes(b"half a blo")
    assert kept.prepare(files, resize=30) == Before("another recipe", 17)
    assert [path.name for path in kept.folder.iterdir()] == ["key.json"]


def test_a_folder_that_holds_something_else_is_left_alone(weights: Path, own: Path) -> None:
    kept = own / "kept"
    kept.mkdir()
    (kept / "thesis.txt").write_text("mine")
    with pytest.raises(
        OutputError,
        match=r"kept: this is where features are kept .* Move it away, or choose another name",
    ):
        prepare_kept(kept, [], backbone(weights)[1])
    assert (kept / "thesis.txt").read_text() == "mine"
