"""What is wrong with a record: which file, which field, and why."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ConfigDict

from ncbench.contracts.errors import NcbenchError

LONGEST = 300
"""Characters of a stranger's text that are shown."""


class RefusedError(NcbenchError):
    """A record that cannot get in.

    Args:
        field: Where in the record, as a dotted path; empty if it is the whole.
        reason: One sentence without a full stop.
    """

    def __init__(self, field: str, reason: str) -> None:
        self.field = plain(field)
        self.reason = plain(reason)
        super().__init__(f"{self.field or 'the whole'}: {self.reason}")


@dataclass(frozen=True, order=True)
class Problem:
    """A file that does not count, and why.

    Args:
        file: Path relative to the leaderboard folder.
        field: Where in the record; empty if it is the whole.
        reason: One sentence without a full stop.
        refused: Whether the file is wrong by itself, so that a check fails; else it is a valid record that cannot be
            compared with the others.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # it is a part of the board

    file: str
    field: str
    reason: str
    refused: bool = True

    def __str__(self) -> str:
        return f"{self.file}: {self.field or 'the whole'}: {self.reason}."


def plain(text: str) -> str:
    """Return text that is safe on a terminal and in UTF-8: one line, control characters escaped, cut if long."""
    shown = text[: LONGEST + 1]
    if not shown.isprintable():
        shown = "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode()
            for letter in shown
        )
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"
