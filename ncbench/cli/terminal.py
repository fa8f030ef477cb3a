"""Where text for people goes: no wider than a terminal, and in one piece elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

_UNLIMITED = 10_000  # a pipe or a file has no width at which lines would have to be broken


def text_width() -> int:
    """Return the columns of standard output: those of the terminal, or what ``COLUMNS`` says."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() or "COLUMNS" in os.environ else _UNLIMITED


def wrapped(line: str, indent: int = 0) -> str:
    """Return a line as several that fit the terminal, the later ones indented; no name is broken."""
    return textwrap.fill(
        line,
        text_width(),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def text_console() -> Console:
    """Return a console on standard output of that width, which prints text as it is."""
    from rich.console import Console  # here, since ncbench list needs the width alone and is to be fast

    return Console(width=text_width(), markup=False, highlight=False)


def tell(line: str) -> None:
    """Print a line on standard error."""
    click.echo(line, err=True)
