"""A folder of images with labels and texts: reading, the cache, and errors."""

from __future__ import annotations

import builtins
import errno
import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image
from pydantic import ValidationError

from tests.helpers.benchmark_files import Fields, WriteMat, cells
from zsl_lab.data import splits
from zsl_lab.data.batches.images import ImageDataModule
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.datasets.image_folder import ImageFolderDataset
from zsl_lab.data.files.images import decode
from zsl_lab.errors import ConfigError, DataError, OutputError

CONF = Path(__file__).parents[3] / "conf"
NAMES = ("ant", "bee", "cat", "dog", "eel")
#: the colour of every picture of a class
COLOURS = ((250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250))
FILES = [f"{name}{i}.png" for name in NAMES for i in range(4)]
Configure = Callable[..., ImageFolderDataset]


def configured(**keys: Any) -> ImageFolderDataset:
    """The keys of ``dataset=flowers``, with others in their place."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        known: Any = OmegaConf.to_container(compose("dataset/flowers").dataset)
    known.pop("_target_")
    return ImageFolderDataset.model_validate({**known, **keys})


@pytest.fixture
def toy(paths: DataPaths) -> Path:
    """A folder of 5 classes with 4 pictures each: of one colour, 8 x 6 pixels."""
    folder = paths.data_dir / "toy"
    (folder / "images").mkdir(parents=True)
    for file in FILES:
        Image.new("RGB", (8, 6), COLOURS[NAMES.index(file[:3])]).save(folder / "images" / file)
    write_labels(folder, [f"{file},{NAMES.index(file[:3]) + 1}" for file in FILES])
    describe(folder, described())
    return folder


@pytest.fixture
def own(toy: Path) -> Configure:
    """The folder with eel unseen, or other keys."""

    def configure(**keys: Any) -> ImageFolderDataset:
        given = {
            "name": "toy",
            "image_size": 4,
            "resize": 5,
            "split_file": None,
            "image_order": None,
            "unseen_classes": ["eel"],
        }
        return configured(**{**given, **keys})

    return configure


@pytest.fixture
def published(toy: Path, splits: Fields, paths: DataPaths, write_mat: WriteMat) -> Configure:
    """The folder with a split file whose samples stand in another order than the labels."""
    write_mat(paths.data_dir / "att_splits.mat", splits)
    order = {
        "image_files": cells([f"jpg/{file}" for file in reversed(FILES)]),
        "labels": np.repeat(np.arange(5, 0, -1), 4)[:, None],
    }
    write_mat(paths.data_dir / "order.mat", order)

    def configure(**keys: Any) -> ImageFolderDataset:
        given = {
            "name": "toy",
            "image_size": 4,
            "resize": 5,
            "split_file": "att_splits.mat",
            "image_order": "order.mat",
        }
        return configured(**{**given, **keys})

    return configure


def write_labels(folder: Path, lines: list[str], header: str = "file,class_id") -> None:
    (folder / "labels.csv").write_text("\n".join([header, *lines, ""]), encoding="utf-8")


def describe(folder: Path, content: object) -> None:
    (folder / "descriptions.json").write_text(json.dumps(content), encoding="utf-8")


def described(**third: object) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = []
    for class_id, name in enumerate(NAMES, 1):
        entries.append({"class_id": class_id, "name": name, "description": f"looks like {name}"})
    entries[2] = {key: value for key, value in {**entries[2], **third}.items() if value != "absent"}
    return entries


def nothing_stored(paths: DataPaths) -> bool:
    return not paths.cache_dir.exists() or not list(paths.cache_dir.iterdir())


def test_pictures_labels_and_texts_belong_together(own: Configure, paths: DataPaths) -> None:
    b = own().load_images(paths)
    assert b.images.shape == (20, 5, 5, 3)
    assert b.class_names == NAMES
    assert b.descriptions == tuple(f"looks like {name}" for name in NAMES)
    for image, label in zip(b.images, b.labels, strict=True):
        assert (image == COLOURS[label]).all()


def test_own_unseen_classes_leave_a_fifth_of_each_other_class_to_test(
    own: Configure, paths: DataPaths
) -> None:
    b = own(unseen_classes=["eel", 2], validation_classes=["dog"]).load_images(paths)
    assert b.unseen_classes.tolist() == [1, 4]
    assert np.sort(b.labels[b.test_seen]).tolist() == [0, 2, 3]
    assert b.validation_classes is not None
    assert b.validation_classes.tolist() == [3]
    assert len(b.trainval) + len(b.test_seen) + len(b.test_unseen) == 20
    again = own(unseen_classes=[5, "bee"]).load_images(paths)
    assert again.test_seen.tolist() == b.test_seen.tolist()
    assert again.provenance.splits_sha256 == b.provenance.splits_sha256
    assert again.validation_classes is None


def test_classes_may_be_named_in_labels_and_mapped_to_texts(
    own: Configure, toy: Path, paths: DataPaths
) -> None:
    before = own().load_images(paths)
    write_labels(toy, [f"{file},{file[:3]}" for file in FILES], "file,class")
    describe(toy, {name: f"looks like {name}" for name in NAMES})
    after = own().load_images(paths)
    assert after.labels.tolist() == before.labels.tolist()
    assert after.descriptions == before.descriptions
    assert after.provenance.features_sha256 == before.provenance.features_sha256


def test_the_format_makes_the_text(own: Configure, paths: DataPaths) -> None:
    b = own(description_format="a {name}: {description}.").load_images(paths)
    assert b.descriptions[1] == "a bee: looks like bee."


def test_a_name_alone_needs_no_description(own: Configure, toy: Path, paths: DataPaths) -> None:
    describe(toy, [{"class_id": i, "name": name} for i, name in enumerate(NAMES, 1)])
    assert own(description_format="{name}").load_images(paths).descriptions == NAMES


def test_samples_stand_in_the_order_of_the_split_file(
    published: Configure, paths: DataPaths
) -> None:
    b = published().load_images(paths)
    assert b.labels.tolist() == np.repeat([4, 3, 2, 1, 0], 4).tolist()
    for image, label in zip(b.images, b.labels, strict=True):
        assert (image == COLOURS[label]).all()
    assert b.unseen_classes.tolist() == [0]
    assert b.trainval[:4].tolist() == [0, 1, 2, 4]
    assert b.validation_classes is not None
    assert b.validation_classes.tolist() == [1]


def test_without_an_order_the_labels_are_in_that_of_the_split_file(
    published: Configure, paths: DataPaths
) -> None:
    b = published(image_order=None).load_images(paths)
    assert b.labels.tolist() == np.repeat(np.arange(5), 4).tolist()
    assert b.unseen_classes.tolist() == [4]


def test_the_data_module_has_the_keys_of_the_dataset(own: Configure, paths: DataPaths) -> None:
    config = own(flip=False)
    b = config.load_images(paths)
    data = config.data_module(b, splits.test_split(b))
    assert isinstance(data, ImageDataModule)
    assert (data.image_size, data.flip, data.channels) == (4, False, 3)


def test_another_split_can_be_drawn(own: Configure, paths: DataPaths) -> None:
    b = own().load_images(paths)
    drawn = {int(splits.redraw(b, seed).unseen_classes[0]) for seed in range(8)}
    assert len(drawn) > 1


def test_the_second_load_decodes_nothing(
    own: Configure, paths: DataPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = own().load_images(paths)
    monkeypatch.setattr(
        "zsl_lab.data.files.images.decode", lambda *_: pytest.fail("an image was decoded again")
    )
    after = own(image_size=3, flip=False).load_images(paths)
    np.testing.assert_array_equal(before.images, after.images)
    assert isinstance(after.images, np.memmap)
    assert not after.images.flags.writeable


def test_a_changed_picture_of_the_same_size_and_age_is_decoded_anew(
    own: Configure, toy: Path, paths: DataPaths
) -> None:
    for colour in ((1, 2, 3), (3, 2, 1)):
        path = toy / "images" / "ant0.png"
        Image.new("RGB", (8, 6), colour).save(path, compress_level=0)
        os.utime(path, (0, 0))
        assert (own().load_images(paths).images[0] == colour).all()


def test_what_the_pictures_are_kept_at_is_part_of_the_cache(
    own: Configure, paths: DataPaths
) -> None:
    assert own(resize=4).load_images(paths).images.shape[1] == 4
    assert own(resize=6).load_images(paths).images.shape[1] == 6


@pytest.mark.parametrize(
    "damage",
    [lambda path: path.write_bytes(path.read_bytes()[:-9]), lambda path: path.write_bytes(b"")],
)
def test_a_damaged_cache_is_made_again(
    own: Configure, paths: DataPaths, damage: Callable[[Path], object]
) -> None:
    before = np.array(own().load_images(paths).images)
    (path,) = paths.cache_dir.iterdir()
    damage(path)
    with pytest.warns(UserWarning, match="the cache is damaged"):
        after = own().load_images(paths)
    np.testing.assert_array_equal(before, after.images)


def test_a_full_disk_leaves_nothing_behind(
    own: Configure, paths: DataPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"disk is full.*take 0 MiB; set paths\.cache_dir"):
        own().load_images(paths)
    assert nothing_stored(paths)


def test_without_pillow_the_extra_is_named(
    own: Configure, paths: DataPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("PIL"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r'pip install "zsl-lab\[images\]"'):
        own().load_images(paths)
    assert nothing_stored(paths)


def test_pictures_are_upright_scaled_and_cut_from_the_centre(tmp_path: Path) -> None:
    wide = Image.new("RGB", (40, 20), (0, 0, 0))
    wide.paste((200, 100, 50), (10, 0, 30, 20))
    wide.save(tmp_path / "wide.png")
    # the outermost columns mix with what is cut off
    assert (decode(tmp_path / "wide.png", 10)[:, 2:-2] == (200, 100, 50)).all()
    upper = Image.new("RGB", (20, 20), (0, 0, 0))
    upper.paste((255, 255, 255), (0, 0, 20, 10))
    turned = Image.Exif()
    turned[0x0112] = 3  # the camera was upside down
    upper.save(tmp_path / "turned.png", exif=turned)
    assert decode(tmp_path / "turned.png", 20)[[0, -1], 0, 0].tolist() == [0, 255]


def test_scaling_down_averages(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[::2] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    small = decode(tmp_path / "stripes.png", 8)
    assert small.shape == (8, 8, 3)
    assert abs(small[2:-2].astype(int) - 127).max() < 16


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM"])
def test_bytes_that_were_read_already_are_decoded_as_the_file_is(tmp_path: Path, kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    file = tmp_path / "a.png"
    Image.fromarray(pixels).save(file, format=kind)
    expected, content = decode(file, 8), file.read_bytes()
    file.unlink()
    assert np.array_equal(decode(file, 8, content=content), expected)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_kind_of_picture_becomes_three_channels(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGB", (6, 6), (255, 255, 255)).convert(mode).save(file)
    assert (decode(file, 6) == 255).all()


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_sixteen_bit_grey_is_scaled_to_eight(tmp_path: Path, mode: str) -> None:
    grey = np.array([[0, 257], [128 * 257, 65535]], dtype="uint16" if mode == "I;16" else "int32")
    Image.fromarray(grey).save(tmp_path / "grey.tif")
    with Image.open(tmp_path / "grey.tif") as image:
        assert image.mode == mode
    assert decode(tmp_path / "grey.tif", 2).tolist() == [[[0] * 3, [1] * 3], [[128] * 3, [255] * 3]]


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        (
            np.array([[0, 65536]], dtype="int32"),
            "grey from 0 to 65536, where 16 bits hold 0 to 65535",
        ),
        (np.array([[-1, 5]], dtype="int32"), "grey from -1 to 5"),
        (np.array([[0, 0.5]], dtype="float32"), "grey as floating-point numbers"),
    ],
)
def test_grey_that_cannot_be_scaled_is_refused(tmp_path: Path, pixels: Any, found: str) -> None:
    Image.fromarray(pixels).save(tmp_path / "grey.tif")
    with pytest.raises(DataError, match=rf"grey\.tif: cannot be read as an image \({found}"):
        decode(tmp_path / "grey.tif", 2)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparency_shows_white(tmp_path: Path, mode: str) -> None:
    picture = Image.new("RGBA", (2, 2), (0, 0, 0, 255))  # opaque black above black that nobody sees
    picture.paste((0, 0, 0, 0), (0, 1, 2, 2))
    file = tmp_path / ("a.tif" if mode == "PA" else "a.png")
    picture.convert(mode).save(file)
    with Image.open(file) as image:
        assert image.mode == mode
    assert decode(file, 2)[:, 0].tolist() == [[0] * 3, [255] * 3]


def test_half_a_transparency_is_half_of_the_colour(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (255, 0, 0, 127)).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", 2)[0, 0].tolist() == [255, 128, 128]


@pytest.mark.parametrize("bits", ["uint8", "uint16"])
def test_one_grey_can_be_named_transparent(tmp_path: Path, bits: str) -> None:
    Image.fromarray(
        np.array([[0, 40], [0, 40]], dtype=bits) * (257 if bits == "uint16" else 1)
    ).save(tmp_path / "a.png", transparency=40 * 257 if bits == "uint16" else 40)
    assert decode(tmp_path / "a.png", 2)[0, :, 0].tolist() == [0, 255]


def test_a_file_that_is_no_image_is_named(own: Configure, toy: Path, paths: DataPaths) -> None:
    (toy / "images" / "bee2.png").write_text("hello")
    with pytest.raises(
        DataError,
        match=r"images/bee2\.png: cannot be read as an image \(the bytes of no known format\); "
        r"expected a whole",
    ):
        own().load_images(paths)
    assert nothing_stored(paths)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n",
        b"\xc5\xd0\xd3\xc6" + bytes(28) + b"%!PS-Adobe-3.0 EPSF-3.0\n",
    ],
)
def test_postscript_starts_no_other_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read as an image \(PostScript, which is not"):
        decode(tmp_path / name, 8)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp", "tif", "ppm"])
def test_every_usual_format_is_read_whatever_its_name(tmp_path: Path, suffix: str) -> None:
    Image.new("RGB", (8, 8), (200, 30, 30)).save(tmp_path / f"a.{suffix}")
    renamed = (tmp_path / f"a.{suffix}").rename(tmp_path / "b.jpeg")
    assert np.abs(decode(renamed, 4).astype(int) - [200, 30, 30]).max() < 12


def test_truncated_images_are_named(own: Configure, toy: Path, paths: DataPaths) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for file in FILES[:5]:
        path = toy / "images" / file
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:6000])
    with pytest.raises(
        DataError,
        match=r"(?s)ant0\.png: .*truncated.*ant1\.png.*ant2\.png.*2 more of the 20 images cannot "
        r"be read",
    ):
        own().load_images(paths)
    assert nothing_stored(paths)


def test_a_label_without_image_is_named(own: Configure, toy: Path, paths: DataPaths) -> None:
    (toy / "images" / "cat1.png").unlink()
    with pytest.raises(
        DataError,
        match=r"images/cat1\.png: no such file; expected every image that .*labels\.csv labels",
    ):
        own().load_images(paths)


def test_an_image_without_label_is_ignored_with_a_warning(
    own: Configure, toy: Path, paths: DataPaths
) -> None:
    (toy / "images" / "more").mkdir()
    shutil.copy(toy / "images" / "ant0.png", toy / "images" / "more" / "fox.png")
    (toy / "images" / "notes.txt").write_text("no image, no label")
    with pytest.warns(
        UserWarning, match=r"found no label for more/fox\.png; images without a label are ignored"
    ):
        b = own().load_images(paths)
    assert b.num_samples == 20


@pytest.mark.parametrize(
    ("header", "line", "sentence"),
    [
        (
            "file,class_id",
            "ant0.png,6",
            r"line 2: field 'class_id': found '6' for ant0\.png; expected a number from 1 to 5",
        ),
        ("file,class_id", "ant0.png,0", "found '0'"),
        ("file,class_id", "ant0.png,one", "found 'one'"),
        ("file,class_id", "ant0.png", r"found nothing for ant0\.png"),
        (
            "file,class",
            "ant0.png,fox",
            r"field 'class': found 'fox' for ant0\.png; expected a class's name: a class that "
            r".*describes",
        ),
        ("file,class_id", ",1", "field 'file': found nothing"),
        (
            "file,class_id",
            "ant0.png,1\nant0.png,1",
            r"line 3: field 'file': found ant0\.png a second time",
        ),
        (
            "image,class_id",
            "ant0.png,1",
            "found the columns class_id, image; expected the columns file and class_id, or file "
            "and class",
        ),
        ("file,class_id", "../ant0.png,1", r"found \.\./ant0\.png, which lies outside the folder"),
        ("file,class_id", "a/../../b.png,1", "which lies outside the folder of images"),
        ("file,class_id", "/etc/ant0.png,1", "found /etc/ant0.png, which lies outside the folder"),
        ("file,class_id", r"..\ant0.png,1", "which lies outside the folder"),
        ("file,class_id", r"C:\ant0.png,1", "which lies outside the folder"),
        ("", "", "found an empty file"),
        ("file,class_id", "", "found no image"),
    ],
)
def test_bad_labels_are_named(
    own: Configure, toy: Path, paths: DataPaths, header: str, line: str, sentence: str
) -> None:
    write_labels(toy, [line] if line else [], header)
    with pytest.raises(
        DataError, match=rf"labels\.csv: .*{sentence}".replace(": .*line", ": line")
    ):
        own().load_images(paths)
    assert nothing_stored(paths)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            described(description="absent"),
            r"field 'description': found nothing for class 3 \('cat'\); expected a text for every "
            r"class",
        ),
        (described(description=None), r"field 'description': found nothing for class 3 \('cat'\)"),
        (
            described(description="  "),
            r"field 'description': found an empty text for class 3 \('cat'\)",
        ),
        (described(description=7), r"field 'description': found 7 for class 3 \('cat'\)"),
        (
            {"ant": "small", "bee": ""},
            r"field 'description': found an empty text for class 2 \('bee'\)",
        ),
        (described(name="bee"), "field 'name': found 'bee' more than once"),
        (
            described(class_id=2),
            "field 'class_id': found 2 twice; expected each number from 1 to 5",
        ),
        (described(class_id=9), "field 'class_id': found 9; expected each number from 1 to 5"),
        (described(class_id="absent"), "field 'class_id': found none"),
        (described(class_id=True), "field 'class_id': found True"),
        ([], "found something else, or nothing; expected a list of"),
        ({}, "found something else, or nothing"),
        ("text", "found something else, or nothing"),
        (["text"], "found something else, or nothing"),
    ],
)
def test_bad_descriptions_are_named(
    own: Configure, toy: Path, paths: DataPaths, content: object, sentence: str
) -> None:
    describe(toy, content)
    with pytest.raises(DataError, match=rf"descriptions\.json: {sentence}"):
        own().load_images(paths)
    assert nothing_stored(paths)


def test_a_text_that_uses_the_name_needs_one(own: Configure, toy: Path, paths: DataPaths) -> None:
    describe(toy, described(name="absent"))
    assert own().load_images(paths).class_names[2] == "class 3"
    with pytest.raises(DataError, match="field 'name': found nothing for class 3; expected a text"):
        own(description_format="{name}: {description}").load_images(paths)


@pytest.mark.parametrize("content", ['{"ant": "small", "ant": "large"}', "{", "\x00"])
def test_json_that_cannot_be_trusted_is_refused(
    own: Configure, toy: Path, paths: DataPaths, content: str
) -> None:
    (toy / "descriptions.json").write_text(content)
    with pytest.raises(
        DataError,
        match=r"descriptions\.json: found no valid JSON \(.*\); expected a list of "
        r".*dataset\.descriptions",
    ):
        own().load_images(paths)


def test_classes_with_the_same_text_are_named_in_a_warning(
    own: Configure, toy: Path, paths: DataPaths
) -> None:
    describe(toy, described(description="Looks  like ant"))
    with pytest.warns(
        UserWarning,
        match="found the same text for 'ant' and 'cat'. Such classes cannot be told apart",
    ):
        own().load_images(paths)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own(description_format="{name}: {description}").load_images(paths)


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        (
            "toy/images",
            r"toy/images: no such folder; expected the images of dataset 'toy'.*dataset\.folder "
            r"\(now 'toy'\) or",
        ),
        (
            "toy/labels.csv",
            r"labels\.csv: no such file; expected the labels of .*set paths\.data_dir .* or "
            r"dataset\.labels \(now 'labels\.csv'\)",
        ),
        ("toy/descriptions.json", r"or dataset\.descriptions \(now 'descriptions\.json'\)"),
        (
            "att_splits.mat",
            r"att_splits\.mat: no such file; expected the split file of dataset 'toy'.* or "
            r"dataset\.split_file",
        ),
        (
            "order.mat",
            r"order\.mat: no such file; expected the image order of dataset 'toy'.* or "
            r"dataset\.image_order",
        ),
    ],
)
def test_a_missing_file_is_named_with_the_keys_that_move_it(
    published: Configure, paths: DataPaths, missing: str, sentence: str
) -> None:
    (paths.data_dir / missing).rename(paths.data_dir / "elsewhere")
    with pytest.raises(DataError, match=sentence):
        published().load_images(paths)


def test_a_missing_folder_is_pointed_to_where_it_is_near(own: Configure, paths: DataPaths) -> None:
    with pytest.raises(
        DataError,
        match=rf"The folder .* does not exist\. Hint: there is one in {paths.data_dir}: set "
        r"paths\.data_dir=",
    ):
        own().load_images(DataPaths(paths.data_dir / "xlsa17" / "data", paths.cache_dir))


def test_a_split_of_another_number_of_samples_is_refused(
    published: Configure, paths: DataPaths, splits: Fields, write_mat: WriteMat
) -> None:
    splits["test_unseen_loc"] = splits["test_unseen_loc"][:-1]
    write_mat(paths.data_dir / "att_splits.mat", splits)
    with pytest.raises(
        DataError,
        match=r"att_splits\.mat: found 19 samples in its parts; expected 20, the images that "
        r".*order\.mat lists",
    ):
        published().load_images(paths)
    assert nothing_stored(paths)


def test_a_split_that_tests_what_it_trains_on_is_refused(
    published: Configure, paths: DataPaths, splits: Fields, write_mat: WriteMat
) -> None:
    splits["test_seen_loc"][0] = 1
    write_mat(paths.data_dir / "att_splits.mat", splits)
    with pytest.raises(
        DataError,
        match=r"att_splits\.mat: fields 'trainval_loc' and 'test_seen_loc': found 1 samples in "
        r"both",
    ):
        published().load_images(paths)


@pytest.mark.parametrize(
    ("listed", "labels", "sentence"),
    [
        (
            [*FILES[:-1], "fox.png"],
            None,
            r"field 'image_files': found 'eel3\.png' in .*labels\.csv and not in .*order\.mat",
        ),
        (
            [*FILES, "fox.png"],
            None,
            r"field 'image_files': found 'fox\.png' in .*order\.mat and not in .*labels\.csv.*\(21 "
            r"there, 20 here\)",
        ),
        ([*FILES, "a/eel3.png"], None, r"field 'image_files': found 'eel3\.png' more than once"),
        (
            FILES,
            np.repeat([1, 2, 3, 5, 4], 4),
            r"field 'labels': found class 5 for dog0\.png, which is of class 4 in .*labels\.csv",
        ),
        (
            FILES,
            np.arange(3),
            "field 'labels': found 3 labels; expected the same label in both for each of the 20 "
            "images",
        ),
    ],
)
def test_an_order_that_does_not_fit_is_refused(
    published: Configure,
    paths: DataPaths,
    write_mat: WriteMat,
    listed: list[str],
    labels: Any,
    sentence: str,
) -> None:
    write_mat(
        paths.data_dir / "order.mat",
        {"image_files": cells(listed)} | ({} if labels is None else {"labels": labels}),
    )
    with pytest.raises(DataError, match=sentence):
        published().load_images(paths)
    assert nothing_stored(paths)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (
            {"unseen_classes": ["eell"]},
            r"dataset\.unseen_classes: found 'eell'; expected ids from 1 to 5, or names.* Did you "
            r"mean 'eel'\?",
        ),
        ({"unseen_classes": [6]}, r"dataset\.unseen_classes: found 6; expected ids from 1 to 5"),
        ({"unseen_classes": [0]}, "found 0; expected ids from 1"),
        (
            {"unseen_classes": [1, 2, 3, 4, 5]},
            "lists 5 of the 5 classes with images; expected at least 2 to be left",
        ),
        (
            {"validation_classes": ["eel"]},
            r"dataset\.validation_classes lists 'eel', which has no training image",
        ),
    ],
)
def test_classes_that_keys_list_must_be_there(
    own: Configure, paths: DataPaths, keys: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        own(**keys).load_images(paths)


def test_a_described_class_without_images_is_unseen(
    own: Configure, toy: Path, paths: DataPaths
) -> None:
    describe(toy, [*described(), {"class_id": 6, "name": "fox", "description": "red"}])
    assert 5 in own().load_images(paths).unseen_classes
    alone = own(unseen_classes=["fox"]).load_images(paths)
    assert (alone.unseen_classes.tolist(), len(alone.test_unseen)) == ([5], 0)
    data = own().data_module(alone, splits.test_split(alone))
    assert data.classes.names[-1] == "fox"


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"resize": 3}, "found resize 3, image_size 4; expected resize to be at least image_size"),
        ({"unseen_classes": None}, "found neither of split_file and unseen_classes"),
        ({"split_file": "a.mat"}, "found both of split_file and unseen_classes"),
        (
            {"image_order": "a.mat"},
            "found image_order without split_file, to which it belongs; set image_order to null",
        ),
        (
            {"unseen_classes": None, "split_file": "a.mat", "validation_classes": [1]},
            "found validation_classes without unseen_classes",
        ),
        ({"image_size": 0}, "greater than or equal to 1"),
        ({"unseen_classes": [True]}, "valid integer"),
        ({"colour": 1}, "Extra inputs are not permitted"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(
    own: Configure, keys: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValidationError, match=sentence):
        own(**keys)


def test_a_method_of_features_is_told_what_takes_images(own: Configure, paths: DataPaths) -> None:
    with pytest.raises(
        ConfigError,
        match="dataset=toy holds images and descriptions, and this method takes feature vectors",
    ):
        own().load(paths)


@pytest.mark.parametrize("text", ["a", "{}", "{class}", "{name", "{name.a}", "{name.upper}"])
def test_a_format_without_a_field_of_the_class_is_refused(own: Configure, text: str) -> None:
    with pytest.raises(
        ValidationError, match=r"expected a text with \{description\} or \{name\} in it"
    ):
        own(description_format=text)


@pytest.mark.slow
def test_the_flowers_have_the_classes_labels_and_splits_of_flo(
    shared: Path, tmp_path: Path
) -> None:
    from tests.data.datasets.test_genuine import configured as by_name

    flowers = configured(image_size=16, resize=16).load_images(DataPaths(shared / "data", tmp_path))
    features = by_name("flo", features="efficientnet_lite2").load(
        DataPaths(shared / "data" / "xlsa17" / "data", tmp_path)
    )
    assert flowers.images.shape == (8189, 16, 16, 3)
    assert (len(flowers.seen_classes), len(flowers.unseen_classes)) == (82, 20)
    for name in ("labels", "trainval", "test_seen", "test_unseen", "validation_classes"):
        np.testing.assert_array_equal(getattr(flowers, name), getattr(features, name))
    assert flowers.provenance.splits_sha256 == features.provenance.splits_sha256
    assert flowers.provenance.splits_version == features.provenance.splits_version
    assert len(set(flowers.descriptions)) == 102
