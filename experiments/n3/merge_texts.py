"""Writes descriptions of several files as one, a paragraph of each file, for pool=paragraph_means.

python experiments/n3/merge_texts.py descriptions_cupl.json descriptions.json > merged.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from zsl_lab.data.files.descriptions import read_descriptions


def main() -> None:
    """Print the descriptions of the files that the command names, classes in the order of ids."""
    read = [read_descriptions(Path(file), "{description}") for file in sys.argv[1:]]
    names = read[0][0]
    if any(others != names for others, _ in read):
        sys.exit("The files have other classes, or the same in another order.")
    merged = [
        {
            "class_id": class_id,
            "name": names[class_id - 1],
            "description": "\n\n".join(" ".join(text.split()) for text in texts),
        }
        for class_id, texts in enumerate(zip(*(texts for _, texts in read), strict=True), 1)
    ]
    print(json.dumps(merged, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
