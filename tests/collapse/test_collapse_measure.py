"""`measure` against the textbook: random, offset, imbalanced, rank-deficient, narrow types, absent classes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ncbench.collapse import ClassStatistics, measure, measure_statistics

Measures = dict[str, float]
Textbook = Callable[..., Measures]
Agrees = Callable[..., None]

EXAMPLES = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def problems(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features (N, d), labels (N,), weight (K, d), bias (K,): every kind of input that has broken an implementation."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    k = draw(st.integers(2, 24))
    d = draw(st.integers(2, 24))
    present = draw(st.integers(2, k))
    classes = torch.randperm(k, generator=generator)[:present]
    largest = draw(st.sampled_from([1, 2, 12, 60]))  # 1: one sample a class
    counts = torch.randint(1, largest + 1, (present,), generator=generator)
    labels = classes.repeat_interleave(counts)
    labels = labels[torch.randperm(len(labels), generator=generator)]
    spread = draw(st.sampled_from([1e-3, 0.3, 3.0]))
    means = torch.randn(k, d, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), d, generator=generator, dtype=torch.float64)
    deficient = draw(st.booleans())
    if deficient:  # all features in a coordinate subspace: exact in every type
        kept = draw(st.integers(1, d))
        means[:, kept:] = 0
        noise[:, kept:] = 0
    features = means[labels] + spread * noise
    features += draw(st.sampled_from([0.0, 0.0, 10.0, 1e4])) * (features.abs().sum(0) > 0)
    dtype = draw(st.sampled_from([torch.float32, torch.float32, torch.float64, torch.bfloat16, torch.float16]))
    features = features.to(dtype)
    weight = torch.randn(k, d, generator=generator)
    bias = torch.randn(k, generator=generator)
    return features, labels, weight, bias


def well_posed(features: torch.Tensor, labels: torch.Tensor) -> bool:
    """Whether the float64 textbook itself is good to 1e-5: Sigma_B's rank is clear, and no two means coincide."""
    h = features.double()
    means = torch.stack([h[labels == c].mean(0) for c in torch.unique(labels)])
    singular = torch.linalg.svdvals(means - means.mean(0))
    doubtful = (singular > 1e-12 * singular[0]) & (singular < 1e-5 * singular[0])
    return bool(singular[0] > 0) and not bool(doubtful.any()) and float(torch.pdist(means).min()) > 0


@EXAMPLES
@given(problem=problems())
def test_agrees_with_the_textbook(problem: tuple[torch.Tensor, ...], textbook: Textbook, assert_agrees: Agrees) -> None:
    features, labels, weight, bias = problem
    if not well_posed(features, labels):
        return
    actual = measure(features, labels, weight, bias)
    assert_agrees(actual, textbook(features, labels, weight, bias))


@EXAMPLES
@given(problem=problems(), pieces=st.integers(1, 5))
def test_streaming_and_merging_agree_with_the_textbook(
    problem: tuple[torch.Tensor, ...], pieces: int, textbook: Textbook, assert_agrees: Agrees
) -> None:
    features, labels, weight, _ = problem
    if not well_posed(features, labels):
        return
    parts = []
    for x, y in zip(features.tensor_split(pieces), labels.tensor_split(pieces), strict=True):
        part = ClassStatistics(len(weight), features.shape[1])
        for batch in range(0, len(y), 7):  # the last batch is often a single image
            part.update(x[batch : batch + 7], y[batch : batch + 7])
        parts.append(part)
    whole = parts[0]
    for part in parts[1:]:
        whole.merge(part)
    expected = textbook(features, labels, weight)
    del expected["nc4_disagreement"]
    assert_agrees(measure_statistics(whole, weight), expected)
