"""Class counts in the form that losses for imbalanced classes use them."""

from __future__ import annotations

import torch
from torch import Tensor

from ncbench import Task


def positive_counts(task: Task) -> Tensor:
    """Return the training images of each class: (K,) float64 on the CPU, at least 1.

    A class without training images counts as one: logarithms and powers of its count stay finite, and as no image
    carries its label the loss of no image is that class's.
    """
    return task.class_counts.cpu().double().clamp_min(1)


def log_prior(task: Task) -> Tensor:
    """Return log pi_c, the logarithm of each class's share of the training images: (K,) float64 on the CPU."""
    counts = positive_counts(task)
    return counts.log() - counts.sum().log()


def effective_number_weights(task: Task, beta: float) -> Tensor:
    """Return the weights (1 - beta) / (1 - beta^n_c), scaled to sum to the number of classes that have images.

    (1 - beta^n) / (1 - beta) is the effective number of n images (Cui et al., CVPR 2019, proposition 1): all of them
    count the same at beta = 0, where every weight is 1; as beta approaches 1 the weights approach 1 / n.

    Args:
        task: The problem, for its class counts.
        beta: In [0, 1).

    Returns:
        (K,) float64 on the CPU; 0 for a class without training images.
    """
    counts = positive_counts(task)
    # -expm1(n log beta) is 1 - beta^n without the cancellation of a beta close to 1; 0^n is 0 for every n >= 1.
    log_beta = torch.tensor(beta, dtype=torch.float64).log()
    weight = -torch.expm1(log_beta) / -torch.expm1(counts * log_beta)
    exists = task.class_counts.cpu() > 0
    weight = torch.where(exists, weight, 0.0)
    return weight * exists.sum() / weight.sum()
