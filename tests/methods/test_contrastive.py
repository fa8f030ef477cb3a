"""Contrastive methods: the loss of pairs against definitions, and what is left where there are none."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ncbench import Batch, Supervision
from ncbench.contracts.method import Stage
from ncbench.contracts.task import Progress
from ncbench_methods.contrastive.bias_contrastive import BiasContrastive
from ncbench_methods.contrastive.pairs import capped, masked_supcon
from ncbench_methods.contrastive.softcon import SoftCon
from ncbench_methods.imbalance.bias_balance import BiasBalance

BIAS = Supervision(train="bias")


def drawn(number: int = 8, dim: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(number, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def supcon_by_hand(features, mask, tau):
    unit = [row / row.norm() for row in features]
    losses = []
    for i, anchor in enumerate(unit):
        total = sum(torch.exp(anchor @ other / tau) for k, other in enumerate(unit) if k != i)
        pairs = [(mask[i][j], anchor @ unit[j] / tau - total.log()) for j in range(len(unit)) if j != i]
        weight = sum(m for m, _ in pairs)
        losses.append(-sum(m * log_p for m, log_p in pairs) / weight if weight else anchor.new_zeros(()))
    return torch.stack(losses).mean()


@given(st.integers(2, 9), st.integers(0, 50), st.floats(0.05, 2))
@settings(deadline=None, max_examples=20)
def test_the_loss_is_its_definition_pair_by_pair(number, seed, tau):
    features = drawn(number, seed=seed)
    mask = torch.rand(number, number, generator=torch.Generator().manual_seed(seed)).double().round(decimals=1)
    mask[0] = 0  # an anchor without pairs counts in the mean
    torch.testing.assert_close(masked_supcon(features, mask, tau), supcon_by_hand(features, mask.tolist(), tau))


def test_one_view_with_pairs_of_a_class_is_supcon():
    features, target = drawn(9), torch.tensor([0, 0, 1, 1, 1, 2, 2, 0, 3])
    same = target[:, None] == target
    logits = F.normalize(features, dim=1) @ F.normalize(features, dim=1).T / 0.5
    logits.fill_diagonal_(-torch.inf)
    log_p = logits.log_softmax(dim=1)
    expected = []
    for i in range(9):
        positives = [j for j in range(9) if j != i and target[j] == target[i]]
        expected.append(-log_p[i, positives].mean() if positives else torch.zeros(()).double())
    torch.testing.assert_close(masked_supcon(features, same, 0.5), torch.stack(expected).mean())


def test_two_views_without_labels_are_simclr():
    first, second = drawn(6), drawn(6, seed=1)
    views = torch.cat([first, second])
    mask = torch.eye(6).repeat(2, 2)
    logits = F.normalize(views, dim=1) @ F.normalize(views, dim=1).T / 0.2
    logits.fill_diagonal_(-torch.inf)
    other = torch.cat([torch.arange(6, 12), torch.arange(6)])
    torch.testing.assert_close(masked_supcon(views, mask, 0.2), F.cross_entropy(logits, other))


@pytest.mark.parametrize("number", [1, 2])
def test_without_pairs_it_is_0_and_so_is_its_gradient(number):
    features = drawn(number).requires_grad_()
    loss = masked_supcon(features, torch.zeros(number, number), 0.07)
    loss.backward()
    assert loss == 0
    assert not features.grad.any()


def test_weights_are_cut_off_at_a_multiple_of_the_smallest():
    assert capped(torch.tensor([2.0, 3.0, 50.0]), 10.0).tolist() == [2, 3, 20]
    assert capped(torch.tensor([0.0, 3.0]), 10.0).tolist() == [1, 1]


def with_views(toy, index=None, bias=True):
    """Return a batch of two views, the second one a little different."""
    batch = toy.batch(index, bias=bias)
    views = torch.stack([batch.images, batch.images + 0.1])
    return Batch(batch.images, batch.target, batch.index, batch._bias, batch._withheld, views)


@pytest.fixture
def started(make):
    def build(method_class, toy, **values):
        declared = BIAS if method_class is BiasContrastive else Supervision()
        method = make(method_class, toy, declared, norm=False, **values)
        method.progress = Progress("train", 0, 1)
        method.start_stage(Stage("train", 1), toy.split("train"), None)
        return method.double().train()

    return build


def test_bias_contrastive_is_its_definition(toy, started):
    method = started(BiasContrastive, toy, ce_weight=0.3, temperature=0.5)
    batch = with_views(toy)
    terms = method.loss(batch)
    images = torch.cat([toy.images, toy.images + 0.1])
    target, bias = toy.target.repeat(2), toy.bias.repeat(2)
    mask = (target[:, None] == target) & (bias[:, None] != bias)
    torch.testing.assert_close(terms["contrast"], supcon_by_hand(method.features(images), mask.long().tolist(), 0.5))
    counts = method.task.group_counts.double()
    share = (counts / counts.sum(dim=1, keepdim=True))[toy.target, toy.bias]
    weight = (1 / share).clamp_max(10 * (1 / share).min())
    losses = F.cross_entropy(method(images), target, reduction="none")
    expected = 0.3 * (losses * (weight.mean() / weight).repeat(2)).mean()
    torch.testing.assert_close(terms["cross_entropy"], expected, rtol=1e-6, atol=0)


def test_draws_follow_the_weights_and_their_inverse_keeps_the_mean_cross_entropy(toy_of, started):
    toy = toy_of(num_images=40, num_bias=2)
    toy.bias[:] = (torch.arange(40) < 6).long()
    method = started(BiasContrastive, toy, ce_weight=1.0)
    split, generator = toy.split("train"), torch.Generator().manual_seed(0)
    orders = torch.cat([method.order(split, generator) for _ in range(400)])
    frequency = torch.bincount(orders, minlength=40) / len(orders)
    expected = method.draw_weight / method.draw_weight.sum()
    assert frequency.tolist() == pytest.approx(expected.tolist(), abs=0.005)
    weighted = method.loss(with_views(toy, orders[:4000]))["cross_entropy"]
    plain = F.cross_entropy(method(torch.cat([toy.images, toy.images + 0.1])), toy.target.repeat(2))
    assert weighted.item() == pytest.approx(plain.item(), rel=0.05)


def test_bias_contrastive_with_one_value_is_weighted_cross_entropy(toy, started):
    toy.bias[:] = 1
    method = started(BiasContrastive, toy, ce_weight=0.2)
    terms = method.loss(with_views(toy))
    images = torch.cat([toy.images, toy.images + 0.1])
    assert terms["contrast"] == 0
    torch.testing.assert_close(terms["cross_entropy"], 0.2 * F.cross_entropy(method(images), toy.target.repeat(2)))
    order = method.order(toy.split("train"), torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(24))


def test_balanced_cross_entropy_is_bias_balances(toy, started, make):
    method = started(BiasContrastive, toy, balanced=True, ratio=1.0, ce_weight=1.0)
    batch = toy.batch()
    plain = make(BiasBalance, toy, BIAS, norm=False)
    method.draw_weight.fill_(1)
    torch.testing.assert_close(method.loss(batch)["cross_entropy"], plain.loss(batch))


def test_softcon_weighs_pairs_by_what_the_biased_network_tells_apart(toy, started):
    method = started(SoftCon, toy, temperature=0.5)
    g = F.normalize(method.biased.eval()[0](toy.images), dim=1).detach()
    torch.testing.assert_close(F.normalize(method.bias_features, dim=1), g, atol=1e-6, rtol=1e-6)
    mask = ((1 - g @ g.T) * (toy.target[:, None] == toy.target)).repeat(2, 2)
    images = torch.cat([toy.images, toy.images + 0.1])
    found = method.loss(with_views(toy, bias=False))["contrast"]
    by_hand = supcon_by_hand(method.features(images), mask.clamp_min(0).tolist(), 0.5)
    torch.testing.assert_close(found, by_hand, rtol=1e-5, atol=1e-6)
    weight = torch.stack([(1 - g[i] @ g[toy.target == toy.target[i]].T).sum() for i in range(24)])
    expected = weight.clamp_max(10 * weight.min())
    torch.testing.assert_close(method.draw_weight, expected, rtol=1e-3, atol=1e-4)


def test_softcon_with_a_biased_network_that_tells_nothing_apart_is_cross_entropy(toy, started):
    method = started(SoftCon, toy, ce_weight=0.2)
    method.bias_features.fill_(1)
    method.draw_weight.fill_(1)
    terms = method.loss(with_views(toy, bias=False))
    assert terms["contrast"].item() == pytest.approx(0, abs=1e-6)
    images = torch.cat([toy.images, toy.images + 0.1])
    torch.testing.assert_close(terms["cross_entropy"], 0.2 * F.cross_entropy(method(images), toy.target.repeat(2)))


def test_softcon_trains_one_network_in_each_stage(toy, make):
    method = make(SoftCon, toy, bias_epochs=3, norm=False)
    assert method.stages(7) == [Stage("bias", 3), Stage("train", 7)]
    trained = []
    for stage in ("bias", "train"):
        method.progress = Progress(stage, 0, 1)
        method.zero_grad()
        sum(method.train().loss(with_views(toy, bias=False)).values()).backward()
        with_gradient = {id(p) for p in method.parameters() if p.grad is not None}
        assert with_gradient == {id(p) for group in method.parameter_groups() for p in group["params"]}
        trained.append(with_gradient)
    assert not trained[0] & trained[1]
    assert not method.biased.training
