"""subsample and pde: which images an epoch visits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ncbench import Method, Supervision
from ncbench.contracts.task import Progress
from ncbench_methods.balancing.cells import drawn_subset
from ncbench_methods.balancing.pde import PDE
from ncbench_methods.balancing.subsample import Subsample

BIAS = Supervision(train="bias")


@pytest.fixture
def uneven(toy_of):
    """Groups of 30, 6, 0 (y = 0) and 0, 9, 3 (y = 1) images."""
    toy = toy_of(num_images=48, num_classes=2, num_bias=3)
    toy.target[:] = torch.tensor([0] * 36 + [1] * 12)
    toy.bias[:] = torch.tensor([0] * 30 + [1] * 6 + [1] * 9 + [2] * 3)
    return toy


def order(method: Method, toy, seed: int = 0, **at) -> list[int]:
    method.progress = Progress(**at)
    return method.order(toy.split(), torch.Generator().manual_seed(seed)).tolist()


def groups(images, toy) -> list[int]:
    return torch.bincount(toy.target[images] * toy.num_bias + toy.bias[images], minlength=6).tolist()


@given(st.lists(st.integers(0, 4), max_size=40), st.lists(st.integers(0, 6), min_size=5, max_size=5), st.integers(0, 9))
def test_a_subset_holds_as_many_of_each_cell_as_asked_for_each_once(cells, sizes, seed):
    cell, wanted = torch.tensor(cells, dtype=torch.int64), torch.tensor(sizes)
    found = drawn_subset(cell, wanted, torch.Generator().manual_seed(seed))
    assert found.tolist() == sorted(set(found.tolist()))
    counts = torch.bincount(cell, minlength=5)
    assert torch.equal(torch.bincount(cell[found], minlength=5), torch.minimum(counts, wanted))


def test_every_image_of_a_cell_is_as_likely():
    cell = torch.tensor([0] * 6 + [1] * 3)
    found = [drawn_subset(cell, torch.tensor([2, 3]), torch.Generator().manual_seed(seed)) for seed in range(900)]
    share = torch.bincount(torch.cat(found), minlength=9) / 900
    assert share.tolist() == pytest.approx([1 / 3] * 6 + [1.0] * 3, abs=0.06)  # standard error 0.016


def test_subsample_keeps_its_images_for_the_run_and_another_seed_has_others(uneven, make):
    method = make(Subsample, uneven, BIAS)
    first, second = order(method, uneven, 0), order(method, uneven, 1)
    assert groups(first, uneven) == [3, 3, 0, 0, 3, 3]
    assert sorted(first) == sorted(second)
    assert first != second
    assert sorted(first) != sorted(order(make(Subsample, uneven, BIAS, seed=1), uneven))


def test_subsample_may_draw_anew_each_epoch(uneven, make):
    method = make(Subsample, uneven, BIAS, redraw=True)
    first, second = order(method, uneven, 0), order(method, uneven, 1)
    assert groups(first, uneven) == groups(second, uneven) == [3, 3, 0, 0, 3, 3]
    assert sorted(first) != sorted(second)


def test_subsample_by_class_cuts_classes_down(uneven, make):
    images = order(make(Subsample, uneven, BIAS, by="class"), uneven)
    assert torch.bincount(uneven.target[images]).tolist() == [12, 12]


def test_balanced_data_are_erms_in_erms_order(toy_of, make):
    toy = toy_of(num_images=24, num_classes=2, num_bias=2)
    toy.bias[:] = torch.arange(24) // 2 % 2
    method = make(Subsample, toy, BIAS)
    assert order(method, toy) == Method.order(method, toy.split(), torch.Generator().manual_seed(0)).tolist()


def test_pde_warms_up_on_groups_of_one_size_within_a_class_or_of_all(uneven, make):
    assert groups(order(make(PDE, uneven, BIAS), uneven, stage="warm_up"), uneven) == [6, 6, 0, 0, 3, 3]
    everywhere = make(PDE, uneven, BIAS, balance="all")
    assert groups(order(everywhere, uneven, stage="warm_up"), uneven) == [3, 3, 0, 0, 3, 3]


def test_pde_adds_unused_images_that_stay(uneven, make):
    method = make(PDE, uneven, BIAS, add=4, every=2)
    before = set(order(method, uneven, stage="warm_up", epoch=9))
    for epoch in range(12):
        images = order(method, uneven, stage="expand", epoch=epoch)
        assert len(images) == len(set(images)) == min(18 + 4 * (1 + epoch // 2), 48)
        assert before <= set(images)
        before = set(images)


def test_pde_lowers_the_learning_rate_as_it_expands(uneven, make):
    method = make(PDE, uneven, BIAS)
    stages = method.stages(300)
    assert [(stage.name, stage.epochs, stage.continues) for stage in stages] == [
        ("warm_up", 140, False),
        ("expand", 160, True),
    ]
    for stage, scale in zip(stages, (1.0, 0.01), strict=True):
        method.progress = Progress(stage.name)
        (group,) = method.parameter_groups()
        assert group["lr_scale"] == scale
    assert [stage.name for stage in method.stages(1)] == ["warm_up"]
    assert [stage.epochs for stage in make(PDE, uneven, BIAS, warm_up=0.32).stages(50)] == [16, 34]


def test_pde_that_adds_nothing_is_subsample_but_for_the_draw(uneven, make):
    method, plain = make(PDE, uneven, BIAS, add=0, gamma=1.0, balance="all"), make(Subsample, uneven, BIAS)
    for stage in ("warm_up", "expand"):
        images = order(method, uneven, stage=stage)
        assert groups(images, uneven) == groups(order(plain, uneven), uneven)
        assert sorted(images) == sorted(order(method, uneven, 1, stage="expand", epoch=30))
    batch = uneven.batch()
    assert torch.equal(method.eval().loss(batch), plain.eval().loss(batch))
