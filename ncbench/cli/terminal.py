"""Where text for people goes: streams that take every text, and lines no wider than a terminal."""

from __future__ import annotations

import codecs
import contextlib
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import click

from ncbench.contracts.errors import NcbenchError, one_line

if TYPE_CHECKING:
    from rich.console import Console

_UNLIMITED = 10_000  # a pipe or a file has no width at which lines would have to be broken
_ESCAPE = "ncbench.escape"


@contextlib.contextmanager
def sound_streams() -> Iterator[None]:
    """Let standard output and standard error take every text for as long as the context is open.

    What their encoding lacks is written as ``\\u03bc``, and a file's name that is no text as the bytes it consists of.
    One that is closed, as for a service, leads nowhere. What cannot be written to standard output is an error, since
    somebody wants it; standard error falls silent, since no run should end because nobody listens to it any more.
    """
    # Else the next files to be opened would be taken for the streams.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    codecs.register_error(_ESCAPE, _escape)
    before = sys.stdout, sys.stderr
    sys.stdout = cast("TextIO", _Stream(_opened(sys.stdout, 1), wanted=True))
    sys.stderr = cast("TextIO", _Stream(_opened(sys.stderr, 2), wanted=False))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _opened(stream: TextIO | None, descriptor: int) -> TextIO:
    """Return a stream in which no text is an error; None, as Python has a closed one, leads nowhere."""
    if stream is None:
        return os.fdopen(descriptor, "w", encoding="utf-8", errors=_ESCAPE, closefd=False)
    if reconfigure := getattr(stream, "reconfigure", None):  # a stream that a test has put there may have none
        reconfigure(errors=_ESCAPE)
    return stream


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter = error.object[error.start]
    if "\udc80" <= letter <= "\udcff":  # how Python has a byte of a file's name that is no text
        return bytes([ord(letter) - 0xDC00]), error.start + 1
    return letter.encode("ascii", "backslashreplace").decode(), error.start + 1


class _Stream:
    """A stream whose failures are one error, time and again, or none."""

    def __init__(self, stream: TextIO, wanted: bool) -> None:
        self._stream = stream
        self._wanted = wanted
        self._failure: OSError | None = None

    def write(self, text: str) -> int:
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # through which click writes UTF-8 where the encoding is ASCII
            raise AttributeError(name)
        return getattr(self._stream, name)

    def _attempt(self, action: Callable[[], object]) -> None:
        if self._failure is None:
            try:
                action()
            except OSError as error:
                self._failure = error
                # What is left in the buffer would fail again when Python ends.
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
        if self._failure is None or not self._wanted:
            return
        if isinstance(self._failure, BrokenPipeError):
            raise self._failure
        raise NcbenchError(f"Standard output cannot be written to ({self._failure.strerror}).") from self._failure


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


def text_console(*, stderr: bool = False) -> Console:
    """Return a console of that width, on standard output unless said otherwise, which prints every text as it is.

    There is no other: to a console that reads markup, ``runs[red]`` and ``runs:key:`` are not names of folders.
    """
    from rich.console import Console  # here, since ncbench list needs the width alone and is to be fast

    return Console(stderr=stderr, width=None if stderr else text_width(), markup=False, emoji=False, highlight=False)


def tell(line: str) -> None:
    """Print a line on standard error; names of files in it that hold a line break do not break it."""
    click.echo(one_line(line), err=True)


def show(line: str) -> None:
    """Print a line on standard output, as :func:`tell`."""
    click.echo(one_line(line))


def download_progress() -> Callable[[str, int, int], None]:
    """Return a display of downloads: a line a tenth of each file."""
    shown: dict[str, int] = {}

    def display(path: str, here: int, size: int) -> None:
        tenth = 10 * here // max(size, 1)
        if shown.get(path) != tenth:
            shown[path] = tenth
            tell(f"  {Path(path).name}: {megabytes(here)} of {megabytes(size)}")

    return display


def megabytes(number: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{number / 1e6:.1f} MB"
