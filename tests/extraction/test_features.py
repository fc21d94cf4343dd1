"""Features of images against those of torchvision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.extraction import backbone
from tests.helpers.packages import skip_without
from zsl_lab.data.files.images import decode
from zsl_lab.errors import DataError
from zsl_lab.extraction.features import extract_features

skip_without("torchvision", "images")


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
