"""The pages in a real browser, opened from a file. Skipped, with a reason, where there is none."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ncbench.leaderboard.build import build
from tests.leaderboard.conftest import HOSTILE

pytestmark = pytest.mark.slow
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PAGES = ("index.html", "methods/erm.html", "methods/evil.html")
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
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
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


def url(board: Path, name: str = "index.html", anchor: str = "") -> str:
    return (board / "site" / name).as_uri() + anchor


def column(page: Any, heading: str) -> list[str]:
    """Return the visible cells of a column in the first dataset's table, without what stands after ±."""
    return page.evaluate(
        """(heading) => {
          const table = document.querySelector("section[data-block] table");
          const texts = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
          const position = texts.findIndex((text) => text === heading);
          return [...table.querySelectorAll("tbody:last-of-type tr[data-method]")].map(
            (row) => row.cells[position].textContent.split("±")[0].trim());
        }""",
        heading,
    )


def shown_rows(page: Any) -> list[dict[str, str]]:
    return page.evaluate(
        """() => [...document.querySelectorAll("tr[data-method]")].filter((row) => row.checkVisibility())
          .map((row) => ({...row.dataset}))"""
    )


def test_a_column_is_sorted_by_keyboard(page: Any, varied: Path) -> None:
    page.goto(url(varied))
    heading = page.locator("section[data-block] thead th", has_text="worst group").first
    for _ in range(200):
        page.keyboard.press("Tab")
        if heading.evaluate("(th) => th.contains(document.activeElement)"):
            break
    assert heading.evaluate("(th) => th.contains(document.activeElement)")
    before = column(page, "worst group")
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert column(page, "worst group") == sorted(before, key=float, reverse=True)
    page.keyboard.press("Space")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column(page, "worst group") == sorted(before, key=float)
    assert "ascending" in page.locator("#announcement").inner_text()
    assert page.locator("[aria-sort]").count() == 1


def test_words_and_ranks_sort_upward_and_what_is_missing_stays_last(page: Any, varied: Path) -> None:
    page.goto(url(varied))
    headings = page.locator("section[data-block] thead").first
    headings.get_by_role("button", name="method").click()
    assert column(page, "method") == sorted(column(page, "method"))
    headings.get_by_role("button", name="vs erm").click()
    values = column(page, "vs erm")
    assert values[-1] == ""
    assert values[:-1] == sorted(values[:-1], key=float, reverse=True)
    headings.get_by_role("button", name="vs erm").click()
    assert column(page, "vs erm")[-1] == ""
    headings.get_by_role("button", name="rank").click()
    assert column(page, "rank") == sorted(column(page, "rank"))


@pytest.mark.parametrize(
    ("name", "value"), [("dataset", "data2"), ("labels", "train-last"), ("method", "lff"), ("method", "theirs")]
)
def test_a_filter_shows_its_rows_alone_and_the_address_restores_it(
    page: Any, varied: Path, name: str, value: str
) -> None:
    page.goto(url(varied))
    everything = shown_rows(page)
    page.locator(f"select[name={name}]").select_option(value)
    expected = [row for row in everything if row[name] == value]
    assert 0 < len(expected) < len(everything)
    assert shown_rows(page) == expected
    assert page.url.endswith(f"#{name}={value}")
    assert f"{len(expected)} of {len(everything)} rows" in page.locator("#filters output").inner_text()
    for block in page.locator("[data-block]").all():
        assert block.is_visible() == (block.locator("tr[data-method]:not([hidden])").count() > 0)
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    assert page.locator(f"select[name={name}]").input_value() == value
    assert shown_rows(page) == expected
    page.get_by_role("button", name="Show all").click()
    page.wait_for_url(lambda address: not address.partition("#")[2])
    assert shown_rows(page) == everything


def test_filters_combine_and_an_unknown_value_in_the_address_hides_nothing(page: Any, varied: Path) -> None:
    page.goto(url(varied, anchor="#dataset=data0&method=erm&labels=targets-last"))
    assert {(row["dataset"], row["method"]) for row in shown_rows(page)} == {("data0", "erm")}
    page.goto(url(varied, anchor=f"#dataset={HOSTILE}&method=nobody"))
    page.reload()
    assert {row["dataset"] for row in shown_rows(page)} == {"data0", "data1", "data2", "data3", "toy", ""}
    anchor = page.locator("nav a[href^='#data1']").get_attribute("href")
    page.locator("select[name=method]").select_option("erm")
    page.locator("nav a[href^='#data1']").click()
    assert page.url.endswith(anchor)
    assert {row["method"] for row in shown_rows(page)} == {"erm"}


def test_the_theme_follows_the_system_until_it_is_chosen_and_is_remembered(page: Any, varied: Path) -> None:
    def is_dark() -> bool:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3])) < 3 * 128

    page.goto(url(varied))
    button = page.locator("#theme")
    assert (is_dark(), button.get_attribute("aria-pressed")) == (False, "false")
    page.emulate_media(color_scheme="dark")
    page.locator("#theme[aria-pressed=true]").wait_for()  # the browser's event comes later
    assert (is_dark(), button.get_attribute("aria-pressed")) == (True, "true")
    button.focus()
    page.keyboard.press("Enter")
    assert (is_dark(), button.get_attribute("aria-pressed")) == (False, "false")
    page.goto(url(varied, "methods/erm.html"))
    assert not is_dark()
    page.locator("#theme").click()
    assert is_dark()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(page: Any, varied: Path, name: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(url(varied, name))
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 50
    assert [item for item in contrasts if item[0] < 4.5] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_scrolls_sideways_inside_tables_only(page: Any, varied: Path, name: str) -> None:
    page.set_viewport_size(PHONE)
    page.goto(url(varied, name))
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    wide = page.evaluate(
        """() => [...document.querySelectorAll("main *")]
          .filter((e) => e.checkVisibility() && !e.closest(".scroll"))
          .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
          .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert wide == []


@pytest.mark.parametrize("width", [1280, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_desktop_shows_every_column_of_the_committed_board(page: Any, common: Path, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.goto(url(common))
    cut = page.evaluate(
        """() => [...document.querySelectorAll(".scroll")].filter((e) => e.scrollWidth > e.clientWidth)
          .map((e) => `${e.getAttribute("aria-label")}: ${e.scrollWidth} of ${e.clientWidth}`)"""
    )
    assert cut == []


def test_a_phone_shows_remarks_without_scrolling(page: Any, varied: Path) -> None:
    page.set_viewport_size(PHONE)
    page.goto(url(varied))
    remarks = page.locator("tr[data-method] .remarks", has_text="not ranked")
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


def test_script_in_a_record_is_inert_text(page: Any, varied: Path) -> None:
    for name in PAGES:
        page.goto(url(varied, name))
        assert "owned" not in page.title()
        assert page.locator("script").count() == 1
    assert HOSTILE in page.locator("main").inner_text()


def test_the_pages_are_complete_without_javascript(browser: Any, varied: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(url(varied))
    assert opened.locator("#filters").is_hidden()
    assert opened.locator("#theme").is_hidden()
    assert opened.locator("section[data-block] tbody tr").first.is_visible()
    context.close()
