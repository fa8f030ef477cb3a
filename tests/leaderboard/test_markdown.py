"""Whatever stands in a record is literal text on the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ncbench.leaderboard.build import build
from ncbench.records.markup import literal
from tests.leaderboard.records import SOMEBODY, make_record, named, place, place_all, seeds

HTML = MarkdownIt("commonmark", {"html": True}).enable("table")
HOSTILE = [
    "<script>alert(1)</script>",
    "a|b",
    "a\\|b",
    "`a` | b",
    "``",
    "[x](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "</code><img src=x onerror=alert(1)>",
    "&lt;script&gt;",
    "*a* _b_ ~~c~~ #1 @someone",
    "http://evil.example",
    " leading",
    "-->",
    "é ü 漢字",
]


def cells(text: str) -> list[str]:
    """Render a one-row table around a text and return the row's cells as HTML."""
    rendered = HTML.render(f"| a | b |\n| --- | --- |\n| {text} | end |\n")
    return re.findall(r"<td>(.*?)</td>", rendered, re.S)


def shown(html: str) -> str:
    """Return the text a browser shows for a cell that must be code and nothing else."""
    import html as entities

    match = re.fullmatch(r"<code>([^<>]*)</code>", html)
    assert match, html
    return entities.unescape(match.group(1))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_it_is(text: str) -> None:
    first, last = cells(literal(text))
    assert (shown(first), last) == (text, "end")


@given(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=40))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_any_printable_text_is_shown_as_it_is(text: str) -> None:
    first, last = cells(literal(text))
    assert (shown(first), last) == (text, "end")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_record_puts_no_markup_on_the_page(board: Path, text: str) -> None:
    records = seeds("mine", plugin={"distribution": text, "version": text})
    for record in records:
        value = "'" + text.replace("'", "''") + "'"
        if "," not in text and "=" not in text:
            record["method"]["spec"] = f"mine:note={value}"
            record["method"]["parameters"]["note"] = text
        named(record)
    place_all(board, records)
    place_all(board, seeds("mine", plugin=SOMEBODY, weight_decay=0.5))
    bad = make_record(seed=9)
    bad["metrics"]["test"][text] = "wrong"
    place(board, bad)
    (board / "results" / re.sub(r"[/\0]", "", text)).write_text("x")
    built = build(board)
    assert built.counted == 6, built.left_out
    page = HTML.render((board / "README.md").read_text())
    tags = set(re.findall(r"<(/?[a-z0-9]+)", page))
    assert tags <= {
        f"{end}{tag}"
        for end in ("", "/")
        for tag in (
            "h1",
            "h2",
            "h3",
            "p",
            "ul",
            "li",
            "strong",
            "code",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "a",
        )
    }
    own = ("suites", "../docs/leaderboard.md")
    assert all(link in own or link.startswith("results/") for link in re.findall(r'href="([^"]*)"', page))
