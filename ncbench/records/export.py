"""The comparison of many runs as a table for a paper (Markdown, LaTeX) or a program (CSV, JSON)."""

from __future__ import annotations

import csv
import io
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ncbench.contracts.cards import Measure
from ncbench.contracts.errors import unknown_name
from ncbench.contracts.specs import ATTRIBUTE
from ncbench.discovery.registry import registry
from ncbench.records.archive import RunResult
from ncbench.records.comparison import by_data, chosen_measures, compared_split, label
from ncbench.records.intervals import MIN_SEEDS, half_width
from ncbench.records.markup import latex, literal

Format = Literal["markdown", "latex", "csv", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)

_ARROWS = {"higher": " ↑", "lower": " ↓", "neither": ""}


@dataclass(frozen=True)
class _Column:
    """A metric of one split."""

    name: str
    measure: Measure
    split: str

    @property
    def heading(self) -> str:
        unit = f" ({self.measure.unit})" if self.measure.unit else ""
        split = "" if self.split == "test" else f", {self.split}"
        return f"{self.measure.label}{unit}{split}{_ARROWS[self.measure.direction]}"


@dataclass(frozen=True, eq=False)
class _Row:
    """A configuration: its runs, and what tells it from those of the other rows."""

    name: str
    members: Sequence[RunResult]

    @property
    def seeds(self) -> int:
        """How many seeds were run."""
        return len({member.record.seed for member in self.members})

    @property
    def completed(self) -> int:
        """How many of them have a completed run, of which the numbers are."""
        return len({member.record.seed for member in self.members if member.status == "completed"})

    @property
    def shown_seeds(self) -> str:
        return str(self.seeds) if self.completed == self.seeds else f"{self.completed} of {self.seeds}"

    @property
    def epochs(self) -> int | None:
        """How long the models were trained; None where nothing is trained by epochs, or not all as long."""
        epochs = {member.record.recipe.get("epochs") for member in self.members if member.record.history}
        only = epochs.pop() if len(epochs) == 1 else None
        return only if isinstance(only, int) else None

    @property
    def selection(self) -> str:
        """The rule that chose the epoch."""
        return str(self.members[0].record.recipe.get("selection"))

    @property
    def labels(self) -> str:
        """The splits whose bias labels were used: methods that have none are no match for those that have."""
        supervision = self.members[0].record.method.supervision
        return ", ".join(split for split in ("train", "val") if getattr(supervision, split) == "bias") or "none"

    def values(self, column: _Column) -> list[float]:
        """Return one number a completed seed, whose runs on several machines are no further seeds."""
        of_seed: dict[int, list[float]] = {}
        for member in self.members:
            numbers = member.metrics.get(column.split, {})
            if member.status == "completed" and column.name in numbers:
                of_seed.setdefault(member.record.seed, []).append(numbers[column.name])
        return [statistics.fmean(of_seed[seed]) for seed in sorted(of_seed)]


@dataclass(frozen=True)
class _Table:
    """The configurations on one dataset."""

    heading: str
    columns: Sequence[_Column]
    rows: Sequence[_Row]

    @property
    def identity(self) -> dict[str, list[str]]:
        """What stands before the numbers, by heading: a cell for each row.

        How long was trained, and by what the epoch was chosen, is among it where that is not the same for all rows.
        """
        epochs = ["-" if row.epochs is None else str(row.epochs) for row in self.rows]
        selection = [row.selection for row in self.rows]
        varying = {"epochs": epochs, "epoch chosen by": selection}
        return {
            "method": [row.name for row in self.rows],
            "bias labels": [row.labels for row in self.rows],
            **{heading: cells for heading, cells in varying.items() if len({*cells}) > 1},
            "seeds": [row.shown_seeds for row in self.rows],
        }

    def best(self, column: _Column) -> list[_Row]:
        """Return the rows that look best, ties included; none where none looks worse.

        A configuration of which a seed did not complete is not among them: its mean is of those that went well.
        """
        means = {
            row: statistics.fmean(values)
            for row in self.rows
            if row.completed == row.seeds and (values := row.values(column))
        }
        if column.measure.direction == "neither" or not means:
            return []
        pick = max if column.measure.direction == "higher" else min
        shown = column.measure.text(pick(means.values()))
        best = [row for row, mean in means.items() if column.measure.text(mean) == shown]
        return best if len(best) < len(means) else []

    def notes(self) -> list[str]:
        """Return what a reader has to know beside the numbers."""
        intervals = any(len(row.values(column)) >= MIN_SEEDS for row in self.rows for column in self.columns)
        rules = sorted({row.selection for row in self.rows})
        ends = "the last epoch" if rules == ["last"] else f"the epoch chosen by {', '.join(rules)}"
        spread = " ± half the 95% interval of the mean (Student's t)" if intervals else ""
        few = f", from {MIN_SEEDS} seeds on" if any(row.completed < MIN_SEEDS for row in self.rows) else ""
        said = [f"Means over seeds{spread}{few if intervals else ''}, of {ends}"]
        said += ["Best in bold"] if any(self.best(column) for column in self.columns) else []
        if any(row.completed < row.seeds for row in self.rows):
            said.append("Of seeds that did not complete no number is counted, and their rows are not in bold")
        return said


