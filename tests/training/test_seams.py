"""What the runner tells a method and takes from it: progress, stages, orders, views, backbones, a report."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ncbench
from ncbench import (
    Batch,
    ConfigurationError,
    Method,
    MethodCard,
    Parameters,
    PluginError,
    SplitView,
    Stage,
    Supervision,
)
from ncbench.conformance.problem import SmallBackbone, make_problem, without_bias, without_val
from ncbench.contracts.task import Progress
from ncbench.data.store.open import Store
from ncbench.discovery.registry import Plugin, Registered, registry
from ncbench.training.evaluation.evaluator import Evaluator
from ncbench.training.interrupts import Interrupts
from ncbench.training.loop import RunState, fit, make_method
from ncbench.training.recipe import Recipe
from ncbench.training.reporters import Silent
from ncbench.training.splits import load_splits, task_of

RECIPE = Recipe(epochs=4, batch_size=8, lr=0.1, schedule="cosine", input_scaling="unit", measure_points=1)


class Plain(Method):
    """Cross-entropy."""

    def loss(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self(batch.images), batch.target)


def train(
    method_class: type[Method],
    folder: Path,
    problem: Store | None = None,
    recipe: Recipe = RECIPE,
    stop_after: int | None = None,
    resume: bool = False,
) -> tuple[Method, RunState]:
    """Train a method by the runner's loop, and end after a number of epochs if one is given."""
    store = problem or make_problem()
    task = task_of(store, 0, Supervision())
    method = make_method(method_class, "it", Parameters(), task, lambda spec=None: SmallBackbone(task.input_shape))
    state, interrupts = RunState(), Interrupts(lambda message: None)

    class Stopping(Silent):
        def epoch(self, entry: dict[str, Any]) -> None:
            interrupts.noted = entry["epoch"] == stop_after

    fit(
        method,
        load_splits(store, recipe, (), (), torch.device("cpu"), torch.contiguous_format),
        recipe,
        Evaluator(store, {}, 64, None),
        state,
        checkpoints=folder,
        checkpoint_seconds=float("inf"),
        resume=resume,
        reporter=Stopping(),
        interrupts=interrupts,
    )
    return method, state


def test_a_method_is_told_where_it_is(tmp_path: Path) -> None:
    seen: list[tuple[str, Progress]] = []

    class Notes(Plain):
        def stages(self, epochs: int) -> Sequence[Stage]:
            return [Stage("first", 1), Stage("second", 2)]

        def start_stage(self, stage: Stage, train: SplitView, val: SplitView | None) -> None:
            seen.append(("start", self.progress))

        def order(self, train: SplitView, generator: torch.Generator) -> Tensor:
            seen.append(("order", self.progress))
            return torch.arange(20)

        def loss(self, batch: Batch) -> Tensor:
            seen.append(("loss", self.progress))
            return super().loss(batch)

        def finish(self, train: SplitView, val: SplitView | None) -> None:
            seen.append(("finish", self.progress))

    train(Notes, tmp_path)

    def epoch(stage: str, done: int, epochs: int) -> list[tuple[str, Progress]]:
        steps = [("loss", Progress(stage, done, epochs, step, 3)) for step in range(3)]
        return [("order", Progress(stage, done, epochs)), *steps]

    assert seen == [
        ("start", Progress("first", 0, 1)),
        *epoch("first", 0, 1),
        ("start", Progress("second", 0, 2)),
        *epoch("second", 0, 2),
        *epoch("second", 1, 2),
        ("finish", Progress("second", 2, 2)),
    ]


def test_a_stage_begins_with_the_validation_images_where_there_are_any(tmp_path: Path) -> None:
    seen: list[SplitView | None] = []

    class LooksAtVal(Plain):
        def start_stage(self, stage: Stage, train: SplitView, val: SplitView | None) -> None:
            seen.append(val)

    problem = make_problem()
    train(LooksAtVal, tmp_path / "with", problem)
    train(LooksAtVal, tmp_path / "without", without_val(problem))
    assert seen[0] is not None
    assert seen[0].target.tolist() == problem.splits["val"].target.tolist()
    assert seen[1] is None


def test_a_stage_of_two_arguments_is_still_understood(tmp_path: Path) -> None:
    begun = []

    class Older(Plain):
        def start_stage(self, stage: Stage, train: SplitView) -> None:  # type: ignore[override]
            begun.append(stage.name)

    train(Older, tmp_path)
    assert begun == ["train"]


