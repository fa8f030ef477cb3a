"""Runs that build on another one: what that was made with parts rows, marks what was tuned, and is made again."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ncbench
from ncbench.leaderboard.build import build
from ncbench.leaderboard.intake.canonical import canonical
from ncbench.leaderboard.intake.catalogue import Catalogue
from ncbench.leaderboard.intake.entry import Entry, inspect
from ncbench.leaderboard.intake.problems import RefusedError
from ncbench.leaderboard.rerun import rerun
from ncbench.leaderboard.submit import submit
from ncbench.records.archive import RunResult
from ncbench.records.comparison import by_configuration
from ncbench.records.record import Record
from ncbench.training.configuration import resolve

Content = dict[str, Any]
QUIET: dict[str, Any] = {"device": "cpu", "warn": lambda message: None}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], RunResult]:
    """Runs of ncm, by the epochs of their erm and the seed."""
    output = tmp_path_factory.mktemp("made")
    return {
        (epochs, seed): ncbench.run("ncm", seed=seed, set={"base.recipe.epochs": epochs}, output=output, **QUIET)
        for epochs, seed in ((1, 0), (2, 0), (2, 1))
    }


def content(result: RunResult) -> Content:
    loaded: Content = json.loads(result.path.read_bytes())
    return loaded


def inspected(changed: Content) -> Entry:
    return inspect(canonical(changed), Catalogue.built_in())


def test_what_a_run_builds_on_is_in_its_record(made: dict[tuple[int, int], RunResult]) -> None:
    base = made[2, 0].record.base
    assert base is not None
    erm = ncbench.load_result(made[2, 0].folder.parent / base.run_id).record
    assert (base.recipe, base.parameters) == (erm.recipe, erm.method.parameters)


def test_runs_on_bases_of_other_recipes_are_no_seeds_of_one_configuration(
    board: Path, made: dict[tuple[int, int], RunResult]
) -> None:
    outcomes = submit(board, [result.path for result in made.values()])
    assert all(outcome.new and not outcome.problem for outcome in outcomes)
    rows = build(board).datasets[0].sections[0].rows
    assert {row.distinction: [run.seed for run in row.runs] for row in rows} == {
        "base.recipe.epochs=1": [0],
        "base.recipe.epochs=2": [0, 1],
    }
    grouped = by_configuration(list(made.values()))
    assert sorted(map(len, grouped.values())) == [1, 2]
    assert any("base.recipe.epochs=1" in label for label in grouped)


def test_a_run_on_a_base_is_made_again_with_that_base(
    board: Path, tmp_path: Path, made: dict[tuple[int, int], RunResult]
) -> None:
    (placed,) = submit(board, [made[1, 0].path])
    assert placed.path is not None
    outcome = rerun(board, str(placed.path), output=tmp_path, **QUIET)
    assert outcome.rerun.record.base == made[1, 0].record.base
    assert outcome.verdict == "agrees"


def test_a_setting_of_the_base_that_was_tuned_on_test_is_marked(tmp_path: Path) -> None:
    record = inspected(tuned(tmp_path))
    assert record.tuned_on_test.startswith("base.recipe.epochs=100, base.recipe.weight_decay=0.001 chosen by test")


def tuned(output: Path) -> Content:
    """Return the record of a run whose own settings have no effect, on an erm with those of the manifest."""
    result = ncbench.run("ncm", set={"base.recipe.epochs": 1}, output=output, **QUIET)
    changed = content(result)
    changed["recipe"] |= {"epochs": 7, "weight_decay": 0.123}
    changed["base"]["recipe"]["epochs"] = 100
    return renamed(changed)


def renamed(changed: Content) -> Content:
    """Return a record of ncm on an erm with the ids that its settings give."""
    record = Record.model_validate_json(json.dumps(changed))
    assert record.base is not None
    assert record.base.recipe is not None
    settings = {f"recipe.{key}": value for key, value in record.recipe.items()} | record.base_recipes
    configuration = resolve("ncm", record.dataset.spec, record.backbone.spec, record.seed, settings, synthetic=False)
    assert configuration.base is not None
    changed["run_id"], changed["base"]["run_id"] = configuration.run_id, configuration.base.run_id
    return changed


def test_a_record_without_the_settings_of_its_base_is_read_and_does_not_count(
    made: dict[tuple[int, int], RunResult],
) -> None:
    changed = content(made[1, 0])
    for key in ("recipe", "parameters", "base"):
        del changed["base"][key]
    assert Record.model_validate_json(json.dumps(changed)).base_recipes == {}
    exclusion = inspected(changed).exclusion
    assert exclusion is not None
    assert (exclusion.field, exclusion.refused) == ("base.recipe", False)


FORGED: dict[str, tuple[Callable[[Content], Any], str]] = {
    "another recipe of the base": (lambda base: base["recipe"].update(epochs=50), "base.run_id"),
    "a key that is none": (lambda base: base["recipe"].update(epoch=5), "base.recipe"),
    "no rule": (lambda base: base["recipe"].pop("selection"), "base.recipe.selection"),
    "another base": (lambda base: base.update(method="erm:classifier_bias=true"), "base.run_id"),
    "a name that is none": (lambda base: base.update(method="erm:", parameters=None), "base.method"),
    "marks that do not print": (lambda base: base.update(model="\u202e"), "base.model"),
    "a text too long": (lambda base: base["parameters"].update(note="x" * 5000), "base.parameters"),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_a_record_says_of_its_base_is_checked(made: dict[tuple[int, int], RunResult], name: str) -> None:
    change, field = FORGED[name]
    changed = copy.deepcopy(content(made[1, 0]))
    change(changed["base"])
    with pytest.raises(RefusedError) as refused:
        inspected(changed)
    assert refused.value.field.startswith(field)
