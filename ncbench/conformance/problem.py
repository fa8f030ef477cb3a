"""A small classification problem: a dataset that was prepared, in memory alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ncbench.contracts.method import Backbone
from ncbench.contracts.parameters import Parameters
from ncbench.data.store.open import Store, StoredSplit
from ncbench.geometry import Hierarchy


def _nothing(target: Tensor, bias: Tensor) -> Tensor:
    return torch.zeros_like(target, dtype=torch.bool)


def absent_groups(target: Tensor, bias: Tensor) -> Tensor:
    """Leave each class one of four attribute values, but class 0 three; no class the last value."""
    return ((bias != target % 2) & (target > 0)) | (bias == 3)


def make_problem(
    num_classes: int = 10,
    num_bias: int = 2,
    *,
    image_shape: tuple[int, int, int] = (3, 4, 4),
    per_group: int = 2,
    absent: Callable[[Tensor, Tensor], Tensor] = _nothing,
) -> Store:
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

    def draw(number: int, absent: Callable[[Tensor, Tensor], Tensor]) -> StoredSplit:
        group = torch.arange(num_classes * num_bias).repeat_interleave(number)
        group = group[torch.randperm(len(group), generator=generator)]
        group = group[~absent(group // num_bias, group % num_bias)]
        target, bias = group // num_bias, group % num_bias
        noise = torch.rand(len(group), *image_shape, generator=generator)
        images = 255 * (0.3 * of_class[target] + 0.5 * of_bias[bias] + 0.2 * noise)
        pixels = images.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
        return StoredSplit(pixels, target.numpy(), bias.numpy(), np.arange(len(group)).astype(str))

    return Store(
        name="problem",
        folder=Path(),
        fingerprint="",
        splits={"train": draw(per_group, absent), "val": draw(max(1, per_group // 2), _nothing)},
        class_names=_names("class", num_classes),
        bias_names=_names("value", num_bias),
        attributes={},
        aligned_bias=None,
        hierarchy=make_hierarchy(num_classes, branches=2),
        mismatch=(),
    )


def without_bias(problem: Store, *splits: str) -> Store:
    """Return the problem with the attribute unknown on these splits, or everywhere if none are named."""
    changed = {
        name: replace(split, bias=None) if name in splits or not splits else split
        for name, split in problem.splits.items()
    }
    return replace(problem, splits=changed, bias_names=problem.bias_names if splits else ())


def without_val(problem: Store) -> Store:
    """Return the problem without validation images."""
    return replace(problem, splits={"train": problem.splits["train"]})


def images_of(problem: Store, split: str = "train") -> Tensor:
    """Return copies of a split's images as a method sees them: (N, C, H, W) float32 in [0, 1]."""
    return torch.tensor(problem.splits[split].inputs).permute(0, 3, 1, 2).contiguous() / 255


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
