"""``ncbench evaluate``: the accuracies of anyone's predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ncbench.cli import options
from ncbench.contracts.errors import ConfigurationError


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
