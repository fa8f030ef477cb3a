"""``ncbench data``: what is here, how to get it, and whether it is whole.

Nothing heavy is imported at the top: ``--help`` must stay fast.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ncbench.cli import options
from ncbench.cli.terminal import download_progress, megabytes, show, tell, wrapped
from ncbench.contracts.cards import stdout_to_stderr
from ncbench.contracts.errors import (
    ConfigurationError,
    DataError,
    NcbenchError,
    counted,
    described,
    one_line,
    unknown_name,
)
from ncbench.contracts.specs import Spec
from ncbench.discovery.registry import registry

if TYPE_CHECKING:
    from ncbench.contracts.cards import DatasetCard
    from ncbench.contracts.dataset import Dataset
    from ncbench.data.sources.manifest import Manifest

_data_root = click.option(
    "--data-root",
    type=options.PathOption(file_okay=False),
    help="Folder that holds the datasets' folders; searched before $NCBENCH_DATA and the cache folder.",
)


@click.group()
def data() -> None:
    """Find, fetch, prepare and check datasets."""


@data.command("list")
@_data_root
@options.as_json
@options.plugin_files
def list_datasets(data_root: Path | None, as_json: bool) -> None:
    """List the datasets: what is here, what is prepared, what is missing."""
    rows = [_status(name, data_root) for name in registry().names("datasets")]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    table = [("dataset", "sources", "stores", "size", "where")]
    for row in rows:
        stores = str(row["stores"]) if row["stores"] else "-"
        size = megabytes(row["store_bytes"]) if row["stores"] else "-"
        table.append((row["name"], row["sources"], stores, size, row["next"] or row["where"] or "in the package"))
    widths = [max(len(line[column]) for line in table) for column in range(4)]
    for line in table:
        cells = [f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False)]
        show("  ".join([*cells, line[4]]).rstrip())


@data.command()
@click.argument("dataset")
@_data_root
@options.as_json
@options.plugin_files
def info(dataset: str, data_root: Path | None, as_json: bool) -> None:
    """Say what a DATASET is, where it comes from, and whether it is here."""
    from ncbench.contracts.dataset import DatasetParameters

    card, spec, manifest = _named(dataset)
    kind: type[Dataset] = card.load()
    built = DatasetParameters.build(kind, spec.parameters, owner=card.name)
    values, held = built.as_dict(), manifest.counting(kind.counts_hold(built.own))
    status = _status(spec.name, data_root)
    keys = ("name", "type", "default", "description")
    parameters = [dict(zip(keys, row, strict=True), value=values[row[0]]) for row in DatasetParameters.describe(kind)]
    if as_json:
        content = {**status, "manifest": manifest.model_dump(mode="json"), "parameters": parameters}
        click.echo(json.dumps(content, indent=1))
        return
    lines = [
        ("title", manifest.title),
        ("summary", card.summary),
        ("version", manifest.version),
        ("licence", f"{manifest.licence.name} ({manifest.licence.url})"),
        ("citation", manifest.citation),
        ("homepage", manifest.homepage),
        *((f"{split} images", f"{counts.images:,}") for split, counts in held.counts.items()),
        ("backbone", manifest.backbone),
        ("recipe", ", ".join(f"{key}={value}" for key, value in manifest.recipe.items())),
        ("reported", f"{manifest.primary_metric}, selected by {manifest.selection}"),
        *((f"{row['name']}={row['value']}", row["description"]) for row in parameters),
        ("sources", one_line(f"{status['sources']}: {status['reason'] or status['where'] or 'in the package'}")),
        ("stores", f"{status['stores']}, {megabytes(status['store_bytes'])}"),
        ("notes", manifest.notes.strip()),
    ]
    width = max(len(label) for label, _ in lines)
    for label, text in lines:
        if text:
            click.echo(wrapped(f"{label:<{width}}  {text}", indent=width + 2))


@data.command("fetch")
@click.argument("dataset")
@_data_root
@options.plugin_files
def fetch_sources(dataset: str, data_root: Path | None) -> None:
    """Download a DATASET's sources into --data-root, else into the cache folder, where they are found.

    Goes on where it was cut off, tries the mirrors in order, and verifies every checksum. $NCBENCH_DATA is often a
    shared collection, so nothing is written there unless --data-root names it.
    """
    from ncbench.data.sources.fetch import fetch
    from ncbench.data.sources.integrity import wrong_files
    from ncbench.data.sources.roots import data_roots

    card, _, manifest = _named(dataset)
    if card.load().folder is None:
        click.echo(f"{card.name} is embedded: there is nothing to fetch.")
        return
    status = _status(card.name, data_root)
    if status["sources"] == "present":
        if not wrong_files(manifest, Path(status["where"])):
            show(f"{card.name} is here already: {status['where']}")
            return
        tell(f"Files in {status['where']} are not the published ones.")
    tell(f"{manifest.title}. Licence: {manifest.licence.name} ({manifest.licence.url})")
    root = data_root or data_roots()[-1]
    fetch(manifest, root, report=tell, progress=download_progress())
    status = _status(card.name, data_root)
    if status["sources"] != "present":
        raise DataError(f"{card.name} was fetched, but is not complete: {status['reason']}")
    if wrong_files(manifest, Path(status["where"])):
        raise DataError(
            f"{card.name} was fetched to {root}, but {status['where']}, whose files are not the published ones, is "
            f"found first: move it away, or use --data-root {root}."
        )
    show(f"{card.name} is here: {status['where']}. Next: ncbench data prepare {dataset}")


@data.command("prepare")
@click.argument("dataset")
@_data_root
@options.synthetic
@options.allow_mismatch
@options.plugin_files
def prepare_store(dataset: str, **others: Any) -> None:
    """Decode a DATASET once into its store, as the first run on it would.

    Goes on where it was cut off.
    """
    from ncbench.data.store.prepare import prepare

    card, spec, _ = _named(dataset)
    store = prepare(card, spec.parameters, report=tell, **others)
    for name, split in store.splits.items():
        kind = "images" if split.inputs.ndim == 4 else "vectors"
        click.echo(f"{name:<5} {len(split):>9,} {kind} of {' x '.join(map(str, split.inputs.shape[1:]))}")
    show(f"fingerprint {store.fingerprint}")
    show(f"store       {store.folder}")
    for difference in store.mismatch:
        show(f"mismatch    {difference}")


@data.command("verify")
@click.argument("dataset")
@_data_root
@options.synthetic
@options.plugin_files
def verify_sources(dataset: str, data_root: Path | None, synthetic: bool) -> None:
    """Re-read a DATASET from its sources, and its store: list every bad file and every count that differs."""
    from ncbench.contracts.dataset import DatasetParameters
    from ncbench.data.store.prepare import locate
    from ncbench.data.store.verify import verify

    card, spec, manifest = _named(dataset)
    params = DatasetParameters.build(card.load(), spec.parameters, owner=card.name)
    found = locate(card, params, manifest, data_root=data_root, synthetic=synthetic, report=tell)
    if synthetic:
        manifest = manifest.for_twin()
    problems = verify(found, params.spec(card.name), manifest, tell)
    for problem in problems:
        show(problem)
    if problems:
        origin = f" ncbench data info {card.name} says where its files come from." if found.folder is not None else ""
        count = counted(len(problems), "problem")
        raise DataError(f"{count} with {dataset}: put right what is named above, then verify anew.{origin}")
    where = "" if found.folder is None else f" in {found.source}"  # not always below --data-root, which comes first
    show(f"{dataset}{where} is whole.")


@data.command()
@click.argument("dataset")
@click.argument("folder", type=options.PathOption(file_okay=False))
@options.plugin_files
def synthesize(dataset: str, folder: Path) -> None:
    """Write a twin of a DATASET into FOLDER, a data root: the real layout with generated images."""
    from ncbench.contracts.dataset import DatasetParameters
    from ncbench.data.store.prepare import write_twin

    card, spec, _ = _named(dataset)
    kind: type[Dataset] = card.load()
    DatasetParameters.build(kind, spec.parameters, owner=card.name)  # a twin serves all of them, but no wrong one
    if kind.folder is None:
        raise ConfigurationError(f"{card.name!r} is embedded and has no need of a twin.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_twin(kind, folder)
    except OSError as error:
        raise DataError(f"Cannot write to {folder} ({error.strerror or error}): choose another folder.") from error
    show(
        f"The twin of {card.name} is in {folder / kind.folder}; use it with --data-root {folder} --allow-mismatch, "
        "since it is not the real data."
    )


@data.command("show")
@click.argument("dataset")
@click.option("--split", default="train", show_default=True, help="train, val or test.")
@_data_root
@options.synthetic
@options.allow_mismatch
@click.option("--output", type=options.PathOption(), default=".", help="Folder of the pictures; default: this one.")
@options.picture_format
@options.plugin_files
def show_images(dataset: str, split: str, output: Path, ending: str, **others: Any) -> None:
    """Show a few images of each group of a DATASET, with counts and shares, as a picture and as a page."""
    from ncbench.data.store.prepare import prepare
    from ncbench.pictures.galleries import plot_gallery, samples, write_page

    card, spec, _ = _named(dataset)
    store = prepare(card, spec.parameters, report=tell, **others)
    if split not in store.splits:
        raise unknown_name(f"split of {dataset}", split, store.splits)
    there = store.splits[split]
    if there.inputs.ndim != 4:
        raise ConfigurationError(f"{dataset} holds vectors, so there are no images to show.")
    rows, groups = samples(there, store.class_names, store.bias_names)
    which = "groups by size" if len(rows) == groups else f"the largest and the smallest of {groups} groups, by size"
    text = f"{card.name}, {split}{', synthetic data' if others['synthetic'] else ''}: {which}"
    show(str(plot_gallery(rows, text, output / f"{card.name}-{split}.{ending}", "--output")))
    show(str(write_page(rows, text, output / f"{card.name}-{split}.html")))


def _named(text: str) -> tuple[DatasetCard, Spec, Manifest]:
    """Return the card of the dataset that a spec names, the spec, and the dataset's manifest."""
    from ncbench.data.sources.manifest import load_manifest

    spec = Spec.parse(text)
    card: DatasetCard = registry().find("datasets", spec.name).card
    return card, spec, load_manifest(card.manifest)


