"""How a benchmark's features and semantics were computed, to compute those of new data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zsl_lab.errors import DataError

#: the kinds of semantics that are made of a table of classes
ATTRIBUTES, TEXT = "att", "text"


class ImageRecipe(BaseModel):
    """From an image to a feature vector.

    Attributes:
        backbone: The network whose last features were averaged over the image.
        weights: ``imagenet`` (torchvision downloads them), or the name of the file of its state
            dict, without a folder.
        weights_sha256: SHA-256 of that file.
        resize: Side of the square that an image is scaled and cut to.
        image_size: Side of the square that the network sees, cut from its centre.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    backbone: str
    weights: str
    weights_sha256: str
    resize: int = Field(ge=1)
    image_size: int = Field(ge=1)


class TextRecipe(BaseModel):
    """From a class's text to its semantics: the mean of its tokens' states.

    Attributes:
        encoder: The name of the text encoder.
        model: A folder or a name on the hub; None takes the encoder's own.
        max_tokens: Texts are truncated to so many tokens.
        fitted_on: The texts that the encoder took its statistics from; empty for an encoder without
            any.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    encoder: str
    model: str | None
    max_tokens: int = Field(ge=1)
    fitted_on: list[str] = []


class Recipe(BaseModel):
    """How features and semantics were computed; None where this package did not compute them.

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
        """The recipe of one kind of semantics, where a file has several.

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
