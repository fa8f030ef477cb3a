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

from ncbench import Parameters, Split
from ncbench_datasets.made.biased_splits import assign_bias, assign_training_bias
from ncbench_datasets.made.held_out import HoldsOut, ValBias, ValShare, parted

COLOURS = 10
DIGIT_NAMES = tuple(str(digit) for digit in range(COLOURS))
COLOUR_NAMES = ("red", "yellow", "mauve", "khaki", "sky blue", "green", "blue", "purple", "dark green", "crimson")
# Mean RGB of colours 0-9, in 0..255: colors.th of the published code, whose fractions matter beside the jitter.
MEAN_COLOURS = np.array(
    [
        (250.8389953, 79.6923485, 42.9867133),
        (252.5850624, 233.479338, 89.6356094),
        (171.6058141, 117.5729719, 147.8510848),
        (199.729245, 212.0467553, 153.3389935),
        (22.4440277, 198.3806518, 250.3609809),
        (81.9553095, 245.0689137, 113.8447183),
        (6.2770504, 60.0908723, 193.4599006),
        (141.587972, 25.9029365, 194.2496046),
        (52.9694161, 100.2018696, 4.7691089),
        (212.5826937, 51.6143632, 68.0704898),
    ]
)
JITTER = (0.05, 0.02, 0.01, 0.005, 0.002)  # standard deviation in [0, 1] units, by severity 1-5
_JITTER_SEED = {"train": 0, "test": 1}


class ColouringParameters(Parameters):
    """Parameters of a coloured dataset."""

    conflict: float = Field(0.01, gt=0, lt=1, description="share of training images whose colour is not their digit's")
    severity: int = Field(4, ge=1, le=5, description="1 to 5: how little the colours of one digit vary")
    val: ValShare = 0.0
    val_bias: ValBias = "same"


@dataclass(frozen=True, eq=False)
class GreyDigits:
    """Grey images and their digits.

    Args:
        images: (N, H, W) uint8.
        digits: (N,) int64 in 0..9.
    """

    images: np.ndarray
    digits: np.ndarray


class ColouredDigits(HoldsOut):
    """Base of the datasets that colour grey digits; subclasses implement :meth:`grey_digits`.

    `mean_colours` is (10, 3), in [0, 1]; tints are computed in its precision, which is the published code's.
    """

    Parameters = ColouringParameters
    mean_colours: np.ndarray = (MEAN_COLOURS / 255).astype(np.float32)
    class_names = DIGIT_NAMES
    bias_names = COLOUR_NAMES

    def grey_digits(self) -> tuple[GreyDigits, GreyDigits]:
        """Return the training and the test digits, in dataset order.

        Raises:
            DataError: A source is damaged.
        """
        raise NotImplementedError

    def read(self) -> Mapping[str, Split]:
        """Colour the digits, and hold a share of the training images out for validation if asked to.

        Raises:
            ConfigurationError: The share leaves a class without images.
        """
        params: Any = self.params
        train, test = self.grey_digits()
        ids = [f"train-{index:05d}" for index in range(len(train.digits))]
        colours, held = assign_training_bias(
            ids, train.digits, self.class_names, params.conflict, params.val, params.val_bias
        )
        of_test = assign_bias(test.digits, 1 / COLOURS, COLOURS)
        return {
            **parted(self._coloured(train, colours, "train"), held),
            "test": self._coloured(test, of_test, "test"),
        }

    def _coloured(self, grey: GreyDigits, colours: np.ndarray, name: str) -> Split:
        """Give the digits of a split their colours, (N,) int64."""
        params: Any = self.params
        means = self.mean_colours[colours]
        return Split(
            inputs=colour(grey.images, means, JITTER[params.severity - 1], _JITTER_SEED[name]),
            target=grey.digits,
            bias=colours,
            ids=[f"{name}-{index:05d}" for index in range(len(colours))],
        )


def colour(images: np.ndarray, means: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    """Multiply grey images with their colour, jittered by a Gaussian and clamped to [0, 1].

    Fractions are cut off, not rounded, as the published code does.

    Args:
        images: (N, H, W) uint8.
        means: (N, 3) the images' colours before the jitter, in [0, 1].
        sigma: Standard deviation of the jitter, in [0, 1] units.
        seed: Of the jitter.

    Returns:
        (N, H, W, 3) uint8.
    """
    # RandomState's streams are frozen for good (NEP 19), those of numpy's newer generators are not.
    noise = np.random.RandomState(seed).standard_normal((len(images), 3))
    tint = np.clip(means + sigma * noise.astype(means.dtype), 0, 1).astype(np.float32)  # (N, 3)
    coloured = np.empty((*images.shape, 3), dtype=np.uint8)
    for start in range(0, len(images), 4096):  # in pieces, to keep the float32 copies small
        piece = slice(start, start + 4096)
        coloured[piece] = images[piece, :, :, None].astype(np.float32) * tint[piece, None, None, :]
    return coloured