def export(results: Sequence[RunResult], form: Format, metrics: Sequence[str] = ()) -> str:
    """Return some runs as text; arguments and errors of :meth:`ncbench.records.results.Results.export`."""
    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)
    tables = [_table(grouped, metrics) for grouped in by_data(results)]
    if form == "markdown":
        return "\n".join(map(_markdown, tables))
    if form == "latex":
        return "% Needs \\usepackage{booktabs}.\n" + "\n".join(map(_latex, tables))
    entries = [entry for table in tables for row in table.rows for entry in _entries(table, row)]
    if form == "json":
        return json.dumps(entries, indent=1) + "\n"
    text = io.StringIO()
    writer = csv.DictWriter(text, _ENTRY, lineterminator="\n")
    writer.writeheader()
    writer.writerows(entries)
    return text.getvalue()


def _table(grouped: Mapping[str, Sequence[RunResult]], metrics: Sequence[str]) -> _Table:
    first = next(iter(grouped.values()))[0]
    backbones = {members[0].record.backbone.spec for members in grouped.values()}
    rows = []
    for text, members in grouped.items():
        record = members[0].record
        backbone = f", {record.backbone.spec}" if len(backbones) > 1 else ""
        rows.append(_Row(f"{record.label}{backbone}{text.removeprefix(label(members[0]))}", members))
    primary = {first.record.primary_metric}
    measures = chosen_measures(metrics) or {
        name: measure
        for name, measure in registry().measures().items()
        if measure.shown_in == "progress" or name in primary
    }
    columns = []
    for name, measure in measures.items():
        split = compared_split(name, measure, grouped.values())
        if split or metrics:
            columns.append(_Column(name, measure, split or measure.splits[-1]))
    caveat = f" ({first.record.dataset.caveat})" if first.record.dataset.caveat else ""
    backbone = f", {backbones.pop()}" if len(backbones) == 1 else ""
    return _Table(f"{first.record.dataset.spec}{caveat}{backbone}", columns, rows)


def _shown(measure: Measure, values: Sequence[float]) -> tuple[str, str]:
    """Return mean and interval as they are shown; each empty where there is none."""
    half = half_width(values)
    width = "" if half is None else f"{half:.2g}" if measure.decimals is None else measure.text(half)
    return measure.text(statistics.fmean(values)) if values else "", width


_LEFT = {"method": ":--", "bias labels": ":--", "epoch chosen by": ":--"}  # columns of text


def _markdown(table: _Table) -> str:
    best = {column.name: table.best(column) for column in table.columns}
    identity = table.identity
    lines = [
        [*identity, *(column.heading for column in table.columns)],
        [_LEFT.get(heading, "--:") for heading in identity] + ["--:"] * len(table.columns),
    ]
    for row, before in zip(table.rows, zip(*identity.values(), strict=True), strict=True):
        cells = [literal(row.name), *before[1:]]
        for column in table.columns:
            mean, width = _shown(column.measure, row.values(column))
            bold = f"**{mean}**" if row in best[column.name] else mean or "-"
            cells.append(f"{bold} ± {width}" if width else bold)
        lines.append(cells)
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{literal(table.heading)}\n\n{body}\n\n{'. '.join(table.notes())}.\n"


def _latex(table: _Table) -> str:
    best = {column.name: table.best(column) for column in table.columns}
    identity = table.identity
    headings = [*identity, *(latex(column.heading) for column in table.columns)]
    aligned = "".join("l" if heading in _LEFT else "r" for heading in identity) + "r" * len(table.columns)
    lines = []
    for row, before in zip(table.rows, zip(*identity.values(), strict=True), strict=True):
        cells = [*map(latex, before)]
        for column in table.columns:
            mean, width = map(_number, _shown(column.measure, row.values(column)))
            bold = rf"\mathbf{{{mean}}}" if row in best[column.name] else mean
            number = rf"{bold} \pm {width}" if width else bold
            cells.append(f"${number}$" if mean else "--")
        lines.append(cells)
    top, *body = [" & ".join(line) + r" \\" for line in [headings, *lines]]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex(table.heading)}. {'. '.join(map(latex, table.notes()))}.}}",
            rf"\begin{{tabular}}{{{aligned}}}",
            r"\toprule",
            top,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _number(text: str) -> str:
    return re.sub(r"e([+-])0*(\d+)", lambda found: rf" \times 10^{{{found[1].strip('+')}{found[2]}}}", text)


_ENTRY = (
    "method",
    "groups",
    "dataset",
    "caveat",
    "fingerprint",
    "backbone",
    "configuration",
    "bias_labels",
    "epochs",
    "selection",
    "seeds",
    "completed",
    "metric",
    "split",
    "mean",
    "standard_deviation",
    "half_width",
)


def _entries(table: _Table, row: _Row) -> list[dict[str, Any]]:
    """Return what CSV and JSON have of a row: an entry for each number that it has."""
    record = row.members[0].record
    found = []
    for column in table.columns:
        values = row.values(column)
        numbers = (
            column.name,
            column.split,
            statistics.fmean(values) if values else None,
            statistics.stdev(values) if len(values) > 1 else None,
            half_width(values),
        )
        identity = (
            record.method.spec,
            ATTRIBUTE if record.groups_from is None else record.groups_from.spec,
            record.dataset.spec,
            record.dataset.caveat,
            record.dataset.fingerprint,
            record.backbone.spec,
            row.name,
            row.labels,
            row.epochs,
            row.selection,
            row.seeds,
            row.completed,
        )
        found.append(dict(zip(_ENTRY, identity + numbers, strict=True)))
    return found
