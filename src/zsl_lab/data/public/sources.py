"""The public benchmarks: archives and their mirrors, the files in them, and terms of use.

Numbers of samples and classes are in ``conf/dataset/*.yaml``, which :func:`choices` and
:func:`settings` read without Hydra. This module opens no connection.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from zsl_lab.errors import ConfigError, nearest

NOT_STATED = "not stated"

#: files of a benchmark's folder
FEATURES = "res101.mat"
SPLITS = "att_splits.mat"
SENTENCES = "sent_splits.mat"


@dataclass(frozen=True)
class Archive:
    """A zip file with benchmarks.

    Attributes:
        name: The file's name.
        urls: Addresses of the same file, the authors' own server first.
        page: Address of the authors' page about it.
        size: Its approximate size, shown to users; empty where it is not published.
    """

    name: str
    urls: tuple[str, ...]
    page: str
    size: str = ""


@dataclass(frozen=True)
class Source:
    """A public benchmark: its place in an archive, and what is known of its files.

    Attributes:
        archive: The archive.
        folder: The benchmark's folder, both in the archive and below the data folder.
        semantics: A description of each kind of class semantics (values of ``dataset.semantics``).
        terms: The authors' terms of use of images and annotations.
        extra: Optional files besides features and splits, with the place to get each if the archive
            does not have it.
        genuine: MD5 of files known to be the authors'.
        others: A description of other versions that circulate, by MD5.
    """

    archive: Archive
    folder: str
    semantics: Mapping[str, str]
    terms: str = NOT_STATED
    extra: Mapping[str, str] = field(default_factory=dict)
    genuine: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The required files."""
        return FEATURES, SPLITS

    def version(self, file: str, md5: str) -> str:
        """A description of the version of a file with this MD5 hash."""
        known = self.genuine.get(file)
        if md5 == known:
            return "the genuine file"
        if md5 in self.others:
            return self.others[md5]
        return (
            f"another version than the genuine file that zsl_lab knows (md5 {known})"
            if known
            else "not known to zsl_lab"
        )


XLSA17 = Archive(
    name="xlsa17.zip",
    urls=(
        "https://datasets.d2.mpi-inf.mpg.de/xian/xlsa17.zip",
        "http://datasets.d2.mpi-inf.mpg.de/xian/xlsa17.zip",
        "https://cvml.ista.ac.at/AwA2/xlsa17.zip",
    ),
    page=(
        "https://www.mpi-inf.mpg.de/departments/computer-vision-and-machine-learning/research/zero-shot-learning/"
        "zero-shot-learning-the-good-the-bad-and-the-ugly"
    ),
    size="about 880 MB",
)
CVPR18 = Archive(
    name="cvpr18xian.zip",
    urls=("http://datasets.d2.mpi-inf.mpg.de/xian/cvpr18xian.zip",),
    page=(
        "https://www.mpi-inf.mpg.de/departments/computer-vision-and-multimodal-computing/research/zero-shot-learning/"
        "feature-generating-networks-for-zero-shot-learning"
    ),
)

_ATTRIBUTES = {"att": "attributes, l2-normalised", "original_att": "attributes"}
#: by the value of ``dataset=``
PUBLIC = {
    "awa1": Source(
        XLSA17,
        "AWA1",
        _ATTRIBUTES,
        genuine={SPLITS: "8752ddd747322960c5fd79070dd4dcfc"},
    ),
    "awa2": Source(
        XLSA17,
        "AWA2",
        _ATTRIBUTES,
        "images licensed for free use and redistribution, each with its own licence file "
        "(https://cvml.ista.ac.at/AwA2/)",
        genuine={SPLITS: "9835f498eb4729cc03bb2408e4262a5b"},
    ),
    "cub": Source(
        XLSA17,
        "CUB",
        {**_ATTRIBUTES, "sent": "1,024-d sentence embeddings"},
        extra={SENTENCES: "data/CUB/sent_splits.mat of https://github.com/Hanzy1996/CE-GZSL (MIT)"},
        genuine={
            SPLITS: "4683b7313fbb42c4e0f755bab57f5063",
            SENTENCES: "a3f3c2b7ee19b0b78a9915ea3ce17e35",
        },
    ),
    "sun": Source(
        XLSA17,
        "SUN",
        _ATTRIBUTES,
        genuine={SPLITS: "9b79a7ea114ba992f49edce041d4130f"},
    ),
    "apy": Source(
        XLSA17,
        "APY",
        _ATTRIBUTES,
        others={
            "ba2787272fd620b054b5f5546c5f6d2a": "a version of 2021 that circulates, not known to "
            "be the genuine file"
        },
    ),
    "flo": Source(
        CVPR18,
        "FLO",
        {"att": "sentence embeddings"},
        genuine={SPLITS: "bb867b474d238874240bef62e4cb979c"},
    ),
}