def _status(name: str, data_root: Path | None) -> dict[str, Any]:
    """Return what `data list` says of a dataset, with its default parameters."""
    from ncbench.data.sources.roots import how_to_get
    from ncbench.data.store.open import stores_of

    about = f"ncbench data info {name} says"
    row: dict[str, Any] = {"name": name}
    try:
        card, _, manifest = _named(name)
        with stdout_to_stderr():
            row["sources"], row["where"], row["reason"] = _sources(card, manifest, data_root)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # one broken plugin must not hide the others' datasets
        reason = str(error) if isinstance(error, NcbenchError) else described(error)
        row |= {"sources": "broken", "where": None, "reason": reason}
    row["next"] = {"incomplete": f"{about} what", "broken": f"{about} why"}.get(row["sources"])
    if row["sources"] == "missing" and manifest.yours:
        row |= {"sources": "your own", "where": None, "reason": None, "next": f"{about} where"}
    elif row["sources"] == "missing":
        size = sum(file.bytes for source in manifest.sources[:1] if source.kind == "http" for file in source.files)
        to_load = f" ({megabytes(size)})" if size else ""
        row["reason"] = f"{how_to_get(manifest).replace('To get it', 'to get it')}{to_load}"
        automatic = any(source.kind != "manual" for source in manifest.sources)
        row["next"] = f"ncbench data fetch {name}{to_load}" if automatic else f"{about} how"
    sizes = list(stores_of(name).values())
    return {**row, "stores": len(sizes), "store_bytes": sum(sizes)}


def _sources(card: DatasetCard, manifest: Manifest, data_root: Path | None) -> tuple[str, str | None, str | None]:
    """Return whether a dataset's sources are here, where they are, and what is wrong with them."""
    from ncbench.data.sources.roots import roots_with
    from ncbench.data.store.prepare import locate

    if (folder := card.load().folder) is None:
        return "embedded", None, None
    try:
        first = roots_with(folder, manifest, data_root)[0] / folder
    except DataError as error:
        return "missing", None, str(error)
    try:
        return "present", str(locate(card, {}, manifest, data_root=data_root).source), None
    except DataError as error:
        return "incomplete", str(first), str(error)
