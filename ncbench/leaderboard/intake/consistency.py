"""What can only be told from several records: corrections, duplicates, copies, and runs that do not compare."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial

from ncbench.leaderboard.intake.entry import Entry
from ncbench.leaderboard.intake.problems import Problem


def settle(entries: Sequence[Entry]) -> tuple[list[Entry], list[Problem]]:
    """Sort the entries into those that count and the problems of the others.

    Args:
        entries: Every valid record of the archive, in any order.

    Returns:
        The entries that count, by path, and one problem for each other one.
    """
    ordered = sorted(entries, key=lambda entry: entry.path)
    problems: list[Problem] = []
    for step in (
        _apply_corrections,
        _refuse_duplicates,
        _exclude_own,
        _exclude_copies,
        _exclude_incomparable,
        _exclude_other_defaults,
    ):
        ordered, found = step(ordered)
        problems += found
    return ordered, problems


def _apply_corrections(entries: list[Entry]) -> tuple[list[Entry], list[Problem]]:
    """Replace every record that a later one supersedes."""
    by_digest = {entry.digest: entry for entry in entries}
    corrections: defaultdict[str, list[Entry]] = defaultdict(list)
    refused: dict[str, Problem] = {}
    for entry in entries:
        if entry.supersedes is None:
            continue
        corrected = by_digest.get(entry.supersedes)
        if corrected is None:
            reason = f"there is no valid record {entry.supersedes}"
        elif _subject(corrected) != _subject(entry):
            reason = f"{corrected.path} is of another method, dataset or seed"
        else:
            corrections[entry.supersedes].append(entry)
            continue
        refused[entry.digest] = Problem(entry.path, "supersedes", reason)
    for corrected_digest, rivals in corrections.items():
        if len(rivals) > 1:
            for rival in rivals:
                others = ", ".join(other.path for other in rivals if other is not rival)
                refused[rival.digest] = Problem(
                    rival.path, "supersedes", f"{by_digest[corrected_digest].path} is superseded by {others} too"
                )
    replaced = [
        Problem(by_digest[digest].path, "", f"superseded by {rivals[0].path}", refused=False)
        for digest, rivals in corrections.items()
        if len(rivals) == 1
    ]
    gone = {problem.file for problem in replaced} | {problem.file for problem in refused.values()}
    return [entry for entry in entries if entry.path not in gone], [*refused.values(), *replaced]


def _subject(entry: Entry) -> tuple[str, str, int]:
    return entry.method.name, entry.dataset.name, entry.seed


def _refuse_duplicates(entries: list[Entry]) -> tuple[list[Entry], list[Problem]]:
    """Refuse every record of one configuration and seed, or of one id, that comes more than once.

    All of them: which of two contradicting records is right cannot be told from the records.
    """
    problems: dict[str, Problem] = {}
    keys: tuple[tuple[str, Callable[[Entry], Hashable]], ...] = (
        ("run_id", lambda entry: entry.run_id),
        ("seed", lambda entry: (entry.configuration, entry.seed)),
    )
    for field, key in keys:
        for members in _grouped(entries, key):
            for entry in members if len(members) > 1 else ():
                other = next(member for member in members if member is not entry)
                problems[entry.path] = Problem(
                    entry.path,
                    field,
                    f"{other.path} is of the same "
                    f"{'run' if field == 'run_id' else 'configuration and seed'}; a correction must supersede it",
                )
    return [entry for entry in entries if entry.path not in problems], list(problems.values())


def _exclude_own(entries: list[Entry]) -> tuple[list[Entry], list[Problem]]:
    """Set aside what :func:`~ncbench.leaderboard.intake.entry.inspect` found that does not count."""
    problems = [
        Problem(entry.path, entry.exclusion.field, entry.exclusion.reason, refused=False)
        for entry in entries
        if entry.exclusion is not None
    ]
    return [entry for entry in entries if entry.exclusion is None], problems


def _exclude_copies(entries: list[Entry]) -> tuple[list[Entry], list[Problem]]:
    """Exclude runs whose losses equal those of another seed to the last digit: they are not independent."""
    problems: dict[str, Problem] = {}
    for members in _grouped(
        [entry for entry in entries if entry.history is not None],
        lambda entry: (entry.dataset.spec, entry.method.name, entry.history),
    ):
        first = min(members, key=lambda entry: (entry.seed, entry.path))
        for entry in members:
            if entry.seed != first.seed:
                problems[entry.path] = Problem(
                    entry.path,
                    "history",
                    f"its losses equal those of {first.path}, another seed, to the last digit",
                    False,
                )
    return [entry for entry in entries if entry.path not in problems], list(problems.values())


def _exclude_incomparable(entries: list[Entry]) -> tuple[list[Entry], list[Problem]]:
    """Within each dataset spec, exclude what differs from the majority in the data or the metric it is judged by."""
    problems: list[Problem] = []
    kept: list[Entry] = []
    keys: tuple[tuple[str, Callable[[Entry], Hashable]], ...] = (
        ("dataset.plugin.distribution", lambda entry: entry.dataset.distribution),
        ("dataset.fingerprint", lambda entry: entry.fingerprint),
        ("groups", lambda entry: entry.totals),
        ("primary_metric", lambda entry: entry.primary_metric),
    )
    for members in _grouped(entries, lambda entry: entry.dataset.spec):
        remaining = members
        for field, key in keys:
            remaining, found = _majority(remaining, field, key, "of this dataset")
            problems += found
        kept += remaining
    return sorted(kept, key=lambda entry: entry.path), problems


def _exclude_other_defaults(entries: list[Entry]) -> tuple[list[Entry], list[Problem]]:
    """Within each configuration, exclude what ran when the default of a parameter was another."""
    problems: list[Problem] = []
    kept: list[Entry] = []
    for members in _grouped(entries, lambda entry: entry.configuration):
        remaining = members
        for kind, key in _differing(members):
            value = partial(_parameter, kind, key)
            remaining, found = _majority(remaining, f"{kind}.parameters.{key}", value, "of this row")
            problems += found
        kept += remaining
    return sorted(kept, key=lambda entry: entry.path), problems


def _differing(members: Sequence[Entry]) -> list[tuple[str, str]]:
    """Return (kind, key) of every parameter that all entries have, if the entries' parameters are not all the same."""
    first = members[0].parameters
    if all(entry.parameters == first for entry in members):  # by far the most often, and quick to see
        return []
    return [
        (kind, key)
        for kind in first
        for key in sorted(set.intersection(*(set(entry.parameters[kind]) for entry in members)))
    ]


def _parameter(kind: str, key: str, entry: Entry) -> str:
    return json.dumps(entry.parameters[kind][key], sort_keys=True)


def _majority(
    members: list[Entry], field: str, key: Callable[[Entry], Hashable], where: str
) -> tuple[list[Entry], list[Problem]]:
    """Keep the entries with the most common key, or none if two keys are."""
    votes = Counter(map(key, members)).most_common()
    if len(votes) < 2:
        return members, []
    (winner, number), (_, second) = votes[:2]
    if number == second:
        reason = f"the records {where} disagree, and neither side is in the majority"
        return [], [Problem(entry.path, field, reason, refused=False) for entry in members]
    reason = f"it differs from that of {number} other records {where}"
    others = [entry for entry in members if key(entry) != winner]
    kept = [entry for entry in members if key(entry) == winner]
    return kept, [Problem(entry.path, field, reason, refused=False) for entry in others]


def _grouped(entries: Iterable[Entry], key: Callable[[Entry], Hashable]) -> list[list[Entry]]:
    groups: defaultdict[Hashable, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[key(entry)].append(entry)
    return list(groups.values())
