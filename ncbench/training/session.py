"""One attempt at a run: what is known before it starts, its log, and its record at the end."""

from __future__ import annotations

import copy
import datetime
import json
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from ncbench.contracts.cards import Supervision
from ncbench.contracts.errors import NcbenchError, counted
from ncbench.contracts.specs import ATTRIBUTE
from ncbench.contracts.task import Groups
from ncbench.data.store.open import Store
from ncbench.discovery import last_words
from ncbench.discovery.files import plugin_files
from ncbench.discovery.registry import registry
from ncbench.features.inferred import write_groups
from ncbench.features.predictions import MOST_PROBABILITIES, Predictions, write_predictions
from ncbench.features.snapshot import write_snapshot
from ncbench.records.archive import RESULT_FILE, RunResult, write_result
from ncbench.records.environment import environment, timing
from ncbench.records.folder import CHECKPOINTS, LOG_FILE, PREDICTIONS_FILE
from ncbench.records.record import FEW_IMAGES, Record
from ncbench.training.checkpoints import newest_epoch
from ncbench.training.configuration import Configuration, is_frozen, resolve
from ncbench.training.devices.ranks import Ranks
from ncbench.training.evaluation.evaluator import Evaluator, load_metrics
from ncbench.training.finished.base import describe_base, groups_of
from ncbench.training.finished.method import load_trained, make_configured, save_model
from ncbench.training.finished.origin import plugins_of
from ncbench.training.interrupts import Interrupts
from ncbench.training.loop import Fitted, RunState, fit
from ncbench.training.reporters import Reporter, Silent
from ncbench.training.selection import available_criteria, check_criterion, find_criterion, smallest_group
from ncbench.training.splits import load_splits, memory_format
from ncbench.training.tracking import Tracking


