"""Where text for people goes: no wider than a terminal, and in one piece elsewhere."""

from __future__ import annotations

import os
import sys

from rich.console import Console

_UNLIMITED = 10_000  # a pipe or a file has no width at which lines would have to be broken


def text_console() -> Console:
    """Return a console on standard output, as wide as the terminal or as ``COLUMNS`` says."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _UNLIMITED)
