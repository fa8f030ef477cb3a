"""Grey digits in ten colours: the construction of Colored MNIST (Nam et al., Learning from Failure, NeurIPS 2020).

A training image's colour is its digit for a share ``1 - conflict`` of each class; the rest is spread evenly over the
other nine colours. A test image has every colour with equal chance. Both are deterministic, in dataset order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from ncbench import Dataset, Parameters, Split
from ncbench_datasets.made.biased_splits import assign_bias, set_apart

COLOURS = 10
DIGIT_NAMES = tuple(str(digit) for digit in range(COLOURS))
COLOUR_NAMES = ("red", "yellow", "mauve", "khaki", "sky blue", "green", "blue", "purple", "dark green", "crimson")
# Mean RGB of colours 0-9, in 0..255.
MEAN_COLOURS = (
    (251, 80, 43),
    (253, 233, 90),
    (172, 118, 148),
    (200, 212, 153),
    (22, 198, 250),
    (82, 245, 114),
    (6, 60, 193),
    (142, 26, 194),
    (53, 100, 5),
    (213, 52, 68),
)
JITTER = (0.05, 0.02, 0.01, 0.005, 0.002)  # standard deviation in [0, 1] units, by severity 1-5
_JITTER_SEED = {"train": 0, "test": 1}


class ColouringParameters(Parameters):
    """Parameters of a coloured dataset."""

    conflict: float = Field(0.01, gt=0, lt=1, description="share of training images whose colour is not their digit's")
    severity: int = Field(4, ge=1, le=5, description="1 to 5: how little the colours of one digit vary")
    val: float = Field(0.0, ge=0, lt=1, description="share of the training images set apart for validation")


@dataclass(frozen=True, eq=False)
class GreyDigits:
    """Grey images and their digits.

    Args:
        images: (N, H, W) uint8.
        digits: (N,) int64 in 0..9.
    """

    images: np.ndarray
    digits: np.ndarray


class ColouredDigits(Dataset):
    """Base of the datasets that colour grey digits; subclasses implement :meth:`grey_digits`."""

    Parameters = ColouringParameters
    class_names = DIGIT_NAMES
    bias_names = COLOUR_NAMES

    def grey_digits(self) -> tuple[GreyDigits, GreyDigits]:
        """Return the training and the test digits, in dataset order.

        Raises:
            DataError: A source is damaged.
        """
        raise NotImplementedError

    def read(self) -> Mapping[str, Split]:
        """Colour the digits, and set a share of the training images apart for validation if asked to."""
        params: Any = self.params
        train, test = self.grey_digits()
        coloured = coloured_split(train, 1 - params.conflict, params.severity, "train")
        return {
            **set_apart(coloured, params.val),
            "test": coloured_split(test, 1 / COLOURS, params.severity, "test"),
        }


def coloured_split(grey: GreyDigits, aligned: float, severity: int, name: str) -> Split:
    """Colour grey digits.

    Args:
        grey: The digits.
        aligned: Share of each digit's images in the digit's own colour.
        severity: 1 to 5; the jitter's standard deviation is ``JITTER[severity - 1]``.
        name: "train" or "test", for the ids and the jitter's stream.
    """
    colours = assign_bias(grey.digits, aligned, COLOURS)
    return Split(
        inputs=colour(grey.images, colours, JITTER[severity - 1], _JITTER_SEED[name]),
        target=grey.digits,
        bias=colours,
        ids=[f"{name}-{index:05d}" for index in range(len(colours))],
    )


def colour(images: np.ndarray, colours: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    """Multiply grey images with their colour, jittered by a Gaussian and clamped to [0, 1].

    Fractions are cut off, not rounded, as the published code does.

    Args:
        images: (N, H, W) uint8.
        colours: (N,) int64 in 0..9.
        sigma: Standard deviation of the jitter, in [0, 1] units.
        seed: Of the jitter.

    Returns:
        (N, H, W, 3) uint8.
    """
    # RandomState's streams are frozen for good (NEP 19), those of numpy's newer generators are not.
    noise = np.random.RandomState(seed).standard_normal((len(images), 3))
    mean = np.asarray(MEAN_COLOURS)[colours] / 255  # (N, 3)
    tint = np.clip(mean + sigma * noise, 0, 1).astype(np.float32)
    coloured = np.empty((*images.shape, 3), dtype=np.uint8)
    for start in range(0, len(images), 4096):  # in pieces, to keep the float32 copies small
        piece = slice(start, start + 4096)
        coloured[piece] = images[piece, :, :, None].astype(np.float32) * tint[piece, None, None, :]
    return coloured
