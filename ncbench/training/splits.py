"""A store's splits as training takes them: the task, and labels and loaders on the run's device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ncbench.contracts.cards import Supervision
from ncbench.contracts.task import Groups, SplitView, Task
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
        inferred: The groups that a method trains on instead; None where nothing was inferred.
    """

    name: str
    loader: Loader
    target: Tensor
    bias: Tensor | None
    inferred: Groups | None = None

    @property
    def group(self) -> Tensor | None:
        """(N,) int64, the inferred groups of these images; None where there are none."""
        return _of_split(self.inferred, self.name)

    def view(self, task: Task, recipe: Recipe) -> SplitView:
        """Return what a method with this task may see of it."""
        batch_size = max(recipe.batch_size, 256)
        return SplitView.of(
            self.name,
            self.target,
            self.bias if self.inferred is None else self.group,
            task.supervision,
            lambda positions: self.loader.batches(positions, batch_size),
        )


def task_of(store: Store, seed: int, supervision: Supervision, inferred: Groups | None = None) -> Task:
    """Return the task of a store's training images, with inferred groups in the attribute's place where there are."""
    labels = {name: _labels(split, torch.device("cpu")) for name, split in store.splits.items()}
    if inferred is not None:
        labels = {name: (target, _of_split(inferred, name)) for name, (target, _) in labels.items()}
    return Task.of(
        labels,
        class_names=store.class_names,
        bias_names=store.bias_names if inferred is None else inferred.names,
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
    inferred: Groups | None = None,
) -> dict[str, LoadedSplit]:
    """Return the splits of a store, ready to be batched.

    Args:
        store: The dataset.
        recipe: Says how images are scaled and augmented.
        mean: C channel means in [0, 1].
        std: C standard deviations in [0, 1].
        device: Where labels and batches are wanted.
        layout: Of the batches' images.
        inferred: Groups that the method trains on in the attribute's place.

    Raises:
        ConfigurationError: The recipe's input scaling or augmentation does not fit the images.
    """
    splits = {}
    inferred = None if inferred is None else inferred.to(device)
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
        splits[name] = LoadedSplit(name, loader, *_labels(stored, device), inferred)
    return splits


def memory_format(model: nn.Module) -> torch.memory_format:
    """Return how the images of a model's batches lie in memory.

    Convolutions are 1.5 times as fast on a CPU, and faster still on tensor cores, where channels come last; a net
    without them would only copy the images back.
    """
    convolves = any(isinstance(module, nn.Conv2d) for module in model.modules())
    return torch.channels_last if convolves else torch.contiguous_format


def _of_split(inferred: Groups | None, split: str) -> Tensor | None:
    if inferred is None or split not in ("train", "val"):
        return None
    return inferred.train if split == "train" else inferred.val


def _labels(split: StoredSplit, device: torch.device) -> tuple[Tensor, Tensor | None]:
    bias = None if split.bias is None else torch.tensor(split.bias, device=device)
    return torch.tensor(split.target, device=device), bias
