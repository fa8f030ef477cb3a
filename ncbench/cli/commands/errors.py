"""``ncbench errors``: the images that a run gets wrong, where it is worst."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from ncbench.cli import options
from ncbench.cli.terminal import show, tell
from ncbench.contracts.errors import ConfigurationError, DataError


@click.command()
@click.argument("run", type=options.PathOption())
@click.option("--split", default="test", show_default=True, help="test or val.")
@click.option("--dataset", metavar="SPEC", help="Where data of your own lie, of which a record has no path.")
@options.data_root
@click.option("--output", type=options.PathOption(), help="Folder of the pictures; default: the run's.")
@options.picture_format
@options.plugin_files
def errors(
    run: Path, split: str, dataset: str | None, data_root: Path | None, output: Path | None, ending: str
) -> None:
    """Show the mistakes of a RUN in its worst groups, most confident first, with what was predicted.

    Leaves a picture, errors.png, and a page, errors.html, which holds its images. Below each image of a convolutional
    network, where the package grad-cam is installed (ncbench[cam]), stands what spoke for the prediction.
    """
    from ncbench.features.predictions import read_predictions
    from ncbench.pictures.curves import heading
    from ncbench.pictures.galleries import mistakes, plot_gallery, write_page
    from ncbench.records.archive import load_result
    from ncbench.training.finished.activation_maps import activation_maps
    from ncbench.training.finished.model import load_model
    from ncbench.training.finished.origin import configuration_of, store_of

    result = load_result(run)
    predictions = read_predictions(result.folder, split=split)
    store = store_of(configuration_of(result.record, dataset), result.record, data_root, tell)
    there = store.splits[split]
    if there.inputs.ndim != 4:
        raise ConfigurationError(f"{result.record.dataset.spec} holds vectors, so there are no images to show.")
    if list(there.ids) != list(predictions.ids or ()):
        raise DataError(f"The predictions in {result.folder} are not of the {split} images of {store.name}.")
    rows = mistakes(predictions, there.inputs)
    try:
        model = load_model(result, dataset=dataset, data_root=data_root, warn=tell)
        rows = [replace(row, maps=activation_maps(model, row.images)) for row in rows]
    except (ConfigurationError, DataError) as error:  # the pictures themselves want neither the model nor a library
        tell(str(error))
    below = (
        "" if all(row.maps is None for row in rows) else ". Below, the brighter the more it spoke for the prediction"
    )
    text = f"Mistakes on {split} images: {heading(result)}{below}"
    folder = output or result.folder
    show(str(plot_gallery(rows, text, folder / f"errors.{ending}", "--output")))
    show(str(write_page(rows, text, folder / "errors.html")))
