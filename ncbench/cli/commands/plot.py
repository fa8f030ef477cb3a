"""``ncbench plot``: pictures of runs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
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
    "--panel",
    "panels",
    multiple=True,
    metavar="METRIC",
    help="Draw the panel of this metric alone (loss is the training loss), as wide as a column of a paper; repeatable.",
)
@click.option(
    "--output",
    type=options.PathOption(),
    help="Folder of the pictures; default: the run's, or the current one for several.",
)
@click.option("--each", is_flag=True, help="Draw every run by itself, into its own folder.")
@options.picture_format
@options.plugin_files
def plot(
    runs: tuple[Path, ...], kind: str, panels: tuple[str, ...], output: Path | None, each: bool, ending: str
) -> None:
    """Draw runs.

    RUN is a run folder, a folder of them, or a result.json. Several are drawn into one picture, in which those that
    differ in the seed alone are one curve, their mean, in a band from the lowest to the highest.
    """
    from ncbench.records.results import load_results

    if each and output is not None:
        raise ConfigurationError("--each draws every run into its own folder; leave out --output.")
    if panels and kind == "geometry":
        raise ConfigurationError("--panel names what is drawn, collapse measures too; leave out --kind geometry.")
    draw = _plot_geometry if kind == "geometry" else functools.partial(_plot_curves, panels)
    results = load_results(runs, tell)
    if not each:
        draw(results, output or (results[0].folder if len(results) == 1 else Path.cwd()), ending)
        return
    for result in results:
        try:
            draw([result], result.folder, ending)
        except ConfigurationError as error:  # of one run that has nothing to draw
            tell(f"{result.folder}: {error}")


def _plot_curves(panels: Sequence[str], results: Sequence[RunResult], folder: Path, ending: str) -> None:
    from ncbench.pictures.curves import plot_curves

    path = plot_curves(results, folder / f"{'-'.join(panels) or 'curves'}.{ending}", panels)
    if path is None:
        raise ConfigurationError(
            "There are no curves to draw: no run has trained an epoch. A picture of what it learned: --kind geometry."
        )
    show(str(path))


def _plot_geometry(results: Sequence[RunResult], folder: Path, ending: str) -> None:
    """Draw what there is, and say in one line what there is not."""
    from ncbench.features.snapshot import read_snapshot
    from ncbench.pictures.curves import heading, plot_collapse
    from ncbench.pictures.frames import plot_frame
    from ncbench.pictures.grams import plot_grams
    from ncbench.records.folder import SNAPSHOT_FILE

    result = results[0]
    snapshot = read_snapshot(result.folder) if len(results) == 1 else None
    path = plot_collapse(results, folder / f"collapse.{ending}")
    if path is not None:
        show(str(path))
    if snapshot is not None:
        of_run = heading(result)
        method = registry().cards["methods"].get(result.record.method.name)  # it may be of a plugin that is not here
        frame = method[0].card.frame if method else ""
        measures = result.metrics.get("train", {})
        show(str(plot_grams(snapshot.vectors, measures, of_run, folder / f"grams.{ending}", "--output", frame)))
        show(str(plot_frame(snapshot, of_run, folder / f"frame.{ending}", frame)))
        return
    if len(results) > 1:
        left_out = "Gram matrices and the view of a few classes are of one run: name one to draw them."
    else:
        left_out = (
            f"There are no Gram matrices and no view of classes to draw: {result.folder} has no {SNAPSHOT_FILE}, which "
            f"a run leaves when it completes, and this one is {result.status}. {_NEXT_STEP[result.status]}"
        )
    if path is None:
        raise ConfigurationError(left_out)
    tell(left_out)
