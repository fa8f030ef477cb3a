"""How the pages name metrics, numbers and labels, as the board describes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ncbench.contracts.errors import counted
from ncbench.leaderboard.tables.board import Board, Comparable, Estimate, Row, Section

INTERVAL = "± is half the 95% interval of the mean over seeds (Student's t), not a standard deviation"
"""What stands below a table with intervals: a paper's ± is mostly something else."""


WORTH = (
    "A record is its submitter's word: checks find one that contradicts itself, and none can tell whether it was ever "
    'run. A number that somebody else has made again is more than that; the tables call it "reproduced".'
)
"""What a reader has to know before the numbers."""


VERDICTS = {
    "agrees": "agrees",
    "differs": "is farther from the record than the seeds are from one another",
    "undecided": "is not the same, and there are too few seeds to tell whether that is much",
}
"""What is said of the number of a rerun."""


def reproduction(row: Row) -> str:
    """Return how many seeds somebody else has reproduced, how many the submitter, and how many reruns do not agree."""
    others = {rerun.seed for rerun in row.reruns if rerun.independent and rerun.verdict == "agrees"}
    own = {rerun.seed for rerun in row.reruns if not rerun.independent and rerun.verdict == "agrees"} - others
    wrong = sum(rerun.verdict in ("differs", "diverged") for rerun in row.reruns)
    beside = [f"{len(own)} own"] if own else []
    beside += [f"{wrong} {'does' if wrong == 1 else 'do'} not agree"] if wrong else []
    return f"{row.reproduced} ({'; '.join(beside)})" if beside else str(row.reproduced)


def reruns_beside(board: Board) -> str:
    """Return how many records are reruns, to follow the number of those that count; empty if none is."""
    return (
        f" ({board.reruns} more {'repeats one' if board.reruns == 1 else 'repeat one'} of them)" if board.reruns else ""
    )


def standing(board: Board) -> str:
    """Return how much of a board is more than a word, and where its rows' settings come from."""
    sections = [section for table in board.datasets for section in table.sections]
    rows = [row for section in sections for row in section.rows]
    searched = sum(len(section.rows) for section in sections if section.searched)
    tuned = sum(bool(row.tuned_on_test) for row in rows)
    return (
        f"So far {sum(row.reproduced for row in rows)} of {counted(board.counted, 'run')} are reproduced. Of "
        f"{counted(len(rows), 'row')}, {searched} have settings that a search by validation images chose, and {tuned} "
        "some that were chosen by looking at test results: these do not rank, and say so. All others have published or "
        "default settings, but for what their table, or the row itself, says was set."
    )


class Wording:
    """The words and digits of a board's metrics.

    Args:
        board: Describes every metric that its rows hold.
    """

    def __init__(self, board: Board) -> None:
        self.measures = {measure.name: measure for measure in board.measures}

    def heading(self, name: str) -> str:
        """Return the heading of a metric's column: an arrow where lower is better, and whether it is only stated."""
        measure = self.measures[name]
        down = " ↓" if measure.better == "lower" else ""
        return f"{measure.heading}{down}{'' if measure.recomputed else ' (stated)'}"

    def shown(self, value: float, name: str, signed: bool = False) -> str:
        """Return a value of a metric as it is shown: a fraction in per cent, anything else as it is."""
        measure = self.measures[name]
        digits = ".4g" if measure.decimals is None else f".{measure.decimals}f"
        return f"{self.factor(name) * value:{'+' if signed else ''}{digits}}"

    def factor(self, name: str) -> int:
        """Return by what values of a metric are multiplied to be shown."""
        return 100 if self.measures[name].unit == "fraction" else 1

    def margin(self, estimate: Estimate, name: str) -> str:
        """Return half the width of an estimate's interval as it is shown; empty without one."""
        if estimate.low is None or estimate.high is None:
            return ""
        return self.shown((estimate.high - estimate.low) / 2, name)

    def estimate(self, estimate: Estimate, name: str, signed: bool = False) -> str:
        """Return a mean, and half the width of its interval if it has one."""
        margin = self.margin(estimate, name)
        return self.shown(estimate.mean, name, signed) + (f" ± {margin}" if margin else "")

    def columns(self, sections: Iterable[Section]) -> list[str]:
        """Return the metrics that any row of some sections has, in the order they are shown."""
        found = {name for section in sections for row in section.rows for name in row.metrics}
        return [name for name in self.measures if name in found]


def labels(group: Comparable) -> str:
    """Return which labels beyond the target a group of rows used, in a few words."""
    splits = " and ".join(split for split in ("train", "val") if getattr(group, split) == "bias")
    used = [*([f"bias labels of {splits}"] if splits else []), *(["hierarchy"] if group.hierarchy else [])]
    return ", ".join(used) or "targets alone"


def rule(group: Comparable) -> str:
    """Return what chose the epoch of a group of rows, and its settings if a search did."""
    return f"{group.selection}; settings {group.searched}" if group.searched else group.selection


def epoch(group: Comparable, quoted: Callable[[str], str] = str) -> str:
    """Return of which epoch the metrics of a group of rows are, to go on with a sentence."""
    return "the last epoch" if group.selection == "last" else f"the epoch chosen by {quoted(group.selection)}"


def labels_used(group: Comparable) -> str:
    """Return which labels beyond the target a group of rows used, and what chose settings, to begin a sentence."""
    used = [f"bias labels of {split} images" for split in ("train", "val") if getattr(group, split) == "bias"]
    used += ["the class hierarchy"] if group.hierarchy else []
    said = f"Using {' and '.join(used)}" if used else "Using targets alone"
    return f"{said}; settings {group.searched}" if group.searched else said


def data_version(version: str | None, todays: str | None) -> str:
    """Return which version the data of a table are of, and which one replaced it, as the end of a phrase."""
    if version is None:
        return ""
    return f", version {version}" + (f", which version {todays} has replaced" if todays not in (None, version) else "")


def interval_note(sections: Iterable[Section]) -> str:
    """Return what ± means in the tables of some sections; empty if no row has an interval."""
    estimates = (estimate for section in sections for row in section.rows for estimate in row.metrics.values())
    return INTERVAL if any(estimate.low is not None for estimate in estimates) else ""
