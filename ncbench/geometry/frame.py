"""Hierarchy-aware frames: class vectors whose cosines fall with the distance in the hierarchy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ncbench.geometry.hierarchy import Hierarchy
from ncbench.geometry.simplex import haar_rows

_ROWS = 512  # rows of a distance matrix looked at together: the checks need no second K x K matrix


@dataclass(frozen=True, eq=False)
class HierarchyAwareFrame:
    """Unit class vectors with a prescribed similarity.

    Args:
        vectors: (K, dim) unit rows W with W W^T = similarity.
        similarity: (K, K) S = (1 - s) exp(-gamma D / D_max) + s, ones on the diagonal, of rank K - 1.
        min_similarity: s, the smallest (negative) number that keeps S positive semi-definite.
    """

    vectors: torch.Tensor
    similarity: torch.Tensor
    min_similarity: float


def hierarchy_aware_frame(
    distances: torch.Tensor | Hierarchy,
    gamma: float,
    dim: int,
    generator: torch.Generator | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> HierarchyAwareFrame:
    """The hierarchy-aware frame, at the exact smallest similarity.

    With E = exp(-gamma D / D_max) = L L^T and u = L^-1 1, S = (1 - s) E + s J = (1 - s) L (I - u u^T / c) L^T at the
    smallest s, so the frame is W = sqrt(1 - s) L (I - u u^T / c): one Cholesky factor and a rank-one correction, where
    the published code scans 100 eigendecompositions. L u = 1 makes the correction free, and a reflection that takes u
    to the last axis leaves W in K - 1 dimensions.

    Memory: three K x K float64 matrices at the peak besides `distances`.

    Args:
        distances: (K, K) symmetric, zero on the diagonal and positive elsewhere; or the hierarchy.
        gamma: > 0, how fast similarity falls with distance.
        dim: at least K - 1.
        generator: CPU generator of a Haar-uniform orientation (an O(dim^2 K) factorisation); when None the frame keeps
            the orientation the computation gives, which is deterministic and fills the first K - 1 dimensions.
        dtype: of vectors and similarity; torch's default dtype when None. The computation is float64 on the CPU.

    Returns:
        The frame. For a flat hierarchy it is the simplex ETF.

    Raises:
        ValueError: on a matrix that is not square, finite, symmetric, zero on the diagonal and positive elsewhere
            (naming the entry), gamma <= 0, dim < K - 1, or when E is not positive definite.

    Source: Liang & Davis, "Inducing Neural Collapse to a Fixed Hierarchy-Aware Frame" (ICCV 2023), section 3.2.

    >>> pets = Hierarchy.from_categories([("dog", "animal"), ("cat", "animal"), ("car", "thing")])
    >>> frame = hierarchy_aware_frame(pets, gamma=1.0, dim=2)
    >>> [round(x, 4) for x in frame.similarity[0].tolist()]
    [1.0, -0.0512, -0.6888]
    >>> bool(torch.allclose(frame.vectors @ frame.vectors.T, frame.similarity, atol=1e-6))
    True
    """
    dtype = dtype or torch.get_default_dtype()
    num_classes = _checked_classes(distances, gamma)
    if dim < num_classes - 1:
        raise ValueError(f"dim is {dim}, but a frame of {num_classes} classes needs at least {num_classes - 1}")
    with torch.no_grad():
        similarity = _exponential(distances, gamma)  # (K, K) E, to become S
        factor, inverse_sum = _factor(similarity)  # (K, K) L, and u = L^-1 1
        if isinstance(distances, Hierarchy):
            c = _inverse_sum_of_tree(distances, gamma)
        else:
            c = float(inverse_sum @ inverse_sum)
        s = -1 / (c - 1)
        similarity.mul_(1 - s).add_(s)
        rounded = similarity.to(dtype)
        del similarity
        vectors = _without_null_direction(factor.sub_(inverse_sum / c).mul_(math.sqrt(1 - s)), inverse_sum)
        if generator is None:
            placed = torch.zeros(num_classes, dim, dtype=dtype)
            placed[:, : num_classes - 1] = vectors
        else:
            placed = (vectors @ haar_rows(num_classes - 1, dim, generator)).to(dtype)
    return HierarchyAwareFrame(vectors=placed, similarity=rounded, min_similarity=s)


def smallest_similarity(distances: torch.Tensor | Hierarchy, gamma: float) -> float:
    """The smallest s for which S = (1 - s) exp(-gamma D / D_max) + s is positive semi-definite.

    s = -1/(c - 1) with c = 1^T E^-1 1. For a hierarchy c follows from the tree, bottom up, in O(K) and without linear
    algebra; for any other distances from one Cholesky factor.

    Args:
        distances: the hierarchy, or (K, K) distances as in `hierarchy_aware_frame`.
        gamma: > 0.

    Returns:
        s, negative.

    Raises:
        ValueError: as `hierarchy_aware_frame`.

    >>> pets = Hierarchy.from_categories([("dog", "animal"), ("cat", "animal"), ("car", "thing")])
    >>> round(smallest_similarity(pets, gamma=1.0), 6), round(smallest_similarity(pets.distances(), gamma=1.0), 6)
    (-1.671595, -1.671595)
    """
    _checked_classes(distances, gamma)
    if isinstance(distances, Hierarchy):
        c = _inverse_sum_of_tree(distances, gamma)
    else:
        with torch.no_grad():
            inverse_sum = _factor(_exponential(distances, gamma))[1]
            c = float(inverse_sum @ inverse_sum)
    return -1 / (c - 1)


def _inverse_sum_of_tree(hierarchy: Hierarchy, gamma: float) -> float:
    """1^T E^-1 1 for E[i, j] = f(height of the LCA), f(h) = exp(-gamma h / D_max), bottom up.

    Below a node of height h, E is the children's blocks, less f(h) each, plus the constant f(h): a rank-one update a
    node. With g a child's 1^T (E_child - f(h))^-1 1 and G their sum, adding a constant delta gives G / (1 + delta G)
    (Sherman & Morrison), and delta = f(h) - f(parent's h).
    """
    top = hierarchy.root
    while len(hierarchy.children[top]) == 1:  # nodes above the first fork are no pair's lowest common ancestor
        top = hierarchy.children[top][0]
    rate = gamma / hierarchy.heights[top]
    below = [0.0] * hierarchy.num_nodes  # G of every inner node
    for node in hierarchy.children_first:
        height = hierarchy.heights[node]
        if node == top:
            break
        parent = hierarchy.parents[node]
        # f(h) - f(h_parent), without the cancellation of a small gamma
        delta = -math.exp(-rate * height) * math.expm1(-rate * (hierarchy.heights[parent] - height))
        below[parent] += 1 / delta if node < hierarchy.num_classes else below[node] / (1 + delta * below[node])
    return below[top] / (1 + math.exp(-gamma) * below[top])


def _exponential(distances: torch.Tensor | Hierarchy, gamma: float) -> torch.Tensor:
    """(K, K) float64 E = exp(-gamma D / D_max), in one allocation."""
    if isinstance(distances, Hierarchy):
        matrix = distances.distances(torch.float64)
    else:
        matrix = distances.detach().to("cpu", torch.float64, copy=True)
    return matrix.mul_(-gamma / float(matrix.max())).exp_()


def _factor(exponential: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The Cholesky factor L (K, K) of E, and u = L^-1 1 (K,)."""
    factor, failed = torch.linalg.cholesky_ex(exponential)
    if int(failed):
        raise ValueError(
            f"distances: exp(-gamma D / D_max) is not positive definite (its leading block of {int(failed)} classes "
            "fails); the distances of a tree always pass, other distances only at a larger gamma"
        )
    ones = torch.ones(len(factor), 1, dtype=torch.float64)
    return factor, torch.linalg.solve_triangular(factor, ones, upper=False)[:, 0]


def _without_null_direction(vectors: torch.Tensor, null: torch.Tensor) -> torch.Tensor:
    """(K, K - 1): vectors W with W null = 0, in a basis whose last axis, along `null`, is left out. Overwrites W."""
    normal = null / torch.linalg.vector_norm(null)
    normal[-1] += math.copysign(1.0, float(normal[-1]))  # the Householder reflection that does not cancel
    normal /= torch.linalg.vector_norm(normal)
    return vectors.addr_(vectors @ normal, normal, alpha=-2.0)[:, :-1]


def _checked_classes(distances: torch.Tensor | Hierarchy, gamma: float) -> int:
    """The number of classes, after refusing gamma or a matrix that holds no distances."""
    if not (gamma > 0 and math.isfinite(gamma)):
        raise ValueError(f"gamma must be positive and finite, got {gamma}")
    if isinstance(distances, Hierarchy):
        num_classes = distances.num_classes
    else:
        if distances.ndim != 2 or distances.shape[0] != distances.shape[1]:
            raise ValueError(f"distances must be a square matrix, got shape {tuple(distances.shape)}")
        _check_distances(distances)
        num_classes = len(distances)
    if num_classes < 2:
        raise ValueError(f"distances must be between at least 2 classes, got {num_classes}")
    return num_classes


def _check_distances(distances: torch.Tensor) -> None:
    """Refuse a square matrix with an entry that is no distance, and name the first one."""
    for start in range(0, len(distances), _ROWS):
        rows = distances[start : start + _ROWS]
        mirrored = distances[:, start : start + _ROWS].T
        off_diagonal = torch.ones_like(rows, dtype=torch.bool)
        off_diagonal[:, start : start + _ROWS].fill_diagonal_(False)
        for offending, reason in (
            (~torch.isfinite(rows), "not finite"),
            (rows < 0, "negative"),
            ((rows != 0) & ~off_diagonal, "not zero, on the diagonal"),
            ((rows - mirrored).abs() > 1e-6 * rows.abs(), "not the same as its mirror image"),
            ((rows == 0) & off_diagonal, "zero: two classes at one place cannot be told apart"),
        ):
            if bool(offending.any()):
                row, column = offending.nonzero()[0].tolist()
                value = float(rows[row, column])
                raise ValueError(f"distances[{start + row}, {column}] is {value:g}, {reason}")
