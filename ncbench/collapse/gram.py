"""How far a set of class vectors is from an ideal configuration, read off its Gram matrix.

Every distance here is || G/|G|_F - R/|R|_F ||_F, with G the Gram matrix measured and R the ideal one. Only the upper
half of G is computed, in blocks of rows and in float64: K = 10,000 classes never need the K x K matrix at once, and
one that is almost at its ideal does not lose its distance to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ncbench.collapse.checks import check_finite
from ncbench.collapse.precision import unit_scale

_BLOCK_ENTRIES = 1 << 20  # Gram entries at a time: 8 MiB of float64


def gram_distance(gram: torch.Tensor, reference: torch.Tensor) -> float:
    """Distance between two Gram matrices, blind to their scale.

    Args:
        gram: (K, K), any floating dtype.
        reference: (K, K), the ideal.

    Returns:
        ``|| G/|G|_F - R/|R|_F ||_F``, between 0 and 2; nan when either matrix is zero.

    Raises:
        ValueError: on shapes that differ or are not square, or on non-finite entries.

    Source: Thrampoulidis et al., "Imbalance trouble" (NeurIPS 2022), section 5; Papyan et al. (PNAS 2020) for the ETF.

    >>> import torch
    >>> etf = torch.eye(3) - 1 / 3
    >>> gram_distance(8.0 * etf, etf)
    0.0
    >>> round(gram_distance(torch.eye(3), etf), 6)
    0.605811
    """
    for name, matrix in (("gram", gram), ("reference", reference)):
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"{name} must be square, got shape {tuple(matrix.shape)}")
        check_finite(name, matrix)
    if gram.shape != reference.shape:
        raise ValueError(f"reference must have gram's shape {tuple(gram.shape)}, got {tuple(reference.shape)}")
    g, r = gram.double(), reference.double().to(gram.device)
    g, r = g * unit_scale(g), r * unit_scale(r)
    g_norm, r_norm = torch.linalg.matrix_norm(g), torch.linalg.matrix_norm(r)
    if float(g_norm) == 0 or float(r_norm) == 0:
        return math.nan
    return float(torch.linalg.matrix_norm(g / g_norm - r / r_norm))


def etf_floor(num_classes: int, dim: int) -> float:
    """The smallest distance to the simplex ETF that K vectors in d dimensions can have.

    A simplex ETF of K vectors needs K - 1 dimensions. With fewer, the nearest Gram matrix has d equal eigenvalues in
    the place of K - 1, at distance sqrt(2 - 2 sqrt(d / (K - 1))).

    Args:
        num_classes: K >= 2.
        dim: d >= 1.

    Returns:
        The floor; 0.0 when K <= d + 1.

    >>> etf_floor(10, 64)
    0.0
    >>> round(etf_floor(1000, 512), 6)
    0.753791
    """
    for name, size, least in (("num_classes", num_classes, 2), ("dim", dim, 1)):
        if size < least:
            raise ValueError(f"{name} must be at least {least}, got {size}")
    if num_classes <= dim + 1:
        return 0.0
    return math.sqrt(2 - 2 * math.sqrt(dim / (num_classes - 1)))


@dataclass(frozen=True)
class IdealGram:
    """A K x K ideal Gram matrix of unit Frobenius norm that depends on a class's level only, kept as D x D numbers.

    R[i, j] = between[level[i], level[j]] for i != j, and R[i, i] = between[level[i], level[i]] + own[level[i]]. The
    simplex ETF has one level; SELI has one for each distinct class count.
    """

    level: torch.Tensor  # (K,) int64
    own: torch.Tensor  # (D,) float64
    between: torch.Tensor  # (D, D) float64

    def block(self, i: slice, j: slice) -> torch.Tensor:
        """R[i, j] away from the diagonal, broadcastable to a block of rows i and columns j."""
        if len(self.own) == 1:
            return self.between
        return self.between[self.level[i]][:, self.level[j]]

    def of(self, classes: torch.Tensor) -> torch.Tensor:
        """(n, n) R among n of the classes."""
        level = self.level[classes]
        return self.between[level][:, level] + torch.diag(self.own[level])

    def inner(self, vectors: torch.Tensor) -> torch.Tensor:
        """<V V^T, R> for vectors (K, d), in O(K d) operations."""
        sums = vectors.new_zeros(len(self.own), vectors.shape[1]).index_add_(0, self.level, vectors)  # (D, d)
        diagonal = vectors.square().sum(1) @ self.own[self.level]
        return diagonal + ((sums @ sums.T) * self.between).sum()


def simplex_gram(num_classes: int, device: torch.device) -> IdealGram:
    """(I - J/K) / sqrt(K - 1): the simplex ETF's Gram matrix (Papyan et al. 2020, Definition 1)."""
    scale = 1 / math.sqrt(num_classes - 1)
    return IdealGram(
        level=torch.zeros(num_classes, dtype=torch.int64, device=device),
        own=torch.full((1,), scale, dtype=torch.float64, device=device),
        between=torch.full((1, 1), -scale / num_classes, dtype=torch.float64, device=device),
    )


