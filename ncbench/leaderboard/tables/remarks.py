"""What a reader should know of a row beside its numbers, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from ncbench.contracts.errors import counted
from ncbench.contracts.specs import Spec
from ncbench.leaderboard.intake.entry import Entry
from ncbench.leaderboard.intake.problems import plain
from ncbench.records.comparison import describe_choice
from ncbench.records.intervals import MIN_SEEDS
from ncbench.records.record import Record

MOST_NAMED = 6
"""Settings that a remark names; all of them are in the row's recipe and its method's spec."""


def remarks(runs: Sequence[Entry]) -> list[str]:
    """Return all that is remarked of the runs of a row."""
    return [*unranked(runs), *length(runs), *settings(runs), *others(runs)]


def tuned(runs: Sequence[Entry]) -> str:
    """Return which settings of a row were chosen by looking at test results, and how; empty if none is known to be."""
    return "; ".join(sorted({run.tuned_on_test for run in runs} - {""}))


def unranked(runs: Sequence[Entry]) -> list[str]:
    """Return why a row has no rank."""
    found = [f"tuned on test: not ranked ({tuned(runs)})"] if tuned(runs) else []
    return [*found, f"fewer than {MIN_SEEDS} seeds: not ranked"] if len(runs) < MIN_SEEDS else found


def length(runs: Sequence[Entry]) -> list[str]:
    """Return whether a row has fewer epochs than the dataset's published recipe, which its epochs show as well."""
    published = runs[0].published_epochs
    fewer = published is not None and runs[0].epochs < published
    return [f"{runs[0].epochs} of the dataset's {published} epochs"] if fewer else []


def settings(runs: Sequence[Entry]) -> list[str]:
    """Return where the settings of a row come from; nothing where its records do not say."""
    found = set()
    for record in (entry.record for entry in runs):
        if said := source(record):
            given = assigned(set_by_hand(record))
            more = f" and {len(given) - MOST_NAMED} more" if given[MOST_NAMED:] else ""
            found.add(
                f"{said}, except what whoever ran it set: {', '.join(given[:MOST_NAMED])}{more}" if given else said
            )
    return sorted(found)


def source(record: Record) -> str:
    """Return where settings that nobody set come from, or what chose some; empty if the record does not say."""
    if record.search is not None:
        return plain(f"settings {record.search}")
    return "" if record.settings_from is None else f"{record.settings_from.source} settings"


def set_by_hand(record: Record) -> Mapping[str, JsonValue]:
    """Return the settings that whoever ran it chose, by name, without those that can be seen or be told without.

    Left out are what a row shows, that is its backbone and its method's spec; the treatment of images, where a frozen
    backbone prescribes it; and settings of the run that it builds on that are the row's own.
    """
    if record.settings_from is None:
        return {}
    searched: set[str] = set() if record.search is None else record.search.compared()
    spec = Spec.parse(record.method.spec).parameters
    frozen = is_frozen(record)
    found: dict[str, JsonValue] = {}
    for name in record.settings_from.changed:
        place, _, key = name.rpartition(".")
        if name in searched or name == "backbone" or (place == "method" and key in spec):
            continue
        if frozen and key in ("augmentation", "input_scaling"):
            continue
        if place == "method":
            found[name] = record.method.parameters.get(key)
        else:
            value = record.settings.get(name)
            found[key if record.recipe.get(key) == value else name] = value
    return found


def is_frozen(record: Record) -> bool:
    """Return whether its backbone gave the features once and for all; only one with weights can be frozen."""
    return record.backbone.parameters.get("frozen") is True


def assigned(settings: Mapping[str, JsonValue]) -> list[str]:
    """Return settings as ``KEY=value`` each, values as in JSON but for quotes."""
    return [plain(f"{key}={value if isinstance(value, str) else json.dumps(value)}") for key, value in settings.items()]


def others(runs: Sequence[Entry]) -> list[str]:
    """Return what is remarked beside ranks, epochs and settings."""
    found = []
    if runs[0].selection != "last":
        found.append(f"metrics of {describe_choice([entry.record for entry in runs])}")
    base = runs[0].record.base
    if base is not None and base.kind == "method":
        found.append(f"on the model of a run of {base.method}, whose epochs stand here")
    if alike := sum(entry.one_class for entry in runs):
        seeds = "" if alike == len(runs) else f", in {alike} of {counted(len(runs), 'seed')}"
        found.append(f"all images of one class right and none of the others, as if it always said the same{seeds}")
    found += sorted({entry.note for entry in runs} - {""})
    for kind, versions in (
        ("the method", {entry.record.method.plugin.version for entry in runs}),
        ("the dataset", {entry.record.dataset.plugin.version for entry in runs}),
        ("ncbench", {str(entry.record.environment.get("ncbench", "")) for entry in runs}),
    ):
        if len(versions) > 1:
            found.append(f"seeds ran under {len(versions)} versions of {kind}")
    return found
