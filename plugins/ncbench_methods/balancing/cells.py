"""Parts of the training images that a method balances: groups (target, bias) or classes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ncbench import Batch, SplitView, Supervision, Task

By = Literal["group", "class"]
To = Literal["uniform", "independence"]


def cell_counts(task: Task, by: By) -> Tensor:
    """Return the training images in each cell: (C,) int64 on the CPU, C = K * B groups or K classes."""
    return (task.group_counts.flatten() if by == "group" else task.class_counts).cpu()


def cell_of(labels: Batch | SplitView, task: Task, by: By) -> Tensor:
    """Return the cell of each image: (N,) int64, y * B + a or y."""
    return labels.target * task.num_bias + labels.bias if by == "group" else labels.target


def cell_weights(task: Task, by: By, power: float = 1.0, to: To = "uniform") -> Tensor:
    """Return the weights proportional to (t_c / n_c)^power, with mean 1 over the training images.

    Args:
        task: The problem, for its counts n_c.
        by: What a cell is.
        power: 0 leaves the cells as they are; 1, the default, makes their total weights those of `to`.
        to: t_c is 1 for every cell, or n_y n_a / N for a group: what its count would be if target and attribute had
            nothing to do with one another.

    Returns:
        (C,) float32 on the CPU; 0 for a cell without training images.
    """
    counts = cell_counts(task, by).double()
    wanted = torch.ones_like(counts)
    if to == "independence":
        table = counts.reshape(task.num_classes, task.num_bias)
        wanted = (table.sum(dim=1, keepdim=True) * table.sum(dim=0) / counts.sum()).flatten()
    weight = torch.where(counts > 0, (wanted / counts.clamp_min(1)) ** power, 0.0)
    return (weight * counts.sum() / (weight * counts).sum()).float()


def balanced_draws(train: SplitView, task: Task, by: By, generator: torch.Generator) -> Tensor:
    """Draw N training images with replacement, each cell that has images equally often: (N,) int64."""
    return weighted_draws(cell_of(train, task, by).cpu(), generator)


def weighted_draws(
    cell: Tensor, generator: torch.Generator, power: float = 1.0, of_class: Tensor | None = None
) -> Tensor:
    """Draw N images with replacement, each with a weight of 1 / n^power for n images of its cell.

    Args:
        cell: (N,) int64, the cell of each image, on the CPU.
        generator: What is drawn from.
        power: 1, the default, draws each cell that has images equally often, 0 each image.
        of_class: (N,) int64, the class of each image, where classes are to be drawn equally often.

    Returns:
        (N,) int64, positions of the images.
    """
    weight = 1 / torch.bincount(cell)[cell].double() ** power  # (N,)
    if of_class is not None:
        weight = weight / torch.bincount(of_class, weight)[of_class]
    return torch.multinomial(weight, len(cell), replacement=True, generator=generator)


def drawn_subset(cell: Tensor, sizes: Tensor, generator: torch.Generator) -> Tensor:
    """Draw so many images of each cell without replacement.

    Args:
        cell: (N,) int64, the cell of each image, on the CPU.
        sizes: (C,) int64, how many images of each cell; all that it has, if they are fewer.
        generator: What is drawn from.

    Returns:
        (M,) int64, the positions of the images, ascending.
    """
    shuffled = torch.randperm(len(cell), generator=generator)
    by_cell = shuffled[cell[shuffled].argsort(stable=True)]
    counts = torch.bincount(cell, minlength=len(sizes))
    rank = torch.arange(len(cell)) - (counts.cumsum(0) - counts).repeat_interleave(counts)  # (N,) within its cell
    return by_cell[rank < sizes.repeat_interleave(counts)].sort().values


def supervision_by(by: By, declared: Supervision) -> Supervision:
    """Return what balancing by these cells uses: classes are everybody's, groups need the bias attribute."""
    return declared if by == "group" else Supervision()
