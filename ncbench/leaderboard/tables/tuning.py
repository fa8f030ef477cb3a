"""Settings that were chosen by looking at test results, of which a record says nothing."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ncbench.contracts.cards import MethodCard
from ncbench.data.sources.manifest import Manifest
from ncbench.records.record import Record


def tuned_on_test(
    record: Record,
    card: MethodCard | None,
    manifest: Manifest | None,
    bases: Mapping[str, MethodCard] = MappingProxyType({}),
) -> str:
    """Return which settings of a run were chosen by looking at test results, and how; empty if none is known to be.

    The card and the manifest decide, whoever submits the record and whenever it was made: a record that had to say it
    of itself could leave it out.

    Args:
        record: Of the run.
        card: The method's; None if it is not known here.
        manifest: The dataset's; None if it is not known here.
        bases: Those of the methods of the runs that it builds on, by the place of each, as ``"base."``.
    """
    # A search chose by validation metrics, whatever it came to; of a setting with one value it chose nothing.
    searched: set[str] = set() if record.search is None else record.search.compared()
    runs = [("", card, _without(record.method.parameters, "method.", searched), record.recipe)] + [
        (prefix, bases.get(prefix), base.parameters or {}, base.recipe or {}) for prefix, base in record.bases.items()
    ]
    found = []
    for prefix, of, parameters, stated in runs:
        recipe, beyond = _without(stated, f"{prefix}recipe.", searched), f"{prefix}recipe." if prefix else ""
        for published in () if of is None else of.tuned_on_test.get(record.dataset.name, ()):
            kept = [*_kept(published.parameters, parameters, prefix), *_kept(published.recipe, recipe, beyond)]
            found += [f"{', '.join(kept)} {published.tuned_on_test}"] if kept else []
        if manifest is not None and manifest.tuned_on_test is not None:
            tuned = {key: manifest.recipe[key] for key in manifest.tuned_on_test.keys}
            kept = [*_kept(tuned, recipe, beyond)]
            found += [f"{', '.join(kept)} {manifest.tuned_on_test.reason}"] if kept else []
    return "; ".join(found)


def _without(values: Mapping[str, Any], prefix: str, names: Container[str]) -> dict[str, Any]:
    """Return the values whose names, with a prefix, are none of these."""
    return {key: value for key, value in values.items() if f"{prefix}{key}" not in names}


def _kept(tuned: Mapping[str, Any], values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    return (f"{prefix}{key}={value}" for key, value in tuned.items() if key in values and values[key] == value)
