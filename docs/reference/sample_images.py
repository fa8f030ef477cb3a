"""Draw the sample images of the leaderboard's pages: `python docs/reference/sample_images.py`, with $NCBENCH_DATA.

Of every dataset in NAMES, whose licence allows it: one picture, a column of images for each group in the order of
`ncbench data show`, and a text with the name of each group on a line.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import ncbench.leaderboard.pages
from ncbench.data.store.prepare import prepare
from ncbench.discovery.registry import registry
from ncbench.pictures.galleries import samples

NAMES = ("colored_digits", "colored_mnist", "mnist")
FOLDER = Path(ncbench.leaderboard.pages.__file__).parent / "static" / "samples"
IMAGES = 4  # of a group


def draw(name: str) -> None:
    """Write the picture and the text of a dataset."""
    store = prepare(registry().find("datasets", name).card, {})
    rows = samples(store.splits["train"], store.class_names, store.bias_names)
    columns = [np.concatenate(list(row.images[:IMAGES])) for row in rows]
    tallest = max(map(len, columns))
    padded = [np.pad(column, ((0, tallest - len(column)), (0, 0), (0, 0))) for column in columns]
    FOLDER.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(padded, axis=1).squeeze()).save(FOLDER / f"{name}.png", optimize=True)
    names = "".join(f"{row.heading.partition(':')[0]}\n" for row in rows)
    (FOLDER / f"{name}.txt").write_text(names, encoding="utf-8")


if __name__ == "__main__":
    for each in NAMES:
        draw(each)
