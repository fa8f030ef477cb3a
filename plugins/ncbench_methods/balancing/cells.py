"""Parts of the training images that a method balances: groups (target, bias) or classes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ncbench import Batch, SplitView, Supervision, Task

By = Literal["group", "class"]


def cell_counts(task: Task, by: By) -> Tensor:
    """Return the training images in each cell: (C,) int64 on the CPU, C = K * B groups or K classes."""
    return (task.group_counts.flatten() if by == "group" else task.class_counts).cpu()


def cell_of(labels: Batch | SplitView, task: Task, by: By) -> Tensor:
    """Return the cell of each image: (N,) int64, y * B + a or y."""
    return labels.target * task.num_bias + labels.bias if by == "group" else labels.target


def cell_weights(task: Task, by: By) -> Tensor:
    """Return N / (C n_c), the weights that make every cell count the same, with mean 1 over the training images.

    (C,) float32 on the CPU; 0 for a cell without training images.
    """
    counts = cell_counts(task, by)
    weight = counts.sum() / ((counts > 0).sum() * counts.clamp_min(1))
    return torch.where(counts > 0, weight, 0.0)


def balanced_draws(train: SplitView, task: Task, by: By, generator: torch.Generator) -> Tensor:
    """Draw N training images with replacement, each cell that has images equally often: (N,) int64.

    Within a cell every image is equally likely: an image of cell c is drawn with probability 1 / (cells * n_c).
    """
    weight = 1 / cell_counts(task, by)[cell_of(train, task, by).cpu()].double()  # (N,)
    return torch.multinomial(weight, len(train), replacement=True, generator=generator)


def supervision_by(by: By, declared: Supervision) -> Supervision:
    """Return what balancing by these cells uses: classes are everybody's, groups need the bias attribute."""
    return declared if by == "group" else Supervision()
