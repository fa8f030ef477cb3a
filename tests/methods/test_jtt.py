"""JTT: which images its second stage sees, how often, and from which starting point."""

from __future__ import annotations

import copy

import pytest
import torch

from ncbench import ConfigurationError
from ncbench_methods.balancing.jtt import JTT


def identify(method, split):
    stages = method.stages(8)
    method.start_stage(stages[0], split, None)
    return stages


def test_stages_are_the_identification_and_the_recipes_epochs(toy, make):
    stages = make(JTT, toy, identify_epochs=3).stages(8)
    assert [(stage.name, stage.epochs) for stage in stages] == [("identify", 3), ("train", 8)]


def test_the_second_stage_visits_errors_upweight_times_and_the_others_once(toy, make):
    method = make(JTT, toy, upweight=7)
    split = toy.split(bias=False)
    stages = identify(method, split)
    assert sorted(method.order(split, torch.Generator()).tolist()) == list(range(24))

    with torch.no_grad():
        wrong = method.eval()(toy.images).argmax(1) != toy.target
    assert 0 < wrong.sum() < 24
    method.train()
    method.start_stage(stages[1], split, None)
    order = method.order(split, torch.Generator().manual_seed(0))
    assert torch.bincount(order, minlength=24).tolist() == torch.where(wrong, 7, 1).tolist()
    # Shuffled anew each epoch: not grouped by image, and not the same order twice.
    assert order.tolist() != sorted(order.tolist())
    assert order.tolist() != method.order(split, torch.Generator().manual_seed(1)).tolist()


def test_equal_epochs_draw_n_images_by_the_same_weights(toy, make):
    method = make(JTT, toy, upweight=7, equal_epochs=True)
    split = toy.split(bias=False)
    stages = identify(method, split)
    wrong = method.errors(split)
    method.start_stage(stages[1], split, None)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([method.order(split, generator) for _ in range(2000)])
    assert drawn.shape == (2000, 24)
    weight = torch.where(wrong, 7.0, 1.0)
    share = torch.bincount(drawn.flatten(), minlength=24) / drawn.numel()
    torch.testing.assert_close(share, weight / weight.sum(), atol=0.005, rtol=0)


def test_errors_are_scored_in_evaluation_mode_without_touching_batch_norm(toy, make):
    method = make(JTT, toy)
    method.train()
    method(toy.images)  # gives BatchNorm running statistics unlike any batch of five
    before = {name: value.clone() for name, value in method.state_dict().items()}
    with torch.no_grad():
        expected = method.eval()(toy.images).argmax(1) != toy.target
    method.train()
    assert method.errors(toy.split(bias=False)).tolist() == expected.tolist()
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())


def test_the_second_stage_starts_from_scratch(toy, make):
    method = make(JTT, toy)
    split = toy.split(bias=False)
    stages = identify(method, split)
    old = [parameter.clone() for parameter in method.parameters()]
    torch.manual_seed(5)
    method.start_stage(stages[1], split, None)
    new = list(method.parameters())
    assert all(not torch.equal(a.double(), b.double()) for a, b in zip(old, new, strict=True) if a.dim() > 1)


def test_a_run_resumed_in_the_second_stage_keeps_the_error_set(toy, make):
    method = make(JTT, toy, upweight=7)
    split = toy.split(bias=False)
    stages = identify(method, split)
    shapes = {name: value.shape for name, value in method.state_dict().items()}
    method.start_stage(stages[1], split, None)
    assert {name: value.shape for name, value in method.state_dict().items()} == shapes
    twin = make(JTT, toy, upweight=7)
    twin.load_state_dict(copy.deepcopy(method.state_dict()))
    orders = [m.order(split, torch.Generator().manual_seed(2)) for m in (method, twin)]
    assert torch.equal(*orders)
    assert len(orders[0]) > 24


@pytest.mark.parametrize("values", [{"upweight": 0}, {"identify_epochs": 0}])
def test_senseless_parameters_are_refused(values):
    with pytest.raises(ConfigurationError, match=next(iter(values))):
        JTT.Parameters.build(values, owner="jtt")


def test_published_values():
    waterbirds = JTT.published["waterbirds"]
    assert waterbirds.parameters == {"identify_epochs": 60, "upweight": 100}
    assert (waterbirds.recipe["lr"], waterbirds.recipe["weight_decay"], waterbirds.recipe["batch_size"]) == (
        1e-5,
        1,
        64,
    )
    assert JTT.published["celeba"].parameters == {"identify_epochs": 1, "upweight": 50}
