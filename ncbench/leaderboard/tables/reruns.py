"""Runs that were made again from a record: which are reruns of it, and whether the numbers agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ncbench.leaderboard.intake.entry import Entry
from ncbench.leaderboard.intake.problems import Problem
from ncbench.leaderboard.tables.board import DIGITS, Rerun, Verdict
from ncbench.records.intervals import MIN_SEEDS

TOLERANCE = 1e-9

Reruns = Mapping[str, Sequence[Entry]]
"""Path of a record -> the reruns of it, by path."""


def select_reruns(
    reruns: Iterable[Entry], counting: Iterable[Entry], entries: Iterable[Entry]
) -> tuple[Reruns, list[Problem]]:
    """Select the reruns that say something of a record that counts.

    Args:
        reruns: Every valid record of the archive that claims to be one.
        counting: The records behind the rows.
        entries: All valid records of runs of their own.
    """
    counted, known = ({entry.digest: entry for entry in some} for some in (counting, entries))
    found: defaultdict[str, list[Entry]] = defaultdict(list)
    problems = []
    for rerun in sorted(reruns, key=lambda entry: entry.path):
        claim = rerun.claim
        assert claim is not None
        original = counted.get(claim.of)
        if original is None:
            reason = "does not count" if claim.of in known else "is not here"
            problems.append(Problem(rerun.path, "rerun.of", f"the record {claim.of} {reason}", claim.of not in known))
            continue
        problem = _fault(rerun, original)
        if problem is None:
            found[original.path].append(rerun)
        else:
            problems.append(problem)
    return found, problems


def diverged(rerun: Entry) -> bool:
    """Whether a rerun of a completed run diverged, which tells something of it, too."""
    return rerun.record.status == "diverged"


def judge(rerun: Entry, original: Entry, row: Sequence[Entry]) -> Verdict:
    """Return whether a rerun bears out the record that it repeats, by the primary metric on the test split.

    It agrees if it is no farther from the record than the row's seeds are from one another: within the largest of them
    minus the smallest. With fewer than three seeds nothing is known of that, and only the same number agrees.

    Args:
        rerun: The record of the rerun.
        original: The record that it repeats.
        row: The runs of the row, the original among them.
    """
    if diverged(rerun):
        return "diverged"
    difference, allowed = abs(rerun.primary - original.primary), spread(row)
    if difference <= TOLERANCE:
        return "agrees"
    if allowed is None:
        return "undecided"
    return "agrees" if difference <= allowed + TOLERANCE else "differs"


def spread(row: Sequence[Entry]) -> float | None:
    """Return the largest minus the smallest primary metric of a row's seeds; None for fewer than three."""
    values = [entry.primary for entry in row]
    return max(values) - min(values) if len(values) >= MIN_SEEDS else None


def describe(runs: Sequence[Entry], reruns: Reruns) -> list[Rerun]:
    """Return what the board shows of the reruns of a row's runs, in the order of the runs."""
    return [_described(rerun, run, runs) for run in runs for rerun in reruns.get(run.path, ())]


def reproduced(reruns: Iterable[Rerun]) -> int:
    """Return how many seeds somebody else has rerun, with a number that agrees."""
    return len({rerun.seed for rerun in reruns if rerun.independent and rerun.verdict == "agrees"})


def _described(rerun: Entry, original: Entry, row: Sequence[Entry]) -> Rerun:
    claim = rerun.claim
    assert claim is not None
    return Rerun(
        seed=rerun.record.seed,
        record=rerun.path,
        of=original.path,
        by=claim.by,
        independent=claim.independent,
        value=None if diverged(rerun) else round(rerun.primary, DIGITS),
        verdict=judge(rerun, original, row),
        other_versions=list(_other_versions(rerun, original)),
    )


def _other_versions(rerun: Entry, original: Entry) -> Iterator[str]:
    for name, version, earlier in (
        ("ncbench", rerun.record.environment.get("ncbench"), original.record.environment.get("ncbench")),
        ("the method", rerun.record.method.plugin.version, original.record.method.plugin.version),
        ("the dataset", rerun.record.dataset.plugin.version, original.record.dataset.plugin.version),
    ):
        if version != earlier:
            yield f"{name} {version} instead of {earlier}"


def _fault(rerun: Entry, original: Entry) -> Problem | None:
    """Return why a record is no rerun of another one, or cannot be compared with it."""
    excluded = rerun.exclusion
    if excluded is not None and not (diverged(rerun) and excluded.field == "status"):
        return excluded
    if rerun.record.timing and rerun.record.timing == original.record.timing:
        return Problem(rerun.path, "timing", "it took to the last digit what the record that it repeats took: a copy")
    for field, ours, theirs in _settings(rerun, original):
        if ours != theirs:
            return Problem(rerun.path, field, f"it is {ours!r}, and {theirs!r} in the record that it repeats")
    if rerun.record.dataset.fingerprint != original.record.dataset.fingerprint:
        reason = "its images or labels are others than those of the record that it repeats"
        return Problem(rerun.path, "dataset.fingerprint", reason, refused=False)
    if not diverged(rerun) and rerun.record.primary_metric != original.record.primary_metric:
        return Problem(
            rerun.path, "primary_metric", "it is another than that of the record that it repeats", refused=False
        )
    return None


def _settings(rerun: Entry, original: Entry) -> Iterator[tuple[str, Any, Any]]:
    """Yield (field, value of the rerun, value of the original) of everything that a rerun takes over.

    A parameter that the original does not have was added since, and had one value before.
    """
    yield "seed", rerun.record.seed, original.record.seed
    for kind in ("method", "dataset", "backbone"):
        ours, theirs = getattr(rerun.record, kind), getattr(original.record, kind)
        yield f"{kind}.name", ours.name, theirs.name
        yield f"{kind}.plugin.distribution", ours.plugin.distribution, theirs.plugin.distribution
        for key, value in theirs.parameters.items():
            yield f"{kind}.parameters.{key}", ours.parameters.get(key), value
    for key, setting in original.record.recipe.items():
        yield f"recipe.{key}", rerun.record.recipe.get(key), setting
    bases = [each.base and each.base.run_id for each in (rerun.record, original.record)]
    yield "base.run_id", bases[0], bases[1]
