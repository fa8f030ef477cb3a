"""``ncbench collapse`` and ``ncbench evaluate``: what anyone's model has saved, features and predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ncbench.cli import options
from ncbench.cli.terminal import show, tell
from ncbench.contracts.errors import ConfigurationError, unknown_name

if TYPE_CHECKING:
    from ncbench.features.saved import SavedFeatures


@click.command()
@click.argument("file", type=options.PathOption())
@click.option("--split", default="train", show_default=True, help="Of a run: train, val or test.")
@click.option("--dataset", metavar="SPEC", help="Of a run: where data of your own lie, of which a record has no path.")
@options.data_root
@options.plugin_files
@click.option("--features", default="features", show_default=True, metavar="NAME", help="Array of features, (N, d).")
@click.option("--labels", default="labels", show_default=True, metavar="NAME", help="Array of classes, (N,) integers.")
@click.option("--weight", metavar="NAME", help="Array of classifier rows, (K, d); default: weight, if there is one.")
@click.option("--bias", metavar="NAME", help="Array of the classifier's bias, (K,); default: bias, if there is one.")
@options.as_json
@click.option("--plot", type=options.PathOption(), metavar="FOLDER", help="Draw grams.png there.")
@options.picture_format
@click.pass_context
def collapse(
    context: click.Context,
    /,
    file: Path,
    split: str,
    dataset: str | None,
    data_root: Path | None,
    as_json: bool,
    plot: Path | None,
    ending: str,
    **names: Any,
) -> None:
    """Measure neural collapse of saved features, or of a run's.

    FILE is a .npz or .safetensors file of arrays, or a .parquet table with a list column of features and an integer
    column of labels; or the folder of a completed run, whose model is asked for the features of its images. Every
    measure is 0 for a collapsed net, or as small as the dimensions allow. Without a classifier, what needs one is left
    out.
    """
    from ncbench.cli.tables.collapse import lines, to_json
    from ncbench.features.collapse import measure_saved
    from ncbench.features.saved import read_features
    from ncbench.records.archive import RESULT_FILE

    of_run, of_file = ("split", "dataset", "data_root"), tuple(names)
    is_run = file.is_dir() or file.name == RESULT_FILE
    for name in of_file if is_run else of_run:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            takes = "a file of features" if is_run else "the folder of a run"
            raise ConfigurationError(f"--{name.replace('_', '-')} is for {takes}, and {file} is none; leave it out.")
    saved = _features_of_run(file, split, dataset, data_root) if is_run else read_features(file, **names)
    report = measure_saved(saved, file)
    paths: list[Path] = []
    if plot is not None:
        from ncbench.pictures.grams import plot_grams

        paths = [plot_grams(report.vectors, report.measures, file.name, plot / f"grams.{ending}", "--plot")]
    if as_json:
        click.echo(json.dumps({**to_json(report), "plots": [str(path) for path in paths]}, indent=2))
        return
    for line in (*lines(report), *paths):
        show(str(line))


def _features_of_run(run: Path, split: str, dataset: str | None, data_root: Path | None) -> SavedFeatures:
    from ncbench.records.archive import load_result
    from ncbench.training.finished.model import load_model
    from ncbench.training.finished.origin import configuration_of, store_of

    result = load_result(run)
    model = load_model(result, dataset=dataset, data_root=data_root, warn=tell)
    store = store_of(configuration_of(result.record, dataset), result.record, data_root, tell)
    if split not in store.splits:
        raise unknown_name(f"split of {result.record.dataset.spec}", split, store.splits)
    return model.saved_features(store.splits[split])


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
