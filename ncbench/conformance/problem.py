"""A small classification problem, handed to a method as the runner hands over a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ncbench.contracts.method import Backbone
from ncbench.contracts.parameters import Parameters
from ncbench.data.store.open import Store, StoredSplit
from ncbench.geometry import Hierarchy
from ncbench.training.recipe import Recipe
from ncbench.training.splits import LoadedSplit, load_splits

EPOCHS = 2  # trained of each stage, however long it wants to be
RECIPE = Recipe(
    epochs=EPOCHS, batch_size=8, optimizer="adam", lr=1e-3, weight_decay=0.0, input_scaling="unit", measure_points=1
)


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled images of one split.

    Args:
        images: (N, C, H, W) float32, multiples of 1 / 255 in [0, 1].
        target: (N,) int64.
        bias: (N,) int64, or None where the attribute is unknown.
    """

    images: Tensor
    target: Tensor
    bias: Tensor | None

    def __len__(self) -> int:
        return len(self.target)

    def without_bias(self) -> Examples:
        """Return the same images with the attribute unknown."""
        return Examples(self.images, self.target, None)

    def with_other_bias(self) -> Examples:
        """Return the same images with the attribute values of other images."""
        return Examples(self.images, self.target, None if self.bias is None else self.bias.roll(1))

    def stored(self) -> StoredSplit:
        """Return copies of images and labels as a store holds them."""
        pixels = (255 * self.images).round().to(torch.uint8).permute(0, 2, 3, 1)
        bias = None if self.bias is None else self.bias.numpy().copy()
        ids = np.arange(len(self)).astype(str)
        return StoredSplit(pixels.contiguous().numpy(), self.target.numpy().copy(), bias, ids)


@dataclass(frozen=True, eq=False)
class Problem:
    """A classification problem.

    Args:
        num_classes: K.
        num_bias: B; 0 if the attribute is unknown everywhere.
        train: The training images.
        val: The validation images; None if there are none.
        hierarchy: Of the classes, or None.
    """

    num_classes: int
    num_bias: int
    train: Examples
    val: Examples | None
    hierarchy: Hierarchy | None

    @property
    def splits(self) -> dict[str, Examples]:
        """The splits there are, by name."""
        return {"train": self.train} if self.val is None else {"train": self.train, "val": self.val}

    def without_bias(self) -> Problem:
        """Return the same problem with the attribute unknown everywhere."""
        val = None if self.val is None else self.val.without_bias()
        return replace(self, num_bias=0, train=self.train.without_bias(), val=val)

    def store(self) -> Store:
        """Return the problem as a dataset that was prepared, in memory alone."""
        return Store(
            name="problem",
            folder=Path(),
            fingerprint="",
            splits={name: examples.stored() for name, examples in self.splits.items()},
            class_names=_names("class", self.num_classes),
            bias_names=_names("value", self.num_bias),
            attributes={},
            aligned_bias=None,
            hierarchy=self.hierarchy,
            mismatch=(),
        )

    def loaded(self) -> dict[str, LoadedSplit]:
        """Return copies of the splits as the runner loads them."""
        return load_splits(self.store(), RECIPE, (), (), torch.device("cpu"), torch.contiguous_format)


def _nothing(target: Tensor, bias: Tensor) -> Tensor:
    return torch.zeros_like(target, dtype=torch.bool)


def make_problem(
    num_classes: int = 10,
    num_bias: int = 2,
    *,
    image_shape: tuple[int, int, int] = (3, 4, 4),
    per_group: int = 2,
    absent: Callable[[Tensor, Tensor], Tensor] = _nothing,
) -> Problem:
    """Return a problem with images that carry their class and, more clearly, their attribute value.

    Args:
        num_classes: K.
        num_bias: B, how many values the attribute has.
        image_shape: (C, H, W).
        per_group: Images of each group (y, a) in training, and half as many in validation, at least one.
        absent: Tells, of targets and attribute values, which groups have no training images: (N,) bool.
    """
    generator = torch.Generator().manual_seed(0)
    of_class = torch.rand(num_classes, *image_shape, generator=generator)
    of_bias = torch.rand(num_bias, *image_shape, generator=generator)

    def draw(number: int, absent: Callable[[Tensor, Tensor], Tensor]) -> Examples:
        group = torch.arange(num_classes * num_bias).repeat_interleave(number)
        group = group[torch.randperm(len(group), generator=generator)]
        group = group[~absent(group // num_bias, group % num_bias)]
        target, bias = group // num_bias, group % num_bias
        noise = torch.rand(len(group), *image_shape, generator=generator)
        images = 0.3 * of_class[target] + 0.5 * of_bias[bias] + 0.2 * noise
        return Examples((255 * images).to(torch.uint8) / 255, target, bias)

    return Problem(
        num_classes=num_classes,
        num_bias=num_bias,
        train=draw(per_group, absent),
        val=draw(max(1, per_group // 2), _nothing),
        hierarchy=make_hierarchy(num_classes, branches=2),
    )


def make_hierarchy(num_classes: int, branches: int) -> Hierarchy:
    """Return a tree of the problem's classes, dealt out to so many branches below the root."""
    names = _names("class", num_classes)
    return Hierarchy.from_categories((name, f"branch {k % branches}") for k, name in enumerate(names))


def _names(what: str, number: int) -> Sequence[str]:
    return [f"{what} {index}" for index in range(number)]


class SmallBackbone(Backbone):
    """Two hidden layers with dropout between them; the features are those after the last ReLU.

    Dropout makes training depend on the global generator, as many networks do, and shows where a method is not
    switched between training and evaluation mode.
    """

    feature_dim = 16

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        super().__init__(input_shape, Parameters())
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(prod(input_shape), 32), nn.ReLU(), nn.Dropout(0.1))
        self.layers.extend([nn.Linear(32, self.feature_dim), nn.ReLU()])

    def forward(self, images: Tensor) -> Tensor:
        """Return the features: (N, C, H, W) -> (N, 16)."""
        features: Tensor = self.layers(images)
        return features
