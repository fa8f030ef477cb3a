"""A finished run as a table a person can read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from ncbench.cli.terminal import text_console
from ncbench.contracts.cards import Measure
from ncbench.contracts.errors import name_offenders
from ncbench.discovery.registry import registry
from ncbench.records.archive import RunResult
from ncbench.records.record import Group, Record


def shown_measures() -> dict[str, Measure]:
    """Return the numbers that tables show, in their order."""
    return {name: measure for name, measure in registry().measures().items() if measure.shown_in != "record"}


def print_result(result: RunResult, plots: Sequence[Path]) -> None:
    """Print a run's metrics, its worst group, and where the record and the plots are."""
    console = text_console()
    record = result.record
    console.print(
        f"\n{record.method.spec} on {record.dataset.spec}, seed {record.seed}: {record.status}",
        style="bold",
        markup=False,
        highlight=False,
    )
    dataset = record.dataset
    if dataset.caveat:
        differences = f" ({name_offenders(dataset.mismatch)})" if dataset.mismatch else ""
        console.print(f"Note: {dataset.caveat}{differences}.", markup=False, highlight=False)
    splits = [split for split in ("train", "val", "test") if split in record.metrics]
    if splits:
        console.print(_metrics_table(record, splits))
    worst = worst_group(record)
    if worst is not None:
        console.print(
            f"Worst test group: target {worst.target}, bias {worst.bias}: "
            f"{worst.correct} of {worst.count} images correct.",
            highlight=False,
        )
    if record.timing.get("train_seconds"):
        console.print(f"Training took {record.timing['train_seconds']:.1f} s.", highlight=False)
    console.print(f"Record: {result.path}", highlight=False, soft_wrap=True)
    for path in plots:
        console.print(f"Plot:   {path}", highlight=False, soft_wrap=True)


def worst_group(record: Record) -> Group | None:
    """Return the test group with the smallest share of correct images; None where groups are not known."""
    groups = [group for group in record.groups.get("test", []) if group.count and group.bias is not None]
    return min(groups, key=lambda group: group.correct / group.count, default=None)


def _metrics_table(record: Record, splits: Sequence[str]) -> Table:
    table = Table("metric", *splits, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    numbers: dict[str, dict[str, float]] = {str(split): values for split, values in record.metrics.items()}
    for name, measure in shown_measures().items():
        if not any(name in numbers[split] for split in splits):
            continue
        cells = [_cell(measure, numbers[split][name]) if name in numbers[split] else "" for split in splits]
        mark = " (primary)" if name == record.primary_metric else ""
        table.add_row(name + mark, *cells)
    return table


def _cell(measure: Measure, value: float) -> str:
    """A share in per cent; anything else in significant digits, since one column has numbers of every size."""
    return f"{measure.text(value)}%" if measure.unit == "%" else f"{value:.4g}"
