"""``ncbench plot``: pictures of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ncbench.cli import options
from ncbench.cli.terminal import show, tell
from ncbench.contracts.errors import ConfigurationError
from ncbench.discovery.registry import registry

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
    type=options.PathOption(),
    help="Folder for the PNG and SVG; default: the run's, or the current one for several.",
)
def plot(runs: tuple[Path, ...], kind: str, output: Path | None) -> None:
    """Draw runs.

    Pictures are PNG and SVG. RUN is a run folder, a folder of them, or a result.json. Runs that differ in the seed
    alone share a colour.
    """
    from ncbench.pictures.curves import plot_curves
    from ncbench.records.archive import load_results

    results = load_results(runs, tell)
    folder = output or (results[0].folder if len(results) == 1 else Path.cwd())
    if kind == "geometry":
        _plot_geometry(results, folder)
        return
    paths = plot_curves(results, folder)
    if not paths:
        raise ConfigurationError(
            "There are no curves to draw: no run has trained an epoch. A picture of what it learned: --kind geometry."
        )
    _show(paths)


def _plot_geometry(results: list[RunResult], folder: Path) -> None:
    """Draw what there is, and say in one line what there is not."""
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
        method = registry().cards["methods"].get(result.record.method.name)  # it may be of a plugin that is not here
        frame = method[0].card.frame if method else ""
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


def _show(paths: list[Path]) -> None:
    for path in paths:
        show(str(path))
