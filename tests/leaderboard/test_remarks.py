"""Remarks of a dataset's page: what all rows share stands once above them, and a row says what is its own."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest

from ncbench.leaderboard.build import build
from ncbench.leaderboard.tables.remarks import set_by_hand
from ncbench.records.record import Record
from tests.leaderboard.records import dataset_pages, make_record, named, place_all, seeds


def told(method: str, changed: list[str], source: str = "default", count: int = 3, **recipe: Any) -> list[Any]:
    """Return records that say where their settings come from."""
    records = seeds(method, count, **recipe)
    for record in records:
        record["settings_from"] = {"source": source, "changed": changed}
    return records


def words(board: Path) -> tuple[str, dict[str, str]]:
    """Return what stands above the table, and the remarks of each method."""
    page = html.unescape(dataset_pages(board))
    above = re.search(r'<p class="facts shared">(.*?)</p>', page, re.DOTALL)
    rows = re.findall(r'<th scope="row" class="method"[^>]*>(.*?)</th>', page, re.DOTALL)
    plain = [re.sub(r"<[^>]*>", " ", row.partition('<span class="remarks">')[2]).strip() for row in rows]
    names = [found[1] for row in rows if (found := re.search("<code>(.*?)</code>", row))]
    return re.sub(r"<[^>]*>", "", above[1]) if above else "", dict(zip(names, plain, strict=True))


def test_what_all_rows_share_is_said_once(board: Path) -> None:
    place_all(
        board,
        [
            *told("erm", ["recipe.batch_size", "backbone"], batch_size=64),
            *told("focal", ["recipe.batch_size", "recipe.lr"], batch_size=64, lr=0.01),
            *told("jtt", ["recipe.batch_size"], "published", 2, batch_size=64),
        ],
    )
    build(board)
    above, rows = words(board)
    assert "All rows: backbone mlp; set by whoever ran them: batch_size=64." in above
    assert "Where a row says nothing else: default settings" in above
    assert rows == {
        "erm": "",
        "focal": "set by whoever ran it: lr=0.01",
        "jtt": "fewer than 3 seeds: not ranked; published settings",
    }


def test_a_remark_that_all_rows_have_is_above_them(board: Path) -> None:
    place_all(board, [*seeds("erm", 2), *seeds("jtt", 2)])
    build(board)
    above, rows = words(board)
    assert "fewer than 3 seeds: not ranked" in above
    assert set(rows.values()) == {""}


def test_nothing_is_shared_where_some_records_do_not_say(board: Path) -> None:
    place_all(board, [*told("erm", ["recipe.batch_size"], batch_size=64), *seeds("jtt", batch_size=64)])
    build(board)
    above, rows = words(board)
    assert "set by" not in above
    assert "default settings" not in above
    assert rows == {
        "erm": "default settings; set by whoever ran it: batch_size=64",
        "jtt": "its records do not say where its settings come from",
    }


@pytest.mark.parametrize(
    ("frozen", "expected"), [(True, {}), (False, {"augmentation": "none", "input_scaling": "unit"})]
)
def test_what_a_frozen_backbone_prescribes_is_nobodys_setting(frozen: bool, expected: dict[str, str]) -> None:
    record = make_record(augmentation="none", input_scaling="unit")
    record["backbone"]["parameters"]["frozen"] = frozen
    record["settings_from"] = {
        "source": "default",
        "changed": ["backbone", "recipe.augmentation", "recipe.input_scaling"],
    }
    assert set_by_hand(Record.model_validate(record)) == expected


def test_rows_with_the_same_numbers_are_told(board: Path) -> None:
    twins = seeds("jtt")
    for record in twins:
        record["method"]["name"] = record["method"]["spec"] = "lff"
        for epoch in record["history"]:
            epoch["losses"]["loss"] += 1
        named(record)
    place_all(board, [*seeds("erm"), *seeds("jtt"), *twins])
    build(board)
    _, rows = words(board)
    same = "equal to {} in every number, seed by seed"
    assert rows == {"erm": "", "jtt": same.format("lff"), "lff": same.format("jtt")}
