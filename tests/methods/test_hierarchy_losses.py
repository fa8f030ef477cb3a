"""Losses and predictions that follow a class hierarchy: definitions, flat trees, and limits."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from ncbench import ConfigurationError, Supervision
from ncbench.geometry import Hierarchy
from ncbench_methods.erm import ERM
from ncbench_methods.hierarchy.crm import CRM
from ncbench_methods.hierarchy.hier_cos import HierCOS
from ncbench_methods.hierarchy.hxe import HXE
from ncbench_methods.hierarchy.levels import Levels
from ncbench_methods.hierarchy.soft_labels import SoftLabels

from .conftest import total

HIERARCHY = Supervision(hierarchy=True)
FLAT = Hierarchy.from_categories((f"class {k}",) for k in range(5))
# Three classes under one node, one alone a level deeper, and one directly under the root.
UNEVEN = Hierarchy.from_parents([5, 5, 5, 6, 8, 8, 7, 8, -1], [*"abcde", "abc", "d1", "d2", "root"])


@pytest.fixture(params=[UNEVEN, FLAT], ids=["uneven", "flat"])
def toy(request, toy_of):
    return toy_of(num_images=25, num_classes=5, hierarchy=request.param)


@pytest.fixture
def uneven(toy_of):
    return toy_of(num_images=25, num_classes=5, hierarchy=UNEVEN)


@pytest.fixture
def flat(toy_of):
    return toy_of(num_images=25, num_classes=5, hierarchy=FLAT)


@pytest.mark.parametrize("tree", [UNEVEN, FLAT])
def test_distances_are_those_of_the_tree(tree):
    found = Levels(tree).double().distances(torch.tensor([3, 0, 4]))
    assert torch.equal(found, tree.distances(torch.float64)[[3, 0, 4]])


@pytest.mark.parametrize("beta", [0.5, 4.0])
def test_soft_labels_are_their_definition(toy, make, beta):
    method = make(SoftLabels, toy, HIERARCHY, beta=beta, norm=False)
    closeness = torch.exp(-beta * toy.hierarchy.distances(torch.float64) / toy.hierarchy.height)
    label = (closeness / closeness.sum(dim=0)).T[toy.target]
    expected = F.cross_entropy(method(toy.images), label)
    torch.testing.assert_close(method.loss(toy.batch(bias=False)), expected)


def test_soft_labels_become_one_hot_and_smoothed_in_a_flat_tree(toy, flat, make):
    hard = make(SoftLabels, toy, HIERARCHY, beta=1e4, norm=False)
    torch.testing.assert_close(hard.loss(toy.batch(bias=False)), F.cross_entropy(hard(toy.images), toy.target))
    soft = make(SoftLabels, flat, HIERARCHY, beta=2.0, norm=False)
    smoothing = 5 / (math.exp(2) + 4)
    expected = F.cross_entropy(soft(flat.images), flat.target, label_smoothing=smoothing)
    torch.testing.assert_close(soft.loss(flat.batch(bias=False)), expected)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_hxe_is_its_definition_node_by_node(toy, make, alpha):
    method, tree = make(HXE, toy, HIERARCHY, alpha=alpha, norm=False), toy.hierarchy
    p = method(toy.images).softmax(dim=1)
    below = [[c for c in range(5) if node in (c, *tree.ancestors(c))] for node in range(tree.num_nodes)]
    weight = [math.exp(-alpha * depth) for depth in tree.depths]
    loss = 0.0
    for row, y in zip(p, toy.target.tolist(), strict=True):
        for node in (y, *tree.ancestors(y)[:-1]):
            step = row[below[node]].sum() / row[below[tree.parents[node]]].sum()
            loss -= weight[node] / sum(weight) * step.log() / len(p)
    torch.testing.assert_close(method.loss(toy.batch(bias=False)), loss, rtol=1e-6, atol=0)


def test_hxe_without_alpha_is_cross_entropy_over_the_number_of_nodes(uneven, make):
    method = make(HXE, uneven, HIERARCHY, alpha=0.0, norm=False)
    expected = F.cross_entropy(method(uneven.images), uneven.target) / 9
    torch.testing.assert_close(method.loss(uneven.batch(bias=False)), expected, rtol=1e-6, atol=0)


def test_hxe_in_a_flat_tree_is_cross_entropy_times_a_constant(flat, make):
    method = make(HXE, flat, HIERARCHY, alpha=0.7, norm=False)
    step = math.exp(-0.7) / (1 + 5 * math.exp(-0.7))
    expected = step * F.cross_entropy(method(flat.images), flat.target)
    torch.testing.assert_close(method.loss(flat.batch(bias=False)), expected, rtol=1e-6, atol=0)


def test_hxe_stays_finite_where_probabilities_vanish(uneven, make):
    method = make(HXE, uneven, HIERARCHY, norm=False)
    with torch.no_grad():
        method.classifier.weight.mul_(1e4)
    loss = method.loss(uneven.batch(bias=False))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())


@pytest.fixture
def reordered(make):
    def build(toy):
        base = make(ERM, toy, global_seed=9).eval()
        method = make(CRM, toy, HIERARCHY).eval()
        method.start_from(base)
        return method, base

    return build


def test_crm_orders_classes_by_their_expected_distance(toy, reordered):
    method, base = reordered(toy)
    expected = base(toy.images).softmax(dim=1) @ toy.hierarchy.distances(torch.float64)
    torch.testing.assert_close(method(toy.images), toy.hierarchy.height - expected)
    assert method.classifier_parameters() is None
    assert method.stages(10) == []


def test_crm_in_a_flat_tree_predicts_as_erm_does(flat, reordered):
    method, base = reordered(flat)
    assert torch.equal(method(flat.images).argsort(dim=1), base(flat.images).argsort(dim=1))


def hier_cos_by_hand(z, y, tree, alpha):
    """Return the loss of one image: z (n,) in the order of the nodes without the root."""
    nodes = [node for node in range(tree.num_nodes) if node != tree.root]
    path = [node for node in (y, *tree.ancestors(y)) if node != tree.root][::-1]
    share = [math.exp(2 / (len(path) - level)) for level in range(len(path))]
    size = dict(zip(nodes, z.abs(), strict=True))
    log_p = dict(zip(nodes, z.abs().log_softmax(dim=0), strict=True))
    loss = 0.0
    for node, part in zip(path, share, strict=True):
        q = part / sum(share)
        loss += q * (math.log(q) - log_p[node])
    for level in range(1, max(tree.depths) + 1):
        there = [node for node in nodes if tree.depths[node] == level]
        length = sum(size[node] ** 2 for node in there) ** 0.5
        if level > len(path):
            loss += alpha * sum(size[node] for node in there)
        else:
            loss += alpha * sum(abs(size[node] / length - float(node == path[level - 1])) for node in there)
    return loss


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_hier_cos_is_its_definition_image_by_image(toy, make, alpha):
    method = make(HierCOS, toy, HIERARCHY, alpha=alpha)
    z = method.train().features(toy.images) @ method.basis.T
    by_hand = [hier_cos_by_hand(row, y, toy.hierarchy, alpha) for row, y in zip(z, toy.target.tolist(), strict=True)]
    again = make(HierCOS, toy, HIERARCHY, alpha=alpha)  # BatchNorm's statistics have moved
    torch.testing.assert_close(total(again.loss(toy.batch(bias=False))), torch.stack(by_hand).mean(), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("depth", "published"), [(5, [0.09817, 0.10850, 0.12818, 0.17889, 0.48626]), (3, [0.16157, 0.22549, 0.61294])]
)
def test_hier_cos_shares_the_label_along_the_path_as_published(toy_of, make, depth, published):
    tree = Hierarchy.from_categories((f"c{k}", *(f"{d} of {k}" for d in range(depth - 1))) for k in range(3))
    method = make(HierCOS, toy_of(num_images=6, hierarchy=tree), HIERARCHY)
    assert method.share[:, 0].tolist() == pytest.approx(published, abs=5e-6)


def test_hier_cos_scores_a_class_by_the_norm_on_its_path(uneven, make):
    method = make(HierCOS, uneven, HIERARCHY).eval()
    h = method.features(uneven.images)
    z = h @ method.basis.T
    torch.testing.assert_close(method.basis @ method.basis.T, torch.eye(8).double(), atol=1e-6, rtol=0)
    for k, path in enumerate(([0, 5], [1, 5], [2, 5], [3, 6, 7], [4])):
        torch.testing.assert_close(method.classify(h)[:, k], z[:, path].norm(dim=1))


def test_hier_cos_in_a_flat_tree_is_cross_entropy_of_sizes(flat, make):
    method = make(HierCOS, flat, HIERARCHY, alpha=0.0)
    z = method.train().features(flat.images) @ method.basis.T
    loss = total(make(HierCOS, flat, HIERARCHY, alpha=0.0).loss(flat.batch(bias=False)))
    torch.testing.assert_close(loss, F.cross_entropy(z.abs(), flat.target))
    torch.testing.assert_close(method.classify(method.features(flat.images)).argmax(dim=1), z.abs().argmax(dim=1))


def test_hier_cos_counts_a_level_of_which_all_images_are_of_the_first_node(uneven, make):
    method = make(HierCOS, uneven, HIERARCHY, alpha=1.0).eval()
    first = uneven.batch(torch.tensor([4, 9]), bias=False)  # class e, the first node of level 1
    assert first.target.tolist() == [4, 4]
    z = method.features(first.images) @ method.basis.T
    by_hand = torch.stack([hier_cos_by_hand(row, 4, UNEVEN, 1.0) for row in z]).mean()
    torch.testing.assert_close(total(method.loss(first)), by_hand, rtol=1e-5, atol=0)


@pytest.mark.parametrize("method_class", [SoftLabels, HXE, CRM, HierCOS])
def test_without_a_hierarchy_they_are_refused(toy_of, make, method_class):
    toy = toy_of(num_images=10, num_classes=5)
    object.__setattr__(toy, "hierarchy", None)
    with pytest.raises(ConfigurationError, match="needs a class hierarchy"):
        make(method_class, toy, HIERARCHY)


@pytest.mark.parametrize("method_class", [SoftLabels, HXE, HierCOS])
def test_a_step_is_not_erms(uneven, make, method_class):
    method = make(method_class, uneven, HIERARCHY)
    total(method.loss(uneven.batch(bias=False))).backward()
    ours = method.backbone.layers[1].weight.grad
    base = make(ERM, uneven)
    base.loss(uneven.batch(bias=False)).backward()
    theirs = base.backbone.layers[1].weight.grad
    assert F.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) < 0.999
