"""The pages in a real browser, opened from a file. Skipped, with a reason, where there is none."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ncbench.leaderboard.build import build
from ncbench.leaderboard.pages import libraries
from tests.leaderboard.conftest import HOSTILE, libraries_missing, libraries_read

pytestmark = pytest.mark.slow
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PAGES = ("index.html", "methods/erm.html", "methods/evil.html", "datasets/toy")
COMMITTED = Path(__file__).parents[2] / "leaderboard"
PHONE = {"width": 390, "height": 844}

# Text against what lies behind it, by WCAG 2: every visible text node, and SVG text by its fill.
CONTRASTS = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [x, y, z] = [r, g, b].map((v) => linear(v / 255));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    throw new Error("no opaque background");
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest("option, title")) continue;
    const style = getComputedStyle(element);
    const colour = parse(element instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [luminance(colour), luminance(behind(element))].sort((p, q) => q - p);
    found.push([(a + 0.05) / (b + 0.05), walker.currentNode.data.trim().slice(0, 40)]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser is installed ({', '.join(BROWSERS)})")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def real_libraries() -> Iterator[None]:
    for package in libraries_missing():
        pytest.skip(f"{package} is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(libraries, "read", libraries_read)
        yield


@pytest.fixture(scope="module")
def varied(real_libraries: None, varied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The board with a bit of everything, its pages with the libraries."""
    folder = shutil.copytree(varied, tmp_path_factory.mktemp("furnished") / "leaderboard")
    for name, content in libraries.read().items():
        (folder / "site" / libraries.FOLDER / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def common(real_libraries: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed board with its pages, which are not committed."""
    folder = shutil.copytree(COMMITTED, tmp_path_factory.mktemp("common") / "leaderboard")
    build(folder)
    return folder


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that fails the test on anything it logs and on any request but for a file."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    opened = context.new_page()
    problems: list[str] = []
    opened.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("dialog", lambda dialog: problems.append(dialog.message))
    opened.on("request", lambda request: None if request.url.startswith("file:") else problems.append(request.url))
    yield opened
    context.close()
    assert problems == []


def url(board: Path, name: str = "index.html") -> str:
    """Return the address of a page; a name without an ending begins that of a dataset's page."""
    (found,) = (board / "site").glob(name if name.endswith(".html") else f"{name}-*.html")
    return found.as_uri()


def unfold(page: Any) -> None:
    """Let a page do all that it leaves for when something comes into view, and open what is folded."""
    page.evaluate(
        """async () => {
          document.querySelectorAll("details").forEach((details) => { details.open = true; });
          for (const table of document.querySelectorAll("table.board")) {
            table.scrollIntoView();
            while (!table.classList.contains("dataTable")) await new Promise(requestAnimationFrame);
          }
          scrollTo(0, 0);
        }"""
    )


def cells(page: Any, heading: str, table: str = "table.rows") -> list[str]:
    """Return the visible cells of a column of a table, without what stands after ±."""
    return page.evaluate(
        """([heading, selector]) => {
          const table = document.querySelector(selector);
          const texts = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
          const position = texts.findIndex((text) => text.startsWith(heading));
          return [...table.tBodies[0].rows].map((row) => row.cells[position].textContent.split("±")[0].trim());
        }""",
        [heading, table],
    )


def test_a_column_is_sorted_by_keyboard(page: Any, varied: Path) -> None:
    page.goto(url(varied, "datasets/data0"))
    heading = page.locator("table.rows thead th", has_text="worst group").first
    for _ in range(60):
        page.keyboard.press("Tab")
        if heading.evaluate("(th) => th.contains(document.activeElement)"):
            break
    assert heading.evaluate("(th) => th.contains(document.activeElement)")
    before = cells(page, "worst group")
    page.keyboard.press("Enter")
    sync_api.expect(heading).to_have_attribute("aria-sort", "descending")
    assert cells(page, "worst group") == sorted(before, key=float, reverse=True)
    page.keyboard.press("Enter")
    sync_api.expect(heading).to_have_attribute("aria-sort", "ascending")
    assert cells(page, "worst group") == sorted(before, key=float)
    assert "ascending" in page.locator("#announcement").inner_text()
    assert page.locator("table.rows [aria-sort]").count() == 1


def test_words_and_ranks_sort_upward_and_what_is_missing_stays_last(page: Any, varied: Path) -> None:
    page.goto(url(varied, "datasets/data0"))

    def sort(name: str, way: str) -> list[str]:
        heading = page.locator("table.rows thead th", has_text=name)
        heading.locator(".dt-column-order").click()
        sync_api.expect(heading).to_have_attribute("aria-sort", way)
        return cells(page, name)

    assert sort("method", "ascending") == sorted(cells(page, "method"))
    values = sort("vs erm", "descending")
    assert values[-1] == ""
    given = [value for value in values if value]
    assert given == sorted(given, key=float, reverse=True)
    assert sort("vs erm", "ascending")[-1] == ""
    ranks = sort("rank", "ascending")
    assert ranks == sorted(ranks, key=lambda rank: (not rank.isdigit(), rank))


def test_a_search_keeps_its_rows_and_says_how_many(page: Any, varied: Path) -> None:
    page.goto(url(varied))
    unfold(page)
    matrix = page.locator("#matrix")
    everything = cells(page, "method", "table.matrix")
    matrix.locator("input[type=search]").fill("jtt")
    sync_api.expect(matrix.locator(".dt-info")).to_contain_text(f"filtered from {len(everything)}")
    assert cells(page, "method", "table.matrix") == ["jtt"]
    matrix.locator("input[type=search]").fill("")
    sync_api.expect(matrix.locator(".dt-info")).not_to_contain_text("filtered")
    assert cells(page, "method", "table.matrix") == everything


def test_several_labels_are_chosen_from_a_list(page: Any, varied: Path) -> None:
    page.goto(url(varied, "datasets/data0"))
    everything = cells(page, "labels used")
    assert set(everything) == {"targets alone", "bias labels of train"}
    page.locator("table.rows th", has_text="labels used").locator(".dtcc-button").first.click()
    page.locator(".dtcc-list-buttons button", has_text="bias labels of train").click()
    sync_api.expect(page.locator("#rows .dt-info")).to_contain_text("filtered")
    assert set(cells(page, "labels used")) == {"bias labels of train"}
    page.locator(".dtcc-list-buttons button", has_text="targets alone").click()
    sync_api.expect(page.locator("#rows .dt-info")).not_to_contain_text("filtered")
    assert cells(page, "labels used") == everything


def test_every_value_of_a_list_finds_the_rows_that_have_it(page: Any, common: Path, varied: Path) -> None:
    for board, name, tables in (
        (common, "index.html", ("#matrix", "#methods")),
        (varied, "datasets/data0", ("#rows",)),
    ):
        page.goto(url(board, name))
        unfold(page)
        for table in map(page.locator, tables):
            for opener in table.locator("thead .dtcc-button").all():
                opener.click()
                for value in page.locator(".dtcc-list-buttons .dtcc-button").all():
                    value.click()
                    sync_api.expect(table.locator(".dt-info")).to_contain_text("filtered")
                    assert table.locator("tbody .dt-empty").count() == 0, value.inner_text()
                    value.click()
                page.keyboard.press("Escape")


def test_columns_are_hidden_and_the_table_is_saved_as_csv(page: Any, varied: Path) -> None:
    page.goto(url(varied, "datasets/data0"))
    section = page.locator("#rows")
    with page.expect_download() as saved:
        section.locator("button", has_text="CSV").click()
    rows = list(csv.DictReader(saved.value.path().read_text(encoding="utf-8-sig").splitlines()))
    assert len(rows) == len(cells(page, "method"))
    assert "erm" in {row["method"].split()[0] for row in rows}
    section.locator("button", has_text="Columns").click()
    page.locator(".dt-button-collection button", has_text="worst group").click()
    sync_api.expect(page.locator("table.rows thead th", has_text="worst group")).to_have_count(0)


def test_the_theme_follows_the_system_until_it_is_chosen_and_is_remembered(page: Any, varied: Path) -> None:
    def is_dark() -> bool:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3])) < 3 * 128

    page.goto(url(varied))
    button = page.locator("#theme")
    assert (is_dark(), button.inner_text()) == (False, "Switch to dark")
    page.emulate_media(color_scheme="dark")
    page.locator("#theme", has_text="Switch to light").wait_for()  # the browser's event comes later
    assert (is_dark(), button.inner_text()) == (True, "Switch to light")
    button.focus()
    page.keyboard.press("Enter")
    assert (is_dark(), button.inner_text()) == (False, "Switch to dark")
    page.goto(url(varied, "methods/erm.html"))
    assert not is_dark()
    page.locator("#theme").click()
    assert is_dark()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(page: Any, varied: Path, name: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(url(varied, name))
    unfold(page)
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 50
    assert [item for item in contrasts if item[0] < 4.5] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_scrolls_sideways_inside_tables_only(page: Any, varied: Path, name: str) -> None:
    page.set_viewport_size(PHONE)
    page.goto(url(varied, name))
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    wide = page.evaluate(
        """() => [...document.querySelectorAll("main *")]
          .filter((e) => e.checkVisibility() && !e.closest(".scroll"))
          .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
          .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert wide == []


@pytest.mark.parametrize("width", [1280, 1600])
def test_a_desktop_shows_every_column_of_the_committed_board(page: Any, common: Path, width: int) -> None:
    """But of the matrix, which has a column for each dataset."""
    page.set_viewport_size({"width": width, "height": 900})
    site = common / "site"
    for path in (site / "index.html", *sorted((site / "datasets").iterdir()), site / "methods" / "haframe.html"):
        page.goto(path.as_uri())
        unfold(page)
        cut = page.evaluate(
            """() => [...document.querySelectorAll(".scroll:not(:has(.matrix))")]
              .filter((e) => e.scrollWidth > e.clientWidth)
              .map((e) => `${e.getAttribute("aria-label")}: ${e.scrollWidth} of ${e.clientWidth}`)"""
        )
        assert cut == [], path.name


def test_a_phone_shows_remarks_without_scrolling(page: Any, varied: Path) -> None:
    page.set_viewport_size(PHONE)
    page.goto(url(varied, "datasets/data0"))
    remarks = page.locator("table.rows .remarks", has_text="not ranked")
    assert remarks.count()
    for remark in remarks.all():
        box = remark.bounding_box()
        assert 0 <= box["x"] < box["x"] + box["width"] <= PHONE["width"]


def test_what_has_the_focus_shows_it(page: Any, varied: Path) -> None:
    page.goto(url(varied))
    for _ in range(30):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            "() => { const s = getComputedStyle(document.activeElement); return [s.outlineStyle, s.outlineWidth]; }"
        )
        assert outline == ["solid", "2px"]


def test_markup_in_a_record_is_text_to_tables_lists_and_charts(page: Any, varied: Path) -> None:
    """The libraries read what they are given as markup, so that it must be escaped where they get it."""
    for path in sorted((varied / "site").rglob("*.html")):
        page.goto(path.as_uri())
        unfold(page)
        scripts = page.locator("script:not([type])").count()
        for figure in page.locator("figure.chart").all():
            figure.scroll_into_view_if_needed()
            page.locator("figure.chart[data-drawn]").first.wait_for()
        for button in page.locator("button.dtcc-button, .dt-buttons > .dt-buttons-collection").all():
            button.click()
            page.keyboard.press("Escape")
        assert "owned" not in page.title()
        assert page.locator("script:not([type])").count() <= scripts + 1  # Plotly's
    page.goto(url(varied, "datasets/toy"))
    assert HOSTILE in page.locator("main").inner_text()


def test_a_chart_shows_hostile_names_as_they_are(page: Any, varied: Path) -> None:
    page.goto(url(varied, "datasets/toy"))
    page.locator("figure.rows").scroll_into_view_if_needed()
    page.locator("figure.rows[data-drawn]").wait_for()
    shown = page.locator("figure.rows .ytick text").all_text_contents()
    assert any(text.startswith("evil:note='<script>") for text in shown)


def test_charts_are_drawn_when_they_are_looked_at_and_follow_the_theme(page: Any, varied: Path) -> None:
    page.goto(url(varied, "datasets/data0"))
    assert page.evaluate("typeof Plotly") == "undefined"
    figure = page.locator("figure.rows")
    figure.scroll_into_view_if_needed()
    page.locator("figure.rows[data-drawn]").wait_for()
    assert figure.locator(".scatterlayer .point").count() == 6
    ink = figure.locator(".xtick text").first.evaluate("(e) => getComputedStyle(e).fill")
    page.locator("#theme").click()
    page.wait_for_function(
        "(ink) => getComputedStyle(document.querySelector('figure.rows .xtick text')).fill !== ink", arg=ink
    )
    figure.locator("select").last.select_option("accuracy")
    page.locator("figure.rows .scatterlayer .point").first.wait_for()
    assert figure.locator(".scatterlayer .point").count() == 6


def test_a_chart_tells_values_on_hover(page: Any, varied: Path) -> None:
    page.goto(url(varied, "methods/erm.html"))
    figure = page.locator("figure.curves").first
    figure.scroll_into_view_if_needed()
    page.locator("figure.curves[data-drawn]").first.wait_for()
    figure.locator(".plot").hover()
    page.locator("figure.curves .hoverlayer text").first.wait_for()


def test_the_pages_are_complete_without_javascript(browser: Any, varied: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(url(varied))
    assert opened.locator("#theme").is_hidden()
    assert opened.locator("#matrix tbody tr").count() == 6
    opened.goto(url(varied, "datasets/data0"))
    assert opened.locator("table.rows tbody tr").count() == 6
    assert opened.locator("table.rows tbody tr").first.is_visible()
    context.close()
