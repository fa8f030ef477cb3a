"""Training a method on a small problem: the runner's own loop, and its parts one at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncbench.conformance.problem import EPOCHS, RECIPE, Problem, SmallBackbone
from ncbench.conformance.subject import ConformanceError, Subject, require
from ncbench.contracts.cards import Supervision
from ncbench.contracts.errors import PluginError
from ncbench.contracts.method import Backbone, Method, Stage
from ncbench.contracts.task import Batch, Progress, SplitView, Task
from ncbench.training.evaluation import Evaluator
from ncbench.training.interrupts import Interrupts
from ncbench.training.loop import DivergedError, RunState, Silent, fit, loss_terms, make_method, start_stage
from ncbench.training.splits import task_of

STEPS = 4  # taken of each epoch at most


def supervision(subject: Subject) -> Supervision:
    """Return what the method uses with the subject's parameters."""
    used: Supervision = subject.factory.supervision(subject.params, subject.card.supervision)
    return used


def build(subject: Subject, problem: Problem, *, exposed: bool = False) -> Method:
    """Create the method on a problem as the runner does, with stages of `EPOCHS` epochs and `STEPS` steps at most.

    Args:
        subject: The method.
        problem: What it is made for.
        exposed: Whether labels that it does not declare lie where only a method that looks behind the contract finds
            them.
    """
    task = task_of(problem.store(), 0, supervision(subject))
    if exposed:
        task = replace(task, _hierarchy=problem.hierarchy)
    method_class = _shortened(subject.factory, problem if exposed else None)
    return make_method(method_class, subject.spec.name, subject.params, task, _small_backbones(task))


def unseeded(subject: Subject, problem: Problem) -> Method:
    """Create the method as it is, the global generators as they are."""
    task = task_of(problem.store(), 0, supervision(subject))
    method: Method = subject.factory(task, subject.params, _small_backbones(task))
    return method


def _small_backbones(task: Task) -> Callable[..., Backbone]:
    return lambda spec=None: SmallBackbone(task.input_shape)


def _shortened(factory: Any, exposed: Problem | None) -> type[Method]:
    """Return the method's class, made to take little time, and shown the labels of a problem, if there is one."""

    def shown(split: SplitView) -> SplitView:
        return replace(split, _bias=exposed.splits[split.name].bias) if exposed else split

    class Shortened(factory):  # type: ignore[misc]
        __doc__ = factory.__doc__

        def stages(self, epochs: int) -> list[Stage]:
            return [replace(stage, epochs=min(stage.epochs, EPOCHS)) for stage in super().stages(epochs)]

        def order(self, train: SplitView, generator: torch.Generator) -> Any:
            order = super().order(shown(train), generator)
            return order[: STEPS * RECIPE.batch_size] if isinstance(order, Tensor) else order[:STEPS]

        def loss(self, batch: Batch) -> Any:
            bias = exposed.splits["train"].bias if exposed else None
            return super().loss(batch if bias is None else replace(batch, _bias=bias[batch.index]))

        def finish(self, train: SplitView, val: SplitView | None) -> None:
            super().finish(shown(train), None if val is None else shown(val))

    Shortened.__name__ = factory.__name__
    return Shortened


def train(subject: Subject, problem: Problem, *, cut_off: bool = False, exposed: bool = False) -> Method:
    """Train a method through all its stages by the runner's own loop; return it finished, in evaluation mode.

    Args:
        subject: The method.
        problem: What it is trained on.
        cut_off: Whether the run is interrupted after every epoch, and resumed from its checkpoint by a new object.
        exposed: As for :func:`build`.

    Raises:
        ConformanceError: A loss is not finite, or the method breaks its contract in another way that the runner sees.
    """
    evaluator = Evaluator(problem.store(), {}, len(problem.train), None)
    with tempfile.TemporaryDirectory(prefix="ncbench-conformance-") as folder:
        while True:
            method = build(subject, problem, exposed=exposed)
            interrupts = Interrupts(lambda message: None)
            interrupts.noted = cut_off  # the run ends after its next epoch, with a checkpoint
            try:
                fitted = fit(
                    method,
                    problem.loaded(),
                    RECIPE,
                    evaluator,
                    RunState(),
                    checkpoints=Path(folder),
                    checkpoint_seconds=float("inf"),
                    resume=cut_off,
                    reporter=Silent(),
                    interrupts=interrupts,
                )
            except KeyboardInterrupt:
                if not interrupts.noted:
                    raise
            except (DivergedError, PluginError) as error:
                raise ConformanceError(str(error)) from error
            else:
                logits(fitted.method, problem.train.images)
                return fitted.method.eval()


def views(problem: Problem, task: Task) -> Mapping[str, SplitView]:
    """Return what a method with this task may see of the problem's splits, by name."""
    return {name: split.view(task, RECIPE) for name, split in problem.loaded().items()}


class WatchedSplitView(SplitView):
    """A split that looks at each batch of a pass once the method is done with it."""

    @classmethod
    def of_view(cls, view: SplitView, done: Callable[[Batch, str], None]) -> SplitView:
        """Return the same split, watched."""
        watched = cls(**vars(view))
        object.__setattr__(watched, "_done", done)
        return watched

    def batches(self, index: Tensor | None = None) -> Iterator[Batch]:
        """Pass over the split."""
        for batch in super().batches(index):
            yield batch
            self._done(batch, self.name)  # type: ignore[attr-defined]


def begun_stages(method: Method, seen: Mapping[str, SplitView]) -> Iterator[Stage]:
    """Begin a method's stages one after the other, without training in them; yield each with it in training mode."""
    for stage in method.stages(EPOCHS):
        if stage.epochs > 0:
            method.progress = Progress(stage.name, 0, stage.epochs)
            method.eval()
            start_stage(method, stage, seen["train"], seen.get("val"))
            method.train()
            yield stage


def batch_of(view: SplitView, index: Tensor) -> Batch:
    """Return the images at these positions of a split as one batch."""
    return next(view.batches(index))


def backward(method: Method, batch: Batch, stage: Stage, autocast: bool = False) -> None:
    """Compute the loss that the runner minimises, and its gradients.

    Args:
        method: In training mode.
        batch: Of training images.
        stage: That has begun.
        autocast: Whether the loss is computed under autocast to bfloat16.

    Raises:
        ConformanceError: The loss is not what the runner takes, not finite, or nothing can be learned from it.
    """
    where = f"in the stage {stage.name!r}, on a batch of {len(batch)},"
    try:
        terms = loss_terms(method, batch, torch.bfloat16 if autocast else None)
    except PluginError as error:
        raise ConformanceError(f"{where} {error}") from error
    for name, term in terms.items():
        require(bool(torch.isfinite(term)), f"{where} {name!r} is {term.item()}")
    require(terms["loss"].requires_grad, f"{where} the loss has no gradient")
    terms["loss"].backward()  # type: ignore[no-untyped-call]


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
