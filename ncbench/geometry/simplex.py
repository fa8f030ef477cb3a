"""The simplex equiangular tight frame, which neural collapse predicts for balanced classes; random orientations."""

from __future__ import annotations

import math

import torch


def simplex_etf(
    num_classes: int,
    dim: int,
    generator: torch.Generator | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """A simplex ETF in a random orientation: K unit vectors as far apart as K vectors can be.

    M = sqrt(K/(K-1)) (I - J/K) U with U the orthonormal rows of a Haar-uniform frame; the orientation is computed in
    float64 and rounded once. The first K - 1 dimensions of U suffice, so dim = K - 1 works. In fewer dimensions no
    simplex ETF exists: put a linear projection to at least K - 1 dimensions before it, as fixed_etf does.

    Args:
        num_classes: K >= 2.
        dim: d >= K - 1, the features' dimension.
        generator: CPU generator the orientation is drawn from; torch's default one when None.
        dtype: of the result; torch's default dtype when None.

    Returns:
        (K, dim): unit rows that sum to zero, each pair at cosine -1/(K-1).

    Raises:
        ValueError: when num_classes < 2 or dim < num_classes - 1.

    Source: Papyan, Han & Donoho (PNAS 2020), Definition 1 and equation 1; Yang et al. (NeurIPS 2022), equation 1.

    >>> import torch
    >>> frame = simplex_etf(4, 16, torch.Generator().manual_seed(0))
    >>> frame.shape
    torch.Size([4, 16])
    >>> torch.allclose(frame @ frame.T, (4 * torch.eye(4) - 1) / 3, atol=1e-6)
    True
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    if dim < num_classes - 1:
        raise ValueError(
            f"dim is {dim}, but a simplex ETF of {num_classes} classes needs at least {num_classes - 1} dimensions; "
            f"project the features to {num_classes - 1} or more dimensions first"
        )
    corners = _simplex(num_classes)  # (K, K - 1)
    return (corners @ haar_rows(num_classes - 1, dim, generator)).to(dtype or torch.get_default_dtype())


def _simplex(num_classes: int) -> torch.Tensor:
    """(K, K - 1) float64 unit rows at cosine -1/(K-1): I - J/K without its null direction, by a Householder reflection.

    The reflection that takes 1/sqrt(K) to the last axis turns I - J/K into a matrix whose last column is zero.
    """
    k = num_classes
    normal = torch.full((k,), 1 / math.sqrt(k), dtype=torch.float64)
    normal[-1] -= 1.0
    normal /= torch.linalg.vector_norm(normal)
    reflection = torch.eye(k, dtype=torch.float64) - 2 * torch.outer(normal, normal)  # symmetric, orthogonal
    return math.sqrt(k / (k - 1)) * reflection[:, :-1]


def haar_rows(count: int, dim: int, generator: torch.Generator | None) -> torch.Tensor:
    """Orthonormal rows drawn from the Haar measure: every orientation is equally likely.

    The Q of a Gaussian matrix is uniform only once the signs of R's diagonal are fixed (Mezzadri, Notices of the AMS
    54, 2007, section 5); the Q of uniform numbers never is.

    Args:
        count: number of rows, at most dim.
        dim: their length.
        generator: a CPU generator; torch's default one when None.

    Returns:
        (count, dim) float64 with orthonormal rows.
    """
    gaussian = torch.randn(dim, count, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(gaussian)  # (dim, count), (count, count)
    return torch.mul(q, r.diagonal().sign()).T
