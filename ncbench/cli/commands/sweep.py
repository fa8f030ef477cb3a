"""``ncbench sweep``: make the runs of a suite that are missing."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ncbench.cli import options
from ncbench.cli.terminal import show, tell, text_console

if TYPE_CHECKING:
    from ncbench.contracts.launcher import Launcher
    from ncbench.launch.sweep import Sweep


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
@options.data_root
@options.allow_mismatch
@click.option("--dry-run", is_flag=True, help="Only say which runs are there and which would be made.")
@options.debug
def sweep(
    suite: Path,
    output: Path,
    launcher: str,
    data_root: Path | None,
    allow_mismatch: bool,
    dry_run: bool,
    **parameters: str | int | None,
) -> int:
    """Make the runs of a suite that are missing.

    SUITE is a YAML file that names methods, datasets, settings and seeds. Runs that are there already are kept, those
    that were cut off go on, those that failed are made anew. The same command goes on where a sweep was ended.
    """
    from ncbench.cli.tables.sweep import choices, describe, table
    from ncbench.contracts.errors import name_offenders
    from ncbench.launch.suite import load_suite
    from ncbench.launch.sweep import Sweep, make_launcher
    from ncbench.training.interrupts import terminated_as_interrupted

    plan = load_suite(suite)
    state = Sweep.of(plan.members(allow_mismatch), output)
    tell(f"{plan.title}: {len(state.runs)} runs, {len(state.unfinished)} of them to make.")
    if dry_run:
        for run in state.runs.values():
            click.echo(f"{run.state:<11}  {describe(run.member.job, state)}")
        return 0
    given = {key: value for key, value in parameters.items() if value is not None}
    try:
        with terminated_as_interrupted():
            _make(state, make_launcher(launcher, given), data_root)
    except KeyboardInterrupt:
        click.echo(err=True)
        tell("Interrupted. Give the same command again to go on.")
        sys.exit(130)
    text_console().print(table(state))
    for line in choices(state):
        click.echo(line)
    if any(run.result is not None for run in state.runs.values()):
        show(f"Curves: ncbench plot {shlex.quote(str(output))}, of every run by itself: --each")
    problems: dict[str, list[str]] = {}
    for run in state.unfinished:
        problems.setdefault(run.problem, []).append(describe(run.member.job, state))
    for problem, jobs in problems.items():
        tell(f"Not made: {name_offenders(jobs)}: {problem}")
    return 1 if problems else 0


def _make(state: Sweep, launcher: Launcher, data_root: Path | None) -> None:
    """Make the runs and show how they go: a line for each that starts or is over, or on a terminal a table."""
    from rich.live import Live

    from ncbench.cli.tables.sweep import describe, table

    # Closed here, wherever an interrupt hits: the runs must be over before this process is.
    if not sys.stderr.isatty():
        with contextlib.closing(state.make(launcher, data_root, tell)) as events:
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
        Live(table(state), console=console, transient=True) as live,
        contextlib.closing(state.make(launcher, data_root, console.print)) as events,
    ):
        for _ in events:
            live.update(table(state))
