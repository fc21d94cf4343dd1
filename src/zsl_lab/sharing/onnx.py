"""Export of ``features -> scores`` to ONNX: scaling, method, classifier and calibration."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from zsl_lab.data.scaling import Scaler
from zsl_lab.errors import ConfigError
from zsl_lab.files.atomic import atomic_write
from zsl_lab.sharing.packages import required

INPUT, OUTPUT = "features", "scores"
#: version of the operators, which every runtime since 2023 has
_OPSET = 17


class Scores(nn.Module):
    """Scores of unscaled features.

    Args:
        network: Scores of scaled features, ``[B, C]``.
        scaler: Scales features.
        added: Added to the scores of each class, ``[C]``, or a number.
    """

    def __init__(self, network: nn.Module, scaler: Scaler, added: Tensor | float) -> None:
        super().__init__()
        self.network, self.scaler, self.added = network, scaler, added

    def forward(self, features: Tensor) -> Tensor:
        """Score features ``[B, D]``, unscaled."""
        scores: Tensor = self.network(self.scaler.apply(features))
        return scores + self.added


def export(
    scores: Scores, feature_dim: int, path: Path, properties: Mapping[str, Any], origin: str
) -> Path:
    """Write an ONNX file with the input ``features`` and the output ``scores``, float32.

    With ``normalize`` ``l2`` or ``centered_l2``, vectors are divided by their norm in single
    precision, where norms below 1e-10 or above 1e15 lose digits; the model in PyTorch uses double
    precision.

    Args:
        scores: The module to export, in evaluation mode.
        feature_dim: D.
        path: The file.
        properties: Metadata of the file: texts, or values to be written as JSON.
        origin: The beginning of messages.

    Raises:
        ConfigError: The package onnx is not installed, or the method has an operation that ONNX
            lacks.
        OutputError: The file cannot be written.
    """
    onnx = required("onnx", "onnx", "export_onnx")
    device = scores.scaler.scale.device
    # rows of usual lengths: the traced branch is the one that nearly all rows take
    generator = torch.Generator().manual_seed(0)
    example = scores.scaler.invert(torch.rand(3, feature_dim, generator=generator).to(device))
    buffer = io.BytesIO()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # the tracing exporter: the newer one takes 50 times as long, and fails for some methods
            torch.onnx.export(
                scores,
                (example,),
                cast("Any", buffer),  # a file too, which PyTorch's annotation lacks
                dynamo=False,
                opset_version=_OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: "samples"}, OUTPUT: {0: "samples"}},
            )
    except Exception as error:  # torch raises many types
        reason = (str(error).splitlines() or [""])[0]
        raise ConfigError(
            f"{origin}: PyTorch cannot export it to ONNX ({type(error).__name__}: {reason:.200}). "
            "Use the model in Python (zsl_lab.load), or export a method with other operations."
        ) from error
    model = onnx.load_from_string(buffer.getvalue())
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in properties.items()}
    onnx.helper.set_model_props(model, texts)
    onnx.checker.check_model(model)
    return atomic_write(path, model.SerializeToString())
