"""How a benchmark's features and semantics were computed, to compute those of new data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer
from pydantic import SerializerFunctionWrapHandler as Handler

from zsl_lab.errors import DataError

#: the kinds of semantics that are made of a table of classes
ATTRIBUTES, TEXT = "att", "text"


class Preparation(BaseModel):
    """How a network's images are scaled and normalised.

    Attributes:
        mean: Of each channel of an image in [0, 1], subtracted.
        std: Of each channel, divided by.
        interpolation: Pillow's filter for scaling.
        crop_mode: ``center`` scales the short side and cuts a square from the centre; ``squash``
            scales both sides and does not keep their ratio.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    mean: list[float] = Field(min_length=3, max_length=3)
    std: list[float] = Field(min_length=3, max_length=3)
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    crop_mode: Literal["center", "squash"] = "center"


class ImageRecipe(BaseModel):
    """From an image to a feature vector.

    Attributes:
        backbone: The network whose pooled features were taken; the prefix ``timm:``,
            ``torchvision:``, ``open_clip:`` or ``hf:`` names its package, and a name without one is
            a network of torchvision.
        weights: ``imagenet`` (torchvision or timm downloads them), a tag of open_clip, ``hub`` (the
            Hugging Face Hub has them), ``random``, or the name of the file of its state dict
            or of the model's folder, without the folder that holds it.
        weights_sha256: SHA-256 of that file, downloaded or not; of several files, of their hashes;
            of random weights, of the state dict.
        weights_path: Where that file or folder lay; None where it was downloaded. The hash
            identifies it, so this is only the first place that is looked at.
        resize: Side of the square that an image is scaled and cut to.
        image_size: Side of the square that the network sees, cut from its centre.
        preparation: How images are scaled and normalised; None for a network of torchvision that is
            named without a prefix.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    backbone: str
    weights: str
    weights_sha256: str
    resize: int = Field(ge=1)
    image_size: int = Field(ge=1)
    preparation: Preparation | None = None
    weights_path: str | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What decides on the features: every field but the place of the weights."""
        return self.model_dump(exclude={"weights_path"})

    @model_serializer(mode="wrap")
    def _without_none(self, handler: Handler) -> dict[str, Any]:
        """Leave out fields that are None, as files from before they existed do."""
        fields: dict[str, Any] = handler(self)
        return {name: value for name, value in fields.items() if value is not None}


class TextRecipe(BaseModel):
    """From a class's texts to its semantics.

    They are the mean of the states of its tokens; or, of an image-text model, the mean of the
    embeddings of its prompts, each of length 1, scaled to length 1.

    Attributes:
        encoder: A text encoder (``minilm``, ``bert``, ``glove``, ``tfidf``), or the image-text
            model whose text tower reads (``open_clip:...``, ``hf:...``).
        model: Of ``bert``, the folder or the name on the hub.
        max_tokens: At how many tokens texts are cut.
        fitted_on: The texts that the encoder took its statistics from; empty for an encoder without
            any.
        templates: What prompts are made of; None but for an image-text model, as all that follow.
        weights: As in :class:`ImageRecipe`.
        weights_sha256: Likewise.
        weights_path: Likewise.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    encoder: str
    model: str | None
    max_tokens: int = Field(ge=1)
    fitted_on: list[str] = []
    templates: list[str] | None = None
    weights: str | None = None
    weights_sha256: str | None = None
    weights_path: str | None = None

    @model_serializer(mode="wrap")
    def _without_tower(self, handler: Handler) -> dict[str, Any]:
        """Leave out the last four fields where they are None, as older files do."""
        fields: dict[str, Any] = handler(self)
        later = ("templates", "weights", "weights_sha256", "weights_path")
        return {k: v for k, v in fields.items() if k not in later or v is not None}


class Recipe(BaseModel):
    """How a benchmark's features and semantics were computed; None for those from elsewhere.

    Attributes:
        images: Of the features.
        texts: Of the semantics.
        attributes: The names of the semantics' columns; empty where they have none.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    images: ImageRecipe | None = None
    texts: TextRecipe | None = None
    attributes: list[str] = []

    def of(self, kind: str, columns: int) -> Recipe:
        """What of it is true of one kind of semantics, where a file has several.

        Args:
            kind: The kind.
            columns: Its columns.
        """
        of_texts = kind == TEXT or not self.attributes
        of_attributes = kind != TEXT and len(self.attributes) == columns
        return Recipe(
            images=self.images,
            texts=self.texts if of_texts else None,
            attributes=self.attributes if of_attributes else [],
        )

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], origin: str) -> Recipe:
        """Read what ``model_dump()`` gave, from an HDF5 file or a checkpoint.

        Raises:
            DataError: A field is missing, unknown or of another type.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(str(part) for part in problem["loc"])
            raise DataError(
                f"{origin}: field 'recipe.{place}': found {problem['input']!r}; "
                f"{problem['msg'].lower()}. Make the file again with this version, or leave the "
                "recipe out."
            ) from error
