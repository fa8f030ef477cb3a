"""The training loop, from the first epoch to the last, in one piece.

Nothing here knows a particular method: frozen classifiers, primes, second networks, retraining and group weights are
the method's own (see :mod:`ncbench.contracts.method`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ncbench.contracts.errors import PluginError
from ncbench.contracts.groups import group_counts
from ncbench.contracts.method import Method
from ncbench.contracts.task import Batch, SplitView, Task, derived_seed, seeded_generator, withheld
from ncbench.data.loading.loader import Loader
from ncbench.data.store.open import Store
from ncbench.features.snapshot import Snapshot, take_snapshot
from ncbench.training.checkpoints import load_latest_checkpoint, save_checkpoint
from ncbench.training.configuration import Configuration, load_metrics
from ncbench.training.evaluation import EvaluatedSplit, Evaluator, SplitResult
from ncbench.training.interrupts import Interrupts
from ncbench.training.seeding import seed_global_generators
from ncbench.training.selection import Best, available_criteria, check_criterion, improved

# A running sum of losses is looked at this often (in steps), so that a run that diverges ends within an epoch, without
# waiting for the device at every step.
FINITE_CHECK_EVERY = 50


class DivergedError(Exception):
    """The training loss is not finite any more."""


class Reporter(Protocol):
    """Who is told how a run goes."""

    def plan(self, epochs: int, done: int) -> None:
        """Hear that the run has `epochs` epochs in all, of which `done` are restored from a checkpoint."""

    def step(self, fraction: float) -> None:
        """Hear that this fraction of the current epoch is done."""

    def epoch(self, entry: dict[str, Any]) -> None:
        """Hear that an epoch is done; `entry` is its part of the history."""


@dataclass
class Progress:
    """What a run has to show so far; the part of it that a checkpoint keeps beside the model.

    Args:
        history: One entry an epoch, as in the record.
        best: Criterion -> best epoch so far.
        snapshot: State of the primary criterion's best model; None while that is the current model.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Best] = field(default_factory=dict)
    snapshot: dict[str, Tensor] | None = None


@dataclass(frozen=True)
class Fitted:
    """A trained method, the evaluation of every split at the primary criterion, and what is kept of the features."""

    method: Method
    results: dict[str, SplitResult]
    geometry: Snapshot | None


