"""SelecMix and MaskTune: which images are mixed, what is masked, and what then learns from it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ncbench import ConfigurationError, Supervision
from ncbench_methods.augmentation.masktune import MaskTune, importance
from ncbench_methods.two_networks.lff import LfF
from ncbench_methods.two_networks.selecmix import SelecMix, generalized_contrast, partners

from .conftest import ToyBackbone, at, copy_shared, reached

# selecmix


def test_selecmix_picks_the_least_similar_of_the_class_or_the_most_similar_of_another():
    similarity = torch.tensor(
        [[1, -0.2, -0.9, 0.7], [-0.2, 1, -0.5, -0.1], [-0.9, -0.5, 1, -0.8], [0.7, -0.1, -0.8, 1]]
    )
    target = torch.tensor([0, 0, 1, 1])
    assert partners(similarity, target, within=True).tolist() == [1, 0, 3, 2]
    # All similarities to other classes are negative for images 1 and 2: no masked 0 may beat them.
    assert partners(similarity, target, within=False).tolist() == [3, 3, 1, 0]
    assert partners(similarity, torch.zeros(4, dtype=torch.int64), within=False).tolist() == [0, 1, 2, 3]
    assert partners(similarity[:1, :1], target[:1], within=True).tolist() == [0]


def test_selecmix_contrast_is_its_definition_and_tends_to_supervised_contrast():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    target = torch.tensor([0, 1, 0, 0, 2])
    expected = {0.7: 0.0, 0.0: 0.0}
    for i in range(5):
        others = [j for j in range(5) if j != i]
        p = {j: (logits[i, j] - logits[i, others].logsumexp(0)).exp() for j in others}
        positive = [j for j in others if target[j] == target[i]]
        for q in expected:
            losses = [(1 - p[j] ** q) / q if q else -p[j].log() for j in positive]
            expected[q] += sum(losses) / max(len(positive), 1) / 5
    torch.testing.assert_close(generalized_contrast(logits, target, 0.7), expected[0.7])
    torch.testing.assert_close(generalized_contrast(logits, target, 1e-9), expected[0.0], rtol=1e-6, atol=1e-6)
    assert generalized_contrast(logits[:1, :1], target[:1], 0.7).item() == 0


def test_selecmix_trains_on_mixtures_alone_and_beside_lff(toy, make):
    batch = toy.batch(bias=False)
    alone = at(make(SelecMix, toy, norm=False), "train")
    terms = alone.loss(batch)
    assert set(terms) == {"contrast", "mixed"}
    assert reached(terms["mixed"], alone.backbone, alone.encoder) == [True, False]
    assert reached(terms["contrast"], alone.backbone, alone.encoder) == [False, True]
    beside = at(make(SelecMix, toy, norm=False, on="lff", mixed_weight=0.25), "train")
    lff = make(LfF, toy, norm=False)
    copy_shared(beside, lff)
    terms = beside.loss(batch)
    for name, term in lff.loss(batch).items():
        assert terms[name].item() == term.item()
    beside.params = SelecMix.Parameters(on="erm")
    torch.testing.assert_close(terms["mixed"], 0.25 * beside.loss(batch)["mixed"])
    groups = alone.parameter_groups()
    assert sum(len(group["params"]) for group in groups) == len(list(alone.parameters()))


def test_selecmix_mixtures_are_mostly_the_partner(toy, make, monkeypatch):
    method = at(make(SelecMix, toy, norm=False), "train")
    seen = []
    monkeypatch.setattr(
        method, "forward", lambda images: seen.append(images) or method.classifier(method.backbone(images))
    )
    with torch.no_grad():
        unit = F.normalize(method.encoder(toy.images), dim=1)
    for step in range(8):
        at(method, "train", step=step).loss(toy.batch(bias=False))
    found = set()
    for mixed in seen:
        for within in (True, False):
            partner = partners(unit @ unit.T, toy.target, within)
            difference = toy.images - toy.images[partner]
            share = ((mixed - toy.images[partner]) * difference).flatten(1).sum(1) / difference.flatten(1).square().sum(
                1
            )
            expected = toy.images[partner] + share.reshape(-1, 1, 1, 1) * difference
            if torch.allclose(mixed, expected):
                found.add(within)
                assert 0 <= share.min() < share.max() <= 0.5
    assert found == {True, False}
    assert not torch.equal(seen[0], seen[1])


# masktune


class Averaged(nn.Module):
    """Convolution, ReLU, global average: the map of importance is the class activation map."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(inplace=True))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(5, 3)

    def forward(self, images):
        return self.classifier(self.pool(self.convolution(images)))


def test_importance_is_the_class_activation_map_and_of_an_mlp_gradient_times_input(toy):
    torch.manual_seed(0)
    network = Averaged().double()
    maps = network.convolution(toy.images)
    expected = torch.einsum("nchw,nc->nhw", maps, network.classifier.weight[toy.target]) / 16
    torch.testing.assert_close(importance(network, toy.images, toy.target), expected.detach())
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).double()
    expected = (mlp[1].weight[toy.target].reshape(-1, 3, 4, 4) * toy.images).sum(1)
    torch.testing.assert_close(importance(mlp, toy.images, toy.target), expected.detach())
    assert not any(module._forward_hooks for module in network.modules())


def test_masktune_masks_what_stands_out_and_goes_on_with_the_network(toy, make):
    method = make(MaskTune, toy, norm=False, deviations=1)
    train, mask = method.stages(9)
    assert (train.epochs, mask.epochs, mask.continues) == (9, 1, True)
    before = {name: value.clone() for name, value in method.backbone.state_dict().items()}
    at(method, "mask").start_stage(mask, toy.split(bias=False), None)
    assert all(torch.equal(before[name], value) for name, value in method.backbone.state_dict().items())
    torch.testing.assert_close(method.first(toy.images), method(toy.images))
    masked = method.masked(toy.images, toy.target)
    for image, found, kept in zip(masked, importance(method.first, toy.images, toy.target), toy.images, strict=True):
        positive = found[found > 0]
        hidden = found > positive.mean() + positive.std(correction=0)
        assert 0 < hidden.sum() < 16
        assert not image[:, hidden].any()
        assert torch.equal(image[:, ~hidden], kept[:, ~hidden])
    expected = F.cross_entropy(method(masked), toy.target)
    torch.testing.assert_close(method.loss(toy.batch(bias=False)), expected)
    assert not any(parameter.requires_grad for parameter in method.first.parameters())


def test_masktune_refuses_feature_vectors(toy):
    task = dataclasses.replace(toy.task(Supervision()), input_shape=(48,))
    with pytest.raises(ConfigurationError, match="are vectors"):
        MaskTune(task, MaskTune.Parameters(), lambda spec=None: ToyBackbone(7))
