"""Random orientations: orthonormal frames drawn uniformly, in float64."""

from __future__ import annotations

import torch


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
