"""``extract --part`` and ``--join``: several processes make the file that one makes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.packages import skip_without
from zsl_lab.extraction import features as extraction
from zsl_lab.extraction.kept import blocks

pytestmark = pytest.mark.slow

skip_without("torchvision", "images")

Extract = Callable[..., int]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 images make seven blocks, of three images each and one of two."""
    monkeypatch.setattr(blocks, "BLOCK", 3)


@pytest.fixture
def parts(extract: Extract, own: Path) -> list[Path]:
    """Three parts that are whole."""
    assert [extract("--part", f"{number}/3") for number in (1, 2, 3)] == [0, 0, 0]
    return [own / f"own.h5.part-{number}-of-3" for number in (1, 2, 3)]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def touch(folder: Path, seconds: int) -> None:
    for file in folder.rglob("*.png"):
        os.utime(file, (seconds, seconds))


def test_the_parts_joined_are_the_bytes_of_one_process(extract: Extract, own: Path) -> None:
    (own / "images" / "bee" / "3.png").write_bytes(b"broken")
    assert extract("--name", "own", out="whole.h5") == 0
    assert [extract("--part", f"{number}/4") for number in (3, 1, 4, 2)] == [0, 0, 0, 0]
    assert not (own / "own.h5").exists()
    assert extract("--join") == 0
    assert (own / "own.h5").read_bytes() == (own / "whole.h5").read_bytes()
    assert (own / "own.bad.csv").read_bytes() == (own / "whole.bad.csv").read_bytes()
    assert not list(own.glob("*.part*"))


def test_more_parts_than_blocks_leave_some_empty(extract: Extract, own: Path) -> None:
    assert extract("--name", "own", out="whole.h5") == 0
    assert [extract("--part", f"{number}/9") for number in range(1, 10)] == [0] * 9
    assert extract("--join") == 0
    assert (own / "own.h5").read_bytes() == (own / "whole.h5").read_bytes()


