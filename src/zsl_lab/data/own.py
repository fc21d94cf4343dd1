"""A benchmark of the user's own: one HDF5 file, wherever it lies (``dataset.path=FILE``)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from zsl_lab.data import hdf5
from zsl_lab.data.benchmark import FeatureBenchmark, Provenance
from zsl_lab.data.dataset import DataPaths, FeatureDatasetConfig
from zsl_lab.data.hashing import sha256_arrays
from zsl_lab.errors import ConfigError, DataError, nearest

_MAKE = (
    "Make one, `python -m zsl_lab.data extract` of images or `python -m zsl_lab.data convert` of .mat files, and name it with"
    " dataset.path=FILE.h5; or choose another dataset (dataset=digits is embedded)."
)


class OwnDataset(FeatureDatasetConfig):
    """A benchmark in the layout of :mod:`zsl_lab.data.hdf5`.

    Attributes:
        path: The file; a relative path starts at the working folder.
        name: The name in results; empty takes the file's.
        semantics: Which of the file's class semantics; None takes the only one, or ``att``.
    """

    path: str | None
    name: str = ""
    semantics: str | None = Field(default=None, min_length=1)

    @field_validator("name", mode="before")
    @classmethod
    def _name_or_the_files(cls, name: object) -> object:
        return "" if name is None else name

    def sources(self, paths: DataPaths) -> tuple[Path, ...]:
        """The file."""
        return (self._file(),) if self.path else ()

    def load(self, paths: DataPaths) -> FeatureBenchmark:
        """Read the file. Its content, not its place, is what results know it by.

        Raises:
            ConfigError: No file is named, or it has no such semantics.
            DataError: The file is missing, damaged or inconsistent.
        """
        path = self._file()
        if not path.is_file():
            found = "a folder" if path.is_dir() else "no such file"
            raise DataError(f"dataset.path={path}: {found}; expected a benchmark in an HDF5 file. {_MAKE}")
        content = hdf5.read(path, lean=True)
        kind = self.semantics or content.default_kind
        if kind is None or kind not in content.semantics:
            found = f"dataset.semantics={self.semantics or 'null'}: found {', '.join(content.semantics)} in {path}"
            near = nearest(kind, content.semantics) if kind else []
            hint = f"Did you mean {near[0]}?" if near else f"Set dataset.semantics={next(iter(content.semantics))}, or another of them."
            raise ConfigError(f"{found}; expected one of these. {hint}")
        provenance = Provenance(
            origin=str(path),
            splits_sha256=sha256_arrays(content.trainval, content.test_seen, content.test_unseen),
            # labels too: the same features of samples of other classes are other data
            features_sha256=sha256_arrays(content.features, content.labels),
            splits_version=content.provenance.splits_version,
            sources=content.provenance.sources,
        )
        try:
            return content.benchmark(kind, self.name or None, provenance)
        except DataError as error:
            raise DataError(f"{error} {hdf5.REMEDY}") from error

    def _file(self) -> Path:
        if not self.path:
            raise ConfigError(f"dataset.path=null: dataset=own takes a file. {_MAKE}")
        return Path(self.path).expanduser().absolute()

    def _without_images(self) -> ConfigError:
        return ConfigError(
            f"dataset.path={self.path}: such a file holds feature vectors, and this method takes images and a description of each class. "
            "Give it the images themselves, with dataset=flowers and the keys of that dataset (folder, labels, descriptions), or choose a "
            "method that takes features (method=sgal)."
        )
