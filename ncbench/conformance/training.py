"""Training a method on a small problem by the runner's own loop."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ncbench.conformance.problem import SmallBackbone, images_of, make_problem
from ncbench.conformance.properties.common import require_backbone
from ncbench.conformance.subject import ConformanceError, Subject, require
from ncbench.conformance.surroundings import temporary_folder
from ncbench.contracts.cards import Supervision
from ncbench.contracts.errors import PluginError
from ncbench.contracts.method import Backbone, Method, Stage
from ncbench.contracts.soundness import sound_order
from ncbench.contracts.specs import Spec
from ncbench.contracts.task import Groups, SplitView, Task
from ncbench.data.store.open import Store
from ncbench.discovery.registry import registry
from ncbench.training.evaluation.evaluator import DivergedError, Evaluator
from ncbench.training.interrupts import Interrupts
from ncbench.training.loop import Fitted, RunState, fit, make_method
from ncbench.training.recipe import Recipe
from ncbench.training.reporters import Silent
from ncbench.training.splits import LoadedSplit, load_splits, task_of

EPOCHS = 2  # trained of each stage, however long it wants to be
STEPS = 4  # taken of each epoch at most
RECIPE = Recipe(
    epochs=EPOCHS, batch_size=8, optimizer="adam", lr=1e-3, weight_decay=0.0, input_scaling="unit", measure_points=1
)

Order = Callable[[Callable[..., Any], SplitView, torch.Generator], Any]
"""What takes the place of ``method.order``, which it is given first."""


def _own(order: Callable[..., Any], train: SplitView, generator: torch.Generator) -> Any:
    return order(train, generator)


def supervision(subject: Subject) -> Supervision:
    """Return what the method uses with the subject's parameters."""
    used: Supervision = subject.factory.supervision(subject.params, subject.card.supervision)
    return used


def build(subject: Subject, problem: Store, task: Task | None = None, order: Order = _own) -> Method:
    """Create the method on a problem as the runner does, with stages of `EPOCHS` epochs and `STEPS` steps at most.

    Args:
        subject: The method.
        problem: What it is made for.
        task: In place of the problem's own.
        order: Of the epochs.
    """
    task = task_of(problem, 0, supervision(subject)) if task is None else task
    method_class: Any = subject.factory

    def make_backbone(spec: str | None = None) -> Backbone:
        if spec is not None:
            require_backbone(spec)
        return SmallBackbone(problem.splits["train"].input_shape)

    class Shortened(method_class):  # type: ignore[misc]
        def stages(self, epochs: int) -> list[Stage]:
            return [replace(stage, epochs=min(stage.epochs, EPOCHS)) for stage in super().stages(epochs)]

        def order(self, train: SplitView, generator: torch.Generator) -> Any:
            whole = sound_order(self, len(train), order(super().order, train, generator))
            return whole[: STEPS * RECIPE.batch_size] if isinstance(whole, Tensor) else whole[:STEPS]

    Shortened.__name__ = method_class.__name__
    return make_method(Shortened, subject.spec.name, subject.params, task, make_backbone)


@functools.lru_cache(maxsize=1)  # one check of a method comes after the other
def trained(subject: Subject) -> Method:
    """Return the method that is trained on the ordinary problem, once for all the checks that only look at it."""
    return train(subject, make_problem())


def train(subject: Subject, problem: Store, **options: Any) -> Method:
    """Train a method through all its stages; return it finished, in evaluation mode. Options are those of `run`."""
    return run(subject, problem, **options).method


def run(
    subject: Subject,
    problem: Store,
    *,
    recipe: Recipe = RECIPE,
    order: Order = _own,
    cut_off: bool = False,
    task: Callable[[Task], Task] = lambda task: task,
    shown: Callable[[SplitView], SplitView] = lambda view: view,
    groups: Groups | None = None,
) -> Fitted:
    """Train a method through all its stages, and infer the groups if it infers any.

    Args:
        subject: The method.
        problem: What it is trained on.
        recipe: How.
        order: Of the epochs.
        cut_off: Whether the run is interrupted after every epoch, and resumed from its checkpoint by a new object.
        task: Makes of the task what the method is given.
        shown: Makes of the view of a split what the method is given.
        groups: Inferred groups that the method is given in the attribute's place.

    Raises:
        ConformanceError: The loss is not finite, or the method breaks its contract in another way that the runner sees.
    """
    given, base = task(task_of(problem, 0, supervision(subject), groups)), _trained_base(subject, problem)
    with temporary_folder() as folder:
        while True:
            method = build(subject, problem, given, order)
            loaded = load_splits(problem, recipe, (), (), torch.device("cpu"), torch.contiguous_format, groups)
            interrupts = Interrupts(lambda message: None)
            interrupts.noted = cut_off  # the run ends after its next epoch, with a checkpoint
            try:
                fitted = fit(
                    method,
                    {name: _Shown(**vars(split), shown=shown) for name, split in loaded.items()},
                    recipe,
                    Evaluator(problem, {}, len(problem.splits["train"]), None),
                    RunState(),
                    checkpoints=folder,
                    checkpoint_seconds=float("inf"),
                    resume=cut_off,
                    reporter=Silent(),
                    interrupts=interrupts,
                    base=base,
                )
            except KeyboardInterrupt:
                if not interrupts.noted:
                    raise
            except (DivergedError, PluginError) as error:
                raise ConformanceError(str(error)) from error
            else:
                logits(method, images_of(problem))
                return fitted


def _trained_base(subject: Subject, problem: Store) -> Method | None:
    named: str | None = subject.factory.base(subject.params)
    if named is None:
        return None
    spec = Spec.parse(named)
    return train(Subject("method", registry().find("methods", spec.name).card, spec), problem)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Shown(LoadedSplit):
    """A split of which the method is given something else than the runner's view."""

    shown: Callable[[SplitView], SplitView]

    def view(self, task: Task, recipe: Recipe) -> SplitView:
        """Return what the method is given."""
        return self.shown(super().view(task, recipe))


@torch.no_grad()
def logits(method: Method, images: Tensor) -> Tensor:
    """Return the logits of images: (N, C, H, W) -> (N, K).

    Raises:
        ConformanceError: Features or logits do not have the shape they must have, or are not finite.
    """
    method.eval()
    features = method.features(images.clone())
    require(
        isinstance(features, Tensor) and features.dim() == 2 and len(features) == len(images),
        f"features() must return (N, d), here N = {len(images)}, not {_describe(features)}",
    )
    result = method.classify(features)
    shape = (len(images), method.task.num_classes)
    require(
        isinstance(result, Tensor) and result.shape == shape,
        f"classify() must return (N, K), here {shape}, not {_describe(result)}",
    )
    require(bool(torch.isfinite(features).all() and torch.isfinite(result).all()), "features or logits are not finite")
    return result


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}, {value.dtype}, on {value.device.type}"
    return f"a {type(value).__name__}"
