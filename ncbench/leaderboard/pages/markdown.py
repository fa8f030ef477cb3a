"""The board as Markdown tables. Whatever comes from a record is shown as literal text."""

from __future__ import annotations

from collections.abc import Sequence

from ncbench.leaderboard.intake.problems import Problem
from ncbench.leaderboard.pages.wording import (
    WORTH,
    Wording,
    data_version,
    epoch,
    interval_note,
    labels_used,
    reproduction,
    reruns_beside,
)
from ncbench.leaderboard.tables.board import Board, DatasetTable, Row, Section
from ncbench.records.intervals import MIN_SEEDS
from ncbench.records.markup import literal

HEADER = f"""# Leaderboard

Built from the records in `results/` by `ncbench leaderboard build`; do not edit. Every accuracy is recomputed from the
integer counts in its record. The suites that make most of these runs are in [`suites/`](suites).

{WORTH} [More on this](../docs/leaderboard.md).

- Test accuracies in per cent: mean over seeds ± half the 95% interval of Student's t, which is not the standard
  deviation that papers often give. Below {MIN_SEEDS} seeds there is neither an interval nor a rank.
- Rows are ranked by the dataset's primary metric (bold), and only against rows that used the same labels and chose
  their epoch, and their settings where they were searched, by the same rule and with as many trials. A rule that looks
  at test data never ranks, and neither do settings that were chosen by looking at test results: their rows say "tuned
  on test".
- Remarks say where a row's settings come from: "published", the method's own for the dataset; "default", those of the
  method and the dataset; or "searched", by how many trials and which validation metric; and what whoever ran it set
  otherwise, but for what the backbone and the method's spec show. The records of earlier versions do not say.
- "(stated)" is what the records state and cannot be recomputed from counts; ↓: lower is better. With a class hierarchy
  that is mistake severity and distance@k: mean heights of the lowest common ancestor (LCA) of true and predicted class.
- "vs erm": mean difference in points on the seeds both have run, with its 95% interval. It is given where erm was run
  with the same backbone, selection rule and search; of several, the recipe closest to the row's own.
- The numbers under "runs" are seeds, and lead to the records.
- "reproduced": how many of the seeds somebody else than the submitter has run again from the record alone
  (`ncbench leaderboard rerun METHOD/DATASET`), with a number within the spread of the row's seeds; "own" are the
  submitter's reruns that agree, which prove less.
"""


def render(board: Board) -> str:
    """Return the content of the leaderboard's ``README.md``."""
    parts = [HEADER]
    counted = f"{board.counted} of {board.records} records count{reruns_beside(board)}."
    parts.append(f"{counted if board.records else 'There are no records yet.'}\n")
    wording = Wording(board)
    parts += [_dataset(table, wording) for table in board.datasets]
    if board.left_out:
        parts.append(_left_out(board.left_out))
    return "\n".join(parts)


def _dataset(table: DatasetTable, wording: Wording) -> str:
    note = interval_note(table.sections)
    version = data_version(*(text and literal(text) for text in (table.version, table.todays_version)))
    lines = [
        f"## {literal(table.heading)}",
        "",
        f"Data of {literal(table.dataset.distribution)}{version}, fingerprint {literal(table.fingerprint[:12])}; "
        f"primary metric {literal(table.primary_metric)}.{f' {note}.' if note else ''}",
        "",
    ]
    for section in table.sections:
        lines += [*_section(section, table.primary_metric, wording), ""]
    return "\n".join(lines)


def _section(section: Section, primary: str, wording: Wording) -> list[str]:
    metrics = wording.columns([section])
    headings = [f"**{wording.heading(name)}**" if name == primary else wording.heading(name) for name in metrics]
    columns = ["rank", "method", "backbone", "epochs", *headings, "vs erm", "runs", "reproduced", "remarks"]
    lines = [
        f"### {labels_used(section)}; {epoch(section, literal)}",
        "",
        _line(columns),
        _line([":--" if name in {"method", "backbone", "runs", "remarks"} else "--:" for name in columns]),
    ]
    for row in section.rows:
        cells = [
            "-" if row.rank is None else str(row.rank),
            _method(row),
            literal(row.backbone.spec),
            str(row.epochs),
            *(wording.estimate(row.metrics[name], name) if name in row.metrics else "" for name in metrics),
            wording.estimate(row.versus_erm.difference, primary, signed=True) if row.versus_erm else "",
            " ".join(f"[{run.seed}]({run.record})" for run in row.runs),
            reproduction(row),
            "; ".join(filter(None, [literal(row.distinction), *row.flags])),
        ]
        lines.append(_line(cells))
    return lines


def _method(row: Row) -> str:
    origin = "" if row.method.distribution == "ncbench" else f" ({literal(row.method.distribution)})"
    return literal(row.label) + origin


def _left_out(problems: Sequence[Problem]) -> str:
    lines = [
        "## Records that do not count",
        "",
        _line(["file", "field", "reason", "kind"]),
        _line([":--"] * 4),
    ]
    for problem in problems:
        kind = "refused" if problem.refused else "excluded"
        lines.append(_line([literal(problem.file), literal(problem.field), literal(problem.reason), kind]))
    return "\n".join([*lines, ""])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
