"""Runs side by side: means over seeds, and the difference to the first configuration on the same data."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from ncbench.contracts.cards import Measure
from ncbench.contracts.errors import ConfigurationError, counted, unknown_name
from ncbench.discovery.registry import registry
from ncbench.records.archive import RunResult
from ncbench.records.record import FEW_IMAGES, Record


def label(result: RunResult) -> str:
    """Return what names a run's configuration: everything but the seed, and whether the data are not the real ones."""
    return " / ".join(label_parts(result))


def label_parts(result: RunResult) -> tuple[str, str, str]:
    """Return what :func:`label` joins: the method, the data and the backbone."""
    record = result.record
    caveat = f" ({record.dataset.caveat})" if record.dataset.caveat else ""
    return record.label, f"{record.dataset.spec}{caveat}", record.backbone.spec


def by_configuration(results: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Group runs that differ in the seed alone, in the order in which they were given, by what tells them apart."""
    named = [(result, label(result), _settings(result)) for result in results]
    first: dict[str, dict[str, Any]] = {}
    varying: dict[str, set[str]] = {}
    for _, text, settings in named:
        other = first.setdefault(text, settings)
        different = {key for key in {*settings, *other} if settings.get(key) != other.get(key)}
        varying.setdefault(text, set()).update(different)
    grouped: dict[str, list[RunResult]] = {}
    for result, text, settings in named:
        keys = sorted(varying[text])
        difference = f" ({', '.join(f'{key}={settings.get(key)}' for key in keys)})" if keys else ""
        grouped.setdefault(f"{text}{difference}", []).append(result)
    return grouped


def by_data(results: Sequence[RunResult]) -> list[dict[str, list[RunResult]]]:
    """Group configurations by the data they were on: only on the same data is a difference one of configurations."""
    grouped: dict[tuple[str, str], dict[str, list[RunResult]]] = {}
    for text, members in by_configuration(results).items():
        dataset = members[0].record.dataset
        grouped.setdefault((dataset.spec, dataset.fingerprint), {})[text] = members
    return list(grouped.values())


def _settings(result: RunResult) -> dict[str, Any]:
    """Return what a run's label does not say: its recipe, what it builds on, and which data it was on."""
    record = result.record
    searched = {} if record.search is None else {"settings": str(record.search)}
    return {**record.recipe, **record.base_recipes, **searched, "fingerprint": record.dataset.fingerprint[:12]}


def describe_choice(records: Sequence[Record]) -> str:
    """Return which epoch's model the metrics of some runs are of, by what it was chosen, and what is doubtful in that.

    Empty if none of the runs is completed.
    """
    rule = str(records[0].recipe.get("selection")) if records else ""
    chosen = [record.selection[rule] for record in records if record.status == "completed" and rule in record.selection]
    if not chosen:
        return ""
    epochs = sorted({each.epoch for each in chosen})
    if epochs == [0]:
        return "the model fitted without epochs"
    text = f"epoch {epochs[0]}" if len(epochs) == 1 else f"epochs {epochs[0]} to {epochs[-1]}"
    if rule == "last":
        return f"{text}, the last"
    tied = max(each.tied or 1 for each in chosen)
    smallest = min(FEW_IMAGES if each.smallest_group is None else each.smallest_group for each in chosen)
    remarks = [
        *([f"{tied} epochs tied"] if tied > 1 else []),
        *([f"{counted(smallest, 'image')} in the smallest group"] if smallest < FEW_IMAGES else []),
    ]
    said = f" ({', '.join(remarks)})" if remarks else ""
    return f"{text} by {rule}{said}"


def parse_limit(text: str) -> tuple[str, float]:
    """Read ``METRIC:POINTS``.

    Raises:
        ConfigurationError: The text has another form.
    """
    metric, colon, points = text.partition(":")
    try:
        value = float(points)
    except ValueError:
        value = math.nan
    if not colon or not metric or not value >= 0:
        raise ConfigurationError(f"{text!r} is not of the form METRIC:POINTS, as in --fail worst_group_accuracy:1.5.")
    return metric, value


def shortfalls(results: Sequence[RunResult], limits: Sequence[tuple[str, float]]) -> list[str]:
    """Return one line for each configuration that is worse than the first on its data by more than a limit allows.

    Args:
        results: The runs.
        limits: (metric of the test split, how much worse it may be) each, in the unit in which the metric is shown.

    Raises:
        ConfigurationError: A limit names no metric of the runs of which it is known which direction is better, or a
            configuration is alone on its data.
    """
    directed = {name: each for name, each in registry().measures().items() if each.direction != "neither"}
    lines = []
    for grouped in by_data(results):
        (reference_label, reference), *others = grouped.items()
        for metric, points in limits:
            base = values_of(reference, metric)
            measure = directed.get(metric)
            if not base or measure is None:
                known = [name for name in directed if name in reference[0].metrics.get("test", {})]
                raise unknown_name("test metric", metric, known, "ncbench list metrics")
            if not others:
                raise ConfigurationError(
                    f"--fail has nothing to compare {reference_label} with: no other configuration is on the same data."
                )
            for text, members in others:
                values = values_of(members, metric)
                lower = measure.direction == "lower"
                worse = math.inf
                if values:
                    change = measure.scale * (statistics.fmean(values) - statistics.fmean(base))
                    worse = change if lower else -change
                if worse > points:
                    amount = f"{worse:.2f} points" if measure.unit == "%" else f"{worse:.4g}"
                    lines.append(
                        f"{text}: {metric} is {amount} {'above' if lower else 'below'} {reference_label}; {points:g} "
                        "are allowed."
                    )
    return lines


def values_of(members: Sequence[RunResult], name: str, split: str = "test") -> list[float]:
    """Return a metric of those of some runs that have it."""
    return [member.metrics[split][name] for member in members if name in member.metrics.get(split, {})]


def compared_split(name: str, measure: Measure, configurations: Iterable[Sequence[RunResult]]) -> str | None:
    """Return the split whose numbers are compared: the test split where they are of it, or else that which has any."""
    members = [member for each in configurations for member in each]
    splits = [split for split in ("test", "val", "train") if split in measure.splits]
    return next((split for split in splits if values_of(members, name, split)), None)


def chosen_measures(metrics: Sequence[str]) -> dict[str, Measure]:
    """Return those metrics of these names, in this order.

    Raises:
        ConfigurationError: A name is not known.
    """
    known = registry().measures()
    for name in metrics:
        if name not in known:
            raise unknown_name("metric", name, known, "ncbench list metrics")
    return {name: known[name] for name in metrics}
