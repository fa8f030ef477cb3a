"""What a dataset's page says once of all rows of its table, and what is left to say of each."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ncbench.leaderboard.intake.entry import Entry
from ncbench.leaderboard.tables.board import DatasetTable, Row
from ncbench.leaderboard.tables.remarks import assigned, is_frozen, length, set_by_hand, settings, source

ONLY_BASE = "the settings that all rows share are that run's"
"""What is said of a row that trains a second time, or not at all."""

UNSAID = "its records do not say where its settings come from"
"""What is said of a row that has no source, beside others that have one."""


@dataclass(frozen=True)
class Remarks:
    """The remarks of a table.

    Args:
        frozen: Whether the backbone of every row is frozen.
        of_all: What else holds of every row.
        usual: Where the settings of a row come from that says nothing else; empty if that is nowhere said.
        given: What whoever ran them set in every row or in the run that it builds on, as ``KEY=value``.
        partly: Whether a row has some of that only in the run that it builds on.
        of: Id of a row -> what else is to be said of it.
    """

    frozen: bool
    of_all: Sequence[str]
    usual: str
    given: Sequence[str]
    partly: bool
    of: Mapping[str, Sequence[str]]


def parted(table: DatasetTable, entries: Mapping[str, Entry]) -> Remarks:
    """Part what all rows of a table share from what they do not.

    Epochs are left out, which have a column.

    Args:
        table: The dataset's.
        entries: Path of a record -> the record.
    """
    rows = [row for section in table.sections for row in section.rows]
    runs = {row.id: [entries[run.record] for run in row.runs] for row in rows}
    sources = {key: sorted({source(run.record) for run in members} - {""}) for key, members in runs.items()}
    given = {
        key: list(dict.fromkeys(name for run in members for name in assigned(set_by_hand(run.record))))
        for key, members in runs.items()
    }
    flags = {
        row.id: [flag for flag in row.flags if flag not in (*length(runs[row.id]), *settings(runs[row.id]))]
        for row in rows
    }
    several = len(rows) > 1
    usual = ""
    if several and all(sources.values()):
        usual = Counter(text for texts in sources.values() for text in texts).most_common(1)[0][0]
    given_all = _shared({key: list(map(_anywhere, names)) for key, names in given.items()}) if several else []
    flags_all = _shared(flags) if several else []
    of_base = {
        key
        for key, names in given.items()
        if any(_anywhere(name) in given_all and name not in given_all for name in names)
    }

    alike = _alike(rows)

    def left(key: str) -> list[str]:
        own = [name for name in given[key] if _anywhere(name) not in given_all]
        return [
            *(flag for flag in flags[key] if flag not in flags_all),
            *(text for text in sources[key] if text != usual),
            *([UNSAID] if not sources[key] and any(sources.values()) else []),
            *([ONLY_BASE] if key in of_base else []),
            *([f"set by whoever ran it: {', '.join(own)}"] if own else []),
            *(
                f"equal to {other.label} in every number, seed by seed"
                + (
                    ", on the same inferred groups"
                    if _groups(runs[key]) and _groups(runs[key]) == _groups(runs[other.id])
                    else ""
                )
                for other in alike[key]
            ),
        ]

    frozen = all(is_frozen(run.record) for members in runs.values() for run in members)
    return Remarks(frozen, flags_all, usual, given_all, bool(of_base), {row.id: left(row.id) for row in rows})


def _groups(runs: Sequence[Entry]) -> set[tuple[int, str]]:
    """Return the digests of the inferred groups of a row, by seed."""
    return {(run.record.seed, run.record.groups_from.digest) for run in runs if run.record.groups_from is not None}


def _alike(rows: Sequence[Row]) -> Mapping[str, Sequence[Row]]:
    """Return the other rows that have the same numbers on the same seeds: id of a row -> these."""
    found: defaultdict[object, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.numbers].append(row)
    return {row.id: [other for other in found[row.numbers] if other.id != row.id] for row in rows}


def _anywhere(setting: str) -> str:
    """Return a setting without whose it is, the row's or that of a run that it builds on."""
    return setting.rpartition("recipe.")[2]


def _shared(texts: Mapping[str, Sequence[str]]) -> list[str]:
    """Return those that every row has, in the order of the first row."""
    first, *others = texts.values()
    return [text for text in first if all(text in other for other in others)]
