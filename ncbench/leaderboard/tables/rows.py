"""Rows: runs that differ in the seed alone, their means, their ranks, and what a reader should know of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from ncbench.contracts.cards import LabelUse
from ncbench.leaderboard.intake.catalogue import BUILT_IN
from ncbench.leaderboard.intake.entry import Entry, grouped
from ncbench.leaderboard.intake.problems import plain
from ncbench.leaderboard.tables.board import DIGITS, DatasetTable, Estimate, Paired, Plugin, Row, Section, Source
from ncbench.leaderboard.tables.remarks import remarks, tuned
from ncbench.leaderboard.tables.reruns import Reruns, describe, reproduced
from ncbench.records.intervals import MIN_SEEDS, half_width
from ncbench.records.record import BackbonePart, DatasetPart, MethodPart

BASELINE = "erm"


def dataset_table(entries: Sequence[Entry], heading: str, measures: Sequence[str], reruns: Reruns) -> DatasetTable:
    """Return the table of a dataset.

    Args:
        entries: The records of one dataset with one set of parameters that count, all on the same data.
        heading: What tells it from every other table.
        measures: What tables show, in order.
        reruns: Of all records.
    """
    first = entries[0]
    configurations = grouped(entries, lambda entry: entry.configuration)
    by_labels = grouped(entries, _labels)
    sections = []
    for labels in sorted(by_labels):
        of_section = grouped(by_labels[labels], lambda entry: entry.configuration)
        rows = [_row(runs, _baseline(runs[0], configurations), measures, reruns) for runs in of_section.values()]
        rows = _distinguished(_ranked(rows, first.record.primary_metric))
        (train, val, hierarchy), selection, searched = labels
        sections.append(
            Section(train=train, val=val, hierarchy=hierarchy, selection=selection, searched=searched, rows=rows)
        )
    return DatasetTable(
        heading=heading,
        dataset=_plugin([entry.record.dataset for entry in entries]),
        parameters=dict(sorted(first.record.dataset.parameters.items())),
        fingerprint=first.record.dataset.fingerprint,
        version=first.version,
        todays_version=first.todays_version,
        primary_metric=first.record.primary_metric,
        published_epochs=first.published_epochs,
        sections=sections,
    )


def _labels(entry: Entry) -> tuple[tuple[LabelUse, LabelUse, bool], str, str]:
    used = entry.record.method.supervision
    return (used.train, used.val, used.hierarchy), entry.selection, entry.searched


def _row(runs: Sequence[Entry], baseline: Sequence[Entry] | None, measures: Sequence[str], reruns: Reruns) -> Row:
    runs = sorted(runs, key=lambda entry: entry.record.seed)
    first = runs[0]
    shared = set.intersection(*(set(entry.numbers) for entry in runs))
    flags = remarks(runs)
    repeated = describe(runs, reruns)
    paired = None if baseline is None else _paired(runs, baseline)
    if paired is not None and baseline is not None and baseline[0].epochs != first.epochs:
        flags.append(f"compared with {BASELINE} at {baseline[0].epochs} epochs")
    return Row(
        id=row_id(first),
        rank=None,
        method=_plugin([entry.record.method for entry in runs]),
        groups="" if first.record.groups_from is None else first.record.groups_from.spec,
        backbone=_plugin([entry.record.backbone for entry in runs]),
        epochs=first.epochs,
        recipe=dict(sorted({**first.record.recipe, **first.record.base_recipes}.items())),
        distinction="",
        metrics={name: _estimate([run.numbers[name] for run in runs]) for name in measures if name in shared},
        versus_erm=paired,
        tuned_on_test=tuned(runs),
        flags=flags,
        runs=[
            Source(
                seed=run.record.seed,
                record=run.path,
                metrics={name: round(run.numbers[name], DIGITS) for name in measures if name in run.numbers},
            )
            for run in runs
        ],
        reproduced=reproduced(repeated),
        reruns=repeated,
    )


def row_id(entry: Entry) -> str:
    """Return the id of the row that a run belongs to."""
    return entry.configuration[:12]


def _estimate(values: Sequence[float]) -> Estimate:
    centre, half = fmean(values), half_width(values)
    return Estimate(
        mean=round(centre, DIGITS),
        low=None if half is None else round(centre - half, DIGITS),
        high=None if half is None else round(centre + half, DIGITS),
        seeds=len(values),
    )


def _plugin(parts: Sequence[MethodPart | DatasetPart | BackbonePart]) -> Plugin:
    first = parts[0]
    return Plugin(
        name=first.name,
        spec=first.spec,
        distribution=first.plugin.distribution,
        versions=sorted({part.plugin.version for part in parts}),
    )


def _baseline(entry: Entry, configurations: Mapping[str, Sequence[Entry]]) -> Sequence[Entry] | None:
    """Return the runs of erm to compare with: same selection rule, search and backbone, else they tell nothing.

    Of several, those of the same epochs, then of the recipe that differs least from the row's own, then of most seeds,
    then of the smallest id.
    """
    if entry.record.method.name == BASELINE:
        return None
    candidates = [
        runs
        for runs in configurations.values()
        if (runs[0].record.method.name, runs[0].record.method.plugin.distribution) == (BASELINE, BUILT_IN)
        and (runs[0].selection, runs[0].searched) == (entry.selection, entry.searched)
        and runs[0].record.backbone.spec == entry.record.backbone.spec
    ]

    def distance(runs: Sequence[Entry]) -> tuple[bool, int, int, str]:
        own, other = entry.record.recipe, runs[0].record.recipe
        changed = sum(own.get(key) != other.get(key) for key in {*own, *other})
        return entry.epochs != runs[0].epochs, changed, -len(runs), runs[0].configuration

    return min(candidates, key=distance, default=None)


def _paired(runs: Sequence[Entry], baseline: Sequence[Entry]) -> Paired | None:
    reference = {entry.record.seed: entry.primary for entry in baseline}
    differences = [entry.primary - reference[entry.record.seed] for entry in runs if entry.record.seed in reference]
    if len(differences) < MIN_SEEDS:
        return None
    return Paired(baseline=row_id(baseline[0]), difference=_estimate(differences))


def _may_rank(row: Row) -> bool:
    return len(row.runs) >= MIN_SEEDS and not row.tuned_on_test


def _ranked(rows: Sequence[Row], primary: str) -> list[Row]:
    """Sort by the primary metric and rank what may; equals share a rank."""
    ordered = sorted(rows, key=lambda row: (not _may_rank(row), -row.metrics[primary].mean, row.id))
    means = [row.metrics[primary].mean for row in ordered if _may_rank(row)]
    ranks = [1 + means.index(mean) for mean in means]
    ranked = [row.model_copy(update={"rank": rank}) for row, rank in zip(ordered, ranks, strict=False)]
    return ranked + ordered[len(ranked) :]


def _distinguished(rows: Sequence[Row]) -> list[Row]:
    """Name the settings in which rows that show the same method, backbone and epochs differ."""
    alike: defaultdict[tuple[str, str, str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        alike[row.method.distribution, row.method.spec, row.groups, row.backbone.spec, row.epochs].append(row)
    settings: dict[str, str] = {}
    for members in alike.values():
        keys = sorted({key for row in members for key in row.recipe})
        values = {key: {json.dumps(row.recipe.get(key)) for row in members} for key in keys}
        for row in members:
            differing = [f"{key}={row.recipe.get(key)}" for key in keys if len(values[key]) > 1]
            settings[row.id] = plain(", ".join(differing))
    return [row.model_copy(update={"distinction": settings[row.id]}) for row in rows]
