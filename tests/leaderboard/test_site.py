"""The pages as files: complete, linked, free of markup from records and of anything a browser would fetch."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from ncbench.discovery.registry import registry
from ncbench.leaderboard.build import build
from ncbench.leaderboard.pages.site import dataset_page
from ncbench.leaderboard.pages.wording import INTERVAL
from ncbench.leaderboard.tables.board import Board, DatasetTable
from tests.leaderboard.conftest import HOSTILE
from tests.leaderboard.records import SOMEBODY, TEST, TRAIN, accuracies, dataset_pages, place_all, seeds

MANIFESTS = Path(__file__).parents[2] / "datasets_manifest"
TAGS = frozenset(
    (
        *(
            "html",
            "head",
            "meta",
            "title",
            "link",
            "script",
            "body",
            "header",
            "main",
            "footer",
            "nav",
            "section",
            "div",
        ),
        *(
            "img",
            "noscript",
            "div",
            "h1",
            "h2",
            "h3",
            "p",
            "a",
            "b",
            "span",
            "code",
            "abbr",
            "wbr",
            "ul",
            "li",
            "dl",
            "dt",
            "dd",
        ),
        *("details", "summary", "button", "figure", "figcaption"),
        *("table", "thead", "tbody", "tfoot", "tr", "th", "td"),
    )
)
ATTRIBUTES = frozenset(
    (
        *("lang", "charset", "http-equiv", "content", "name", "rel", "href", "src", "class", "id", "type", "hidden"),
        *("role", "tabindex", "title", "scope", "defer", "alt", "loading"),
    )
)


def trusted() -> str:
    """Return what ncbench's own cards and manifests say: all links that lead out of the pages are in it."""
    cards = [registry().find("methods", name).card.citation for name in registry().names("methods")]
    return "\n".join([*cards, *(path.read_text() for path in MANIFESTS.glob("*.yaml"))])


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self._in_script = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._in_script = tag == "script"
        for name, value in attrs:
            self.attributes.add(name)
            if name in {"href", "src"}:
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        (self.scripts if self._in_script else self.text).append(data)


def pages(board: Path) -> dict[str, Page]:
    site = board / "site"
    return {path.relative_to(site).as_posix(): Page(path) for path in sorted(site.rglob("*.html"))}


def test_there_is_an_index_and_a_page_for_every_method_with_a_row(varied: Path) -> None:
    methods = {"erm", "jtt", "lff", "focal", "mine", "group_dro", "evil"}
    found = {name for name in pages(varied) if not name.startswith("datasets/")}
    assert found == {"index.html", *(f"methods/{name}.html" for name in methods)}
    opened = [path.read_text() for path in (varied / "site/datasets").iterdir()]
    headings = [re.search(r"<h1>\s*<code>([^<]*)</code>", page) for page in opened]
    assert {heading[1] for heading in headings if heading} == {"data0", "data1", "data2", "data3", "toy"}


def test_markup_is_ours_alone(varied: Path) -> None:
    found = pages(varied)
    for page in found.values():
        assert page.tags <= TAGS
        assert {name for name in page.attributes if not name.startswith(("aria-", "data-"))} <= ATTRIBUTES
        for text in filter(None, page.scripts):
            assert json.loads(text)["kind"] in {"curves", "rows", "ranks"}
            assert "<" not in text
        assert len(page.ids) == len(set(page.ids))
    hostile = [name for name, page in found.items() if HOSTILE in "".join(page.text)]
    assert {"index.html", "methods/evil.html"} < set(hostile)
    assert any(name.startswith("datasets/toy") for name in hostile)


def test_every_page_forbids_what_it_does_not_need(varied: Path) -> None:
    for path in (varied / "site").rglob("*.html"):
        text = path.read_text()
        head = text[: text.index("<link")]
        policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', head)
        assert policy
        assert policy.group(1).split("; ") == [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
        ]


def test_every_link_leads_to_a_file_and_a_place_in_it(varied: Path) -> None:
    found, words = {page.path.resolve(): page for page in pages(varied).values()}, trusted()
    for page in found.values():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                assert link in words
                continue
            assert not parts.netloc
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path.resolve()
            assert target.is_file(), link
            assert target.is_relative_to(varied.resolve())
            if parts.fragment:
                assert parts.fragment in found[target].ids, link


