"""A few classes seen from where a simplex ETF would look regular: the projection behind a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ncbench.collapse.gram import seli_gram
from ncbench.features.snapshot import Snapshot
from ncbench.geometry import vectors_with_gram
from ncbench.pictures.ideals import frozen_frame, nearly_balanced


def upright_simplex(num_corners: int) -> torch.Tensor:
    """The regular simplex around 0 that stands upright: two points, a triangle, a tetrahedron.

    Args:
        num_corners: m >= 2.

    Returns:
        (m, m - 1) float64 unit rows, each pair at cosine -1/(m-1), the first along the last axis.

    >>> upright_simplex(3).round(decimals=4)
    tensor([[ 0.0000,  1.0000],
            [-0.8660, -0.5000],
            [ 0.8660, -0.5000]], dtype=torch.float64)
    """
    if num_corners == 2:
        return torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    dim = num_corners - 1
    corners = torch.zeros(num_corners, dim, dtype=torch.float64)
    corners[0, -1] = 1.0
    corners[1:, -1] = -1 / dim
    corners[1:, :-1] = -math.sqrt(1 - 1 / dim**2) * upright_simplex(dim)
    return corners


def simplex_basis(vectors: torch.Tensor) -> torch.Tensor | None:
    """An orthonormal basis of the span of m centred vectors, turned so that they come nearest to a regular simplex.

    Orthogonal Procrustes (Schönemann, Psychometrika 1966): with V the centred vectors, T the corners of
    `upright_simplex` and V^T T = P S Q^T, the basis B = P Q^T minimises ||V B - c T||_F for every c > 0. m vectors that
    are a part of a simplex ETF, of however many classes, come to lie on c T itself. Turning the space turns the basis
    with it: V B stays.

    Args:
        vectors: (m, d), m >= 2.

    Returns:
        (d, m - 1) float64 with orthonormal columns; None if the centred vectors span fewer than m - 1 dimensions.

    >>> from ncbench.geometry import simplex_etf
    >>> corners = 5 * simplex_etf(10, 16, dtype=torch.float64)[:3]
    >>> view = (corners - corners.mean(0)) @ simplex_basis(corners)
    >>> torch.allclose(view / view.norm(dim=1, keepdim=True), upright_simplex(3))
    True
    """
    centred = vectors.double() - vectors.double().mean(0)
    dim = len(vectors) - 1
    lengths = torch.linalg.svdvals(centred)  # descending
    if len(lengths) < dim or float(lengths[dim - 1]) <= 1e-6 * float(lengths[0]):  # 1e-6: they may have been float32
        return None
    left, _, right = torch.linalg.svd(centred.T @ upright_simplex(len(vectors)), full_matrices=False)
    return torch.matmul(left, right)


@dataclass(frozen=True, eq=False)
class View:
    """m classes in n dimensions, float64. The means, and the rows before projection, have a root mean square length 1.

    Args:
        classes: (m,) their numbers.
        axes: (n,) what each dimension is.
        means: (m, n).
        rows: (m, n) of the classifier, or None.
        features: (N, n), in the means' unit.
        position: (N,) int64, which of the m classes an image is of.
        conflicting: (N,) bool, or None.
        ideals: Name of what the means should be -> (m, n).
        kept: What was projected -> the share of its squared length that is left.
    """

    classes: tuple[int, ...]
    axes: tuple[str, ...]
    means: torch.Tensor
    rows: torch.Tensor | None
    features: torch.Tensor
    position: torch.Tensor
    conflicting: torch.Tensor | None
    ideals: dict[str, torch.Tensor]
    kept: dict[str, float]


def look_at(snapshot: Snapshot, classes: Sequence[int], frame: str = "") -> View | None:
    """Project some classes of a snapshot, centred at their mean, on the span of their means.

    Two classes span a line: across it lies the direction in which the rest of their features is largest.

    Args:
        snapshot: What a run left.
        classes: Two to four classes whose images it has, ascending.
        frame: Name of the configuration to which the classifier is frozen; empty if it is learned.

    Returns:
        The view; None if the means span fewer dimensions than a simplex of that many corners.
    """
    numbers = torch.tensor(classes)
    place = torch.searchsorted(snapshot.vectors.classes, numbers)
    means = snapshot.vectors.means[place].double()
    centre = means.mean(0)
    means = means - centre
    shown = torch.isin(snapshot.labels, numbers)
    features = snapshot.features[shown].double() - centre
    rows = None
    if snapshot.vectors.weight is not None:
        rows = snapshot.vectors.weight[place].double()
        rows = rows - rows.mean(0)  # what all rows share changes no decision

    basis = simplex_basis(means)
    if basis is None:
        return None
    ideals = {"simplex ETF": upright_simplex(len(classes))}
    if len(classes) == 2:
        axes: tuple[str, ...] = ("along the difference of the means", "across, where features spread most")
        basis = torch.cat([basis, _main_direction(features - features @ basis @ basis.T)], dim=1)
        ideals = {name: torch.nn.functional.pad(ideal, (0, 1)) for name, ideal in ideals.items()}
    else:
        axes = tuple(f"direction {number}" for number in range(1, len(classes)))
        if not nearly_balanced(snapshot.vectors.counts.tolist()):
            gram = seli_gram(snapshot.vectors.counts, -0.5).of(snapshot.vectors.drawn[place])
            of_seli = vectors_with_gram(gram, len(gram), torch.Generator().manual_seed(0), dtype=torch.float64)
            ideals |= _turned("SELI's class means", of_seli)
        own = frozen_frame(snapshot.vectors) if frame else None
        if own is not None:
            ideals |= _turned(frame, own[place].double())
    unit = _rms(means)
    return View(
        classes=tuple(classes),
        axes=axes,
        means=means @ basis / unit,
        rows=None if rows is None else rows @ basis / max(_rms(rows), torch.finfo(rows.dtype).tiny),
        features=features @ basis / unit,
        position=torch.searchsorted(numbers, snapshot.labels[shown]),
        conflicting=None if snapshot.conflicting is None else snapshot.conflicting[shown],
        ideals=ideals,
        kept={
            name: float((vectors @ basis).square().sum() / vectors.square().sum())
            for name, vectors in (("features", features), ("classifier", rows))
            if vectors is not None and bool(vectors.any())
        },
    )


def _turned(name: str, means: torch.Tensor) -> dict[str, torch.Tensor]:
    """An ideal's class means, (m, m - 1), centred, scaled and turned as the measured ones; none if they span less."""
    means = means - means.mean(0)
    basis = simplex_basis(means)
    return {} if basis is None else {name: means @ basis / _rms(means)}


def _main_direction(vectors: torch.Tensor) -> torch.Tensor:
    """(d, 1) the unit direction of the largest second moment, its sign from the vectors alone; 0 if they are 0."""
    direction = torch.linalg.svd(vectors, full_matrices=False).Vh[0]
    along = vectors @ direction
    return torch.mul(direction, along[along.abs().argmax()].sign())[:, None]


def _rms(vectors: torch.Tensor) -> float:
    return float(vectors.square().sum(1).mean().sqrt())
