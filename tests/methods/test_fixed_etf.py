"""The fixed simplex ETF: its geometry, both losses and their gradients, and the long-tail variant."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ncbench_methods.frames.fixed_etf import FixedETF


@pytest.mark.parametrize(("num_classes", "feature_dim", "dim"), [(3, 7, 7), (8, 7, 7), (9, 7, 9), (12, 7, 12)])
def test_the_classifier_is_a_frozen_simplex_etf_of_unit_rows(toy_of, make, num_classes, feature_dim, dim):
    toy = toy_of(num_images=2 * num_classes, num_classes=num_classes)
    method = make(FixedETF, toy, feature_dim=feature_dim, scale=5.0)
    assert method.etf.shape == (num_classes, dim)
    expected = torch.full((num_classes, num_classes), -1 / (num_classes - 1)).double().fill_diagonal_(1)
    torch.testing.assert_close(method.etf @ method.etf.T, expected, atol=1e-6, rtol=0)
    assert not any(parameter is method.etf for parameter in method.parameters())
    weight, bias = method.classifier_parameters()
    assert bias is None
    torch.testing.assert_close(weight, 5 * method.etf)
    features = method.features(toy.images)
    assert features.shape == (len(toy.target), dim)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(len(features)).double())
    torch.testing.assert_close(method.classify(features), features @ weight.T)


def test_ce_is_cross_entropy_of_the_scaled_cosines(toy, make):
    method = make(FixedETF, toy, scale=3.0)
    batch = toy.batch(bias=False)
    cosines = F.cosine_similarity(method.features(batch.images)[:, None], method.etf[None], dim=2)
    expected = F.cross_entropy(3 * cosines, batch.target)
    torch.testing.assert_close(method.loss(batch), expected, rtol=1e-6, atol=0)


def test_dot_regression_is_its_definition_and_only_pulls(toy, make):
    method = make(FixedETF, toy, loss="dot_regression")
    batch = toy.batch(bias=False)
    h = method.features(batch.images).detach().requires_grad_()
    method.features = lambda images: h
    loss = method.loss(batch)
    m_y = method.etf[batch.target]
    cos = (m_y * h.detach()).sum(1)
    expected = 0.5 * ((cos - 1) ** 2 / h.detach().norm(dim=1)).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    # Yang et al.: for unit h and m the gradient is -(1 - cos) m_y / B, along m_y and no other class's vector.
    (gradient,) = torch.autograd.grad(loss, h)
    torch.testing.assert_close(gradient, -(1 - cos)[:, None] * m_y / len(batch), rtol=1e-5, atol=1e-9)


def test_long_tail_lengthens_rare_classes_and_gives_every_class_the_same_total_pull(toy, make):
    method = make(FixedETF, toy, loss="dot_regression", long_tail=True)
    index = torch.tensor([0, 3, 6, 9, 12, 15, 1, 4])  # six images of class 0, two of class 1, none of class 2
    batch = toy.batch(index, bias=False)
    h = method.features(batch.images).detach().requires_grad_()
    method.features = lambda images: h
    cos = (method.etf[batch.target] * h.detach()).sum(1)
    even = 8 / 2
    weight = torch.tensor([even / 6] * 6 + [even / 2] * 2).double()
    loss = method.loss(batch)
    assert loss.item() == pytest.approx((0.5 * (weight * (cos - 1) ** 2).mean()).item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, h)
    pull = gradient.norm(dim=1) / (1 - cos)
    assert pull[:6].sum().item() == pytest.approx(pull[6:].sum().item(), rel=1e-5)


def test_long_tail_in_cross_entropy_scales_the_logits_of_the_batch(toy, make):
    method = make(FixedETF, toy, long_tail=True, scale=2.0)
    batch = toy.batch(torch.tensor([0, 3, 6, 9, 12, 15, 1, 4]), bias=False)
    lengths = torch.tensor([(4 / 6) ** 0.5, (4 / 2) ** 0.5, 1.0]).double()
    logits = 2 * lengths * (method.features(batch.images) @ method.etf.T)
    torch.testing.assert_close(method.loss(batch), F.cross_entropy(logits, batch.target), rtol=1e-6, atol=0)


def test_evaluation_uses_the_plain_frame(toy, make):
    plain, long_tail = make(FixedETF, toy), make(FixedETF, toy, long_tail=True)
    long_tail.loss(toy.batch(torch.tensor([0, 3, 1]), bias=False))
    long_tail.load_state_dict(plain.state_dict())
    torch.testing.assert_close(long_tail.eval()(toy.images), plain.eval()(toy.images), rtol=0, atol=0)


def test_a_batch_of_one_image_trains_on_the_running_statistics(toy, make):
    method = make(FixedETF, toy, norm=False)
    method(toy.images)
    statistics = method.norm.running_mean.clone()
    one = toy.batch(torch.tensor([2]), bias=False)
    method.loss(one).backward()
    assert torch.equal(method.norm.running_mean, statistics)
    trained = method.features(one.images)
    torch.testing.assert_close(trained, method.eval().features(one.images))


def test_the_frame_depends_on_the_seed_alone(toy, make):
    frames = {}
    for seed, global_seed in ((0, 1), (0, 2), (1, 1)):
        method = make(FixedETF, toy, seed=seed, global_seed=global_seed)  # torch's own generator must not matter
        frames.setdefault(seed, []).append(method.etf)
    assert torch.equal(*frames[0])
    assert not torch.equal(frames[0][0], frames[1][0])
