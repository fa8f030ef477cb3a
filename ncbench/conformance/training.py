"""The runner's loop in small: what it asks of a method, in its order and with its seeds, on a small problem.

It follows :func:`ncbench.training.loop.fit` and leaves out what a method does not see: the store, selection, records.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ncbench.conformance.problem import Problem, SmallBackbone
from ncbench.conformance.subject import ConformanceError, Subject, require
from ncbench.contracts.cards import Supervision
from ncbench.contracts.method import Method, Stage
from ncbench.contracts.task import Batch, SplitView, seeded_generator
from ncbench.data.loading.loader import batch_bounds
from ncbench.training.recipe import Recipe
from ncbench.training.seeding import seed_global_generators

EPOCHS = 2  # trained of each stage, however long it wants to be
STEPS = 4  # taken of each epoch at most
RECIPE = Recipe(epochs=EPOCHS, batch_size=8, optimizer="adam", lr=1e-3, weight_decay=0.0)


@dataclass(frozen=True)
class Checkpoint:
    """A method within its training, as a run keeps it on disk.

    Args:
        stage: Position of the stage.
        epochs: Epochs of that stage that are done.
        content: Of the method and the optimizer, in torch's format.
    """

    stage: int
    epochs: int
    content: bytes

    def load(self) -> dict[str, Any]:
        """Return the state, read as the runner reads it: without unpickling arbitrary objects."""
        state: dict[str, Any] = torch.load(io.BytesIO(self.content), weights_only=True)
        return state


def supervision(subject: Subject) -> Supervision:
    """Return what the method uses with the subject's parameters."""
    used: Supervision = subject.factory.supervision(subject.params, subject.card.supervision)
    return used


def build(subject: Subject, problem: Problem, global_seed: int = 0) -> Method:
    """Create the method on a problem; the task's seed is always 0."""
    seed_global_generators(global_seed, "initialisation")
    task = problem.task(supervision(subject), seed=0)
    method: Method = subject.factory(task, subject.params, lambda: SmallBackbone(task.input_shape))
    return method


def train(
    subject: Subject, problem: Problem, resume: Checkpoint | None = None, keep: list[Checkpoint] | None = None
) -> Method:
    """Train a method through all its stages and finish it; return it in evaluation mode.

    Args:
        subject: The method.
        problem: What it is trained on.
        resume: A checkpoint to go on from.
        keep: Receives a checkpoint of every epoch.

    Raises:
        ConformanceError: A loss is not a finite scalar, or the order of the images or the logits are not sound.
    """
    problem = problem.copy()  # what one training does to its labels must not reach the next
    method, used = build(subject, problem), supervision(subject)
    views = {name: problem.view(name, used) for name in problem.splits}
    stages = [stage for stage in method.stages(EPOCHS) if stage.epochs > 0]
    restored = None
    if resume is not None:
        restored = resume.load()
        method.load_state_dict(restored["method"])
    for position, stage in enumerate(stages):
        epochs = min(stage.epochs, EPOCHS)
        begun = 0
        if resume is not None and position <= resume.stage:
            begun = resume.epochs if position == resume.stage else epochs
        if begun >= epochs and position < len(stages) - 1:
            continue
        if begun == 0:
            seed_global_generators(0, "stage", stage.name)
            method.eval()
            method.start_stage(stage, views["train"])
        optimizer = RECIPE.make_optimizer(method)
        if restored is not None and begun > 0:
            optimizer.load_state_dict(restored["optimizer"])
        for epoch in range(begun, epochs):
            seed_global_generators(0, "epoch", position, epoch)
            generator = seeded_generator(0, "order", position, epoch)
            method.train()
            for batch in batches(method, problem, used, generator):
                optimizer.zero_grad(set_to_none=True)
                backward(method, batch, stage)
                optimizer.step()
            for examples in problem.splits.values():
                logits(method, examples.images)
            if keep is not None:
                buffer = io.BytesIO()
                torch.save({"method": method.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
                keep.append(Checkpoint(position, epoch + 1, buffer.getvalue()))
    seed_global_generators(0, "finish")
    method.eval()
    method.finish(views["train"], views.get("val"))
    return method.eval()


def begun_stages(method: Method, train: SplitView) -> Iterator[Stage]:
    """Begin a method's stages one after the other, without training in them; yield each with it in training mode."""
    for stage in method.stages(EPOCHS):
        if stage.epochs > 0:
            method.eval()
            method.start_stage(stage, train)
            method.train()
            yield stage


def batches(method: Method, problem: Problem, used: Supervision, generator: torch.Generator) -> Iterator[Batch]:
    """Yield the first batches of an epoch in the method's order."""
    order = image_order(method, problem, used, generator)
    for start, stop in batch_bounds(len(order), RECIPE.batch_size, training=True)[:STEPS]:
        yield problem.batch("train", order[start:stop], used)


def image_order(method: Method, problem: Problem, used: Supervision, generator: torch.Generator) -> Tensor:
    """Return the method's order of one epoch.

    Raises:
        ConformanceError: It is not (M,) int64 positions of training images, M at least 1, on the CPU.
    """
    order = method.order(problem.view("train", used), generator)
    if not isinstance(order, Tensor) or order.dtype != torch.int64 or order.dim() != 1 or order.device.type != "cpu":
        raise ConformanceError(f"order() must return (M,) int64 positions on the CPU, not {_describe(order)}")
    number = len(problem.train)
    if len(order) == 0 or int(order.min()) < 0 or int(order.max()) >= number:
        raise ConformanceError(f"order() must return positions in 0..{number - 1}, at least one")
    return order


def backward(method: Method, batch: Batch, stage: Stage, autocast: bool = False) -> None:
    """Compute the loss that the runner minimises, and its gradients.

    Args:
        method: In training mode.
        batch: Of training images.
        stage: That has begun.
        autocast: Whether the loss is computed under autocast to bfloat16.

    Raises:
        ConformanceError: A term is not a finite scalar, a term has the name that the runner gives to their sum, or
            nothing can be learned from the loss.
    """
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        terms = method.loss(batch)
    where = f"in the stage {stage.name!r}, on a batch of {len(batch)},"
    sound = isinstance(terms, (Tensor, dict))
    require(sound, f"{where} loss() returns neither a scalar tensor nor a dict of named ones but {terms!r:.80}")
    named = {"loss": terms} if isinstance(terms, Tensor) else terms
    require(bool(named), f"{where} loss() returns no terms")
    require(isinstance(terms, Tensor) or "loss" not in named, "'loss' is the sum's name; give the term another")
    for name, term in named.items():
        scalar = isinstance(term, Tensor) and term.dim() == 0 and term.is_floating_point()
        require(scalar, f"{where} {name!r} is not a scalar but {_describe(term)}")
        require(bool(torch.isfinite(term)), f"{where} {name!r} is {term.item()}")
    loss = torch.stack(list(named.values())).sum()
    require(loss.requires_grad, f"{where} the loss has no gradient")
    loss.backward()  # type: ignore[no-untyped-call]


@torch.no_grad()
def logits(method: Method, images: Tensor) -> Tensor:
    """Return the logits as the runner's evaluation computes them: (N, C, H, W) -> (N, K).

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
