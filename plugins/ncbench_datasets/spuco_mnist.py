"""SpuCoMNIST: digits before coloured backgrounds (Joshi, Yang, Xue, Yang & Mirzasoleiman, 2023)."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ncbench import Parameters, Split
from ncbench_datasets.layouts.mnist_files import SIZE, MnistFiles
from ncbench_datasets.made.torch_stream import permutations

SEED = 0  # of the authors' examples; each split is drawn from it anew
# matplotlib's map hsv at 0, 0.2, ..., 0.8, in whole levels: the published images have its fractions.
COLOURS = np.array([(255, 0, 0), (209, 255, 0), (0, 255, 92), (0, 116, 255), (185, 0, 255)], dtype=np.uint8)
# Side of the corner that a background fills, and how many of its pixels, drawn for each image, it fills.
_CORNERS = {
    "magnitude_large": (28, 784),
    "magnitude_medium": (4, 16),
    "magnitude_small": (2, 4),
    "variance_low": (7, 49),
    "variance_medium": (14, 49),
    "variance_high": (28, 49),
}


class SpuCoMnistParameters(Parameters):
    """Parameters of SpuCoMNIST."""

    conflict: float = Field(
        0.005, gt=0, lt=1, description="share of training images whose background is another class's"
    )
    difficulty: Literal[
        "magnitude_large", "magnitude_medium", "magnitude_small", "variance_low", "variance_medium", "variance_high"
    ] = Field("magnitude_large", description="of the background: all of an image or a corner; 49 pixels of a corner")
    val_bias: Literal["uniform", "same"] = Field(
        "uniform",
        description="backgrounds of the validation images: every one equally likely, as in the authors' examples, or "
        "the conflict ratio of training; who selects by the former has used bias labels",
    )


class SpuCoMnist(MnistFiles):
    """Pairs of digits, whose background has the colour of the class for nearly all training images.

    With the seed of the authors' examples, which image has which background, and where, is what the published code
    makes; its colours are here in whole levels. Of MNIST's training images, those that the authors list are for
    validation, a fifth of each digit.

    The sources are those of mnist.
    """

    Parameters = SpuCoMnistParameters
    folder = "mnist"
    raw = "MNIST/raw"
    has_val = True
    class_names = ("0-1", "2-3", "4-5", "6-7", "8-9")
    bias_names = ("red", "lime", "green", "blue", "purple")

    @classmethod
    def val_uses_bias(cls, params: Any) -> bool:
        """Whether the validation images have every background with equal chance."""
        return bool(params.val_bias == "uniform")

    def read(self) -> Mapping[str, Split]:
        """Draw the backgrounds.

        Raises:
            DataError: A file is truncated, damaged, of another size, or its labels are no digits.
        """
        listed = importlib.resources.files("ncbench_datasets").joinpath("spuco_mnist_validation.json")
        val = np.array(json.loads(listed.read_text(encoding="utf-8"))["rows"])
        train = self.grey_part("train")
        val = val[val < len(train[1])]  # a twin has fewer
        share = self.params.conflict
        return {
            "train": self._split(*train, "train", np.setdiff1d(np.arange(len(train[1])), val), share),
            "val": self._split(*train, "train", val, share if self.params.val_bias == "same" else None),
            "test": self._split(*self.grey_part("test"), "test", None, None),
        }

    def _split(
        self, grey: np.ndarray, digits: np.ndarray, part: str, rows: np.ndarray | None, conflict: float | None
    ) -> Split:
        """Put rows of a part of MNIST before backgrounds: a share of other classes', or as many of each."""
        rows = np.arange(len(digits)) if rows is None else rows
        target = digits[rows] // 2
        bias, filled = draw(target, conflict, self.params.difficulty)
        where = filled & (grey[rows] == 0)
        return Split(
            inputs=np.where(where[..., None], COLOURS[bias][:, None, None], grey[rows][..., None]),
            target=target,
            bias=bias,
            ids=[f"{part}-{row:05d}" for row in rows.tolist()],
        )


def draw(target: np.ndarray, conflict: float | None, difficulty: str) -> tuple[np.ndarray, np.ndarray]:
    """Draw which background each image has, and where.

    Args:
        target: (N,) int64 classes.
        conflict: Share of each class with another one's background; None for as many of each.
        difficulty: A key of the corners.

    Returns:
        (N,) int64 colours, and (N, 28, 28) bool, where they are if there is no digit.
    """
    stream = np.random.RandomState(SEED)
    number, (side, size) = len(COLOURS), _CORNERS[difficulty]
    bias = np.empty(len(target), dtype=np.int64)
    filled = np.zeros((len(target), *SIZE), dtype=bool)
    corner = filled[:, :side, :side]
    for label in dict.fromkeys(target.tolist()):  # in the order in which they come first
        members = np.flatnonzero(target == label)
        count = len(members)
        if conflict is None:
            values = np.arange(count) % number
        else:
            values = np.delete(np.arange(number), label)[np.arange(count) % (number - 1)]
            values[permutations(stream, 1, count, int((1 - conflict) * count))[0]] = label
        bias[members] = values[permutations(stream, 1, count, count)[0]]
        if size == side**2:
            corner[members] = True
        else:
            rows, columns = np.divmod(permutations(stream, count, side**2, size), side)
            corner[members[:, None], rows, columns] = True
    return bias, filled