def test_every_record_that_counts_is_linked_from_its_dataset_and_from_its_method(varied: Path) -> None:
    built = Board.model_validate_json((varied / "leaderboard.json").read_bytes())
    found = pages(varied)
    for table in built.datasets:
        for section in table.sections:
            for row in section.rows:
                for run in row.runs:
                    assert f"../../{run.record}" in found[f"datasets/{dataset_page(table)}.html"].links
                    assert f"../../{run.record}" in found[f"methods/{row.method.name}.html"].links


def test_every_number_of_a_row_is_on_the_pages(varied: Path) -> None:
    built = json.loads((varied / "leaderboard.json").read_text())
    for table in built["datasets"]:
        index = (varied / "site" / "datasets" / f"{dataset_page(DatasetTable.model_validate(table))}.html").read_text()
        for section in table["sections"]:
            for row in section["rows"]:
                page = (varied / "site" / "methods" / f"{row['method']['name']}.html").read_text()
                for estimate in row["metrics"].values():
                    assert f">{100 * estimate['mean']:.2f}<" in index
                for run in row["runs"]:
                    for value in run["metrics"].values():
                        assert f">{100 * value:.2f}<" in page


def test_curves_and_the_diagram_are_drawn(varied: Path) -> None:
    text = (varied / "site" / "methods" / "erm.html").read_text()
    assert text.count("<figure") == 4 * 4
    assert '"stages": [2]' in text
    index = (varied / "site" / "index.html").read_text()
    assert index.count('<figure class="chart ranks"') == 1
    assert dataset_pages(varied).count('<figure class="chart rows"') == 5
    assert "Friedman's test of 5 methods on 4 independent datasets" in index


def test_a_method_has_a_card_and_its_rows_say_what_they_cost_and_how_to_make_them_again(varied: Path) -> None:
    text = html.unescape((varied / "site" / "methods" / "lff.html").read_text())
    assert '<a href="https://arxiv.org/abs/2007.02561">' in text
    assert "<code>ncbench_methods.two_networks.lff:LfF</code>" in text
    assert text.count("ncbench leaderboard rerun ") == text.count("Training took 1.5 seconds on cpu") == 4
    theirs = html.unescape((varied / "site" / "methods" / "evil.html").read_text())
    assert f"<dt><code>evil.note</code></dt><dd>{HOSTILE}</dd>" in theirs


def test_what_is_left_out_is_listed_with_its_reason(varied: Path) -> None:
    index = (varied / "site" / "index.html").read_text()
    assert "the run is diverged, not completed" in index
    assert "Input should be a valid number" in index


def test_an_empty_archive_gives_a_page(board: Path) -> None:
    build(board)
    assert "There are no records yet" in (board / "site" / "index.html").read_text()


@pytest.mark.parametrize("name", ["index", "con", "x" * 64])
def test_a_method_may_have_any_name(board: Path, name: str) -> None:
    place_all(board, seeds(name, plugin=SOMEBODY))
    build(board)
    assert f"<h1><code>{name}</code></h1>" in (board / "site" / "methods" / f"{name}.html").read_text()
    assert "<h1>Leaderboard</h1>" in (board / "site" / "index.html").read_text()


def test_every_accuracy_has_a_heading_and_a_meaning(board: Path) -> None:
    measures = build(board).measures
    assert {measure.name for measure in measures if measure.recomputed} == {
        *accuracies(TEST, TEST, TRAIN),
        "worst_class_accuracy",
    } - {"balanced_error"}
    assert all(measure.heading and measure.meaning for measure in measures)


def test_every_table_says_what_its_interval_is(varied: Path, board: Path) -> None:
    built = Board.model_validate_json((varied / "leaderboard.json").read_bytes())
    assert (varied / "README.md").read_text().count(f"{INTERVAL}.") == len(built.datasets)
    pages = dataset_pages(varied)
    beside = pages.count("Beside <span")
    assert beside
    # Apostrophes are escaped on the pages.
    assert pages.count("Student&#39;s t), not a standard deviation.") == len(built.datasets) + beside
    assert "Student&#39;s t), not a standard deviation." in (varied / "site" / "index.html").read_text()
    page = (varied / "site" / "methods" / "erm.html").read_text()
    assert page.count("Student&#39;s t), not a standard deviation.") == page.count("<tfoot>")
    place_all(board, seeds("erm", 1))
    build(board)
    assert INTERVAL not in (board / "README.md").read_text()
