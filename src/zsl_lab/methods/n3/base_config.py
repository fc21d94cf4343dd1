"""The keys of the network that N3 adapts; nothing here needs torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from zsl_lab.keys import Place

#: the choice of random weights, which need no file; for trying out only
RANDOM = "random"
Name = Literal[
    "resnet18",
    "squeezenet1_1",
    "googlenet",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "small_cnn",
]
#: the networks that have no batch norm, which could be adapted
WITHOUT_BATCH_NORM = ("squeezenet1_1", "small_cnn")
#: the layers of small_cnn that end a stage, and their channels
SMALL_CNN_STAGES = {"relu1": 16, "relu3": 64}


class BaseConfig(BaseModel):
    """Which network is adapted, and where its weights come from.

    Attributes:
        name: The network.
        weights: ``imagenet`` (torchvision downloads them, or timm those of EfficientNet-Lite),
            ``random`` (always the same ones, to try out a network without its weights), the file
            of a state dict (a relative path starts at the working folder), or None: not given.
            ``small_cnn`` takes None only, it is trained in the run.
        stages: Numbers, counted from the input, of the stages whose outputs are averaged over the
            image and concatenated to the features. A stage is the layers between two reductions of
            the image's size. None is the last stage, the input of the network's own classifier.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Name
    weights: Annotated[str | None, Place(names=("imagenet", RANDOM))]
    stages: list[int] | None = None

    @model_validator(mode="after")
    def _check_stages(self) -> BaseConfig:
        if self.stages is None:
            return self
        from zsl_lab.extraction import backbones, efficientnet_lite  # they need torch

        known = {**backbones.STAGES, **efficientnet_lite.STAGES, "small_cnn": SMALL_CNN_STAGES}
        count = len(known[self.name])
        if (
            not self.stages
            or self.stages != sorted(set(self.stages))
            or not 1 <= self.stages[0] <= self.stages[-1] <= count
        ):
            raise ValueError(
                f"found base.stages={self.stages}; expected ascending numbers from 1 to {count}, "
                f"the stages of {self.name}, or null for the last one"
            )
        return self
