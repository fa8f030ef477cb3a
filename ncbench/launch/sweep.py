"""Making a suite's missing runs and keeping count of them."""

from __future__ import annotations

import contextlib
import functools
import signal
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ncbench.contracts.dataset import Dataset
from ncbench.contracts.errors import ConfigurationError, DataError, NcbenchError, PluginError
from ncbench.contracts.launcher import Ended, Event, Job, Launcher, Started, Waiting
from ncbench.contracts.specs import Scalar, Spec
from ncbench.data.store.prepare import locate, prepare
from ncbench.discovery.files import file_arguments
from ncbench.discovery.registry import registry
from ncbench.launch.member import Member
from ncbench.records.archive import RESULT_FILE, RunResult, load_result
from ncbench.records.folder import FINISHED, remove_checkpoints, writable_folder
from ncbench.records.record import Status
from ncbench.training.configuration import refuse_lacking
from ncbench.training.finished.origin import refuse_changed_files
from ncbench.training.interrupts import TERMINATING

State = Literal["missing", "waiting", "running", "damaged"] | Status
_LOOK_AGAIN_SECONDS = 0.5


@dataclass
class Run:
    """A run of the suite, and how it stands.

    Args:
        member: What it is.
        state: The status its record has, or ``"missing"``, ``"waiting"``, ``"running"``, or ``"damaged"``: its record
            is unreadable.
        result: The record, if there is one.
        place: Where it runs, as the launcher says it.
        problem: Why it was not made in this sweep, in one line; empty if nothing went wrong.
    """

    member: Member
    state: State
    result: RunResult | None = None
    place: str = ""
    problem: str = ""


