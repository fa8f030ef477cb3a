"""What predictions are worth, as a table of groups and one of metrics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncbench.cli.tables.result import numbers_table
from ncbench.cli.terminal import text_console
from ncbench.contracts.errors import counted, one_line
from ncbench.contracts.groups import group_cells
from ncbench.discovery.registry import registry
from ncbench.records.record import FEW_IMAGES

if TYPE_CHECKING:
    from ncbench.training.evaluation.predictions import PredictionReport

MOST_GROUPS = 40
"""Shown, the worst ones first; all are in the JSON."""


def to_json(report: PredictionReport) -> dict[str, Any]:
    """Return the report as plain JSON values; the bias of a group is null where the attribute is unknown."""
    return {
        "images": int(report.count.sum()),
        "class_names": [*report.class_names],
        "bias_names": [*report.bias_names],
        "metrics": report.metrics,
        "worst_group_interval": report.worst_group_interval and [*report.worst_group_interval],
        "groups": group_cells(report.count, report.correct, bias_known=bool(report.bias_names)),
    }


def print_report(report: PredictionReport, source: Path) -> None:
    """Print the groups, the worst first, and the metrics."""
    console = text_console()
    console.print(f"{one_line(str(source))}: {counted(int(report.count.sum()), 'image')}", style="bold", soft_wrap=True)
    filled = [*zip(*report.count.nonzero(), strict=True)]
    filled.sort(key=lambda cell: report.correct[cell] / report.count[cell])
    rows = []
    for target, bias in filled[:MOST_GROUPS]:
        count, correct = int(report.count[target, bias]), int(report.correct[target, bias])
        of_bias = [one_line(report.bias_names[bias])] if report.bias_names else []
        share = f"{100 * correct / count:.2f}%"
        rows.append([one_line(report.class_names[target]), *of_bias, str(count), str(correct), share])
    headings = ["class", *(["bias"] if report.bias_names else []), "images", "correct", "accuracy"]
    console.print(numbers_table(headings, *rows))
    if len(filled) > MOST_GROUPS:
        console.print(f"And {len(filled) - MOST_GROUPS} more groups; --json lists all.")
    measures = registry().measures()
    texts = [
        [
            name,
            f"{measures[name].text(value)}{'%' * (measures[name].unit == '%')}" if name in measures else f"{value:.4g}",
        ]
        for name, value in report.metrics.items()
    ]
    console.print()
    console.print(numbers_table(["metric", "value"], *texts))
    if report.worst_group_interval is not None:
        low, high = report.worst_group_interval
        console.print(
            f"Worst group: 95 % of the times that the images of each group are drawn anew, from {100 * low:.2f} to "
            f"{100 * high:.2f} %."
        )
        if (smallest := int(report.count[report.count > 0].min())) < FEW_IMAGES:
            console.print(f"The smallest group has {counted(smallest, 'image')}, of which such draws say little.")
