"""What the measures accept. Every refusal is a ValueError that names the argument and the offending entry."""

from __future__ import annotations

import torch

_BLOCK_ROWS = 4096  # rows searched at a time for the entry a refusal names


def check_sizes(num_classes: int, dim: int) -> None:
    """Refuse numbers of classes and dimensions that are not positive."""
    for name, size in (("num_classes", num_classes), ("dim", dim)):
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def check_batch(features: torch.Tensor, labels: torch.Tensor, num_classes: int, dim: int | None = None) -> None:
    """Refuse features and labels that do not belong together.

    Finiteness is not looked at here: reading every feature once more would cost as much as a measure. It shows in the
    class sums, and `raise_non_finite` then finds the entry.

    Args:
        features: (N, d) floating point.
        labels: (N,) integer, each in 0..num_classes-1.
        num_classes: K.
        dim: the d that is expected; any when None.

    Raises:
        ValueError: naming the argument and the entry.
    """
    if features.ndim != 2:
        raise ValueError(f"features must have shape (images, dimension), got {tuple(features.shape)}")
    if not features.is_floating_point():
        raise ValueError(f"features must be floating point, got {features.dtype}")
    if dim is not None and features.shape[1] != dim:
        raise ValueError(f"features must have dimension {dim}, got shape {tuple(features.shape)}")
    if features.shape[1] == 0:
        raise ValueError(f"features must have at least one dimension, got shape {tuple(features.shape)}")
    if labels.shape != features.shape[:1]:
        raise ValueError(
            f"labels must have shape ({features.shape[0]},), one a row of features, got {tuple(labels.shape)}"
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    if labels.numel() == 0:
        return
    low, high = (int(end) for end in torch.aminmax(labels))
    if low < 0 or high >= num_classes:
        entry = int(((labels < 0) | (labels >= num_classes)).nonzero()[0, 0])
        raise ValueError(f"labels[{entry}] is {int(labels[entry])}, outside 0..{num_classes - 1}")


def raise_non_finite(features: torch.Tensor) -> None:
    """Raise for the first entry of `features` that is not finite; return when there is none.

    Args:
        features: (n, d).
    """
    first_row = 0
    for block in torch.split(features, _BLOCK_ROWS):
        bad = (~torch.isfinite(block)).nonzero()
        if len(bad):
            row, column = (int(i) for i in bad[0])
            raise ValueError(f"features[{first_row + row}, {column}] is {float(block[row, column])}, not finite")
        first_row += len(block)


def check_classifier(weight: torch.Tensor | None, bias: torch.Tensor | None, num_classes: int | None, dim: int) -> None:
    """Refuse a classifier whose shapes do not fit.

    Args:
        weight: (K, d) or None.
        bias: (K,) or None.
        num_classes: K, or None when the weight decides it.
        dim: d.
    """
    if weight is None:
        if bias is not None:
            raise ValueError("bias is given without weight; pass the classifier's weight too")
        return
    rows = weight.shape[0] if num_classes is None and weight.ndim == 2 else num_classes
    if weight.ndim != 2 or tuple(weight.shape) != (rows, dim):
        expected = "classes" if num_classes is None else num_classes
        raise ValueError(f"weight must have shape ({expected}, {dim}), got {tuple(weight.shape)}")
    if bias is not None and tuple(bias.shape) != (rows,):
        raise ValueError(f"bias must have shape ({rows},), got {tuple(bias.shape)}")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and not bool(torch.isfinite(tensor).all()):
            entry = (~torch.isfinite(tensor)).nonzero()[0].tolist()
            raise ValueError(f"{name}{entry} is {float(tensor[tuple(entry)])}, not finite")
