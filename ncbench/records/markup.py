"""Text from records, which may be anything, as Markdown, LaTeX and HTML that show it as it is."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from ncbench.contracts.errors import one_line

_HARMLESS = re.compile(r"[A-Za-z0-9_:=,.+()/ -]+")
_LATEX = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': "''",
        "[": "{[}",  # which the end of the row above would take for its option
        "*": "{*}",
        "±": r"$\pm$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
    }
)


def literal(text: str) -> str:
    """Return Markdown that shows a text as it is, in the font of code, inside a table or out of it.

    A backtick, pipe or backslash cannot be had in every table cell's code span, so a text with any unusual character
    is written in HTML's character references: they are text to every Markdown reader, never markup.
    """
    if not text:
        return ""
    if _HARMLESS.fullmatch(text) and text == text.strip():
        return f"`{text}`"
    escaped = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter == " ") else f"&#{ord(letter)};" for letter in text
    )
    return f"<code>{escaped}</code>"


def latex(text: str) -> str:
    """Return LaTeX that shows a text as it is, in one line, inside a table or out of it."""
    return one_line(text).translate(_LATEX)


def html_table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in HTML, as notebooks show it."""

    def line(tag: str, cells: Sequence[str]) -> str:
        return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

    body = "".join(line("td", row) for row in rows)
    return f"<table><caption>{html.escape(caption)}</caption>{line('th', headings)}{body}</table>"
