"""Galleries: images of a dataset in named rows, as one picture and as a page that needs nothing beside it."""

from __future__ import annotations

import base64
import html
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ncbench.contracts.errors import ConfigurationError
from ncbench.data.files import write_atomically
from ncbench.data.store.open import StoredSplit
from ncbench.features.predictions import Predictions
from ncbench.pictures.style import plain_text, save_figure, shared_style, title

GROUPS = 3
IMAGES = 8  # of a group
MOST_GROUPS = 20
_OPACITY = 0.8  # of a map over its image, where it is greatest
_SIDE = 96  # pixels of an image on the page, at least
_LETTERS = 12  # of a heading that go into an inch

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif; }}
body {{ margin: 1.5rem; }}
h1 {{ font-size: 1.4rem; }}
h2 {{ font-size: 1.1rem; }}
.row {{ display: flex; flex-wrap: wrap; gap: .8rem; }}
figure {{ margin: 0; width: {side}px; overflow-wrap: anywhere; }}
img {{ width: {side}px; image-rendering: pixelated; display: block; }}
img + img {{ margin-top: .2rem; }}
</style>
<h1>{title}</h1>
{rows}
</html>
"""


@dataclass(frozen=True, eq=False)
class Row:
    """Some images that belong together.

    Args:
        heading: What they are.
        images: (n, H, W, C) uint8, C 1 or 3.
        captions: n texts.
        maps: (n, H, W) float32 in [0, 1], which parts of each image speak for the prediction; None if not known.
    """

    heading: str
    images: np.ndarray
    captions: Sequence[str]
    maps: np.ndarray | None = None


def mistakes(predictions: Predictions, images: np.ndarray) -> list[Row]:
    """Return the mistakes in the groups with the smallest accuracy, most confident first.

    Of groups with the same accuracy, those with more mistakes come first. Where the bias attribute is unknown, groups
    are classes.

    Args:
        predictions: Of the N images of a split.
        images: (N, H, W, C) uint8, in the same order.

    Raises:
        ConfigurationError: There are no mistakes.
    """
    p = predictions
    bias = np.zeros_like(p.target) if p.bias is None else p.bias
    wrong = p.predicted != p.target
    if not wrong.any():
        raise ConfigurationError("There are no mistakes to show: every image is classified correctly.")
    confidence = np.zeros(len(p)) if p.probability is None else p.probability[np.arange(len(p)), p.predicted]
    groups = []
    for target, value in sorted({*zip(p.target[wrong].tolist(), bias[wrong].tolist(), strict=True)}):
        inside = (p.target == target) & (bias == value)
        groups.append((1 - wrong[inside].mean(), target, value, np.flatnonzero(inside & wrong), int(inside.sum())))
    groups.sort(key=lambda group: (group[0], -len(group[3])))
    rows = []
    for accuracy, target, value, mistaken, count in groups[:GROUPS]:
        first = mistaken[np.argsort(-confidence[mistaken], kind="stable")][:IMAGES]
        name = p.class_names[target] + ("" if p.bias is None else f", {p.bias_names[value]}")
        captions = [
            f"{p.class_names[p.predicted[index]]}"
            + ("" if p.probability is None else f" ({100 * confidence[index]:.0f}%)")
            for index in first
        ]
        correct = count - len(mistaken)
        heading = f"{name}: {correct} of {count} correct ({100 * accuracy:.1f}%); predicted as"
        rows.append(Row(heading, np.asarray(images[first]), captions))
    return rows


def samples(split: StoredSplit, class_names: Sequence[str], bias_names: Sequence[str]) -> tuple[list[Row], int]:
    """Return a few images of each group, evenly spaced in the dataset's order; groups are classes without bias labels.

    Of more groups than a picture has room for, the largest and the smallest are shown.

    Args:
        split: Of images.
        class_names: K names.
        bias_names: B names; empty where the attribute is unknown.

    Returns:
        The groups that are shown, and how many have images.
    """
    bias = np.zeros_like(split.target) if split.bias is None else split.bias
    keys, group, counts = np.unique(np.stack([split.target, bias]), axis=1, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    if len(order) > MOST_GROUPS:
        order = np.concatenate([order[: MOST_GROUPS // 2], order[-MOST_GROUPS // 2 :]])
    rows = []
    for number in order:
        target, value = keys[:, number]
        members = np.flatnonzero(group.ravel() == number)
        few = np.unique(members[np.linspace(0, len(members) - 1, IMAGES).astype(int)])
        name = class_names[target] + ("" if split.bias is None else f", {bias_names[value]}")
        heading = f"{name}: {len(members):,} of {len(split):,} images ({100 * len(members) / len(split):.2f}%)"
        rows.append(Row(heading, np.asarray(split.inputs[few]), [str(split.ids[index]) for index in few]))
    return rows, len(counts)


def plot_gallery(rows: Sequence[Row], heading: str, path: Path, option: str) -> Path:
    """Draw rows of images into one file; arguments and errors of :func:`ncbench.pictures.style.save_figure`."""
    from matplotlib.figure import Figure

    with shared_style():
        columns = max(6, *(len(row.images) for row in rows))
        lines = [1 if row.maps is None else 2 for row in rows]
        height = 0.6 + sum(1.75 if number == 1 else 2.75 for number in lines)
        width = 1.1 * columns
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.suptitle(title(heading, int(_LETTERS * width)), fontsize=10)
        parts = figure.subfigures(
            len(rows), 1, squeeze=False, height_ratios=[0.75 + number for number in lines]
        ).ravel()
        for part, row, number in zip(parts, rows, lines, strict=True):
            part.suptitle(title(row.heading, int(_LETTERS * width)), x=0.01, ha="left", fontsize=9)
            axes = part.subplots(number, columns, squeeze=False)
            for axis in axes.ravel():
                axis.axis("off")
            for axis, image, caption in zip(axes[0], row.images, row.captions, strict=False):
                axis.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                axis.set_title(plain_text("\n".join(textwrap.wrap(caption, 16)[:3])), fontsize=7)
            for axis, image in zip(axes[-1], _overlaid(row), strict=False):
                axis.imshow(image, interpolation="nearest")
        return save_figure(figure, path, option)


def write_page(rows: Sequence[Row], heading: str, path: Path) -> Path:
    """Write the same as one HTML file, which holds its images; text is escaped."""
    parts = []
    for row in rows:
        figures = "".join(
            f"<figure>{''.join(map(_img, pictures))}<figcaption>{html.escape(caption)}</figcaption></figure>"
            for *pictures, caption in zip(
                row.images, *([] if row.maps is None else [_overlaid(row)]), row.captions, strict=True
            )
        )
        parts.append(f'<h2>{html.escape(row.heading)}</h2>\n<div class="row">{figures}</div>')
    side = max(_SIDE, min(224, rows[0].images.shape[2]))
    write_atomically(path, _PAGE.format(title=html.escape(heading), side=side, rows="\n".join(parts)).encode("utf-8"))
    return path


def _overlaid(row: Row) -> list[np.ndarray]:
    """Return the images in grey under their maps, as (H, W, 3) uint8: what does not matter stays grey."""
    from matplotlib import colormaps

    pictures = []
    for image, weight in zip(row.images, [] if row.maps is None else row.maps, strict=False):
        grey = image.mean(axis=2, keepdims=True).repeat(3, axis=2)
        opacity = _OPACITY * weight[..., None]
        colour = 255 * colormaps["inferno"](weight)[..., :3]
        pictures.append(((1 - opacity) * grey + opacity * colour).round().astype(np.uint8))
    return pictures


def _img(image: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, "PNG")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode("ascii")}">'
