"""Corrupted CIFAR-10 (Nam et al., Learning from Failure, NeurIPS 2020, section 4.1 and its published code)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ncbench import Parameters, Split
from ncbench_datasets.cifar10 import Cifar10
from ncbench_datasets.made.biased_splits import assign_bias, assign_training_bias
from ncbench_datasets.made.corruptions import corrupt
from ncbench_datasets.made.held_out import HoldsOut, ValBias, ValShare, parted

CORRUPTIONS_OF_TYPE = (
    ("snow", "frost", "fog", "brightness", "contrast", "spatter", "elastic", "jpeg", "pixelate", "saturate"),
    (
        "gaussian noise",
        "shot noise",
        "impulse noise",
        "speckle noise",
        "gaussian blur",
        "defocus blur",
        "glass blur",
        "motion blur",
        "zoom blur",
        "original",
    ),
)


class CorruptedCifar10Parameters(Parameters):
    """Parameters of Corrupted CIFAR-10."""

    type: Literal[0, 1] = Field(0, description="0: weather and digital corruptions; 1: noises, blurs and the original")
    severity: int = Field(
        5, ge=1, le=5, description="of the corruptions, as in CIFAR-10-C; the published 'Severity4' is 5"
    )
    conflict: float = Field(0.01, gt=0, lt=1, description="share of training images with another class's corruption")
    val: ValShare = 0.0
    val_bias: ValBias = "same"


class CorruptedCifar10(HoldsOut, Cifar10):
    """CIFAR-10 with a corruption that goes along with the class.

    A training image has its class's own corruption for a share ``1 - conflict`` of each class; the rest is spread
    evenly over the nine others. A test image has every corruption with equal chance. Both are deterministic, in dataset
    order, and what is random in an image's corruption follows from its place in its split. The corruptions are those
    of :mod:`ncbench_datasets.made.corruptions`, whose page says what differs from the published ones.

    The sources are those of the dataset `cifar10`.
    """

    Parameters = CorruptedCifar10Parameters

    def __init__(self, params: Any, root: Path | None) -> None:
        super().__init__(params, root)
        self.bias_names = CORRUPTIONS_OF_TYPE[params.type]

    def read(self) -> Mapping[str, Split]:
        """Read CIFAR-10 and corrupt it; hold a share of the training images out for validation if asked to.

        Raises:
            ConfigurationError: The share leaves a class without images.
            DataError: As for `cifar10`.
        """
        clean, params = super().read(), self.params
        train, test = clean["train"], clean["test"]
        bias, held = assign_training_bias(
            train.ids, train.target, self.class_names, params.conflict, params.val, params.val_bias
        )
        of_test = assign_bias(test.target, 0.1, len(self.class_names))
        return {
            **parted(self._corrupted(train, bias, "train"), held),
            "test": self._corrupted(test, of_test, "test"),
        }

    def _corrupted(self, split: Split, bias: np.ndarray, name: str) -> Split:
        images = np.array(split.inputs)
        for index, corruption in enumerate(self.bias_names):
            rows = np.flatnonzero(bias == index)
            images[rows] = corrupt(images[rows], corruption, self.params.severity, name, rows.tolist())
        return replace(split, inputs=images, bias=bias)
