"""Settings that were chosen by looking at test results never rank, whoever submits them, whatever a record says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ncbench.cli.commands.leaderboard import leaderboard
from ncbench.contracts.cards import MethodCard, Published, Supervision
from ncbench.contracts.errors import ConfigurationError, PluginError
from ncbench.data.sources.manifest import load_manifest
from ncbench.discovery.registry import registry
from ncbench.leaderboard.build import build
from ncbench.leaderboard.tables.board import Board
from ncbench.leaderboard.tables.tuning import tuned_on_test
from ncbench.records.record import Record
from ncbench.training.configuration import resolve
from tests.leaderboard.records import make_record, place

CHECKOUT = Path(__file__).parents[2]
COMMITTED = Board.model_validate_json((CHECKOUT / "leaderboard" / "leaderboard.json").read_bytes())
SHORT_RUNS = "by the test accuracy of short runs"
TUNED = {
    ("colored_digits", "erm", "epochs=100, weight_decay=0.001 chosen by test accuracy"),
    ("cifar100", "haframe", "epochs=13 chosen by test accuracy"),
    ("cifar100", "haframe", "epochs=14 chosen by test accuracy"),
}


def committed(method: str) -> list[dict[str, Any]]:
    """Return the records of one row."""
    records = [
        json.loads(path.read_bytes())
        for path in sorted((CHECKOUT / "leaderboard" / "results" / "colored_mnist" / method).iterdir())
    ]
    return [each for each in records if each["dataset"]["spec"] == "colored_mnist:conflict=0.05"]


def tuned_jtt() -> list[dict[str, Any]]:
    """Return them as they would be with a setting that was picked by test accuracy."""
    records = committed("jtt")
    for each in records:
        each["method"]["parameters"].update(identify_epochs=20, upweight=200)
    return records


def reason(content: dict[str, Any]) -> str:
    card = registry().find("methods", content["method"]["name"]).card
    manifest = load_manifest(registry().find("datasets", content["dataset"]["name"]).card.manifest)
    return tuned_on_test(Record.model_validate(content), card, manifest)


@pytest.mark.parametrize(("dataset", "method", "beginning"), sorted(TUNED))
def test_committed_rows_that_were_tuned_on_test_say_so_and_do_not_rank(
    dataset: str, method: str, beginning: str
) -> None:
    rows = [
        row
        for table in COMMITTED.datasets
        if table.dataset.name == dataset
        for section in table.sections
        for row in section.rows
        if row.method.name == method and row.tuned_on_test.startswith(beginning)
    ]
    assert rows
    for row in rows:
        assert row.rank is None
        assert row.flags[0] == f"tuned on test: not ranked ({row.tuned_on_test})"


def test_no_row_that_was_tuned_on_test_is_in_an_overview() -> None:
    tuned = {
        row.id
        for table in COMMITTED.datasets
        for section in table.sections
        for row in section.rows
        if row.tuned_on_test
    }
    assert tuned
    assert tuned.isdisjoint(json.dumps([overview.model_dump() for overview in COMMITTED.overviews]).split('"'))


@pytest.mark.parametrize("kept", [{}, {"upweight": 10}])
def test_a_record_that_keeps_one_of_the_settings_is_marked(kept: dict[str, int]) -> None:
    content = tuned_jtt()[0]
    content["method"]["parameters"].update(kept)
    assert SHORT_RUNS in reason(content)
    assert not any(f"{key}={value}" in reason(content) for key, value in kept.items())


def test_a_record_with_settings_of_its_own_is_not_marked() -> None:
    content = tuned_jtt()[0]
    content["method"]["parameters"] = {"identify_epochs": 3, "upweight": 200}
    assert reason(content) == ""


def test_a_record_cannot_take_the_mark_off_itself(board: Path) -> None:
    """Nothing it says of itself counts, and a version of ncbench from before the mark leaves it on."""
    for content in tuned_jtt():
        place(board, content | {"tuned_on_test": ""})
    (row,) = build(board).datasets[0].sections[0].rows
    assert len(row.runs) == 3
    assert row.rank is None
    assert row.tuned_on_test


def test_submitting_such_a_run_says_that_it_will_not_rank(board: Path, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    result.write_text(json.dumps(tuned_jtt()[0]))
    said = CliRunner().invoke(leaderboard, ["submit", str(result), "--board", str(board)], standalone_mode=False)
    assert ", 100 epochs: it was tuned on test (identify_epochs=20 picked by" in said.stdout


def test_of_a_run_that_counts_for_nothing_no_row_is_named(board: Path, tmp_path: Path) -> None:
    """Of two archived records of one seed the first counts, and the other is there already."""
    first, other = tuned_jtt()[:2]
    measured = ("groups", "metrics", "history", "selection", "terminal_phase_epoch")
    contents = [first, first | {key: other[key] for key in measured if key in other}]
    _, second = sorted(contents, key=lambda content: place(board, content))
    result = tmp_path / "result.json"
    result.write_text(json.dumps(second))
    said = CliRunner().invoke(leaderboard, ["submit", str(result), "--board", str(board)], standalone_mode=False)
    assert "Already there" in said.stdout
    assert "Not ranked" not in said.stdout


def test_a_record_cannot_put_the_mark_on_a_row(board: Path) -> None:
    for seed in range(3):
        place(board, make_record("erm", seed) | {"tuned_on_test": "by me"})
    (row,) = build(board).datasets[0].sections[0].rows
    assert (row.rank, row.tuned_on_test) == (1, "")


def test_an_untuned_row_takes_the_place_of_a_better_one_that_was_tuned(board: Path) -> None:
    for content in [*tuned_jtt(), *committed("erm")]:
        place(board, content)
    (table,) = build(board).datasets
    rows = {row.method.name: row for row in table.sections[0].rows}
    assert (rows["erm"].rank, rows["jtt"].rank) == (1, None)
    assert rows["jtt"].metrics[table.primary_metric].mean > rows["erm"].metrics[table.primary_metric].mean


@pytest.mark.parametrize("settings", [Published(source="here"), [Published(source="here")], ["by test accuracy"]])
def test_a_card_says_how_settings_were_chosen(settings: Any) -> None:
    with pytest.raises(PluginError, match=r"tuned_on_test of 'mine' must list Published settings"):
        MethodCard(
            name="mine", summary="Mine", factory="a:B", supervision=Supervision(), tuned_on_test={"toy": settings}
        )


def test_a_method_cannot_hide_from_its_card_what_it_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The board reads the card alone, so that a mark on the class alone would rank."""
    factory = registry().find("methods", "erm").card.load()
    hidden = {"colored_digits": Published(source="here", recipe={"epochs": 7}, tuned_on_test="by test accuracy")}
    monkeypatch.setattr(factory, "published", hidden)
    with pytest.raises(ConfigurationError, match=r"'colored_digits' are tuned_on_test, which its MethodCard"):
        resolve("erm", "colored_digits", None, 0, {}, synthetic=False)


def test_the_mark_is_on_what_jtt_was_set_to_before_a_search_chose() -> None:
    card = registry().find("methods", "jtt").card
    (before,) = card.tuned_on_test["colored_mnist"]
    assert before.parameters == {"identify_epochs": 20}
    published = card.load().published
    assert all(published[name].tuned_on_test == "" for name in ("colored_mnist", "waterbirds", "celeba"))
    assert published["colored_mnist"].parameters["identify_epochs"] != 20
