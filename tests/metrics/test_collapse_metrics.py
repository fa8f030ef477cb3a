"""The collapse family: which numbers it reports, and of what. The measures themselves are ncbench.collapse's."""

from __future__ import annotations

import math

import pytest
import torch

import ncbench_metrics
from ncbench_metrics.collapse import CollapseMetrics

compute = CollapseMetrics().compute
CARD = next(card for card in ncbench_metrics.ncbench_metrics() if card.name == "collapse")


@pytest.fixture
def case():
    """60 images in 3 classes and 2 bias values; classes lie tight around an orthogonal frame, bias values do not."""
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(60) % 3
    bias = torch.randint(2, (60,), generator=generator)
    features = torch.eye(5)[target] + 0.1 * torch.randn(60, 5, generator=generator)
    weight = torch.eye(5)[:3] + 0.1 * torch.randn(3, 5, generator=generator)
    return {
        "target": target.tolist(),
        "predicted": target.tolist(),
        "bias": bias.tolist(),
        "num_classes": 3,
        "num_bias": 2,
        "split": "train",
        "features": features,
        "weight": weight,
        "classifier_bias": torch.tensor([0.0, 0.1, -0.1]),
    }


def textbook_nc1(features, labels):
    h, y = features.double(), torch.as_tensor(labels)
    means = torch.stack([h[y == k].mean(0) for k in range(int(y.max()) + 1)])
    within = (h - means[y]).T @ (h - means[y]) / len(h)
    centred = means - means.mean(0)
    return (torch.trace(within @ torch.linalg.pinv(centred.T @ centred / len(means))) / len(means)).item()


def test_every_number_the_card_promises_and_no_other(evaluation, case):
    metrics = compute(evaluation(**case))
    # Two means are always opposite: with one pair of bias values no angle is spread, but each is still a number.
    assert metrics.keys() == CARD.metrics.keys()
    assert all(isinstance(value, float) and math.isfinite(value) for value in metrics.values())


def test_plain_names_are_of_the_target_and_bias_names_of_the_bias_attribute(evaluation, case):
    metrics = compute(evaluation(**case))
    assert metrics["nc1"] == pytest.approx(textbook_nc1(case["features"], case["target"]), rel=1e-4)
    assert metrics["bias_nc1"] == pytest.approx(textbook_nc1(case["features"], case["bias"]), rel=1e-4)
    assert metrics["bias_nc1"] > 10 * metrics["nc1"]
    logits = case["features"] @ case["weight"].T + case["classifier_bias"]
    means = torch.stack([case["features"][torch.tensor(case["target"]) == k].mean(0) for k in range(3)])
    nearest = torch.cdist(case["features"], means).argmin(1)
    assert metrics["nc4_disagreement"] == pytest.approx((logits.argmax(1) != nearest).float().mean().item())


def test_the_classifiers_bias_takes_part_in_nc4(evaluation, case):
    case["classifier_bias"] = torch.tensor([1000.0, 0.0, 0.0])  # everything is decided for class 0
    assert compute(evaluation(**case))["nc4_disagreement"] == pytest.approx(2 / 3)


def test_without_a_linear_classifier_or_a_bias_attribute_their_numbers_are_left_out(evaluation, case):
    full = compute(evaluation(**case))
    no_classifier = compute(evaluation(**case | {"weight": None, "classifier_bias": None}))
    no_bias = compute(evaluation(**case | {"bias": None, "num_bias": 0}))
    assert full.keys() - no_classifier.keys() == {
        name for name in full if "classifier" in name or name in ("nc3_self_duality", "nc4_disagreement")
    }
    assert full.keys() - no_bias.keys() == {name for name in full if name.startswith("bias_")}
    assert all(no_bias[name] == full[name] for name in no_bias)


def test_what_is_not_a_finite_number_is_left_out(evaluation, case):
    one_value = compute(evaluation(**case | {"bias": [0] * 60}))
    assert not [name for name, value in one_value.items() if not math.isfinite(value)]
    assert "bias_nc1" not in one_value
    assert "nc1" in one_value
    broken = case["features"].clone()
    broken[3, 1] = float("inf")
    assert compute(evaluation(**case | {"features": broken})) == {}
    assert compute(evaluation(**case | {"weight": torch.full((3, 5), float("nan"))})) == {}


def test_it_is_measured_on_the_training_features_on_the_schedule():
    assert (CollapseMetrics.needs, CollapseMetrics.splits, CollapseMetrics.when) == (
        {"feature_stream"},
        ("train",),
        "scheduled",
    )
