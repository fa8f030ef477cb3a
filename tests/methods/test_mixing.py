"""mixup and lisa: what is mixed with what, and the loss of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ncbench import ConfigurationError, Supervision
from ncbench.contracts.task import Progress
from ncbench_methods.augmentation import lisa as lisa_module
from ncbench_methods.augmentation.lisa import LISA
from ncbench_methods.augmentation.mixing import cut_mix, draws_of_step, mix, mixed_cross_entropy
from ncbench_methods.augmentation.mixup import Mixup

BIAS = Supervision(train="bias")
ALL = torch.arange(24)


def draws(seed=0):
    return np.random.default_rng(seed)


def test_the_loss_is_the_cross_entropy_with_the_mixed_soft_label():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator).double()
    target, partner = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([3, 0, 2, 5, 1, 1])
    share = torch.rand(6, generator=generator).double()
    one_hot = F.one_hot(target, 4).double()
    soft = share[:, None] * one_hot + (1 - share[:, None]) * one_hot[partner]
    torch.testing.assert_close(mixed_cross_entropy(logits, target, partner, share), F.cross_entropy(logits, soft))


def test_images_are_mixed_in_their_shares(toy):
    share, partner = torch.linspace(0, 1, 24).double(), ALL.flip(0)
    mixed = mix(toy.images, partner, share)
    for i in range(24):
        torch.testing.assert_close(mixed[i], share[i] * toy.images[i] + (1 - share[i]) * toy.images[23 - i])
    vectors = toy.images.flatten(1)
    torch.testing.assert_close(mix(vectors, partner, share), mixed.flatten(1))


@pytest.mark.parametrize(("method_class", "declared"), [(Mixup, Supervision()), (LISA, BIAS)])
def test_an_image_mixed_with_none_of_another_is_erm(toy, make, monkeypatch, method_class, declared):
    method = make(method_class, toy, declared).eval()
    only_own = draws()
    monkeypatch.setattr(
        f"{method_class.__module__}.draws_of_step",
        lambda *_: type(
            "Own",
            (),
            {
                "beta": staticmethod(lambda a, b, size=None: 1.0 if size is None else np.ones(size)),
                "permutation": only_own.permutation,
                "random": only_own.random,
            },
        ),
    )
    plain = F.cross_entropy(method(toy.images), toy.target)
    torch.testing.assert_close(method.loss(toy.batch()), plain)


def test_mixup_mixes_a_batch_by_one_share(toy, make):
    method = make(Mixup, toy).eval()
    step = draws_of_step(method, "mixup")
    partner = torch.from_numpy(step.permutation(24))
    share = step.beta(0.2, 0.2)
    logits = method(share * toy.images + (1 - share) * toy.images[partner])
    expected = share * F.cross_entropy(logits, toy.target) + (1 - share) * F.cross_entropy(logits, toy.target[partner])
    torch.testing.assert_close(method.loss(toy.batch()), expected)


@pytest.mark.parametrize("method_class", [Mixup, LISA])
def test_what_is_drawn_follows_from_the_position_alone(toy, make, method_class):
    method = make(method_class, toy, BIAS).eval()

    def loss(**at):
        method.progress = Progress("train", **at)
        return method.loss(toy.batch()).item()

    first = loss(epoch=1, step=2)
    torch.rand(3)
    assert loss(epoch=1, step=3) != first != loss(epoch=2, step=2)
    assert loss(epoch=1, step=2) == first


@pytest.mark.parametrize("within_class", [True, False])
def test_partners_share_the_class_or_the_bias_value_and_differ_in_the_other(toy, within_class):
    seen = set()
    for seed in range(20):
        partner = LISA.partners(toy.batch(), within_class, draws(seed))
        for i, j in enumerate(partner.tolist()):
            same_class, same_bias = toy.target[i] == toy.target[j], toy.bias[i] == toy.bias[j]
            assert (same_class, same_bias) == (within_class, not within_class)
            seen.add((i, j))
    assert len(seen) > 60  # any that fits, not the first


def test_an_image_that_nothing_fits_stays_as_it_is(toy, make):
    alone = toy.batch(torch.tensor([4]))
    assert LISA.partners(alone, True, draws()).tolist() == [0]
    one_class = toy.batch(torch.tensor([0, 3, 6]))
    assert LISA.partners(one_class, False, draws()).tolist() == [0, 1, 2]
    method = make(LISA, toy, BIAS).eval()
    torch.testing.assert_close(method.loss(alone), F.cross_entropy(method(alone.images), alone.target))


def test_mixing_within_classes_keeps_the_target_one_hot(toy, make):
    method = make(LISA, toy, BIAS, p_sel=1).eval()
    step = draws_of_step(method, "lisa")
    partner = LISA.partners(toy.batch(), step.random() < 1, step)
    assert torch.equal(toy.target[partner], toy.target)
    mixed = mix(toy.images, partner, torch.from_numpy(step.beta(2, 2, size=24)))
    torch.testing.assert_close(method.loss(toy.batch()), F.cross_entropy(method(mixed), toy.target))


def test_cutmix_keeps_the_share_of_pixels_that_it_says(toy):
    images = torch.rand(24, 3, 11, 7)
    share = torch.rand(24, generator=torch.Generator().manual_seed(0))
    mixed, kept = cut_mix(images, ALL.roll(1), share, draws())
    own = (mixed == images).all(dim=1)
    other = (mixed == images.roll(1, 0)).all(dim=1)
    assert (own ^ other).all()
    torch.testing.assert_close(own.float().mean(dim=(1, 2)), kept)
    assert (kept >= share - 1e-6).all()  # the box is rounded down, and cut off at the border
    for outside in own:  # what is cut out is a box
        rows, columns = (~outside).any(1), (~outside).any(0)
        assert torch.equal(~outside, rows[:, None] & columns)


def test_cutmix_of_everything_or_nothing(toy):
    images = torch.rand(24, 1, 8, 8)
    same, kept = cut_mix(images, ALL.flip(0), torch.ones(24), draws())
    assert torch.equal(same, images)
    assert (kept == 1).all()


def test_cutmix_needs_images(toy, make, monkeypatch):
    monkeypatch.setattr("tests.methods.conftest.IMAGE_SHAPE", (48,))
    with pytest.raises(ConfigurationError, match="use mix=mixup"):
        make(LISA, toy, BIAS, mix="cutmix")


def test_lisa_draws_groups_equally_often_or_every_image_once(toy, make):
    split = toy.split()
    once = make(LISA, toy, BIAS, sample="image").order(split, torch.Generator().manual_seed(0))
    assert sorted(once.tolist()) == list(range(24))
    method = make(LISA, toy, BIAS)
    drawn = torch.cat([method.order(split, torch.Generator().manual_seed(seed)) for seed in range(200)])
    share = torch.bincount(toy.target[drawn] * 3 + toy.bias[drawn], minlength=9) / len(drawn)
    existing = toy.task(BIAS).group_counts.flatten() > 0
    assert share[existing].tolist() == pytest.approx([1 / existing.sum().item()] * existing.sum().item(), abs=0.03)
    assert lisa_module.LISA.published["celeba"].parameters == {"mix": "cutmix"}
