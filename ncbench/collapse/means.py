"""Class means, the first of the two passes over the features, and the change of basis they give for NC1."""

from __future__ import annotations

import math

import torch

from ncbench.collapse.checks import check_batch, check_finite, check_sizes
from ncbench.collapse.precision import accumulator_device, full_precision, unit_scale

_BLOCK_ENTRIES = 1 << 19  # features converted at a time on a CPU: 4 MiB of float64, which stays in the cache
_DEVICE_BLOCK_ENTRIES = 1 << 26  # on an accelerator: 512 MiB, large enough to keep it busy


def block_rows(width: int, device: torch.device) -> int:
    """Rows of `width` numbers to work on at a time: few enough for the cache, enough to outweigh the call."""
    return max(256, (_BLOCK_ENTRIES if device.type == "cpu" else _DEVICE_BLOCK_ENTRIES) // width)


class ClassMeans:
    """Counts and float64 means of labelled features, batch by batch; mergeable.

    The means decide how much of an ill-conditioned between-class covariance survives, so the sums are float64: with
    features of any narrower type that is exact enough for every offset.

    Args:
        num_classes: K.
        dim: d.
        device: where the sums are held; the CPU when that device has no float64.

    >>> import torch
    >>> means = ClassMeans(2, 1)
    >>> means.update(torch.tensor([[1.0], [2.0]]), torch.tensor([0, 0]))
    >>> means.means.tolist()
    [[1.5], [nan]]
    """

    def __init__(self, num_classes: int, dim: int, device: torch.device | str = "cpu") -> None:
        check_sizes(num_classes, dim)
        held = accumulator_device(torch.device(device))
        self._counts = torch.zeros(num_classes, dtype=torch.int64, device=held)
        self._sums = torch.zeros(num_classes, dim, dtype=torch.float64, device=held)
        self._block = self._sums.new_empty(0, dim)  # kept from batch to batch: fresh memory costs more than the sums

    def update(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Add a batch of any size. After a refusal of non-finite features, start anew: a part may have been added.

        Args:
            features: (n, d) floating point.
            labels: (n,) integer in 0..K-1.

        Raises:
            ValueError: naming the argument and the offending entry.
        """
        num_classes, dim = self._sums.shape
        check_batch(features, labels, num_classes, dim)
        device = self._sums.device
        with full_precision(device):
            y = labels.to(device, torch.int64)
            rows = block_rows(dim, device)
            if len(self._block) < min(rows, len(y)):
                self._block = self._sums.new_empty(min(rows, len(y)), dim)
            for start in range(0, len(y), rows):
                batch = features[start : start + rows]
                block = self._block[: len(batch)].copy_(batch)
                self._sums.index_add_(0, y[start : start + rows], block)
            self._counts += torch.bincount(y, minlength=num_classes)
            # A sum tells whether all entries are finite, or so large that it pays to look.
            shorter = self._sums if num_classes < len(features) else features
            if not math.isfinite(float(shorter.sum(dtype=torch.float64))):
                check_finite("features", features)
                unit_scale(self._sums)  # which refuses sums that are not finite though every feature is

    def merge(self, other: ClassMeans) -> None:
        """Add what another object saw; `other` is left as it is.

        Raises:
            ValueError: when K or d differ.
        """
        if other._sums.shape != self._sums.shape:
            raise ValueError(f"other has shape {tuple(other._sums.shape)}, expected {tuple(self._sums.shape)}")
        self._counts += other._counts.to(self._counts.device)
        self._sums += other._sums.to(self._sums.device)

    @property
    def counts(self) -> torch.Tensor:
        """(K,) int64, images seen a class."""
        return self._counts.clone()

    @property
    def sums(self) -> torch.Tensor:
        """(K, d) float64, the sum of each class's features."""
        return self._sums.clone()

    @property
    def means(self) -> torch.Tensor:
        """(K, d) float64; nan for a class without images."""
        return self._sums / self._counts[:, None]  # 0 / 0 is nan: an absent class must not become a zero mean


def whitening(centred: torch.Tensor) -> torch.Tensor:
    """A basis of the span of the class means in which the between-class covariance is the identity.

    tr(Sigma_W Sigma_B^+) is the mean over images of |A^T (h - mu_y)|^2, so features are needed only inside that span,
    and no pseudo-inverse is ever formed. Working from the means' Gram matrix in float64 keeps a condition number of
    1e4 in the means (1e8 in Sigma_B) to eight digits; the cut-off is the one of a float64 pseudo-inverse.

    Args:
        centred: (K, d) float64, class means less their unweighted mean, present classes only.

    Returns:
        (d, r) float64 A with A^T Sigma_B A = I and r the rank of Sigma_B, at most min(K - 1, d).
    """
    k, d = centred.shape
    if k <= d:
        eigenvalues, vectors = torch.linalg.eigh(centred @ centred.T)  # ascending
    else:
        eigenvalues, vectors = torch.linalg.eigh(centred.T @ centred)
    cutoff = float(eigenvalues[-1]) * max(k, d) * torch.finfo(torch.float64).eps
    rank = min(int((eigenvalues > max(cutoff, 0.0)).sum()), k - 1, d)
    eigenvalues, vectors = eigenvalues[len(eigenvalues) - rank :], vectors[:, vectors.shape[1] - rank :]
    if k <= d:  # right singular vectors are C^T Q / sigma
        return torch.matmul(centred.T, vectors * (k**0.5 / eigenvalues))
    return torch.mul(vectors, (k / eigenvalues).sqrt())
