"""Shortcut primes: one forward pass against the published two, in loss and in gradient, and everything around it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from ncbench import ConfigurationError, Supervision, SupervisionError
from ncbench.contracts.task import Progress
from ncbench.training.recipe import Recipe
from ncbench_methods.frames.shortcut_prime import ShortcutPrime

from .conftest import total

BIAS = Supervision(train="bias")


def two_passes(method, batch, weight, clean_label):
    """The published form: the network runs on [h, e_b] and on [h, 0], each with a pass of its own."""

    def logits(prime):
        return method.classifier(torch.cat([method.backbone(batch.images), prime], dim=1))

    prime = method.primes[batch.bias]
    primed, clean = logits(prime), logits(torch.zeros_like(prime))
    return F.cross_entropy(primed, batch.target) + weight * F.cross_entropy(primed - clean, clean_label)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("weight", [0.0, 0.8, 3.0])
def test_one_pass_equals_the_published_two_in_loss_and_in_every_gradient(toy, make, weight, norm):
    method = make(ShortcutPrime, toy, BIAS, clean_weight=weight, norm=norm)
    batch = toy.batch()
    ours, theirs = total(method.loss(batch)), two_passes(method, batch, weight, method.class_of_bias[batch.bias])
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    names, parameters = zip(*method.named_parameters(), strict=True)
    assert any(name.startswith("backbone") for name in names)
    got, expected = torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters)
    for name, g, e in zip(names, got, expected, strict=True):
        torch.testing.assert_close(g, e, rtol=1e-9, atol=1e-14, msg=lambda text, name=name: f"{name}: {text}")
    assert any(g.abs().max() > 1e-3 for name, g in zip(names, got, strict=True) if name.startswith("backbone"))


def test_batch_norm_statistics_are_updated_once(toy, make):
    method = make(ShortcutPrime, toy, BIAS)
    method.loss(toy.batch())
    assert method.backbone.layers[2].num_batches_tracked.item() == 1


def test_the_primes_are_a_frozen_simplex_etf(toy, make):
    method = make(ShortcutPrime, toy, BIAS)
    gram = method.primes @ method.primes.T
    torch.testing.assert_close(gram, torch.eye(3).double() * 1.5 - 0.5, atol=1e-6, rtol=0)
    assert "primes" in method.state_dict()
    assert all(parameter is not method.primes for parameter in method.parameters())


def test_at_test_time_the_prime_is_zero(toy, make):
    method = make(ShortcutPrime, toy, BIAS).eval()
    h = method.features(toy.images)
    padded = torch.cat([h, torch.zeros(len(h), method.primes.shape[1])], dim=1)
    torch.testing.assert_close(method(toy.images), method.classifier(padded))
    weight, bias = method.classifier_parameters()
    assert bias is None
    torch.testing.assert_close(h @ weight.T, method(toy.images))


@pytest.mark.parametrize(("num_classes", "num_bias"), [(3, 2), (2, 5)])
def test_other_numbers_of_bias_values_map_to_the_class_that_carries_them_most(toy_of, make, num_classes, num_bias):
    toy = toy_of(num_images=60, num_classes=num_classes, num_bias=num_bias)
    method = make(ShortcutPrime, toy, BIAS)
    expected = []
    for b in range(num_bias):
        shares = [
            ((toy.bias == b) & (toy.target == y)).sum().item() / (toy.target == y).sum().item()
            for y in range(num_classes)
        ]
        expected.append(max(range(num_classes), key=shares.__getitem__))
    assert method.class_of_bias.tolist() == expected
    batch = toy.batch()
    theirs = two_passes(method, batch, 0.8, torch.tensor(expected)[batch.bias])
    assert total(method.loss(batch)).item() == pytest.approx(theirs.item(), rel=1e-12)


def test_a_frequent_class_does_not_claim_every_bias_value(toy_of, make):
    toy = toy_of(num_images=100, num_classes=2, num_bias=3)
    toy.target[:] = 0
    toy.target[90:] = 1
    toy.bias[:90] = torch.tensor([0] * 60 + [1] * 20 + [2] * 10)
    toy.bias[90:] = 2  # value 2 is as frequent in either class, but marks every image of the rare one
    assert make(ShortcutPrime, toy, BIAS).class_of_bias.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([[9, 1], [1, 9]], [0, 1]),
        ([[45, 55], [95, 5]], [1, 0]),  # as on CelebA: the second class is hardly ever at the second value
        ([[80, 20], [60, 40]], [0, 1]),
        ([[5, 5], [5, 5]], [0, 1]),  # both values would be the first class's: each has its own index
    ],
)
def test_as_many_bias_values_as_classes_are_matched_by_the_training_images(toy_of, make, counts, expected):
    number = sum(map(sum, counts))
    toy = toy_of(num_images=number, num_classes=2, num_bias=2)
    toy.target[:] = torch.tensor([0] * sum(counts[0]) + [1] * sum(counts[1]))
    toy.bias[:] = torch.tensor([b for row in counts for b, times in enumerate(row) for _ in range(times)])
    assert make(ShortcutPrime, toy, BIAS).class_of_bias.tolist() == expected


def test_more_bias_values_than_the_features_can_hold_apart(toy_of, make):
    toy = toy_of(num_images=60, num_classes=3, num_bias=9)
    method = make(ShortcutPrime, toy, BIAS, feature_dim=4)
    assert method.primes.shape == (9, 9)
    assert method.classifier_parameters()[0].shape == (3, 4)
    assert torch.isfinite(total(method.loss(toy.batch())))
    assert method(toy.images).shape == (60, 3)


def test_an_unknown_attribute_is_refused_and_the_way_on_is_named(toy, make):
    with pytest.raises(ConfigurationError, match="bias=pseudo"):
        make(ShortcutPrime, toy, BIAS, bias_known=False)


def test_an_attribute_of_one_value_is_refused(toy_of, make):
    with pytest.raises(ConfigurationError, match="at least 2 values"):
        make(ShortcutPrime, toy_of(num_bias=1), BIAS)


def test_pseudo_attributes_declare_no_supervision(toy, make):
    params = ShortcutPrime.Parameters.build({"bias": "pseudo"}, owner="shortcut_prime")
    assert ShortcutPrime.supervision(params, BIAS) == Supervision()
    assert ShortcutPrime.supervision(ShortcutPrime.Parameters(), BIAS) == BIAS


def test_the_attribute_is_read_from_the_batch(toy, make):
    with pytest.raises(SupervisionError):
        make(ShortcutPrime, toy, BIAS).loss(toy.batch(bias=False))


def test_published_settings_let_the_learning_rate_grow():
    published = ShortcutPrime.published["colored_mnist"]
    recipe = Recipe.build(published.recipe, owner="the recipe")
    assert (recipe.optimizer, recipe.weight_decay, recipe.batch_size, recipe.epochs) == ("adam", 1e-5, 256, 200)
    rates = [recipe.learning_rate(epoch, 200) for epoch in (0, 9, 10, 25)]
    assert rates == pytest.approx([1e-3, 1e-3, 1.01e-3, 1e-3 * 1.01**2])


def start(method, stage, split):
    """Begin a stage as the runner does."""
    method.progress = Progress(stage.name, 0, stage.epochs)
    method.start_stage(stage, split, None)


class TestPseudo:
    @pytest.fixture
    def method(self, toy, make):
        return make(ShortcutPrime, toy, BIAS, bias="pseudo", pseudo_epochs=4, bias_known=False)

    def test_it_trains_a_biased_network_with_generalised_cross_entropy_first(self, toy, method):
        stages = method.stages(9)
        assert [(stage.name, stage.epochs) for stage in stages] == [("identify", 4), ("train", 9)]
        start(method, stages[0], toy.split(bias=False))
        batch = toy.batch(bias=False)
        p = method(batch.images).softmax(1)[torch.arange(24), batch.target]
        assert total(method.loss(batch)).item() == pytest.approx(((1 - p**0.7) / 0.7).mean().item())

    def test_its_predictions_become_b_and_the_network_starts_afresh(self, toy, method):
        stages, split = method.stages(9), toy.split(bias=False)
        start(method, stages[0], split)
        with torch.no_grad():
            predicted = method.eval()(toy.images).argmax(1)
        assert len(set(predicted.tolist())) > 1
        method.train()
        old = method.classifier.weight.clone()
        torch.manual_seed(7)
        start(method, stages[1], split)
        method.double()
        assert method.pseudo_bias.tolist() == predicted.tolist()
        assert not torch.equal(method.classifier.weight, old)
        index = torch.tensor([5, 1, 17])
        unlabelled, labelled = toy.batch(index, bias=False), toy.batch(index)
        labelled.bias[:] = predicted[index]
        theirs = two_passes(method, labelled, 0.8, labelled.bias)
        assert total(method.loss(unlabelled)).item() == pytest.approx(theirs.item(), rel=1e-6)

    def test_a_resumed_run_knows_its_stage_and_its_pseudo_attributes(self, toy, make, method):
        stages, split, batch = method.stages(9), toy.split(bias=False), toy.batch(bias=False)
        shapes = {name: value.shape for name, value in method.state_dict().items()}
        start(method, stages[0], split)
        for stage in stages:
            start(method, stage, split)
            method.double()
            state = copy.deepcopy(method.state_dict())
            assert {name: value.shape for name, value in state.items()} == shapes
            twin = make(ShortcutPrime, toy, BIAS, bias="pseudo", pseudo_epochs=4, bias_known=False)
            twin.load_state_dict(state)
            twin.progress = method.progress
            ours, theirs = method.loss(batch), twin.loss(batch)
            assert ours.keys() == theirs.keys()
            assert total(ours).item() == total(theirs).item()