class InTwo(Plain):
    """The training of `Plain`, cut into two stages."""

    def stages(self, epochs: int) -> Sequence[Stage]:
        return [Stage("begin", 1), Stage("go on", epochs - 1, continues=True)]


def test_a_stage_that_continues_goes_on_with_the_optimizer_and_the_schedule(tmp_path: Path) -> None:
    whole, _ = train(Plain, tmp_path / "whole")
    parts, state = train(InTwo, tmp_path / "parts")
    assert [entry["stage"] for entry in state.history] == ["begin", *["go on"] * 3]
    assert [entry["lr"] for entry in state.history] == [RECIPE.learning_rate(epoch, 4) for epoch in range(4)]
    # Dropout draws from the epoch's generator, so the two trainings are the same to the last bit.
    assert all(map(torch.equal, whole.state_dict().values(), parts.state_dict().values()))


@pytest.mark.parametrize("stop_after", [1, 2])
def test_a_continuing_stage_is_resumed_exactly(tmp_path: Path, stop_after: int) -> None:
    whole, _ = train(InTwo, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(InTwo, tmp_path / "cut", stop_after=stop_after)
    resumed, _ = train(InTwo, tmp_path / "cut", resume=True)
    assert all(map(torch.equal, whole.state_dict().values(), resumed.state_dict().values()))


def test_a_continuing_stage_may_change_its_learning_rates_and_no_parameters(tmp_path: Path) -> None:
    class Stands(InTwo):
        def parameter_groups(self) -> list[dict[str, Any]]:
            groups = super().parameter_groups()
            return [{**group, "lr_scale": float(self.progress.stage == "begin")} for group in groups]

    short, _ = train(Plain, tmp_path / "short", stop_after=None, recipe=RECIPE.model_copy(update={"epochs": 4}))
    stands, _ = train(Stands, tmp_path / "stands")
    with pytest.raises(KeyboardInterrupt):
        train(InTwo, tmp_path / "cut", stop_after=1)
    after_one = torch.load(tmp_path / "cut" / "epoch-00001.pt", weights_only=True)["method"]
    assert all(torch.equal(stands.state_dict()[name], value) for name, value in after_one.items())
    assert not all(torch.equal(short.state_dict()[name], value) for name, value in after_one.items())

    class StartsOver(InTwo):
        def start_stage(self, stage: Stage, train: SplitView, val: SplitView | None) -> None:
            self.build()

    with pytest.raises(PluginError, match="StartsOver changes its parameters in the stage 'go on'"):
        train(StartsOver, tmp_path / "over")


def test_an_order_may_be_its_batches(tmp_path: Path) -> None:
    seen: list[list[int]] = []

    class Batches(Plain):
        def order(self, train: SplitView, generator: torch.Generator) -> list[Tensor]:
            return [torch.tensor([3, 1, 2]), torch.tensor([7]), torch.tensor([5, 5, 5, 0])]

        def loss(self, batch: Batch) -> Tensor:
            seen.append(batch.index.tolist())
            return super().loss(batch)

    _, state = train(Batches, tmp_path, recipe=RECIPE.model_copy(update={"epochs": 1}))
    assert seen == [[3, 1, 2], [7], [5, 5, 5, 0]]
    assert state.history[0]["losses"]["loss"] > 0


@pytest.mark.parametrize(
    ("order", "complaint"),
    [
        (torch.tensor([0.0]), "must return int64 positions"),
        (torch.tensor([], dtype=torch.int64), "must return int64 positions"),
        (torch.tensor([0, 40]), r"positions in 0\.\.39, not 0 to 40"),
        ([torch.tensor([1]), torch.tensor([-1])], r"positions in 0\.\.39, not -1 to -1"),
        ([], "returns no batch"),
        ([3], "must return int64 positions"),
    ],
)
def test_an_order_that_is_none_is_refused_with_the_methods_name(tmp_path: Path, order: Any, complaint: str) -> None:
    class Disordered(Plain):
        def order(self, train: SplitView, generator: torch.Generator) -> Any:
            return order

    with pytest.raises(PluginError, match=f"Disordered.*{complaint}"):
        train(Disordered, tmp_path)


@pytest.mark.parametrize(
    ("report", "shown"),
    [({"k": "3"}, r"\{'k': '3'\}"), ({"k": float("inf")}, "inf"), ({3: 1.0}, "3: 1.0"), ([1.0], r"\[1.0\]")],
)
def test_a_report_that_is_no_numbers_is_refused_with_the_methods_name(tmp_path: Path, report: Any, shown: str) -> None:
    class Reports(Plain):
        def finish(self, train: SplitView, val: SplitView | None) -> None:
            self.report = report

    with pytest.raises(PluginError, match=f"report of Reports must be finite numbers by name, not .*{shown}"):
        train(Reports, tmp_path)


def test_a_loss_that_depends_on_nothing_is_refused_with_the_methods_name(tmp_path: Path) -> None:
    class Detached(Plain):
        def loss(self, batch: Batch) -> Tensor:
            return super().loss(batch).detach()

    with pytest.raises(PluginError, match="of Detached depends on no parameter"):
        train(Detached, tmp_path)


def test_views_are_independent_augmentations_of_the_same_images(tmp_path: Path) -> None:
    seen: list[Batch] = []

    class TwoViews(Plain):
        views = 2

        def loss(self, batch: Batch) -> Tensor:
            seen.append(copy.copy(batch))
            return super().loss(batch)

    augmented = RECIPE.model_copy(update={"epochs": 1, "augmentation": "crop_flip"})
    train(TwoViews, tmp_path / "augmented", recipe=augmented)
    assert all(batch.views.shape == (2, len(batch), 3, 4, 4) for batch in seen)
    assert all(torch.equal(batch.views[0], batch.images) for batch in seen)
    assert any(not torch.equal(batch.views[0], batch.views[1]) for batch in seen)
    seen.clear()
    train(TwoViews, tmp_path / "plain", recipe=RECIPE.model_copy(update={"epochs": 1}))
    assert all(torch.equal(batch.views[0], batch.views[1]) for batch in seen)


class Asks(Method):
    """Has a second network of another architecture, and reports its width."""

    def build(self) -> None:
        super().build()
        self.second = self.make_backbone("mlp:hidden=7")
        self.head = nn.Linear(self.second.feature_dim, self.task.num_classes)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = {"first": self(batch.images), "second": self.head(self.second(batch.images))}
        return {name: F.cross_entropy(values, batch.target) for name, values in logits.items()}

    def finish(self, train: SplitView, val: SplitView | None) -> None:
        self.report["width"] = float(self.second.feature_dim)


class AsksForNothing(Asks):
    """Asks for a backbone that there is not."""

    def build(self) -> None:
        self.make_backbone("mpl")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `asks` and `nothing` be found as if a package had brought them."""
    for name, method_class in (("asks", Asks), ("nothing", AsksForNothing)):
        card = MethodCard(
            name=name, summary="Asks.", factory=f"{__name__}:{method_class.__name__}", supervision=Supervision()
        )
        monkeypatch.setitem(registry().cards["methods"], name, [Registered(card, Plugin("it", "it", "1.0"))])


@pytest.mark.usefixtures("installed")
def test_a_method_gets_another_backbone_and_its_report_is_in_the_record(tmp_path: Path) -> None:
    result = ncbench.run("asks", set={"recipe.epochs": 1}, output=tmp_path)
    assert result.record.report == {"width": 7.0}
    assert result.status == "completed"


@pytest.mark.usefixtures("installed")
def test_a_backbone_that_there_is_not_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"Unknown backbone 'mpl'\. Did you mean 'mlp'"):
        ncbench.run("nothing", set={"recipe.epochs": 1}, output=tmp_path)


@pytest.mark.parametrize(
    ("supervision", "problem", "complaint"),
    [
        (
            Supervision(train="bias"),
            without_bias(make_problem()),
            "it needs the bias attribute",
        ),
        (Supervision(val="bias"), without_val(make_problem()), "of the validation images"),
        (Supervision(hierarchy=True), replace(make_problem(), hierarchy=None), "needs a class hierarchy"),
    ],
)
def test_what_a_method_declares_must_be_there(supervision: Supervision, problem: Store, complaint: str) -> None:
    class Alternative(Plain):
        alternative = "Use another."

    task = task_of(problem, 0, supervision)
    with pytest.raises(ConfigurationError, match=f"{complaint}.*Use another"):
        make_method(Alternative, "it", Parameters(), task, lambda spec=None: SmallBackbone(task.input_shape))
