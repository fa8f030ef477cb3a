"""cnc: its loss against the formula, anchor by anchor, and its limits."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from ncbench import Supervision
from ncbench_methods.contrastive.cnc import CnC, contrastive_losses

BIAS = Supervision(train="bias")


def by_hand(features, target, group, temperature):
    unit = [row / row.norm() for row in features]
    found = []
    for i in range(len(unit)):
        positives = [j for j in range(len(unit)) if target[j] == target[i] and group[j] != group[i]]
        negatives = [j for j in range(len(unit)) if target[j] != target[i] and group[j] == group[i]]
        score = {j: math.exp(float(unit[i] @ unit[j]) / temperature) for j in positives + negatives}
        total = sum(score.values())
        found.append(-sum(math.log(score[p] / total) for p in positives) / max(len(positives), 1))
    return torch.tensor(found).double()


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_the_loss_is_its_formula(toy, temperature):
    features = torch.randn(24, 5, generator=torch.Generator().manual_seed(0)).double()
    found = contrastive_losses(features, toy.target, toy.bias, temperature)
    torch.testing.assert_close(found, by_hand(features, toy.target, toy.bias, temperature))
    # Features in any scale have the same cosines.
    torch.testing.assert_close(found, contrastive_losses(7 * features, toy.target, toy.bias, temperature))


def test_where_groups_are_the_classes_there_are_no_positives_and_it_is_erm(toy, make):
    toy.bias[:] = toy.target
    method = make(CnC, toy, BIAS).eval()
    terms = method.loss(toy.batch())
    assert terms["contrast"] == 0
    expected = 0.25 * F.cross_entropy(method(toy.images), toy.target)
    torch.testing.assert_close(terms["cross_entropy"], expected)


def test_without_contrast_it_is_cross_entropy(toy, make):
    method = make(CnC, toy, BIAS, contrast=0).eval()
    torch.testing.assert_close(sum(method.loss(toy.batch()).values()), F.cross_entropy(method(toy.images), toy.target))


def test_the_contrast_moves_the_features(toy, make):
    method = make(CnC, toy, BIAS, norm=False)
    method.loss(toy.batch())["contrast"].backward()
    gradients = [parameter.grad for parameter in method.backbone.parameters() if parameter.grad is not None]
    assert max(gradient.abs().max() for gradient in gradients) > 1e-4
    assert method.classifier.weight.grad is None


@pytest.mark.parametrize("index", [[3], [0, 3], [0, 1]])
def test_batches_without_pairs_have_finite_gradients(toy, make, index):
    method = make(CnC, toy, BIAS, norm=False)
    sum(method.loss(toy.batch(torch.tensor(index))).values()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in method.parameters() if parameter.grad is not None)


def test_groups_are_drawn_equally_often(toy, make):
    method = make(CnC, toy, BIAS)
    drawn = torch.cat([method.order(toy.split(), torch.Generator().manual_seed(seed)) for seed in range(200)])
    share = torch.bincount(toy.target[drawn] * 3 + toy.bias[drawn], minlength=9) / len(drawn)
    existing = toy.task(BIAS).group_counts.flatten() > 0
    assert share[existing].tolist() == pytest.approx([1 / existing.sum().item()] * int(existing.sum()), abs=0.03)
