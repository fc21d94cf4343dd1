"""Accuracy of task=predict on images in class folders, or on the samples of a benchmark file.

In percent of each class, averaged over the classes; samples of classes that are no candidates are
left out.

    python experiments/own_images/score.py PREDICTION/predictions.csv [FILE.h5]
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

from zsl_lab.data.files import benchmark_file as hdf5


def main() -> None:
    """Print the accuracy."""
    if len(sys.argv) not in (2, 3):
        sys.exit((__doc__ or "").rstrip().splitlines()[-1].strip())
    with Path(sys.argv[1]).open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        sample, _, _, *candidates = table.fieldnames or ()
        predicted = [(row[sample], row["predicted"]) for row in table]
    if sample == "file":
        truth = [Path(name).parts[0] for name, _ in predicted]
    else:
        if len(sys.argv) == 2:
            sys.exit("these are samples of a benchmark file: give it too")
        content = hdf5.read(Path(sys.argv[2]))
        names = content.class_names or ()
        truth = [names[label] for label in content.labels]
    of_class: dict[str, list[bool]] = defaultdict(list)
    for (_, guess), name in zip(predicted, truth, strict=True):
        if name in candidates:
            of_class[name].append(guess == name)
    mean = sum(sum(right) / len(right) for right in of_class.values()) / len(of_class)
    count = sum(len(right) for right in of_class.values())
    print(
        f"{100 * mean:.1f} % per class, {len(of_class)} classes with {count:,} samples, "
        f"{len(candidates)} candidates"
    )


if __name__ == "__main__":
    main()
