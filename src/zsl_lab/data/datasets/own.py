"""A benchmark of the user's own in one HDF5 file, in any folder (``dataset.path=FILE``)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from zsl_lab.data.benchmark import VectorBenchmark
from zsl_lab.data.datasets.base import DataPaths, FileDatasetConfig
from zsl_lab.data.files import own_file
from zsl_lab.data.files.class_semantics import is_semantics_file, names_file
from zsl_lab.errors import ConfigError, InputError
from zsl_lab.keys import Place


class OwnDataset(FileDatasetConfig):
    """A benchmark in the layout of :mod:`zsl_lab.data.files.benchmark_file`.

    Attributes:
        path: The file; a relative path is relative to the working folder.
        name: The name in results; empty for the name in the file.
        semantics: The name of one of the file's kinds of class semantics, or another file with a
            table of classes, whose rows are matched by name; None takes the only kind, or ``att``.
    """

    path: Annotated[str | None, Place()]
    name: str = ""
    semantics: str | None = Field(default=None, min_length=1)

    @field_validator("name", mode="before")
    @classmethod
    def _name_or_the_files(cls, name: object) -> object:
        return "" if name is None else name

    def sources(self, paths: DataPaths) -> tuple[Path, ...]:
        """The file, and the files of the class semantics if they are in others."""
        files = (self._file(),) if self.path else ()
        if self.semantics is None or not is_semantics_file(self.semantics):
            return files
        table = own_file.semantics_file(self.semantics)
        names = names_file(table)
        return (*files, table) if names is None else (*files, table, names)

    def check_files(self, paths: DataPaths) -> None:
        """Check that the file exists."""
        if not self._file().is_file():
            self.load(paths)

    def load(self, paths: DataPaths) -> VectorBenchmark:
        """Read the file (:func:`zsl_lab.data.files.own_file.load`).

        Raises:
            ConfigError: If ``path`` is empty, or the file has no such semantics.
            DataError: If the file is missing, damaged or inconsistent.
        """
        return own_file.load(self._file(), self.semantics, self.name, self.storage)

    def _file(self) -> Path:
        if not self.path:
            raise ConfigError(f"dataset.path=null: dataset=own takes a file. {own_file.MAKE}")
        return Path(self.path).expanduser().absolute()

    def _without_images(self) -> InputError:
        return InputError(
            f"dataset.path={self.path}: such a file holds feature vectors, and this method takes "
            "images and a description of each class. Give it the images themselves "
            "(conf/dataset/flowers.yaml is an example of their keys), or choose another method.",
            holds="features",
        )