def fit(
    configuration: Configuration,
    store: Store,
    device: torch.device,
    progress: Progress,
    *,
    checkpoints: Path,
    checkpoint_seconds: float,
    resume: bool,
    reporter: Reporter,
    interrupts: Interrupts,
) -> Fitted:
    """Train, select and evaluate.

    Args:
        configuration: What to train.
        store: The dataset's decoded splits.
        device: Where to train.
        progress: Filled as the run goes, so that a run that ends early still has its history.
        checkpoints: Folder of this run's checkpoints.
        checkpoint_seconds: Least time between two checkpoints; no result depends on it.
        resume: Whether to go on from the newest checkpoint, if there is one.
        reporter: Told of every epoch.
        interrupts: Told how many epochs are in no checkpoint; may note that the run is to end.

    Raises:
        KeyboardInterrupt: The run was interrupted; a checkpoint has every finished epoch unless the user insisted.
        DivergedError: The loss is not finite.
        SupervisionError: The method read a label it did not declare.
        ConfigurationError: The recipe or the method does not fit the dataset.
        DataError: The newest checkpoint is damaged.
    """
    recipe, seed = configuration.recipe, configuration.seed
    autocast = autocast_dtype(recipe.precision, device)
    val_bias_known = "val" in store.splits and store.splits["val"].bias is not None
    criteria = available_criteria(recipe.selection, "val" in store.splits, val_bias_known)
    check_criterion(recipe.selection, criteria, configuration.dataset.spec)
    evaluator = Evaluator(store, load_metrics(), max(recipe.batch_size, 256), autocast)

    seed_global_generators(seed, "initialisation")
    task = _task(configuration, store)
    make_backbone = configuration.make_backbone(task.input_shape)
    method: Method = configuration.method.factory(task, configuration.method.params, make_backbone)
    method.to(device)
    # Convolutions are 1.5 times as fast on a CPU, and faster still on tensor cores, where channels come last; a net
    # without them would only copy the images back.
    layout = torch.channels_last if _convolves(method) else torch.contiguous_format
    splits = {name: _split(configuration, store, name, device, layout) for name in store.splits}
    train = splits["train"]
    views = {name: _view(configuration, splits[name]) for name in ("train", "val") if name in splits}

    stages = [stage for stage in method.stages(recipe.epochs) if stage.epochs > 0]
    if not stages:
        raise PluginError(f"stages() of {configuration.method.name} has no stage with an epoch in it.")
    total_epochs = sum(stage.epochs for stage in stages)
    restored = load_latest_checkpoint(checkpoints, device) if resume else None
    if restored is not None:
        progress.history[:] = restored["history"]
        progress.best.update({name: Best(**best) for name, best in restored["best"].items()})
        progress.snapshot = restored["snapshot"]
        method.load_state_dict(restored["method"])
    reporter.plan(total_epochs, len(progress.history))
    last_checkpoint = -math.inf  # the first epoch is always kept

    first_epoch = 0  # of the stage, counted over the whole run
    for stage in stages:
        begun = len(progress.history) - first_epoch  # epochs of this stage that a checkpoint restored
        measured = {first_epoch + epoch for epoch in recipe.measured_epochs(stage.epochs)}
        first_epoch += stage.epochs
        if begun >= stage.epochs and first_epoch < total_epochs:
            continue
        if begun <= 0:
            seed_global_generators(seed, "stage", stage.name)
            method.eval()  # whether the stage before it was trained just now or restored
            method.start_stage(stage, views["train"])
            method.to(device)
        method.to(memory_format=layout)
        optimizer = recipe.make_optimizer(method)
        if restored is not None and begun > 0:
            optimizer.load_state_dict(restored["optimizer"])

        for stage_epoch in range(max(begun, 0), stage.epochs):
            epoch = len(progress.history) + 1
            started = time.perf_counter()
            seed_global_generators(seed, "epoch", epoch)
            learning_rate = recipe.learning_rate(stage_epoch, stage.epochs)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * group["lr_scale"]
            method.train()
            order = method.order(views["train"], seeded_generator(seed, "order", epoch)).cpu()
            augmentation = torch.Generator(device).manual_seed(derived_seed(seed, "augmentation", epoch))

            batches = (
                views["train"].batch(*given) for given in train.loader.batches(order, recipe.batch_size, augmentation)
            )
            losses = _train_epoch(configuration, method, optimizer, batches, len(order), device, reporter)
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
                progress.history.append(entry)
                terms = [name for name, value in losses.items() if name != "loss" and not math.isfinite(value)]
                of_terms = f", for its term {' and '.join(terms)}" if terms else ""
                raise DivergedError(f"the loss of epoch {epoch} is {losses['loss']}{of_terms}")

            last_epoch = epoch == total_epochs
            if epoch in measured:
                entry["metrics"]["train"] = evaluator.evaluate(method, train, scheduled=True).metrics
            evaluated = epoch % recipe.evaluate_every == 0 or last_epoch
            if evaluated:
                for name in ("val", "test"):
                    if name in splits:
                        entry["metrics"][name] = evaluator.evaluate(method, splits[name], epoch in measured).metrics
            entry["seconds"]["evaluate"] = time.perf_counter() - trained
            progress.history.append(entry)
            if evaluated and stage is stages[-1]:
                _select(recipe.selection, criteria, epoch, method, progress)
            interrupts.unsaved += 1
            reporter.epoch(entry)

            if last_epoch or interrupts.noted or time.monotonic() - last_checkpoint >= checkpoint_seconds:
                save_checkpoint(
                    checkpoints,
                    epoch,
                    {
                        "method": method.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "history": progress.history,
                        "best": {name: vars(best) for name, best in progress.best.items()},
                        "snapshot": progress.snapshot,
                    },
                )
                last_checkpoint = time.monotonic()
                interrupts.unsaved = 0
                if interrupts.noted:
                    raise KeyboardInterrupt

    if progress.snapshot is not None:
        method.load_state_dict(progress.snapshot)
    seed_global_generators(seed, "finish")
    method.eval()
    method.finish(views["train"], views.get("val"))
    results, geometry = {}, None
    for name, split in splits.items():
        evaluation = evaluator.look(method, split, scheduled=True)
        results[name] = evaluator.measure(evaluation, scheduled=True)
        if name == "train":
            geometry = take_snapshot(evaluation)
    return Fitted(method, results, geometry)


def _train_epoch(
    configuration: Configuration,
    method: Method,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[Batch],
    number: int,
    device: torch.device,
    reporter: Reporter,
) -> dict[str, float]:
    """Take a step a batch and return the mean of the loss and of each of its terms over the images.

    An epoch whose loss is not finite is broken off.

    Args:
        configuration: Of the run.
        method: What is trained, in training mode.
        optimizer: Of its parameters.
        batches: Of the epoch.
        number: Images in all batches.
        device: Where the training goes on.
        reporter: Told how much of the epoch is done.

    Raises:
        PluginError: The method returns something else than a loss.
    """
    autocast = autocast_dtype(configuration.recipe.precision, device)
    sums: dict[str, Tensor] = {}
    seen, steps = 0, 0
    for batch in batches:
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            returned = method.loss(batch)
        terms = _with_their_sum(returned, configuration.method.name)
        optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        for name, term in terms.items():
            weighted = term.detach().float() * len(batch)
            sums[name] = sums[name] + weighted if name in sums else weighted
        seen, steps = seen + len(batch), steps + 1
        if steps % FINITE_CHECK_EVERY == 0:
            if not math.isfinite(sums["loss"].item()):
                break
            reporter.step(seen / number)
    return {name: value.item() / seen for name, value in sums.items()}


