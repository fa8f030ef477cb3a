"""From a card and parameters to an open store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from inspect import getattr_static
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ncbench.contracts.cards import DatasetCard
from ncbench.contracts.dataset import Dataset, DatasetParameters
from ncbench.contracts.errors import ConfigurationError, DataError
from ncbench.contracts.parameters import Parameters
from ncbench.data.files import clear_temporaries, locked, temporary_for
from ncbench.data.sources.manifest import Manifest, load_manifest
from ncbench.data.sources.misplaced import where_it_lies
from ncbench.data.sources.roots import cache_folder, data_roots, how_to_get, roots_with, unwritable
from ncbench.data.store.open import Store, open_store


def prepare(
    card: DatasetCard,
    params: DatasetParameters | Mapping[str, Any],
    *,
    data_root: Path | None = None,
    synthetic: bool = False,
    allow_mismatch: bool = False,
    report: Callable[[str], None] | None = None,
    inspect: Callable[[Dataset], None] | None = None,
) -> Store:
    """Open a dataset's store, building it first where needed.

    Args:
        card: Names the dataset, its class and its manifest.
        params: Validated parameters, or values to validate.
        data_root: Searched before ``$NCBENCH_DATA`` and the cache folder.
        synthetic: Use a generated twin with the real layout instead of the real data.
        allow_mismatch: Go on with data that are not what the manifest promises; the store says how they differ.
        report: Called with one line about each thing that takes long.
        inspect: Called with the dataset before any of it is read; it refuses a dataset by raising an error.

    Raises:
        ConfigurationError: A parameter is unknown or invalid; or a twin was asked of an embedded dataset.
        DataError: The data are missing, damaged, or not what the manifest promises; or the cache folder cannot be
            written to.
    """
    manifest = load_manifest(card.manifest)
    params = _built(card, params)
    try:
        dataset = locate(card, params, manifest, data_root=data_root, synthetic=synthetic, report=report)
    except DataError as error:
        if synthetic or not _has_twin(card.load()) or card.load().place(params.own) is not None:
            raise
        so_far = str(error).removesuffix(".")
        raise DataError(f"{so_far}. Without the data, ncbench run --synthetic trains on a generated twin.") from error
    if inspect is not None:
        inspect(dataset)
    if synthetic:
        manifest = manifest.for_twin()
    return open_store(dataset, params.spec(card.name), manifest, report, allow_mismatch=allow_mismatch)


def locate(
    card: DatasetCard,
    params: DatasetParameters | Mapping[str, Any],
    manifest: Manifest,
    *,
    data_root: Path | None = None,
    synthetic: bool = False,
    report: Callable[[str], None] | None = None,
) -> Dataset:
    """Return the dataset on the root that holds it; its sources are all there, but not read yet.

    Raises:
        ConfigurationError: As :func:`prepare`.
        DataError: The data are missing; the message says where they were looked for, where else they seem to lie, and
            how to get them.
    """
    kind: type[Dataset] = card.load()
    own = _built(card, params).own
    if (place := kind.place(own)) is not None:
        if synthetic:
            raise ConfigurationError(
                "A twin lies where ncbench puts it: leave out --synthetic, or where your data are."
            )
        dataset = _at(kind, own, place)
        dataset.source_files()
        return dataset
    if kind.folder is None:
        if synthetic:
            raise ConfigurationError(f"{card.name!r} is embedded and works everywhere: leave out --synthetic.")
        return kind(own, None)
    if synthetic:
        return kind(own, twin_root(card, kind, report))
    problem: DataError | None = None
    try:
        for root in roots_with(kind.folder, manifest, data_root):
            dataset = kind(own, root)
            try:
                dataset.source_files()
            except DataError as error:
                problem = problem or DataError(f"{error} {how_to_get(manifest)}")
            else:
                return dataset
    except DataError as missing:
        problem = missing

    def is_whole(place: Path) -> bool:
        try:
            return bool(_at(kind, own, place).source_files())
        except Exception:  # the folder is none of its own: whatever its code makes of that
            return False

    elsewhere = where_it_lies([card.name], kind.folder, data_roots(data_root), is_whole)
    raise DataError(f"{str(problem).removesuffix('.')}. {elsewhere}" if elsewhere else str(problem)) from problem


def _at(kind: type[Dataset], own: Parameters, place: Path) -> Dataset:
    """Return a dataset whose sources lie in a folder of another name than its own."""
    dataset = kind(own, place.parent)
    dataset.folder = place.name  # type: ignore[misc]
    return dataset


def _built(card: DatasetCard, params: DatasetParameters | Mapping[str, Any]) -> DatasetParameters:
    if isinstance(params, DatasetParameters):
        return params
    return DatasetParameters.build(card.load(), params, owner=card.name)


def _has_twin(kind: type[Dataset]) -> bool:
    return getattr_static(kind, "synthesize") is not getattr_static(Dataset, "synthesize")


def twin_root(card: DatasetCard, kind: type[Dataset], report: Callable[[str], None] | None = None) -> Path:
    """Return the data root of a dataset's synthetic twin, written on the first use of its manifest's version.

    Raises:
        DataError: The dataset has no twin, or the cache folder cannot be written to.
    """
    say = report or (lambda line: None)
    version = quote(load_manifest(card.manifest).version, safe="")
    root = cache_folder() / "synthetic" / f"{card.name}-{version}"
    if kind.folder is None or not (root / kind.folder).is_dir():
        try:
            root.mkdir(parents=True, exist_ok=True)
            with locked(root.with_name(f".{root.name}.lock"), f"writing {root}", say):
                if kind.folder is None or not (root / kind.folder).is_dir():
                    for left in root.glob(".twin-*"):  # by a process that was killed
                        shutil.rmtree(left, ignore_errors=True)
                    say(f"Writing the synthetic twin of {card.name} to {root}.")
                    write_twin(kind, root)
        except OSError as error:
            raise unwritable(cache_folder(), error) from error
    return root


def write_twin(kind: type[Dataset], root: Path) -> None:
    """Write a dataset's twin below a data root, whole or not at all.

    Args:
        kind: The dataset's class.
        root: An existing folder.

    Raises:
        ConfigurationError: The dataset's folder is there already, and might be the real one.
        DataError: The dataset has no twin.
        OSError: The folder cannot be written to.
    """
    clear_temporaries(root, "twin")
    partial = temporary_for(root / "twin")
    try:
        partial.mkdir()
        kind.synthesize(partial)
        for entry in sorted(partial.iterdir()):
            if (root / entry.name).exists():
                raise ConfigurationError(
                    f"{root / entry.name} exists already and is left alone: choose another folder."
                )
            entry.replace(root / entry.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
