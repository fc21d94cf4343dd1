"""A benchmark of one's own: features of pictures, semantics of a table, a split, and what is said of input that is wrong."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from zsl_lab.cli.data import extract
from zsl_lab.cli.data.main import main
from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.data.files.images import decode
from zsl_lab.data.files.tables import ClassTable, read_class_table
from zsl_lab.data.recipe import ImageRecipe, Recipe, TextRecipe
from zsl_lab.errors import CheckpointError, ConfigError, DataError, OutputError
from zsl_lab.extraction import features as extraction
from zsl_lab.extraction.backbones import ARCHITECTURES, STAGES, build_network
from zsl_lab.extraction.features import extract_features
from zsl_lab.extraction.kept import prepare_kept
from zsl_lab.extraction.recipes import build_backbone, load_backbone
from zsl_lab.extraction.texts import embed_texts
from zsl_lab.extraction.weights import Terms
from zsl_lab.extraction.own_images import choose_parts, find_class_pictures
from zsl_lab.text import TextConfig, encode

pytest.importorskip("torchvision", reason='needs torchvision: pip install "zsl-lab[n3]"')

TERMS = Terms("--backbone ", "--weights ", extract.BACKBONES, "", "")
CLASSES = """\
class,size,description,split
ant,1,a small black insect,seen
bee,2,a small striped insect that flies,seen
cat,30,a soft animal,validation
dog,50.5,a loyal animal,unseen
eel,60,a long fish,seen
"""
NAMES = ("ant", "bee", "cat", "dog", "eel")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """SqueezeNet of torchvision with weights that nobody trained."""
    from torchvision.models import squeezenet1_1

    torch.manual_seed(0)
    return squeezenet1_1().eval()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def weights(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each of 5 classes with 4 pictures of 40 x 30 pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in NAMES:
        (folder / name).mkdir()
        for number in range(4):
            Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(
                folder / name / f"{number}.png"
            )
    return folder


@pytest.fixture
def own(pictures: Path, tmp_path: Path) -> Path:
    """A folder of one's own: the pictures, and a table of their classes."""
    shutil.copytree(pictures, tmp_path / "images")
    (tmp_path / "classes.csv").write_text(CLASSES, encoding="utf-8")
    return tmp_path


@pytest.fixture
def run(own: Path, weights: Path) -> Callable[..., int]:
    """The command on that folder, with tf-idf and pictures of 24 pixels."""

    def run(*options: str, out: str = "own.h5") -> int:
        given = [
            "--images",
            own / "images",
            "--classes",
            own / "classes.csv",
            "--weights",
            weights,
            "--backbone",
            "squeezenet1_1",
        ]
        small = ["--image-size", "24", "--resize", "28", "--text-encoder", "tfidf"]
        return main(["extract", *map(str, given), *small, str(own / out), *options])

    return run


