"""The training loop, from the first epoch to the last, in one piece.

Nothing here knows a particular method: frozen classifiers, primes, second networks, retraining and group weights are
the method's own (see :mod:`ncbench.contracts.method`).
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ncbench.contracts.errors import NcbenchError, PluginError
from ncbench.contracts.method import Backbone, GroupInference, Method, Stage, refuse_missing_labels
from ncbench.contracts.soundness import sound_groups, sound_loss, sound_order, sound_report
from ncbench.contracts.task import Batch, Groups, Progress, SplitView, Task, derived_seed, seeded_generator
from ncbench.data.loading.loader import batch_bounds
from ncbench.features.snapshot import Snapshot, take_snapshot
from ncbench.training.checkpoints import Checkpoint, load_latest_checkpoint, refuse_other, restore, save_checkpoint
from ncbench.training.devices.ranks import ALONE, Ranks
from ncbench.training.evaluation.evaluator import DivergedError, Evaluator, SplitResult
from ncbench.training.interrupts import Interrupts
from ncbench.training.recipe import Recipe, rescale, schedules
from ncbench.training.reporters import Reporter
from ncbench.training.seeding import seed_global_generators
from ncbench.training.selection import available_criteria, find_criterion
from ncbench.training.splits import LoadedSplit, memory_format

# A running sum of losses is looked at this often (in steps), so that a run that diverges ends within an epoch, without
# waiting for the device at every step.
FINITE_CHECK_EVERY = 50


@dataclass
class RunState:
    """What a run has to show so far; the part of it that a checkpoint keeps beside the model.

    Args:
        history: One entry an epoch, as in the record.
        best: Criterion -> the epoch it would choose so far.
        snapshot: State of the primary criterion's best model; None while that is the current model.
        reads_val: Whether the method has read anything of the validation images.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, int] = field(default_factory=dict)
    snapshot: dict[str, Tensor] | None = None
    reads_val: bool = False

    def note_reading(self) -> None:
        """Note that the method reads something of the validation images."""
        self.reads_val = True


@dataclass(frozen=True)
class Fitted:
    """A trained method.

    Args:
        method: It.
        results: The evaluation of every split at the primary criterion.
        geometry: What is kept of the features.
        report: What the method itself has to report.
        fitted: ``"train"`` where it fits something after training, so that metrics of epochs are another model's;
            ``"val"`` where it has read anything of those images, then or before.
        groups: What it infers; None if it infers none.
    """

    method: Method
    results: dict[str, SplitResult]
    geometry: Snapshot | None
    report: dict[str, float]
    fitted: list[str]
    groups: Groups | None = None


def make_method(
    method_class: type[Method], name: str, params: Any, task: Task, make_backbone: Callable[..., Backbone]
) -> Method:
    """Create a method for a task, its generators seeded by the task's seed.

    Raises:
        ConfigurationError: The method does not fit the task, for example for want of labels that it declares.
    """
    refuse_missing_labels(
        method_class,
        name,
        task.supervision,
        train=task.bias_known_on_train,
        val=task.bias_known_on_val,
        hierarchy=task.has_hierarchy,
    )
    seed_global_generators(task.seed, "initialisation")
    return method_class(task, params, make_backbone)


