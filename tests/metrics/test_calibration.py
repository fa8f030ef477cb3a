"""Calibration metrics against scikit-learn and against a loop over bins and pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from ncbench_metrics.calibration import (
    BINS,
    CalibrationMetrics,
    area_under_roc,
    expected_calibration_error,
)

compute = CalibrationMetrics().compute


def evaluate(evaluation, logits, target):
    logits = torch.as_tensor(logits, dtype=torch.float32)
    predicted = logits.argmax(1).tolist() if len(logits) else []
    return compute(evaluation(target, predicted, None, logits.shape[1], 0, logits=logits))


def random_case(num_classes, n=300, seed=0):
    generator = np.random.default_rng(seed)
    return 2 * generator.standard_normal((n, num_classes)).astype(np.float32), generator.integers(num_classes, size=n)


def test_ece_is_its_definition_bin_by_bin(evaluation):
    logits, target = random_case(4)
    p = torch.tensor(logits).double().softmax(1).numpy()
    confidence, hit = p.max(1), p.argmax(1) == target
    expected = 0.0
    for i in range(BINS):
        inside = (confidence > i / BINS) & (confidence <= (i + 1) / BINS)
        if inside.any():
            expected += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    assert BINS == 15
    assert expected > 0.05
    assert evaluate(evaluation, logits, target.tolist())["ece"] == pytest.approx(expected, rel=1e-9)


def test_runs_of_images_are_invisible(evaluation, monkeypatch):
    logits, target = random_case(4)
    whole = evaluate(evaluation, logits, target.tolist())
    monkeypatch.setattr("ncbench_metrics.calibration._ENTRIES", 4 * 7)
    assert evaluate(evaluation, logits, target.tolist()) == pytest.approx(whole, rel=1e-12)


def test_ece_of_certainty():
    certain = torch.ones(4, dtype=torch.float64)
    assert expected_calibration_error(certain, torch.tensor([True] * 4)) == 0.0
    assert expected_calibration_error(certain, torch.tensor([True, False, False, False])) == 0.75


def test_brier_is_the_squared_distance_to_the_truth(evaluation):
    logits, target = random_case(5)
    p = torch.tensor(logits).double().softmax(1).numpy()
    expected = ((p - np.eye(5)[target]) ** 2).sum(1).mean()
    assert evaluate(evaluation, logits, target.tolist())["brier"] == pytest.approx(expected, rel=1e-9)


def test_loss_is_scikit_learns_and_has_no_smallest_probability(evaluation):
    logits, target = random_case(5)
    p = torch.tensor(logits).double().softmax(1).numpy()
    assert evaluate(evaluation, logits, target.tolist())["loss"] == pytest.approx(log_loss(target, p), rel=1e-9)
    assert evaluate(evaluation, [[0.0, 2000.0]], [0])["loss"] == 2000


def test_binary_brier_is_twice_scikit_learns_and_auroc_is_scikit_learns(evaluation):
    logits, target = random_case(2)
    metrics = evaluate(evaluation, logits, target.tolist())
    p = torch.tensor(logits).double().softmax(1).numpy()[:, 1]
    assert metrics["brier"] == pytest.approx(2 * brier_score_loss(target, p), rel=1e-9)
    assert metrics["auroc"] == pytest.approx(roc_auc_score(target, p), rel=1e-12)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30))
def test_auroc_with_ties_is_scikit_learns(images):
    score, positive = zip(*images, strict=True)
    if len(set(positive)) == 2:
        ours = area_under_roc(torch.tensor(score, dtype=torch.float64), torch.tensor(positive))
        assert ours == pytest.approx(roc_auc_score(positive, score), abs=1e-12)


def test_auroc_does_not_saturate_where_probabilities_do(evaluation):
    logits = [[0.0, 100.0], [0.0, 200.0], [0.0, 300.0]]  # p_1 is 1.0 for each of them, even in float64
    assert evaluate(evaluation, logits, [0, 1, 1])["auroc"] == 1.0


def test_auroc_is_left_out_where_it_is_not_defined(evaluation):
    logits, target = random_case(3)
    assert evaluate(evaluation, logits, target.tolist()).keys() == {"ece", "brier", "loss"}
    for only in (0, 1):
        assert "auroc" not in evaluate(evaluation, random_case(2, n=4)[0], [only] * 4)


def test_nothing_on_an_empty_split_or_for_logits_that_are_not_finite(evaluation):
    assert evaluate(evaluation, np.zeros((0, 2)), []) == {}
    assert evaluate(evaluation, [[0.0, float("nan")]], [0]) == {}
    assert evaluate(evaluation, [[0.0, float("inf")]], [0]) == {}


def test_it_asks_for_logits():
    assert CalibrationMetrics.needs == {"logits"}
