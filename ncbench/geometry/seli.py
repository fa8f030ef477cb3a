"""SELI, the simplex-encoded-labels interpolation: what replaces the simplex ETF when classes are imbalanced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True, eq=False)
class SELI:
    """The SELI geometry of given class counts; made by `seli`. All float64, on the CPU.

    With the simplex-encoded labels Z = (I - J/K) Y = V L U^T (Y the one-hot labels): the classifier's Gram matrix is
    V L V^T, the features' U L U^T, the logits Z, each up to scale. Features of one class coincide, and the class means
    sum to zero *unweighted*: centre means by the unweighted mean of class means before comparing.

    Args:
        class_counts: n_c, images a class.
        classifier_gram: (K, K) W W^T = V L V^T = (Z Z^T)^(1/2).
        mean_gram: (K, K) Gram matrix of the class means, the pseudo-inverse of the classifier's.
    """

    class_counts: tuple[int, ...]
    classifier_gram: torch.Tensor
    mean_gram: torch.Tensor

    @cached_property
    def labels(self) -> torch.Tensor:
        """(N,) int64, the class of each image: images are listed class by class."""
        return torch.arange(len(self.class_counts)).repeat_interleave(torch.tensor(self.class_counts))

    @cached_property
    def feature_gram(self) -> torch.Tensor:
        """(N, N) H^T H = U L U^T; N^2 float64, made when first asked for. `mean_gram` holds the same, a class once."""
        return self.mean_gram[self.labels][:, self.labels]

    @cached_property
    def logits(self) -> torch.Tensor:
        """(K, N) Z: 1 - 1/K at an image's own class, -1/K elsewhere; K N float64, made when first asked for."""
        k = len(self.class_counts)
        logits = torch.full((k, len(self.labels)), -1 / k, dtype=torch.float64)
        logits[self.labels, torch.arange(len(self.labels))] += 1
        return logits


def seli(class_counts: Sequence[int] | torch.Tensor) -> SELI:
    """The SELI geometry of a training set with these class counts.

    Z Z^T = P diag(n) P with P = I - J/K. The differences between classes of one count n are eigenvectors with
    eigenvalue n, so only vectors constant over each group of equal counts need an eigendecomposition: D x D for D
    distinct counts, where the definition would take K x N.

    Args:
        class_counts: K >= 2 positive integers, images a class. Only their ratios matter to the shape.

    Returns:
        The geometry. Equal counts give the simplex ETF.

    Raises:
        ValueError: on fewer than two classes, and on a count that is not a positive integer, naming it.

    Source: Thrampoulidis, Kini, Vakilian & Behnia, "Imbalance Trouble" (NeurIPS 2022), Definition 2 and section 3.

    >>> geometry = seli([10, 1, 1])
    >>> geometry.classifier_gram.sum(1).abs().max() < 1e-12
    tensor(True)
    >>> torch.allclose(geometry.classifier_gram @ geometry.mean_gram, torch.eye(3, dtype=torch.float64) - 1 / 3)
    True
    """
    counts = _checked_counts(class_counts)
    values = torch.tensor(counts, dtype=torch.float64)
    distinct, level, size = torch.unique(values, return_inverse=True, return_counts=True)
    size = size.double()  # (D,) classes that share a count
    direction = (size / size.sum()).sqrt()  # (D,) the all-ones vector in the orthonormal basis 1_group / sqrt(size)
    projector = torch.eye(len(size), dtype=torch.float64) - torch.outer(direction, direction)
    eigenvalues, basis = torch.linalg.eigh(projector @ torch.diag(distinct) @ projector)  # ascending, the first is 0
    grams = []
    for power in (0.5, -0.5):
        powered = torch.cat([torch.zeros(1, dtype=torch.float64), eigenvalues[1:] ** power])
        shared = (
            (basis * powered) @ basis.T / torch.outer(size, size).sqrt()
        )  # (D, D) constant over each pair of groups
        shared -= torch.diag(distinct**power / size)  # projects the differences within a group off their mean
        grams.append(shared[level][:, level] + torch.diag(values**power))
    return SELI(class_counts=counts, classifier_gram=grams[0], mean_gram=grams[1])


def _checked_counts(class_counts: Sequence[int] | torch.Tensor) -> tuple[int, ...]:
    """The counts as integers; names the first that is not a positive one."""
    if isinstance(class_counts, torch.Tensor):
        if class_counts.ndim != 1:
            raise ValueError(f"class_counts must have shape (classes,), got {tuple(class_counts.shape)}")
        class_counts = class_counts.tolist()
    if len(class_counts) < 2:
        raise ValueError(f"class_counts must hold at least 2 classes, got {len(class_counts)}")
    for number, count in enumerate(class_counts):
        if count != count or count < 1 or int(count) != count:
            raise ValueError(f"class_counts[{number}] is {count}, not a positive integer")
    return tuple(int(count) for count in class_counts)
