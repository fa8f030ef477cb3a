"""``ncbench sweep``: make the runs of a suite that are missing."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ncbench.cli import options
from ncbench.cli.terminal import show, tell, text_console

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.table import Table

    from ncbench.contracts.launcher import Launcher
    from ncbench.launch.search import Tuning
    from ncbench.launch.sweep import Run, Sweep


def _shard(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    number, _, of = value.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise click.BadParameter(f"{value!r} is not I/N with I from 1 to N, as in --shard 2/4.")
    return int(number), int(of)


@click.command()
@click.argument("suite", type=options.PathOption())
@options.folder_of_runs
@click.option(
    "--launcher",
    default="local",
    show_default=True,
    metavar="SPEC",
    help="Where the runs are made, NAME[:key=value,...]: ncbench list launchers.",
)
@click.option("--workers", type=int, help="Runs at a time: the launcher's parameter of this name.")
@click.option("--device", help="What a run trains on: the launcher's parameter of this name.")
@options.devices
@options.track
@options.data_root
@options.allow_mismatch
@options.plugin_files
@click.option("--dry-run", is_flag=True, help="Only say which runs are there and which would be made.")
@click.option("--status", is_flag=True, help="Only say how it stands, whoever makes it: what runs where and how far.")
@click.option(
    "--shard",
    callback=_shard,
    metavar="I/N",
    help="Make the I-th of N parts of the runs, for machines that share no folder.",
)
@click.option("--detach", is_flag=True, help="Hand the runs in and end; the same command later goes on from there.")
@click.option("--trials", "only_trials", is_flag=True, help="Only show the trials of searches, by validation metrics.")
@options.as_json
@options.debug
def sweep(
    suite: Path,
    output: Path,
    launcher: str,
    devices: int,
    track: tuple[str, ...],
    data_root: Path | None,
    allow_mismatch: bool,
    dry_run: bool,
    status: bool,
    shard: tuple[int, int] | None,
    detach: bool,
    only_trials: bool,
    as_json: bool,
    **parameters: str | int | None,
) -> int:
    """Make the runs of a suite that are missing.

    SUITE is a YAML file that names methods, datasets, settings and seeds. Runs that are there already are kept, those
    that were cut off go on, those that failed are made anew. The same command goes on where a sweep was ended.

    Where SUITE searches hyper-parameters, trials are made first, in OUTPUT/trials; validation metrics choose one for
    each method, whose runs follow.
    """
    from ncbench.cli.tables.status import status_lines
    from ncbench.cli.tables.sweep import choices, describe, table
    from ncbench.cli.tables.trials import as_dict, outcome, progress, trials_table
    from ncbench.contracts.errors import ConfigurationError, counted, name_offenders
    from ncbench.launch.search import in_turns, refuse_unfit_search
    from ncbench.launch.suite import load_suite
    from ncbench.launch.sweep import Sweep, make_launcher
    from ncbench.records.archive import TRIALS
    from ncbench.training.interrupts import terminated_as_interrupted
    from ncbench.training.tracking import Tracking

    if as_json and not only_trials:
        raise click.UsageError("--json goes with --trials.")
    plan = load_suite(suite)
    tunings = plan.tunings(allow_mismatch)
    for tuning in tunings:
        tuning.refuse_unfit(data_root)
    unsearched = plan.unsearched(allow_mismatch)
    for rule, member in unsearched:
        refuse_unfit_search(rule, member.configuration, data_root)
    if unsearched:
        methods = name_offenders(sorted({member.job.method for _, member in unsearched}))
        tell(f"Run as they are, since there is nothing to search of them: {methods}.")
    elif only_trials and not tunings:
        tell("This suite has no search, and so no trials.")
    trials = Sweep.of(in_turns(tunings), output / TRIALS, devices)
    if shard is not None and tunings:
        raise ConfigurationError("--shard cuts a search into parts that cannot choose; let sweeps share one folder.")
    if only_trials:
        if as_json:
            click.echo(json.dumps([as_dict(tuning, trials) for tuning in tunings], indent=1))
            return 0
        for tuning in tunings:
            text_console().print(trials_table(tuning, trials))
            click.echo(f"{outcome(tuning, trials)}\n")
        return 0

    planned = plan.members(allow_mismatch)

    def others() -> Sweep:
        chosen = (member for tuning in tunings for member in tuning.members(trials))
        members = sorted([*planned, *chosen], key=lambda member: member.job.seed)
        every = Sweep.of(members, output, devices)
        return every if shard is None else every.shard(*shard)

    def open_tunings() -> list[Tuning]:
        return [tuning for tuning in tunings if tuning.chosen(trials) is None]

    state = others()
    if status:
        for each, what in ((trials, "trials"), (state, "runs")):
            for line in status_lines(each, what) if each.runs else ():
                show(line)
        return 0
    to_come = sum(tuning.seeds for tuning in open_tunings())
    if dry_run:
        trials.foresee(data_root)
        state.foresee(data_root)
    left, trials_left = (sum(not run.problem for run in each.unfinished) for each in (state, trials))
    before = f"; before them {counted(len(trials.runs), 'trial')}, {trials_left} to make" if tunings else ""
    tell(f"{plan.title}: {counted(len(state.runs) + to_come, 'run')}, {left + to_come} of them to make{before}.")
    if dry_run:
        for each, what in ((trials, "trial: "), (state, "")):
            for run in each.runs.values():
                shown = "refused" if run.problem else run.state
                click.echo(f"{shown:<11}  {what}{describe(run.member.job, each)}")
        for tuning in open_tunings():
            click.echo(f"{'to come':<11}  {tuning.name}, {counted(tuning.seeds, 'seed')} of what its trials choose")
        return 1 if _tell_problems(trials, state) else 0
    given = {key: value for key, value in parameters.items() if value is not None}
    tracked = Tracking(track, tell).specs  # what cannot be used is said once, here
    if detach:
        for each in (trials, state):
            each.hand_in(make_launcher(launcher, given), data_root, tell, tracked)
        tell("Handed in. --status says how it stands; give the same command again, to go on or to follow it.")
        return 1 if _tell_problems(trials, state) else 0
    try:
        with terminated_as_interrupted():
            if tunings:
                _make(trials, make_launcher(launcher, given), data_root, tracked, lambda: progress(tunings, trials))
                state = others()
            _make(state, make_launcher(launcher, given), data_root, tracked, lambda: table(state))
    except KeyboardInterrupt:
        click.echo(err=True)
        tell("Interrupted. Give the same command again to go on.")
        sys.exit(130)
    text_console().print(table(state))
    for line in [*choices(state), *(outcome(tuning, trials) for tuning in tunings)]:
        click.echo(line)
    if any(run.result is not None for run in state.runs.values()):
        show(f"Curves: ncbench plot {shlex.quote(str(output))}, of every run by itself: --each")
    _tell_problems(trials, state)
    return 1 if trials.unfinished or state.unfinished or open_tunings() else 0


def _tell_problems(*sweeps: Sweep) -> bool:
    """Say why runs are not made, and return whether there are such runs."""
    from ncbench.cli.tables.sweep import describe_all
    from ncbench.contracts.errors import name_offenders

    problems: dict[str, list[str]] = {}
    for made in sweeps:
        of_these: dict[str, list[Run]] = {}
        for run in made.unfinished:
            if run.problem:
                of_these.setdefault(run.problem, []).append(run)
        for problem, runs in of_these.items():
            problems.setdefault(problem, []).extend(describe_all(runs, made))
    for problem, named in problems.items():
        tell(f"Not made: {name_offenders(named)}: {problem}")
    return bool(problems)


def _make(
    state: Sweep, launcher: Launcher, data_root: Path | None, track: Sequence[str], shown: Callable[[], Table]
) -> None:
    """Make the runs and show how they go: a line for each that starts or is over, or on a terminal a table."""
    from rich.live import Live

    from ncbench.cli.tables.sweep import describe

    # Closed here, wherever an interrupt hits: the runs must be over before this process is.
    if not sys.stderr.isatty():
        with contextlib.closing(state.make(launcher, data_root, tell, track)) as events:
            for run in events:
                name = describe(run.member.job, state)
                if run.state == "running":
                    tell(f"{name}: started{f' ({run.place})' if run.place else ''}")
                elif run.state != "waiting":
                    left = sum(not other.problem for other in state.unfinished)
                    tell(f"{name}: {run.problem or run.state} ({left} left)")
        return
    console = text_console(stderr=True)
    with (
        Live(shown(), console=console, transient=True) as live,
        contextlib.closing(state.make(launcher, data_root, console.print, track)) as events,
    ):
        for _ in events:
            live.update(shown())
