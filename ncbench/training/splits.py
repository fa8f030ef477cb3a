"""A store's splits as training takes them: the task, and labels and loaders on the run's device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ncbench.contracts.cards import Supervision
from ncbench.contracts.task import SplitView, Task
from ncbench.data.loading.loader import Loader
from ncbench.data.store.open import Store, StoredSplit
from ncbench.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class LoadedSplit:
    """A split on the run's device.

    Args:
        name: ``"train"``, ``"val"`` or ``"test"``.
        loader: Of its images.
        target: (N,) int64.
        bias: (N,) int64, or None where unknown.
    """

    name: str
    loader: Loader
    target: Tensor
    bias: Tensor | None

    def view(self, task: Task, recipe: Recipe) -> SplitView:
        """Return what a method with this task may see of it."""
        batch_size = max(recipe.batch_size, 256)
        return SplitView.of(
            self.name,
            self.target,
            self.bias,
            task.supervision,
            lambda positions: self.loader.batches(positions, batch_size),
        )


def task_of(store: Store, seed: int, supervision: Supervision) -> Task:
    """Return the task of a store's training images."""
    return Task.of(
        {name: _labels(split, torch.device("cpu")) for name, split in store.splits.items()},
        class_names=store.class_names,
        bias_names=store.bias_names,
        input_shape=store.splits["train"].input_shape,
        hierarchy=store.hierarchy,
        seed=seed,
        supervision=supervision,
    )


def load_splits(
    store: Store,
    recipe: Recipe,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    layout: torch.memory_format,
) -> dict[str, LoadedSplit]:
    """Return the splits of a store, ready to be batched.

    Args:
        store: The dataset.
        recipe: Says how images are scaled and augmented.
        mean: C channel means in [0, 1].
        std: C standard deviations in [0, 1].
        device: Where labels and batches are wanted.
        layout: Of the batches' images.

    Raises:
        ConfigurationError: The recipe's input scaling or augmentation does not fit the images.
    """
    splits = {}
    for name, stored in store.splits.items():
        loader = Loader(
            stored,
            device,
            input_scaling=recipe.input_scaling,
            augmentation=recipe.augmentation,
            mean=mean,
            std=std,
            channels_last=layout is torch.channels_last,
        )
        splits[name] = LoadedSplit(name, loader, *_labels(stored, device))
    return splits


def _labels(split: StoredSplit, device: torch.device) -> tuple[Tensor, Tensor | None]:
    bias = None if split.bias is None else torch.tensor(split.bias, device=device)
    return torch.tensor(split.target, device=device), bias
