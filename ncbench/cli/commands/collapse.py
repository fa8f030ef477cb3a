"""``ncbench collapse``: neural collapse of features that any model has saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ncbench.cli import options
from ncbench.cli.terminal import show


@click.command()
@click.argument("file", type=options.PathOption())
@click.option("--features", default="features", show_default=True, metavar="NAME", help="Array of features, (N, d).")
@click.option("--labels", default="labels", show_default=True, metavar="NAME", help="Array of classes, (N,) integers.")
@click.option("--weight", metavar="NAME", help="Array of classifier rows, (K, d); default: weight, if there is one.")
@click.option("--bias", metavar="NAME", help="Array of the classifier's bias, (K,); default: bias, if there is one.")
@options.as_json
@click.option("--plot", type=options.PathOption(), metavar="FOLDER", help="Draw grams.png there.")
@options.picture_format
def collapse(file: Path, as_json: bool, plot: Path | None, ending: str, **names: Any) -> None:
    """Measure neural collapse of saved features.

    FILE is a .npz or .safetensors file of arrays, or a .parquet table with a list column of features and an integer
    column of labels. Every measure is 0 for a collapsed net, or as small as the dimensions allow. Without a classifier,
    what needs one is left out.
    """
    from ncbench.cli.tables.collapse import lines, to_json
    from ncbench.features.collapse import measure_saved
    from ncbench.features.saved import read_features

    report = measure_saved(read_features(file, **names), file)
    paths: list[Path] = []
    if plot is not None:
        from ncbench.pictures.grams import plot_grams

        paths = [plot_grams(report.vectors, report.measures, file.name, plot / f"grams.{ending}", "--plot")]
    if as_json:
        click.echo(json.dumps({**to_json(report), "plots": [str(path) for path in paths]}, indent=2))
        return
    for line in (*lines(report), *paths):
        show(str(line))