def seli_gram(class_counts: torch.Tensor, power: float) -> IdealGram:
    """SELI's Gram matrix, up to scale: (Z Z^T)^power with Z = (I - J/K) Y, Y the (K, N) one-hot labels.

    Thrampoulidis et al. (NeurIPS 2022), section 3: power 1/2 is the classifier's, -1/2 (of the pseudo-inverse) the
    class means'. Z Z^T = P diag(n) P with P = I - J/K. Differences within a group of m classes that share a count n
    are eigenvectors with eigenvalue n, so only the D x D part on vectors constant over each group is left to solve.

    Args:
        class_counts: (K,) positive, images a class.
        power: 0.5 or -0.5.
    """
    counts, level, size = torch.unique(class_counts.double(), return_inverse=True, return_counts=True)
    size = size.double()
    mean_direction = (size / size.sum()).sqrt()  # (D,) the all-ones vector, in the orthonormal basis 1_group / sqrt(m)
    projector = torch.eye(len(counts), dtype=torch.float64, device=counts.device)
    projector -= torch.outer(mean_direction, mean_direction)
    eigenvalues, basis = torch.linalg.eigh(projector @ torch.diag(counts) @ projector)  # ascending; the first is 0
    powered = torch.cat([eigenvalues.new_zeros(1), eigenvalues[1:].clamp_min(torch.finfo(torch.float64).tiny) ** power])
    core = (basis * powered) @ basis.T / torch.outer(size, size).sqrt()  # (D, D) entries in the basis of classes
    own = counts**power
    between = core - torch.diag(own / size)
    norm = torch.sqrt((own.square() * (size - 1)).sum() + powered.square().sum())
    return IdealGram(level=level, own=own / norm, between=between / norm)


@dataclass(frozen=True)
class Configuration:
    """What the Gram matrix of K vectors says about them."""

    norm_cv: float  # std / mean of the norms
    angle_std: float  # std over pairs of the cosine
    angle_mean: float  # mean over pairs of |cosine + 1/(K-1)|
    etf_distance: float
    seli_distance: float
    cdnv: float  # class-distance normalised variance; nan without variances


