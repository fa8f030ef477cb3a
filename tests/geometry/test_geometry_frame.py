"""The hierarchy-aware frame: the smallest similarity, its published values, and the frame it gives."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ncbench.geometry import Hierarchy, hierarchy_aware_frame, simplex_etf, smallest_similarity

EXAMPLES = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def trees(draw: st.DrawFn) -> Hierarchy:
    """Random trees, single-child chains and uneven depths among them."""
    num_nodes = draw(st.integers(3, 40))
    parents = [-1] + [draw(st.integers(max(0, node - 6), node - 1)) for node in range(1, num_nodes)]
    tree = Hierarchy.from_parents(parents, [f"n{node}" for node in range(num_nodes)])
    if tree.num_classes < 2:
        parents.append(0)
        tree = Hierarchy.from_parents(parents, [f"n{node}" for node in range(num_nodes + 1)])
    return tree


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "gamma", "c", "smallest"),
    [
        ("cifar100", 2, 4.27076, -0.305739),
        ("fgvc_aircraft", 1, 2.62689, -0.614669),
        ("tiered_imagenet_h", 3, 13.58209, -0.079478),
        ("inaturalist19", 5, 32.22694, -0.0320236),
    ],
)
def test_published_hierarchies(hierarchies: Path, name: str, gamma: float, c: float, smallest: float) -> None:
    hierarchy = Hierarchy.from_json(hierarchies / f"{name}.json")
    s = smallest_similarity(hierarchy, gamma)
    assert s == pytest.approx(smallest, abs=6e-7)
    assert 1 - 1 / s == pytest.approx(c, abs=6e-6)
    assert smallest_similarity(hierarchy.distances(torch.float64), gamma) == pytest.approx(s, rel=1e-11)
    frame = hierarchy_aware_frame(hierarchy, gamma, dim=hierarchy.num_classes, dtype=torch.float64)
    assert frame.min_similarity == s
    # Semi-definite at s to rounding, and not any more a millionth below it.
    identity = torch.eye(hierarchy.num_classes, dtype=torch.float64)
    exponential = (frame.similarity - s) / (1 - s)
    below = (1 - s + 1e-6) * exponential + s - 1e-6
    assert int(torch.linalg.cholesky_ex(frame.similarity + 1e-10 * identity).info) == 0
    assert int(torch.linalg.cholesky_ex(below + 1e-10 * identity).info) > 0
    torch.testing.assert_close(frame.vectors @ frame.vectors.T, frame.similarity, atol=1e-12, rtol=0)


@EXAMPLES
@given(tree=trees(), gamma=st.floats(0.01, 10))
def test_tree_formula_equals_the_cholesky_solve(tree: Hierarchy, gamma: float) -> None:
    assert smallest_similarity(tree, gamma) == pytest.approx(
        smallest_similarity(tree.distances(torch.float64), gamma), rel=1e-8
    )


@EXAMPLES
@given(tree=trees(), gamma=st.floats(0.3, 6), extra=st.integers(-1, 5), seed=st.none() | st.integers(0, 99))
def test_frame_has_its_similarity(tree: Hierarchy, gamma: float, extra: int, seed: int | None) -> None:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    k = tree.num_classes
    frame = hierarchy_aware_frame(tree, gamma, k + extra, generator, dtype=torch.float64)
    assert frame.vectors.shape == (k, k + extra)
    torch.testing.assert_close(frame.vectors @ frame.vectors.T, frame.similarity, atol=1e-11, rtol=0)
    torch.testing.assert_close(frame.similarity.diagonal(), torch.ones(k, dtype=torch.float64))
    eigenvalues = torch.linalg.eigvalsh(frame.similarity)
    assert abs(float(eigenvalues[0])) < 1e-9
    nearer = frame.similarity[0].argsort(descending=True, stable=True)
    distance = tree.distances()[0][nearer]
    assert bool((distance[1:] >= distance[:-1]).all())


@pytest.mark.parametrize("k", [2, 3, 10])
def test_flat_hierarchy_gives_the_simplex_etf(k: int) -> None:
    flat = Hierarchy.from_categories([(f"c{i}",) for i in range(k)])
    frame = hierarchy_aware_frame(flat, 2.0, k, dtype=torch.float64)
    etf = simplex_etf(k, k, dtype=torch.float64)
    torch.testing.assert_close(frame.similarity, etf @ etf.T)
    e = math.exp(-2.0)
    assert frame.min_similarity == pytest.approx(-(1 + (k - 1) * e) / ((k - 1) * (1 - e)), rel=1e-12)


def test_distances_of_no_tree_are_taken_by_cholesky() -> None:
    points = torch.rand(30, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    distances = torch.cdist(points, points)
    distances = (distances + distances.T) / 2
    distances.fill_diagonal_(0)
    frame = hierarchy_aware_frame(distances, 3.0, 29, dtype=torch.float64)
    eigenvalues = torch.linalg.eigvalsh(frame.similarity)
    assert abs(float(eigenvalues[0])) < 1e-12
    torch.testing.assert_close(frame.vectors @ frame.vectors.T, frame.similarity, atol=1e-12, rtol=0)


def test_a_generator_turns_the_frame_and_no_generator_leaves_it() -> None:
    flat = Hierarchy.from_categories([(c,) for c in "abcd"])
    fixed = [hierarchy_aware_frame(flat, 1.0, 6).vectors for _ in range(2)]
    assert torch.equal(*fixed)
    drawn = [hierarchy_aware_frame(flat, 1.0, 6, torch.Generator().manual_seed(s)).vectors for s in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2], atol=0.1)
    assert drawn[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d[:2], r"distances must be a square matrix, got shape \(2, 3\)"),
        (
            lambda d: d.index_put((torch.tensor(0), torch.tensor(2)), torch.tensor(9.0)),
            r"distances\[0, 2\] is 9, not the",
        ),
        (lambda d: -d, r"distances\[0, 1\] is -1, negative"),
        (lambda d: d + torch.eye(3), r"distances\[0, 0\] is 1, not zero, on the diagonal"),
        (lambda d: d * torch.tensor(float("nan")), r"distances\[0, 0\] is nan, not finite"),
        (lambda d: d * 0, r"distances\[0, 1\] is 0, zero: two classes"),
        (lambda d: d[:1, :1], "at least 2 classes, got 1"),
    ],
)
def test_refuses_what_are_no_distances(change: object, message: str) -> None:
    distances = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 2.0], [2.0, 2.0, 0.0]])
    assert callable(change)
    for function in (smallest_similarity, lambda d, gamma: hierarchy_aware_frame(d, gamma, 3)):
        with pytest.raises(ValueError, match=message):
            function(change(distances), 1.0)


def test_refuses_parameters_out_of_range() -> None:
    flat = Hierarchy.from_categories([(c,) for c in "abcd"])
    with pytest.raises(ValueError, match="dim is 2, but a frame of 4 classes needs at least 3"):
        hierarchy_aware_frame(flat, 1.0, 2)
    for gamma in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="gamma must be positive"):
            smallest_similarity(flat, gamma)
    with pytest.raises(ValueError, match="at least 2 classes"):
        smallest_similarity(Hierarchy(node_names=("only", "root"), parents=(1, -1)), 1.0)


def test_says_when_the_exponential_is_not_positive_definite() -> None:
    # Two far pairs joined through one class near to all: the triangle inequality fails, and so does E at this gamma.
    distances = torch.tensor([[0.0, 10.0, 1.0], [10.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    with pytest.raises(ValueError, match="not positive definite"):
        hierarchy_aware_frame(distances, 1.0, 3)