class Session:
    """One attempt at a run.

    Args:
        configuration: What to run.
        store: The dataset's decoded splits.
        ranks: The processes that train it, and this one's device.
        folder: The run's folder.
        warn: Told, in one line, what a person should know.
        prepare_seconds: How long it took to prepare the store.
        base: The finished run that this one builds on; None if it builds on none.
        tracking: What follows the run.

    Raises:
        DataError: The base did not complete, was of other data, or its model or groups are not there any more.

    Attributes:
        state: What the run has to show so far.
        known: The part of the record that is known before the run starts.
        shown: A copy of it for observers, which may change what they are given.
    """

    def __init__(
        self,
        configuration: Configuration,
        store: Store,
        ranks: Ranks,
        folder: Path,
        warn: Callable[[str], None],
        prepare_seconds: float,
        base: RunResult | None,
        tracking: Tracking,
    ) -> None:
        self.configuration = configuration
        self.store = store
        self.ranks = ranks
        self.device = ranks.device
        self.folder = folder
        self.warn = warn
        self.prepare_seconds = prepare_seconds
        self.tracking = tracking
        self.state = RunState()
        self.base = base
        self.precision = str(configuration.recipe.autocast(self.device) or torch.float32).removeprefix("torch.")
        of_base = None if base is None else describe_base(base, store)
        self.groups: Groups | None = None
        groups_from = None
        if base is not None and configuration.inference is not None:
            groups_from, self.groups = groups_of(base, store)
        criterion = find_criterion(configuration.recipe.selection)
        self.smallest_group = smallest_group(store, self.groups if criterion.needs_groups else None)
        self.inferred: dict[str, Any] | None = None
        self.known: Mapping[str, Any] = MappingProxyType(
            {
                "run_id": configuration.run_id,
                "method": self._method(),
                "dataset": {
                    **configuration.dataset.describe(),
                    "synthetic": configuration.synthetic,
                    "fingerprint": store.fingerprint,
                    "version": configuration.manifest.version,
                    "mismatch": list(store.mismatch),
                    "aligned_bias": None if store.aligned_bias is None else list(store.aligned_bias),
                },
                "backbone": configuration.backbone.describe(),
                "groups_from": groups_from,
                "base": of_base,
                "settings_from": _settings_from(configuration),
                "plugin_files": {**({} if base is None else base.record.plugin_files), **plugin_files()},
                "search": None if configuration.search is None else configuration.search.model_dump(mode="json"),
                "seed": configuration.seed,
                "recipe": configuration.recipe.as_dict(),
                "primary_metric": configuration.manifest.primary_metric,
            }
        )
        self.shown = MappingProxyType(copy.deepcopy(dict(self.known)))

    def start(self, resume: bool) -> None:
        """Note in the log that the attempt begins, and tell the observers."""
        if self.device.type == "cuda":
            torch.cuda.init()  # type: ignore[no-untyped-call]  # before it, there are no statistics to reset
            torch.cuda.reset_peak_memory_stats(self.device)
        if not self.ranks.first:
            return
        resumed = resume and newest_epoch(self.folder / CHECKPOINTS) is not None
        place = {"host": platform.node(), "process": os.getpid()}
        self.log("resumed" if resumed else "started", run_id=self.configuration.run_id, **place)
        last_words.note(
            who=self.configuration.method.name,
            path=str((self.folder / RESULT_FILE).absolute()),
            record=self._record("failed", "the process ended", None).model_dump(mode="json"),
        )
        registry().notify("ncbench_run_started", self.warn, run=self.shown)

    def train(self, resume: bool, checkpoint_seconds: float, reporter: Reporter, interrupts: Interrupts) -> RunResult:
        """Make the method and its inputs, train, and write the model and the record; arguments and errors of `fit`."""
        configuration, store, recipe = self.configuration, self.store, self.configuration.recipe
        _check_criterion(configuration, store)
        self._warn_of_small_groups()
        evaluator = Evaluator(store, load_metrics(), max(recipe.batch_size, 256), recipe.autocast(self.device))
        base = None
        if self.base is not None and configuration.base is not None and self.groups is None:
            base = load_trained(configuration.base, store, self.base.folder, self.device, ranks=self.ranks)
        mean, std = configuration.manifest.channel_mean, configuration.manifest.channel_std
        # What a frozen backbone made of the images, scaled as it wants them, is taken as it is.
        inputs = recipe.model_copy(update={"input_scaling": "unit"}) if is_frozen(configuration.backbone) else recipe
        method = make_configured(configuration, store, self.device, self.groups, self.ranks)
        fitted = fit(
            method,
            load_splits(store, inputs, mean, std, self.device, memory_format(method), self.groups),
            recipe,
            evaluator,
            self.state,
            checkpoints=self.folder / CHECKPOINTS,
            checkpoint_seconds=checkpoint_seconds,
            resume=resume,
            reporter=_Logging(self, reporter) if self.ranks.first else Silent(),
            interrupts=interrupts,
            base=base,
            made_with=self._made_with(),
            ranks=self.ranks,
        )
        if not self.ranks.first:
            return self.end("completed", fitted=fitted)
        save_model(fitted.method, self.folder)
        if fitted.geometry is not None:
            write_snapshot(fitted.geometry, self.folder)
        if predictions := _predictions(fitted, store):
            write_predictions(predictions, self.folder / PREDICTIONS_FILE)
        if fitted.groups is not None:
            self.inferred = write_groups(fitted.groups, store, self.folder)
        return self.end("completed", fitted=fitted)

    def _warn_of_small_groups(self) -> None:
        trains = self.configuration.method.registered.card.trains  # else there are no epochs to choose from
        criterion = find_criterion(self.configuration.recipe.selection)
        if self.smallest_group is None or not trains or not criterion.of_groups:
            return
        target, bias, count = self.smallest_group
        if count < FEW_IMAGES:
            self.warn(
                f"recipe.selection={self.configuration.recipe.selection} goes by groups of few validation images; that "
                f"of target {self.store.class_names[target]} and bias {bias} has "
                f"{counted(count, 'image')}. Which epoch it chooses is partly chance."
            )

    def _made_with(self) -> dict[str, str]:
        """Return what a checkpoint must have been made with to be gone on from."""
        made_with = {
            **{plugin.distribution: plugin.version for plugin in plugins_of(self.configuration)},
            "torch": torch.__version__.partition("+")[0],
            "precision": self.precision,
            "the data's fingerprint": self.store.fingerprint,
        }
        if self.store.features is not None:
            made_with["the features of the frozen backbone"] = self.store.features
        if self.known["base"] is not None:
            made_with[f"the model of {self.known['base']['run_id']}"] = self.known["base"]["model"]
        if self.known["groups_from"] is not None:
            made_with["the inferred groups"] = self.known["groups_from"]["digest"]
        return made_with

    def log(self, event: str, **content: Any) -> None:
        """Append a line to the log."""
        line = {"time": _now().isoformat(), "event": event, **content}
        with (self.folder / LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def end(self, status: str, reason: str | None = None, fitted: Fitted | None = None) -> RunResult:
        """Write the record, tell the observers and return it; but for the first, processes only return it."""
        result = RunResult(self._record(status, reason, fitted), self.folder)
        if not self.ranks.first:
            return result
        last_words.note()
        write_result(result)
        self.log("ended", status=status, reason=reason)
        written = result.record.model_dump(mode="json")
        registry().notify("ncbench_run_finished", self.warn, run=self.shown, result=written)
        self.tracking.finish(status, written["metrics"], result.path)
        return result

    def _record(self, status: str, reason: str | None, fitted: Fitted | None) -> Record:
        history = self.state.history
        results = fitted.results if fitted else {}
        best = self.state.best if history or fitted is None else {self.configuration.recipe.selection: 0}
        return Record.model_validate(
            {
                **self.known,
                "method": self._method(),
                "status": status,
                "reason": reason,
                "selection": {name: self._selected(name, epoch, fitted) for name, epoch in best.items()},
                "metrics": {split: result.metrics for split, result in results.items()},
                "groups": {
                    split: result.groups(self.store.splits[split].bias is not None) for split, result in results.items()
                },
                "report": fitted.report if fitted else {},
                "fitted": fitted.fitted if fitted else [],
                "inferred": self.inferred,
                "history": history,
                "terminal_phase_epoch": _terminal_phase(history),
                "environment": environment(self.precision, self.device, self.ranks.count, self.ranks.draws),
                "timing": timing(history, self.prepare_seconds, self.device),
                "created": _now(),
            }
        )

    def _method(self) -> dict[str, Any]:
        """Return what the record says of the method, and of the labels that the run has used so far."""
        used = self.configuration.labels_used(self.state.reads_val)
        if self.base is not None:
            used = used.joined(Supervision(**self.base.record.method.supervision.model_dump()))
        kind = "groups" if self.configuration.infers else "method"
        return {**self.configuration.method.describe(), "supervision": used.as_dict(), "kind": kind}

    def _selected(self, name: str, epoch: int, fitted: Fitted | None) -> dict[str, Any]:
        """Return what the record says of the epoch that a criterion has chosen; of a model fitted on, as it ended."""
        history, criterion = self.state.history, find_criterion(name)
        candidates = [
            (entry["epoch"], entry["metrics"].get("val", {}))
            for entry in history
            if entry["stage"] == history[-1]["stage"]
        ]
        _, tied = criterion.choose(candidates) or (epoch, 1)
        if fitted is not None and "train" in fitted.fitted:
            metrics = {split: result.metrics for split, result in fitted.results.items() if split != "train"}
        else:
            metrics = {split: numbers for split, numbers in history[epoch - 1]["metrics"].items() if split != "train"}
        smallest = self.smallest_group[-1] if criterion.of_groups and self.smallest_group else None
        return {"epoch": epoch, "metrics": metrics, "tied": tied, "smallest_group": smallest}


class _Logging:
    """Passes what the loop reports on to the log, the observers and the caller's reporter."""

    def __init__(self, session: Session, reporter: Reporter) -> None:
        self.session = session
        self.step = reporter.step
        self.reporter = reporter
        self.epochs = 0

    def plan(self, epochs: int, done: int) -> None:
        self.epochs = epochs
        self.session.tracking.start(self.session.shown, self.session.folder, done, self.of_trackers)
        self.reporter.plan(epochs, done)

    def of_trackers(self, event: str, **content: Any) -> None:
        # With the epoch, which a sweep shows of the last line.
        self.session.log(event, **content, epoch=len(self.session.state.history), epochs=self.epochs)

    def epoch(self, entry: dict[str, Any]) -> None:
        self.session.log("epoch", **entry, epochs=self.epochs)
        registry().notify(
            "ncbench_epoch_finished",
            self.session.warn,
            run=self.session.shown,
            epoch=entry["epoch"],
            logs=copy.deepcopy(entry),
        )
        self.session.tracking.epoch(entry)
        self.reporter.epoch(entry)


def _settings_from(configuration: Configuration) -> dict[str, Any]:
    """Return what the record says of where settings come from: what the method and the dataset have by themselves."""
    inference, method = configuration.inference, configuration.method
    own = resolve(
        method.name,
        configuration.dataset.spec,
        None,
        configuration.seed,
        {},
        configuration.synthetic,
        configuration.allow_mismatch,
        ATTRIBUTE if inference is None else inference.method.spec,
        kind="groups" if configuration.infers else "methods",
    )
    here, there = (
        {
            **{f"method.{key}": value for key, value in each.method.params.as_dict().items()},
            **each.settings,
            "backbone": each.backbone.spec,
        }
        for each in (configuration, own)
    )
    source = "published" if configuration.published is not None else "default"
    return {"source": source, "changed": sorted(key for key, value in here.items() if there.get(key, value) != value)}


def refuse_unfit_task(configuration: Configuration, store: Store) -> None:
    """Refuse, with a ConfigurationError, a method or a criterion that does not fit the data, before any training."""
    _check_criterion(configuration, store)
    if configuration.inference is not None:
        return  # what groups there are is not known yet
    try:
        make_configured(configuration, store, torch.device("cpu"))
    except NcbenchError:
        raise
    except Exception:
        return  # a fault in a plugin is explained by the record of the run that hits it


def _check_criterion(configuration: Configuration, store: Store) -> None:
    val, selection = store.splits.get("val"), configuration.recipe.selection
    known = val is not None and val.bias is not None, val is not None and configuration.annotates_val
    criteria = available_criteria(selection, val is not None, *known)
    can_hold_out = val is None and "val" in configuration.dataset.factory.Parameters.model_fields
    check_criterion(selection, criteria, configuration.dataset.spec, can_hold_out)


def _predictions(fitted: Fitted, store: Store) -> dict[str, Predictions]:
    """Return what the model predicts for validation and test images."""
    found = {}
    for name, result in fitted.results.items():
        if name == "train":
            continue
        split, probability = store.splits[name], None
        if result.logits is not None and result.logits.shape[1] <= MOST_PROBABILITIES:
            probability = result.logits.softmax(dim=1).cpu().numpy()
        found[name] = Predictions(
            split.target,
            result.predicted.cpu().numpy(),
            store.class_names,
            split.bias,
            store.bias_names,
            probability,
            [str(each) for each in split.ids],
            store.aligned_bias,
        )
    return found


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def _terminal_phase(history: list[dict[str, Any]]) -> int | None:
    """Return the first measured epoch of the last stage at which every training image was classified correctly.

    Earlier stages may have trained a net that was discarded.
    """
    accuracies = (
        (entry["epoch"], entry["metrics"].get("train", {}).get("accuracy"))
        for entry in history
        if entry["stage"] == history[-1]["stage"]
    )
    return next((epoch for epoch, accuracy in accuracies if accuracy == 1), None)
