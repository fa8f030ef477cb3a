"""What can only be told from several records: corrections, duplicates, copies, and runs that do not compare."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial

from ncbench.leaderboard.intake.entry import Entry, grouped
from ncbench.leaderboard.intake.problems import Problem


def select_counting(entries: Iterable[Entry]) -> tuple[list[Entry], list[Problem]]:
    """Select the entries that count.

    Args:
        entries: Every valid record of the archive, in any order.

    Returns:
        The entries that count, by path, and one problem or more for each other one.
    """
    counting = sorted(entries, key=lambda entry: entry.path)
    problems: list[Problem] = []
    for rule in _RULES:
        found = list(rule(counting))
        counting = _without(counting, found)
        problems += found
    return counting, problems


def _without(entries: Iterable[Entry], problems: Iterable[Problem]) -> list[Entry]:
    gone = {problem.file for problem in problems}
    return [entry for entry in entries if entry.path not in gone]


def _corrections(entries: Sequence[Entry]) -> Iterator[Problem]:
    """Replace every record that a later one supersedes."""
    by_digest = {entry.digest: entry for entry in entries}
    corrections: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.supersedes is None:
            continue
        corrected = by_digest.get(entry.supersedes)
        if corrected is None:
            yield Problem(entry.path, "supersedes", f"there is no valid record {entry.supersedes}")
        elif _subject(corrected) != _subject(entry):
            yield Problem(entry.path, "supersedes", f"{corrected.path} is of another method, dataset or seed")
        else:
            corrections[corrected.digest].append(entry)
    for digest, rivals in corrections.items():
        path = by_digest[digest].path
        if len(rivals) == 1:
            yield Problem(path, "", f"superseded by {rivals[0].path}", refused=False)
            continue
        for rival in rivals:
            others = ", ".join(other.path for other in rivals if other is not rival)
            yield Problem(rival.path, "supersedes", f"{path} is superseded by {others} too")


def _subject(entry: Entry) -> tuple[str, str, int]:
    return entry.record.method.name, entry.record.dataset.name, entry.record.seed


def _duplicates(entries: Sequence[Entry]) -> Iterator[Problem]:
    """Refuse every record of one configuration and seed, or of one id, that comes more than once.

    All of them: which of two contradicting records is right cannot be told from the records.
    """
    named = set()
    keys: tuple[tuple[str, str, Callable[[Entry], Hashable]], ...] = (
        ("seed", "configuration and seed", lambda entry: (entry.configuration, entry.record.seed)),
        ("run_id", "run", lambda entry: entry.record.run_id),
    )
    for field, what, key in keys:
        for members in grouped(entries, key).values():
            for entry in members if len(members) > 1 else ():
                if entry.path not in named:
                    named.add(entry.path)
                    other = next(member for member in members if member is not entry)
                    reason = f"{other.path} is of the same {what}; a correction must supersede it"
                    yield Problem(entry.path, field, reason)


def _incomplete(entries: Sequence[Entry]) -> Iterator[Problem]:
    """Exclude what, by :func:`~ncbench.leaderboard.intake.entry.inspect`, does not count whatever else there is."""
    return (entry.exclusion for entry in entries if entry.exclusion is not None)


def _copies(entries: Sequence[Entry]) -> Iterator[Problem]:
    """Exclude runs whose losses equal those of another seed to the last digit: they are not independent."""
    with_losses = [entry for entry in entries if entry.losses is not None]
    for members in grouped(with_losses, lambda entry: (_subject(entry)[0], _dataset(entry), entry.losses)).values():
        first = min(members, key=lambda entry: (entry.record.seed, entry.path))
        for entry in members:
            if entry.record.seed != first.record.seed:
                reason = f"its losses equal those of {first.path}, another seed, to the last digit"
                yield Problem(entry.path, "history", reason, refused=False)


def _dataset(entry: Entry) -> str:
    return entry.record.dataset.spec


def _differing(field: str, key: Callable[[Entry], Hashable]) -> Callable[[Sequence[Entry]], Iterator[Problem]]:
    """Return the rule that excludes, within a dataset, what differs from the majority in a field."""

    def rule(entries: Sequence[Entry]) -> Iterator[Problem]:
        for members in grouped(entries, _dataset).values():
            yield from _minority(members, field, key, "of this dataset")

    return rule


def _other_defaults(entries: Sequence[Entry]) -> Iterator[Problem]:
    """Within each configuration, exclude what ran when the default of a parameter was another."""
    for members in grouped(entries, lambda entry: entry.configuration).values():
        for kind in ("method", "dataset", "backbone"):
            parameters = [getattr(entry.record, kind).parameters for entry in members]
            if all(other == parameters[0] for other in parameters):  # by far the most often, and quick to see
                continue
            for key in sorted(set.intersection(*map(set, parameters))):
                value = partial(_parameter, kind, key)
                found = list(_minority(members, f"{kind}.parameters.{key}", value, "of this row"))
                members = _without(members, found)
                yield from found


def _parameter(kind: str, key: str, entry: Entry) -> str:
    return json.dumps(getattr(entry.record, kind).parameters[key], sort_keys=True)


def _minority(members: Sequence[Entry], field: str, key: Callable[[Entry], Hashable], where: str) -> Iterator[Problem]:
    """Yield a problem for every entry without the most common key, or for all of them if two keys are."""
    votes = Counter(map(key, members)).most_common(2)
    if len(votes) < 2:
        return
    (winner, number), (_, second) = votes
    reason = f"it differs from that of {number} other records {where}"
    if number == second:
        reason = f"the records {where} disagree, and neither side is in the majority"
    for entry in members:
        if number == second or key(entry) != winner:
            yield Problem(entry.path, field, reason, refused=False)


_RULES: tuple[Callable[[Sequence[Entry]], Iterator[Problem]], ...] = (
    _corrections,
    _duplicates,
    _incomplete,
    _copies,
    _differing("dataset.plugin.distribution", lambda entry: entry.record.dataset.plugin.distribution),
    _differing("dataset.fingerprint", lambda entry: entry.record.dataset.fingerprint),
    _differing("groups", lambda entry: entry.totals),
    _differing("primary_metric", lambda entry: entry.record.primary_metric),
    _other_defaults,
)
