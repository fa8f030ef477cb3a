"""Group DRO's weights and loss against the update done by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from ncbench import ConfigurationError, Supervision, SupervisionError
from ncbench_methods.balancing.group_dro import GroupDRO

BIAS = Supervision(train="bias")


def by_hand(method, batches, counts, step_size, adjustment):
    """Algorithm 1 in plain Python: the weights after each batch and the losses."""
    exists = [n > 0 for n in counts]
    q = [e / sum(exists) for e in exists]
    history = []
    for batch in batches:
        with torch.no_grad():
            losses = F.cross_entropy(method(batch.images), batch.target, reduction="none").tolist()
        of_group = [[] for _ in counts]
        for y, a, loss in zip(batch.target.tolist(), batch.bias.tolist(), losses, strict=True):
            of_group[y * method.task.num_bias + a].append(loss)
        adjusted = [
            (sum(ls) / len(ls) if ls else 0.0) + (adjustment / math.sqrt(n) if n else 0.0)
            for ls, n in zip(of_group, counts, strict=True)
        ]
        q = [w * math.exp(step_size * v) for w, v in zip(q, adjusted, strict=True)]
        q = [w / sum(q) for w in q]
        history.append((q, sum(w * v for w, v in zip(q, adjusted, strict=True))))
    return history


@pytest.mark.parametrize(("step_size", "adjustment"), [(0.01, 0.0), (0.5, 2.0)])
def test_weights_and_loss_follow_algorithm_1(toy, make, step_size, adjustment):
    method = make(GroupDRO, toy, BIAS, step_size=step_size, adjustment=adjustment, norm=False)
    counts = torch.bincount(toy.target * 3 + toy.bias, minlength=9).tolist()
    batches = [toy.batch(torch.arange(0, 10)), toy.batch(torch.tensor([3])), toy.batch(torch.arange(10, 24))]
    for batch, (q, loss) in zip(batches, by_hand(method, batches, counts, step_size, adjustment), strict=True):
        assert method.loss(batch).item() == pytest.approx(loss, rel=1e-6)
        assert method.weights.tolist() == pytest.approx(q, rel=1e-6)


def test_the_gradient_treats_the_weights_as_constants(toy, make):
    method = make(GroupDRO, toy, BIAS, step_size=1.0, norm=False)
    batch = toy.batch()
    parameters = list(method.parameters())
    got = torch.autograd.grad(method.loss(batch), parameters)
    group = batch.target * 3 + batch.bias
    losses = F.cross_entropy(method(batch.images), batch.target, reduction="none")
    expected_loss = sum(method.weights[g] * losses[group == g].mean() for g in range(9) if bool((group == g).any()))
    for ours, theirs in zip(got, torch.autograd.grad(expected_loss, parameters), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def test_a_group_without_training_images_never_has_weight(toy_of, make):
    toy = toy_of(num_bias=3)
    toy.bias[toy.target == 2] = 0  # the cells (2, 1) and (2, 2) are empty
    method = make(GroupDRO, toy, BIAS, adjustment=3.0, norm=False)
    assert torch.isfinite(method.adjustment).all()
    for _ in range(10):
        assert torch.isfinite(method.loss(toy.batch()))
    assert method.weights[7:].tolist() == [0.0, 0.0]
    assert method.weights.sum().item() == pytest.approx(1)


def test_the_worst_group_gains_weight(toy, make):
    method = make(GroupDRO, toy, BIAS, step_size=0.5, norm=False)
    batch = toy.batch()
    group = batch.target * 3 + batch.bias
    losses = F.cross_entropy(method(batch.images), batch.target, reduction="none")
    means = [losses[group == g].mean().item() if bool((group == g).any()) else -1.0 for g in range(9)]
    for _ in range(40):
        method.loss(batch)
    assert method.weights.argmax().item() == max(range(9), key=means.__getitem__)


def test_groups_are_drawn_equally_often(toy_of, make):
    toy = toy_of(num_images=900, num_classes=3, num_bias=2)
    toy.bias[:] = 0
    toy.bias[:30] = 1  # ten images in each cell (y, 1), 290 in each (y, 0)
    method = make(GroupDRO, toy, BIAS)
    split = toy.split()
    drawn = torch.cat([method.order(split, torch.Generator().manual_seed(s)) for s in range(20)])
    assert len(drawn) == 20 * 900
    share = torch.bincount(toy.target[drawn] * 2 + toy.bias[drawn], minlength=6) / len(drawn)
    # Six cells, 18,000 draws: the standard error of a share of 1/6 is 0.0028.
    assert share.tolist() == pytest.approx([1 / 6] * 6, abs=0.014)


def test_sample_image_visits_each_image_once(toy, make):
    method = make(GroupDRO, toy, BIAS, sample="image")
    assert sorted(method.order(toy.split(), torch.Generator()).tolist()) == list(range(24))


def test_without_bias_labels_it_refuses_and_says_what_else_there_is(toy, make):
    with pytest.raises(ConfigurationError, match=r"group_dro needs the bias attribute.*lff or jtt"):
        make(GroupDRO, toy, BIAS, bias_known=False)


def test_it_cannot_be_built_without_declaring_the_bias(toy, make):
    with pytest.raises(SupervisionError):
        make(GroupDRO, toy, Supervision())


def test_the_weights_travel_with_the_state_dict(toy, make):
    method = make(GroupDRO, toy, BIAS, step_size=1.0)
    method.loss(toy.batch())
    twin = make(GroupDRO, toy, BIAS, step_size=1.0)
    twin.load_state_dict(copy.deepcopy(method.state_dict()))
    assert torch.equal(twin.weights, method.weights)
    assert len(set(twin.weights.tolist())) > 1
