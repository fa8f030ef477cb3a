"""The projection behind the picture of a few classes: closed forms, and nothing that depends on how space is turned."""

from __future__ import annotations

import doctest
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ncbench.pictures.simplex_view
from ncbench.features.class_vectors import ClassVectors
from ncbench.features.snapshot import Snapshot
from ncbench.geometry import seli, simplex_etf, vectors_with_gram
from ncbench.pictures.simplex_view import View, look_at, simplex_basis, upright_simplex

CORNERS = {
    2: [[1.0], [-1.0]],
    3: [[0, 1], [-math.sqrt(3) / 2, -1 / 2], [math.sqrt(3) / 2, -1 / 2]],
    4: [
        [0, 0, 1],
        [0, -math.sqrt(8) / 3, -1 / 3],
        [math.sqrt(2 / 3), math.sqrt(2) / 3, -1 / 3],
        [-math.sqrt(2 / 3), math.sqrt(2) / 3, -1 / 3],
    ],
}


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def turned(seed: int, dim: int) -> torch.Tensor:
    """(dim, dim) a rotation or reflection."""
    return torch.linalg.qr(normal(dim, dim, seed=seed))[0]


def snapshot_of(means: torch.Tensor, counts: list[int], spread: float = 0.0, seed: int = 0) -> Snapshot:
    """Images around their means; the classifier's rows are something else, and every third image conflicts."""
    labels = torch.arange(len(means)).repeat_interleave(torch.tensor(counts))
    features = means[labels] + spread * normal(len(labels), means.shape[1], seed=seed)
    weight = normal(*means.shape, seed=seed + 1).float()
    vectors = ClassVectors.of(torch.arange(len(means)), torch.tensor(counts), means, weight)
    return Snapshot(
        replace(vectors, means=vectors.means.float()),
        (features - means.mean(0)).float(),
        labels,
        torch.arange(len(labels)) % 3 == 0,
    )


def seen(snapshot: Snapshot, classes: list[int]) -> View:
    view = look_at(snapshot, classes)
    assert view is not None
    return view


@pytest.mark.parametrize("corners", [2, 3, 4])
def test_corners_are_those_of_the_closed_form(corners: int) -> None:
    assert torch.allclose(upright_simplex(corners), torch.tensor(CORNERS[corners], dtype=torch.float64))


def test_docstring_examples_run() -> None:
    result = doctest.testmod(ncbench.pictures.simplex_view)
    assert result.attempted
    assert not result.failed


