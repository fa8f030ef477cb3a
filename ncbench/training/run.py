"""One run: from names to a record on disk, however the run ends."""

from __future__ import annotations

import contextlib
import datetime
import errno
import functools
import io
import json
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

import ncbench
from ncbench.contracts.errors import ConfigurationError, DataError, NcbenchError, counted
from ncbench.contracts.files import locked, write_atomically
from ncbench.data.store.open import Store
from ncbench.data.store.prepare import prepare
from ncbench.discovery.registry import registry
from ncbench.features.snapshot import SNAPSHOT_FILE, write_snapshot
from ncbench.records.archive import RESULT_FILE, RunResult, load_result, write_result
from ncbench.records.record import Record
from ncbench.training.checkpoints import newest_epoch
from ncbench.training.configuration import Configuration, resolve
from ncbench.training.interrupts import Interrupts
from ncbench.training.loop import DivergedError, Fitted, Progress, Reporter, autocast_dtype, fit
from ncbench.training.preflight import refuse_unfit
from ncbench.training.selection import effective_supervision

CHECKPOINTS = "checkpoints"
LOG_FILE = "log.jsonl"
MODEL_FILE = "model.pt"
LOCK_FILE = ".lock"
PICTURES = ("curves", "collapse", "grams", "frame")  # that `ncbench run` and `ncbench plot` draw in the run's folder
NOT_WRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


class Silent:
    """A reporter that tells nobody."""

    def plan(self, epochs: int, done: int) -> None:
        """Ignore the plan."""

    def step(self, fraction: float) -> None:
        """Ignore the step."""

    def epoch(self, entry: dict[str, Any]) -> None:
        """Ignore the epoch."""


def run(
    method: str = "shortcut_prime",
    dataset: str = "colored_digits",
    seed: int = 0,
    backbone: str | None = None,
    set: Mapping[str, Any] = MappingProxyType({}),  # noqa: A002 (the command line's --set)
    output: str | Path = "runs",
    *,
    device: str = "auto",
    data_root: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    synthetic: bool = False,
    allow_mismatch: bool = False,
    checkpoint_seconds: float = 30.0,
    reporter: Reporter | None = None,
    warn: Callable[[str], None] = lambda message: print(message, file=sys.stderr),
) -> RunResult:
    """Train a method on a dataset and write the run's record.

    The record is ``<output>/<run_id>/result.json``; the run's id follows from the configuration and the seed. A
    finished run is not run again: its record is returned.

    Args:
        method: Spec of the method, for example ``"shortcut_prime:clean_weight=0.5"``.
        dataset: Spec of the dataset, for example ``"colored_mnist:conflict=0.005"``.
        seed: Everything random follows from it.
        backbone: Spec of the backbone; None for the published or the dataset's default.
        set: Changes to the recipe, for example ``{"recipe.epochs": 5}``.
        output: Folder of the run folders.
        device: ``"auto"`` (CUDA if there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        data_root: Where datasets lie; before ``$NCBENCH_DATA`` and the platform's cache folder.
        resume: Go on with the run of this id from its newest checkpoint, or start it.
        force: Discard what is there of this run and start it anew.
        synthetic: Use the dataset's generated twin; the record is marked.
        allow_mismatch: Go on with data that are not what the dataset's manifest promises; the record is marked.
        checkpoint_seconds: Least time between two checkpoints; an interrupted run writes one besides.
        reporter: Told of every epoch.
        warn: Told, in one line, what a person should know.

    Returns:
        The record and its folder. Its status tells how the run ended; a run that diverged returns normally.

    Raises:
        ConfigurationError: A name, key, value or device is not valid, or the run was cut off before and neither
            `resume` nor `force` is given.
        DataError: Data or a checkpoint is missing or damaged.
        NcbenchError: The run failed in another way that the record explains.
        KeyboardInterrupt: The run was interrupted; its record says so, and the exception's text how to go on.
    """
    configuration = resolve(method, dataset, backbone, seed, set, synthetic, allow_mismatch)
    if resume and force:
        raise ConfigurationError("--resume goes on with a run and --force discards it; give one of them.")
    torch_device = find_device(device)
    folder = writable_folder(Path(output) / configuration.run_id)
    interrupts = Interrupts(warn)
    with interrupts.heard(), locked(folder / LOCK_FILE, f"working on {folder}"):
        finished = None if force else _finished(folder, resume)
        if finished is not None:
            warn("This run is finished already; here is its record. --force runs it anew.")
            return finished
        if synthetic:
            epochs = configuration.recipe.epochs
            shorter = "; --set recipe.epochs=1 makes it short" if epochs > 1 else ""
            warn(
                f"The synthetic twin of {configuration.dataset.name} is generated data, and its figures say nothing of "
                f"the real data's. The recipe holds all the same: {counted(epochs, 'epoch')}{shorter}."
            )
        started = time.perf_counter()
        try:
            store = prepare(
                configuration.dataset.registered.card,
                configuration.dataset.params,
                data_root=None if data_root is None else Path(data_root),
                synthetic=synthetic,
                allow_mismatch=allow_mismatch,
                report=warn,
                inspect=functools.partial(refuse_unfit, configuration),
            )
        except NcbenchError:
            _remove_if_empty(folder)
            raise
        prepared = time.perf_counter()
        session = _Session(configuration, store, torch_device, folder, warn)
        _make_way(folder, resume, force)
        session.start(resume)
        if torch_device.type == "cuda":
            torch.cuda.init()  # type: ignore[no-untyped-call]  # before it, there are no statistics to reset
            torch.cuda.reset_peak_memory_stats(torch_device)
        try:
            fitted = fit(
                configuration,
                store,
                torch_device,
                session.progress,
                checkpoints=folder / CHECKPOINTS,
                checkpoint_seconds=checkpoint_seconds,
                resume=resume,
                reporter=_Logging(session, reporter or Silent()),
                interrupts=interrupts,
            )
            _save_model(fitted, folder / MODEL_FILE)
            if fitted.geometry is not None:
                write_snapshot(fitted.geometry, folder)
            result = session.end("completed", None, prepared - started, fitted)
        except DivergedError as error:
            result = session.end("diverged", str(error), prepared - started)
        except KeyboardInterrupt:
            session.end("interrupted", "interrupted by the user", prepared - started)
            raise KeyboardInterrupt(_way_on(folder / CHECKPOINTS, interrupts.unsaved)) from None
        except (ConfigurationError, DataError):
            _remove_if_empty(folder)
            raise
        except (Exception, SystemExit) as error:  # a plugin may end the program too, which must not look like success
            if isinstance(error, OSError) and error.errno in NOT_WRITABLE:
                raise _explain_write_error(error, folder) from error
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
            session.end("failed", reason, prepared - started)
            if isinstance(error, NcbenchError):
                raise
            epoch = newest_epoch(folder / CHECKPOINTS)
            way_on = "" if epoch is None else f" and --resume goes on after epoch {epoch}"
            raise NcbenchError(
                f"{configuration.method.name} failed with {reason}. The record is {folder / RESULT_FILE}; "
                f"--debug shows the traceback{way_on}."
            ) from error
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        return result


