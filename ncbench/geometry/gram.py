"""Vectors with a given Gram matrix."""

from __future__ import annotations

import torch

from ncbench.geometry.simplex import haar_rows


def vectors_with_gram(
    gram: torch.Tensor, dim: int, generator: torch.Generator | None = None, *, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Class vectors in d dimensions whose Gram matrix is the one given, in a random orientation.

    Args:
        gram: (K, K) symmetric positive semi-definite.
        dim: at least the rank of gram.
        generator: CPU generator the orientation is drawn from; torch's default one when None.
        dtype: of the result; torch's default dtype when None.

    Returns:
        (K, dim) V with V V^T = gram, to float64 rounding before the conversion to dtype.

    Raises:
        ValueError: when gram is not square, finite, symmetric or positive semi-definite, or its rank exceeds dim.

    >>> from ncbench.geometry import seli
    >>> gram = seli([5, 1, 1]).classifier_gram
    >>> vectors = vectors_with_gram(gram, 8, torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> vectors.shape, torch.allclose(vectors @ vectors.T, gram)
    (torch.Size([3, 8]), True)
    """
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or len(gram) == 0:
        raise ValueError(f"gram must be a square matrix, got shape {tuple(gram.shape)}")
    matrix = gram.detach().to("cpu", torch.float64)
    scale = float(matrix.abs().max())
    for offending, reason in (
        (~torch.isfinite(matrix), "not finite"),
        ((matrix - matrix.T).abs() > 1e-6 * scale, "not the same as its mirror image"),
    ):
        if bool(offending.any()):
            row, column = offending.nonzero()[0].tolist()
            raise ValueError(f"gram[{row}, {column}] is {float(matrix[row, column]):g}, {reason}")
    eigenvalues, basis = torch.linalg.eigh(matrix)  # ascending
    largest = float(eigenvalues[-1])
    if float(eigenvalues[0]) < -1e-6 * scale:
        raise ValueError(f"gram has the eigenvalue {float(eigenvalues[0]):g}; it must be positive semi-definite")
    precision = torch.finfo(gram.dtype).eps if gram.is_floating_point() else torch.finfo(torch.float64).eps
    kept = eigenvalues > largest * len(matrix) * precision
    rank = int(kept.sum())
    if rank > dim:
        raise ValueError(f"dim is {dim}, but gram has rank {rank}")
    rows = basis[:, kept] * eigenvalues[kept].sqrt()  # (K, rank)
    return torch.matmul(rows, haar_rows(rank, dim, generator)).to(dtype or torch.get_default_dtype())