@settings(max_examples=20)
@given(
    corners=st.integers(2, 4),
    num_classes=st.integers(4, 12),
    scale=st.floats(1e-3, 1e3),
    offset=st.floats(-100, 100),
    seed=st.integers(0, 100),
)
def test_a_part_of_an_etf_is_a_regular_simplex(
    corners: int, num_classes: int, scale: float, offset: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors = scale * (simplex_etf(num_classes, 16, generator, dtype=torch.float64)[:corners] + offset)
    basis = simplex_basis(vectors)
    assert basis is not None
    assert torch.allclose(basis.T @ basis, torch.eye(corners - 1, dtype=torch.float64), atol=1e-9)
    centred = (vectors - vectors.mean(0)) @ basis
    assert torch.allclose(centred / centred.norm(dim=1, keepdim=True), upright_simplex(corners), atol=1e-6)


@settings(max_examples=20)
@given(corners=st.integers(2, 4), seed=st.integers(0, 100))
def test_no_other_basis_of_the_span_comes_nearer(corners: int, seed: int) -> None:
    vectors = normal(corners, 7, seed=seed)
    centred = vectors - vectors.mean(0)
    basis = simplex_basis(vectors)
    assert basis is not None
    agreement = (centred @ basis * upright_simplex(corners)).sum()
    for number in range(5):
        other = basis @ turned(number, corners - 1)
        assert (centred @ other * upright_simplex(corners)).sum() <= agreement + 1e-9


def test_vectors_on_a_line_have_no_plane() -> None:
    line = torch.tensor([[0.0], [1.0], [3.0]]) * torch.ones(1, 5)
    assert simplex_basis(line) is None
    assert simplex_basis(torch.ones(2, 5)) is None
    assert simplex_basis(torch.eye(3)[:, :1]) is None  # one dimension


@settings(max_examples=20)
@given(size=st.integers(2, 4), seed=st.integers(0, 50))
def test_turning_the_feature_space_changes_nothing(size: int, seed: int) -> None:
    snapshot = snapshot_of(normal(6, 9, seed=seed), [5, 9, 5, 7, 5, 5], spread=0.3, seed=seed)
    turn = turned(seed + 1, 9).float()
    vectors = snapshot.vectors
    assert vectors.weight is not None
    other = replace(
        snapshot,
        vectors=replace(vectors, means=vectors.means @ turn, weight=vectors.weight @ turn),
        features=snapshot.features @ turn,
    )
    one, two = seen(snapshot, list(range(size))), seen(other, list(range(size)))
    assert one.rows is not None
    assert two.rows is not None
    for ours, theirs in ((one.means, two.means), (one.rows, two.rows), (one.features, two.features)):
        assert torch.allclose(ours, theirs, atol=1e-4)
    assert one.kept == pytest.approx(two.kept, abs=1e-4)


def test_what_is_drawn_has_the_unit_that_is_told() -> None:
    snapshot = snapshot_of(17 * normal(5, 8), [4] * 5, spread=1.0)
    view = seen(snapshot, [0, 2, 4])
    assert float(view.means.square().sum(1).mean()) == pytest.approx(1)
    assert view.rows is not None
    assert float(view.rows.square().sum(1).mean()) == pytest.approx(view.kept["classifier"])
    assert view.position.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert view.conflicting is not None
    assert view.conflicting.tolist() == [index % 3 == 0 for index in [*range(4), *range(8, 12), *range(16, 20)]]
    # distances within the plane are those of the feature space, in units of the means
    assert snapshot.vectors.weight is not None
    between = torch.cdist(view.means, view.means)
    chosen = snapshot.vectors.means[[0, 2, 4]].double()
    unit = (chosen - chosen.mean(0)).square().sum(1).mean().sqrt()
    assert torch.allclose(between, torch.cdist(chosen, chosen) / unit, atol=1e-6)


@pytest.mark.parametrize("size", [3, 4])
def test_collapsed_features_lie_on_the_ideals(size: int) -> None:
    balanced = seen(snapshot_of(simplex_etf(6, 9, torch.Generator().manual_seed(0)), [7] * 6), list(range(size)))
    assert list(balanced.ideals) == ["simplex ETF"]
    assert torch.allclose(balanced.means, balanced.ideals["simplex ETF"], atol=1e-5)
    assert torch.allclose(balanced.features, balanced.means[balanced.position], atol=1e-5)
    assert balanced.kept["features"] == pytest.approx(1)

    counts = [60, 60, 60, 6, 6, 6]
    means = vectors_with_gram(seli(counts).mean_gram, 9, torch.Generator().manual_seed(0))
    imbalanced = seen(snapshot_of(means, counts), [0, 1, 3, 5][:size])
    assert torch.allclose(imbalanced.means, imbalanced.ideals["SELI's class means"], atol=1e-5)
    assert not torch.allclose(imbalanced.means, imbalanced.ideals["simplex ETF"], atol=0.1)


def test_two_classes_are_seen_along_their_difference_and_across() -> None:
    means = torch.zeros(2, 6, dtype=torch.float64)
    means[0, 0], means[1, 0] = 2.0, -2.0
    snapshot = snapshot_of(means, [40, 40])
    shortcut = torch.where(torch.arange(80) % 2 == 0, 3.0, -3.0)  # along another axis, whatever the class
    features = snapshot.features.clone()
    features[:, 4] += shortcut
    view = seen(replace(snapshot, features=features), [0, 1])
    assert torch.allclose(view.means, view.ideals["simplex ETF"], atol=1e-6)
    assert torch.allclose(view.features[:, 0], torch.where(view.position == 0, 1.0, -1.0).double(), atol=1e-6)
    assert torch.allclose(view.features[:, 1].abs(), torch.full((80,), 1.5, dtype=torch.float64), atol=1e-6)


def test_one_dimension_is_enough_for_two_classes() -> None:
    view = seen(snapshot_of(torch.tensor([[1.0], [3.0]], dtype=torch.float64), [3, 3]), [0, 1])
    assert view.means[:, 0].tolist() == pytest.approx([1, -1])
    assert not view.features[:, 1].any()