@dataclass(frozen=True)
class ImageSource:
    """A public dataset of images, read from the folder of its official archive.

    Attributes:
        samples: Number of samples.
        seen: Number of seen classes in the default split.
        unseen: Number of unseen classes in the default split.
        page: Address of the page with the images, and their size.
        terms: The authors' terms of use of images and annotations.
    """

    samples: int
    seen: int
    unseen: int
    page: str
    terms: str = NOT_STATED


_CALTECH = "https://www.vision.caltech.edu/datasets/"
_FLOWERS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/ (330 MB)"
#: by the value of ``dataset=``
IMAGES = {
    "flowers": ImageSource(8189, 82, 20, _FLOWERS),
    "flowers_species": ImageSource(3545, 45, 10, _FLOWERS),
    "cub_images": ImageSource(11788, 150, 50, f"{_CALTECH}cub_200_2011/ (1.1 GB)"),
    "cub2010_images": ImageSource(6033, 160, 40, f"{_CALTECH} (0.7 GB)"),
    "nabirds": ImageSource(
        48562,
        323,
        81,
        "https://dl.allaboutbirds.org/nabirds (9 GB)",
        "terms of use of the Cornell Lab of Ornithology, to be accepted at "
        "https://dl.allaboutbirds.org/nabirds",
    ),
    "awa2_images": ImageSource(
        37322, 40, 10, "https://cvml.ista.ac.at/AwA2/ (13 GB)", PUBLIC["awa2"].terms
    ),
}

# Several versions of the proposed splits circulate with equal counts; the date is the one in the
# file's own header.
_VERSIONS = {
    "752e0fad7b01b0ad966d7f5d5650817e85fb3008848d5c603b437b4d9219d664": "proposed split (AWA1, "
    "file of 2018-01-31)",
    "dfe0e4f26ef5debaa77eff823a9316ac110e9b809b70d19c72dd11404f7be357": "proposed split (AWA2, "
    "file of 2018-01-31)",
    "4562b1f6306e21dca05071b9b070ce2b15ec659826c8cb87e5ea796b3770df21": "proposed split (CUB, file "
    "of 2019-09-19)",
    "90dcb2a60704ce1117ba1897523ba78dc6b625e606008918c4eade9cd8a5bf43": "proposed split (SUN, file "
    "of 2018-01-31)",
    "7a05d4b3b6af13f30f99f9f3dbfc058cff6f7564aa085bec36b7e768fa26d1b8": "proposed split (APY, file "
    "of 2021-02-26)",
    "f7c2841a236b54c7100f378667ff9a5d1ef7c934a0d3720018c6fffd02ef9a49": "proposed split (FLO, file "
    "of 2017-03-09)",
}


def choices() -> list[str]:
    """The values that ``dataset=`` may have, public benchmarks first."""
    found = {Path(entry.name).stem for entry in _folder().iterdir() if entry.name.endswith(".yaml")}
    return [*(name for name in PUBLIC if name in found), *sorted(found - set(PUBLIC))]


def check_choice(name: str) -> None:
    """Check that ``dataset=`` has a choice of this name.

    Raises:
        ConfigError: If it has not; the message names the nearest choice.
    """
    known = choices()
    if name not in known:
        near = nearest(name.lower(), known)
        hint = f"Did you mean {near[0]}?" if near else f"Datasets: {', '.join(known)}."
        raise ConfigError(f"{name}: there is no such dataset. {hint}")


def settings(name: str) -> dict[str, Any]:
    """The keys that a dataset's own yaml sets, without those that it inherits."""
    content = OmegaConf.create(_folder().joinpath(f"{name}.yaml").read_text(encoding="utf-8"))
    plain = OmegaConf.to_container(content)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def default_data_dir() -> Path:
    """The default of ``paths.data_dir``."""
    return Path(os.environ.get("ZSL_LAB_DATA", "data"))


def download_command(name: str, data_dir: Path) -> str:
    """The shell command that downloads a public benchmark."""
    return f"python -m zsl_lab.data download {name} --data-dir {shlex.quote(str(data_dir))}"


def origin(folder: str, data_dir: Path) -> str:
    """The archive that has the files of a benchmark's folder, and how to get it, for messages."""
    for name, source in PUBLIC.items():
        if source.folder == folder:
            archive = source.archive
            command = download_command(name, data_dir)
            return (
                f"the archive {archive.name} of Xian et al. ({archive.page}; `{command}` downloads "
                "it)"
            )
    return f"the archive {XLSA17.name} of Xian et al. ({XLSA17.page})"


def split_version(sha256: str) -> str:
    """The name of a published split file with this hash, or ``"unknown"``."""
    return _VERSIONS.get(sha256, "unknown")


def _folder() -> Any:
    return files("zsl_lab.conf").joinpath("dataset")
