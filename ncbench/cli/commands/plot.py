"""``ncbench plot``: pictures of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ncbench.cli import options
from ncbench.cli.terminal import tell

if TYPE_CHECKING:
    from ncbench.records.archive import RunResult

_NEXT_STEP = {
    "completed": "An older version made it, or the record was moved alone: run it anew with --force.",
    "diverged": "Try a smaller recipe.lr.",
    "interrupted": "Go on with --resume.",
    "failed": "Run it anew.",
}


@click.command()
@options.run_paths
@click.option(
    "--kind",
    type=click.Choice(["curves", "geometry"]),
    default="curves",
    show_default=True,
    help="curves: accuracies, losses and collapse measures over epochs. geometry: collapse measures over epochs and, "
    "of a single run, Gram matrices beside their ideals and a view of a few classes.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for the PNG and SVG; default: the run's, or the current one for several.",
)
def plot(runs: tuple[Path, ...], kind: str, output: Path | None) -> None:
    """Draw runs.

    Pictures are PNG and SVG. RUN is a run folder, a folder of them, or a result.json. Runs that differ in the seed
    alone share a colour.
    """
    from ncbench.contracts.errors import ConfigurationError
    from ncbench.pictures.curves import plot_curves
    from ncbench.records.archive import load_results

    results = load_results(runs, tell)
    folder = output or (results[0].folder if len(results) == 1 else Path.cwd())
    if kind == "geometry":
        _plot_geometry(results, folder)
        return
    paths = plot_curves(results, folder)
    if not paths:
        raise ConfigurationError("There is nothing to draw: no run has finished an epoch.")
    _show(paths)


def _plot_geometry(results: list[RunResult], folder: Path) -> None:
    """Draw what there is, and say in one line what there is not."""
    from ncbench.contracts.errors import ConfigurationError
    from ncbench.features.snapshot import read_snapshot
    from ncbench.pictures.curves import heading, plot_collapse
    from ncbench.pictures.frames import plot_frame
    from ncbench.pictures.grams import plot_grams
    from ncbench.records.folder import SNAPSHOT_FILE

    result = results[0]
    snapshot = read_snapshot(result.folder) if len(results) == 1 else None
    paths = plot_collapse(results, folder)
    _show(paths)
    if snapshot is not None:
        of_run = heading(result)
        frame = _frozen_to(result)
        _show(plot_grams(snapshot.vectors, result.metrics.get("train", {}), of_run, folder, "--output", frame))
        _show(plot_frame(snapshot, of_run, folder, frame))
        return
    if len(results) > 1:
        left_out = "Gram matrices and the view of a few classes are of one run: name one to draw them."
    else:
        left_out = (
            f"There are no Gram matrices and no view of classes to draw: {result.folder} has no {SNAPSHOT_FILE}, which "
            f"a run leaves when it completes, and this one is {result.status}. {_NEXT_STEP[result.status]}"
        )
    if not paths:
        raise ConfigurationError(left_out)
    tell(left_out)


def _frozen_to(result: RunResult) -> str:
    """Return the name of the frame to which the run's classifier is frozen; empty if it is learned, or not known."""
    from ncbench.contracts.cards import MethodCard
    from ncbench.contracts.errors import ConfigurationError
    from ncbench.discovery.registry import registry

    try:
        card = registry().find("methods", result.record.method.name).card
    except ConfigurationError:  # the run is from where a plugin is that is not here
        return ""
    return card.frame if isinstance(card, MethodCard) else ""


def _show(paths: list[Path]) -> None:
    for path in paths:
        click.echo(path)
