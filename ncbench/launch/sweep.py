"""Making a suite's missing runs and keeping count of them."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ncbench.contracts.errors import DataError, NcbenchError
from ncbench.contracts.launcher import Ended, Job, Launcher, Started
from ncbench.data.store.prepare import prepare
from ncbench.launch.suite import Member
from ncbench.records.archive import RESULT_FILE, RunResult, load_result
from ncbench.records.record import Status
from ncbench.training.run import writable_folder

State = Literal["missing", "running", "damaged"] | Status
OVER: frozenset[State] = frozenset({"completed", "diverged"})
"""What counts as made: divergence is a result, and the same seed would diverge again."""


@dataclass
class Run:
    """A run of the suite, and how it stands.

    Args:
        member: What it is.
        state: The status its record has, or ``"missing"``, ``"running"``, or ``"damaged"``: its record is unreadable.
        result: The record, if there is one.
        problem: Why it was not made in this sweep, in one line; empty if nothing went wrong.
    """

    member: Member
    state: State
    result: RunResult | None = None
    problem: str = ""


@dataclass
class Sweep:
    """A suite's runs in an output folder.

    Args:
        output: Folder of the run folders.
        runs: By run id, in the order they are made: a run after those it builds on.
    """

    output: Path
    runs: dict[str, Run] = field(default_factory=dict)

    @classmethod
    def of(cls, members: Sequence[Member], output: Path) -> Sweep:
        """Look up how every run of a suite stands."""
        sweep = cls(output)
        for member in members:
            sweep.runs[member.job.run_id] = run = Run(member, "missing")
            sweep._read(run)
        return sweep

    @property
    def unfinished(self) -> list[Run]:
        """The runs that are still to be made."""
        return [run for run in self.runs.values() if run.state not in OVER]

    def make(
        self, launcher: Launcher, data_root: Path | None, report: Callable[[str], None] = lambda line: None
    ) -> Generator[Run, None, None]:
        """Make what is unfinished, and yield a run whenever its state changes.

        A failed run is made anew, never taken for a result; one that was cut off goes on from its checkpoint. Data that
        are missing or damaged end the runs that need them, and no others. When the generator is closed early, runs that
        are under way are interrupted first.

        Args:
            launcher: Where the runs are made.
            data_root: As for :func:`ncbench.run`.
            report: Told, in one line, what takes long before runs begin, and on which data none can.

        Raises:
            NcbenchError: The output folder cannot be written.
        """
        if self.unfinished:
            writable_folder(self.output)  # else every run would find out by itself
        jobs: list[Job] = []
        without_data: dict[str, str] = {}
        for run in self.unfinished:
            dataset = run.member.configuration.dataset
            if dataset.spec not in without_data:
                without_data[dataset.spec] = _prepare(run.member, data_root, report)
                if without_data[dataset.spec]:
                    report(f"Runs on {dataset.spec} are left out: its data are not ready. Why stands at the end.")
            run.problem = without_data[dataset.spec]
            if not run.problem:
                jobs.append(replace(run.member.job, anew=run.state in ("failed", "damaged")))
        arguments = ["--output", str(self.output), *(["--data-root", str(data_root)] if data_root else [])]
        with contextlib.closing(launcher.launch(jobs, arguments)) as events:
            for event in events:
                run = self.runs[event.job.run_id]
                self._note(run, event)
                yield run

    def _note(self, run: Run, event: Started | Ended) -> None:
        if isinstance(event, Started):
            run.state = "running"
            return
        self._read(run)
        if run.state not in OVER:
            run.problem = _problem(run.state, event)

    def _read(self, run: Run) -> None:
        path = self.output / run.member.job.run_id / RESULT_FILE
        run.state, run.result = "missing", None
        if path.exists():
            try:
                run.result = load_result(path)
                run.state = run.result.record.status
            except DataError:
                run.state = "damaged"


def _problem(state: State, event: Ended) -> str:
    """Say in one line why a run was not made."""
    if event.exit_code < 0:
        number = -event.exit_code
        hint = "; if memory ran out, make fewer runs at a time" if number == signal.SIGKILL else ""
        return f"ended by signal {number}, {signal.strsignal(number)}{hint}"
    if state == "interrupted":
        return "interrupted; the next sweep goes on with it"
    return event.message.removeprefix("Error: ") or f"ended with exit code {event.exit_code} and said nothing"


def _prepare(member: Member, data_root: Path | None, report: Callable[[str], None]) -> str:
    """Prepare the store once, before several processes need it; return what is wrong, or nothing."""
    configuration = member.configuration
    card, params = configuration.dataset.registered.card, configuration.dataset.params
    try:
        prepare(card, params, data_root=data_root, allow_mismatch=configuration.allow_mismatch, report=report)
    except NcbenchError as error:  # a ratio that leaves a class without images is no DataError, for one
        return str(error)
    return ""
