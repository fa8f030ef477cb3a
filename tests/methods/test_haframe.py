"""HAFrame: the frozen frame, the mixed loss, the head and the published settings."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ncbench import ConfigurationError, Supervision, SupervisionError
from ncbench.geometry import Hierarchy
from ncbench.training.recipe import Recipe
from ncbench_methods.hierarchy.haframe import HAFrame

from .conftest import total

HIERARCHY = Supervision(hierarchy=True)
FLAT = Hierarchy.from_categories((f"class {k}",) for k in range(5))


@pytest.fixture
def uneven(toy_of):
    """Five classes: three under one node, one alone a level deeper, and one directly under the root."""
    tree = Hierarchy.from_parents([5, 5, 5, 6, 8, 8, 7, 8, -1], [*"abcde", "abc", "d1", "d2", "root"])
    return toy_of(num_images=25, num_classes=5, hierarchy=tree)


def test_the_cosines_of_the_classifier_are_the_prescribed_similarities(uneven, make):
    method = make(HAFrame, uneven, HIERARCHY, gamma=1.5)
    # LCA heights by hand: 1 among a, b, c; 3 everywhere else (the root stands above d2 above d1 above d)
    d = torch.full((5, 5), 3.0, dtype=torch.float64)
    d[:3, :3] = 1
    d.fill_diagonal_(0)
    exponential = torch.exp(-1.5 * d / 3)
    s = -1 / (torch.linalg.inv(exponential).sum() - 1)
    similarity = (1 - s) * exponential + s
    torch.testing.assert_close(method.similarity, similarity, atol=1e-6, rtol=0)
    torch.testing.assert_close(method.frame @ method.frame.T, similarity, atol=1e-6, rtol=0)
    eigenvalues = torch.linalg.eigvalsh(method.frame @ method.frame.T)
    assert abs(eigenvalues[0]) < 1e-6 < 1e-2 < eigenvalues[1]  # positive semi-definite, of rank K - 1


def test_a_flat_hierarchy_gives_the_simplex_etf(toy_of, make):
    method = make(HAFrame, toy_of(num_images=25, num_classes=5, hierarchy=FLAT), HIERARCHY)
    expected = torch.full((5, 5), -1 / 4).double().fill_diagonal_(1)
    torch.testing.assert_close(method.frame @ method.frame.T, expected, atol=1e-6, rtol=0)


def test_the_classifier_is_frozen_has_no_bias_and_depends_on_the_seed_alone(uneven, make):
    frames = [make(HAFrame, uneven, HIERARCHY, seed=s, global_seed=g).frame for s, g in ((0, 1), (0, 2), (1, 1))]
    assert torch.equal(frames[0], frames[1])
    assert not torch.equal(frames[0], frames[2])
    method = make(HAFrame, uneven, HIERARCHY)
    assert "frame" not in dict(method.named_parameters())
    assert method.classifier_parameters()[1] is None
    assert method.features(uneven.images).shape == (25, 5)


@pytest.mark.parametrize("mixing", [0.0, 0.4, 1.0])
def test_the_loss_is_its_definition_image_by_image(uneven, make, mixing):
    method = make(HAFrame, uneven, HIERARCHY, mixing=mixing)
    batch = uneven.batch(torch.tensor([0, 1, 7, 13, 24]), bias=False)
    h = method.features(batch.images).tolist()
    frame, similarity = method.frame.tolist(), method.similarity.tolist()
    cross_entropy = regression = 0.0
    for row, y in zip(h, batch.target.tolist(), strict=True):
        scores = [sum(a * b for a, b in zip(w, row, strict=True)) for w in frame]
        cross_entropy += math.log(sum(map(math.exp, scores))) - scores[y]
        cosines = [score / math.hypot(*row) / math.hypot(*w) for score, w in zip(scores, frame, strict=True)]
        regression += sum((c - s) ** 2 for c, s in zip(cosines, similarity[y], strict=True))
    terms = make(HAFrame, uneven, HIERARCHY, mixing=mixing).loss(batch)
    assert terms["cross_entropy"].item() == pytest.approx((1 - mixing) * cross_entropy / 5, rel=1e-6)
    assert terms["similarity"].item() == pytest.approx(mixing * regression / 5, rel=1e-5)


def test_features_on_the_frame_leave_no_regression_loss(uneven, make):
    method = make(HAFrame, uneven, HIERARCHY, mixing=1.0)
    method.features = lambda images: 7 * method.frame[uneven.target]
    assert method.loss(uneven.batch(bias=False))["similarity"].item() == pytest.approx(0, abs=1e-10)


def test_the_head_is_reduction_batch_norm_and_two_residual_blocks(uneven, make):
    method = make(HAFrame, uneven, HIERARCHY)

    def norm(x):  # BatchNorm at its start: weight 1, bias 0
        return (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()

    x = norm(method.backbone(uneven.images) @ method.reduction.weight.T)
    weights = [module.weight for module in method.head.modules() if isinstance(module, nn.Linear)]
    for first, second in (weights[:2], weights[2:]):
        inner = F.leaky_relu(norm(x @ first.T), 0.25)  # PReLU starts at 0.25
        x = x + F.leaky_relu(norm(inner @ second.T), 0.25)
    torch.testing.assert_close(method.features(uneven.images), x)
    assert all(
        module.bias is None for module in [method.reduction, *method.head.modules()] if type(module) is nn.Linear
    )


def test_a_reduction_after_the_pooling_is_the_published_convolution_before_it():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 7, 3, 3, dtype=torch.float64, generator=generator)
    weight = torch.randn(5, 7, dtype=torch.float64, generator=generator)
    before = F.conv2d(maps, weight[:, :, None, None]).mean(dim=(2, 3))
    torch.testing.assert_close(F.linear(maps.mean(dim=(2, 3)), weight), before)


def test_backbone_and_reduction_learn_slower_and_every_parameter_once(uneven, make):
    method = make(HAFrame, uneven, HIERARCHY, backbone_lr_scale=0.1, head_lr_scale=0.5)
    slow, head = method.parameter_groups()
    assert (slow["lr_scale"], head["lr_scale"]) == (0.1, 0.5)
    grouped = [id(p) for group in (slow, head) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in method.parameters())
    assert id(method.reduction.weight) in {id(p) for p in slow["params"]}


def test_a_batch_of_one_image_trains_on_the_running_statistics(uneven, make):
    method = make(HAFrame, uneven, HIERARCHY, norm=False)
    method(uneven.images)
    before = {name: value.clone() for name, value in method.named_buffers()}
    one = uneven.batch(torch.tensor([2]), bias=False)
    total(method.loss(one)).backward()
    assert all(torch.equal(value, before[name]) for name, value in method.named_buffers())
    torch.testing.assert_close(method.features(one.images), method.eval().features(one.images))


def test_without_a_hierarchy_it_is_refused_and_the_way_on_is_named(uneven, make):
    with pytest.raises(ConfigurationError, match=r"haframe needs a class hierarchy.*fixed_etf"):
        make(HAFrame, dataclasses.replace(uneven, hierarchy=None), HIERARCHY)
    with pytest.raises(SupervisionError, match=re.escape("Supervision(hierarchy=True)")):
        make(HAFrame, uneven, Supervision())


def test_published_settings_follow_half_a_cosine():
    settings = {name: published.parameters for name, published in HAFrame.published.items()}
    assert {name: (p["gamma"], p["mixing"]) for name, p in settings.items()} == {
        "fgvc_aircraft": (1.0, 0.5),
        "cifar100": (2.0, 0.4),
        "inaturalist": (5.0, 0.4),
        "tiered_imagenet_h": (3.0, 0.5),
    }
    for published in HAFrame.published.values():
        recipe = Recipe.build(published.recipe, owner="the recipe")
        for epoch in (0, 31, 99):
            expected = 0.05 * (1 + math.cos(math.pi * epoch / 100))
            assert recipe.learning_rate(epoch, recipe.epochs) == pytest.approx(expected)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "s"), [("cifar100", -0.305739), ("fgvc_aircraft", -0.614669), ("tiered_imagenet_h", -0.079478)]
)
def test_on_the_published_hierarchies_the_least_similarity_is_the_exact_one(toy_of, make, name, s):
    tree = Hierarchy.from_json(Path(os.environ["NCBENCH_DATA"]) / "hierarchies" / f"{name}.json")
    toy = toy_of(num_images=2 * tree.num_classes, num_classes=tree.num_classes, hierarchy=tree)
    gamma = HAFrame.published[name].parameters["gamma"]
    method = make(HAFrame, toy, HIERARCHY, gamma=gamma)
    # The farthest pairs are D_max apart, where S = (1 - s) e^-gamma + s
    least = (1 - s) * math.exp(-gamma) + s
    assert (method.frame @ method.frame.T).min().item() == pytest.approx(least, abs=2e-6)
