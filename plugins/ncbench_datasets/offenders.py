"""How errors name what is wrong: the first offenders, and how many more there are."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 20


def named(offenders: Sequence[str]) -> str:
    """Return the first 20 offenders in one line, and the number of the others."""
    shown = "; ".join(offenders[:_SHOWN])
    return shown if len(offenders) <= _SHOWN else f"{shown}; and {len(offenders) - _SHOWN} more"
