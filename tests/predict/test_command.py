"""task=predict: its keys, its files and its messages."""

from __future__ import annotations

import csv
import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

import zsl_lab
from tests.conftest import ENTRIES, OF_FEATURES, SHORT_FIT, Command, composed
from tests.helpers.forked import run_command
from zsl_lab.data.batches.images import ImageDataModule
from zsl_lab.data.benchmark import FeatureBenchmark, ImageBenchmark
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.datasets.synthetic import SyntheticDataset
from zsl_lab.data.recipe import ImageRecipe, Recipe
from zsl_lab.data.splits import test_split as final_split
from zsl_lab.errors import CheckpointError, ConfigError, DataError, OutputError
from zsl_lab.files.hashing import sha256_file
from zsl_lab.methods.n3 import N3
from zsl_lab.methods.n3.adapted_network import build_base_network
from zsl_lab.methods.n3.base_config import BaseConfig
from zsl_lab.predict.command import predict, print_prediction
from zsl_lab.predict.features import FeaturePredictor
from zsl_lab.predict.predictions import Prediction, Predictions
from zsl_lab.result import Result
from zsl_lab.run.config import parse
from zsl_lab.run.configuration.schema import run_marks
from zsl_lab.run.experiment import run

UNSEEN = ("2", "4", "5")
COLOURS = {
    "ant": (250, 0, 0),
    "bee": (0, 250, 0),
    "cat": (0, 0, 250),
    "dog": (250, 250, 0),
    "eel": (0, 250, 250),
}
#: the keys of a folder of images that has five classes
FOLDER = (
    *(
        "dataset=flowers",
        "dataset.folder=toy",
        "dataset.split_file=null",
        "dataset.image_order=null",
        "dataset.unseen_classes=[dog,eel]",
    ),
    *(
        "dataset.image_size=6",
        "dataset.resize=9",
        "method.text.encoder=tfidf",
        "method.base.name=small_cnn",
        "selection=last",
    ),
    "dataset.description_format='{name}: {description}'",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on the digits other than 2, 4 and 5."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    run(composed(folder, "method=n3", *SHORT_FIT["n3"], "selection=last"))
    return folder


@pytest.fixture(scope="module")
def digits() -> ImageBenchmark:
    config = parse(composed(Path(), "method=n3", *SHORT_FIT["n3"]))
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
def predicted(
    trained: Path, images: Path, digits: ImageBenchmark, tmp_path: Path
) -> Callable[..., Prediction]:
    """Predict images among the three unseen digits, unless other keys are given."""

    def predicted(
        classes: object = None, *overrides: str, out: str = "out", **keys: object
    ) -> Prediction:
        content = (
            {name: digits.descriptions[int(name)] for name in UNSEEN}
            if classes is None
            else classes
        )
        cfg = composed(tmp_path / out, "method=n3", *SHORT_FIT["n3"], "task=predict", *overrides)
        given = {
            "ckpt": trained,
            "descriptions": classes_file(tmp_path / "classes.json", content),
            "images": images,
            **keys,
        }
        for key, value in given.items():
            cfg[key] = None if value is None else str(value)
        return predict(cfg)

    return predicted


def probabilities(prediction: Prediction) -> Tensor:
    return torch.from_numpy(prediction.predictions.scores)


def files(prediction: Prediction) -> tuple[str, ...]:
    assert prediction.files is not None
    return prediction.files


def exported(prediction: Prediction) -> dict[str, Tensor]:
    assert prediction.network is not None
    state: dict[str, Tensor] = torch.load(prediction.network, weights_only=True)
    return state


def rows(prediction: Prediction) -> list[dict[str, str]]:
    with prediction.table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def directly(trained: Path, cfg: DictConfig) -> tuple[N3, ImageDataModule]:
    """The trained method as its own dataset builds it, all classes included."""
    config = parse(cfg)
    benchmark = config.dataset.load_images(
        DataPaths(Path(config.paths.data_dir), config.paths.cache_folder)
    )
    data = config.dataset.data_module(benchmark, final_split(benchmark))
    assert isinstance(data, ImageDataModule)
    method = config.method_class.build(config.method, data, weights_follow=True)
    assert isinstance(method, N3)
    method.load_state_dict(
        torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    )
    return method.eval(), data


# ------------------------------------------------------------------------------------------------
# what is predicted


def test_classes_given_only_now_get_what_the_method_itself_says_of_them(
    predicted: Callable[..., Prediction], trained: Path, digits: ImageBenchmark, tmp_path: Path
) -> None:
    prediction = predicted()
    method, data = directly(trained, composed(tmp_path / "x", "method=n3", *SHORT_FIT["n3"]))
    with torch.no_grad():
        batch = data.samples(digits.test_unseen[:30])
        expected = method.logits(batch.inputs, method.adapt(torch.tensor([2, 4, 5]))).softmax(1)
    assert prediction.predictions.names == UNSEEN
    assert files(prediction) == tuple(f"{index:04}.png" for index in digits.test_unseen[:30])
    torch.testing.assert_close(probabilities(prediction), expected)
    assert prediction.predictions.predicted == [
        UNSEEN[position] for position in expected.argmax(1).tolist()
    ]


def test_the_table_holds_the_likeliest_class_and_the_probability_of_each(
    predicted: Callable[..., Prediction],
) -> None:
    prediction = predicted()
    table = rows(prediction)
    assert list(table[0]) == ["file", "predicted", "probability", *UNSEEN]
    assert [row["file"] for row in table] == list(files(prediction))
    for row, expected in zip(table, probabilities(prediction).tolist(), strict=True):
        values = {name: float(row[name]) for name in UNSEEN}
        assert list(values.values()) == pytest.approx(expected, abs=1e-5)
        assert sum(values.values()) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == max(values, key=lambda name: values[name])
        assert float(row["probability"]) == max(values.values())


def test_another_order_of_the_classes_permutes_the_columns_and_nothing_else(
    predicted: Callable[..., Prediction], digits: ImageBenchmark
) -> None:
    straight = predicted()
    listed = predicted(
        [{"name": name, "description": digits.descriptions[int(name)]} for name in "524"],
        out="listed",
    )
    assert listed.predictions.names == ("5", "2", "4")
    assert files(listed) == files(straight)
    torch.testing.assert_close(probabilities(listed), probabilities(straight)[:, [2, 0, 1]])
    networks = [exported(prediction) for prediction in (straight, listed)]
    for name, tensor in networks[0].items():
        expected = tensor[[2, 0, 1]] if name.startswith("classifier") else tensor
        torch.testing.assert_close(networks[1][name], expected, rtol=1e-4, atol=1e-6)


def test_lists_with_ids_are_taken_by_id(
    predicted: Callable[..., Prediction], digits: ImageBenchmark
) -> None:
    entries = [
        {"class_id": i, "name": name, "description": digits.descriptions[int(name)]}
        for i, name in ((3, "2"), (1, "4"), (2, "5"))
    ]
    assert predicted(entries).predictions.names == ("4", "5", "2")


def test_ten_classes_can_be_told_apart_as_well_as_three(
    predicted: Callable[..., Prediction], digits: ImageBenchmark
) -> None:
    prediction = predicted(dict(zip(digits.class_names, digits.descriptions, strict=True)))
    assert probabilities(prediction).shape == (30, 10)


def test_images_in_folders_inside_count_and_other_files_do_not(
    predicted: Callable[..., Prediction], images: Path
) -> None:
    alone = predicted()
    (images / "more").mkdir()
    first = images / files(alone)[0]
    # larger and in colour: scaled, and seen as grey
    Image.open(first).convert("RGB").resize((64, 64), Image.Resampling.NEAREST).save(
        images / "more" / "large.PNG"
    )
    first.rename(images / "more" / first.name)
    (images / "notes.txt").write_text("no image")
    prediction = predicted(out="again")
    assert files(prediction) == (*files(alone)[1:], f"more/{first.name}", "more/large.PNG")
    torch.testing.assert_close(probabilities(prediction)[:-1], probabilities(alone).roll(-1, 0))
    torch.testing.assert_close(
        probabilities(prediction)[-1], probabilities(alone)[0], atol=0.02, rtol=0
    )


def test_classes_with_the_same_text_are_reported_and_share_their_probability(
    predicted: Callable[..., Prediction],
) -> None:
    with pytest.warns(
        UserWarning, match="found the same text for 'a' and 'b'. Such classes cannot be told apart"
    ):
        prediction = predicted(
            {"a": "A closed loop.", "b": "A closed loop.", "c": "A single straight line."}
        )
    torch.testing.assert_close(probabilities(prediction)[:, 0], probabilities(prediction)[:, 1])


def test_a_file_checkpoint_gives_what_the_runs_folder_gives(
    predicted: Callable[..., Prediction], trained: Path
) -> None:
    by_file = predicted(ckpt=trained / "checkpoints" / "best.ckpt", out="file")
    assert by_file.table.read_bytes() == predicted().table.read_bytes()


def test_without_the_gpu_that_it_was_trained_on_the_cpu_predicts(
    predicted: Callable[..., Prediction], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(
        UserWarning, match=r"trainer\.accelerator=gpu: PyTorch finds no GPU on this machine"
    ):
        predicted(None, "hardware=gpu")


def test_what_is_printed_counts_images_and_names_every_file(
    predicted: Callable[..., Prediction], capsys: pytest.CaptureFixture[str]
) -> None:
    prediction = predicted()
    scores = np.array([[0.5, 0.3, 0.2]] * 20 + [[0.1, 0.0, 0.9]] * 10, dtype=np.float32)
    prediction = replace(prediction, predictions=replace(prediction.predictions, scores=scores))
    print_prediction(prediction)
    lines = capsys.readouterr().out.splitlines()
    assert "30 images, 2 of 3 classes predicted" in lines
    cells = [line.split() for line in lines]
    assert ["2", "new", "20", "0.50"] in cells
    assert ["5", "new", "10", "0.90"] in cells
    assert lines[-3:] == [
        f"predictions: {prediction.table}",
        f"best five:   {prediction.summary}",
        f"network:     {prediction.network} (state dict of small_cnn)",
    ]


def test_of_many_classes_those_with_most_samples_are_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = tuple(f"class {i}" for i in range(30))
    predictions = Predictions(names, ("unseen",) * 30, np.eye(30, dtype=np.float32))
    print_prediction(
        Prediction(predictions, None, "sgal", "digits", Path("c"), "score", Path("folder"))
    )
    printed = capsys.readouterr().out
    assert printed.count("unseen") == 20
    assert "and 10 more classes" in printed
    assert "30 samples, 30 of 30 classes predicted" in printed
    assert "mean" not in printed
    assert "network" not in printed


def test_without_other_classes_it_chooses_among_its_own(
    predicted: Callable[..., Prediction], trained: Path
) -> None:
    every, unseen = (
        predicted(descriptions=None),
        predicted(None, "among=unseen", descriptions=None, out="unseen"),
    )
    assert every.predictions.names == tuple("0123456789")
    assert (unseen.predictions.names, unseen.predictions.kinds) == (UNSEEN, ("unseen",) * 3)
    torch.testing.assert_close(probabilities(unseen), probabilities(predicted(out="given")))


def test_a_table_of_classes_says_what_a_file_of_texts_says(
    predicted: Callable[..., Prediction], digits: ImageBenchmark, tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text(
        "class,description\n"
        + "\n".join(f'{name},"{digits.descriptions[int(name)]}"' for name in UNSEEN)
    )
    prediction = predicted(None, f"classes={tmp_path / 'new.csv'}", descriptions=None)
    assert prediction.table.read_bytes() == predicted(out="texts").table.read_bytes()


def test_the_summary_holds_the_classes_and_the_best_five_of_each_sample(
    predicted: Callable[..., Prediction], trained: Path
) -> None:
    prediction = predicted(descriptions=None)
    summary = json.loads(prediction.summary.read_text())
    assert list(summary) == ["method", "dataset", "checkpoint", "score", "classes", "samples"]
    assert (summary["method"], summary["dataset"], summary["score"]) == (
        "n3",
        "digits",
        "probability",
    )
    assert summary["checkpoint"] == str(trained / "checkpoints" / "best.ckpt")
    assert summary["classes"] == [
        {"name": name, "kind": "unseen" if name in UNSEEN else "seen"} for name in "0123456789"
    ]
    assert [sample["file"] for sample in summary["samples"]] == list(files(prediction))
    for sample, best in zip(summary["samples"], prediction.predictions.top(5), strict=True):
        assert [entry["class"] for entry in sample["best"]] == [name for name, _ in best]
        assert [entry["probability"] for entry in sample["best"]] == pytest.approx(
            [score for _, score in best], rel=1e-5
        )
        assert len(best) == 5


# ------------------------------------------------------------------------------------------------
# feature vectors


@pytest.mark.parametrize("method", [name for name in OF_FEATURES if not ENTRIES[name].variant])
def test_every_method_writes_what_it_says_of_feature_vectors(
    of_features: Callable[..., Prediction],
    short_run: Callable[[str], Path],
    vectors: FeatureBenchmark,
    method: str,
) -> None:
    prediction = of_features(method=method)
    expected = zsl_lab.load(short_run(method)).predict(vectors.features[vectors.test_unseen[:40]])
    np.testing.assert_array_equal(prediction.predictions.scores, expected.scores)
    table = rows(prediction)
    assert list(table[0]) == ["sample", "predicted", "score", *"0123456789"]
    assert [row["sample"] for row in table] == [str(i) for i in range(40)]
    assert [row["predicted"] for row in table] == expected.predicted
    scores = np.array([[float(row[name]) for name in "0123456789"] for row in table])
    np.testing.assert_allclose(scores, expected.scores, rtol=1e-5, atol=1e-8)
    assert [float(row["score"]) for row in table] == scores.max(1).tolist()
    summary = json.loads(prediction.summary.read_text())
    assert [sample["sample"] for sample in summary["samples"]] == list(range(40))
    assert [sample["best"][0]["class"] for sample in summary["samples"]] == expected.predicted
    assert {path.name for path in prediction.table.parent.iterdir()} == {
        "predictions.csv",
        "predictions.json",
    }


@pytest.mark.filterwarnings("ignore:classes. found the same numbers")
def test_new_classes_stand_in_a_table_of_attributes(
    of_features: Callable[..., Prediction], vectors: FeatureBenchmark, tmp_path: Path
) -> None:
    lines = [
        ",".join(["class", *vectors.recipe.attributes]),
        *(",".join([f"new {c}", *map(str, vectors.semantics[c])]) for c in (2, 4, 5)),
    ]
    (tmp_path / "new.csv").write_text("\n".join(lines))
    prediction = of_features(None, f"classes={tmp_path / 'new.csv'}")
    assert prediction.predictions.names == ("new 2", "new 4", "new 5")
    unseen = of_features(None, "among=unseen", out="unseen")
    np.testing.assert_allclose(
        prediction.predictions.scores, unseen.predictions.scores, rtol=1e-4, atol=1e-5
    )
    both = of_features(None, f"classes={tmp_path / 'new.csv'}", "among=unseen", out="both")
    assert json.loads(both.summary.read_text())["classes"] == [
        *({"name": name, "kind": "unseen"} for name in UNSEEN),
        *({"name": f"new {name}", "kind": "new"} for name in UNSEEN),
    ]


def test_keys_that_do_not_suit_a_method_of_features_are_named(
    of_features: Callable[..., Prediction], tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^task=predict needs samples: features=FILE \(.*\), or images=DIR, a folder of "
        r"images\.$",
    ):
        of_features(Path())
    with pytest.raises(
        ConfigError, match=r"^features=.*, images=x: found both; expected one of them"
    ):
        of_features(None, "images=x")
    with pytest.raises(ConfigError, match=r"^weights=w: .* Leave weights out, or give images=DIR"):
        of_features(None, "weights=w")
    with pytest.raises(ConfigError, match=r"^among=new: no new classes were given"):
        of_features(None, "among=new")
    (tmp_path / "new.json").write_text('{"a": "one text", "b": "another"}')
    with pytest.raises(
        DataError,
        match=r"^descriptions=.*new\.json: found texts; the classes of digits are described by "
        r"29 numbers",
    ):
        of_features(None, f"descriptions={tmp_path / 'new.json'}")
    (tmp_path / "new.csv").write_text("class,top_left\npredicted,1\nb,0")
    with pytest.raises(
        DataError,
        match=r"^classes=.*new\.csv: found other attributes than the 29 of training: missing "
        r"top_centre,",
    ):
        of_features(None, f"classes={tmp_path / 'new.csv'}")


# ------------------------------------------------------------------------------------------------
# features of images


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on extracted features; the file of the network's weights was moved since."""
    models: Any = pytest.importorskip(
        "torchvision.models", reason='needs torchvision: pip install "zsl-lab[images]"'
    )
    folder = tmp_path_factory.mktemp("extracted")
    torch.manual_seed(0)
    torch.save(models.squeezenet1_1().state_dict(), folder / "moved.pth")
    recipe = ImageRecipe(
        backbone="squeezenet1_1",
        weights=str(folder / "gone.pth"),
        weights_sha256=sha256_file(folder / "moved.pth"),
        resize=40,
        image_size=32,
    )
    load = SyntheticDataset.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            SyntheticDataset,
            "load",
            lambda self, paths: replace(load(self, paths), recipe=Recipe(images=recipe)),
        )
        run(composed(folder / "run", *EXTRACTED, "selection=last"))
    return folder


EXTRACTED = (
    *(
        "method=eszsl",
        "dataset=synthetic",
        *SHORT_FIT["eszsl"],
        "dataset.feature_dim=512",
        "dataset.classes=6",
        "dataset.unseen=2",
    ),
    "dataset.samples_per_class=5",
)


@pytest.mark.slow
def test_features_of_images_are_extracted_as_those_of_training_were(
    extracted: Path, toy: Path, tmp_path: Path
) -> None:
    cfg = composed(
        tmp_path / "out",
        *EXTRACTED,
        "task=predict",
        f"images={toy / 'images'}",
        f"weights={extracted / 'moved.pth'}",
    )
    cfg.ckpt = str(extracted / "run")
    prediction = predict(cfg)
    assert files(prediction) == tuple(
        sorted(f"{name}{i}.png" for name in COLOURS for i in range(4))
    )
    assert rows(prediction)[0].keys() >= {"file", "predicted", "score"}
    predictor = zsl_lab.load(extracted / "run")
    assert isinstance(predictor, FeaturePredictor)
    features = predictor.extract(
        [toy / "images" / file for file in files(prediction)], extracted / "moved.pth"
    )
    assert features.shape == (20, 512)
    np.testing.assert_allclose(
        prediction.predictions.scores, predictor.predict(features).scores, rtol=1e-5
    )
    cfg.weights = None
    with pytest.raises(
        CheckpointError,
        match=r"gone\.pth: there is no such file; .* Put it there, or give its path: "
        r"weights=FILE\.$",
    ):
        predict(cfg)
    cfg.weights = str(toy / "images" / "ant0.png")
    with pytest.raises(CheckpointError, match=r"ant0\.png: found a file with SHA-256"):
        predict(cfg)


@pytest.mark.slow
def test_features_of_images_are_extracted_where_the_method_lies(
    extracted: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = zsl_lab.load(extracted / "run")  # on the CPU, as with trainer.accelerator=cpu
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert isinstance(predictor, FeaturePredictor)
    assert predictor.extract([toy / "images" / "ant0.png"], extracted / "moved.pth").shape == (
        1,
        512,
    )


def test_broken_images_give_no_features(extracted: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_text("no picture")
    predictor = zsl_lab.load(extracted / "run")
    assert isinstance(predictor, FeaturePredictor)
    with pytest.raises(
        DataError,
        match=r"(?s)^.*broken\.png: cannot be read as an image .*\n1 of 1 images: repair them, or "
        r"leave them out",
    ):
        predictor.extract([tmp_path / "broken.png"], extracted / "moved.pth")


def test_images_are_refused_where_nothing_is_known_of_the_extractor(
    of_features: Callable[..., Prediction], toy: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^images: the checkpoint does not know how the features of digits were made",
    ):
        of_features(Path(), f"images={toy / 'images'}")
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------------ a
# folder of images


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with five classes of four pictures, 12 x 10 pixels of noise about a colour."""
    folder = tmp_path_factory.mktemp("data") / "toy"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    labels = ["file,class"]
    for name, colour in COLOURS.items():
        for i in range(4):
            pixels = np.clip(np.array(colour) + rng.integers(-60, 60, (10, 12, 3)), 0, 255).astype(
                np.uint8
            )
            Image.fromarray(pixels).save(folder / "images" / f"{name}{i}.png")
            labels.append(f"{name}{i}.png,{name}")
    (folder / "labels.csv").write_text("\n".join(labels))
    described = {
        name: f"its red is {r}, its green {g}, its blue {b}" for name, (r, g, b) in COLOURS.items()
    }
    (folder / "descriptions.json").write_text(json.dumps(described))
    return folder


@pytest.mark.slow
def test_images_are_cut_and_texts_are_formatted_as_the_runs_dataset_does(
    toy: Path, tmp_path: Path
) -> None:
    overrides = (
        "method=n3",
        *SHORT_FIT["n3"],
        *FOLDER,
        "tuned=none",
        f"paths.data_dir={toy.parent}",
    )
    run(
        composed(
            tmp_path / "run",
            *overrides,
            "method.base.name=small_cnn",
            "method.text.encoder=tfidf",
            "method.base_steps=5",
            "method.steps=5",
        )
    )
    described = json.loads((toy / "descriptions.json").read_text())
    cfg = composed(tmp_path / "out", *overrides, "task=predict")
    cfg.ckpt, cfg.images = str(tmp_path / "run"), str(toy / "images")
    cfg.descriptions = str(
        classes_file(tmp_path / "classes.json", {name: described[name] for name in ("eel", "ant")})
    )
    prediction = predict(cfg)
    method, data = directly(tmp_path / "run", composed(tmp_path / "x", *overrides))
    with torch.no_grad():
        batch = data.samples(np.arange(20))
        expected = method.logits(batch.inputs, method.adapt(torch.tensor([4, 0]))).softmax(1)
    assert batch.inputs.shape == (20, 3, 6, 6)
    assert list(files(prediction)) == sorted(f"{name}{i}.png" for name in COLOURS for i in range(4))
    torch.testing.assert_close(probabilities(prediction), expected)


# ------------------------------------------------------------------------------------------------
# the adapted network


def test_the_stored_network_gives_the_same_probabilities(
    predicted: Callable[..., Prediction], digits: ImageBenchmark
) -> None:
    prediction = predicted()
    state = exported(prediction)
    assert all(isinstance(tensor, Tensor) for tensor in state.values())
    network = build_base_network(BaseConfig(name="small_cnn", weights=None), channels=1)
    network.load_state_dict(
        {name: tensor for name, tensor in state.items() if not name.startswith("classifier")}
    )
    x = torch.from_numpy(digits.images[digits.test_unseen[:30]].transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        logits = network(x) @ state["classifier.weight"].T + state["classifier.bias"]
    torch.testing.assert_close(logits.softmax(1), probabilities(prediction))


# ------------------------------------------------------------------------------------------------
# bad input


@pytest.fixture
def refused(predicted: Callable[..., Prediction], tmp_path: Path) -> Callable[..., None]:
    """Expect a sentence, and nothing written."""

    def refused(
        error: type[Exception],
        sentence: str,
        classes: object = None,
        *overrides: str,
        **keys: object,
    ) -> None:
        with pytest.raises(error, match=sentence):
            predicted(classes, *overrides, **keys)
        assert not (tmp_path / "out").exists()

    return refused


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (
            ["ckpt"],
            r"^task=predict needs a trained method: ckpt=RUN, a run's folder, or "
            r"ckpt=RUN/checkpoints/best\.ckpt\.$",
        ),
        (["images"], r"^task=predict needs samples: images=DIR, a folder of images\.$"),
        (
            ["ckpt", "images"],
            r"(?s)a trained method.*\n.* samples: features=FILE \(\.npy, \.h5, \.mat or \.csv\), "
            r"or images=DIR, a folder",
        ),
    ],
)
def test_every_key_that_is_missing_is_named_with_an_example(
    refused: Callable[..., None], keys: list[str], sentence: str
) -> None:
    refused(ConfigError, sentence, None, **dict.fromkeys(keys))


def test_keys_that_exclude_each_other_are_named(
    refused: Callable[..., None], tmp_path: Path
) -> None:
    refused(
        ConfigError,
        r"^features=x\.npy, images=.*: found both; expected one of them\. Leave one out\.$",
        features="x.npy",
    )
    refused(
        ConfigError,
        r"^features=x\.npy: method=n3 takes images\. Give images=DIR, or a",
        features="x.npy",
        images=None,
    )
    refused(
        ConfigError,
        r"^classes=x\.csv, descriptions=.*: found both; expected one of them\. Leave one out\.$",
        None,
        "classes=x.csv",
    )
    refused(
        ConfigError,
        r"^weights=w\.pth: the weights are those of .*\. Leave weights out, or give images=DIR and",
        weights="w.pth",
    )
    refused(ConfigError, r"^among=some: input should be 'all', 'unseen' or 'new'", among="some")


@pytest.mark.slow
def test_keys_of_predict_are_refused_in_a_training_run() -> None:
    for key in ("features", "images", "weights", "classes", "descriptions"):
        with pytest.raises(
            ConfigError,
            match=rf"^{key}=x: this key belongs to task=predict\. Set task=predict, or leave {key} "
            r"out\.$",
        ):
            parse(composed(Path(), f"{key}=x"))


@pytest.mark.slow
def test_a_runs_own_configuration_knows_nothing_of_predictions() -> None:
    keys = {"features", "images", "weights", "classes", "descriptions", "among"}
    assert keys <= set(composed(Path()))
    plain = parse(composed(Path(), "task=predict", "images=x", "among=new")).plain
    assert not keys & set(plain)
    assert keys <= run_marks().irrelevant


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            "{",
            r"^descriptions=.*classes\.json: found no valid JSON .*Correct the file, or give "
            r"another: descriptions=FILE\.$",
        ),
        ("[]", "found something else, or nothing; expected a list of"),
        ("3", "found something else, or nothing"),
        ({"a": "A closed loop."}, "found 1 class; expected at least 2, to tell them apart"),
        (
            {"a": "A closed loop.", "b": " "},
            r"field 'description': found an empty text for class 2 \('b'\)",
        ),
        (
            [{"name": "a", "description": "A closed loop."}, {"name": "b"}],
            r"field 'description': found nothing for class 2 \('b'\)",
        ),
        (
            [{"name": "a", "description": "x"}, {"name": "a", "description": "y"}],
            "field 'name': found 'a' more than once",
        ),
        (
            [{"name": "a", "description": "x", "class_id": 1}, {"name": "b", "description": "y"}],
            "field 'class_id': found none",
        ),
        (
            {"file": "A closed loop.", "b": "A line."},
            r"field 'name': found 'file', which is a column of predictions\.csv",
        ),
    ],
)
def test_classes_that_cannot_be_used_are_named(
    refused: Callable[..., None], content: object, sentence: str
) -> None:
    refused(DataError, sentence, content)


def test_a_missing_file_of_classes_is_named(refused: Callable[..., None], tmp_path: Path) -> None:
    refused(
        DataError,
        r"^descriptions=.*none\.json: cannot be read \(No such file",
        None,
        descriptions=tmp_path / "none.json",
    )


def test_a_folder_without_images_is_named(
    refused: Callable[..., None], trained: Path, tmp_path: Path
) -> None:
    refused(
        DataError,
        r"^images=.*nowhere: there is no such folder or file\. Give a folder, a file or a pattern",
        None,
        images=tmp_path / "nowhere",
    )
    refused(
        DataError,
        r"config\.yaml: cannot be read as an image",
        None,
        images=trained / "config.yaml",
    )
    refused(
        DataError,
        r"checkpoints: found no image in this folder or those in it",
        None,
        images=trained / "checkpoints",
    )


def test_broken_images_are_listed_and_the_others_are_predicted(
    predicted: Callable[..., Prediction], images: Path
) -> None:
    whole = {row["file"]: row["predicted"] for row in rows(predicted(out="whole"))}
    broken = sorted(images.iterdir())[3:6]
    broken[0].write_text("no picture")
    broken[1].write_bytes(broken[1].read_bytes()[:60])
    broken[2].write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    prediction = predicted()
    assert {row["file"]: row["predicted"] for row in rows(prediction)} == {
        name: found for name, found in whole.items() if name not in {file.name for file in broken}
    }
    assert prediction.problems is not None
    with prediction.problems.open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert [row["file"] for row in listed] == [file.name for file in broken]
    assert "the bytes of no known format" in listed[0]["reason"]
    assert "PostScript, which is not read" in listed[2]["reason"]
    with pytest.raises(
        DataError,
        match=rf"^3 of 30 images cannot be read and were not predicted \(the first: "
        rf"{broken[0].name}: .*unreadable\.csv lists them; the other 27 are predicted",
    ):
        prediction.check_complete()


def test_where_no_image_can_be_read_nothing_is_written(
    refused: Callable[..., None], images: Path
) -> None:
    for file in images.iterdir():
        file.write_bytes(file.read_bytes()[:60])
    refused(
        DataError,
        r"(?s)cannot be read as an image.*\n27 more cannot be read\.\n30 of 30 images.* "
        r"Nothing was predicted",
    )


def test_a_single_image_and_a_pattern_give_what_their_folder_gives(
    predicted: Callable[..., Prediction], images: Path
) -> None:
    whole = {row["file"]: row["predicted"] for row in rows(predicted(out="whole"))}
    (images / "._a.png").write_bytes(b"\0\5\26\7")
    first, *_ = sorted(whole)
    some = [name for name in whole if name.startswith("00")]
    for given, names in ((first, [first]), ("00*.png", some)):
        found = {row["file"]: row["predicted"] for row in rows(predicted(images=images / given))}
        assert found == {name: whole[name] for name in names}


def test_the_scores_that_are_written_can_be_chosen(
    predicted: Callable[..., Prediction], monkeypatch: pytest.MonkeyPatch
) -> None:
    every = predicted(out="all")
    short = [{k: row[k] for k in ("file", "predicted", "probability")} for row in rows(every)]
    samples = json.loads(every.summary.read_text())["samples"]
    best = predicted(None, "scores=best", out="best")
    assert rows(best) == short
    assert json.loads(best.summary.read_text())["samples"] == samples
    none = predicted(None, "scores=none", out="none")
    assert rows(none) == short
    assert "samples" not in json.loads(none.summary.read_text())
    monkeypatch.setattr("zsl_lab.predict.predictions._MANY_SCORES", 10)
    large = predicted(out="large")
    assert rows(large) == short
    assert large.archive is not None
    with np.load(large.archive) as archive:
        assert np.array_equal(archive["scores"], every.predictions.scores)
        assert tuple(archive["classes"]) == every.predictions.names
        assert tuple(archive["samples"]) == every.files


def test_only_the_reported_state_of_a_finished_run_is_taken(
    refused: Callable[..., None], trained: Path, tmp_path: Path
) -> None:
    refused(
        CheckpointError,
        r"it is not the selected one\. Give the run's best\.ckpt",
        None,
        ckpt=trained / "checkpoints" / "last.ckpt",
    )
    selecting = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    selecting["zsl_lab"]["phase"] = "select"
    torch.save(selecting, tmp_path / "select.ckpt")
    refused(
        CheckpointError,
        "this state is from the selection phase",
        None,
        ckpt=tmp_path / "select.ckpt",
    )
    refused(
        CheckpointError, r"this folder has no checkpoints/best\.ckpt", None, ckpt=trained.parent
    )
    refused(CheckpointError, "there is no such file", None, ckpt=tmp_path / "none.ckpt")
    (tmp_path / "page.ckpt").write_text("<html>")
    refused(CheckpointError, "this is not a readable checkpoint", None, ckpt=tmp_path / "page.ckpt")


def test_weights_of_other_widths_are_refused(refused: Callable[..., None]) -> None:
    refused(
        CheckpointError,
        r"its weights do not fit the configuration \(size mismatch for .*",
        None,
        "method.hidden_dim=32",
    )


@pytest.mark.parametrize("name", ["predictions.csv", "predictions.json", "network.pth"])
def test_where_one_file_cannot_be_written_none_is(
    predicted: Callable[..., Prediction], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    def full(path: Path, mode: str) -> Any:
        if name in path.name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return open(path, mode)

    monkeypatch.setattr("zsl_lab.files.atomic.open", full, raising=False)
    with pytest.raises(OutputError, match=rf"^Cannot write .*{name}: the disk is full"):
        predicted()
    assert list((tmp_path / "out").iterdir()) == []


def test_the_folder_of_a_run_is_not_written_into(
    refused: Callable[..., None], trained: Path, tmp_path: Path
) -> None:
    before = (trained / "predictions.csv").read_bytes()
    cfg = composed(trained, "method=n3", *SHORT_FIT["n3"], "task=predict", "images=x")
    cfg.ckpt = str(trained)
    with pytest.raises(
        ConfigError,
        match=r"^hydra\.run\.dir=.*: this folder holds a run\. Predictions need a folder of "
        r"their own\. Give",
    ):
        predict(cfg)
    assert (trained / "predictions.csv").read_bytes() == before


# ------------------------------------------------------------------------------------------------
# the command


def test_the_command_predicts_from_a_runs_folder_alone_and_warns_in_sentences(
    trained: Path, images: Path, digits: ImageBenchmark, tmp_path: Path
) -> None:
    described = {name: digits.descriptions[int(name)] for name in UNSEEN}
    classes_file(tmp_path / "my classes.json", {**described, "two": described["2"]})
    keys = (f"ckpt={trained}", "descriptions='my classes.json'", "images=images/")
    environment = {"ZSL_LAB_CACHE": str(tmp_path / "cache")}
    done = run_command("task=predict", *keys, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    said = (
        "my classes.json: field 'description': found the same text for '2' and 'two'. Such classes "
        "cannot be told apart."
    )
    assert done.stderr == f"Warning: {said}\n"
    (folder,) = tmp_path.glob("outputs/predict/*")
    assert {path.name for path in folder.iterdir()} == {
        ".hydra",
        "predictions.csv",
        "predictions.json",
        "network.pth",
    }
    lines = done.stdout.splitlines()
    assert f"predictions: {folder / 'predictions.csv'}" in lines
    assert any(line.startswith("30 images, ") for line in lines)
    with (folder / "predictions.csv").open() as file:
        assert [row["file"] for row in csv.DictReader(file)] == sorted(
            path.name for path in images.iterdir()
        )


def test_a_runs_folder_is_tested_as_its_best_checkpoint_is(
    trained: Path, command: Command, tmp_path: Path
) -> None:
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
        (
            "method.base.weights=moved.pth",
            "method.base.weights=moved.pth: method.base.name=small_cnn takes no weights",
        ),
        ("+method.text.model=moved/", "method.text: found model=moved/ with encoder="),
    ],
)
def test_a_checkpoint_leaves_open_where_weights_and_encoder_lie(
    trained: Path,
    images: Path,
    command: Command,
    capsys: pytest.CaptureFixture[str],
    task: str,
    override: str,
    found: str,
) -> None:
    keys = (
        [f"descriptions={trained / 'classes.json'}", f"images={images}"]
        if task == "task=predict"
        else []
    )
    classes_file(trained / "classes.json", {"a": "A closed loop.", "b": "A single straight line."})
    assert command(task, f"ckpt={trained}", override, *keys) == 2
    assert found in capsys.readouterr().err


def test_the_command_predicts_feature_vectors_from_a_folder_that_was_moved(
    short_run: Callable[[str], Path],
    vectors: FeatureBenchmark,
    command: Command,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    shutil.copytree(short_run("aspn"), tmp_path / "moved run")
    np.save(tmp_path / "x.npy", vectors.features[:50])
    assert command("task=predict", "ckpt='moved run'", "features=x.npy", "among=all") == 0
    (folder,) = tmp_path.glob("outputs/predict/*")
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("50 samples, ") for line in lines)
    assert lines[-2:] == [
        f"predictions: {folder / 'predictions.csv'}",
        f"best five:   {folder / 'predictions.json'}",
    ]
    assert command("task=predict", "ckpt='moved run'", "features=missing.npy") == 1
    assert capsys.readouterr().err.startswith("features=missing.npy: there is no such file")
    assert command("features=x.npy") == 2
    assert capsys.readouterr().err.startswith("features=x.npy: this key belongs to task=predict.")
    assert command("task=predict", "ckpt='moved run'", "feature=x.npy") == 2
    assert "feature: there is no such key. Did you mean features" in capsys.readouterr().err
    assert [path for path in tmp_path.glob("outputs/predict/*") if path != folder] == []
