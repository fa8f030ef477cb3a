"""Methods of two networks: their identities with simpler methods, and what each network learns from."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ncbench import ConfigurationError, Supervision
from ncbench.contracts.specs import Spec
from ncbench_backbones import ncbench_backbones
from ncbench_methods import ncbench_methods
from ncbench_methods.balancing.jtt import JTT
from ncbench_methods.erm import ERM
from ncbench_methods.generalized_cross_entropy import generalized_cross_entropy
from ncbench_methods.imbalance.bias_balance import BiasBalance
from ncbench_methods.two_networks.bam import BAM
from ncbench_methods.two_networks.bias_ensemble import BiasEnsemble
from ncbench_methods.two_networks.debian import DebiAN
from ncbench_methods.two_networks.denetdm import DeNetDM
from ncbench_methods.two_networks.disent import DisEnt
from ncbench_methods.two_networks.dpr import DPR
from ncbench_methods.two_networks.ecs_ga import ECSGA, evenly
from ncbench_methods.two_networks.lc import LC
from ncbench_methods.two_networks.lff import LfF
from ncbench_methods.two_networks.networks import depth
from ncbench_methods.two_networks.rebias import ReBias, hsic, hsic_of_kernels

from .conftest import ToyBackbone, at, copy_shared, gradients, reached, total

# disent


def test_each_classifier_of_disent_reaches_its_own_encoder_alone(toy, make):
    method = at(make(DisEnt, toy, norm=False), "swap")
    terms = method.loss(toy.batch(bias=False))
    modules = method.backbone, method.classifier, method.biased_backbone, method.biased_classifier
    for name in ("intrinsic", "swap_intrinsic"):
        assert reached(terms[name], *modules) == [True, True, False, False], name
    for name in ("biased", "swap_biased"):
        assert reached(terms[name], *modules) == [False, False, True, True], name


def test_disent_swapped_with_itself_repeats_the_terms(toy, make, monkeypatch):
    method = at(make(DisEnt, toy, norm=False, biased_weight=3, swap_weight=0.5, swap_biased_weight=4), "swap")
    monkeypatch.setattr(method, "partners", torch.arange)
    terms = method.loss(toy.batch(bias=False))
    torch.testing.assert_close(terms["swap_intrinsic"], 0.5 * terms["intrinsic"])
    torch.testing.assert_close(terms["swap_biased"], 0.5 * 4 / 3 * terms["biased"])


def test_disent_weighs_the_bias_classifier_among_swapped_features_as_elsewhere(toy, make, monkeypatch):
    method = at(make(DisEnt, toy, norm=False, biased_weight=3, swap_weight=0.5), "swap")
    monkeypatch.setattr(method, "partners", torch.arange)
    terms = method.loss(toy.batch(bias=False))
    torch.testing.assert_close(terms["swap_biased"], 0.5 * terms["biased"])


def test_lc_slows_its_biased_network_down_on_waterbirds_alone(toy, make):
    assert [group.get("lr_scale", 1.0) for group in make(LC, toy).parameter_groups()] == [1.0, 1.0]
    assert LC.published["waterbirds"].parameters["biased_lr_scale"] == 0.1


def test_disent_swaps_after_its_share_of_the_epochs_and_draws_anew_at_every_step(toy, make):
    method = make(DisEnt, toy)
    assert [(stage.name, stage.epochs) for stage in method.stages(50)] == [("disentangle", 10), ("swap", 40)]
    assert sum(stage.epochs for stage in method.stages(1)) == 1
    assert set(at(method, "disentangle").loss(toy.batch(bias=False))) == {"intrinsic", "biased"}
    drawn = [at(method, "swap", epoch, step).partners(24).tolist() for epoch, step in ((0, 0), (0, 1), (1, 0))]
    assert sorted(drawn[0]) == list(range(24))
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]
    assert at(method, "swap", 0, 0).partners(24).tolist() == drawn[0]


def test_disent_weighs_its_first_batch_as_lff_does(toy, make):
    method, lff = make(DisEnt, toy, norm=False), make(LfF, toy, norm=False)
    batch = toy.batch(bias=False)
    logits = method(batch.images)
    biased = method.biased_classifier(method.features(batch.images))
    losses = [F.cross_entropy(each, batch.target, reduction="none").detach() for each in (biased, logits)]
    weight = lff.relative_difficulty(*losses, batch)
    terms = at(method, "disentangle").loss(batch)
    torch.testing.assert_close(
        terms["intrinsic"], (weight * F.cross_entropy(logits, batch.target, reduction="none")).mean()
    )
    expected = generalized_cross_entropy(biased, batch.target, 0.7).mean()
    torch.testing.assert_close(terms["biased"], 10 * expected)


# lc


def test_lc_with_the_true_attribute_and_its_exact_prior_is_bias_balance(toy, make, monkeypatch):
    method, ours = make(LC, toy, norm=False, mix=False), make(BiasBalance, toy, Supervision(train="bias"), norm=False)
    copy_shared(method, ours)
    exact = ours.log_prior.exp()
    monkeypatch.setattr(method, "prior_of", lambda logits, batch: (exact[toy.bias[batch.index]], toy.bias != 0))
    expected = ours.loss(toy.batch())
    corrected = method.loss(toy.batch(bias=False))["corrected"]
    torch.testing.assert_close(corrected, expected)
    for got, wanted in zip(
        gradients(corrected, method.backbone.parameters()), gradients(expected, ours.backbone.parameters()), strict=True
    ):
        torch.testing.assert_close(got, wanted)


def test_lc_guesses_by_an_average_and_takes_the_prior_from_the_batch(toy, make):
    method = make(LC, toy, norm=False, ema=0.75, temperature=0.5)
    index = torch.tensor([0, 1, 2, 3, 4, 7, 9, 12])
    batch = toy.batch(index, bias=False)
    generator = torch.Generator().manual_seed(0)
    average = None
    for _ in range(3):
        logits = torch.randn(8, 3, generator=generator, dtype=torch.float64)
        p = (logits / 0.5).softmax(1)
        average = p if average is None else 0.75 * average + 0.25 * p
        prior, conflicting = method.prior_of(logits, batch)
        guess = average.argmax(1)
        assert conflicting.tolist() == (guess != batch.target).tolist()
        for i in range(8):
            means = []
            for y in range(3):
                cell = (guess == guess[i]) & (batch.target == y)
                means.append(average[cell, y].mean().item() if cell.any() else 0.0)
            torch.testing.assert_close(prior[i], torch.tensor(means, dtype=torch.float64) / sum(means))
    assert method.visited.nonzero().flatten().tolist() == index.tolist()


def test_lc_mixes_with_what_seems_conflicting_ever_more(toy, make):
    method = make(LC, toy, norm=False, mix_epochs=4)
    conflicting = torch.zeros(24, dtype=torch.bool)
    conflicting[[0, 3, 7]] = True  # of classes 0, 0 and 1, none of class 2
    for epoch, strength in ((0, np.exp(-5) / 2), (2, np.exp(-1.25) / 2), (4, 0.5), (9, 0.5)):
        shares = []
        for step in range(40):
            partner, share = at(method, "train", epoch, step).partners(toy.target, conflicting)
            assert torch.equal(toy.target[partner], toy.target)
            assert set(partner[toy.target == 0].tolist()) <= {0, 3}
            assert set(partner[toy.target == 1].tolist()) == {7}
            assert len(set(share.tolist())) == 1
            shares.append(share[0].item())
        assert 1 - 2 * strength <= min(shares) < max(shares) <= 1 - strength


def test_lc_trains_each_network_by_its_own_loss(toy, make):
    method = make(LC, toy, norm=False, biased_weight=3, q=0.8, biased_lr_scale=0.1)
    terms = method.loss(toy.batch(bias=False))
    assert reached(terms["biased"], method.biased, method.backbone) == [True, False]
    assert reached(terms["corrected"], method.biased, method.backbone) == [False, True]
    generalized = generalized_cross_entropy(method.biased(toy.images), toy.target, 0.8).mean()
    torch.testing.assert_close(terms["biased"], 3 * generalized)
    network, biased = method.parameter_groups()
    assert (biased["lr_scale"], biased["weight_decay"]) == (0.1, 0)
    assert len(network["params"]) + len(biased["params"]) == len(list(method.parameters()))


# bias_ensemble


@pytest.mark.parametrize(("biased_loss", "same"), [("generalised", True), ("plain", False)])
def test_bias_ensemble_with_threshold_0_is_lff(toy, make, biased_loss, same):
    method = make(BiasEnsemble, toy, norm=False, threshold=0, biased_loss=biased_loss)
    split = toy.split(bias=False)
    for stage in method.stages(3):
        at(method, stage.name).start_stage(stage, split, None)
        method.double()
    lff = make(LfF, toy, norm=False)
    copy_shared(method, lff)
    assert method.votes.tolist() == [5] * 24
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.5) for each in (method, lff)]
    for index in torch.arange(24).split(9):
        for each, optimizer in zip((method, lff), optimizers, strict=True):
            optimizer.zero_grad()
            sum(each.loss(toy.batch(index, bias=False)).values()).backward()
            optimizer.step()
    close = [torch.allclose(value, method.state_dict()[name]) for name, value in lff.state_dict().items()]
    assert all(close) is same


def test_a_biased_network_is_trained_on_the_images_that_enough_voters_are_sure_of(toy, make):
    method = at(make(BiasEnsemble, toy, norm=False, networks=3, agreement=2), "train")
    method.votes = torch.arange(24) % 4
    batch = toy.batch(bias=False)
    aligned = method.votes >= 2
    expected = generalized_cross_entropy(method.biased(batch.images), batch.target, 0.7)[aligned].mean()
    torch.testing.assert_close(method.loss(batch)["biased"], expected)
    method.votes = torch.zeros(24, dtype=torch.int64)
    terms = method.loss(batch)
    assert terms["biased"].item() == 0
    assert torch.isfinite(sum(terms.values()))


def test_bias_ensemble_refuses_to_ask_for_more_votes_than_there_are():
    with pytest.raises(ConfigurationError, match=r"agreement=3 votes from networks=2\. Give at least as many networks"):
        BiasEnsemble.Parameters.build({"networks": 2}, owner="bias_ensemble")
    assert BiasEnsemble.Parameters.build({"networks": 3}, owner="bias_ensemble").agreement == 3


def test_each_voter_starts_from_scratch_and_votes_once(toy, make):
    method = make(BiasEnsemble, toy, norm=False, networks=2, agreement=2, threshold=0.34, ensemble_epochs=3)
    split, stages = toy.split(bias=False), method.stages(7)
    assert [(stage.name, stage.epochs) for stage in stages] == [("ensemble 1", 3), ("ensemble 2", 3), ("train", 7)]
    expected = torch.zeros(24, dtype=torch.int64)
    for stage in stages:
        at(method, stage.name).start_stage(stage, split, None)
        method.double()
        assert method.votes.tolist() == expected.tolist()
        with torch.no_grad():
            expected += method.biased(toy.images).softmax(1)[torch.arange(24), toy.target] >= 0.34
        if stage.name != "train":
            loss = method.loss(toy.batch(bias=False))
            assert reached(loss, method.biased, method.backbone, method.classifier) == [True, False, False]


# dpr


def test_dpr_draws_as_the_biased_network_disagrees(toy, make):
    method, split = make(DPR, toy, norm=False, temperature=2), toy.split(bias=False)
    stages = method.stages(6)
    assert [(stage.name, stage.epochs) for stage in stages] == [("biased", 6), ("train", 6)]
    assert [stage.epochs for stage in make(DPR, toy, biased_epochs=2).stages(6)] == [2, 6]
    batch = toy.batch(bias=False)
    at(method, "biased")
    torch.testing.assert_close(
        method.loss(batch), generalized_cross_entropy(method(toy.images), toy.target, 0.7).mean()
    )
    assert sorted(method.order(split, torch.Generator()).tolist()) == list(range(24))
    before = {name: value.clone() for name, value in method.named_parameters()}
    at(method, "train").start_stage(stages[1], split, None)
    with torch.no_grad():
        p = (method(toy.images) / 2).softmax(1)[torch.arange(24), toy.target]
    torch.testing.assert_close(method.disagreement, 1 - p)
    assert all(torch.equal(before[name], value) for name, value in method.named_parameters())  # it goes on
    method.disagreement = torch.where(torch.arange(24) < 12, 1.0, 1e-8)
    assert method.order(split, torch.Generator().manual_seed(0)).max() < 12


def test_dpr_of_a_network_that_is_equally_sure_of_all_is_erm(toy, make):
    method, erm, split = make(DPR, toy, norm=False), make(ERM, toy, norm=False), toy.split(bias=False)
    with torch.no_grad():
        method.classifier.weight.zero_()
        method.classifier.bias.zero_()
    at(method, "train").start_stage(method.stages(1)[1], split, None)
    assert len(set(method.disagreement.tolist())) == 1
    copy_shared(method, erm)
    assert method.loss(toy.batch(bias=False)).item() == erm.loss(toy.batch(bias=False)).item()
    counts = torch.zeros(24)
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        counts += torch.bincount(method.order(split, generator), minlength=24)
    assert (counts / 400 - 1).abs().max() < 5 * 400**-0.5


# bam


def test_bam_without_auxiliary_variables_is_jtt_with_a_squared_loss_and_without_a_restart(toy, make):
    method, jtt = make(BAM, toy, norm=False, auxiliary=0, upweight=7), make(JTT, toy, norm=False, upweight=7)
    copy_shared(method, jtt)
    split, batch = toy.split(bias=False), toy.batch(bias=False)
    squared = (jtt(toy.images) - F.one_hot(toy.target, 3)).square().sum(1).mean()
    loss = at(method, "identify").loss(batch)
    torch.testing.assert_close(loss, squared)
    assert not gradients(loss, [method.own])[0].any()
    errors = jtt.errors(split)
    before = {name: value.clone() for name, value in method.named_parameters()}
    at(method, "train").start_stage(method.stages(3)[1], split, None)
    assert method.visits.tolist() == torch.where(errors, 7, 1).tolist()
    assert all(torch.equal(before[name], value) for name, value in method.named_parameters())
    assert method.loss(batch).item() == jtt.loss(batch).item()


def test_bam_moves_the_own_variables_of_the_batch_alone_and_only_while_it_amplifies(toy, make):
    method = at(make(BAM, toy, norm=False, auxiliary=3), "identify")
    with torch.no_grad():
        method.own.normal_(generator=torch.Generator().manual_seed(0))
    index = torch.tensor([3, 5])
    loss = method.loss(toy.batch(index, bias=False))
    residual = method(toy.images[index]) + 3 * method.own[index] - F.one_hot(toy.target[index], 3)
    torch.testing.assert_close(loss, residual.square().sum(1).mean())
    (gradient,) = gradients(loss, [method.own])
    torch.testing.assert_close(gradient[index], 2 * 3 * residual / 2)
    assert gradient.any(dim=1).nonzero().flatten().tolist() == [3, 5]
    (group,) = method.parameter_groups()
    assert any(each is method.own for each in group["params"])
    assert group["weight_decay"] == 0
    (group,) = at(method, "train").parameter_groups()
    assert not any(each is method.own for each in group["params"])
    assert "weight_decay" not in group


# denetdm


class Constant(nn.Module):
    """The same features for every image."""

    def __init__(self, value, width=7):
        super().__init__()
        self.value, self.width = value, width

    def forward(self, images):
        return images.new_full((len(images), self.width), self.value)


def test_denetdm_without_the_deep_network_and_the_distillation_is_erm(toy, make):
    method = make(DeNetDM, toy, norm=False, distillation=0)
    method.deep = Constant(0.0)
    batch = toy.batch(bias=False)
    for stage, network in (("separate", method.shallow), ("train", method.backbone)):
        expected = F.cross_entropy(method.classifier(network(toy.images)), toy.target)
        loss = sum(at(method, stage).loss(batch).values())
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(F.cross_entropy(method(toy.images), toy.target), expected)
        ours = [*network.parameters(), *method.classifier.parameters()]
        for got, wanted in zip(gradients(loss, ours), gradients(expected, ours), strict=True):
            torch.testing.assert_close(got, wanted)


def test_denetdm_distils_the_shallow_network_as_the_first_stage_left_it(toy, make):
    method = make(DeNetDM, toy, norm=False, distillation=3, temperature=4)
    stages = method.stages(5)
    assert [(stage.name, stage.epochs) for stage in stages] == [("separate", 5), ("train", 5)]
    at(method, "separate")
    taught = method(toy.images).detach() / 4
    at(method, "train").start_stage(stages[1], toy.split(bias=False), None)
    with torch.no_grad():
        method.classifier.weight.add_(0.5)  # fc goes on, the teacher does not
    terms = method.loss(toy.batch(bias=False))
    p, log_p = taught.softmax(1), (method(toy.images) / 4).log_softmax(1)
    expected = 3 * 16 * (p * (p.log() - log_p)).sum(1).mean()
    torch.testing.assert_close(terms["distillation"], expected)
    both = method.classifier(method.backbone(toy.images) + method.deep(toy.images))
    torch.testing.assert_close(terms["product"], F.cross_entropy(both, toy.target))
    total = sum(terms.values())
    modules = method.backbone, method.classifier, method.shallow, method.deep
    assert reached(total, *modules[:2]) == [True, True]
    (group,) = method.parameter_groups()
    assert {id(each) for each in group["params"]} == {
        id(each) for module in modules[:2] for each in module.parameters()
    }


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1)], "small_cnn"),
        ([nn.Conv2d(3, 2, 1)], "mlp:depth=1"),  # as deep as small_cnn
        ([], "mlp:depth=1"),
    ],
)
def test_the_shallow_network_of_denetdm_is_of_the_deep_ones_kind_where_that_is_shallower(layers, expected, toy):
    asked = []

    def networks(spec=None):
        asked.append(spec)
        network = ToyBackbone(7)
        network.extra = nn.Sequential(*layers)
        return network

    DeNetDM(toy.task(Supervision()), DeNetDM.Parameters(), networks)
    assert asked == [None, None, expected]


def _networks(default, input_shape):
    """Make the built-in backbones by their specs, as a run does."""
    made = {card.name: card for card in ncbench_backbones()}

    def networks(spec=None):
        parsed = Spec.parse(spec or default)
        network = made[parsed.name].load()
        return network(input_shape, network.Parameters.build(parsed.parameters, owner=parsed.name))

    return networks


@pytest.mark.parametrize(
    ("run", "shallow", "refused"),
    [
        *(("mlp:depth=1", "", True), ("mlp:depth=2", "", False), ("small_cnn", "", False)),
        *(("mlp", "mlp", True), ("mlp", "mlp:depth=2", False), ("small_cnn", "small_cnn", True)),
    ],
)
def test_the_shallow_network_of_denetdm_is_shallower(run, shallow, refused, toy):
    task = dataclasses.replace(toy.task(Supervision()), input_shape=(3, 8, 8))

    def made():
        return DeNetDM(task, DeNetDM.Parameters(shallow=shallow), _networks(run, task.input_shape))

    if refused:
        with pytest.raises(ConfigurationError, match="is no deeper than its shallow network"):
            made()
    else:
        method = made()
        assert depth(method.shallow) < depth(method.deep)


def test_rebias_refuses_on_vectors_a_network_that_sees_no_more_than_the_biased_one(toy):
    task = dataclasses.replace(toy.task(Supervision()), input_shape=(9,))
    with pytest.raises(ConfigurationError, match=r"sees as much\. Use a deeper backbone, such as --backbone mlp"):
        ReBias(task, ReBias.Parameters(), _networks("mlp:depth=1", (9,)))
    assert depth(ReBias(task, ReBias.Parameters(), _networks("mlp", (9,))).biased[0]) == 1


def test_denetdm_maps_a_shallow_network_of_other_dimensions_and_keeps_frozen_statistics(toy, make):
    method = make(DeNetDM, toy)
    assert isinstance(method.project, nn.Identity)

    def networks(spec=None):
        network = ToyBackbone(7 if spec is None else 5)
        if spec is None:
            network.layers.append(nn.Linear(7, 7))
        return network

    other = DeNetDM(toy.task(Supervision()), DeNetDM.Parameters(shallow="mlp"), networks).double()
    assert other.project.weight.shape == (7, 5)
    at(other, "train").train()
    before = {name: value.clone() for name, value in other.state_dict().items()}
    other.loss(toy.batch(bias=False))
    changed = {name.split(".")[0] for name, value in other.state_dict().items() if not torch.equal(before[name], value)}
    assert changed == {"backbone"}


# ecs_ga


def test_ecs_ga_weighs_what_both_networks_are_sure_of_and_unlearns_what_one_alone_is(toy, make):
    method = make(ECSGA, toy, norm=False, sure=0.9)
    batch = toy.batch(bias=False)
    losses = [F.cross_entropy(network(toy.images), toy.target, reduction="none") for network in method.biased]
    sure = []
    for each in losses:
        p = (-each).exp().detach()
        largest = torch.stack([p[toy.target == k].max() for k in range(3)])
        sure.append(p / largest[toy.target] > 0.9)
    assert (sure[0] & ~sure[1]).any()
    for epoch, sole in ((0, 0.0), (1, -1e-4)):
        terms = at(method, "score", epoch).loss(batch)
        for own in (0, 1):
            weight = (sure[own] & sure[1 - own]) + sole * (sure[own] & ~sure[1 - own])
            torch.testing.assert_close(terms[f"biased_{own + 1}"], (weight * losses[own]).mean())


def test_ecs_ga_scores_once_an_epoch_and_takes_the_mean(toy, make):
    method = make(ECSGA, toy, threshold=0.66)
    split, stages = toy.split(bias=False), method.stages(4)
    assert [(stage.name, stage.epochs) for stage in stages] == [("score", 50), ("train", 4)]
    scores = []
    for epoch in range(3):
        at(method, "score", epoch).train()
        order = method.order(split, torch.Generator().manual_seed(epoch))
        assert method.order(split, torch.Generator().manual_seed(epoch)).tolist() == order.tolist()
        assert method.training
        with torch.no_grad():
            for parameter in method.biased.parameters():
                parameter.add_(0.1)
            method.eval()
            p = [network(toy.images).softmax(1)[torch.arange(24), toy.target] for network in method.biased]
            scores.append(1 - sum(p) / 2)
    at(method, "train").start_stage(stages[1], split, None)
    mean = sum(scores) / 3
    assert 0 < (mean >= 0.66).sum() < 24
    assert method.conflicting.tolist() == (mean >= 0.66).tolist()


def test_ecs_ga_aligns_the_gradients_of_the_two_kinds(toy, make):
    method = at(make(ECSGA, toy, norm=False, balance=1.6), "train")
    erm = make(ERM, toy, norm=False)
    copy_shared(method, erm)
    batch = toy.batch(bias=False)
    assert method.loss(batch).item() == pytest.approx(erm.loss(batch).item(), rel=1e-12)  # none was found
    method.conflicting = torch.arange(24) < 5
    losses = F.cross_entropy(method(toy.images), toy.target, reduction="none")
    strength = 1 - (-losses).exp()
    aligned = strength[:5].sum() / (1.6 * strength[5:].sum())
    weight = torch.where(method.conflicting, 1.0, aligned).detach()
    torch.testing.assert_close(method.loss(batch), (weight * losses).sum() / weight.sum())
    method.conflicting = torch.ones(24, dtype=torch.bool)
    torch.testing.assert_close(method.loss(batch), losses.mean())


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 99))
def test_ecs_ga_spreads_the_conflicting_images_evenly(chosen, seed):
    chosen = torch.tensor(chosen)
    order = evenly(chosen, torch.Generator().manual_seed(seed))
    assert sorted(order.tolist()) == list(range(len(chosen)))
    share = chosen.double().mean()
    for stop in range(len(chosen)):
        assert abs(chosen[order[: stop + 1]].sum() - share * (stop + 1)) <= 2


# debian


def test_debian_with_an_undecided_discoverer_takes_half_as_much_again_as_erm(toy, make):
    method, erm = make(DebiAN, toy, norm=False), make(ERM, toy, norm=False)
    copy_shared(method, erm)
    with torch.no_grad():
        method.discoverer[1].weight.zero_()
        method.discoverer[1].bias.zero_()
    batch = toy.batch(bias=False)
    torch.testing.assert_close(method.loss(batch)["classifier"], 1.5 * erm.loss(batch))


def test_debian_plays_each_network_against_the_other(toy, make):
    method = make(DebiAN, toy, norm=False, penalty=0.5)
    with torch.no_grad():
        method.discoverer[1].weight.mul_(20)  # so that the groups differ by more than what keeps the logarithm finite
        method.classifier.weight.mul_(20)
    batch = toy.batch(torch.arange(23), bias=False)
    terms = method.loss(batch)
    assert reached(terms["classifier"], method.backbone, method.discoverer) == [True, False]
    assert reached(terms["discoverer"], method.backbone, method.discoverer) == [False, True]
    p = method(batch.images).softmax(1)[torch.arange(23), batch.target]
    d = method.discoverer(batch.images).sigmoid()[torch.arange(23), batch.target]
    expected, weight = 0.0, torch.zeros_like(d)
    for k in range(3):
        of_class = batch.target == k
        inside = (d * p)[of_class].sum() / d[of_class].sum()
        outside = ((1 - d) * p)[of_class].sum() / (1 - d)[of_class].sum()
        lean = (d[of_class].mean() - (1 - d[of_class]).mean()).abs()
        expected = expected - (inside - outside).abs().log() - 0.5 * (1 - lean).log()
        weight[of_class] = 1 + (1 - d if outside < inside else d)[of_class]
    torch.testing.assert_close(terms["discoverer"], expected, rtol=1e-4, atol=1e-4)
    losses = F.cross_entropy(method(batch.images), batch.target, reduction="none")
    torch.testing.assert_close(terms["classifier"], (weight * losses).mean())


# rebias


def test_hsic_of_independent_samples_has_mean_0_and_of_dependent_ones_is_positive():
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randn(2, 12, 2, generator=generator, dtype=torch.float64) for _ in range(1000)]
    independent = torch.stack([hsic(first, second, 1.0) for first, second in draws])
    assert independent.mean().abs() < 4 * independent.std() / 1000**0.5
    assert hsic(draws[0][0], draws[0][0], 1.0) > 5 * independent.std()


def test_hsic_is_its_definition_and_ignores_a_constant_off_the_diagonal():
    generator = torch.Generator().manual_seed(1)
    first, second = (torch.randn(7, d, generator=generator, dtype=torch.float64) for d in (3, 2))
    kernels = [torch.exp(-torch.cdist(each, each).square() / (2 * 1.5**2)) for each in (first, second)]
    quadruples = list(itertools.permutations(range(7), 4))
    k, m = kernels
    terms = [k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in quadruples]  # Song et al., eq. 4 and 5
    expected = sum(terms) / len(terms)
    torch.testing.assert_close(hsic(first, second, 1.5), expected)
    torch.testing.assert_close(hsic_of_kernels(k - 1, m + 3), expected)


def test_the_median_distance_keeps_hsic_of_features_of_any_length():
    first = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    for length in (1.0, 1000.0):
        features = (length * first).requires_grad_()
        value = hsic(features, first, 0.0)
        value.backward()
        assert value.item() == pytest.approx(hsic(first, first, 0.0).item(), rel=1e-3)
        assert features.grad.abs().max() > 0
    assert abs(hsic(1000 * first, first, 1.0).item()) < 1e-6  # sigma = 1 sees nothing of it
    alike = torch.ones(8, 3, requires_grad=True)
    hsic(alike, first[:8], 0.0).backward()
    assert bool(alike.grad.isfinite().all())


def test_rebias_keeps_f_from_g_while_g_follows_f(toy, make):
    method = make(ReBias, toy, norm=False, independence=2, bias_alignment=3)
    terms = method.loss(toy.batch(bias=False))
    value = hsic(method.features(toy.images), method.biased[0](toy.images), 1.0)
    torch.testing.assert_close(terms["independence"], 2 * value)
    torch.testing.assert_close(terms["bias_alignment"], -3 * value)
    modules = method.backbone, method.biased
    for name, expected in (
        ("classification", [True, False]),
        ("independence", [True, False]),
        ("biased", [False, True]),
        ("bias_alignment", [False, True]),
    ):
        assert reached(terms[name], *modules) == expected, name
    assert set(method.loss(toy.batch(torch.arange(3), bias=False))) == {"classification", "biased"}


def test_rebias_lets_the_biased_network_see_one_pixel_at_a_time(toy, make):
    method = make(ReBias, toy).eval()
    scrambled = toy.images.flatten(2)[..., torch.randperm(16, generator=torch.Generator().manual_seed(0))]
    torch.testing.assert_close(method.biased(scrambled.reshape(toy.images.shape)), method.biased(toy.images))
    task = dataclasses.replace(toy.task(Supervision()), input_shape=(3, 70, 99))
    large = ReBias(task, ReBias.Parameters(), lambda spec=None: ToyBackbone(7)).eval()
    images = torch.rand(2, 3, 70, 99, requires_grad=True)
    (gradient,) = torch.autograd.grad(large.biased(images).sum(), images)
    assert gradient[..., ::2, ::2].any()
    assert gradient.count_nonzero() <= 2 * 3 * 35 * 50


# all of them


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        *[("lff", ""), ("bias_ensemble", "train"), ("dpr", "biased"), ("bam", "identify"), ("denetdm", "separate")],
        *[
            ("denetdm", "train"),
            ("ecs_ga", "train"),
            ("debian", ""),
            ("rebias", ""),
            ("selecmix", ""),
            ("masktune", "mask"),
        ],
    ],
)
def test_none_of_them_is_erm_in_disguise(name, stage, toy, make):
    (method_class,) = (card.load() for card in ncbench_methods() if card.name == name)
    method, erm = at(make(method_class, toy, norm=False), stage), make(ERM, toy, norm=False)
    if name == "ecs_ga":
        method.conflicting = torch.arange(24) < 5
    copy_shared(method, erm)
    for each in (method, erm):
        optimizer = torch.optim.SGD(each.parameters(), lr=0.1)
        for _ in range(3):
            loss = total(each.loss(toy.batch(bias=False)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    ours = method.state_dict()
    assert max((ours[name] - value).abs().max() for name, value in erm.state_dict().items()) > 1e-5