def message(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def table(folder: Path, content: str = CLASSES) -> ClassTable:
    path = folder / "table.csv"
    path.write_text(content, encoding="utf-8")
    return read_class_table(path)


def backbone(weights: Path) -> tuple[Any, ImageRecipe]:
    return build_backbone("squeezenet1_1", str(weights), 28, 24, TERMS)


# -------------------------------------------------------------------------------------------
# features


def test_features_are_torchvisions_averaged_over_the_centre_of_the_picture(
    model: nn.Module, weights: Path, pictures: Path
) -> None:
    files = sorted(pictures.rglob("*.png"))[:5]
    network, recipe = backbone(weights)
    found = extract_features(files, network, recipe, batch_size=2)
    squares = np.stack([decode(file, 28)[2:26, 2:26] for file in files])
    usual = torch.from_numpy(squares).permute(0, 3, 1, 2) / 255
    usual = (usual - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor(
        [0.229, 0.224, 0.225]
    )[:, None, None]
    with torch.no_grad():
        expected = model.features(usual).mean((2, 3)).numpy()  # type: ignore[operator]
    assert found.features.dtype == np.float32
    assert found.readable.all()
    assert found.problems == ()
    np.testing.assert_allclose(
        found.features, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max()
    )


def test_the_command_offers_every_network_that_there_is() -> None:
    assert tuple(ARCHITECTURES) == extract.BACKBONES


@pytest.mark.parametrize("name", extract.BACKBONES)
def test_the_stages_of_a_network_are_where_its_image_shrinks(name: str) -> None:
    from torchvision.models import get_model

    with torch.device("meta"):
        model = get_model(name, weights=None, **ARCHITECTURES[name].options).eval()
        shapes: dict[str, torch.Size] = {}

        def note(end: str, _module: nn.Module, _given: object, out: torch.Tensor) -> None:
            shapes.setdefault(end, out.shape)

        for end in STAGES[name]:
            model.get_submodule(end).register_forward_hook(partial(note, end))
        model(torch.zeros(1, 3, 64, 64))
    assert [(end, shape[1]) for end, shape in shapes.items()] == list(STAGES[name].items())
    sizes = [shape[2] for shape in shapes.values()]
    assert sizes == sorted(set(sizes), reverse=True)


def test_a_broken_image_is_left_out_and_named_with_its_reason(
    weights: Path, pictures: Path, tmp_path: Path
) -> None:
    files = sorted(pictures.rglob("*.png"))[:4]
    network, recipe = backbone(weights)
    whole = extract_features(files, network, recipe)
    half, text = tmp_path / "half.png", tmp_path / "text.jpg"
    half.write_bytes(files[0].read_bytes()[:600])
    text.write_text("no picture")
    found = extract_features([half, *files[:2], text, *files[2:]], network, recipe)
    assert found.readable.tolist() == [False, True, True, False, True, True]
    assert np.array_equal(found.features, whole.features)
    assert [problem.file for problem in found.problems] == [half, text]
    assert found.problems[1].reason == (
        "cannot be read as an image (the bytes of no known format); expected a whole picture, such "
        "as a JPEG or PNG."
    )


def test_features_that_are_not_finite_are_refused(pictures: Path, weights: Path) -> None:
    network, recipe = backbone(weights)
    network.get_parameter("features.0.weight").fill_(float("inf"))
    with pytest.raises(
        DataError, match=r"0\.png: squeezenet1_1 gives features that are not finite"
    ):
        extract_features([pictures / "ant" / "0.png"], network, recipe)


# ------------------------------------------------------------------------------------------- going
# on


def test_an_interrupted_extraction_goes_on_and_gives_the_same_file(
    run: Callable[..., int],
    own: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(extraction, "BLOCK", 6)
    (own / "images" / "bee" / "3.png").write_bytes(b"broken")
    assert run("--name", "own", out="whole.h5") == 0
    through = extraction._through
    batches: list[int] = []

    def power_cut(*given: Any) -> Any:
        batches.append(len(given[2]))
        if len(batches) == 3:
            raise KeyboardInterrupt
        return through(*given)

    monkeypatch.setattr(extraction, "_through", power_cut)
    assert run() == 130
    assert not (own / "own.h5").exists()
    assert sorted(path.name for path in (own / "own.h5.part").iterdir()) == [
        "000000.npz",
        "000001.npz",
        "key.json",
    ]
    (own / "own.h5.part" / "000000.npz").write_bytes(b"half a blo")
    capsys.readouterr()
    assert run() == 0
    assert "20 images; the features of 6 are there already" in message(capsys)
    assert batches[3:] == [6, 6, 2]
    assert (own / "own.h5").read_bytes() == (own / "whole.h5").read_bytes()
    assert (own / "own.bad.csv").read_bytes() == (own / "whole.bad.csv").read_bytes()
    assert not (own / "own.h5.part").exists()


def test_what_was_kept_of_other_pictures_or_by_another_recipe_is_not_used(
    weights: Path, own: Path
) -> None:
    files = sorted((own / "images").rglob("*.png"))
    network, recipe = backbone(weights)
    kept = own / "kept"
    assert prepare_kept(kept, files, recipe) == "nothing"
    extract_features(files, network, recipe, kept=kept)
    assert prepare_kept(kept, files, recipe) == "the same"
    assert len(list(kept.iterdir())) == 2
    assert prepare_kept(kept, files, recipe.model_copy(update={"resize": 30})) == "another recipe"
    assert [path.name for path in kept.iterdir()] == ["key.json"]
    shutil.copy(files[0], files[1])
    assert prepare_kept(kept, files, recipe.model_copy(update={"resize": 30})) == "other pictures"


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


# ------------------------------------------------------------------------------------------- the
# network again


def test_the_network_of_a_recipe_is_found_again_where_it_lies_now(
    weights: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, recipe = backbone(weights)
    assert recipe.weights == weights.name
    files = [pictures / "ant" / "0.png"]
    expected = extract_features(files, network, recipe).features
    moved = shutil.copy(weights, tmp_path / "moved.pth")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load_backbone(recipe)
    assert str(caught.value) == (
        f"squeezenet.pth: there is no such file in the working folder {tmp_path}; expected the "
        "weights of squeezenet1_1 that the features were made with. Put it there, or say where it "
        "is: weights=FILE."
    )
    with pytest.raises(
        CheckpointError, match=r"^gone\.pth: there is no such file; expected .* is: weights=FILE"
    ):
        load_backbone(recipe, "gone.pth")
    assert np.array_equal(
        extract_features(files, load_backbone(recipe, str(moved)), recipe).features, expected
    )
    monkeypatch.chdir(weights.parent)
    assert np.array_equal(extract_features(files, load_backbone(recipe), recipe).features, expected)


def test_other_weights_than_those_of_the_features_are_refused(
    weights: Path, model: nn.Module, tmp_path: Path
) -> None:
    _, recipe = backbone(weights)
    torch.save(
        {name: tensor + 1 for name, tensor in model.state_dict().items()}, tmp_path / "other.pth"
    )
    with pytest.raises(
        CheckpointError,
        match=r"other\.pth: found a file with SHA-256 .* Give that file: --weights FILE, or extract",
    ):
        load_backbone(recipe, str(tmp_path / "other.pth"), "--weights ")


def test_a_network_nobody_knows_is_said() -> None:
    recipe = ImageRecipe(
        backbone="mine", weights="imagenet", weights_sha256="", resize=28, image_size=24
    )
    with pytest.raises(
        CheckpointError, match="made with the network mine, which is not among resnet18"
    ):
        load_backbone(recipe)


def test_weights_of_another_network_are_named_in_the_words_of_the_command(weights: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        build_network("resnet50", str(weights), TERMS)
    said = str(caught.value)
    assert said.startswith(
        f"--weights {weights}: these weights do not fit --backbone resnet50: of its 265 tensors "
        "265 are missing"
    )
    assert said.endswith(
        "They fit squeezenet1_1: set --backbone squeezenet1_1, or --weights to weights of resnet50."
    )


# ------------------------------------------------------------------------------------------- texts


def test_a_text_is_the_mean_of_its_tokens_whatever_texts_come_with_it() -> None:
    texts = ["a red bell", "a blue flower with five petals and a bell", "bell"]
    recipe = TextRecipe(encoder="tfidf", model=None, max_tokens=5, fitted_on=texts[:2])
    with pytest.warns(UserWarning, match="more than 5 tokens"):
        found = embed_texts(texts, recipe)
    with pytest.warns(UserWarning, match="more than 5 tokens"):
        tokens = encode(
            TextConfig(encoder="tfidf", model=None, max_tokens=5), texts, None, texts[:2]
        )
    alone = embed_texts(texts[:1], recipe)
    assert tokens.mask.sum(1).tolist() == [3, 5, 1]
    for row, states, mask in zip(found, tokens.states, tokens.mask, strict=True):
        np.testing.assert_allclose(row, states[mask].mean(0), rtol=1e-6)
    assert np.array_equal(alone[0], found[0])


@pytest.mark.parametrize(
    ("kind", "columns", "expected"),
    [("att", 1, ("size", None)), ("text", 9, (None, "tfidf")), ("sent", 9, (None, None))],
)
def test_one_kind_of_semantics_keeps_its_own_part_of_the_recipe(
    kind: str, columns: int, expected: tuple[str | None, str | None]
) -> None:
    whole = Recipe(attributes=["size"], texts=TextRecipe(encoder="tfidf", model=None, max_tokens=5))
    found = whole.of(kind, columns)
    assert (
        found.attributes[0] if found.attributes else None,
        found.texts.encoder if found.texts else None,
    ) == expected


# ------------------------------------------------------------------------------------------- the
# file


def test_the_file_holds_what_the_folder_and_the_table_say(
    run: Callable[..., int], own: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
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


def test_the_file_is_the_same_wherever_things_lie_and_names_no_place(
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
        made.append((place / "own.h5").read_bytes())
    assert made[0] == made[1]
    assert str(tmp_path).encode() not in made[0]
    found = hdf5.read(tmp_path / "here" / "own.h5")
    assert found.provenance.origin == "images"
    assert found.recipe.images is not None
    assert found.recipe.images.weights == "squeezenet.pth"


def test_tfidf_does_not_look_at_unseen_classes(run: Callable[..., int], own: Path) -> None:
    assert run() == 0
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
    kind: str, kinds: list[str], run: Callable[..., int], own: Path
) -> None:
    assert run("--semantics", kind) == 0
    found = hdf5.read(own / "own.h5")
    assert list(found.semantics) == kinds
    assert (found.recipe.texts is None) == (kind == "attributes")
    assert found.recipe.attributes == (["size"] if kind == "attributes" else [])


def test_a_table_of_labels_takes_the_place_of_folders(run: Callable[..., int], own: Path) -> None:
    assert run(out="folders.h5") == 0
    files = sorted(
        path.relative_to(own / "images").as_posix() for path in (own / "images").rglob("*.png")
    )
    (own / "labels.csv").write_text(
        "file,class\n" + "".join(f"{file},{file[:3]}\n" for file in reversed(files))
    )
    assert run("--labels", str(own / "labels.csv"), out="table.h5") == 0
    by_folder, by_table = hdf5.read(own / "folders.h5"), hdf5.read(own / "table.h5")
    assert by_table.files == tuple(reversed(files))
    assert np.array_equal(by_table.labels, by_folder.labels[::-1])
    assert np.array_equal(by_table.features, by_folder.features[::-1])


def test_files_are_not_written_over_unless_it_is_said(
    run: Callable[..., int], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "own.h5").write_text("mine")
    assert run() == 1
    assert (
        message(capsys)
        == f"{own / 'own.h5'}: this file exists; --overwrite replaces it. Or give another name.\n"
    )
    assert (own / "own.h5").read_text() == "mine"
    assert run("--overwrite") == 0
    with h5py.File(own / "own.h5") as file:
        assert file.attrs["name"] == "own"


def test_bad_images_are_listed_and_the_rest_goes_on(
    run: Callable[..., int], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "images" / "ant" / "0.png").write_bytes(b"broken")
    assert run() == 0
    listed = f"Warning: 1 of 20 images cannot be read and is left out; {own / 'own.bad.csv'} lists them (the first: ant/0.png: cannot be"
    assert listed in message(capsys)
    with (own / "own.bad.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["ant/0.png"]
    assert rows[0]["reason"].startswith("cannot be read as an image")
    assert hdf5.read(own / "own.h5").labels.tolist() == [0] * 3 + np.repeat(range(1, 5), 4).tolist()
    Image.new("RGB", (40, 30)).save(own / "images" / "ant" / "0.png")
    assert run("--overwrite") == 0
    assert not (own / "own.bad.csv").exists()


def test_a_class_that_loses_all_its_images_is_an_error(
    run: Callable[..., int], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for picture in (own / "images" / "bee").iterdir():
        picture.write_bytes(b"broken")
    assert run() == 1
    said = message(capsys)
    assert "4 of 20 images cannot be read and are left out" in said
    assert "class 'bee': none of its 4 images can be read" in said
    assert "Mend them, or take the class out" in said
    assert not (own / "own.h5").exists()


def test_a_seen_class_with_a_single_image_is_said(
    run: Callable[..., int], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2, 3):
        (own / "images" / "ant" / f"{number}.png").unlink()
    assert run() == 0
    assert (
        "Warning: 1 of 4 seen classes has a single image ('ant'): it is trained on, none tests "
        "them." in message(capsys)
    )


# ------------------------------------------------------------------------------------------- which
# pictures


def without(folder: Path, name: str) -> None:
    shutil.rmtree(folder / "images" / name)


def test_files_that_are_no_pictures_are_ignored_with_a_warning(own: Path) -> None:
    (own / "images" / "readme.txt").write_text("hello")
    (own / "images" / "ant" / "notes.doc").write_text("hello")
    (own / "images" / "ant" / "._0.png").write_text("of a Mac")
    (own / "images" / ".cache").mkdir()
    (own / "images" / "empty").mkdir()
    with pytest.warns(
        UserWarning,
        match=r"2 files are no image of a class and ignored \(the first: ant/notes\.doc\)",
    ):
        found = find_class_pictures(own / "images", table(own), None)
    assert len(found.names) == 20


def test_pictures_may_lie_deeper_and_names_in_another_normal_form(own: Path) -> None:
    (own / "images" / "ant" / "more").mkdir()
    shutil.move(own / "images" / "ant" / "0.png", own / "images" / "ant" / "more" / "0.png")
    shutil.move(own / "images" / "eel", own / "images" / "a\u0308al")
    found = find_class_pictures(own / "images", table(own, CLASSES.replace("eel", "äal")), None)
    assert found.names[3] == "ant/more/0.png"
    assert found.labels.tolist() == np.repeat(range(5), 4).tolist()


def test_a_class_without_images_is_named_with_both_ways_out(own: Path) -> None:
    for name in ("bee", "eel"):
        without(own, name)
    with pytest.raises(DataError) as caught:
        find_class_pictures(own / "images", table(own), None)
    assert str(caught.value) == (
        f"{own / 'images'}: found no image of 2 classes ('bee', 'eel') of {own / 'table.csv'}; "
        "expected at least one of each. Add images, or take the classes out of the table: a class "
        "without images can be given when the trained model predicts (task=predict classes=FILE)."
    )


def test_a_folder_without_a_class_is_named_with_the_near_one(own: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"found the folder 'dog' with images, .* Did you mean 'dogs'\? Add a line for each "
        r"class, or move",
    ):
        find_class_pictures(own / "images", table(own, CLASSES.replace("dog,", "dogs,")), None)


def test_pictures_without_folders_need_labels(own: Path) -> None:
    (own / "flat").mkdir()
    shutil.copy(own / "images" / "ant" / "0.png", own / "flat")
    with pytest.raises(
        DataError,
        match=r"found no folder with images; .* --labels FILE, a CSV file with the columns file "
        r"and class",
    ):
        find_class_pictures(own / "flat", table(own), None)


def test_a_name_that_is_no_text_is_said_before_anything_is_computed(own: Path) -> None:
    shutil.copy(own / "images" / "ant" / "0.png", own / "images" / "ant" / "b\udcffd.png")
    with pytest.raises(
        DataError,
        match=r"found a file called 'ant/b\\udcffd\.png'; expected .* Rename the file, or take it "
        r"out",
    ):
        find_class_pictures(own / "images", table(own), None)


def test_a_labelled_file_that_is_missing_is_named(own: Path) -> None:
    (own / "labels.csv").write_text("file,class\nant/0.png,ant\nant/9.png,ant\n")
    with pytest.raises(DataError, match=r"ant/9\.png: no such file"):
        find_class_pictures(own / "images", table(own), own / "labels.csv")


# ------------------------------------------------------------------------------------------- which
# classes


def plain(count: int, **columns: list[str]) -> str:
    """A table of so many classes with other columns."""
    lines = [",".join(["class", "a", *columns])]
    return "\n".join(
        [
            *lines,
            *(
                ",".join([f"c{i}", str(i), *(column[i] for column in columns.values())])
                for i in range(count)
            ),
            "",
        ]
    )


def test_a_fifth_of_the_classes_is_drawn_by_the_seed(tmp_path: Path) -> None:
    classes = table(tmp_path, plain(20))
    first, again, other = (choose_parts(classes, None, seed) for seed in (0, 0, 1))
    assert len(first.unseen) == 4
    assert first.unseen.tolist() == again.unseen.tolist() != other.unseen.tolist()
    assert first.validation is None
    assert (first.version, other.version) == ("drawn, seed=0", "drawn, seed=1")
    assert len(choose_parts(classes, 7, 0).unseen) == 7
    assert len(choose_parts(classes, 0.5, 0).unseen) == 10


def test_classes_that_the_backbone_was_trained_on_are_never_drawn(tmp_path: Path) -> None:
    classes = table(tmp_path, plain(10, pretrained=["yes"] * 7 + ["no", "", "no"]))
    assert all(choose_parts(classes, 3, seed).unseen.tolist() == [7, 8, 9] for seed in range(3))
    with pytest.raises(
        ConfigError,
        match=r"4 classes are to be drawn, but of 10 in .* only 3 are undecided and not "
        r"pretrained\. Give a",
    ):
        choose_parts(classes, 4, 0)


def test_what_the_table_leaves_open_is_drawn_beside_what_it_says(tmp_path: Path) -> None:
    parts = ["unseen", "seen", "validation", *[""] * 7]
    for seed in range(5):
        found = choose_parts(table(tmp_path, plain(10, split=parts)), 3, seed)
        assert len(found.unseen) == 3
        assert 0 in found.unseen
        assert not {1, 2} & set(found.unseen.tolist())
        assert found.validation is not None
        assert found.validation.tolist() == [2]
    assert found.version == "partly given in table.csv, seed=4"


def test_at_least_two_classes_are_drawn_where_two_are_left(tmp_path: Path) -> None:
    for count, expected in ((4, 2), (5, 2), (7, 2), (13, 3)):
        assert len(choose_parts(table(tmp_path, plain(count)), None, 0).unseen) == expected
    given = table(tmp_path, plain(6, split=["unseen", *[""] * 5]))
    assert len(choose_parts(given, None, 0).unseen) == 2
    assert len(choose_parts(given, 0.1, 0).unseen) == 2


@pytest.mark.parametrize(
    ("count", "columns", "unseen"),
    [
        (3, {}, None),
        (6, {"pretrained": ["no", *["yes"] * 5]}, None),
        (6, {}, 1),
        (5, {"split": ["unseen", *["seen"] * 4]}, None),
    ],
    ids=["too few classes", "pretrained", "asked for", "given"],
)
def test_a_single_unseen_class_is_said(
    count: int, columns: dict[str, list[str]], unseen: int | None, tmp_path: Path
) -> None:
    classes = table(tmp_path, plain(count, **columns))
    with pytest.warns(
        UserWarning,
        match=r"table\.csv: 'c\d' is the only unseen class: .* \(zsl_top1 is 100\)\. Write unseen "
        r"for another",
    ):
        assert len(choose_parts(classes, unseen, 0).unseen) == 1


def test_one_is_counted_as_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found 1 class, 1 of them unseen"):
        choose_parts(table(tmp_path, plain(1)), None, 0)
    with pytest.raises(
        ConfigError,
        match=r"--unseen: 1 class is to be drawn, but of 3 in .* only 0 are undecided and not "
        r"pretrained\.",
    ):
        choose_parts(table(tmp_path, plain(3, pretrained=["yes"] * 3)), 1, 0)


@pytest.mark.parametrize(
    ("columns", "unseen", "expected"),
    [
        (
            {"split": ["unseen", "seen", "seen", ""], "pretrained": ["yes", "no", "no", "no"]},
            None,
            "class 'c0': found unseen in column 'split' and yes in column 'pretrained'; expected "
            "a class that the backbone was not trained on, or it is not unseen. Make it seen, or "
            "take a backbone without it and write no.",
        ),
        (
            {"split": ["seen", "seen", "seen", "validation"]},
            None,
            "column 'split': found no unseen class; expected at least 1.",
        ),
        (
            {"split": ["unseen", "unseen", "unseen", "seen"]},
            None,
            "found 4 classes, 3 of them unseen; expected at least 2 to be left",
        ),
        ({}, 3, "found 4 classes, 3 of them unseen; expected at least 2 to be left to train on."),
        (
            {"split": ["unseen", "seen", "seen", "seen"]},
            2,
            "--unseen 2: column 'split' of {table} says of every class what it is.",
        ),
        (
            {"split": ["unseen", "unseen", "seen", ""]},
            1,
            "--unseen 1: column 'split' of {table} has 2 unseen classes already.",
        ),
        (
            {"split": ["validation", "validation", "seen", "unseen"]},
            None,
            "{table}: column 'split': found 2 validation classes among 3 that are not unseen; "
            "expected at least 2 others, to train on while"
            " these choose the step. Write seen for some of them, or make fewer unseen.",
        ),
        (
            {"split": ["validation", "seen", "", "unseen"]},
            2,
            "found 1 validation class among 2 that are not unseen; expected at least 2 others",
        ),
        (
            {},
            5,
            "--unseen: 5 classes are to be drawn, but of 4 in {table} only 4 are undecided. Give a "
            "smaller",
        ),
    ],
)
def test_a_split_that_cannot_be_is_refused(
    columns: dict[str, list[str]], unseen: int | None, expected: str, tmp_path: Path
) -> None:
    classes = table(tmp_path, plain(4, **columns))
    with pytest.raises((ConfigError, DataError)) as caught:
        choose_parts(classes, unseen, 0)
    assert expected.format(table=classes.path) in str(caught.value)


# ------------------------------------------------------------------------------------------- the
# command


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
            "tfidf.",
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
    run: Callable[..., int],
    own: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(*options) == 2
    assert expected in message(capsys)
    assert not list(own.glob("own*"))


def test_an_output_of_another_kind_is_refused(
    run: Callable[..., int], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(out="own.mat") == 2
    assert f"{own / 'own.mat'}: expected a name that ends in .h5" in message(capsys)


def test_semantics_that_the_table_lacks_are_refused(
    run: Callable[..., int], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "classes.csv").write_text("class,size\nant,1\n")
    assert run("--semantics", "descriptions") == 2
    assert (
        "classes.csv has none. Add the column description, or give --semantics attributes."
        in message(capsys)
    )


def test_what_encoders_say_is_in_the_words_of_the_command(
    run: Callable[..., int], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--text-encoder", "bert", "--text-model", str(own)) == 2
    said = message(capsys)
    assert f"\n--text-model {own}: cannot be loaded" in said
    assert (
        "choose an encoder that needs no download: --text-encoder minilm or tfidf. Or leave the "
        "texts out: --semantics attributes." in said
    )
    assert run("--max-tokens", "2") == 0
    assert "or give a higher --max-tokens, as far as the encoder allows." in message(capsys)


def test_missing_weights_are_named(
    run: Callable[..., int], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--weights", str(own / "none.pth")) == 1
    assert (
        f"--weights {own / 'none.pth'}: there is no such file. Give the file of a state dict of "
        "squeezenet1_1" in message(capsys)
    )


def test_a_misspelt_option_does_not_wait_for_torch() -> None:
    code = "import sys; from zsl_lab.cli.data.main import main; print(main(['extract', '--imags', 'x']), 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["2", "False"]