@dataclass
class Sweep:
    """A suite's runs in an output folder.

    Args:
        output: Folder of the run folders.
        runs: By run id, in the order they are made: a run after those it builds on.
        devices: How many devices, or processes on a CPU, each run takes.
    """

    output: Path
    runs: dict[str, Run] = field(default_factory=dict)
    devices: int = 1
    _patience: float = field(default=60.0, init=False)  # seconds in which a network's folder shows what is written

    @classmethod
    def of(cls, members: Sequence[Member], output: Path, devices: int = 1) -> Sweep:
        """Look up how every run of a suite stands.

        Raises:
            DataError: One was made with another plugin file than there is now.
        """
        sweep = cls(output, devices=devices)
        for member in members:
            sweep.runs[member.job.run_id] = run = Run(member, "missing")
            sweep._read(run)
        return sweep

    def shard(self, number: int, of: int) -> Sweep:
        """Return every `of`-th run from the one of this number on, counted from 1, and what these build on."""
        chosen = {run.member.job.run_id for run in list(self.runs.values())[number - 1 :: of]}
        for name, run in reversed(self.runs.items()):  # a run comes after those it builds on
            if name in chosen:
                chosen.update(run.member.job.after)
        return replace(self, runs={name: run for name, run in self.runs.items() if name in chosen})

    @functools.cached_property
    def varying(self) -> dict[tuple[str, str], list[str]]:
        """The settings in which runs of one method (with its groups) on one dataset differ."""
        alike: dict[tuple[str, str], list[Job]] = {}
        for run in self.runs.values():
            alike.setdefault((run.member.job.label, run.member.job.dataset), []).append(run.member.job)
        return {
            name: [
                key
                for key in sorted({key for job in jobs for key in job.settings})
                if len({repr(job.settings.get(key)) for job in jobs}) > 1
            ]
            for name, jobs in alike.items()
        }

    @functools.cached_property
    def backbones(self) -> set[str]:
        """The backbones of the runs, as named: empty where the dataset's own is taken."""
        return {run.member.job.backbone or "" for run in self.runs.values()}

    @property
    def unfinished(self) -> list[Run]:
        """The runs that are still to be made."""
        return [run for run in self.runs.values() if run.state not in FINISHED]

    def foresee(self, data_root: Path | None) -> None:
        """Note of each run to be made for what labels or split it would be refused, as far as its data are here."""
        found: dict[str, Dataset | None] = {}
        for run in self.unfinished:
            configuration = run.member.configuration
            dataset = configuration.dataset
            if dataset.spec not in found:
                found[dataset.spec] = None
                with contextlib.suppress(NcbenchError):  # which is said where they are prepared
                    card = dataset.registered.card
                    found[dataset.spec] = locate(card, dataset.params, configuration.manifest, data_root=data_root)
            if (there := found[dataset.spec]) is not None:
                try:
                    refuse_lacking(configuration, there)
                except ConfigurationError as error:
                    run.problem = str(error)

    def make(
        self,
        launcher: Launcher,
        data_root: Path | None,
        report: Callable[[str], None] = lambda line: None,
        track: Sequence[str] = (),
    ) -> Generator[Run, None, None]:
        """Make what is unfinished, and yield a run whenever its state changes.

        A failed run is made anew, never taken for a result; one that was cut off goes on from its checkpoint. Data that
        are missing or damaged end the runs that need them, and no others; so does a run that cannot be made end those
        that build on it. When the generator is closed early, runs that are under way are interrupted first.

        Args:
            launcher: Where the runs are made.
            data_root: As for :func:`ncbench.run`.
            report: Told, in one line, what takes long before runs begin, which runs cannot, and what others wait for.
            track: As for :func:`ncbench.run`.

        Raises:
            NcbenchError: The output folder cannot be written.
        """
        reasons = set[str]()
        with contextlib.closing(launcher.launch(*self._work(data_root, track, report))) as events:
            for event in events:
                if isinstance(event, Waiting) and event.why not in reasons:
                    reasons.add(event.why)
                    report(f"Runs wait: {event.why}.")
                run = self.runs[event.job.run_id]
                self._note(run, event)
                yield run

    def hand_in(
        self,
        launcher: Launcher,
        data_root: Path | None,
        report: Callable[[str], None] = lambda line: None,
        track: Sequence[str] = (),
    ) -> None:
        """Hand in what is unfinished and leave it to be made; :meth:`make`, later, goes on from there.

        Raises:
            ConfigurationError: The launcher's runs end with this process.
            NcbenchError: The output folder cannot be written.
        """
        if not launcher.detaches:
            raise ConfigurationError("--detach is for launchers whose runs outlive the sweep, as those of slurm do.")
        launcher.hand_in(*self._work(data_root, track, report))

    def _work(
        self, data_root: Path | None, track: Sequence[str], report: Callable[[str], None]
    ) -> tuple[list[Job], Path, list[str]]:
        """Make everything ready, and return what a launcher is told: jobs, output folder and arguments."""
        if self.unfinished:
            writable_folder(self.output)  # else every run would find out by itself
        for run_id, run in self.runs.items():
            if run.state in FINISHED:  # a process that was killed between its record and this has left them
                remove_checkpoints(self.output / run_id)
        output = self.output.absolute()  # a launcher's runs start in folders of its own
        arguments = ["--output", str(output), *(["--data-root", str(data_root.absolute())] if data_root else [])]
        arguments += [*file_arguments(), *(part for spec in track for part in ("--track", spec))]
        return self._jobs(data_root, report), output, arguments

    def _jobs(self, data_root: Path | None, report: Callable[[str], None]) -> list[Job]:
        """Prepare the data of what is unfinished, and return the jobs of all runs that can be made."""
        self.foresee(data_root)
        jobs: list[Job] = []
        without_data: dict[str, str] = {}  # the dataset's spec -> what is wrong with its data, if anything
        for run in self.unfinished:
            job, dataset = run.member.job, run.member.configuration.dataset
            spec, card, allow = dataset.spec, dataset.registered.card, job.allow_mismatch
            if run.problem:
                continue
            if spec not in without_data:
                without_data[spec] = ""
                try:  # once, before several processes need it
                    prepare(card, dataset.params, data_root=data_root, allow_mismatch=allow, report=report)
                except NcbenchError as error:  # a ratio that leaves a class without images is no DataError, for one
                    without_data[spec] = str(error)
                    report(f"Runs on {spec} are left out: its data are not ready. Why stands at the end.")
            run.problem = without_data[spec] or self._lacking(job)
            if not run.problem:
                jobs.append(replace(job, anew=run.state in ("failed", "damaged"), devices=self.devices))
        return jobs

    def _lacking(self, job: Job) -> str:
        """Return why a job cannot be made although its data are there: what it builds on cannot, or has diverged."""
        bases = (self.runs[base] for base in job.after if base in self.runs)
        lacking = (base.member.job.run_id for base in bases if base.problem or base.state == "diverged")
        return next((Ended.without(job, base).message for base in lacking), "")

    def _note(self, run: Run, event: Event) -> None:
        match event:
            case Waiting():
                run.state = "waiting"
            case Started(place=place):
                run.state, run.place = "running", place
            case Ended():
                self._read(run)
                while event.exit_code == 0 and run.state not in FINISHED and self._patience > 0:
                    time.sleep(_LOOK_AGAIN_SECONDS)
                    self._patience -= _LOOK_AGAIN_SECONDS
                    self._read(run)
                if run.state not in FINISHED:
                    run.problem = self._problem(event)

    def _problem(self, event: Ended) -> str:
        """Say in one line why a run was not made."""
        # A process that is told to end while it still imports torch leaves no record, and nothing to lose.
        if event.exit_code in (130, *(-number for number in TERMINATING)):
            return "interrupted; the next sweep goes on with it"
        if event.exit_code < 0:
            number = -event.exit_code
            hint = "; if memory ran out, make fewer runs at a time" if number == signal.SIGKILL else ""
            return f"ended by signal {number}, {signal.strsignal(number)}{hint}"
        if event.exit_code == 0:
            where = self.output.absolute()
            return f"it is made, but not to be seen in {where}; name an --output that all nodes share"
        return event.message.removeprefix("Error: ") or f"ended with exit code {event.exit_code} and said nothing"

    def _read(self, run: Run) -> None:
        path = self.output / run.member.job.run_id / RESULT_FILE
        run.state, run.result = "missing", None
        if path.exists():
            try:
                run.result = load_result(path)
                run.state = run.result.record.status
            except DataError:
                run.state = "damaged"
            else:
                if run.state in FINISHED:
                    refuse_changed_files(run.member.configuration, run.result)


def make_launcher(text: str, options: Mapping[str, Scalar]) -> Launcher:
    """Return the launcher that a spec names.

    Args:
        text: Spec, for example ``"local:workers=2"``.
        options: Parameters that have an option of the command line, by their names.

    Raises:
        ConfigurationError: A name, key or value is not valid, or a parameter is given both ways.
        PluginError: A plugin cannot be imported or breaks its contract.
    """
    spec = Spec.parse(text)
    if twice := sorted(options.keys() & spec.parameters.keys()):
        raise ConfigurationError(f"{twice[0]!r} is given twice: in --launcher {text} and as --{twice[0]}.")
    kind = registry().find("launchers", spec.name).load()
    if not (isinstance(kind, type) and issubclass(kind, Launcher)):
        raise PluginError(f"The factory of the launcher {spec.name!r} is not a subclass of ncbench.Launcher.")
    return kind(kind.Parameters.build({**spec.parameters, **options}, owner=spec.name))
