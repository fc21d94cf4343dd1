"""Classes given only at prediction time: what a trained N3 says of images of theirs, and of what is wrong with the input."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor, nn

from tests.conftest import SHORT_FIT, SHORT_SGAL
from zsl_lab import cli
from zsl_lab.config import parse
from zsl_lab.data.benchmark import ImageBenchmark
from zsl_lab.data.datamodule import ClassSpace
from zsl_lab.data.dataset import DataPaths
from zsl_lab.data.image_module import ImageDataModule
from zsl_lab.data.splits import test_split as final_split
from zsl_lab.errors import CheckpointError, ConfigError, DataError, OutputError
from zsl_lab.files import atomic_write
from zsl_lab.methods.n3 import N3
from zsl_lab.methods.n3.base_network import BaseConfig, build_base_network
from zsl_lab.predict import Prediction, predict, print_prediction
from zsl_lab.reporting import artifacts
from zsl_lab.result import Result
from zsl_lab.run import run
from zsl_lab.text import TokenStates

UNSEEN = ("2", "4", "5")
COLOURS = {"ant": (250, 0, 0), "bee": (0, 250, 0), "cat": (0, 0, 250), "dog": (250, 250, 0), "eel": (0, 250, 250)}
#: the keys of a folder of images that has five classes
FOLDER = (
    *("dataset=flowers", "dataset.folder=toy", "dataset.split_file=null", "dataset.image_order=null", "dataset.unseen_classes=[dog,eel]"),
    *("dataset.image_size=6", "dataset.resize=9", "method.text.encoder=tfidf", "method.base.name=small_cnn", "selection=last"),
    "dataset.description_format='{name}: {description}'",
)


def configured(folder: Path, *overrides: str) -> DictConfig:
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        cfg = compose("config", list(overrides))
    cfg.paths.run_dir = str(folder)
    cfg.paths.cache_dir = str(folder.parent / "cache")
    return cfg


@pytest.fixture(scope="module")
def no_figures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "draw_figures", lambda *args, **kwargs: None)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, no_figures: None) -> Path:
    """The folder of a finished run on the digits other than 2, 4 and 5."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    run(configured(folder, "method=n3", *SHORT_FIT["n3"], "selection=last"))
    return folder


@pytest.fixture(scope="module")
def digits() -> ImageBenchmark:
    config = parse(configured(Path(), "method=n3", *SHORT_FIT["n3"]))
    return config.dataset.load_images(None)  # type: ignore[arg-type]


@pytest.fixture
def images(digits: ImageBenchmark, tmp_path: Path) -> Path:
    """The first thirty images of unseen digits, named by their index in the benchmark."""
    folder = tmp_path / "images"
    folder.mkdir()
    for index in digits.test_unseen[:30]:
        Image.fromarray(digits.images[index, :, :, 0]).save(folder / f"{index:04}.png")
    return folder


