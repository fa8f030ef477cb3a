"""The two-colour MNIST of Arjovsky, Bottou, Gulrajani & Lopez-Paz (Invariant Risk Minimization, 2019, section 5.2)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
from pydantic import Field
from pydantic_core import PydanticCustomError

from ncbench import Parameters, Split
from ncbench_datasets.layouts.mnist_files import SIZE, MnistFiles
from ncbench_datasets.made.biased_splits import assign_bias
from ncbench_datasets.made.held_out import HoldsOut, ValBias, ValShare, hold_out, parted, refuse_share, rows_of

LABEL_NOISE = 0.25
FLIPS = (0.2, 0.1, 0.9)  # share of images in the colour of the other class: two training environments, and the test
_VALUES = {"colour": ("red", "green"), "environment": tuple(f"{flip:.0%} flipped" for flip in FLIPS)}


class IrmMnistParameters(Parameters):
    """Parameters of the two-colour MNIST."""

    bias: Literal["colour", "environment"] = Field(
        "colour", description="the bias attribute; environment is what irm and vrex compared in the paper"
    )
    val: ValShare = 0.0
    val_bias: ValBias = "same"

    @pydantic.field_validator("val_bias")
    @classmethod
    def _is_of_colours(cls, val_bias: str, info: pydantic.ValidationInfo) -> str:
        if val_bias == "uniform" and info.data.get("bias") == "environment":
            raise PydanticCustomError("val_bias", "images of equally likely colours are of no environment")
        return val_bias


class IrmMnist(MnistFiles, HoldsOut):
    """MNIST's digits below five told from the others; a quarter of the labels are wrong, and colours predict them best.

    Every other pixel of MNIST's training images, in red or green. Of 50,000 images to train on, one half has the colour
    of the other class in 20 % of cases, the other half in 10 %; of 10,000 to test on, 90 % have. Given the same random
    numbers, all of it is what the published code makes; that has no blue channel, which here is 0.

    The sources are the training part of mnist's.
    """

    Parameters = IrmMnistParameters
    folder = "mnist"
    raw = "MNIST/raw"
    parts = ("train",)
    image_size = (SIZE[0] // 2, SIZE[1] // 2)
    class_names = ("5-9", "0-4")

    def __init__(self, params: Any, root: Path | None) -> None:
        super().__init__(params, root)
        self.bias_names = _VALUES[params.bias]

    def read(self) -> Mapping[str, Split]:
        """Draw labels and colours, and hold a share of the training images out for validation if asked to.

        Raises:
            ConfigurationError: The share leaves a class without images.
            DataError: A file is truncated, damaged, of another size, or its labels are no digits.
        """
        grey, digits = self.grey_part("train")
        target, colour, environment = draw(digits)
        ids = [f"train-{index:05d}" for index in range(len(digits))]  # also of test images: it is MNIST's training part
        train = np.arange(len(digits)) < _trained(len(digits))
        held = np.zeros(len(digits), dtype=bool)
        uniform = self.params.val_bias == "uniform"
        sizes = np.bincount(target[train], minlength=2).tolist()
        refuse_share(self.params.val, dict(zip(self.class_names, sizes, strict=True)), 2 if uniform else 1)
        held[train] = hold_out(ids[: train.sum()], target[train], self.params.val)
        if uniform:
            colour[held] = assign_bias(target[held], 1 / 2, 2)
        split = Split(
            inputs=coloured(grey, colour),
            target=target,
            bias=colour if self.params.bias == "colour" else environment,
            ids=ids,
        )
        return {**parted(rows_of(split, train), held[train]), "test": rows_of(split, ~train)}


def draw(digits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw labels, colours and environments.

    Args:
        digits: (N,) int64 in 0..9; the first five sixths are trained on.

    Returns:
        (N,) int64 each: 1 for a label of 0-4, 1 for green, and the environment's position in :data:`FLIPS`.
    """
    # RandomState's streams are frozen for good (NEP 19), those of numpy's newer generators are not.
    random = np.random.RandomState(0)
    trained = _trained(len(digits))
    order = random.permutation(trained)
    target, colour, environment = np.zeros((3, len(digits)), dtype=np.int64)
    members = (order[::2], order[1::2], np.arange(trained, len(digits)))
    for index, (here, flip) in enumerate(zip(members, FLIPS, strict=True)):
        target[here] = (digits[here] < 5) ^ (random.random_sample(len(here)) < LABEL_NOISE)
        colour[here] = target[here] ^ (random.random_sample(len(here)) < flip)
        environment[here] = index
    return target, colour, environment


def coloured(grey: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Return every other pixel in the red (0) or the green channel (1): (N, H, W) uint8 -> (N, H/2, W/2, 3) uint8."""
    small = grey[:, ::2, ::2]
    images = np.zeros((*small.shape, 3), dtype=np.uint8)
    images[np.arange(len(grey)), :, :, colour] = small
    return images


def _trained(number: int) -> int:
    return number * 5 // 6
