"""``ncbench compare``: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from ncbench.cli import options
from ncbench.cli.terminal import tell

if TYPE_CHECKING:
    from ncbench.records.export import Format


@click.command()
@options.run_paths
@click.option(
    "--fail",
    "limits",
    multiple=True,
    metavar="METRIC:POINTS",
    help="Exit with 1 if METRIC on test is worse than that of the first configuration on the same data by more than "
    "POINTS: percentage points of an accuracy, the metric's own unit otherwise.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "latex", "csv", "json"]),
    default="table",
    show_default=True,
    help="table: for this terminal, with standard deviations and differences to the first configuration. markdown and "
    "latex (booktabs): a row for each configuration, mean ± half the 95% interval, best in bold. csv and json: the "
    "same, for programs, not rounded.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="Show this metric; repeatable. Default: all in a table for the terminal, the most usual accuracies elsewhere.",
)
@options.plugin_files
def compare(runs: tuple[Path, ...], limits: tuple[str, ...], form: str, metrics: tuple[str, ...]) -> int:
    """Compare runs side by side.

    RUN is a run folder, a folder of them, or a result.json. Runs that differ in the seed alone are averaged, and
    differences are to the first configuration on the same data.
    """
    from ncbench.cli.tables.comparison import print_comparison
    from ncbench.discovery.registry import registry
    from ncbench.leaderboard.intake.problems import RefusedError
    from ncbench.leaderboard.intake.soundness import check_unedited
    from ncbench.records.comparison import parse_limit, shortfalls
    from ncbench.records.results import load_results

    parsed = [parse_limit(limit) for limit in limits]
    results = load_results(runs, tell)
    from_counts = {name for name, measure in registry().measures().items() if measure.from_counts}
    for result in results:
        try:
            check_unedited(result.record, from_counts)
        except RefusedError as error:
            tell(f"{result.path} is not as a run wrote it: {error}.")
    found = shortfalls(results, parsed)
    if form == "table":
        print_comparison(results, metrics)
    else:
        click.echo(results.export(cast("Format", form), metrics), nl=False)
    for line in found:
        tell(line)
    return 1 if found else 0
