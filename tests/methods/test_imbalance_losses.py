"""The losses for imbalanced classes: each against its formula written out, and against its limits."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ncbench import Supervision, Task
from ncbench.contracts.task import Progress
from ncbench_methods.imbalance.balanced_softmax import BalancedSoftmax
from ncbench_methods.imbalance.cb_loss import CBLoss
from ncbench_methods.imbalance.class_counts import effective_number_weights, log_prior
from ncbench_methods.imbalance.focal import Focal, focal_loss
from ncbench_methods.imbalance.ldam import LDAM
from ncbench_methods.imbalance.logit_adjustment import LogitAdjustment
from ncbench_methods.imbalance.vs_loss import VSLoss

COUNTS = [30, 10, 2]


@pytest.fixture
def uneven(toy_of):
    """42 images: 30, 10 and 2 of the three classes."""
    toy = toy_of(num_images=sum(COUNTS))
    toy.target[:] = torch.tensor([0] * 30 + [1] * 10 + [2] * 2)
    return toy


def task_of(counts):
    return Task.of(
        {"train": (torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)), None)},
        class_names=[str(k) for k in range(len(counts))],
        bias_names=[],
        input_shape=(1, 1, 1),
        hierarchy=None,
        seed=0,
        supervision=Supervision(),
    )


def by_hand(logits, target, factor, offset):
    """-log of the softmax of factor * f + offset, image by image, with nothing but exponentials."""
    losses = []
    for row, y in zip(logits.tolist(), target.tolist(), strict=True):
        exponentials = [math.exp(d * f + i) for f, d, i in zip(row, factor, offset, strict=True)]
        losses.append(-math.log(exponentials[y] / sum(exponentials)))
    return sum(losses) / len(losses)


ONES, ZEROS = [1.0] * 3, [0.0] * 3
PRIOR = [math.log(n / 42) for n in COUNTS]


@pytest.mark.parametrize("tau", [0.0, 1.0, 1.7])
def test_logit_adjustment_is_its_definition(uneven, make, tau):
    method = make(LogitAdjustment, uneven, tau=tau)
    batch = uneven.batch(bias=False)
    expected = by_hand(method(batch.images), batch.target, ONES, [tau * p for p in PRIOR])
    assert method.loss(batch).item() == pytest.approx(expected, rel=1e-6)


def test_balanced_softmax_weighs_each_exponential_by_its_count(uneven, make):
    method = make(BalancedSoftmax, uneven)
    batch = uneven.batch(bias=False)
    logits = method(batch.images)
    weighed = torch.tensor(COUNTS) * logits.exp()
    expected = -(weighed[torch.arange(42), batch.target] / weighed.sum(1)).log().mean()
    assert method.loss(batch).item() == pytest.approx(expected.item(), rel=1e-6)


def test_logit_adjustment_at_tau_1_is_balanced_softmax_in_loss_and_gradient(uneven, make):
    first, second = make(LogitAdjustment, uneven), make(BalancedSoftmax, uneven)
    batch = uneven.batch(bias=False)
    ours, theirs = first.loss(batch), second.loss(batch)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    got = torch.autograd.grad(ours, list(first.parameters()))
    expected = torch.autograd.grad(theirs, list(second.parameters()))
    for g, e in zip(got, expected, strict=True):
        torch.testing.assert_close(g, e, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("gamma", "tau"), [(0.3, 1.0), (0.15, 1.25), (0.0, 0.0)])
def test_vs_loss_is_its_definition(uneven, make, gamma, tau):
    method = make(VSLoss, uneven, gamma=gamma, tau=tau)
    batch = uneven.batch(bias=False)
    factor = [(n / 30) ** gamma for n in COUNTS]
    expected = by_hand(method(batch.images), batch.target, factor, [tau * p for p in PRIOR])
    assert method.loss(batch).item() == pytest.approx(expected, rel=1e-6)


def test_vs_loss_without_factors_is_logit_adjustment_and_without_offsets_cdt(uneven, make):
    batch = uneven.batch(bias=False)
    adjusted = make(LogitAdjustment, uneven, tau=1.3)
    assert make(VSLoss, uneven, gamma=0, tau=1.3).loss(batch).item() == adjusted.loss(batch).item()
    cdt = make(VSLoss, uneven, gamma=0.4, tau=0)
    temperature = [(30 / n) ** 0.4 for n in COUNTS]  # CDT divides logits by (n_max / n_c)^gamma
    expected = by_hand(cdt(batch.images), batch.target, [1 / t for t in temperature], ZEROS)
    assert cdt.loss(batch).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("method_class", [LogitAdjustment, BalancedSoftmax, VSLoss])
def test_predictions_use_the_plain_logits(uneven, make, method_class):
    method = make(method_class, uneven).eval()
    plain = method.classifier(method.backbone(uneven.images))
    assert torch.equal(method(uneven.images), plain)


@pytest.mark.parametrize("method_class", [LogitAdjustment, BalancedSoftmax, VSLoss, CBLoss])
def test_equal_counts_give_cross_entropy(toy, make, method_class):
    method = make(method_class, toy)
    batch = toy.batch(bias=False)
    expected = F.cross_entropy(method(batch.images), batch.target)
    assert method.loss(batch).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("method_class", [LogitAdjustment, BalancedSoftmax, VSLoss, CBLoss, LDAM, Focal])
def test_a_class_without_training_images_leaves_loss_and_gradient_finite(uneven, make, method_class):
    uneven.target[uneven.target == 2] = 1
    method = make(method_class, uneven)
    loss = method.loss(uneven.batch(bias=False))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)
    assert all(torch.isfinite(value).all() for value in method.state_dict().values())


def test_the_prior_is_the_share_of_the_training_images():
    torch.testing.assert_close(log_prior(task_of(COUNTS)).exp(), torch.tensor(COUNTS).double() / 42)


def test_cb_weights_by_hand(uneven, make):
    method = make(CBLoss, uneven, beta=0.9)
    # Effective numbers of 30, 10 and 2 images, as the sums 1 + beta + beta^2 + ...
    effective = [sum(0.9**i for i in range(n)) for n in COUNTS]
    scale = 3 / sum(1 / e for e in effective)
    weight = [scale / e for e in effective]
    assert method.class_weight.tolist() == pytest.approx(weight, rel=1e-6)
    batch = uneven.batch(torch.tensor([0, 1, 2, 33, 41]), bias=False)
    losses = F.cross_entropy(method(batch.images), batch.target, reduction="none").tolist()
    expected = sum(weight[y] * loss for y, loss in zip([0, 0, 0, 1, 2], losses, strict=True)) / 5
    assert make(CBLoss, uneven, beta=0.9).loss(batch).item() == pytest.approx(expected, rel=1e-6)


@given(
    counts=st.lists(st.integers(0, 10**7), min_size=2, max_size=6).filter(any),
    beta=st.sampled_from([0.0, 0.5, 0.99, 0.9999, 1 - 1e-9]),
)
def test_effective_number_weights_against_exact_arithmetic(counts, beta):
    weight = effective_number_weights(task_of(counts), beta)
    # 1 - beta^n through log1p, which is exact in float64 for the betas used here
    inverse = [-1 / math.expm1(n * math.log1p(beta - 1)) if beta and n else float(n > 0) for n in counts]
    scale = sum(n > 0 for n in counts) / sum(inverse)
    assert weight.tolist() == pytest.approx([scale * w for w in inverse], rel=1e-9)


def test_effective_number_weights_at_their_limits():
    torch.testing.assert_close(effective_number_weights(task_of(COUNTS), 0.0), torch.ones(3).double())
    inverse = 1 / torch.tensor(COUNTS).double()
    nearly = effective_number_weights(task_of(COUNTS), 1 - 1e-12)
    torch.testing.assert_close(nearly, 3 * inverse / inverse.sum(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_is_its_definition_in_loss_and_gradient(gamma):
    logits = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    target = torch.tensor([0, 1, 2, 3, 0, 1])
    p = logits.softmax(1)[torch.arange(6), target]
    expected = -((1 - p) ** gamma) * p.log()
    got = focal_loss(logits, target, gamma)
    torch.testing.assert_close(got, expected)
    (ours,) = torch.autograd.grad(got.sum(), logits, retain_graph=True)
    (theirs,) = torch.autograd.grad(expected.sum(), logits)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_loss_of_an_image_that_is_certain_has_a_finite_gradient(gamma):
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0, 0]), gamma)
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([0.0, 200.0])
    assert torch.isfinite(logits.grad).all()


def test_focal_takes_the_mean(toy, make):
    method = make(Focal, toy, gamma=1.5)
    batch = toy.batch(bias=False)
    assert method.loss(batch).item() == pytest.approx(
        focal_loss(method(batch.images), batch.target, 1.5).mean().item(), rel=1e-9
    )


def test_ldam_margins_by_hand(toy_of, make):
    toy = toy_of(num_images=97 + 1 + 16)
    toy.target[:] = torch.tensor([0] * 81 + [1] * 1 + [2] * 32)
    toy.target[82:98] = 0  # 97, 1 and 16 images
    method = make(LDAM, toy, max_margin=0.6)
    assert method.margin.tolist() == pytest.approx([0.6 / 97**0.25, 0.6, 0.3], rel=1e-6)


def test_ldam_takes_the_margin_from_the_own_classs_cosine(uneven, make):
    method = make(LDAM, uneven, scale=5.0, norm=False)
    batch = uneven.batch(torch.tensor([0, 5, 31, 40, 41]), bias=False)
    h = method.backbone(batch.images)
    cosines = F.cosine_similarity(h[:, None], method.classifier.weight[None], dim=2)
    margins = [0.5 * (2 / n) ** 0.25 for n in COUNTS]
    shifted = cosines.clone()
    for position, y in enumerate(batch.target.tolist()):
        shifted[position, y] -= margins[y]
    expected = by_hand(shifted, batch.target, [5.0] * 3, ZEROS)
    assert method.loss(batch).item() == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(method(batch.images), 5 * cosines)  # no margin in predictions
    assert method.classifier_parameters()[1] is None


def test_ldams_weights_start_at_length_1(uneven, make):
    assert make(LDAM, uneven).classifier.weight.norm(dim=1).tolist() == pytest.approx([1.0] * 3, abs=1e-6)


def test_ldam_without_margins_is_normalised_softmax(uneven, make):
    method = make(LDAM, uneven, max_margin=0)
    batch = uneven.batch(bias=False)
    assert method.loss(batch).item() == pytest.approx(F.cross_entropy(method(batch.images), batch.target).item())


@pytest.mark.parametrize(("epochs", "deferred", "lengths"), [(200, 0.2, [160, 40]), (200, 0.0, [200]), (1, 0.9, [1])])
def test_ldam_defers_the_reweighting_to_the_last_epochs(uneven, make, epochs, deferred, lengths):
    method = make(LDAM, uneven, deferred=deferred)
    assert [stage.epochs for stage in method.stages(epochs)] == lengths


def test_ldams_second_stage_weights_classes_and_goes_on_with_the_optimizer(uneven, make):
    method = make(LDAM, uneven, deferred=0.5, beta=0.9, norm=False)
    batch = uneven.batch(bias=False)
    first, second = method.stages(2)
    assert (first.continues, second.continues) == (False, True)
    method.progress = Progress(first.name, 0, first.epochs)
    assert [group["lr_scale"] for group in method.parameter_groups()] == [1.0]
    target = batch.target
    margin = method.params.scale * method.margin[target][:, None] * F.one_hot(target, 3)
    losses = F.cross_entropy(method(batch.images) - margin, target, reduction="none")
    assert method.loss(batch).item() == pytest.approx(losses.mean().item(), rel=1e-9)

    method.progress = Progress(second.name, 0, second.epochs)
    weight = effective_number_weights(task_of(COUNTS), 0.9)
    torch.testing.assert_close(method.class_weight, weight)
    expected = (weight[target] * losses).sum() / weight[target].sum()
    assert method.loss(batch).item() == pytest.approx(expected.item(), rel=1e-9)
    assert [group["lr_scale"] for group in method.parameter_groups()] == [0.01]
