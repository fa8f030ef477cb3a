"""Where data are looked for, and where ncbench writes."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from ncbench.contracts.errors import FULL, DataError, NcbenchError, lacking
from ncbench.data.files import from_home
from ncbench.data.sources.manifest import Manifest, ManualSource


def cache_folder() -> Path:
    """Return the folder ncbench writes below: ``$NCBENCH_CACHE``, else the platform's cache folder of the user."""
    return from_home(os.environ.get("NCBENCH_CACHE") or platformdirs.user_cache_path("ncbench"))


def data_roots(data_root: Path | None = None) -> list[Path]:
    """Return the folders that may hold a dataset's folder, in the order they are searched."""
    roots = [from_home(data_root)] if data_root is not None else []
    if given := os.environ.get("NCBENCH_DATA"):
        roots.append(from_home(given))
    return [*roots, cache_folder() / "data"]


def roots_with(folder: str, manifest: Manifest, data_root: Path | None = None) -> list[Path]:
    """Return the data roots that hold `folder`, in the order they are searched; there is at least one.

    Args:
        folder: The dataset's folder, relative to a data root.
        manifest: Its manifest, for the way to get it.
        data_root: The root the user named, searched first.

    Raises:
        DataError: None does; the message says where it was looked for and how to get it.
    """
    roots = data_roots(data_root)
    if found := [root for root in roots if (root / folder).is_dir()]:
        return found
    looked = ", ".join(str(root / folder) for root in roots)
    raise DataError(f"The dataset {manifest.name!r} is missing: looked for {looked}. {how_to_get(manifest)}")


def how_to_get(manifest: Manifest) -> str:
    """Return one sentence that tells a user how to get the dataset: by fetching it, by hand, or either way."""
    ways = []
    if any(not isinstance(source, ManualSource) for source in manifest.sources):
        ways.append(f"ncbench data fetch {manifest.name}")
    ways += [" ".join(source.instructions.split()) for source in manifest.sources if isinstance(source, ManualSource)]
    return f"To get it: {'; or by hand: '.join(ways)}" if ways else "Its manifest names no source."


def unwritable(folder: Path, error: OSError) -> NcbenchError:
    """Return the error for a cache folder that cannot be written to, or is full."""
    if error.errno not in FULL and (lack := lacking(error)):
        return NcbenchError(lack)
    reason = error.strerror or str(error)
    return DataError(
        f"Cannot write to the cache folder {folder} ({reason}): "
        "free some space, or set NCBENCH_CACHE to a folder you can write to."
    )
