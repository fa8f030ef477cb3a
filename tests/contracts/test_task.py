from __future__ import annotations

import pytest
import torch

from ncbench import Batch, SplitView, Supervision, SupervisionError, Task
from ncbench.contracts.task import derived_seed, withheld


def make_task(supervision: Supervision) -> Task:
    return Task(
        num_classes=2,
        num_bias=2,
        class_names=("a", "b"),
        bias_names=("x", "y"),
        input_shape=(3, 8, 8),
        num_train=10,
        class_counts=torch.tensor([6, 4]),
        seed=0,
        bias_known_on_train=True,
        supervision=supervision,
        _group_counts=torch.tensor([[5, 1], [1, 3]]) if supervision.train == "bias" else None,
    )


def test_group_counts_need_a_declaration() -> None:
    assert make_task(Supervision(train="bias")).group_counts.sum() == 10
    with pytest.raises(SupervisionError, match=r"Supervision\(train='bias'\)"):
        _ = make_task(Supervision()).group_counts


def test_the_hierarchy_needs_a_declaration() -> None:
    with pytest.raises(SupervisionError, match=r"Supervision\(hierarchy=True\)"):
        _ = make_task(Supervision()).hierarchy
    with pytest.raises(SupervisionError, match="no class hierarchy"):
        _ = make_task(Supervision(hierarchy=True)).hierarchy


@pytest.mark.parametrize("split", ["train", "val"])
def test_bias_labels_are_withheld_unless_declared(split: str) -> None:
    declared = Supervision(**{split: "bias"})
    assert withheld(split, declared, known=True) == ""
    assert "unknown" in withheld(split, declared, known=False)
    other = "val" if split == "train" else "train"
    reason = withheld(split, Supervision(**{other: "bias"}), known=True)
    assert f"Supervision({split}='bias')" in reason

    labels = torch.zeros(3, dtype=torch.int64)
    for holder in (
        Batch(torch.zeros(3, 1, 2, 2), labels, labels, None, reason),
        SplitView(split, labels, lambda: iter(()), None, reason),
    ):
        with pytest.raises(SupervisionError, match="without declaring it"):
            _ = holder.bias


def test_derived_seeds_depend_on_seed_and_purpose() -> None:
    seeds = {derived_seed(seed, *purpose) for seed in (0, 1) for purpose in (("a",), ("b",), ("a", 1), ("a", 2))}
    assert len(seeds) == 8
    assert derived_seed(0, "a", 1) == derived_seed(0, "a", 1)


def test_generators_of_one_purpose_draw_the_same() -> None:
    task = make_task(Supervision())
    first, second = (torch.rand(4, generator=task.generator("frame")) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, torch.rand(4, generator=task.generator("primes")))