def fit(
    method: Method,
    splits: Mapping[str, LoadedSplit],
    recipe: Recipe,
    evaluator: Evaluator,
    state: RunState,
    *,
    checkpoints: Path,
    checkpoint_seconds: float,
    resume: bool,
    reporter: Reporter,
    interrupts: Interrupts,
    base: Method | None = None,
    made_with: Mapping[str, str] = MappingProxyType({}),
    ranks: Ranks = ALONE,
) -> Fitted:
    """Train, select and evaluate.

    Args:
        method: What to train, newly made, on the device of the splits.
        splits: ``"train"`` and, where there are any, ``"val"`` and ``"test"``; the method sees no more of them than its
            task's supervision declares.
        recipe: How to train it.
        evaluator: Of the splits.
        state: Filled as the run goes, so that a run that ends early still has its history.
        checkpoints: Folder of this run's checkpoints.
        checkpoint_seconds: Least time between two checkpoints; no result depends on it.
        resume: Whether to go on from the newest checkpoint, if there is one.
        reporter: Told of every epoch.
        interrupts: Told how many epochs are in no checkpoint; may note that the run is to end.
        base: The finished method that this one builds on, in evaluation mode; None if it builds on none.
        made_with: What a checkpoint must have been made with to be gone on from: data, versions, the base.
        ranks: The processes that train it together. All do the same, but for the work of backbones, which they share.

    Raises:
        KeyboardInterrupt: The run was interrupted; a checkpoint has every finished epoch unless the user insisted.
        DivergedError: The loss is not finite, or logits of an evaluation are not.
        SupervisionError: The method read a label it did not declare.
        ConfigurationError: The recipe or the method does not fit the dataset.
        PluginError: The method breaks its contract.
        NcbenchError: No epoch has a finite value of what is to choose one.
        DataError: The newest checkpoint is damaged, was made with something else, or does not fit the method.
    """
    train, seed = splits["train"], method.task.seed
    device, layout = train.target.device, memory_format(method)
    autocast = recipe.autocast(device)
    val = splits.get("val")
    known = val is not None and val.bias is not None, val is not None and val.group is not None
    criteria = available_criteria(recipe.selection, val is not None, *known)
    views = {name: splits[name].view(method.task, recipe) for name in ("train", "val") if name in splits}
    if "val" in views:
        views["val"] = views["val"].telling(state.note_reading)

    stages = [stage for stage in method.stages(recipe.epochs) if stage.epochs > 0]
    if not stages and base is None and not isinstance(method, GroupInference):
        raise PluginError(f"stages() of {type(method).__name__} has no stage with an epoch in it.")
    finishes = not stages or type(method).finish is not Method.finish
    if finishes:  # the other criteria would compare models that it goes on to change
        criteria = [recipe.selection]
    total_epochs = sum(stage.epochs for stage in stages)
    restored = ranks.lead(lambda: load_latest_checkpoint(checkpoints, device)) if resume else None
    if restored is None and base is not None:
        method.eval()
        method.start_from(base)
        method.to(device)
        method.to(memory_format=layout)
    if restored is not None:
        refuse_other(restored, made_with, checkpoints)
        state.history[:] = restored["history"]
        state.best.update(restored["best"])
        state.snapshot = restored["snapshot"]
        state.reads_val = restored["reads_val"]
        restore(restored, method, checkpoints)
        method.report.update(restored["report"])
    reporter.plan(total_epochs, len(state.history))
    last_checkpoint = -math.inf  # the first epoch is always kept

    optimizer: torch.optim.Optimizer | None = None
    first_epoch = 0  # of the stage, counted over the whole run
    for stage, (schedule_done, schedule_epochs) in zip(stages, schedules(stages), strict=True):
        begun = len(state.history) - first_epoch  # epochs of this stage that a checkpoint restored
        measured = {first_epoch + epoch for epoch in recipe.measured_epochs(stage.epochs)}
        first_epoch += stage.epochs
        if begun >= stage.epochs and first_epoch < total_epochs:
            continue
        method.progress = Progress(stage.name, max(begun, 0), stage.epochs)
        if begun <= 0:
            seed_global_generators(seed, "stage", stage.name)
            method.eval()  # whether the stage before it was trained just now or restored
            start_stage(method, stage, views["train"], views.get("val"))
            method.to(device)
        method.to(memory_format=layout)
        ranks.share(method)
        if optimizer is None or not stage.continues:
            optimizer = recipe.make_optimizer(method)
            if restored is not None and (begun > 0 or stage.continues):
                restore(restored, optimizer, checkpoints)
        if stage.continues:
            rescale(optimizer, method)

        for stage_epoch in range(max(begun, 0), stage.epochs):
            epoch = len(state.history) + 1
            started = time.perf_counter()
            interrupts.held = ranks.count > 1
            seed_global_generators(seed, "epoch", epoch)
            learning_rate = recipe.learning_rate(schedule_done + stage_epoch, schedule_epochs)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * group["lr_scale"]
            method.train()
            method.progress = Progress(stage.name, stage_epoch, stage.epochs)
            returned = ranks.agree(method.order(views["train"], seeded_generator(seed, "order", epoch)))
            order = sound_order(method, len(views["train"]), returned)
            augmentation = torch.Generator(device).manual_seed(derived_seed(seed, "augmentation", epoch))
            bounds = batch_bounds(order, recipe.batch_size, training=True)
            batches = _batches(train, views["train"], method, recipe, order, augmentation)
            losses = ranks.agree(_train_epoch(method, optimizer, batches, bounds, autocast, reporter, ranks))
            ranks.share(method)
            trained = time.perf_counter()

            entry: dict[str, Any] = {
                "epoch": epoch,
                "stage": stage.name,
                "lr": learning_rate,
                "losses": {name: value if math.isfinite(value) else None for name, value in losses.items()},
                "metrics": {},
                "seconds": {"train": trained - started},
            }
            if not math.isfinite(losses["loss"]):
                state.history.append(entry)
                terms = [name for name, value in losses.items() if name != "loss" and not math.isfinite(value)]
                of_terms = f", for its term {' and '.join(terms)}" if terms else ""
                raise DivergedError(f"the loss of epoch {epoch} is {losses['loss']}{of_terms}")

            last_epoch = epoch == total_epochs
            evaluated = epoch % recipe.evaluate_every == 0 or last_epoch
            due = [*(["train"] if epoch in measured else []), *(["val", "test"] if evaluated else [])]
            for name in due:
                if name in splits:
                    try:
                        result = evaluator.evaluate(method, splits[name], epoch in measured)
                    except DivergedError as error:
                        state.history.append(entry)
                        raise DivergedError(f"{error} after epoch {epoch}") from None
                    entry["metrics"][name] = result.metrics
            entry["seconds"]["evaluate"] = time.perf_counter() - trained
            entry = ranks.agree(entry)
            state.history.append(entry)
            if evaluated and stage is stages[-1]:
                _select(recipe.selection, criteria, epoch, method, state)
            interrupts.unsaved += 1
            reporter.epoch(entry)

            waited = time.monotonic() - last_checkpoint
            if ranks.any(last_epoch or interrupts.noted or waited >= checkpoint_seconds):
                checkpoint: Checkpoint = {
                    "method": method.state_dict(),
                    "report": dict(method.report),
                    "optimizer": optimizer.state_dict(),
                    "history": state.history,
                    "best": state.best,
                    "snapshot": state.snapshot,
                    "reads_val": state.reads_val,
                    "made_with": dict(made_with),
                }
                if ranks.first:
                    save_checkpoint(checkpoints, epoch, checkpoint)
                last_checkpoint = time.monotonic()
                interrupts.unsaved = 0
                if ranks.any(interrupts.noted):
                    raise KeyboardInterrupt
            interrupts.held = not ranks.first

    if stages and recipe.selection not in state.best:
        raise NcbenchError(f"recipe.selection={recipe.selection} can choose no epoch: none has a finite value of it.")
    if state.snapshot is not None:
        method.load_state_dict(state.snapshot)
    if stages:
        method.progress = Progress(stages[-1].name, stages[-1].epochs, stages[-1].epochs)
    seed_global_generators(seed, "finish")
    method.eval()
    method.finish(views["train"], views.get("val"))
    ranks.share(method)
    groups = sound_groups(method, views["train"], views.get("val"))
    report = sound_report(method)
    results, geometry = {}, None
    for name, split in splits.items():
        try:
            evaluation = evaluator.look(method, split, scheduled=True, keep_logits=name != "train")
        except DivergedError as error:
            of_epoch = f", of the model of epoch {state.best[recipe.selection]}" if stages else ""
            raise DivergedError(f"{error} after finish(){of_epoch}") from None
        results[name] = evaluator.measure(evaluation, scheduled=True)
        if name == "train":
            geometry = take_snapshot(evaluation)
    fitted = [*(["train"] if finishes else []), *(["val"] if state.reads_val else [])]
    return Fitted(method, results, geometry, report, fitted, groups)