def _with_their_sum(returned: object, method: str) -> dict[str, Tensor]:
    """Return what a method's loss returned as named terms, with the one to minimise as ``"loss"``.

    Raises:
        PluginError: It is neither a scalar nor a dict of named scalars, or a term has the name of their sum.
    """
    terms = {"loss": returned} if isinstance(returned, Tensor) else returned
    if not (isinstance(terms, dict) and terms and all(map(_is_named_scalar, terms.items()))):
        got = f"a tensor of shape {tuple(returned.shape)}" if isinstance(returned, Tensor) else f"{returned!r:.80}"
        raise PluginError(f"loss() of {method} must return a scalar tensor or a dict of named ones, not {got}.")
    if terms is not returned:
        return terms
    if "loss" in terms:
        raise PluginError(
            f"{method} has a term named 'loss', which is what the sum of all terms is called; give it another name."
        )
    # Autocast leaves some terms in bfloat16, in which sums over an epoch would stop growing.
    terms = {name: term.float() for name, term in terms.items()}
    return {"loss": torch.stack(list(terms.values())).sum(), **terms}


def _is_named_scalar(item: tuple[object, object]) -> bool:
    name, term = item
    return isinstance(name, str) and isinstance(term, Tensor) and term.dim() == 0


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the data type of the forward pass under the recipe's precision; None stands for float32."""
    if precision == "bfloat16" or (
        precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        return torch.bfloat16
    return None


def _select(primary: str, criteria: list[str], epoch: int, method: Method, progress: Progress) -> None:
    """Note the epoch under every criterion it is best by, and keep the primary criterion's model."""
    for criterion in criteria:
        best = improved(progress.best.get(criterion), epoch, criterion, progress.history[-1]["metrics"].get("val", {}))
        if best is not None:
            progress.best[criterion] = best
            if criterion == primary and primary != "last":
                progress.snapshot = {name: value.clone() for name, value in method.state_dict().items()}


def _convolves(method: Method) -> bool:
    return any(isinstance(module, nn.Conv2d) for module in method.modules())


def _split(
    configuration: Configuration, store: Store, name: str, device: torch.device, layout: torch.memory_format
) -> EvaluatedSplit:
    stored = store.splits[name]
    loader = Loader(
        stored,
        device,
        input_scaling=configuration.recipe.input_scaling,
        augmentation=configuration.recipe.augmentation,
        mean=configuration.manifest.channel_mean,
        std=configuration.manifest.channel_std,
        channels_last=layout is torch.channels_last,
    )
    bias = None if stored.bias is None else torch.tensor(stored.bias, device=device)
    return EvaluatedSplit(name, loader, torch.tensor(stored.target, device=device), bias)


def _task(configuration: Configuration, store: Store) -> Task:
    train = store.splits["train"]
    num_classes, num_bias = len(store.class_names), len(store.bias_names)
    supervision = configuration.supervision
    counts = None
    if train.bias is not None and supervision.train == "bias":
        counts = torch.from_numpy(group_counts(train.target, train.bias, num_classes, num_bias))
    return Task(
        num_classes=num_classes,
        num_bias=num_bias,
        class_names=tuple(store.class_names),
        bias_names=tuple(store.bias_names),
        input_shape=train.input_shape,
        num_train=len(train.target),
        class_counts=torch.from_numpy(group_counts(train.target, None, num_classes, 0)[:, 0]),
        seed=configuration.seed,
        bias_known_on_train=train.bias is not None,
        supervision=supervision,
        _group_counts=counts,
        _hierarchy=store.hierarchy if supervision.hierarchy else None,
    )


def _view(configuration: Configuration, split: EvaluatedSplit) -> SplitView:
    """Return what the method may see of a split."""
    reason = withheld(split.name, configuration.supervision, known=split.bias is not None)
    bias = None if reason else split.bias
    batch_size = max(configuration.recipe.batch_size, 256)

    def batches() -> Iterator[Batch]:
        for images, index in split.loader.batches(torch.arange(len(split.target)), batch_size, None):
            yield view.batch(images, index)

    view = SplitView(split.name, split.target, batches, bias, reason)
    return view