def classes_file(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def predicted(trained: Path, images: Path, digits: ImageBenchmark, tmp_path: Path) -> Callable[..., Prediction]:
    """Predict with the trained N3 among the three unseen digits, unless other classes or keys are given."""

    def predicted(classes: object = None, *overrides: str, out: str = "out", **keys: object) -> Prediction:
        content = {name: digits.descriptions[int(name)] for name in UNSEEN} if classes is None else classes
        cfg = configured(tmp_path / out, "method=n3", *SHORT_FIT["n3"], "task=predict", *overrides)
        given = {"ckpt": trained, "descriptions": classes_file(tmp_path / "classes.json", content), "images": images, **keys}
        for key, value in given.items():
            cfg[key] = None if value is None else str(value)
        return predict(cfg)

    return predicted


def rows(prediction: Prediction) -> list[dict[str, str]]:
    with prediction.table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def directly(trained: Path, cfg: DictConfig) -> tuple[N3, ImageDataModule]:
    """The trained method as its own dataset builds it, all classes included."""
    config = parse(cfg)
    benchmark = config.dataset.load_images(DataPaths(Path(config.paths.data_dir), config.paths.cache_folder))
    data = config.dataset.data_module(benchmark, final_split(benchmark))
    assert isinstance(data, ImageDataModule)
    method = config.method_class.build(config.method, data, weights_follow=True)
    assert isinstance(method, N3)
    method.load_state_dict(torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"])
    return method.eval(), data


# ------------------------------------------------------------------------------------------------ what is predicted


def test_classes_given_only_now_get_what_the_method_itself_says_of_them(
    predicted: Callable[..., Prediction], trained: Path, digits: ImageBenchmark, tmp_path: Path
) -> None:
    prediction = predicted()
    method, data = directly(trained, configured(tmp_path / "x", "method=n3", *SHORT_FIT["n3"]))
    with torch.no_grad():
        batch = data.samples(digits.test_unseen[:30])
        expected = method.logits(batch.inputs, method.adapt(torch.tensor([2, 4, 5]))).softmax(1)
    assert prediction.classes == UNSEEN
    assert prediction.files == tuple(f"{index:04}.png" for index in digits.test_unseen[:30])
    torch.testing.assert_close(prediction.probabilities, expected)
    assert prediction.predicted == [UNSEEN[position] for position in expected.argmax(1).tolist()]


def test_the_table_holds_the_likeliest_class_and_the_probability_of_each(predicted: Callable[..., Prediction]) -> None:
    prediction = predicted()
    table = rows(prediction)
    assert list(table[0]) == ["file", "predicted", "probability", *UNSEEN]
    assert [row["file"] for row in table] == list(prediction.files)
    for row, probabilities in zip(table, prediction.probabilities.tolist(), strict=True):
        values = {name: float(row[name]) for name in UNSEEN}
        assert list(values.values()) == pytest.approx(probabilities, abs=1e-5)
        assert sum(values.values()) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == max(values, key=lambda name: values[name])
        assert float(row["probability"]) == max(values.values())


def test_another_order_of_the_classes_permutes_the_columns_and_nothing_else(
    predicted: Callable[..., Prediction], digits: ImageBenchmark
) -> None:
    straight = predicted()
    listed = predicted([{"name": name, "description": digits.descriptions[int(name)]} for name in "524"], out="listed")
    assert listed.classes == ("5", "2", "4")
    assert listed.files == straight.files
    torch.testing.assert_close(listed.probabilities, straight.probabilities[:, [2, 0, 1]])
    networks = [torch.load(prediction.network, weights_only=True) for prediction in (straight, listed)]
    for name, tensor in networks[0].items():
        expected = tensor[[2, 0, 1]] if name.startswith("classifier") else tensor
        torch.testing.assert_close(networks[1][name], expected, rtol=1e-4, atol=1e-6)


def test_lists_with_ids_are_taken_by_id(predicted: Callable[..., Prediction], digits: ImageBenchmark) -> None:
    entries = [{"class_id": i, "name": name, "description": digits.descriptions[int(name)]} for i, name in ((3, "2"), (1, "4"), (2, "5"))]
    assert predicted(entries).classes == ("4", "5", "2")


def test_ten_classes_can_be_told_apart_as_well_as_three(predicted: Callable[..., Prediction], digits: ImageBenchmark) -> None:
    prediction = predicted(dict(zip(digits.class_names, digits.descriptions, strict=True)))
    assert prediction.probabilities.shape == (30, 10)


def test_images_in_folders_inside_count_and_other_files_do_not(predicted: Callable[..., Prediction], images: Path) -> None:
    alone = predicted()
    (images / "more").mkdir()
    first = images / alone.files[0]
    # larger and in colour: scaled, and seen as grey
    Image.open(first).convert("RGB").resize((64, 64), Image.Resampling.NEAREST).save(images / "more" / "large.PNG")
    first.rename(images / "more" / first.name)
    (images / "notes.txt").write_text("no image")
    prediction = predicted(out="again")
    assert prediction.files == (*alone.files[1:], f"more/{first.name}", "more/large.PNG")
    torch.testing.assert_close(prediction.probabilities[:-1], alone.probabilities.roll(-1, 0))
    torch.testing.assert_close(prediction.probabilities[-1], alone.probabilities[0], atol=0.02, rtol=0)


def test_classes_with_the_same_text_are_reported_and_share_their_probability(predicted: Callable[..., Prediction]) -> None:
    with pytest.warns(UserWarning, match="found the same text for 'a' and 'b'. Such classes cannot be told apart"):
        prediction = predicted({"a": "A closed loop.", "b": "A closed loop.", "c": "A single straight line."})
    torch.testing.assert_close(prediction.probabilities[:, 0], prediction.probabilities[:, 1])


def test_a_file_checkpoint_gives_what_the_runs_folder_gives(predicted: Callable[..., Prediction], trained: Path) -> None:
    by_file = predicted(ckpt=trained / "checkpoints" / "best.ckpt", out="file")
    assert by_file.table.read_bytes() == predicted().table.read_bytes()


def test_without_the_gpu_that_it_was_trained_on_the_cpu_predicts(
    predicted: Callable[..., Prediction], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match=r"trainer\.accelerator=gpu: PyTorch finds no GPU on this machine"):
        predicted(None, "hardware=gpu")


def test_what_is_printed_counts_images_and_names_both_files(
    predicted: Callable[..., Prediction], capsys: pytest.CaptureFixture[str]
) -> None:
    prediction = replace(predicted(), probabilities=torch.tensor([[0.5, 0.3, 0.2]] * 20 + [[0.1, 0.0, 0.9]] * 10))
    print_prediction(prediction)
    lines = capsys.readouterr().out.splitlines()
    assert "30 images, 2 of 3 classes predicted" in lines
    cells = [line.split() for line in lines]
    assert ["2", "20", "0.50"] in cells
    assert ["5", "10", "0.90"] in cells
    assert lines[-2:] == [f"predictions: {prediction.table}", f"network:     {prediction.network} (state dict of small_cnn)"]


def test_of_many_classes_those_with_most_images_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    names = tuple(f"class {i}" for i in range(30))
    print_prediction(Prediction(names, names, torch.eye(30), "resnet18", Path("a.csv"), Path("b.pth")))
    printed = capsys.readouterr().out
    assert printed.count("1.00") == 20
    assert "and 10 more classes" in printed


# ------------------------------------------------------------------------------------------------ a folder of images


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with five classes of four pictures, 12 x 10 pixels of noise about a colour."""
    folder = tmp_path_factory.mktemp("data") / "toy"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    labels = ["file,class"]
    for name, colour in COLOURS.items():
        for i in range(4):
            pixels = np.clip(np.array(colour) + rng.integers(-60, 60, (10, 12, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"{name}{i}.png")
            labels.append(f"{name}{i}.png,{name}")
    (folder / "labels.csv").write_text("\n".join(labels))
    described = {name: f"its red is {r}, its green {g}, its blue {b}" for name, (r, g, b) in COLOURS.items()}
    (folder / "descriptions.json").write_text(json.dumps(described))
    return folder


@pytest.mark.usefixtures("no_figures")
def test_images_are_cut_and_texts_are_formatted_as_the_runs_dataset_does(toy: Path, tmp_path: Path) -> None:
    overrides = ("method=n3", *SHORT_FIT["n3"], *FOLDER, "tuned=none", f"paths.data_dir={toy.parent}")
    run(
        configured(
            tmp_path / "run", *overrides, "method.base.name=small_cnn", "method.text.encoder=tfidf", "method.base_steps=5", "method.steps=5"
        )
    )
    described = json.loads((toy / "descriptions.json").read_text())
    cfg = configured(tmp_path / "out", *overrides, "task=predict")
    cfg.ckpt, cfg.images = str(tmp_path / "run"), str(toy / "images")
    cfg.descriptions = str(classes_file(tmp_path / "classes.json", {name: described[name] for name in ("eel", "ant")}))
    prediction = predict(cfg)
    method, data = directly(tmp_path / "run", configured(tmp_path / "x", *overrides))
    with torch.no_grad():
        batch = data.samples(np.arange(20))
        expected = method.logits(batch.inputs, method.adapt(torch.tensor([4, 0]))).softmax(1)
    assert batch.inputs.shape == (20, 3, 6, 6)
    assert list(prediction.files) == sorted(f"{name}{i}.png" for name in COLOURS for i in range(4))
    torch.testing.assert_close(prediction.probabilities, expected)


# ------------------------------------------------------------------------------------------------ the adapted network


def test_the_stored_network_gives_the_same_probabilities(predicted: Callable[..., Prediction], digits: ImageBenchmark) -> None:
    prediction = predicted()
    state = torch.load(prediction.network, weights_only=True)
    assert all(isinstance(tensor, Tensor) for tensor in state.values())
    network = build_base_network(BaseConfig(name="small_cnn", weights=None), channels=1)
    network.load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith("classifier")})
    x = torch.from_numpy(digits.images[digits.test_unseen[:30]].transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        logits = network(x) @ state["classifier.weight"].T + state["classifier.bias"]
    torch.testing.assert_close(logits.softmax(1), prediction.probabilities)


def n3(name: str, *overrides: str) -> N3:
    """An N3 that nobody trained for three classes, with deltas of the size of the weights."""
    cfg = configured(Path(), "method=n3", *SHORT_FIT["n3"], "method.mu=0.05", "method.gamma=0.9", *overrides)
    settings: Any = parse(cfg).method
    torch.manual_seed(0)
    text = TokenStates(np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32), np.ones((3, 4), dtype=bool))
    classes = ClassSpace(np.arange(3), np.zeros((3, 0), dtype=np.float32), np.array([True, True, False]), tuple("abc"), tuple("abc"))
    base = build_base_network(BaseConfig(name=name, weights=None), 3, load=False)  # type: ignore[arg-type]
    return N3(settings, base, text, classes).eval()


@pytest.mark.parametrize(
    ("name", "options"), [("resnet18", {}), ("squeezenet1_1", {}), ("googlenet", {"aux_logits": False, "init_weights": True})]
)
@pytest.mark.parametrize("adapt", ["all", "classifier"])
def test_torchvisions_own_network_loads_the_export_and_gives_the_same_logits(name: str, options: dict[str, bool], adapt: str) -> None:
    models: Any = pytest.importorskip("torchvision.models", reason='needs torchvision: pip install "zsl-lab[n3]"')
    model = n3(name, f"method.adapt={adapt}")
    theirs = models.get_model(name, num_classes=3, **options).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    model.base.load_state_dict(theirs.state_dict(), strict=False)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        adaptation = model.adapt(torch.tensor([2, 0, 1]))
        expected = model.logits(images, adaptation)
        state = model.export(adaptation)
        theirs.load_state_dict(state)
        if name == "squeezenet1_1":  # clips before it averages
            theirs.classifier[2] = nn.Identity()
        found = theirs((images / 255 - model.base.mean) / model.base.std)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert float(expected.std()) > 0
    adapted = [tensor.name for tensor in model.base.tensors if not torch.equal(state[tensor.name], model.base.state_dict()[tensor.name])]
    assert adapted == ([tensor.name for tensor in model.base.tensors] if adapt == "all" else [])


def test_an_export_is_no_part_of_the_method() -> None:
    model = n3("small_cnn")
    state = model.export(model.adapt(torch.arange(3)))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for tensor in state.values():
        assert not tensor.requires_grad
        tensor.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


# ------------------------------------------------------------------------------------------------ bad input


@pytest.fixture
def refused(predicted: Callable[..., Prediction], tmp_path: Path) -> Callable[..., None]:
    """Expect a sentence, and nothing written."""

    def refused(error: type[Exception], sentence: str, classes: object = None, *overrides: str, **keys: object) -> None:
        with pytest.raises(error, match=sentence):
            predicted(classes, *overrides, **keys)
        assert not (tmp_path / "out").exists()

    return refused


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (["ckpt"], r"^task=predict needs a trained N3: ckpt=RUN, a run's folder, or ckpt=RUN/checkpoints/best\.ckpt\.$"),
        (["descriptions"], r"^task=predict needs the classes: descriptions=my_classes\.json, with \{\"name\": \"text\", \.\.\.\}"),
        (["images"], r"^task=predict needs a folder of images: images=my_images/\.$"),
        (["ckpt", "descriptions", "images"], r"(?s)a trained N3.*\n.*the classes.*\n.*a folder of images"),
    ],
)
def test_every_key_that_is_missing_is_named_with_an_example(refused: Callable[..., None], keys: list[str], sentence: str) -> None:
    refused(ConfigError, sentence, None, **dict.fromkeys(keys))


def test_keys_of_predict_are_refused_in_a_training_run() -> None:
    for key in ("descriptions", "images"):
        with pytest.raises(ConfigError, match=rf"^{key}=x: this key belongs to task=predict\. Set task=predict, or leave {key} out\.$"):
            parse(configured(Path(), f"{key}=x"))


def test_a_runs_own_configuration_knows_nothing_of_predictions() -> None:
    plain = parse(configured(Path(), "task=predict", "images=x")).plain
    assert not {"images", "descriptions"} & set(plain)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", r"^descriptions=.*classes\.json: found no valid JSON .*Mend the file, or give another: descriptions=FILE\.$"),
        ("[]", "found something else, or nothing; expected a list of"),
        ("3", "found something else, or nothing"),
        ({"a": "A closed loop."}, "found 1 class; expected at least 2, to tell them apart"),
        ({"a": "A closed loop.", "b": " "}, r"field 'description': found an empty text for class 2 \('b'\)"),
        ([{"name": "a", "description": "A closed loop."}, {"name": "b"}], r"field 'description': found nothing for class 2 \('b'\)"),
        ([{"name": "a", "description": "x"}, {"name": "a", "description": "y"}], "field 'name': found 'a' more than once"),
        ([{"name": "a", "description": "x", "class_id": 1}, {"name": "b", "description": "y"}], "field 'class_id': found none"),
        ({"file": "A closed loop.", "b": "A line."}, r"field 'name': found 'file', which is a column of predictions\.csv"),
    ],
)
def test_classes_that_cannot_be_used_are_named(refused: Callable[..., None], content: object, sentence: str) -> None:
    refused(DataError, sentence, content)


def test_a_missing_file_of_classes_is_named(refused: Callable[..., None], tmp_path: Path) -> None:
    refused(DataError, r"^descriptions=.*none\.json: cannot be read \(No such file", None, descriptions=tmp_path / "none.json")


def test_a_folder_without_images_is_named(refused: Callable[..., None], trained: Path, tmp_path: Path) -> None:
    refused(DataError, r"^images=.*nowhere: there is no such folder; expected a folder of images", None, images=tmp_path / "nowhere")
    refused(DataError, r"config\.yaml: this is a file; expected a folder", None, images=trained / "config.yaml")
    refused(DataError, r"checkpoints: found no image in this folder or those in it", None, images=trained / "checkpoints")


def test_broken_images_are_named_and_nothing_is_written(refused: Callable[..., None], images: Path) -> None:
    files = sorted(images.iterdir())
    files[3].write_text("no picture")
    refused(DataError, rf"{files[3].name}: cannot be read as an image \(the bytes of no known format\)(?s:.*)1 of 30 images: mend them")
    for file in files[10:15]:
        file.write_bytes(file.read_bytes()[:60])
    refused(DataError, rf"(?s){files[10].name}.*{files[11].name}.*\n3 more cannot be read\.\n6 of 30 images.* Nothing was written")


def test_a_checkpoint_of_another_method_is_refused(refused: Callable[..., None], tmp_path: Path) -> None:
    cfg = configured(tmp_path / "out", "method=sgal", *SHORT_SGAL, "task=predict")
    cfg.ckpt = "sgal.ckpt"
    with pytest.raises(
        ConfigError, match=r"ckpt=sgal\.ckpt: this is a checkpoint of method=sgal\. .* methods that take images \(method=n3\)"
    ):
        predict(cfg)


def test_only_the_reported_state_of_a_finished_run_is_taken(refused: Callable[..., None], trained: Path, tmp_path: Path) -> None:
    refused(CheckpointError, r"it is not the selected one\. Give the run's best\.ckpt", None, ckpt=trained / "checkpoints" / "last.ckpt")
    selecting = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    selecting["zsl_lab"]["phase"] = "select"
    torch.save(selecting, tmp_path / "select.ckpt")
    refused(CheckpointError, "this state is from the selection phase", None, ckpt=tmp_path / "select.ckpt")
    refused(CheckpointError, r"this folder has no checkpoints/best\.ckpt", None, ckpt=trained.parent)
    refused(CheckpointError, "there is no such file", None, ckpt=tmp_path / "none.ckpt")
    (tmp_path / "page.ckpt").write_text("<html>")
    refused(CheckpointError, "this is not a readable checkpoint", None, ckpt=tmp_path / "page.ckpt")


def test_weights_of_other_widths_are_refused(refused: Callable[..., None]) -> None:
    refused(CheckpointError, r"its weights do not fit the configuration \(size mismatch for .*", None, "method.hidden_dim=32")


def test_where_the_network_cannot_be_written_no_table_remains(
    predicted: Callable[..., Prediction], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(path: Path, content: Any) -> Path:
        if path.suffix == ".pth":
            raise OutputError("the disk is full")
        return atomic_write(path, content)

    monkeypatch.setattr("zsl_lab.predict.atomic_write", full)
    with pytest.raises(OutputError, match="the disk is full"):
        predicted()
    assert list((tmp_path / "out").iterdir()) == []


# ------------------------------------------------------------------------------------------------ the command


def test_the_command_predicts_from_a_runs_folder_alone_and_warns_in_sentences(
    trained: Path, images: Path, digits: ImageBenchmark, tmp_path: Path
) -> None:
    described = {name: digits.descriptions[int(name)] for name in UNSEEN}
    classes_file(tmp_path / "my classes.json", {**described, "two": described["2"]})
    keys = (f"ckpt={trained}", "descriptions='my classes.json'", "images=images/")
    environment = {**os.environ, "ZSL_LAB_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "zsl_lab", "task=predict", *keys]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said = "my classes.json: field 'description': found the same text for '2' and 'two'. Such classes cannot be told apart."
    assert done.stderr == f"Warning: {said}\n"
    (folder,) = tmp_path.glob("outputs/predict/*")
    assert {path.name for path in folder.iterdir()} == {".hydra", "predictions.csv", "network.pth"}
    lines = done.stdout.splitlines()
    assert f"predictions: {folder / 'predictions.csv'}" in lines
    assert any(line.startswith("30 images, ") for line in lines)
    with (folder / "predictions.csv").open() as file:
        assert [row["file"] for row in csv.DictReader(file)] == sorted(path.name for path in images.iterdir())


Command = Callable[..., int]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command in this process, in a folder of its own; gives its exit code."""

    def command(*arguments: str) -> int:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("ZSL_LAB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(sys, "argv", ["zsl_lab", *arguments])
        monkeypatch.setattr(cli, "_failures", [])
        try:
            cli.main()
        except SystemExit as exit_:
            return int(str(exit_.code))
        return 0

    return command


def test_a_runs_folder_is_tested_as_its_best_checkpoint_is(trained: Path, command: Command, tmp_path: Path) -> None:
    assert command("task=test", f"ckpt={trained}") == 0
    (found,) = tmp_path.glob("outputs/test/*/result.json")
    tested, reported = Result.load(found), Result.load(trained / "result.json")
    assert tested.metrics == reported.metrics
    assert tested.training == reported.training
    assert tested.checkpoint == str(trained / "checkpoints" / "best.ckpt")


@pytest.mark.parametrize("task", ["task=test", "task=predict"])
@pytest.mark.parametrize(
    ("override", "found"),
    [
        # what this run's small network and encoder say of them shows that they arrived
        ("method.base.weights=moved.pth", "method.base.weights=moved.pth: method.base.name=small_cnn takes no weights"),
        ("+method.text.model=moved/", "method.text: found model=moved/ with encoder="),
    ],
)
def test_a_checkpoint_leaves_open_where_weights_and_encoder_lie(
    trained: Path, images: Path, command: Command, capsys: pytest.CaptureFixture[str], task: str, override: str, found: str
) -> None:
    keys = [f"descriptions={trained / 'classes.json'}", f"images={images}"] if task == "task=predict" else []
    classes_file(trained / "classes.json", {"a": "A closed loop.", "b": "A single straight line."})
    assert command(task, f"ckpt={trained}", override, *keys) == 2
    assert found in capsys.readouterr().err
