"""Arrange the photographs of flowers as ``extract`` takes them: class folders and a table.

Which classes are unseen, and which are for validation, is that of ``dataset=flo`` and
``dataset=flowers``; a few of the unseen ones are put aside with a table of their own, for classes
that are met only at prediction time.

    python experiments/own_images/make_flowers_folder.py --data-dir DIR --out flowers
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from zsl_lab.data.files.descriptions import read_descriptions
from zsl_lab.data.files.labels import read_labels
from zsl_lab.data.files.mat import read_mat

#: the unseen classes that are put aside: every fourth
ASIDE = slice(None, None, 4)


def main() -> None:
    """Copy images to ``OUT/images`` and ``OUT/later``; write ``classes.csv`` and ``later.csv``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        type=Path,
        required=True,
        help="holds flowers/ and xlsa17/data/FLO/",
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    options = parser.parse_args()
    flowers, flo = options.data_dir / "flowers", options.data_dir / "xlsa17" / "data" / "FLO"
    names, texts = read_descriptions(flowers / "descriptions.json", "{description}", named=True)
    files, labels = read_labels(flowers / "labels.csv", names, flowers / "descriptions.json")
    # the split numbers samples in the order of the feature file
    listed = read_mat(flo / "efficientnet_lite2.mat", ["image_files"])["image_files"].ravel(
        order="F"
    )
    class_of_file = dict(zip(files, labels, strict=True))
    class_of_sample = np.array([class_of_file[PurePosixPath(name).name] for name in listed])
    split = read_mat(flo / "att_splits.mat", ["trainval_loc", "test_unseen_loc", "val_loc", "att"])
    samples = {
        field: split[field].ravel().astype(np.int64) - 1
        for field in ("trainval_loc", "test_unseen_loc", "val_loc")
    }
    unseen = np.unique(class_of_sample[samples["test_unseen_loc"]])
    validation = np.unique(
        class_of_sample[np.intersect1d(samples["val_loc"], samples["trainval_loc"])]
    )
    later = unseen[ASIDE]
    for file, label in zip(files, labels, strict=True):
        to = (
            options.out
            / ("later" if label in later else "images")
            / names[label]
            / PurePosixPath(file).name
        )
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(flowers / "images" / file, to)
    part = [
        "unseen" if class_id in unseen else "validation" if class_id in validation else "seen"
        for class_id in range(len(names))
    ]
    attributes = [f"embedding {i + 1}" for i in range(len(split["att"]))]

    def write(table: Path, columns: list[str], classes: Iterable[int]) -> None:
        with table.open("w", newline="", encoding="utf-8") as output:
            writer = csv.writer(output, lineterminator="\n")
            writer.writerow([*columns, *attributes])
            for class_id in classes:
                known = {
                    "class": names[class_id],
                    "description": texts[class_id],
                    "split": part[class_id],
                }
                writer.writerow(
                    [
                        *(known[column] for column in columns),
                        *(repr(float(value)) for value in split["att"][:, class_id]),
                    ]
                )

    write(
        options.out / "classes.csv",
        ["class", "description", "split"],
        [c for c in range(len(names)) if c not in later],
    )
    write(options.out / "later.csv", ["class", "description"], later)
    print(
        f"{options.out}: {len(files):,} images, {len(names) - len(later)} classes, "
        f"{len(unseen) - len(later)} of them unseen and {len(validation)} for validation; aside: "
        f"{', '.join(names[class_id] for class_id in later)}"
    )


if __name__ == "__main__":
    main()
