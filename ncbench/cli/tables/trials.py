"""The trials of searches: how they stand, what validation metrics say of each, and which is chosen.

Nothing here looks at a number of the test split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.table import Column, Table

from ncbench.cli.tables.result import mean_text
from ncbench.cli.tables.sweep import made
from ncbench.contracts.errors import counted
from ncbench.discovery.registry import registry
from ncbench.launch.search import TO_MAKE, Trial, Tuning
from ncbench.launch.sweep import Sweep
from ncbench.records.record import FEW_IMAGES


def progress(tunings: Sequence[Tuning], trials: Sweep) -> Table:
    """Return how many trials of each search are made."""
    shown = _table("", "trials")
    for tuning in tunings:
        shown.add_row(tuning.name, made([trials.runs[run_id] for trial in tuning.trials for run_id in trial.run_ids]))
    return shown


def trials_table(tuning: Tuning, trials: Sweep) -> Table:
    """Return every trial of a search: the best first, then those that cannot be chosen, in the order of the draws.

    Where some are equally good, it has what tells them apart.
    """
    scores = [tuning.score(trial, trials) for trial in tuning.trials]
    able = {number: score for number, score in enumerate(scores) if not isinstance(score, str)}
    best_first = sorted(able, key=able.__getitem__, reverse=True)  # equals stay in the order of the draws
    chosen = tuning.chosen(trials)
    tied = len({score for score, _ in able.values()}) < len(able)
    ties = [tuning.tie_break] if tied and tuning.tie_break is not None else []
    shown = _table("trial", tuning.name, tuning.rule, *(f"then val_{metric}" for metric in ties), "")
    for number in [*best_first, *(number for number in range(len(scores)) if number not in able)]:
        trial = tuning.trials[number]
        mark = "chosen" if trial is chosen else ""
        second = [_metric_text(metric, able[number][1]) if number in able else "" for metric in ties]
        shown.add_row(str(number + 1), str(trial), _text(tuning, trial, trials), *second, mark)
    return shown


def as_dict(tuning: Tuning, trials: Sweep) -> dict[str, Any]:
    """Return the same as plain values, in the order of the draws: of a trial its mean, or else what it lacks."""
    chosen = tuning.chosen(trials)
    values = [tuning.value(trial, trials) for trial in tuning.trials]
    scores = [tuning.score(trial, trials) for trial in tuning.trials]
    return {
        "method": tuning.pair.method,
        "groups": tuning.pair.groups,
        "dataset": tuning.pair.dataset,
        "settings": dict(tuning.point),
        "criterion": tuning.rule,
        "tie_break": tuning.tie_break and f"val_{tuning.tie_break}",
        "trials": [
            {
                "settings": dict(trial.drawn),
                "runs": list(trial.run_ids),
                "value": None if isinstance(value, str) else value,
                "tie_break": None if isinstance(score, str) or tuning.tie_break is None else score[1],
                "lacking": value if isinstance(value, str) else None,
                "chosen": trial is chosen,
            }
            for trial, value, score in zip(tuning.trials, values, scores, strict=True)
        ],
    }


def outcome(tuning: Tuning, trials: Sweep) -> str:
    """Return in one line what a search has chosen and by what, or why nothing."""
    chosen, number = tuning.chosen(trials), len(tuning.trials)
    if chosen is None:
        values = (tuning.value(trial, trials) for trial in tuning.trials)
        lacking = Counter(value for value in values if isinstance(value, str))
        reasons = ", ".join(f"{count} {reason}" for reason, count in lacking.items())
        again = "" if TO_MAKE.isdisjoint(lacking) else "; the same command makes what is missing"
        return f"Nothing is chosen for {tuning.name}: of {counted(number, 'trial')} {reasons}{again}."
    position = 1 + [trial is chosen for trial in tuning.trials].index(True)
    by = f"{tuning.rule} {_text(tuning, chosen, trials)}, trial {position} of {number}"
    best = tuning.value(chosen, trials)
    tied = sum(tuning.value(trial, trials) == best for trial in tuning.trials)
    score, metric = tuning.score(chosen, trials), tuning.tie_break
    remarks = [f"{tied} tied"] if tied > 1 else []
    if tied > 1 and metric is not None and not isinstance(score, str):
        remarks.append(f"of these the best val_{metric}, {_metric_text(metric, score[1])}")
    if (fewest := tuning.smallest_group(trials)) is not None and fewest < FEW_IMAGES:
        remarks.append(f"{counted(fewest, 'image')} in the smallest group, so that it is partly chance")
    return f"Chosen for {tuning.name}: {chosen} ({', '.join([by, *remarks])})"


def _table(*headings: str) -> Table:
    columns = [Column(heading, overflow="fold") for heading in headings]
    return Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0))


def _text(tuning: Tuning, trial: Trial, trials: Sweep) -> str:
    value = tuning.value(trial, trials)
    return value if isinstance(value, str) else _metric_text(tuning.metric, value)


def _metric_text(metric: str, value: float) -> str:
    return mean_text(registry().measures()[metric], [value])
