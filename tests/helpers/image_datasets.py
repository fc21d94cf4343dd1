"""Tiny folders of images in the formats of public archives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

#: species of the toy NABirds: order, family (None where the order holds the species) and labels
SPECIES = {
    "Mallard": ("Ducks", None, ["Mallard (Male)", "Mallard (Female)"]),
    "Osprey": ("Hawks", None, ["Osprey"]),
    "Common Raven": ("Perching Birds", "Crows", ["Common Raven"]),
    "Blue Jay": ("Perching Birds", "Crows", ["Blue Jay"]),
    "House Wren": ("Perching Birds", "Wrens", ["House Wren"]),
    "Marsh Wren": ("Perching Birds", "Wrens", ["Marsh Wren (Adult)", "Marsh Wren (Young)"]),
}
PER_CLASS = 5


def draw(path: Path, colour: tuple[int, int, int]) -> None:
    """An image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10), colour).save(path)


def describe(path: Path, names: Sequence[str]) -> None:
    """A text for each class, the first class with two, in a list without ids."""
    texts: list[dict[str, object]] = [
        {"name": name, "description": f"looks like {name}"} for name in names
    ]
    texts[0]["description"] = ["is large", "sings."]
    path.write_text(json.dumps(texts))


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, ""]))


def make_cub(folder: Path, classes: int = 6) -> list[str]:
    """CUB-200-2011: numbered images and classes; the names of the classes."""
    names = [f"{i:03}.Bird_{chr(64 + i)}" for i in range(1, classes + 1)]
    files = [f"{name}/{name[4:]}_{i:04}.jpg" for name in names for i in range(PER_CLASS)]
    for number, file in enumerate(files):
        draw(folder / "images" / file, (40 * (number // PER_CLASS), 0, 0))
    write_lines(folder / "images.txt", [f"{i} {file}" for i, file in enumerate(files, 1)])
    labels = [f"{i + 1} {i // PER_CLASS + 1}" for i in range(len(files))]
    write_lines(folder / "image_class_labels.txt", labels)
    write_lines(folder / "classes.txt", [f"{i} {name}" for i, name in enumerate(names, 1)])
    describe(folder / "descriptions.json", [name[4:].replace("_", " ").lower() for name in names])
    return names


def make_cub2010(folder: Path, classes: int = 6) -> list[str]:
    """CUB-200 (2010): a list of paths, a list of names."""
    names = [f"{i:03}.Bird_{chr(64 + i)}" for i in range(1, classes + 1)]
    files = [f"{name}/{name[4:]}_{i:04}.jpg" for name in names for i in range(PER_CLASS)]
    for number, file in enumerate(files):
        draw(folder / "images" / file, (0, 40 * (number // PER_CLASS), 0))
    write_lines(folder / "lists" / "files.txt", files)
    write_lines(folder / "lists" / "classes.txt", names)
    describe(folder / "descriptions.json", names)
    return names


def make_awa2(folder: Path, classes: int = 6) -> list[str]:
    """Animals with Attributes 2: a folder a class and no list of images."""
    names = [f"spotted+animal+{chr(96 + i)}" for i in range(1, classes + 1)]
    for number, name in enumerate(names):
        for i in range(PER_CLASS):
            file = f"{name}_{10001 + i}.jpg"
            draw(folder / "JPEGImages" / name / file, (0, 0, 40 * number))
    write_lines(folder / "classes.txt", [f"{i:>8}\t{n}" for i, n in enumerate(names, 1)])
    write_lines(folder / "testclasses.txt", names[-2:])
    describe(folder / "descriptions.json", [name.replace("+", " ") for name in names])
    return names


def make_nabirds(folder: Path) -> list[str]:
    """NABirds: images by hash, labels by sex and age below species below families and orders."""
    parent: dict[str, str] = {}
    for species, (order, family, labels) in SPECIES.items():
        above = order if family is None else family
        parent |= {order: "Birds", above: order if family else "Birds"}
        parent |= {f"{species} ": above, **dict.fromkeys(labels, f"{species} ")}
    # as in the archive the labels have the highest ids, and ids are not those of the 404 species
    ids = {name: i for i, name in enumerate(["Birds", *parent])}
    write_lines(folder / "classes.txt", [f"{i} {name.strip()}" for name, i in ids.items()])
    write_lines(folder / "hierarchy.txt", [f"{ids[c]} {ids[p]}" for c, p in parent.items()])
    images, labelled = [], []
    for number, (_, _, labels) in enumerate(SPECIES.values()):
        for i in range(PER_CLASS):
            label = ids[labels[i % len(labels)]]
            image = f"{number:04x}-{i:04x}"
            file = f"{label:04}/{image.replace('-', '')}.jpg"
            draw(folder / "images" / file, (40 * number, 40 * number, 0))
            images.append(f"{image} {file}")
            labelled.append(f"{image} {label}")
    write_lines(folder / "images.txt", images)
    write_lines(folder / "image_class_labels.txt", labelled)
    describe(folder / "descriptions.json", list(SPECIES))
    return list(SPECIES)


def class_ids(path: Path, seen: Sequence[int], unseen: Sequence[int]) -> None:
    """Lists of class ids from 1 on, as those of the super-category splits."""
    import scipy.io

    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {"train_cid": np.array([seen]), "test_cid": np.array([unseen])}
    scipy.io.savemat(path, fields)
