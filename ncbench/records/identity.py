"""A run's id, which follows from its configuration and seed alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def run_id(
    method: str,
    dataset: str,
    backbone: str,
    recipe: str,
    seed: int,
    *,
    synthetic: bool,
    allow_mismatch: bool = False,
    base: str | None = None,
    infers: bool = False,
    search: Mapping[str, Any] | None = None,
) -> str:
    """Return the id of a run.

    Args:
        method: Canonical spec, as those that follow: so that a parameter that a later version adds does not give old
            runs new names.
        dataset: Likewise.
        backbone: Likewise.
        recipe: Likewise, with ``recipe`` for its name.
        seed: The seed.
        synthetic: Whether the dataset's generated twin is used.
        allow_mismatch: Whether data that are not what the manifest promises are gone on with.
        base: Id of the run that it builds on, if it builds on one.
        infers: Whether the method is a way to infer groups, which a method may share its name with.
        search: What its record says of the search that chose its settings, if one did. The same settings given by hand
            are the same computation, but another claim, and a finished record is never changed.
    """
    identity: dict[str, Any] = {
        "method": method,
        "dataset": dataset,
        "backbone": backbone,
        "recipe": recipe,
        "seed": seed,
        "synthetic": synthetic,
    }
    if allow_mismatch:  # a run on other data is another run; runs that were never asked keep their names
        identity["allow_mismatch"] = True
    if base is not None:
        identity["base"] = base
    if infers:
        identity["infers"] = True
    if search is not None:
        identity["search"] = search
    return id_of(identity, method.partition(":")[0], dataset.partition(":")[0], seed)


def id_of(identity: Mapping[str, Any], method: str, dataset: str, seed: int) -> str:
    """Return an id that shows a method's and a dataset's name and the seed, and a digest of everything else."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"{method}-{dataset}-s{seed}-{digest[:10]}"
