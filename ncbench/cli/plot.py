"""``ncbench plot``: pictures of runs."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(["curves"]), default="curves", show_default=True, help="What to draw.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for the PNG and SVG; default: the run's, or the current one for several.",
)
def plot(runs: tuple[Path, ...], kind: str, output: Path | None) -> None:
    """Draw runs over their epochs.

    Group accuracies, losses and collapse measures, as PNG and SVG. RUN is a run folder or a result.json. Runs that
    differ in the seed alone share a colour.
    """
    from ncbench.contracts.errors import ConfigurationError
    from ncbench.results.archive import load_results
    from ncbench.results.plots import plot_curves

    results = load_results(runs, lambda message: click.echo(message, err=True))
    folder = output or (results[0].folder if len(results) == 1 else Path.cwd())
    paths = plot_curves(results, folder)
    if not paths:
        raise ConfigurationError("There is nothing to draw: no run has finished an epoch.")
    for path in paths:
        click.echo(path)
