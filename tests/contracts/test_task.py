"""What a method is handed: the task, batches and splits, without the labels that it does not declare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from ncbench import Groups, PluginError, SplitView, Supervision, SupervisionError, Task
from ncbench.contracts.task import derived_seed
from ncbench.geometry import Hierarchy

TARGET = torch.tensor([0] * 6 + [1] * 4)
BIAS = torch.tensor([0] * 5 + [1] + [0] + [1] * 3)
TREE = Hierarchy.from_categories([("a", "left"), ("b", "right")])


def make_task(
    supervision: Supervision, bias: Tensor | None = BIAS, hierarchy: Hierarchy | None = TREE, val: bool = False
) -> Task:
    labels = {"train": (TARGET, bias)} | ({"val": (TARGET[:3], bias)} if val else {})
    return Task.of(
        labels,
        class_names=("a", "b"),
        bias_names=() if bias is None else ("x", "y"),
        input_shape=(3, 8, 8),
        hierarchy=hierarchy,
        seed=0,
        supervision=supervision,
    )


def make_view(name: str, supervision: Supervision, bias: Tensor | None = BIAS) -> SplitView:
    images = torch.arange(10.0).reshape(10, 1, 1, 1)

    def pass_over(positions: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for index in positions.split(4):
            yield images[index], index

    return SplitView.of(name, TARGET, bias, supervision, pass_over)


def test_the_task_counts_classes_and_declared_groups() -> None:
    task = make_task(Supervision(train="bias"))
    assert (task.num_classes, task.num_bias, task.num_train) == (2, 2, 10)
    assert task.class_counts.tolist() == [6, 4]
    assert task.group_counts.tolist() == [[5, 1], [1, 3]]
    assert task.input_shape == task.image_shape == (3, 8, 8)


def test_group_counts_need_a_declaration() -> None:
    with pytest.raises(SupervisionError, match=r"Supervision\(train='bias'\)"):
        _ = make_task(Supervision()).group_counts
    assert make_task(Supervision())._group_counts is None
    with pytest.raises(SupervisionError, match="unknown for this dataset"):
        _ = make_task(Supervision(train="bias"), bias=None).group_counts


def test_the_hierarchy_needs_a_declaration() -> None:
    assert make_task(Supervision(hierarchy=True)).hierarchy is TREE
    with pytest.raises(SupervisionError, match=r"Supervision\(hierarchy=True\)"):
        _ = make_task(Supervision()).hierarchy
    assert make_task(Supervision())._hierarchy is None
    with pytest.raises(SupervisionError, match="no class hierarchy"):
        _ = make_task(Supervision(hierarchy=True), hierarchy=None).hierarchy


def test_the_task_says_what_is_known_without_giving_it_away() -> None:
    task = make_task(Supervision(), val=True)
    assert (task.has_val, task.bias_known_on_train, task.bias_known_on_val, task.has_hierarchy) == (True,) * 4
    task = make_task(Supervision(), bias=None, hierarchy=None)
    assert (task.has_val, task.bias_known_on_train, task.bias_known_on_val, task.has_hierarchy) == (False,) * 4


@pytest.mark.parametrize("split", ["train", "val"])
def test_bias_labels_are_withheld_unless_declared(split: str) -> None:
    other = "val" if split == "train" else "train"
    view = make_view(split, Supervision(**{other: "bias"}))
    for holder in (view, next(view.batches())):
        with pytest.raises(SupervisionError, match=rf"without declaring it; declare Supervision\({split}='bias'\)"):
            _ = holder.bias
        assert holder._bias is None  # a method that looks behind the contract finds nothing
    declared = make_view(split, Supervision(**{split: "bias"}))
    assert torch.equal(declared.bias, BIAS)
    assert torch.equal(torch.cat([batch.bias for batch in declared.batches()]), BIAS)
    with pytest.raises(SupervisionError, match=f"{split} images is unknown"):
        _ = make_view(split, Supervision(**{split: "bias"}), bias=None).bias


def test_a_pass_over_chosen_images_visits_them_in_their_order() -> None:
    view = make_view("train", Supervision(train="bias"))
    chosen = torch.tensor([9, 0, 3, 3, 7])
    batches = list(view.batches(chosen))
    assert torch.equal(torch.cat([batch.index for batch in batches]), chosen)
    assert torch.equal(torch.cat([batch.images.flatten() for batch in batches]), chosen.float())
    assert torch.equal(torch.cat([batch.bias for batch in batches]), BIAS[chosen])
    assert torch.equal(torch.cat([batch.target for batch in batches]), TARGET[chosen])
    assert len(list(view.batches(torch.tensor([], dtype=torch.int64)))) <= 1


def test_one_view_is_the_images_themselves() -> None:
    batch = next(make_view("train", Supervision()).batches())
    assert batch.views.shape == (1, *batch.images.shape)
    assert torch.equal(batch.views[0], batch.images)


def test_derived_seeds_depend_on_seed_and_purpose() -> None:
    seeds = {derived_seed(seed, *purpose) for seed in (0, 1) for purpose in (("a",), ("b",), ("a", 1), ("a", 2))}
    assert len(seeds) == 8
    assert derived_seed(0, "a", 1) == derived_seed(0, "a", 1)


def test_generators_of_one_purpose_draw_the_same() -> None:
    task = make_task(Supervision())
    first, second = (torch.rand(4, generator=task.generator("frame")) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, torch.rand(4, generator=task.generator("primes")))


@pytest.mark.parametrize(
    ("train", "count", "val", "complaint"),
    [
        (BIAS, 0, None, "must be a whole number from 1, not 0"),
        (BIAS, True, None, "must be a whole number from 1, not True"),
        (BIAS.float(), 2, None, "train groups must be int64"),
        (BIAS[None], 2, None, "train groups must be int64 of shape"),
        ([0, 1], 2, None, "train groups must be int64"),
        (BIAS, 1, None, r"must be in 0\.\.0, not 0 to 1"),
        (BIAS, 2, BIAS - 1, r"val groups must be in 0\.\.1, not -1 to 0"),
    ],
)
def test_groups_of_another_form_are_refused(train: Any, count: Any, val: Any, complaint: str) -> None:
    with pytest.raises(PluginError, match=complaint):
        Groups(train, count, val)


def test_groups_may_be_empty_and_have_names() -> None:
    groups = Groups(BIAS, 4)
    assert groups.names == ("group 0", "group 1", "group 2", "group 3")
    assert groups.val is None