def configuration(
    vectors: torch.Tensor, counts: torch.Tensor, power: float, variances: torch.Tensor | None = None
) -> Configuration:
    """Measure equal norms, equal angles and the distances to ETF and SELI in one pass over the Gram matrix.

    Args:
        vectors: (K, d) float64: centred class means, or classifier rows.
        counts: (K,) positive, images a class.
        power: of SELI, as in `seli_gram`: -0.5 for means, 0.5 for a classifier.
        variances: (K,) float64, the mean squared distance of a class's features to their mean, for CDNV.

    Returns:
        The measures; nan where fewer than two classes, or zero vectors, leave one undefined.
    """
    k = len(vectors)
    norms = torch.linalg.vector_norm(vectors, dim=1)  # (K,)
    mean_norm = float(norms.mean())
    norm_cv = float(norms.std(correction=0)) / mean_norm if mean_norm > 0 else math.nan
    if k < 2:
        return Configuration(norm_cv, *[math.nan] * 5)
    ideals = (simplex_gram(k, vectors.device), seli_gram(counts, power))
    projections = [float(ideal.inner(vectors)) for ideal in ideals]  # a = <G, R>: known before G is
    # The part of G across each ideal, sum (G - a R)^2, is summed entry by entry: 2 - 2 cos would cancel near an ideal.
    across = [
        float((norms.square() - a * (ideal.own + ideal.between.diagonal())[ideal.level]).square().sum())
        for ideal, a in zip(ideals, projections, strict=True)
    ]
    inverse = 1 / norms
    every = (slice(None), slice(None))
    count, mean, squares = 0, 0.0, 0.0  # of the cosines so far: how many, their mean, their squared deviations from it
    deviation = ratio = 0.0
    for i, j in _upper_blocks(k):
        gram = vectors[i] @ vectors[j].T  # (a, b)
        # Each pair once, i < j: in a block on the diagonal that leaves its upper triangle, as one row.
        kept = torch.triu_indices(len(gram), len(gram), offset=1, device=gram.device).unbind() if i == j else every
        cosine = ((gram * inverse[i, None]).mul_(inverse[None, j]))[kept]
        if (n := cosine.numel()) == 0:
            continue
        deviation += float(torch.linalg.vector_norm(cosine + 1 / (k - 1), ord=1))
        of_block, total = float(cosine.mean()), count + n
        own_squares = float(torch.linalg.vector_norm(cosine.sub_(of_block))) ** 2
        delta = of_block - mean
        squares = squares + own_squares + delta * delta * count * n / total  # Chan's formula for merged moments
        count, mean = total, mean + delta * n / total
        for number, (ideal, a) in enumerate(zip(ideals, projections, strict=True)):
            across[number] += 2 * float(torch.linalg.vector_norm((gram - a * ideal.block(i, j))[kept])) ** 2
        if variances is not None:
            squared = _squared_distances(vectors, norms, gram, i, j)
            ratio += float((variances[i, None] + variances[None, j]).div_(squared)[kept].sum()) / 2
    etf_distance, seli_distance = map(_distance, projections, across)
    return Configuration(
        norm_cv=norm_cv,
        angle_std=math.sqrt(squares / count),
        angle_mean=deviation / count,
        etf_distance=etf_distance,
        seli_distance=seli_distance,
        cdnv=math.nan if variances is None else ratio / count,
    )


def _upper_blocks(num_classes: int) -> Iterator[tuple[slice, slice]]:
    """Blocks (rows, columns) that cover every pair i < j once: squares on the diagonal, and what is right of them."""
    rows = max(1, min(num_classes, _BLOCK_ENTRIES // num_classes))
    for start in range(0, num_classes, rows):
        stop = min(start + rows, num_classes)
        yield slice(start, stop), slice(start, stop)
        if stop < num_classes:
            yield slice(start, stop), slice(stop, num_classes)


def _squared_distances(
    vectors: torch.Tensor, norms: torch.Tensor, gram: torch.Tensor, i: slice, j: slice
) -> torch.Tensor:
    """|v_i - v_j|^2 for a block of pairs, from |v_i|^2 + |v_j|^2 - 2 v_i.v_j where that keeps seven digits."""
    lengths = norms.square()
    squared = (lengths[i, None] + lengths[None, j]).sub_(gram, alpha=2)
    if float(squared.min()) > 2e-9 * float(lengths.max()):
        return squared
    close = (squared < 1e-9 * (lengths[i, None] + lengths[None, j])).nonzero()
    # Nearly merged classes, and a vector with itself: subtract the vectors themselves.
    for few in torch.split(close, max(1, _BLOCK_ENTRIES // vectors.shape[1])):
        difference = vectors[i][few[:, 0]] - vectors[j][few[:, 1]]
        squared[few[:, 0], few[:, 1]] = difference.square().sum(1)
    return squared


def _distance(along: float, across: float) -> float:
    """|| G/|G| - R || for |R| = 1, from a = <G, R> and |G - a R|^2: 2 - 2 a/|G| rearranged so that it cannot cancel."""
    norm = math.sqrt(along * along + across)
    if norm == 0:
        return math.nan
    if along <= 0:
        return math.sqrt(2 - 2 * along / norm)
    return math.sqrt(2 * across / (norm * (norm + along)))
