"""``ncbench sweep``: make the runs of a suite that are missing."""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from ncbench.contracts.launcher import Job, Launcher
    from ncbench.launch.sweep import Run, Sweep


@click.command()
@click.argument("suite", type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(path_type=Path), default="runs", show_default=True, help="Folder of the run folders."
)
@click.option("--launcher", default="local", show_default=True, help="Where the runs are made: ncbench list launchers.")
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Runs at a time; 0: as many as the launcher finds fitting.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
@click.option(
    "--data-root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where datasets lie. Default: $NCBENCH_DATA, then the platform's cache folder.",
)
@click.option(
    "--allow-mismatch",
    is_flag=True,
    help="Go on with data that are not the released ones; such records say so and are never ranked.",
)
@click.option("--dry-run", is_flag=True, help="Only say which runs are there and which would be made.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def sweep(
    suite: Path,
    output: Path,
    launcher: str,
    workers: int,
    device: str,
    data_root: Path | None,
    allow_mismatch: bool,
    dry_run: bool,
) -> int:
    """Make the runs of a suite that are missing.

    SUITE is a YAML file that names methods, datasets, settings and seeds. Runs that are there already are kept, those
    that were cut off go on, those that failed are made anew. The same command goes on where a sweep was ended.
    """
    from ncbench.cli.terminal import text_console
    from ncbench.contracts.errors import PluginError, name_offenders
    from ncbench.contracts.launcher import Launcher
    from ncbench.discovery.registry import registry
    from ncbench.launch.suite import load_suite
    from ncbench.launch.sweep import Sweep
    from ncbench.training.interrupts import terminated_as_interrupted

    kind = registry().find("launchers", launcher).card.load()
    if not (isinstance(kind, type) and issubclass(kind, Launcher)):
        raise PluginError(f"The factory of the launcher {launcher!r} is not a subclass of ncbench.Launcher.")
    plan = load_suite(suite)
    state = Sweep.of(plan.members(allow_mismatch), output)
    varying = _varying(state)
    click.echo(f"{plan.title}: {len(state.runs)} runs, {len(state.unfinished)} of them to make.", err=True)
    if dry_run:
        for run in state.runs.values():
            click.echo(f"{run.state:<11}  {_describe(run.member.job, varying)}")
        return 0
    try:
        with terminated_as_interrupted():
            _make(state, kind(workers, device), data_root)
    except KeyboardInterrupt:
        click.echo("\nInterrupted. Give the same command again to go on.", err=True)
        sys.exit(130)
    text_console().print(table(state))
    problems: dict[str, list[str]] = {}
    for run in state.unfinished:
        problems.setdefault(run.problem, []).append(_describe(run.member.job, varying))
    for problem, jobs in problems.items():
        click.echo(f"Not made: {name_offenders(jobs)}: {problem}", err=True)
    return 1 if problems else 0


def _make(state: Sweep, launcher: Launcher, data_root: Path | None) -> None:
    """Make the runs and show how they go: a line for each that is over, or on a terminal a table."""
    from rich.console import Console
    from rich.live import Live

    # Closed here, wherever an interrupt hits: the runs must be over before this process is.
    if not sys.stderr.isatty():
        varying = _varying(state)
        with contextlib.closing(state.make(launcher, data_root, lambda line: click.echo(line, err=True))) as events:
            for run in events:
                if run.state != "running":
                    left = sum(not other.problem for other in state.unfinished)
                    name = _describe(run.member.job, varying)
                    click.echo(f"{name}: {run.problem or run.state} ({left} left)", err=True)
        return
    console = Console(stderr=True)

    def report(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    with (
        Live(table(state), console=console, transient=True) as live,
        contextlib.closing(state.make(launcher, data_root, report)) as events,
    ):
        for _ in events:
            live.update(table(state))


def table(state: Sweep) -> Table:
    """Return how the sweep stands: a row for runs that differ in the seed alone, below those of their dataset."""
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Column, Table

    varying = _varying(state)
    datasets: dict[str, dict[str, list[Run]]] = {}
    for run in state.runs.values():
        job = run.member.job
        configuration = ", ".join(part for part in (job.method, _settings(job, varying)) if part)
        datasets.setdefault(job.dataset, {}).setdefault(configuration, []).append(run)
    shown = Table(
        Column("", overflow="fold"),
        Column("made", no_wrap=True),
        Column("primary metric, test, ± sd", no_wrap=True, justify="right"),
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for dataset, configurations in datasets.items():
        records = [run.result.record for runs in configurations.values() for run in runs if run.result is not None]
        caveat = next((f" ({record.dataset.caveat})" for record in records if record.dataset.caveat), "")
        metric = next((record.primary_metric for record in records), "")
        shown.add_row(escape(f"{dataset}{caveat}"), "", metric, style="bold")
        for configuration, runs in configurations.items():
            shown.add_row(Padding(escape(configuration), (0, 0, 0, 2)), _made(runs), _primary(runs))
    return shown


def _made(runs: Sequence[Run]) -> str:
    """Return how many of some runs are over, and how many are running or cannot be made."""
    counts = {
        "running": sum(run.state == "running" for run in runs),
        "not made": sum(bool(run.problem) for run in runs),
    }
    over = sum(run.state in ("completed", "diverged") for run in runs)
    return ", ".join([f"{over}/{len(runs)}", *(f"{count} {what}" for what, count in counts.items() if count)])


def _varying(state: Sweep) -> list[str]:
    """Return the settings in which runs differ."""
    jobs = [run.member.job for run in state.runs.values()]
    keys = sorted({key for job in jobs for key in job.settings})
    return [key for key in keys if len({repr(job.settings.get(key)) for job in jobs}) > 1]


def _primary(runs: Sequence[Run]) -> str:
    """Return mean and standard deviation of the primary metric over the completed seeds, accuracies in per cent."""
    from ncbench.discovery.registry import registry

    records = [run.result.record for run in runs if run.result is not None and run.state == "completed"]
    name = next((record.primary_metric for record in records), "")
    measure = registry().measures().get(name)
    scale, style = (100, ".1f") if measure is not None and measure.unit == "%" else (1, ".4g")
    # A metric that is undefined, as where a group has no image, is not in the record.
    values = [scale * test[name] for record in records if name in (test := record.metrics.get("test", {}))]
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):{style}}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{style}}{spread}"


def _settings(job: Job, varying: Sequence[str]) -> str:
    """Return what tells a job from others of its method and dataset, but for the seed."""
    settings = [f"{key.removeprefix('recipe.')}={job.settings[key]}" for key in varying if key in job.settings]
    return ", ".join([*([job.backbone] if job.backbone else []), *settings])


def _describe(job: Job, varying: Sequence[str]) -> str:
    settings = _settings(job, varying)
    return f"{job.method} on {job.dataset}, {f'{settings}, ' if settings else ''}seed {job.seed}"
