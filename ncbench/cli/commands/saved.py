"""``ncbench collapse`` and ``ncbench evaluate``: what anyone's model has saved, features and predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ncbench.cli import options
from ncbench.cli.terminal import show
from ncbench.contracts.errors import ConfigurationError


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


@click.command()
@click.argument("file", type=options.PathOption())
@click.option("--target", default="target", show_default=True, metavar="NAME", help="Column of classes.")
@click.option("--prediction", default="prediction", show_default=True, metavar="NAME", help="Of predicted classes.")
@click.option("--bias", metavar="NAME", help="Of the bias attribute; default: bias, if there is one.")
@click.option(
    "--probability",
    default="p_",
    show_default=True,
    metavar="START",
    help="What the columns of probabilities begin with; the class follows.",
)
@click.option("--split", metavar="NAME", help="Which split, where there is a column split; default: test.")
@click.option(
    "--aligned-bias",
    metavar="A,B,...",
    help="For each class the bias value, as its number, that goes along with it in training.",
)
@options.as_json
def evaluate(file: Path, as_json: bool, split: str | None, aligned_bias: str | None, **names: Any) -> None:
    """Say what predictions are worth: the accuracy of every group, and calibration.

    FILE is a .csv, .tsv, .parquet or .jsonl table with a row for each image, or the folder of a run. Classes and bias
    values are whole numbers from 0, or names.
    """
    from ncbench.cli.tables.predictions import print_report, to_json
    from ncbench.features.predictions import Columns
    from ncbench.training.evaluation.predictions import evaluate as measure

    report = measure(file, columns=Columns(**names), split=split, aligned_bias=_numbers(aligned_bias))
    if as_json:
        click.echo(json.dumps(to_json(report), indent=2))
    else:
        print_report(report, file)


def _numbers(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigurationError(f"--aligned-bias {text} must be whole numbers, as in --aligned-bias 0,1.") from None
