"""What a record says that repeats another one's run."""

from __future__ import annotations

from typing import Annotated

import pydantic
from pydantic import Field

from ncbench.data.files import Part, first_fault
from ncbench.leaderboard.intake.problems import RefusedError
from ncbench.records.record import Hash, Record

RERUN = "rerun"
"""Key of a record under which it names the one whose run it repeats."""

Author = Annotated[str, Field(min_length=1, max_length=200)]


class Claim(Part):
    """Whose run was made again, and by whom. Such a record is no further seed of a row, whatever else it holds.

    Authors are those that git has: a record has no other sign of who placed it, and ``check --base`` compares them with
    the history.

    Args:
        of: SHA-256 of the record whose run it repeats.
        by: Name of who made the rerun; None where git has none.
        submitter: Name of who committed the record that it repeats; None where git does not know.
    """

    of: Hash
    by: Author | None
    submitter: Author | None

    @property
    def independent(self) -> bool:
        """Whether somebody else made the rerun; what is not known is no."""
        if self.by is None or self.submitter is None:
            return False
        return _same(self.by) != _same(self.submitter)


def _same(name: str) -> str:
    return " ".join(name.casefold().split())


def read_claim(record: Record) -> Claim | None:
    """Return what a record says of the run that it repeats; None if it is of a run of its own.

    Raises:
        RefusedError: It says it in another form.
    """
    content = (record.model_extra or {}).get(RERUN)
    if content is None:
        return None
    try:
        claim = Claim.model_validate(content, strict=True)
    except pydantic.ValidationError as error:
        field, reason = first_fault(error)
        raise RefusedError(f"{RERUN}.{field}" if field else RERUN, reason) from None
    for field, name in (("by", claim.by), ("submitter", claim.submitter)):
        if name is not None and not name.isprintable():
            raise RefusedError(f"{RERUN}.{field}", f"{name!r} holds characters that do not print")
    return claim
