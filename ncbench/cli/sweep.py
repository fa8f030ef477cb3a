"""``ncbench sweep``: make the runs of a suite that are missing."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from ncbench.contracts.launcher import Job
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
@click.option("--dry-run", is_flag=True, help="Only say which runs are there and which would be made.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def sweep(
    suite: Path, output: Path, launcher: str, workers: int, device: str, data_root: Path | None, dry_run: bool
) -> int:
    """Make the runs of a suite that are missing.

    SUITE is a YAML file that names methods, datasets, settings and seeds. Runs that are there already are kept, those
    that were cut off go on, those that failed are made anew. The same command goes on where a sweep was ended.
    """
    from rich.console import Console

    from ncbench.contracts.errors import PluginError
    from ncbench.contracts.launcher import Launcher
    from ncbench.launch.suite import load_suite
    from ncbench.launch.sweep import Sweep
    from ncbench.plugins.discovery import registry
    from ncbench.training.run import terminated_as_interrupted

    kind = registry().find("launchers", launcher).card.load()
    if not (isinstance(kind, type) and issubclass(kind, Launcher)):
        raise PluginError(f"The factory of the launcher {launcher!r} is not a subclass of ncbench.Launcher.")
    plan = load_suite(suite)
    state = Sweep.of(plan.members(), output)
    console = Console(soft_wrap=True)
    click.echo(f"{plan.title}: {len(state.runs)} runs, {len(state.unfinished)} of them to make.", err=True)
    if dry_run:
        for run in state.runs.values():
            click.echo(f"{run.state:<11}  {_describe(run.member.job)}")
        return 0
    try:
        with terminated_as_interrupted():
            _make(state, kind(workers, device), data_root)
    except KeyboardInterrupt:
        click.echo("\nInterrupted. Give the same command again to go on.", err=True)
        sys.exit(130)
    console.print(_table(state))
    for run in state.unfinished:
        click.echo(f"Not made: {_describe(run.member.job)}: {run.problem}", err=True)
    return 1 if state.unfinished else 0


def _make(state: Sweep, launcher: object, data_root: Path | None) -> None:
    from rich.console import Console
    from rich.live import Live

    events = state.make(launcher, data_root)  # type: ignore[arg-type]
    if not sys.stderr.isatty():
        for run in events:
            if run.state != "running":
                left = len(state.unfinished)
                click.echo(f"{run.problem or run.state}: {_describe(run.member.job)} ({left} left)", err=True)
        return
    with Live(_table(state), console=Console(stderr=True), transient=True) as live:
        for _ in events:
            live.update(_table(state))


def _table(state: Sweep) -> Table:
    """Return how the sweep stands: a row for runs that differ in the seed alone."""
    from rich.table import Table

    rows: dict[tuple[str, ...], list[Run]] = {}
    varying = _varying([run.member.job for run in state.runs.values()])
    for run in state.runs.values():
        job = run.member.job
        settings = ", ".join(
            f"{key.removeprefix('recipe.')}={job.settings[key]}" for key in varying if key in job.settings
        )
        rows.setdefault((job.method, job.dataset, job.backbone or "", settings), []).append(run)
    table = Table("method", "dataset", "settings", "made", "running", "failed", "primary metric, test", box=None)
    for (method, dataset, backbone, settings), runs in rows.items():
        over = sum(run.state in ("completed", "diverged") for run in runs)
        table.add_row(
            method,
            dataset,
            ", ".join(part for part in (backbone, settings) if part),
            f"{over}/{len(runs)}",
            str(sum(run.state == "running" for run in runs) or ""),
            str(sum(bool(run.problem) for run in runs) or ""),
            _primary(runs),
        )
    return table


def _varying(jobs: Sequence[Job]) -> list[str]:
    """Return the settings in which jobs differ."""
    keys = sorted({key for job in jobs for key in job.settings})
    return [key for key in keys if len({repr(job.settings.get(key)) for job in jobs}) > 1]


def _primary(runs: Sequence[Run]) -> str:
    """Return mean and standard deviation of the primary metric over the completed seeds, in per cent."""
    records = [run.result.record for run in runs if run.result is not None and run.state == "completed"]
    found = [(r.primary_metric, r.metrics["test"][r.primary_metric]) for r in records if "test" in r.metrics]
    if not found:
        return ""
    values = [100 * value for _, value in found]
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{found[0][0]} {statistics.fmean(values):.1f}{spread}"


def _describe(job: Job) -> str:
    settings = "".join(f" {key}={value}" for key, value in job.settings.items())
    return f"{job.method} on {job.dataset}, seed {job.seed}{settings}"
