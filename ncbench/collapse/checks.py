"""What the measures accept. Every refusal is a ValueError that names the argument and the offending entry."""

from __future__ import annotations

import torch

_BLOCK_ROWS = 4096  # rows searched at a time


def check_sizes(num_classes: int, dim: int) -> None:
    """Refuse numbers of classes and dimensions that are not positive."""
    for name, size in (("num_classes", num_classes), ("dim", dim)):
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def check_batch(features: torch.Tensor, labels: torch.Tensor, num_classes: int, dim: int | None = None) -> None:
    """Refuse features (N, d), d being `dim` where it is given, and labels (N,) that do not belong together.

    Finiteness is not looked at here: reading every feature once more would cost as much as a measure. It shows in the
    class sums, and `check_finite` then finds the entry.
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
    # Of the wider unsigned types PyTorch has little but the conversion; what int64 cannot hold becomes negative there.
    signed = labels.to(torch.int64)
    low, high = (int(end) for end in torch.aminmax(signed))
    if low < 0 or high >= num_classes:
        entry = int(((signed < 0) | (signed >= num_classes)).nonzero()[0, 0])
        raise ValueError(f"labels[{entry}] is {labels[entry].cpu().numpy()}, outside 0..{num_classes - 1}")


def check_finite(name: str, tensor: torch.Tensor) -> None:
    """Refuse a tensor with an entry that is not finite, and name the first one."""
    for start in range(0, len(tensor), _BLOCK_ROWS):
        bad = (~torch.isfinite(tensor[start : start + _BLOCK_ROWS])).nonzero()
        if len(bad):
            first, *others = bad[0].tolist()
            entry = [start + first, *others]
            raise ValueError(f"{name}{entry} is {float(tensor[tuple(entry)])}, not finite")


def check_classifier(weight: torch.Tensor | None, bias: torch.Tensor | None, num_classes: int, dim: int) -> None:
    """Refuse a classifier that is not finite, or not of shape (K, d) with a bias (K,)."""
    if weight is None:
        if bias is not None:
            raise ValueError("bias is given without weight; pass the classifier's weight too")
        return
    for name, tensor, shape in (("weight", weight, (num_classes, dim)), ("bias", bias, (num_classes,))):
        if tensor is not None:
            if tuple(tensor.shape) != shape:
                raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
            check_finite(name, tensor)
