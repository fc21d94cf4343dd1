"""Images, a table of their classes and a network with random weights, for tests of extraction."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from zsl_lab.cli.data.main import main
from zsl_lab.data.files.tables import ClassTable, read_class_table
from zsl_lab.data.recipe import ImageRecipe
from zsl_lab.extraction.names import TORCHVISION_NETWORKS
from zsl_lab.extraction.recipes import Backbone, build_backbone
from zsl_lab.extraction.weights import Terms

TERMS = Terms("--backbone ", "--weights ", TORCHVISION_NETWORKS, "", "")
CLASSES = """\
class,size,description,split
ant,1,a small black insect,seen
bee,2,a small striped insect that flies,seen
cat,30,a soft animal,validation
dog,50.5,a loyal animal,unseen
eel,60,a long fish,seen
"""
NAMES = ("ant", "bee", "cat", "dog", "eel")


def table(folder: Path, content: str = CLASSES) -> ClassTable:
    path = folder / "table.csv"
    path.write_text(content, encoding="utf-8")
    return read_class_table(path)


def backbone(weights: Path) -> tuple[Backbone, ImageRecipe]:
    return build_backbone("squeezenet1_1", str(weights), 28, 24, TERMS)


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
def extract(own: Path, weights: Path) -> Callable[..., int]:
    """The command ``extract`` on that folder, with tf-idf and pictures of 24 pixels."""

    def extract(*options: str, out: str = "own.h5") -> int:
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

    return extract
