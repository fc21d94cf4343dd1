"""How a benchmark's features and semantics were computed, so that new data get comparable ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer
from pydantic import SerializerFunctionWrapHandler as Handler

from zsl_lab.errors import DataError

#: names of the kinds of class semantics made from a table of classes: its numbers, its texts
ATTRIBUTES, TEXT = "att", "text"


class Preparation(BaseModel):
    """How images are scaled and normalised for a backbone.

    Attributes:
        mean: Subtracted from each channel of an image in [0, 1].
        std: Each channel is then divided by it.
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
    """How a feature vector is computed from an image.

    Attributes:
        backbone: The network whose pooled features are taken. The prefix ``timm:``,
            ``torchvision:``, ``open_clip:`` or ``hf:`` names its package; a name without a prefix
            is a network of torchvision.
        weights: ``imagenet`` (torchvision or timm downloads them), a tag of open_clip, ``hub`` (the
            Hugging Face Hub has them), ``random``, or the name of the state dict's file or of the
            model's folder, without the path before it.
        weights_sha256: SHA-256 of the weights' file, downloaded or not; where there are several,
            of their hashes; of random weights, of the state dict.
        weights_path: Path of the weights' file or folder; None where it was downloaded. The hash
            identifies the weights: the path is only where they are looked for first.
        resize: Side, in pixels, of the square that an image is scaled and cut to.
        image_size: Side, in pixels, of the square that the network sees, cut from the centre of
            the square of side ``resize``.
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
        """The fields that determine the features: all but ``weights_path``."""
        return self.model_dump(exclude={"weights_path"})

    @model_serializer(mode="wrap")
    def _without_none(self, handler: Handler) -> dict[str, Any]:
        """Leave out fields that are None, as in files that are older than these fields."""
        fields: dict[str, Any] = handler(self)
        return {name: value for name, value in fields.items() if value is not None}


def recipe_differences(given: ImageRecipe, expected: ImageRecipe, called: str) -> list[str]:
    """The differences between the recipes of two sets of features, as parts of a sentence.

    Args:
        given: A recipe.
        expected: The recipe that it is compared with.
        called: Name of the features of ``expected`` in the sentence.
    """
    theirs, ours = given.model_dump(), expected.model_dump()
    found = []
    for name in ("backbone", "resize", "image_size", "preparation"):
        if theirs.get(name) != ours.get(name):
            found.append(f"{name} {theirs.get(name)} ({called}: {ours.get(name)})")
    if given.weights_sha256 != expected.weights_sha256:
        found.append(
            f"weights {given.weights} {given.weights_sha256[:12]} "
            f"({called}: {expected.weights} {expected.weights_sha256[:12]})"
        )
    return found


class TextRecipe(BaseModel):
    """How the semantics of a class are computed from its texts.

    With a text encoder, they are the mean of the token states. With an image-text model, the
    embedding of each prompt is scaled to length 1, and so is the mean of these.

    Attributes:
        encoder: A text encoder (``minilm``, ``bert``, ``glove``, ``tfidf``), or the image-text
            model whose text tower is used (``open_clip:...``, ``hf:...``).
        model: The folder of ``bert``, or its name on the hub; None for other encoders.
        max_tokens: Number of tokens at which texts are cut.
        fitted_on: The texts that the encoder took its statistics from; empty for an encoder without
            statistics.
        templates: The templates of the prompts. This field and the following ones are None for a
            text encoder.
        weights: As in :class:`ImageRecipe`.
        weights_sha256: As in :class:`ImageRecipe`.
        weights_path: As in :class:`ImageRecipe`.
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
        """Leave out the last four fields where they are None, as in older files."""
        fields: dict[str, Any] = handler(self)
        later = ("templates", "weights", "weights_sha256", "weights_path")
        return {k: v for k, v in fields.items() if k not in later or v is not None}


class Recipe(BaseModel):
    """How a benchmark's features and semantics were computed.

    Attributes:
        images: The recipe of the features; None where it is not known.
        texts: The recipe of the semantics; None where they were not computed from texts.
        attributes: The names of the semantics' columns; empty where they have none.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    images: ImageRecipe | None = None
    texts: TextRecipe | None = None
    attributes: list[str] = []

    def of(self, kind: str, columns: int) -> Recipe:
        """The recipe without the parts that do not apply to one kind of semantics.

        Args:
            kind: The kind, as a file with several kinds names it.
            columns: The number of its columns.
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
        """Build a recipe from the output of ``model_dump()``, read from a file or checkpoint.

        Args:
            values: The output.
            origin: The file, for the message.

        Raises:
            DataError: If a field is missing, unknown or of another type.
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
