"""One run: from names to a record on disk, however the run ends."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from ncbench.contracts.errors import (
    ConfigurationError,
    DataError,
    NcbenchError,
    counted,
    described,
    lacking,
)
from ncbench.contracts.method import Method
from ncbench.contracts.specs import ATTRIBUTE
from ncbench.data.files import clear_temporaries, from_home, locked
from ncbench.data.store.open import Store
from ncbench.discovery.files import plugins_from
from ncbench.features.frozen import with_features
from ncbench.records.archive import RESULT_FILE, RunResult
from ncbench.records.folder import (
    CHECKPOINTS,
    LOCK_FILE,
    NOT_WRITABLE,
    discard_earlier_attempt,
    explain_write_error,
    finished,
    remove_checkpoints,
    remove_if_nothing_happened,
    writable_folder,
)
from ncbench.records.record import Record, SearchPart
from ncbench.training.checkpoints import newest_epoch
from ncbench.training.configuration import Configuration, is_frozen, refuse_unfit, refuse_unfit_backbone, resolve
from ncbench.training.devices.ranks import LostProcessError, Ranks, join
from ncbench.training.evaluation.evaluator import DivergedError
from ncbench.training.finished.origin import configuration_to_repeat, prepare_data, refuse_changed_files, store_of
from ncbench.training.interrupts import Interrupts
from ncbench.training.reporters import Reporter, fitting_reporter
from ncbench.training.session import Session, refuse_unfit_task
from ncbench.training.tracking import Tracking


def run(
    method: str | None = "shortcut_prime",
    dataset: str = "colored_digits",
    seed: int = 0,
    backbone: str | None = None,
    groups: str = ATTRIBUTE,
    set: Mapping[str, Any] = MappingProxyType({}),  # noqa: A002 (the command line's --set)
    output: str | Path = "runs",
    *,
    search: str | Mapping[str, Any] | None = None,
    device: str = "auto",
    devices: int = 1,
    data_root: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    wait: bool = False,
    synthetic: bool = False,
    allow_mismatch: bool = False,
    plugins: Iterable[object] = (),
    checkpoint_seconds: float = 30.0,
    track: str | Sequence[str] = (),
    reporter: Reporter | None = None,
    warn: Callable[[str], None] = lambda message: print(message, file=sys.stderr),
) -> RunResult:
    """Train a method on a dataset and write the run's record.

    The record is ``<output>/<run_id>/result.json``; the run's id follows from the configuration and the seed. A
    finished run is not run again: its record is returned.

    Args:
        method: Spec of the method, for example ``"shortcut_prime:clean_weight=0.5"``; None for the run that infers
            `groups` alone.
        dataset: Spec of the dataset, for example ``"colored_mnist:conflict=0.005"``.
        seed: Everything random follows from it.
        backbone: Spec of the backbone; None for the published or the dataset's default.
        groups: What the groups are of that the method trains on: ``"attribute"`` for the dataset's bias attribute, or
            the spec of a way to infer them, for example ``"errors:epochs=20"``. That is done by a run of its own, which
            is made first where it is missing, and shared.
        set: Changes to the recipe, for example ``{"recipe.epochs": 5}``; ``"base.recipe.epochs"`` is that of the run
            that this one builds on.
        output: Folder of the run folders.
        search: What a search that chose some of these settings says of itself, as ``record.search`` or as JSON; it
            goes into the record and the run's id.
        device: ``"auto"`` (CUDA if there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        devices: How many of them share the work. More than one take a process each, started by torchrun or srun, all of
            which make this call.
        data_root: Where datasets lie; before ``$NCBENCH_DATA`` and the platform's cache folder.
        resume: Go on with the run of this id from its newest checkpoint, or start it.
        force: Discard what is there of this run and start it anew.
        wait: Where another process makes this run, wait for what comes of it, instead of refusing; what it finishes is
            not made again, whatever `force` says.
        synthetic: Use the dataset's generated twin; the record is marked.
        allow_mismatch: Go on with data that are not what the dataset's manifest promises; the record is marked.
        plugins: Paths of Python files with hook implementations, or objects that have them, to use beside the installed
            plugins; the record is marked.
        checkpoint_seconds: Least time between two checkpoints; an interrupted run writes one besides.
        track: Specs of trackers that follow the run, and the runs made first for it: ``"tensorboard"``,
            ``["wandb:project=shortcuts"]``. No result depends on them; one that fails is left out, with a warning.
        reporter: Told of every epoch; without one, a Jupyter notebook shows a line, and nothing else does.
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
    with plugins_from(plugins):
        if method is None:
            configuration = resolve(groups, dataset, backbone, seed, set, synthetic, allow_mismatch, kind="groups")
        else:
            claim, where = None if search is None else SearchPart.read(search), (synthetic, allow_mismatch)
            configuration = resolve(method, dataset, backbone, seed, set, *where, groups, search=claim)
        ranks = join(devices, device)
        tracking = Tracking(track if ranks.first else (), warn)
        place = from_home(output), ranks, data_root
        runner = _Runner(*place, checkpoint_seconds, tracking, reporter or fitting_reporter(), warn)
        return runner.make(configuration, resume, force, wait)


def run_again(
    record: Record,
    dataset: str | None = None,
    output: str | Path = "runs",
    *,
    device: str = "auto",
    devices: int = 1,
    data_root: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    wait: bool = False,
    checkpoint_seconds: float = 30.0,
    track: str | Sequence[str] = (),
    reporter: Reporter | None = None,
    warn: Callable[[str], None] = lambda message: print(message, file=sys.stderr),
) -> RunResult:
    """Make the run of a record again, with every parameter and setting that stands there, on the same data.

    Args:
        record: What to run.
        dataset: Spec of its dataset, where the record has a digest in place of a path of yours.
        output: See :func:`run`, as for the others.
        device: Likewise.
        devices: Likewise.
        data_root: Likewise.
        resume: Likewise.
        force: Likewise.
        wait: Likewise.
        checkpoint_seconds: Likewise.
        track: Likewise.
        reporter: Likewise.
        warn: Likewise.

    Raises:
        ConfigurationError: It cannot be made here: a plugin is missing, or the installed version does not know a
            setting of its.
        DataError: The data are missing, or not those of the record.
        NcbenchError: As :func:`run`.
        KeyboardInterrupt: Likewise.
    """
    configuration = configuration_to_repeat(record, dataset)
    ranks = join(devices, device)
    tracking = Tracking(track if ranks.first else (), warn)
    place = from_home(output), ranks, data_root
    runner = _Runner(*place, checkpoint_seconds, tracking, reporter or fitting_reporter(), warn)
    if configuration.run_id != record.run_id:
        runner.warn(
            f"These settings make {configuration.run_id} here, and the record says {record.run_id}: it was edited, or "
            "another version of ncbench or of a plugin made it."
        )
    ranks.follow(lambda: store_of(configuration, record, data_root, runner.warn))
    return runner.make(configuration, resume, force, wait)


@dataclass(frozen=True)
class _Runner:
    """Makes runs in one output folder; arguments of :func:`run`."""

    output: Path
    ranks: Ranks
    data_root: str | Path | None
    checkpoint_seconds: float
    tracking: Tracking
    reporter: Reporter
    tell: Callable[[str], None]

    def warn(self, message: str) -> None:
        """Tell, in one line and once, what a person should know."""
        if self.ranks.first:
            self.tell(message)

    def make(self, configuration: Configuration, resume: bool, force: bool, wait: bool = False) -> RunResult:
        """Make a run, or return its record if it is finished already.

        Args:
            configuration: What to run.
            resume: Go on from the newest checkpoint.
            force: Discard what is there.
            wait: Whether to wait where another process makes the same run, instead of refusing.
        """
        if resume and force:
            raise ConfigurationError("--resume goes on with a run and --force discards it; give one of them.")
        waited: list[str] = []

        def waiting(line: str) -> None:
            waited.append(line)
            self.warn(line)

        folder, ranks = self.output / configuration.run_id, self.ranks

        def begin() -> RunResult | None:
            """Lock the folder, and return the finished run that is there already."""
            try:
                writable_folder(folder)
            except ConfigurationError:
                if not force and (there := finished(folder, resume=True)) is not None:
                    return there  # to be read, it need not be written
                raise
            lock = locked(folder / LOCK_FILE, f"working on {folder}", waiting if wait else None)
            holding.enter_context(lock)
            clear_temporaries(folder)
            return None if force and not waited else finished(folder, resume or bool(waited))

        interrupts = Interrupts(self.warn, held=not ranks.first)
        with interrupts.heard(), contextlib.ExitStack() as holding:
            earlier = ranks.lead(begin)
            if earlier is not None:
                refuse_changed_files(configuration, earlier)
                if configuration.manifest.yours:
                    self._refuse_other_data(configuration, earlier)
                self.warn("This run is finished already; here is its record. --force runs it anew.")
                return earlier
            try:
                started = time.perf_counter()
                store = self._prepare(configuration)
                seconds = time.perf_counter() - started
                base = None
                if configuration.base is not None:
                    refuse_unfit_task(configuration, store)  # before the base is trained for nothing
                    base = self._base(configuration.base, configuration.method.name)
                session = Session(configuration, store, ranks, folder, self.warn, seconds, base, self.tracking)
            except (NcbenchError, KeyboardInterrupt):
                if ranks.first:
                    remove_if_nothing_happened(folder)
                raise
            try:
                if ranks.first:
                    discard_earlier_attempt(folder, checkpoints=not resume, everything=force)
                session.start(resume)
                result = _train(session, resume, self.checkpoint_seconds, self.reporter, interrupts)
            except OSError as error:
                raise explain_write_error(error, folder) from error
            finally:
                self.tracking.finish("failed")  # where it has ended without a record
            if ranks.first:
                remove_checkpoints(folder)
            return ranks.agree(result)  # once it is written, for those that build on it

    def _prepare(self, configuration: Configuration) -> Store:
        """Open the dataset's store, which the first process makes where it is missing."""
        data_root, device, warn = self.data_root, self.ranks.device, self.warn
        return self.ranks.follow(lambda: _prepare(configuration, data_root, device, warn))

    def _refuse_other_data(self, configuration: Configuration, earlier: RunResult) -> None:
        """Refuse a finished run whose data the user has changed since, which a digest of a path need not tell."""
        store = self.ranks.follow(lambda: prepare_data(configuration, self.data_root, self.warn))
        if store.fingerprint != earlier.record.dataset.fingerprint:
            raise DataError(
                f"The run in {earlier.folder} is finished, and was made of other images or labels than there are now. "
                "Give --force to make it anew."
            )

    def _base(self, configuration: Configuration, method: str) -> RunResult:
        """Return the finished run that a method builds on; it is made first where there is none."""
        folder = self.output / configuration.run_id
        earlier = self.ranks.lead(lambda: finished(folder, resume=True))
        if earlier is None:
            self.warn(f"{method} builds on {configuration.run_id}, which is trained first.")
            earlier = self.make(configuration, resume=True, force=False, wait=True)
        refuse_changed_files(configuration, earlier)
        return earlier


def _prepare(
    configuration: Configuration, data_root: str | Path | None, device: torch.device, warn: Callable[[str], None]
) -> Store:
    """Open the dataset's store, once it is clear that the method, the backbone and the criterion can work on it.

    Where the backbone is frozen, its features take the place of the images.
    """
    if configuration.synthetic:
        epochs, recipe_holds = configuration.recipe.epochs, ""
        if configuration.method.registered.card.trains:
            shorter = "; --set recipe.epochs=1 makes it short" if epochs > 1 else ""
            recipe_holds = f" The recipe holds all the same: {counted(epochs, 'epoch')}{shorter}."
        warn(
            f"The synthetic twin of {configuration.dataset.name} is generated data, and its figures say nothing of "
            f"the real data's.{recipe_holds}"
        )
    store = prepare_data(configuration, data_root, warn, functools.partial(refuse_unfit, configuration))
    if configuration.method.factory.learns_features:
        refuse_unfit_backbone(configuration, store.splits["train"].input_shape)
    if not is_frozen(configuration.backbone):
        return store
    backbone = configuration.make_backbone(store.splits["train"].input_shape)()
    plugin = configuration.backbone.registered.plugin
    scaling, manifest = configuration.recipe.input_scaling, configuration.manifest
    return with_features(store, backbone, plugin, scaling, manifest.channel_mean, manifest.channel_std, device, warn)


def _train(
    session: Session, resume: bool, checkpoint_seconds: float, reporter: Reporter, interrupts: Interrupts
) -> RunResult:
    """Train, and write a record of whatever comes of it."""
    folder = session.folder
    try:
        return session.train(resume, checkpoint_seconds, reporter, interrupts)
    except DivergedError as error:
        return session.end("diverged", str(error))
    except KeyboardInterrupt as error:
        if interrupts.raised_by(Method, error):
            raise _failed(session, error) from error
        interrupts.over = True
        session.end("interrupted", "interrupted by the user")
        raise KeyboardInterrupt(_how_to_go_on(folder / CHECKPOINTS, interrupts.unsaved)) from None
    except (ConfigurationError, DataError):
        if session.ranks.first:
            remove_if_nothing_happened(folder)
        raise
    except LostProcessError as error:
        interrupts.over = True
        session.end("interrupted", str(error))
        if interrupts.noted:  # as they have
            raise KeyboardInterrupt(_how_to_go_on(folder / CHECKPOINTS, interrupts.unsaved)) from None
        raise
    except BaseException as error:  # a plugin may raise anything, SystemExit too, which must not look like success
        if isinstance(error, OSError) and error.errno in NOT_WRITABLE:
            raise
        failure = _failed(session, error)
        if failure is error:
            raise
        raise failure from error


def _failed(session: Session, error: BaseException) -> NcbenchError:
    """Write the record of a run that failed, and return what is to be said of it."""
    reason = f"{described(error):.500}"
    session.end("failed", reason)
    if isinstance(error, NcbenchError):
        return error
    epoch = newest_epoch(session.folder / CHECKPOINTS)
    goes_on = "" if epoch is None else f" and --resume goes on after epoch {epoch}"
    said = lacking(error) or f"{session.configuration.method.name} failed with {reason}."
    return NcbenchError(f"{said} The record is {session.folder / RESULT_FILE}; --debug shows the traceback{goes_on}.")


def _how_to_go_on(checkpoints: Path, unsaved: int) -> str:
    epoch = newest_epoch(checkpoints)
    if epoch is None:
        return "Interrupted before an epoch was done. The same command with --resume starts again."
    lost = f" and repeats {counted(unsaved, 'finished epoch')} that did not reach the disk" if unsaved else ""
    return f"Interrupted. The same command with --resume goes on after epoch {epoch}{lost}."
