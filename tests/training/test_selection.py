"""Which epoch's model stands for a run, and how it is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import ncbench
from ncbench import SplitView
from ncbench.records.comparison import describe_choice
from ncbench.training.evaluation.evaluator import DivergedError
from ncbench.training.selection import find_criterion

from .test_seams import Plain, train

EPOCHS = st.lists(
    st.fixed_dictionaries(
        {"accuracy": st.sampled_from((0.0, 0.5, 1.0)), "group_mean_accuracy": st.sampled_from((0.0, 0.5, 1.0))},
        optional={"worst_group_accuracy": st.sampled_from((0.0, 0.1)), "balanced_error": st.sampled_from((0.0, 0.1))},
    )
)


@given(EPOCHS, st.sampled_from(("worst_group_accuracy", "balanced_error", "accuracy", "group_mean_accuracy")))
def test_ties_go_to_the_better_mean_and_then_to_the_later_epoch(epochs: list[dict[str, float]], metric: str) -> None:
    criterion = find_criterion(f"val_{metric}")
    chosen = criterion.choose(list(enumerate(epochs, 1)))
    there = [(number, epoch) for number, epoch in enumerate(epochs, 1) if metric in epoch]
    if not there:
        assert chosen is None
        return
    best = (min if metric == "balanced_error" else max)(epoch[metric] for _, epoch in there)
    equals = [(number, epoch) for number, epoch in there if epoch[metric] == best]
    second = "accuracy" if metric in ("accuracy", "balanced_error") else "group_mean_accuracy"
    mean = max(epoch[second] for _, epoch in equals)
    assert chosen == (max(number for number, epoch in equals if epoch[second] == mean), len(equals))


def test_the_last_epoch_is_the_last() -> None:
    assert find_criterion("last").choose([(number, {}) for number in (1, 2, 3)]) == (3, 1)


def test_a_run_says_which_epoch_was_chosen_by_what_and_names_a_small_group(
    tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    arguments = ["--method", "erm", "--dataset", "colored_digits:val=0.1", "--output", tmp_path]
    arguments += ["--set", "recipe.epochs=3", "--set", "recipe.lr=0.0001", "--set"]
    code, out, err = cli("run", *arguments, "recipe.selection=val_worst_group_accuracy")
    assert code == 0
    record = ncbench.load_result(next(tmp_path.glob("*/result.json"))).record
    chosen = record.selection["val_worst_group_accuracy"]
    assert {group.count for group in record.groups["val"]} == {0, 12}  # none in most groups that training has
    (warning,) = (line for line in err.splitlines() if "chance" in line)
    assert warning.startswith("recipe.selection=val_worst_group_accuracy goes by groups of few validation images; ")
    assert "has 0 images" in warning
    assert chosen.smallest_group == 0
    assert record.selection["last"].smallest_group is record.selection["val_accuracy"].smallest_group is None
    # At this learning rate some group has no image that is classified correctly, at any epoch.
    scores = [entry.metrics["val"]["worst_group_accuracy"] for entry in record.history]
    means = [entry.metrics["val"]["group_mean_accuracy"] for entry in record.history]
    assert scores == [0, 0, 0]
    assert (means[chosen.epoch - 1], chosen.tied) == (max(means), 3)
    said = f"epoch {chosen.epoch} by val_worst_group_accuracy (3 epochs tied, 0 images in the smallest group)"
    assert f"Metrics of {said}:" in out
    code, out, err = cli("run", *arguments, "recipe.selection=last")
    assert "Metrics of epoch 3, the last:" in out
    assert "chance" not in err
    out = cli("compare", *tmp_path.iterdir())[1]
    assert said in out
    assert "epoch 3, the last" in out


def test_several_runs_are_described_together(tmp_path: Path) -> None:
    record = ncbench.run("erm", set={"recipe.epochs": 2}, output=tmp_path).record
    longer = record.model_copy(
        update={"selection": {"last": record.selection["last"].model_copy(update={"epoch": 7})}}, deep=True
    )
    assert describe_choice([longer, record]) == "epochs 2 to 7, the last"
    assert describe_choice([]) == describe_choice([record.model_copy(update={"status": "interrupted"})]) == ""


class Spoilt(Plain):
    """Has no finite logits once the run has come to a position."""

    stage = "train"
    epoch = 2
    split_size = 0
    value = float("nan")

    def classify(self, features: Tensor) -> Tensor:
        logits = super().classify(features)
        spoilt = not self.training and self.progress.stage == self.stage and self.progress.epoch == self.epoch
        return torch.full_like(logits, self.value) if spoilt else logits

    def finish(self, train: SplitView, val: SplitView | None) -> None:
        pass


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_not_finite_are_a_divergence_and_no_class(tmp_path: Path, value: float) -> None:
    class Now(Spoilt):
        pass

    Now.value = value
    with pytest.raises(DivergedError, match=r"the logits of \d+ val images are not finite after epoch 3$"):
        train(Now, tmp_path)


def test_so_are_those_of_a_model_that_finish_spoils(tmp_path: Path) -> None:
    class AtTheEnd(Spoilt):
        epoch = 4

    with pytest.raises(DivergedError, match=r"not finite after finish\(\), of the model of epoch 4$"):
        train(AtTheEnd, tmp_path)
