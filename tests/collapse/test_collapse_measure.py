"""`measure` against the textbook: random, offset, imbalanced, rank-deficient, narrow types, absent classes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from ncbench.collapse import ClassMeans, ClassStatistics, ResidualStatistics, measure, measure_statistics

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
    assume(well_posed(features, labels))
    actual = measure(features, labels, weight, bias)
    assert_agrees(actual, textbook(features, labels, weight, bias))


@EXAMPLES
@given(problem=problems(), pieces=st.integers(1, 5))
def test_streaming_and_merging_agree_with_the_textbook(
    problem: tuple[torch.Tensor, ...], pieces: int, textbook: Textbook, assert_agrees: Agrees
) -> None:
    features, labels, weight, _ = problem
    assume(well_posed(features, labels))
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


@EXAMPLES
@given(problem=problems())
def test_two_streamed_passes_equal_measure(problem: tuple[torch.Tensor, ...]) -> None:
    features, labels, weight, bias = problem
    assume(well_posed(features, labels))
    k, d = len(weight), features.shape[1]
    halves = list(zip(features.tensor_split(2), labels.tensor_split(2), strict=True))
    first, other = ClassMeans(k, d), ClassMeans(k, d)
    first.update(*halves[0])
    other.update(*halves[1])
    first.merge(other)
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    passes = [ResidualStatistics(first.means, weight, bias, dtype) for _ in halves]
    for statistics, half in zip(passes, halves, strict=True):
        statistics.update(*half)
    passes[0].merge(passes[1])
    whole = measure(features, labels, weight, bias)
    assert passes[0].nc1 == pytest.approx(whole["nc1"], rel=1e-5, abs=1e-12)
    assert passes[0].nc4_disagreement == whole["nc4_disagreement"]


# ------------------------------------------------------------------ traps


def clusters(k: int, d: int, n: int, spread: float = 0.3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (k n, d) float64 around random means, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(k).repeat(n)
    means = torch.randn(k, d, generator=generator, dtype=torch.float64)
    return means[labels] + spread * torch.randn(k * n, d, generator=generator, dtype=torch.float64), labels


def test_an_absent_class_does_not_become_a_zero_mean(assert_agrees: Agrees) -> None:
    features, labels = clusters(4, 6, 20)
    gaps = torch.tensor([1, 2, 4, 7])[labels]  # classes 0, 3, 5, 6 and 8 have no images
    assert_agrees(measure(features, gaps, num_classes=9), measure(features, labels))
    weight = torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
    found = measure(features, gaps, weight)
    kept = measure(features, labels, weight[[1, 2, 4, 7]])
    for name in found.keys() - {"nc4_disagreement"}:
        assert found[name] == pytest.approx(kept[name], rel=1e-9), name


@pytest.mark.parametrize("condition", [1e3, 1e4])
@pytest.mark.parametrize("rotated", [False, True])
def test_ill_conditioned_means_keep_all_their_directions(condition: float, rotated: bool) -> None:
    # A float32 pseudo-inverse with the default cut-off returned 1.6% of the true value here (K = 1000, d = 512).
    generator = torch.Generator().manual_seed(0)
    k, d, n = 300, 128, 4
    scale = torch.logspace(0, -math.log10(condition), d, dtype=torch.float64)
    labels = torch.arange(k).repeat(n)
    means = torch.randn(k, d, generator=generator, dtype=torch.float64) * scale
    features = means[labels] + 0.1 * scale * torch.randn(k * n, d, generator=generator, dtype=torch.float64)
    if rotated:
        features = features @ torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]
    features = features.float()
    h = features.double()
    mu = torch.stack([h[labels == c].mean(0) for c in range(k)])
    centred = mu - mu.mean(0)
    residual = h - mu[labels]
    _, singular, vt = torch.linalg.svd(centred, full_matrices=False)
    expected = float(((residual @ vt.T) / singular).square().sum()) / len(h)  # tr(Sigma_W Sigma_B^-1) / K
    assert measure(features, labels)["nc1"] == pytest.approx(expected, rel=1e-5)
    statistics = ClassStatistics(k, d)
    statistics.update(features, labels)
    assert measure_statistics(statistics)["nc1"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_an_offset_changes_no_decision(offset: float, textbook: Textbook) -> None:
    # |x|^2 + |m|^2 - 2 x.m in float32 is a lottery at an offset of 1e4.
    features, labels = clusters(10, 32, 40, spread=2.0)
    h = (features + offset).float()
    weight = torch.randn(10, 32, generator=torch.Generator().manual_seed(5))
    bias = -weight.sum(1) * offset
    found = measure(h, labels, weight, bias)
    assert found["nc4_disagreement"] == textbook(h, labels, weight, bias)["nc4_disagreement"]
    assert 0.2 < found["nc4_disagreement"] < 0.99


def test_nc4_counts_the_bias_of_the_classifier() -> None:
    features, labels = clusters(3, 4, 10, spread=0.01)
    means = torch.stack([features[labels == c].mean(0) for c in range(3)])
    bias = -means.square().sum(1) / 2  # with it, argmax(W h + b) is the nearest mean exactly
    assert measure(features, labels, means, bias)["nc4_disagreement"] == 0.0
    shifted = bias + torch.tensor([100.0, 0.0, 0.0])
    assert measure(features, labels, means, shifted)["nc4_disagreement"] == pytest.approx(2 / 3)


def test_nc4_settles_ties_as_float64_does(textbook: Textbook) -> None:
    # Means a float32 rounding apart, and weights that repeat: every float32 decision here is within its rounding.
    generator = torch.Generator().manual_seed(2)
    base = torch.randn(1, 8, generator=generator, dtype=torch.float64)
    means = base + 1e-6 * torch.randn(5, 8, generator=generator, dtype=torch.float64)
    labels = torch.arange(5).repeat(30)
    features = (means[labels] + 1e-6 * torch.randn(150, 8, generator=generator, dtype=torch.float64)).float()
    weight = 1 + 1e-7 * torch.randn(5, 8, generator=generator)
    found = measure(features, labels, weight)["nc4_disagreement"]
    assert found == textbook(features, labels, weight)["nc4_disagreement"]


def test_nc4_is_decided_where_float32_overflows(textbook: Textbook) -> None:
    features, labels = clusters(4, 6, 20, spread=2.0)
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(5))
    h = (features * 1e25).float()  # products of two features are infinite in float32
    found = measure(h, labels, weight)["nc4_disagreement"]
    assert found == textbook(h, labels, weight, None)["nc4_disagreement"]
    assert 0.2 < found < 0.99


def test_mu_g_is_the_unweighted_mean_of_class_means() -> None:
    means = torch.tensor([[1.0, 0.0], [-0.5, 3**0.5 / 2], [-0.5, -(3**0.5) / 2]], dtype=torch.float64)
    labels = torch.tensor([0] * 50 + [1] * 5 + [2])
    measures = measure(means[labels], labels)
    assert measures["nc2_etf_distance"] < 1e-7
    assert measures["nc2_norm_cv"] < 1e-12
    assert measures["nc1"] == pytest.approx(0.0, abs=1e-20)


def test_the_size_of_a_class_is_its_own() -> None:
    # Sigma_W averages over images; each class's variance over its own images, not over a count they share.
    features = torch.tensor([[0.0], [2.0], [10.0], [10.0], [10.0], [10.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1, 1, 1])
    measures = measure(features, labels)
    assert measures["nc1_cdnv"] == pytest.approx((1.0 + 0.0) / (2 * 81))
    assert measures["nc1"] == pytest.approx((2 / 6) / (4.5**2) / 2)


@pytest.mark.parametrize("k", [5, 6, 7, 40])
def test_more_classes_than_dimensions(k: int, textbook: Textbook, assert_agrees: Agrees) -> None:
    features, labels = clusters(k, 5, 12)
    features = features.float()
    weight = torch.randn(k, 5, generator=torch.Generator().manual_seed(k))
    found = measure(features, labels, weight)
    assert_agrees(found, textbook(features, labels, weight))
    floor = math.sqrt(2 - 2 * math.sqrt(5 / (k - 1))) if k > 6 else 0.0
    assert found["nc2_etf_floor"] == pytest.approx(floor)
    assert found["nc2_etf_distance"] >= floor


def test_the_etf_floor_is_attained() -> None:
    # A tight frame of 12 vectors in 4 dimensions that sums to zero: orthonormal columns, orthogonal to the ones.
    columns = torch.randn(12, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    columns = torch.linalg.qr(columns - columns.mean(0))[0]
    measures = measure(columns, torch.arange(12))
    assert measures["nc2_etf_distance"] == pytest.approx(measures["nc2_etf_floor"], rel=1e-9)


def test_one_sample_a_class_has_no_spread() -> None:
    features, labels = clusters(6, 9, 1)
    for x in (features, features.float(), features.bfloat16()):
        measures = measure(x, labels)
        assert measures["nc1"] == pytest.approx(0.0, abs=1e-20)
        assert measures["nc1_cdnv"] == pytest.approx(0.0, abs=1e-20)


def test_a_simplex_etf_is_found_to_be_one() -> None:
    k = 6
    corners = torch.eye(k, dtype=torch.float64) - 1 / k
    found = measure(corners.repeat(3, 1), torch.arange(k).repeat(3), 5 * corners, torch.zeros(k))
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=1e-12)


@pytest.mark.parametrize("closeness", [1e-3, 1e-6])
def test_cdnv_of_nearly_merged_classes(closeness: float) -> None:
    features, labels = clusters(4, 6, 30, spread=1e-7)
    features[labels == 3] = features[labels == 2] + closeness * torch.ones(6, dtype=torch.float64)
    h = features
    mu = torch.stack([h[labels == c].mean(0) for c in range(4)])
    v = torch.stack([(h[labels == c] - mu[c]).square().sum(1).mean() for c in range(4)])
    i, j = torch.triu_indices(4, 4, 1)
    expected = float(((v[i] + v[j]) / (2 * (mu[i] - mu[j]).square().sum(1))).mean())
    assert measure(features, labels)["nc1_cdnv"] == pytest.approx(expected, rel=1e-6)


def test_no_k_by_k_by_d_and_no_one_hot(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, (tuple, list)) else [result]:
                if isinstance(tensor, torch.Tensor):
                    largest = max(largest, tensor.untyped_storage().nbytes())
            return result

    k, d, n = 400, 64, 20_000
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, k, (n,), generator=generator)
    features = torch.randn(n, d, generator=generator)
    weight = torch.randn(k, d, generator=generator)
    with Watch():
        measure(features, labels, weight)
    assert largest < n * k  # bytes: a one-hot of single bits' bytes would already be that; K K d float32 is 41 MB


def test_blocks_are_invisible(monkeypatch: pytest.MonkeyPatch, assert_agrees: Agrees) -> None:
    features, labels = clusters(30, 12, 40)
    weight = torch.randn(30, 12, generator=torch.Generator().manual_seed(0))
    whole = measure(features.float(), labels, weight)
    monkeypatch.setattr("ncbench.collapse.gram._BLOCK_ENTRIES", 90)  # three rows of the Gram matrix at a time
    monkeypatch.setattr("ncbench.collapse.means.block_rows", lambda *_: 7)
    monkeypatch.setattr("ncbench.collapse.residuals.block_rows", lambda *_: 11)
    assert_agrees(measure(features.float(), labels, weight), whole)


def test_autocast_tf32_and_gradients_leave_no_trace() -> None:
    features, labels = clusters(5, 16, 40)
    h = features.float()
    weight = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    expected = measure(h, labels, weight)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = measure(h.requires_grad_(), labels.int(), weight.requires_grad_())
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert found == expected


def test_the_newer_switch_of_tf32_is_respected_and_restored() -> None:
    if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        pytest.skip("this PyTorch has the older switch alone")
    features, labels = clusters(5, 16, 40)
    weight = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    expected = measure(features.float(), labels, weight)
    backends = {torch.backends.cuda.matmul: "tf32", torch.backends.mkldnn.matmul: "bf16"}
    before = {backend: backend.fp32_precision for backend in backends}
    try:
        for backend, precision in backends.items():
            backend.fp32_precision = precision
        assert measure(features.float(), labels, weight) == expected
        assert all(backend.fp32_precision == precision for backend, precision in backends.items())
    finally:
        for backend, precision in before.items():
            backend.fp32_precision = precision


def test_layout_and_integer_types_do_not_matter() -> None:
    features, labels = clusters(5, 16, 40)
    h = features.float()
    expected = measure(h, labels)
    strided = torch.zeros(200, 32)[:, ::2].copy_(h)
    for dtype in (torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16, torch.int32):
        assert measure(strided, labels.to(dtype)) == pytest.approx(expected, rel=1e-6)


def test_labels_may_be_ids_of_any_size() -> None:
    features, labels = clusters(5, 16, 40)
    ids = torch.tensor([7, 2**40, 2**63 - 1, 0, 12])[labels]
    order = torch.unique(ids, return_inverse=True)[1]
    assert measure(features, ids) == measure(features, order)


@EXAMPLES
@given(problem=problems(), of_features=st.sampled_from([-90, -20, 20, 90]), of_weight=st.sampled_from([-70, 0, 70]))
def test_no_measure_depends_on_the_scale(
    problem: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], of_features: int, of_weight: int
) -> None:
    features, labels, weight, bias = problem
    for dtype, times in ((torch.float32, 1), (torch.float64, 6)):  # 2^540 is 4e162, whose square float64 does not hold
        h, w, b = features.to(dtype), weight.to(dtype), bias.double()
        scale, scale_of_weight = 2.0 ** (times * of_features), 2.0 ** (times * of_weight)
        scaled = measure(h * scale, labels, w * scale_of_weight, b * scale * scale_of_weight)
        assert scaled == pytest.approx(measure(h, labels, w, b), rel=1e-9, nan_ok=True)


def test_seli_distance_vanishes_at_seli() -> None:
    counts = [40, 40, 8, 8, 2]
    n = torch.tensor(counts, dtype=torch.float64)
    projector = torch.eye(5, dtype=torch.float64) - 0.2
    eigenvalues, basis = torch.linalg.eigh(projector @ torch.diag(n) @ projector)
    classifier = basis[:, 1:] * eigenvalues[1:] ** 0.25
    means = basis[:, 1:] * eigenvalues[1:] ** -0.25
    labels = torch.arange(5).repeat_interleave(torch.tensor(counts))
    found = measure(means[labels], labels, classifier)
    assert found["seli_distance_means"] < 1e-7
    assert found["seli_distance_classifier"] < 1e-7
    assert found["nc2_etf_distance"] > 0.1


def test_undefined_measures_are_nan() -> None:
    features = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    one = measure(features, torch.zeros(6, dtype=torch.int64), torch.randn(2, 3))
    assert all(math.isnan(value) for name, value in one.items() if not name.startswith(("nc2_norm_cv_cl", "nc4")))
    assert one["nc4_disagreement"] >= 0
    same = measure(torch.ones(6, 3), torch.arange(6) % 2)
    assert math.isnan(same["nc1"])
    assert math.isnan(same["nc1_cdnv"])
