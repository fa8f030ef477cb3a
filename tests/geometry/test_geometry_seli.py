"""SELI against its closed forms for STEP imbalance, its definition, and the published cosines and distances."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ncbench.geometry import seli, vectors_with_gram


def step_counts(k: int, minority: float, ratio: int, smallest: int = 1) -> list[int]:
    """(R, rho) STEP: (1 - rho) K classes of R n_min images, then rho K of n_min."""
    few = round(minority * k)
    return [ratio * smallest] * (k - few) + [smallest] * few


def cosine(gram: torch.Tensor, i: int, j: int) -> float:
    return float(gram[i, j] / (gram[i, i] * gram[j, j]).sqrt())


def distance(gram: torch.Tensor, reference: torch.Tensor) -> float:
    return float((gram / gram.norm() - reference / reference.norm()).norm())


@pytest.mark.parametrize(
    ("ratio", "classifier", "means"),
    [
        (10, (-0.143953, 0.033369, -0.138681), (-0.069702, -0.186746, -0.085434)),
        (100, (-0.148022, 0.338026, -0.195903), (-0.063016, -0.228393, -0.050850)),
    ],
)
def test_cosines_of_ten_classes(ratio: int, classifier: tuple[float, ...], means: tuple[float, ...]) -> None:
    geometry = seli(step_counts(10, 0.5, ratio))
    for gram, expected in ((geometry.classifier_gram, classifier), (geometry.mean_gram, means)):
        found = [cosine(gram, 0, 1), cosine(gram, 8, 9), cosine(gram, 0, 9)]  # majority, minority, cross
        assert found == pytest.approx(expected, abs=6e-7)


@pytest.mark.parametrize(("ratio", "classifier", "means"), [(10, 0.447411, 0.476901), (100, 0.633919, 0.705419)])
def test_distance_to_the_simplex_etf(ratio: int, classifier: float, means: float) -> None:
    geometry = seli(step_counts(10, 0.5, ratio))
    etf = torch.eye(10, dtype=torch.float64) - 0.1
    assert distance(geometry.classifier_gram, etf) == pytest.approx(classifier, abs=6e-7)
    assert distance(geometry.mean_gram, etf) == pytest.approx(means, abs=6e-7)


@pytest.mark.parametrize(
    ("k", "minority", "ratio", "smallest"), [(10, 0.5, 10, 1), (10, 0.5, 100, 7), (20, 0.2, 3, 2), (6, 2 / 3, 50, 1)]
)
def test_closed_forms_for_step_imbalance(k: int, minority: float, ratio: int, smallest: int) -> None:
    geometry = seli(step_counts(k, minority, ratio, smallest))
    m, p = (1 - minority) * k, minority * k
    a, b = minority / ((1 - minority) * k), (1 - minority) / (minority * k)
    q = math.sqrt(minority * ratio + 1 - minority)
    unit = math.sqrt(smallest)
    for gram, root, across in (
        (geometry.classifier_gram / unit, math.sqrt(ratio), q),
        (geometry.mean_gram * unit, 1 / math.sqrt(ratio), 1 / q),
    ):
        assert float(gram[0, 0]) == pytest.approx(root * (1 - 1 / m) + across * a)
        assert float(gram[-1, -1]) == pytest.approx((1 - 1 / p) + across * b)
        assert float(gram[0, 1]) == pytest.approx(-root / m + across * a)
        assert float(gram[-1, -2]) == pytest.approx(-1 / p + across * b)
        assert float(gram[0, -1]) == pytest.approx(-across / k)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(counts=st.lists(st.integers(1, 12), min_size=2, max_size=12))
def test_equals_its_definition(counts: list[int]) -> None:
    geometry = seli(counts)
    k = len(counts)
    v, lengths, ut = torch.linalg.svd(geometry.logits, full_matrices=False)
    assert float(lengths[-1]) < 1e-12  # Z's columns sum to zero
    torch.testing.assert_close((v * lengths) @ v.T, geometry.classifier_gram, atol=1e-10, rtol=0)
    torch.testing.assert_close((ut.T * lengths) @ ut, geometry.feature_gram, atol=1e-10, rtol=0)
    identity = torch.eye(k, dtype=torch.float64) - 1 / k
    torch.testing.assert_close(geometry.classifier_gram @ geometry.mean_gram, identity, atol=1e-10, rtol=0)
    torch.testing.assert_close(geometry.mean_gram.sum(1), torch.zeros(k, dtype=torch.float64), atol=1e-10, rtol=0)


def test_balanced_counts_give_the_simplex_etf() -> None:
    geometry = seli(torch.full((7,), 4))
    etf = torch.eye(7, dtype=torch.float64) - 1 / 7
    torch.testing.assert_close(geometry.classifier_gram, 2 * etf)
    torch.testing.assert_close(geometry.mean_gram, etf / 2)


def test_thousands_of_classes_of_few_distinct_counts() -> None:
    counts = torch.arange(3000) % 5 + 1
    geometry = seli(counts)
    squared = geometry.classifier_gram[:3] @ geometry.classifier_gram  # (Z Z^T)[:3] = (P diag(n) P)[:3]
    n = counts.double()
    expected = torch.diag(n)[:3] - (n[None] + n[:3, None]) / 3000 + n.sum() / 3000**2
    torch.testing.assert_close(squared, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([3, 0, 1], r"class_counts\[1\] is 0, not a positive integer"),
        ([3, -2], r"class_counts\[1\] is -2"),
        ([2.5, 1.0], r"class_counts\[0\] is 2.5"),
        ([5], "at least 2 classes, got 1"),
        (torch.ones(2, 2), r"shape \(classes,\), got \(2, 2\)"),
        (torch.tensor([1.0, float("nan")]), r"class_counts\[1\] is nan"),
    ],
)
def test_refuses_what_are_no_counts(counts: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        seli(counts)  # type: ignore[arg-type]


@pytest.mark.parametrize("dim", [9, 10, 40])
def test_vectors_with_a_gram_matrix(dim: int) -> None:
    gram = seli(step_counts(10, 0.5, 10)).classifier_gram
    vectors = vectors_with_gram(gram, dim, torch.Generator().manual_seed(0), dtype=torch.float64)
    assert vectors.shape == (10, dim)
    torch.testing.assert_close(vectors @ vectors.T, gram)


def test_vectors_refuse_a_matrix_that_is_no_gram_matrix() -> None:
    gram = seli([2, 1, 1]).classifier_gram
    with pytest.raises(ValueError, match="dim is 1, but gram has rank 2"):
        vectors_with_gram(gram, 1)
    with pytest.raises(ValueError, match="must be positive semi-definite"):
        vectors_with_gram(-gram, 3)
    with pytest.raises(ValueError, match=r"gram\[0, 1\] is 1, not the same as its mirror image"):
        vectors_with_gram(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), 3)
    with pytest.raises(ValueError, match=r"gram\[0, 0\] is nan, not finite"):
        vectors_with_gram(torch.full((2, 2), torch.nan), 3)
    with pytest.raises(ValueError, match=r"square matrix, got shape \(2, 3\)"):
        vectors_with_gram(torch.zeros(2, 3), 3)
