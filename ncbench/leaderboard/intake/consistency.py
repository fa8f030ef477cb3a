"""What can only be told from several records: corrections, the same run twice, copies, and runs that do not compare.

Records are taken in the order in which they were placed, and one that counts stands until who placed it corrects it:
nothing that comes later can put it out, and nothing that does not count itself has any say.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ncbench.leaderboard.intake.canonical import canonical, content_hash
from ncbench.leaderboard.intake.entry import Entry, grouped
from ncbench.leaderboard.intake.git_base import Provenance
from ncbench.leaderboard.intake.problems import Problem


def select_counting(entries: Iterable[Entry], provenance: Provenance) -> tuple[list[Entry], list[Problem]]:
    """Select the entries that count.

    Args:
        entries: Every valid record of the archive, in any order.
        provenance: Who placed them, and in which order.

    Returns:
        The entries that count, by path, and one problem for each other one.
    """
    by_path = sorted(entries, key=lambda entry: entry.path)
    problems = [entry.exclusion for entry in by_path if entry.exclusion is not None]
    candidates = [entry for entry in by_path if entry.exclusion is None]
    if _contend(candidates):
        # Of those that came together, as all do where git knows nothing, the ones that correct others come last.
        candidates.sort(key=lambda entry: (provenance.order(entry.path)[:-1], bool(entry.supersedes), entry.path))
    digests = {entry.digest: entry for entry in by_path}
    counting = _Counting(digests, provenance)
    for entry in candidates:
        for member in reversed([*_corrected(entry, digests)]):  # what a record corrects goes first
            counting.take(member)
    problems += counting.problems
    return sorted(_parted([*counting.entries.values()], provenance), key=lambda entry: entry.path), problems


def _contend(entries: Sequence[Entry]) -> bool:
    """Whether it matters which of the entries came first."""
    runs = {_run(entry) for entry in entries}
    trainings = {_training(entry) for entry in entries}
    return len(runs) < len(entries) or len(trainings) < len(entries) or any(entry.supersedes for entry in entries)


def _corrected(entry: Entry | None, digests: Mapping[str, Entry]) -> Iterator[Entry]:
    """Yield an entry, the one that it supersedes, the one that that does, and so on."""
    while entry is not None and entry.exclusion is None:
        yield entry
        entry = digests.get(entry.supersedes or "")


def _run(entry: Entry) -> Hashable:
    return entry.configuration, entry.record.seed


def _training(entry: Entry) -> Hashable:
    groups = entry.record.groups_from  # of which two may be the same, as eiil and errors of two classes
    return entry.record.method.name, groups and groups.spec, entry.record.dataset.spec, entry.training


def _subject(entry: Entry) -> Hashable:
    return entry.record.method.name, entry.record.dataset.name, entry.record.seed


class _Counting:
    """The entries that count so far.

    Attributes:
        entries: By digest.
        problems: Of those that were taken and do not count.
    """

    def __init__(self, digests: Mapping[str, Entry], provenance: Provenance) -> None:
        self.entries: dict[str, Entry] = {}
        self.problems: list[Problem] = []
        self._digests = digests
        self._provenance = provenance
        self._taken: set[str] = set()
        self._corrections: dict[str, Entry] = {}
        self._runs: dict[Hashable, Entry] = {}
        self._trainings: dict[Hashable, Entry] = {}

    def take(self, entry: Entry) -> None:
        """Count an entry, in the place of the one that it corrects, or note why not."""
        if entry.digest in self._taken:
            return
        self._taken.add(entry.digest)
        corrected = None if entry.supersedes is None else self._digests.get(entry.supersedes)
        refused = self._refused(entry, corrected)
        if refused is not None:
            self.problems.append(Problem(entry.path, *refused))
            return
        if corrected is not None and self.entries.pop(corrected.digest, None) is not None:
            for known, key in ((self._runs, _run(corrected)), (self._trainings, _training(corrected))):
                if known.get(key) is corrected:
                    del known[key]
            self.problems.append(Problem(corrected.path, "", f"superseded by {entry.path}", refused=False))
        if corrected is not None:
            self._corrections[corrected.digest] = entry
        self.entries[entry.digest] = entry
        self._runs[_run(entry)] = entry
        self._trainings.setdefault(_training(entry), entry)

    def _refused(self, entry: Entry, corrected: Entry | None) -> tuple[str, str] | None:
        """Return why an entry cannot count beside those that do, as field and reason."""
        if entry.supersedes is not None:
            if corrected is None:
                return "supersedes", f"there is no valid record {entry.supersedes}"
            if _subject(corrected) != _subject(entry):
                return "supersedes", f"{corrected.path} is of another method, dataset or seed"
            rival = self._corrections.get(corrected.digest)
            if rival is not None:
                return "supersedes", f"{corrected.path} is superseded by {rival.path} already"
            known = (self._provenance.author(path) for path in (corrected.path, entry.path))
            authors = {author.email.casefold() for author in known if author is not None}
            if corrected.digest in self.entries and len(authors) > 1:
                return "supersedes", f"{corrected.path} was placed by somebody else, who alone may correct it"
        rival = self._runs.get(_run(entry))
        if rival is not None and rival is not corrected:
            return "seed", f"{rival.path} is of the same configuration and seed; a correction must supersede it"
        rival = self._trainings.get(_training(entry))
        if rival is not None and rival is not corrected and rival.record.seed != entry.record.seed:
            what = "its losses, or without epochs its counts and metrics,"
            return "history", f"{what} equal those of {rival.path}, another seed, to the last digit"
        return None


def _parted(entries: Sequence[Entry], provenance: Provenance) -> Iterator[Entry]:
    """Make rows of their own of what ran when the default of a parameter was another, and note it there.

    The parameters that only some of the records know are those that later versions added; they part no rows.
    """
    for members in grouped(entries, lambda entry: entry.configuration).values():
        parameters = [_parameters(entry) for entry in members]
        if all(other == parameters[0] for other in parameters):  # by far the most often, and quick to see
            yield from members
            continue
        rows: list[dict[str, Any]] = []
        for entry in sorted(members, key=lambda entry: provenance.order(entry.path)):
            own = _parameters(entry)
            row = next((row for row in rows if not _differing(own, row)), None)
            if row is None:
                rows.append(row := own)
            yield entry if row is rows[0] else _set_apart(entry, _differing(row, rows[0]))


def _parameters(entry: Entry) -> dict[str, Any]:
    """Return every parameter of a record by its place in it."""
    return {
        f"{kind}.parameters.{key}": value
        for kind in ("method", "dataset", "backbone")
        for key, value in getattr(entry.record, kind).parameters.items()
    }


def _differing(own: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, str]:
    """Return the values that both have and that differ: of `own`, as JSON, by their place."""
    texts = {key: (_text(own[key]), _text(other[key])) for key in own if key in other}
    return {key: text for key, (text, before) in texts.items() if text != before}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _set_apart(entry: Entry, differing: Mapping[str, str]) -> Entry:
    stated = ", ".join(f"{key} is {value}" for key, value in sorted(differing.items()))
    note = f"{stated}, by another default than in the other row of this configuration"
    return dataclasses.replace(
        entry,
        configuration=content_hash(canonical([entry.configuration, differing])),
        note="; ".join(filter(None, (entry.note, note))),
    )