def test_a_part_computes_what_it_lacks_and_no_more(
    extract: Extract, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    through = extraction._through
    batches: list[int] = []

    def counted(*given: Any) -> Any:
        if len(batches) == 1:
            batches.append(0)
            raise KeyboardInterrupt
        batches.append(len(given[2]))
        return through(*given)

    monkeypatch.setattr(extraction, "_through", counted)
    assert extract("--part", "2/2") == 130
    assert extract("--part", "2/2") == 0
    assert extract("--part", "2/2") == 0
    # 11 of the images, of which the first 3 were kept when it was interrupted
    assert batches == [3, 0, 3, 3, 2]


def test_unfinished_and_missing_parts_are_named(
    extract: Extract, own: Path, parts: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(parts[0])
    assert extract("--join") == 1
    assert "own.h5: found no part 1/3. Extract it first: the same command with --part 1/3" in said(
        capsys
    )
    (parts[1] / "000003.npz").unlink()
    assert extract("--part", "1/3") == 0
    capsys.readouterr()
    assert extract("--join") == 1
    assert "part 2/3 is not finished. Extract it first" in said(capsys)
    for folder in parts:
        shutil.rmtree(folder)
    assert extract("--join") == 1
    assert "own.h5: found no part of it" in said(capsys)
    assert not (own / "own.h5").exists()


def test_a_truncated_block_is_named_and_its_part_computes_it_again(
    extract: Extract, own: Path, parts: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    block = parts[2] / "000005.npz"
    before = block.read_bytes()
    block.write_bytes(before[: len(before) // 2])
    assert extract("--join") == 1
    assert f"{block}: found a damaged file or one of other images" in said(capsys)
    assert not (own / "own.h5").exists()
    assert extract("--part", "3/3") == 0
    assert extract("--join") == 0


def test_a_part_that_is_there_twice_is_named(
    extract: Extract, own: Path, parts: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(parts[1], own / "own.h5.part-2-of-3 (copy)")
    assert extract("--join") == 1
    assert f"{copy}: found part 2/3, which {parts[1]} has too" in said(capsys)
    shutil.rmtree(copy)
    assert extract("--part", "1/2") == 0
    capsys.readouterr()
    assert extract("--join") == 1
    assert "found parts of 2 (own.h5.part-1-of-2), of 3 (own.h5.part-3-of-3)" in said(capsys)


def test_a_part_of_another_recipe_or_with_a_damaged_key_is_named(
    extract: Extract, own: Path, parts: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract("--join", "--resize", "32") == 1
    assert (
        f"{parts[0]}: found features of another recipe than this command's: resize 28 (here: 32)"
        in said(capsys)
    )
    key = json.loads((parts[0] / "key.json").read_bytes())
    for damaged in (
        {"part": "1/3"},
        key | {"part": 1},
        key | {"part": "0/0"},
        key | {"recipe": {}},
    ):
        (parts[0] / "key.json").write_text(json.dumps(damaged))
        assert extract("--join") == 1
        assert f"{parts[0]}: found no file key.json of a part of this version" in said(capsys)


def test_parts_of_copies_in_several_places_are_joined(
    extract: Extract, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract("--name", "own", out="whole.h5") == 0
    for number in (1, 2):
        copy = shutil.copytree(own / "images", own / f"scratch{number}")
        touch(copy, number)
        assert extract("--part", f"{number}/2", "--images", str(copy)) == 0
        shutil.rmtree(copy)
    capsys.readouterr()
    assert extract("--join") == 0
    assert "comparing the contents of 20 kept images" in said(capsys)
    assert (own / "own.h5").read_bytes() == (own / "whole.h5").read_bytes()


def test_a_changed_image_is_named_and_only_its_block_is_extracted_again(
    extract: Extract,
    own: Path,
    parts: list[Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changed = own / "images" / "cat" / "3.png"
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(changed)
    capsys.readouterr()
    assert extract("--join") == 1
    assert (
        f"{changed}: found another image than the one that part 2/3 has features of ({parts[1]})"
        in said(capsys)
    )
    through = extraction._through
    batches: list[int] = []

    def counted(*given: Any) -> Any:
        batches.append(len(given[2]))
        return through(*given)

    monkeypatch.setattr(extraction, "_through", counted)
    assert [extract("--part", f"{number}/3") for number in (1, 2, 3)] == [0, 0, 0]
    assert batches == [3]
    found = said(capsys)
    assert "comparing the contents of 6 kept images" in found
    assert f"{parts[1]}: the features of 3 kept images are not used: images of their" in found
    assert extract("--join") == 0
    assert "comparing" not in said(capsys)
    assert extract("--name", "own", out="whole.h5") == 0
    assert (own / "own.h5").read_bytes() == (own / "whole.h5").read_bytes()


def test_parts_of_an_earlier_version_are_joined_where_times_are_equal(
    extract: Extract, own: Path, parts: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for file in own.glob("*.part-*/*.npz"):
        with np.load(file) as arrays:
            others = {name: arrays[name] for name in arrays if name != "digests"}
        np.savez(file, **others)
    touch(own / "images", 1)
    capsys.readouterr()
    assert extract("--join") == 1
    assert f"{parts[0] / '000000.npz'}: found no digests of the images, and paths" in said(capsys)
    shutil.rmtree(parts[0])
    assert [extract("--part", f"{number}/3") for number in (1, 2, 3)] == [0, 0, 0]
    assert extract("--join") == 0


def test_an_image_that_was_added_or_removed_is_noticed(
    extract: Extract, own: Path, parts: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "images" / "eel" / "3.png").unlink()
    capsys.readouterr()
    assert extract("--join") == 1
    assert (
        f"{parts[2] / '000006.npz'}: found features of 2 images; expected 1: images were added or "
        "removed" in said(capsys)
    )
    (own / "images" / "eel" / "3.png").write_bytes(b"broken")
    assert extract("--join") == 1
    assert f"{own / 'images' / 'eel' / '3.png'}: found another image" in said(capsys)


def test_a_folder_of_another_part_is_not_written_to(
    extract: Extract, own: Path, parts: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(parts[0])
    parts[1].rename(parts[0])
    before = sorted(parts[0].iterdir())
    assert extract("--part", "1/3") == 1
    assert "found features of part 2/3 of the images; expected those of part 1/3" in said(capsys)
    assert sorted(parts[0].iterdir()) == before


def test_a_full_disk_leaves_whole_blocks_only(
    extract: Extract, own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fsync = os.fsync
    calls: list[int] = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:  # the key, a block, and then there is no space
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr("zsl_lab.files.atomic.os.fsync", full)
    assert extract("--part", "1/2") == 1
    folder = own / "own.h5.part-1-of-2"
    assert (
        f"Cannot write {folder / '000001.npz'}: the disk is full (or its quota is used up); free "
        "some space" in said(capsys)
    )
    assert sorted(path.name for path in folder.iterdir()) == ["000000.npz", "key.json"]


def test_images_on_a_file_system_that_went_away_are_not_taken_for_broken_ones(
    extract: Extract, own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    through = extraction._through

    def unmounted(*given: Any) -> Any:
        if (own / "images").exists():
            (own / "images").rename(own / "elsewhere")
        return through(*given)

    monkeypatch.setattr(extraction, "_through", unmounted)
    assert extract("--part", "1/1") == 1
    assert "cannot be read (No such file or directory): its folder or the file system" in said(
        capsys
    )
    assert not (own / "own.bad.csv").exists()
    (own / "elsewhere").rename(own / "images")
    monkeypatch.setattr(extraction, "_through", through)
    assert extract("--part", "1/1") == 0
    assert extract("--join") == 0
