"""end and pgi against their sums, pair by pair."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from ncbench import Progress, Supervision
from ncbench_methods.invariance.end import EnD, end_terms
from ncbench_methods.invariance.pgi import PGI, group_divergence

from .conftest import normal, total

BIAS = Supervision(train="bias")


def test_end_is_its_sums_over_pairs(toy, make):
    method = make(EnD, toy, BIAS, norm=False, alpha=0.3, beta=0.7)
    batch = toy.batch(torch.arange(17))
    unit = F.normalize(method.features(batch.images), dim=1)
    same, cross = {}, []
    for i, j in itertools.combinations(range(17), 2):
        cosine = unit[i] @ unit[j]
        if batch.bias[i] == batch.bias[j]:
            same.setdefault(int(batch.bias[i]), []).append(cosine)
        elif batch.target[i] == batch.target[j]:
            cross.append((1 + cosine) / 2)
    disentangle = sum(abs(sum(cosines)) for cosines in same.values()) / sum(map(len, same.values()))
    entangle = 1 - sum(cross) / len(cross)
    expected = F.cross_entropy(method(batch.images), batch.target) + 0.3 * disentangle + 0.7 * entangle
    assert total(method.loss(batch)).item() == pytest.approx(expected.item(), rel=1e-9)


def test_end_is_content_with_orthogonal_values_and_parallel_classes():
    eye = torch.eye(4, dtype=torch.float64)
    # Images of one value are orthogonal; images of one class with different values are parallel, whatever their length.
    features = torch.cat([eye, 3 * eye])
    target, bias = torch.arange(4).repeat(2), torch.tensor([0] * 4 + [1] * 4)
    disentangle, entangle = end_terms(features, target, bias, num_bias=3)
    assert (disentangle.item(), entangle.item()) == pytest.approx((0.0, 0.0), abs=1e-12)
    disentangle, entangle = end_terms(torch.ones(8, 4), target, bias, num_bias=3)
    assert (disentangle.item(), entangle.item()) == pytest.approx((1.0, 0.0))
    opposite = torch.cat([eye, -eye])
    assert end_terms(opposite, target, bias, num_bias=3)[1].item() == pytest.approx(1.0)


def test_end_does_not_depend_on_the_order_of_the_batch(toy, make):
    method = make(EnD, toy, BIAS, norm=False)
    index = torch.arange(17)
    assert total(method.loss(toy.batch(index))).item() == pytest.approx(
        total(method.loss(toy.batch(index.flip(0)))).item()
    )


@pytest.mark.parametrize("method_class", [EnD, PGI])
def test_a_single_image_and_a_batch_without_pairs_leave_cross_entropy(method_class, toy, make):
    method = make(method_class, toy, BIAS, norm=False)
    batch = toy.batch(torch.tensor([5]))
    loss = total(method.loss(batch))
    assert loss.item() == pytest.approx(F.cross_entropy(method(batch.images), batch.target).item())
    gradients = torch.autograd.grad(loss, list(method.parameters()))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_pgi_is_its_sum_over_classes_and_pairs_of_environments(toy, make):
    method = make(PGI, toy, BIAS, norm=False, ramp_epochs=0)
    batch = toy.batch(torch.arange(17))
    logits = method(batch.images)
    p, losses = logits.softmax(dim=1), F.cross_entropy(logits, batch.target, reduction="none")
    risk = torch.stack([losses[batch.bias == e].mean() for e in range(3)]).mean()
    of_classes = []
    for y in range(3):
        means = [p[(batch.target == y) & (batch.bias == e)] for e in range(3)]
        means = [each.mean(dim=0) for each in means if len(each)]
        pairs = [(q * (q / q0).log()).mean() for q0, q in itertools.combinations(means, 2)]
        of_classes.append(sum(pairs) / len(pairs) if pairs else torch.zeros(()))
    expected = risk + 50 * sum(of_classes) / 3
    assert len({len(set(batch.bias[batch.target == y].tolist())) for y in range(3)}) >= 1
    assert total(method.loss(batch)).item() == pytest.approx(expected.item(), rel=1e-9)


def test_pgi_takes_the_divergence_from_the_first_to_the_second_group():
    first, second = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.1, 0.3, 0.6])
    predictions, present = torch.stack([first, second])[None].repeat(2, 1, 1), torch.ones(2, 2, dtype=torch.bool)
    expected = F.kl_div(first.log(), second, reduction="sum") / 3
    assert group_divergence(predictions, present).item() == pytest.approx(expected.item())
    present[1, 0] = False  # a class in one environment alone adds nothing
    assert group_divergence(predictions, present).item() == pytest.approx(expected.item() / 2)


def test_pgi_asks_nothing_of_equal_predictions():
    predictions = normal(4, 1, 4).softmax(dim=2).expand(4, 3, 4)
    assert group_divergence(predictions, torch.ones(4, 3, dtype=torch.bool)).item() == pytest.approx(0, abs=1e-12)


def test_pgis_weight_grows_linearly_over_the_ramp(toy, make):
    method = make(PGI, toy, BIAS, weight=10.0, ramp_epochs=5)
    weights = []
    for progress in (Progress("train", 0, 9, 0, 4), Progress("train", 2, 9, 1, 4), Progress("train", 4, 9, 3, 4)):
        method.progress = progress
        weights.append(method.divergence_weight())
    assert weights == pytest.approx([10 / 20, 10 * 10 / 20, 10.0])
