"""A finished run as a table a person can read, and how numbers of runs are shown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from ncbench.cli.terminal import text_console
from ncbench.contracts.cards import Measure
from ncbench.contracts.errors import counted, name_offenders, one_line
from ncbench.discovery.registry import registry
from ncbench.features.predictions import group_names
from ncbench.records.archive import RunResult
from ncbench.records.comparison import describe_choice
from ncbench.records.record import Group, InferredPart, Record


def mean_text(measure: Measure, values: Sequence[float], reference: Sequence[float] = ()) -> str:
    """Return mean, standard deviation and difference to the mean of a reference, as far as there are any."""
    if not values:
        return "-"
    mean, scale = statistics.fmean(values), measure.scale
    of_mean, of_deviation = ".4g", ".2g"  # significant digits: there are numbers of every size
    if measure.unit == "%" and measure.decimals is not None:
        of_mean = of_deviation = f".{measure.decimals}f"
    text = f"{scale * mean:{of_mean}}"
    if len(values) > 1:
        text += f" ± {scale * statistics.stdev(values):{of_deviation}}"
    if reference:
        text += f" ({scale * (mean - statistics.fmean(reference)):+{of_mean}})"
    return text


def numbers_table(headings: Sequence[str], *rows: Sequence[str]) -> Table:
    """Return a table of numbers, whose first column says what they are."""
    table = Table(*headings, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    return table


def print_result(result: RunResult) -> None:
    """Print a run's metrics, its worst group, and where the record is."""
    console = text_console()
    record, dataset = result.record, result.record.dataset
    console.print(f"\n{record.title}: {record.status}", style="bold")
    if dataset.caveat:
        differences = f" ({name_offenders(dataset.mismatch)})" if dataset.mismatch else ""
        console.print(f"Note: {dataset.caveat}{differences}.")
    if record.search is not None:
        console.print(f"Settings {record.search}.")
    if record.metrics:
        console.print(f"Metrics of {describe_choice([record])}:")
        console.print(_metrics_table(record))
    worst = worst_group(record)
    if worst is not None:
        console.print(
            f"Worst test group: {_named(worst, result.folder)}: {worst.correct} of {worst.count} images correct."
        )
    if (groups := record.groups_from or record.inferred) is not None:
        console.print(describe_groups(groups))
    if record.timing.get("train_seconds"):
        console.print(f"Training took {record.timing['train_seconds']:.1f} s.")
    console.print(one_line(f"Record: {result.path}"), soft_wrap=True)


def _named(group: Group, folder: Path) -> str:
    """Return what a group is called: by its names where the run has left them, else by its numbers."""
    classes, values = group_names(folder) or ((), ())
    target, bias = group.target, group.bias
    if target >= len(classes) or bias is None or bias >= len(values):
        return f"target {target}, bias {bias}"
    return f"target {classes[target]}, bias {values[bias]}"


def describe_groups(groups: InferredPart) -> str:
    """Return how many groups were inferred, of how many images, and how good they are where that is known."""
    sizes = groups.sizes
    listed = f"{', '.join(map(str, sizes[:-1]))} and {sizes[-1]}" if 1 < len(sizes) <= 10 else f"up to {max(sizes)}"
    said = [f"{counted(len(sizes), 'inferred group')}, of {listed} training images"]
    for name, value in groups.agreement.items():
        text = f"{value:.2f}" if name == "adjusted_rand_index" else f"{100 * value:.1f}%"
        said.append(f"{name.replace('_', ' ').replace('rand', 'Rand')} {text}")
    return f"{', '.join(said)}."


def worst_group(record: Record) -> Group | None:
    """Return the test group with the smallest share of correct images; None where groups are not known."""
    groups = [group for group in record.groups.get("test", []) if group.count and group.bias is not None]
    return min(groups, key=lambda group: group.correct / group.count, default=None)


def _metrics_table(record: Record) -> Table:
    metrics = {split: record.metrics[split] for split in ("train", "val", "test") if split in record.metrics}
    rows = []
    for name, measure in registry().shown_measures().items():
        mark = " (primary)" if name == record.primary_metric else ""
        cells = [_cell(measure, numbers.get(name)) for numbers in metrics.values()]
        if any(cells):
            rows.append([name + mark, *cells])
    splits = ["val (fitted)" if split == "val" and split in record.fitted else split for split in metrics]
    return numbers_table(["metric", *splits], *rows)


def _cell(measure: Measure, value: float | None) -> str:
    """A share in per cent; anything else in significant digits, since one column has numbers of every size."""
    if value is None:
        return ""
    return f"{measure.text(value)}%" if measure.unit == "%" else f"{value:.4g}"
