"""reweight, its square root and resample, by group and by class, against weights counted by hand."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F

from ncbench import ConfigurationError, Supervision, SupervisionError
from ncbench_methods.balancing.cells import cell_weights
from ncbench_methods.balancing.resample import Resample
from ncbench_methods.balancing.reweight import Reweight, SqrtReweight
from ncbench_methods.balancing.subsample import Subsample

BIAS = Supervision(train="bias")
METHODS = pytest.mark.parametrize("method_class", [Reweight, SqrtReweight, Resample, Subsample])


@pytest.fixture
def uneven(toy_of):
    """Cells of 40, 10, 0 (y = 0) and 0, 5, 5 (y = 1) images."""
    toy = toy_of(num_images=60, num_classes=2, num_bias=3)
    toy.target[:], toy.bias[:] = 0, 0
    toy.bias[40:50] = 1
    toy.target[50:] = 1
    toy.bias[50:] = torch.tensor([1, 2] * 5)
    return toy


def cells(toy, by):
    return list(zip(toy.target.tolist(), toy.bias.tolist(), strict=True)) if by == "group" else toy.target.tolist()


@pytest.mark.parametrize("by", ["group", "class"])
def test_reweight_gives_every_cell_the_same_total_weight(uneven, make, by):
    method = make(Reweight, uneven, BIAS, by=by, norm=False)
    batch = uneven.batch(torch.arange(0, 60, 3), bias=by == "group")
    of_image = cells(uneven, by)
    counts = Counter(of_image)
    weight = torch.tensor([60 / (len(counts) * counts[of_image[i]]) for i in batch.index.tolist()]).double()
    losses = F.cross_entropy(method(batch.images), batch.target, reduction="none")
    assert method.loss(batch).item() == pytest.approx((weight * losses).mean().item(), rel=1e-6)
    # Over the whole training set the weights have mean 1.
    total = sum(60 / (len(counts) * counts[cell]) for cell in of_image)
    assert total == pytest.approx(60)


@pytest.mark.parametrize("by", ["group", "class"])
def test_resample_draws_every_cell_equally_often_and_its_images_too(uneven, make, by):
    method = make(Resample, uneven, BIAS, by=by)
    split = uneven.split(bias=by == "group")
    draws = [method.order(split, torch.Generator().manual_seed(seed)) for seed in range(400)]
    assert all(len(draw) == 60 for draw in draws)
    of_image = cells(uneven, by)
    counts = Counter(of_image)
    share = torch.bincount(torch.cat(draws), minlength=60) / (400 * 60)
    expected = [1 / (len(counts) * counts[cell]) for cell in of_image]
    # 24,000 draws: the standard error of a share s is sqrt(s / 24000), 0.0015 for the largest, 0.05.
    assert share.tolist() == pytest.approx(expected, abs=0.007)


@pytest.mark.parametrize(
    ("power", "share_of_group"),
    [
        (1, {(0, 0): 1 / 4, (0, 1): 1 / 4, (1, 1): 1 / 4, (1, 2): 1 / 4}),
        (2, {(0, 0): 1 / 10, (0, 1): 4 / 10, (1, 1): 1 / 4, (1, 2): 1 / 4}),
        (0, {(0, 0): 4 / 10, (0, 1): 1 / 10, (1, 1): 1 / 4, (1, 2): 1 / 4}),
    ],
)
def test_resample_draws_classes_equally_often_and_groups_by_a_power_of_their_counts(
    uneven, make, power, share_of_group
):
    """1 / n_c^power of each image, scaled in each class: 1 is equal groups of equal classes, 0 equal classes."""
    method, split = make(Resample, uneven, BIAS, power=power, equal_classes=True), uneven.split(bias=True)
    drawn = torch.cat([method.order(split, torch.Generator().manual_seed(seed)) for seed in range(400)])
    of_image = cells(uneven, "group")
    counts = Counter(of_image[i] for i in drawn.tolist())
    for group, share in share_of_group.items():
        assert counts[group] / len(drawn) == pytest.approx(share, abs=0.015), group


def test_resample_to_the_power_0_of_equal_classes_is_resample_by_class(uneven, make):
    by_class = make(Resample, uneven, BIAS, by="class").order(uneven.split(), torch.Generator().manual_seed(1))
    method = make(Resample, uneven, BIAS, power=0, equal_classes=True)
    assert torch.equal(method.order(uneven.split(bias=True), torch.Generator().manual_seed(1)), by_class)


def test_equal_classes_give_a_group_that_is_alone_in_its_class_half_of_the_draws(toy_of, make):
    toy = toy_of(num_images=60, num_classes=2, num_bias=2)
    toy.target[:], toy.bias[:] = 0, 0
    toy.bias[20:30] = 1
    toy.target[30:] = 1
    for equal_classes, share in ((True, 1 / 2), (False, 1 / 3)):
        method, split = make(Resample, toy, BIAS, equal_classes=equal_classes), toy.split(bias=True)
        drawn = torch.cat([method.order(split, torch.Generator().manual_seed(seed)) for seed in range(200)])
        assert toy.target[drawn].double().mean().item() == pytest.approx(share, abs=0.02)


def test_resample_minimises_plain_cross_entropy(uneven, make):
    method = make(Resample, uneven, BIAS, norm=False)
    batch = uneven.batch(bias=False)
    assert torch.equal(method.loss(batch), F.cross_entropy(method(batch.images), batch.target))


@METHODS
def test_by_class_needs_and_declares_no_bias_labels(toy, make, method_class):
    params = method_class.Parameters.build({"by": "class"}, owner="it")
    assert method_class.supervision(params, BIAS) == Supervision()
    method = make(method_class, toy, BIAS, by="class", bias_known=False)
    method.loss(toy.batch(bias=False))
    method.order(toy.split(bias=False), torch.Generator())


@METHODS
def test_by_group_declares_them_and_refuses_to_do_without(toy, make, method_class):
    assert method_class.supervision(method_class.Parameters(), BIAS) == BIAS
    with pytest.raises(ConfigurationError, match="by=class"):
        make(method_class, toy, BIAS, bias_known=False)


def test_by_group_reads_the_bias_it_declared(toy, make):
    with pytest.raises(SupervisionError):
        make(Reweight, toy, BIAS).loss(toy.batch(bias=False))
    with pytest.raises(SupervisionError):
        make(Resample, toy, BIAS).order(toy.split(bias=False), torch.Generator())


@pytest.mark.parametrize("counts", [[3, 1], [1, 60_000], [59_983, 17, 0, 5], [7] * 10])
def test_the_weights_of_equal_cells_are_those_they_have_always_been(toy_of, counts):
    toy = toy_of(num_images=sum(counts), num_classes=len(counts))
    toy.target[:] = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    of = torch.tensor(counts)
    former = torch.where(of > 0, of.sum() / ((of > 0).sum() * of.clamp_min(1)), 0.0)
    assert torch.equal(cell_weights(toy.task(Supervision()), "class"), former)


def test_the_square_root_weighs_by_it_with_mean_1(uneven, make):
    method = make(SqrtReweight, uneven, BIAS)
    weight = method.cell_weight.reshape(2, 3)
    counts = uneven.task(BIAS).group_counts
    assert (weight * counts).sum().item() == pytest.approx(60)
    assert (weight[0, 0] / weight[0, 1]).item() == pytest.approx((10 / 40) ** 0.5)
    assert weight[1, 0] == 0
    assert torch.equal(weight.flatten(), make(Reweight, uneven, BIAS, power=0.5).cell_weight)


def test_a_power_of_0_is_erm_and_of_1_is_reweight(uneven, make):
    batch = uneven.batch()
    nothing = make(SqrtReweight, uneven, BIAS, power=0, norm=False)
    torch.testing.assert_close(nothing.loss(batch), F.cross_entropy(nothing(batch.images), batch.target))
    assert torch.equal(make(SqrtReweight, uneven, BIAS, power=1).cell_weight, make(Reweight, uneven, BIAS).cell_weight)


def test_to_independence_leaves_classes_as_frequent_as_they_are_and_untold_by_the_attribute(toy_of, make):
    toy = toy_of(num_images=100, num_classes=2, num_bias=2)
    toy.target[:] = torch.tensor([0] * 70 + [1] * 30)
    toy.bias[:] = torch.tensor([0] * 65 + [1] * 5 + [0] * 10 + [1] * 20)
    weight = make(Reweight, toy, BIAS, to="independence").cell_weight.reshape(2, 2)
    total = (weight * toy.task(BIAS).group_counts).double()
    torch.testing.assert_close(total.sum(1), torch.tensor([70.0, 30.0]).double())
    torch.testing.assert_close(total, total.sum(1, keepdim=True) * total.sum(0) / 100)
    # by hand: 70 * 75 / (100 * 65)
    assert weight[0, 0].item() == pytest.approx(70 * 75 / 6500)


def test_independent_data_are_left_alone(toy_of, make):
    toy = toy_of(num_images=60, num_classes=3, num_bias=2)
    toy.bias[:] = (torch.arange(60) // 3 % 5 == 0).long()
    assert torch.allclose(make(Reweight, toy, BIAS, to="independence").cell_weight, torch.ones(6).double())
    with pytest.raises(ConfigurationError, match="leave out by=class"):
        make(Reweight, toy, BIAS, to="independence", by="class")
