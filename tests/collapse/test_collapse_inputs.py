"""What the measures refuse, and that streamed statistics survive a refusal, merging and saving."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import torch

import ncbench.collapse
import ncbench.geometry
from ncbench.collapse import (
    ClassMeans,
    ClassStatistics,
    ResidualStatistics,
    etf_floor,
    gram_distance,
    measure,
    measure_statistics,
)

FEATURES = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])


def changed(row: int, column: int, value: float) -> torch.Tensor:
    features = FEATURES.clone()
    features[row, column] = value
    return features


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": changed(5, 1, float("nan"))}, r"features\[5, 1\] is nan, not finite"),
        ({"features": changed(7, 2, float("inf"))}, r"features\[7, 2\] is inf, not finite"),
        ({"features": FEATURES[0]}, r"features must have shape \(images, dimension\), got \(3,\)"),
        ({"features": FEATURES.long()}, "features must be floating point, got torch.int64"),
        ({"features": FEATURES[:0], "labels": LABELS[:0]}, "features must hold at least one image"),
        ({"features": FEATURES[:, :0]}, "features must have at least one dimension"),
        ({"labels": LABELS[:5]}, r"labels must have shape \(8,\), one a row of features, got \(5,\)"),
        ({"labels": LABELS.float()}, "labels must be integers, got torch.float32"),
        ({"labels": LABELS - 1}, r"labels\[0\] is -1, outside 0\.\.2"),
        ({"labels": LABELS * 2, "num_classes": 3}, r"labels\[2\] is 4, outside 0\.\.2"),
        ({"weight": torch.zeros(4, 3), "num_classes": 3}, r"weight must have shape \(3, 3\), got \(4, 3\)"),
        ({"weight": torch.zeros(3, 4)}, r"weight must have shape \(3, 3\), got \(3, 4\)"),
        ({"weight": torch.full((3, 3), torch.nan)}, r"weight\[0, 0\] is nan, not finite"),
        ({"bias": torch.zeros(3)}, "bias is given without weight"),
        ({"weight": torch.zeros(3, 3), "bias": torch.zeros(2)}, r"bias must have shape \(3,\), got \(2,\)"),
    ],
)
def test_measure_names_what_is_wrong(arguments: dict[str, object], message: str) -> None:
    given = {"features": FEATURES, "labels": LABELS} | arguments
    if "labels" in arguments and "num_classes" not in arguments and "weight" not in arguments:
        given["num_classes"] = 3
    with pytest.raises(ValueError, match=message):
        measure(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("num_classes", [3, 6000])  # fewer and more than images: the two places a sum is taken
def test_the_entry_is_named_in_any_block(num_classes: int) -> None:
    features = torch.ones(5000, 2)
    features[4500, 1] = torch.inf
    features[4999, 0] = -torch.inf
    with pytest.raises(ValueError, match=r"features\[4500, 1\] is inf, not finite"):
        measure(features, torch.arange(5000) % 3, num_classes=num_classes)


def test_a_refused_batch_leaves_the_statistics_as_they_were() -> None:
    statistics = ClassStatistics(3, 3)
    statistics.update(FEATURES, LABELS)
    before = statistics.state_dict()
    for bad in (changed(0, 0, float("nan")), FEATURES[:, :2]):
        with pytest.raises(ValueError, match="features"):
            statistics.update(bad, LABELS)
    for name, tensor in statistics.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_features_whose_float32_sum_overflows_are_finite_all_the_same() -> None:
    means = ClassMeans(1, 1)
    means.update(torch.full((4, 1), 3e38), torch.zeros(4, dtype=torch.int64))
    assert float(means.means) == pytest.approx(3e38)


def test_features_whose_float64_sum_overflows_are_refused() -> None:
    features = torch.full((20, 2), 1e308, dtype=torch.float64)
    with pytest.raises(ValueError, match="features are too large to be summed; divide them all by one number"):
        measure(features, torch.arange(20) % 2)


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_statistics_of_one_pass_refuse_what_they_cannot_square(size: float) -> None:
    statistics = ClassStatistics(3, 3)
    statistics.update(torch.zeros(2, 3), LABELS[:2])
    with pytest.raises(
        ValueError, match=r"features reach .*e[+-]20\d, whose squares .* multiply them all by one number"
    ):
        statistics.update(FEATURES.double() * size, LABELS)
    assert statistics.counts.tolist() == [1, 1, 0]


def test_a_bias_beyond_all_logits_is_refused() -> None:
    weight = torch.eye(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="bias is too large to be compared"):
        measure(FEATURES.double() * 1e-200, LABELS, weight, torch.tensor([1e300, 0, 0], dtype=torch.float64))


def test_an_unsigned_label_beyond_int64_is_named() -> None:
    labels = torch.tensor([0, 1, 2**63 - 1], dtype=torch.int64).to(torch.uint64)
    labels[2] = torch.tensor(-1).to(torch.uint64)
    with pytest.raises(ValueError, match=rf"labels\[2\] is {2**64 - 1}, outside 0\.\.2"):
        measure(FEATURES[:3], labels, num_classes=3)


def test_a_distance_of_gram_matrices_is_blind_to_any_scale() -> None:
    gram, ideal = torch.eye(3, dtype=torch.float64) + 0.1, torch.eye(3, dtype=torch.float64) - 1 / 3
    for size in (2.0**700, 2.0**-700):
        assert gram_distance(size * gram, ideal / size) == gram_distance(gram, ideal)


def test_statistics_go_through_a_state_dict() -> None:
    statistics = ClassStatistics(4, 3)
    statistics.update(FEATURES, LABELS)
    restored = ClassStatistics.from_state_dict(statistics.state_dict())
    restored.update(FEATURES[:1], LABELS[:1])
    statistics.update(FEATURES[:1], LABELS[:1])
    assert measure_statistics(restored) == measure_statistics(statistics)
    assert repr(restored) == "ClassStatistics(9 images, 3 of 4 classes, dimension 3)"
    with pytest.raises(ValueError, match="state has no 'shift'"):
        ClassStatistics.from_state_dict({"reference": torch.zeros(2, 2), "counts": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"state\['counts'\] must have shape \(4,\), got \(2,\)"):
        ClassStatistics.from_state_dict(statistics.state_dict() | {"counts": torch.zeros(2)})


def test_merging_is_exact_in_any_order() -> None:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(90, 5, generator=generator) + 1e4
    labels = torch.randint(0, 6, (90,), generator=generator)
    whole = ClassStatistics(7, 5)
    whole.update(features, labels)
    parts = []
    for x, y in zip(features.split(20), labels.split(20), strict=True):
        parts.append(ClassStatistics(7, 5))
        parts[-1].update(x, y)
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
        merged = ClassStatistics(7, 5)  # merging into an empty one is how a reduction starts
        for index in order:
            merged.merge(parts[index])
        assert torch.equal(merged.counts, whole.counts)
        torch.testing.assert_close(merged.means, whole.means, rtol=1e-14, atol=0, equal_nan=True)
        torch.testing.assert_close(merged.variances, whole.variances, rtol=1e-10, atol=0, equal_nan=True)
        torch.testing.assert_close(merged.scatter, whole.scatter, rtol=1e-10, atol=1e-9)


def test_what_does_not_belong_together_does_not_merge() -> None:
    with pytest.raises(ValueError, match="other has 3 classes in 2 dimensions, expected 2 in 2"):
        ClassStatistics(2, 2).merge(ClassStatistics(3, 2))
    with pytest.raises(ValueError, match=r"other has shape \(2, 3\), expected \(2, 2\)"):
        ClassMeans(2, 2).merge(ClassMeans(2, 3))
    means = torch.eye(2, dtype=torch.float64)
    with pytest.raises(ValueError, match="other was made for other class means"):
        ResidualStatistics(means).merge(ResidualStatistics(2 * means))
    with pytest.raises(ValueError, match="only one of the two was given a classifier"):
        ResidualStatistics(means).merge(ResidualStatistics(means, means))


def test_the_second_pass_refuses_a_class_without_a_mean() -> None:
    means = torch.tensor([[1.0, 0.0], [torch.nan, torch.nan], [0.0, 1.0]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"labels\[1\] is 1, a class without a mean"):
        ResidualStatistics(means).update(torch.zeros(2, 2), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="no class with images"):
        ResidualStatistics(means[1:2])
    with pytest.raises(ValueError, match="dtype must be"):
        ResidualStatistics(means, dtype=torch.float16)


def test_sizes_must_be_positive() -> None:
    for made in (ClassStatistics, ClassMeans):
        with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
            made(0, 3)
        with pytest.raises(ValueError, match="dim must be at least 1, got 0"):
            made(3, 0)
    with pytest.raises(ValueError, match="at least one image"):
        measure_statistics(ClassStatistics(3, 3))
    with pytest.raises(ValueError, match="num_classes must be at least 2"):
        etf_floor(1, 3)


def test_gram_distance_refuses_what_is_no_gram_matrix() -> None:
    square = torch.eye(2)
    with pytest.raises(ValueError, match=r"gram must be square, got shape \(2, 3\)"):
        gram_distance(torch.zeros(2, 3), square)
    with pytest.raises(ValueError, match=r"reference must have gram's shape \(2, 2\), got \(3, 3\)"):
        gram_distance(square, torch.eye(3))
    with pytest.raises(ValueError, match=r"reference\[1, 1\] is inf, not finite"):
        gram_distance(square, torch.diag(torch.tensor([1.0, float("inf")])))


@pytest.mark.parametrize(
    "module",
    [
        f"{package.__name__}.{info.name}"
        for package in (ncbench.collapse, ncbench.geometry)
        for info in pkgutil.iter_modules(package.__path__)
    ],
)
def test_examples_in_docstrings_run(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


@pytest.mark.parametrize("package", [ncbench.collapse, ncbench.geometry])
def test_public_names_are_documented(package: object) -> None:
    for name in package.__all__:  # type: ignore[attr-defined]
        assert getattr(package, name).__doc__, name