def find_device(name: str) -> torch.device:
    """Return the device of this name.

    Raises:
        ConfigurationError: There is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    here = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if name not in here and not (name == "cuda" and len(here) > 1):
        raise ConfigurationError(f"There is no device {name!r} here. Use one of: auto, {', '.join(here)}.")
    return torch.device(name)


def writable_folder(folder: Path) -> Path:
    """Return a folder in which a file can be made; the folder is made too where it is missing.

    Raises:
        ConfigurationError: It cannot be written.
        NcbenchError: The disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _explain_write_error(error, folder) from error
    return folder


class _Session:
    """One attempt at a run: what is known before it starts, its log, and its record at the end."""

    def __init__(
        self,
        configuration: Configuration,
        store: Store,
        device: torch.device,
        folder: Path,
        warn: Callable[[str], None],
    ) -> None:
        self.configuration = configuration
        self.store = store
        self.device = device
        self.folder = folder
        self.warn = warn
        self.progress = Progress()
        supervision = effective_supervision(configuration.supervision, configuration.recipe.selection)
        self.known: Mapping[str, Any] = MappingProxyType(
            {
                "run_id": configuration.run_id,
                "method": {**configuration.method.describe(), "supervision": supervision.as_dict()},
                "dataset": {
                    **configuration.dataset.describe(),
                    "synthetic": configuration.synthetic,
                    "fingerprint": store.fingerprint,
                    "mismatch": list(store.mismatch),
                    "aligned_bias": None if store.aligned_bias is None else list(store.aligned_bias),
                },
                "backbone": configuration.backbone.describe(),
                "seed": configuration.seed,
                "recipe": configuration.recipe.as_dict(),
                "primary_metric": configuration.manifest.primary_metric,
            }
        )

    def start(self, resume: bool) -> None:
        resumed = resume and newest_epoch(self.folder / CHECKPOINTS) is not None
        self.log("resumed" if resumed else "started", run_id=self.configuration.run_id)
        registry().notify("ncbench_run_started", self.warn, run=self.known)

    def log(self, event: str, **content: Any) -> None:
        line = {"time": _now().isoformat(), "event": event, **content}
        with (self.folder / LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def end(self, status: str, reason: str | None, prepare_seconds: float, fitted: Fitted | None = None) -> RunResult:
        """Write the record, tell the observers and return it."""
        progress = self.progress
        history = progress.history
        results = fitted.results if fitted else {}
        record = Record.model_validate(
            {
                **self.known,
                "status": status,
                "reason": reason,
                "selection": {
                    criterion: {
                        "epoch": best.epoch,
                        "metrics": {
                            split: numbers
                            for split, numbers in history[best.epoch - 1]["metrics"].items()
                            if split != "train"
                        },
                    }
                    for criterion, best in progress.best.items()
                },
                "metrics": {split: result.metrics for split, result in results.items()},
                "groups": {
                    split: result.groups(self.store.splits[split].bias is not None) for split, result in results.items()
                },
                "history": history,
                "terminal_phase_epoch": _terminal_phase(history),
                "environment": _environment(self.configuration, self.device),
                "timing": _timing(history, prepare_seconds, self.device),
                "created": _now(),
            }
        )
        result = RunResult(record, self.folder)
        write_result(result)
        self.log("ended", status=status, reason=reason)
        registry().notify("ncbench_run_finished", self.warn, run=self.known, result=record.model_dump(mode="json"))
        return result


class _Logging:
    """Passes what the loop reports on to the log, the observers and the caller's reporter."""

    def __init__(self, session: _Session, reporter: Reporter) -> None:
        self.session = session
        self.plan = reporter.plan
        self.step = reporter.step
        self.reporter = reporter

    def epoch(self, entry: dict[str, Any]) -> None:
        self.session.log("epoch", **entry)
        registry().notify(
            "ncbench_epoch_finished", self.session.warn, run=self.session.known, epoch=entry["epoch"], logs=entry
        )
        self.reporter.epoch(entry)


def _save_model(fitted: Fitted, path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(fitted.method.state_dict(), buffer)
    write_atomically(path, buffer.getvalue())


def _remove_if_empty(folder: Path) -> None:
    """Take back a run folder in which nothing has happened yet."""
    if {path.name for path in folder.iterdir()} <= {LOCK_FILE, LOG_FILE}:
        shutil.rmtree(folder, ignore_errors=True)


def _way_on(checkpoints: Path, unsaved: int) -> str:
    epoch = newest_epoch(checkpoints)
    if epoch is None:
        return "Interrupted before an epoch was done. The same command with --resume starts again."
    lost = f" and repeats {counted(unsaved, 'finished epoch')} that did not reach the disk" if unsaved else ""
    return f"Interrupted. The same command with --resume goes on after epoch {epoch}{lost}."


def _explain_write_error(error: OSError, folder: Path) -> NcbenchError:
    where = error.filename or folder
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return NcbenchError(f"There is no space left for {where}. Free some and go on with --resume.")
    return ConfigurationError(f"{where} cannot be written ({error.strerror or error}). Choose another --output.")


def _finished(folder: Path, resume: bool) -> RunResult | None:
    """Return the finished record that is already there, or None where there is none and a new attempt may begin.

    Raises:
        ConfigurationError: The run was cut off before, and the user has not said how to go on.
        DataError: There is a record, and it is damaged.
    """
    status = None
    if (folder / RESULT_FILE).exists():
        try:
            result = load_result(folder)
        except DataError as error:
            raise DataError(f"{error} --force discards what is there of this run and starts it anew.") from error
        if result.status in {"completed", "diverged"}:
            return result
        status = result.status
    if resume:
        return None
    if status != "failed" and (status == "interrupted" or any((folder / CHECKPOINTS).glob("epoch-*.pt"))):
        raise ConfigurationError(
            f"The run in {folder} was cut off before its end. Give --resume to go on with it, or --force to start anew."
        )
    return None


def _make_way(folder: Path, resume: bool, force: bool) -> None:
    """Discard what an attempt must not find, once nothing can refuse it any more before it begins."""
    if force:
        pictures = [f"{name}{suffix}" for name in PICTURES for suffix in (".png", ".svg")]
        for name in (RESULT_FILE, LOG_FILE, MODEL_FILE, SNAPSHOT_FILE, *pictures):
            (folder / name).unlink(missing_ok=True)
    if not resume:  # a later --resume must not find the checkpoints of an attempt that failed
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def _environment(configuration: Configuration, device: torch.device) -> dict[str, Any]:
    precision = autocast_dtype(configuration.recipe.precision, device) or torch.float32
    return {
        "ncbench": ncbench.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": metadata.version("torchvision"),
        "numpy": metadata.version("numpy"),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else (_processor() or device.type),
        "threads": torch.get_num_threads(),
        "precision": str(precision).removeprefix("torch."),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


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


def _timing(history: list[dict[str, Any]], prepare_seconds: float, device: torch.device) -> dict[str, float]:
    train = [entry["seconds"].get("train", 0.0) for entry in history]
    evaluate = [entry["seconds"].get("evaluate", 0.0) for entry in history]
    timing = {
        "prepare_seconds": prepare_seconds,
        "train_seconds": sum(train),
        "evaluate_seconds": sum(evaluate),
        "median_epoch_train_seconds": statistics.median(train) if train else 0.0,
    }
    if device.type == "cuda":
        timing["peak_device_bytes"] = float(torch.cuda.max_memory_allocated(device))
    return timing
