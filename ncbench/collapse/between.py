"""The between-class covariance, as the change of basis that NC1 needs."""

from __future__ import annotations

import torch


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