def _train_epoch(
    method: Method,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[Batch],
    bounds: Sequence[tuple[int, int]],
    autocast: torch.dtype | None,
    reporter: Reporter,
    ranks: Ranks,
) -> dict[str, float]:
    """Take a step a batch and return the mean of the loss and of each of its terms over the images.

    An epoch whose loss is not finite is broken off.
    """
    sums: dict[str, Tensor] = {}
    position, seen = method.progress, 0
    for step, (batch, (_, stop)) in enumerate(zip(batches, bounds, strict=True)):
        method.progress = Progress(position.stage, position.epoch, position.epochs, step, len(bounds))
        terms = sound_loss(method, batch, autocast)
        optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        ranks.average_gradients(each for group in optimizer.param_groups for each in group["params"])
        optimizer.step()
        for name, term in terms.items():
            weighted = term.detach().float() * len(batch)
            sums[name] = sums[name] + weighted if name in sums else weighted
        seen = stop
        if (step + 1) % FINITE_CHECK_EVERY == 0:
            if not math.isfinite(sums["loss"].item()):
                break
            reporter.step(seen / bounds[-1][1])
    return {name: value.item() / seen for name, value in sums.items()}


def _batches(
    train: LoadedSplit,
    view: SplitView,
    method: Method,
    recipe: Recipe,
    order: Tensor | Sequence[Tensor],
    augmentation: torch.Generator,
) -> Iterator[Batch]:
    number = method.views
    for images, index in train.loader.batches(order, recipe.batch_size, augmentation, number):
        yield view.batch(images, index) if number == 1 else view.batch(images[0], index, images)


def start_stage(method: Method, stage: Stage, train: SplitView, val: SplitView | None) -> None:
    """Start a stage; of a method written before there was a third argument, without the validation images."""
    takes_val = len(inspect.signature(method.start_stage).parameters) > 2
    method.start_stage(*(stage, train, val) if takes_val else (stage, train))


def _select(primary: str, criteria: list[str], epoch: int, method: Method, state: RunState) -> None:
    """Note the epoch under every criterion it is best by, and keep the primary criterion's model."""
    for name in criteria:
        criterion = find_criterion(name)
        now, best = (
            None if number is None else criterion.rank(number, state.history[number - 1]["metrics"].get("val", {}))
            for number in (epoch, state.best.get(name))
        )
        if now is not None and (best is None or now > best):
            state.best[name] = epoch
            if name == primary and primary != "last":
                state.snapshot = {name: value.clone() for name, value in method.state_dict().items()}
