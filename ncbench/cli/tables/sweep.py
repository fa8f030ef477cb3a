"""How a sweep stands: a table, and what its runs are called."""

from __future__ import annotations

from collections.abc import Sequence

from rich.padding import Padding
from rich.table import Column, Table

from ncbench.cli.tables.result import mean_text
from ncbench.contracts.cards import Measure
from ncbench.contracts.errors import counted, name_offenders
from ncbench.contracts.launcher import Job
from ncbench.discovery.registry import registry
from ncbench.launch.sweep import Run, Sweep
from ncbench.records.comparison import describe_choice
from ncbench.records.folder import FINISHED
from ncbench.records.record import Record


def table(state: Sweep) -> Table:
    """Return how the sweep stands: a row for runs that differ in the seed alone, below those of their dataset."""
    shown = Table(
        Column("", overflow="fold"),
        Column("made", no_wrap=True),
        Column("primary metric, test, ± sd", no_wrap=True, justify="right"),
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for dataset, configurations in _by_configuration(state).items():
        records = [run.result.record for runs in configurations.values() for run in runs if run.result is not None]
        caveat = next((f" ({record.dataset.caveat})" for record in records if record.dataset.caveat), "")
        metric = next((record.primary_metric for record in records), "")
        shown.add_row(f"{dataset}{caveat}", "", metric, style="bold")
        for configuration, runs in configurations.items():
            shown.add_row(Padding(configuration, (0, 0, 0, 2)), made(runs), _primary(runs))
    return shown


def choices(state: Sweep) -> list[str]:
    """Return which epochs the metrics are of and by what they were chosen, a line for all of one choice.

    The commonest comes last, as that of all, or of all the rest where others have been named before it.
    """
    named: dict[str, list[str]] = {}
    for dataset, configurations in _by_configuration(state).items():
        for configuration, runs in configurations.items():
            if choice := describe_choice(_completed(runs)):
                named.setdefault(choice, []).append(f"{configuration} on {dataset}")
    if not named:
        return []
    *rare, (common, others) = sorted(named.items(), key=lambda item: len(item[1]))
    number = counted(len(others), "configuration")
    rest = f"the other {number}" if rare else f"all {number}" if len(others) > 1 else others[0]
    return [
        *(f"Metrics of {choice}: {name_offenders(of_it)}" for choice, of_it in rare),
        f"Metrics of {common}: {rest}",
    ]


def _by_configuration(state: Sweep) -> dict[str, dict[str, list[Run]]]:
    """Return the runs by dataset, and by what tells them apart but for the seed."""
    datasets: dict[str, dict[str, list[Run]]] = {}
    for run in state.runs.values():
        job = run.member.job
        configuration = ", ".join(part for part in (job.label, _settings(job, state)) if part)
        datasets.setdefault(job.dataset, {}).setdefault(configuration, []).append(run)
    return datasets


def made(runs: Sequence[Run]) -> str:
    """Return how many of some runs are over, and how many are running, wait for others or cannot be made."""
    counts = {
        "running": sum(run.state == "running" for run in runs),
        "waiting": sum(run.state == "waiting" for run in runs),
        "not made": sum(bool(run.problem) for run in runs),
    }
    over = sum(run.state in FINISHED for run in runs)
    return ", ".join([f"{over}/{len(runs)}", *(f"{count} {what}" for what, count in counts.items() if count)])


def _completed(runs: Sequence[Run]) -> list[Record]:
    return [run.result.record for run in runs if run.result is not None and run.state == "completed"]


def _primary(runs: Sequence[Run]) -> str:
    """Return mean and standard deviation of the primary metric over the completed seeds, accuracies in per cent."""
    records = _completed(runs)
    name = next((record.primary_metric for record in records), "")
    # A metric that is undefined, as where a group has no image, is not in the record.
    values = [test[name] for record in records if name in (test := record.metrics.get("test", {}))]
    measure = registry().measures().get(name, Measure(label="of a plugin that is not here", direction="neither"))
    return mean_text(measure, values) if values else ""


def _settings(job: Job, state: Sweep) -> str:
    """Return what tells a job from others of its method and dataset, but for the seed."""
    varying = state.varying[job.label, job.dataset]
    settings = [f"{key.removeprefix('recipe.')}={job.settings[key]}" for key in varying if key in job.settings]
    backbone = [job.backbone] if job.backbone and len(state.backbones) > 1 else []
    return ", ".join([*backbone, *settings, *(["searched"] if job.search else [])])


def describe(job: Job, state: Sweep) -> str:
    """Return in a few words what tells a job from the others of its sweep."""
    return f"{_but_for_the_seed(job, state)}, seed {job.seed}"


def describe_all(runs: Sequence[Run], state: Sweep) -> list[str]:
    """Return the same of several runs, those that differ in the seed alone in one."""
    seeds: dict[str, list[int]] = {}
    for run in runs:
        seeds.setdefault(_but_for_the_seed(run.member.job, state), []).append(run.member.job.seed)
    return [f"{name}, {'seed' if len(of) == 1 else 'seeds'} {', '.join(map(str, of))}" for name, of in seeds.items()]


def _but_for_the_seed(job: Job, state: Sweep) -> str:
    settings = _settings(job, state)
    return f"{job.label} on {job.dataset}{f', {settings}' if settings else ''}"
