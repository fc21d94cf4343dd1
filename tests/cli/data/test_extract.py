"""``extract``: the benchmark that it writes, and its messages."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from tests.helpers.extraction import CLASSES, NAMES, backbone
from tests.helpers.packages import skip_without
from zsl_lab.cli.data.main import main
from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.extraction import features as extraction
from zsl_lab.extraction.features import extract_features
from zsl_lab.extraction.kept import blocks
from zsl_lab.extraction.texts import embed_texts

pytestmark = pytest.mark.slow

skip_without("torchvision", "images")


def message(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_an_interrupted_extraction_goes_on_and_gives_the_same_file(
    extract: Callable[..., int],
    own: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 6)
    (own / "images" / "bee" / "3.png").write_bytes(b"broken")
    assert extract("--name", "own", out="whole.h5") == 0
    through = extraction._through
    batches: list[int] = []

    def power_cut(*given: Any) -> Any:
        batches.append(len(given[2]))
        if len(batches) == 3:
            raise KeyboardInterrupt
        return through(*given)

    monkeypatch.setattr(extraction, "_through", power_cut)
    assert extract() == 130
    assert not (own / "own.h5").exists()
    assert sorted(path.name for path in (own / "own.h5.part").iterdir()) == [
        "000000.npz",
        "000001.npz",
        "key.json",
    ]
    (own / "own.h5.part" / "000000.npz").write_bytes(b"half a blo")
    capsys.readouterr()
    assert extract() == 0
    assert "20 images; the features of 6 are there already" in message(capsys)
    assert batches[3:] == [6, 6, 2]
    assert (own / "own.h5").read_bytes() == (own / "whole.h5").read_bytes()
    assert (own / "own.bad.csv").read_bytes() == (own / "whole.bad.csv").read_bytes()
    assert not (own / "own.h5.part").exists()


def test_the_file_holds_what_the_folder_and_the_table_say(
    extract: Callable[..., int], own: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract() == 0
    found = hdf5.read(own / "own.h5")
    assert found.name == "own"
    assert found.class_names == NAMES
    assert found.labels.tolist() == np.repeat(range(5), 4).tolist()
    assert found.files is not None
    assert found.files[:5] == ("ant/0.png", "ant/1.png", "ant/2.png", "ant/3.png", "bee/0.png")
    network, recipe = backbone(weights)
    files = [own / "images" / file for file in found.files]
    assert np.array_equal(found.features, extract_features(files, network, recipe).features)
    assert found.semantics["att"].tolist() == [[1], [2], [30], [50.5], [60]]
    assert found.descriptions is not None
    assert found.descriptions[1] == "a small striped insect that flies"
    assert found.labels[found.test_unseen].tolist() == [3] * 4
    assert np.sort(found.labels[found.test_seen]).tolist() == [0, 1, 2, 4]
    assert len(np.concatenate([found.trainval, found.test_seen, found.test_unseen])) == 20
    assert found.validation_classes is not None
    assert found.validation_classes.tolist() == [2]
    assert found.provenance.splits_version == "given in classes.csv, seed=0"
    assert found.recipe.images == recipe
    assert found.recipe.attributes == ["size"]
    said = capsys.readouterr().out
    assert f"{own / 'own.h5'}: 20 images of 5 classes" in said
    assert "4 classes, 1 of them for validation: 12 images to train on, 4 to test" in said
    assert said.endswith(f"train on it: python -m zsl_lab dataset.path={own / 'own.h5'}\n")


def test_the_file_names_no_place_but_that_of_the_weights(
    own: Path, weights: Path, tmp_path: Path
) -> None:
    made = []
    for name in ("here", "there"):
        place = tmp_path / name
        shutil.copytree(own / "images", place / "images")
        files = {
            "--classes": shutil.copy(own / "classes.csv", place),
            "--weights": shutil.copy(weights, place),
        }
        given = [
            "--images",
            place / "images",
            *(part for pair in files.items() for part in pair),
            "--backbone",
            "squeezenet1_1",
        ]
        small = ["--image-size", "24", "--resize", "28", "--semantics", "attributes"]
        assert main(["extract", *map(str, given), *small, str(place / "own.h5")]) == 0
        made.append(hdf5.read(place / "own.h5"))
    here, there = made
    np.testing.assert_array_equal(here.features, there.features)
    content = (tmp_path / "here" / "own.h5").read_bytes()
    assert content.count(str(tmp_path).encode()) == 1
    found = here
    assert found.provenance.origin == "images"
    assert found.recipe.images is not None
    assert found.recipe.images.weights == "squeezenet.pth"
    assert found.recipe.images.weights_path == str(tmp_path / "here" / "squeezenet.pth")


def test_tfidf_does_not_look_at_unseen_classes(extract: Callable[..., int], own: Path) -> None:
    assert extract() == 0
    found = hdf5.read(own / "own.h5")
    assert found.recipe.texts is not None
    assert found.recipe.texts.fitted_on == [
        line.split(",")[2] for line in CLASSES.splitlines()[1:] if ",unseen" not in line
    ]
    words = {word for text in found.recipe.texts.fitted_on for word in text.split()}
    assert found.semantics["text"].shape == (5, len(words))
    assert found.descriptions is not None
    assert np.array_equal(
        embed_texts(found.descriptions, found.recipe.texts), found.semantics["text"]
    )


@pytest.mark.parametrize(("kind", "kinds"), [("attributes", ["att"]), ("descriptions", ["text"])])
def test_one_kind_of_semantics_can_be_chosen(
    kind: str, kinds: list[str], extract: Callable[..., int], own: Path
) -> None:
    assert extract("--semantics", kind) == 0
    found = hdf5.read(own / "own.h5")
    assert list(found.semantics) == kinds
    assert (found.recipe.texts is None) == (kind == "attributes")
    assert found.recipe.attributes == (["size"] if kind == "attributes" else [])


def test_a_table_of_labels_takes_the_place_of_folders(
    extract: Callable[..., int], own: Path
) -> None:
    assert extract(out="folders.h5") == 0
    files = sorted(
        path.relative_to(own / "images").as_posix() for path in (own / "images").rglob("*.png")
    )
    (own / "labels.csv").write_text(
        "file,class\n" + "".join(f"{file},{file[:3]}\n" for file in reversed(files))
    )
    assert extract("--labels", str(own / "labels.csv"), out="table.h5") == 0
    by_folder, by_table = hdf5.read(own / "folders.h5"), hdf5.read(own / "table.h5")
    assert by_table.files == tuple(reversed(files))
    assert np.array_equal(by_table.labels, by_folder.labels[::-1])
    assert np.array_equal(by_table.features, by_folder.features[::-1])


def test_files_are_not_written_over_unless_it_is_said(
    extract: Callable[..., int], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "own.h5").write_text("mine")
    assert extract() == 1
    assert (
        message(capsys)
        == f"{own / 'own.h5'}: this file exists; --overwrite replaces it. Or give another name.\n"
    )
    assert (own / "own.h5").read_text() == "mine"
    assert extract("--overwrite") == 0
    with h5py.File(own / "own.h5") as file:
        assert file.attrs["name"] == "own"


def test_bad_images_are_listed_and_the_rest_goes_on(
    extract: Callable[..., int], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "images" / "ant" / "0.png").write_bytes(b"broken")
    assert extract() == 0
    listed = (
        f"Warning: 1 of 20 images cannot be read and is left out; {own / 'own.bad.csv'} lists "
        "them (the first: ant/0.png: cannot be"
    )
    assert listed in message(capsys)
    with (own / "own.bad.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["ant/0.png"]
    assert rows[0]["reason"].startswith("cannot be read as an image")
    assert hdf5.read(own / "own.h5").labels.tolist() == [0] * 3 + np.repeat(range(1, 5), 4).tolist()
    Image.new("RGB", (40, 30)).save(own / "images" / "ant" / "0.png")
    assert extract("--overwrite") == 0
    assert not (own / "own.bad.csv").exists()


def test_a_class_that_loses_all_its_images_is_an_error(
    extract: Callable[..., int], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for picture in (own / "images" / "bee").iterdir():
        picture.write_bytes(b"broken")
    assert extract() == 1
    said = message(capsys)
    assert "4 of 20 images cannot be read and are left out" in said
    assert "class 'bee': none of its 4 images can be read" in said
    assert "Repair them, or remove the class" in said
    assert not (own / "own.h5").exists()


def test_a_seen_class_with_a_single_image_is_said(
    extract: Callable[..., int], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2, 3):
        (own / "images" / "ant" / f"{number}.png").unlink()
    assert extract() == 0
    assert (
        "Warning: 1 of 4 seen classes has a single image ('ant'): it is trained on, and no image "
        "is left to test the class." in message(capsys)
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ("--backbone", "resnet51"),
            "--backbone resnet51: there is none of this name. Did you mean resnet",
        ),
        (
            ("--text-encoder", "elmo"),
            "--text-encoder elmo: there is none of this name. Give one of minilm, bert, glove, "
            "tfidf, or one that begins with open_clip:, hf:.",
        ),
        (
            ("--semantics", "atributes"),
            "--semantics atributes: there is none of this name. Did you mean attributes?",
        ),
        (
            ("--unseen", "1.5"),
            "--unseen 1.5: expected a number of classes (1 or more), or a share of them (between 0 "
            "and 1).",
        ),
        (("--unseen", "0"), "--unseen 0: expected a number"),
        (("--unseen", "many"), "--unseen many: expected a number"),
        (
            ("--resize", "20"),
            "--resize 20 --image-size 24: expected --image-size to be at most --resize",
        ),
        (("--batch-size", "0"), "--batch-size 0: expected 1 or more."),
        (("--image-size", "sixteen"), "Argument --image-size: invalid int value: 'sixteen'."),
        (("--image-size", "16"), "--image-size 16: squeezenet1_1 takes 17 or more."),
        (("--text-model", "bert"), "--text-model: --text-encoder tfidf takes none."),
        (("--wieghts", "x.pth"), "--wieghts: there is no such option. Did you mean --weights?"),
    ],
)
def test_a_wrong_option_is_refused(
    options: tuple[str, ...],
    expected: str,
    extract: Callable[..., int],
    own: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert extract(*options) == 2
    assert expected in message(capsys)
    assert not list(own.glob("own*"))


def test_an_output_of_another_kind_is_refused(
    extract: Callable[..., int], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract(out="own.mat") == 2
    assert f"{own / 'own.mat'}: expected a name that ends in .h5" in message(capsys)


def test_semantics_that_the_table_lacks_are_refused(
    extract: Callable[..., int], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "classes.csv").write_text("class,size\nant,1\n")
    assert extract("--semantics", "descriptions") == 2
    assert (
        "classes.csv has none. Add the column description, or give --semantics attributes."
        in message(capsys)
    )


def test_what_encoders_say_is_in_the_words_of_the_command(
    extract: Callable[..., int], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract("--text-encoder", "bert", "--text-model", str(own)) == 2
    said = message(capsys)
    assert f"\n--text-model {own}: cannot be loaded" in said
    assert (
        "choose an encoder that needs no download: --text-encoder minilm or tfidf. Or leave the "
        "texts out: --semantics attributes." in said
    )
    assert extract("--max-tokens", "2") == 0
    assert "or give a higher --max-tokens, as far as the encoder allows." in message(capsys)


def test_missing_weights_are_named(
    extract: Callable[..., int], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract("--weights", str(own / "none.pth")) == 1
    assert (
        f"--weights {own / 'none.pth'}: there is no such file. Give the file of a state dict of "
        "squeezenet1_1" in message(capsys)
    )


def test_a_misspelt_option_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from zsl_lab.cli.data.main import main; "
        "print(main(['extract', '--imags', 'x']), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["2", "False"]


def test_folders_of_train_and_test_are_named_as_the_source_of_the_split(
    extract: Callable[..., int], own: Path
) -> None:
    for part, names in {"train": NAMES[:3], "test": NAMES[3:]}.items():
        (own / "divided" / part).mkdir(parents=True)
        for name in names:
            (own / "images" / name).rename(own / "divided" / part / name)
    (own / "classes.csv").write_text("class,size\n" + "".join(f"{name},1\n" for name in NAMES))
    assert extract("--images", str(own / "divided")) == 0
    assert hdf5.read(own / "own.h5").provenance.splits_version == "given in divided, seed=0"
