"""Runs that build on another one: what that was made with parts rows, marks what was tuned, and is made again."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ncbench
from ncbench.discovery.registry import registry
from ncbench.leaderboard.build import build
from ncbench.leaderboard.intake.canonical import canonical
from ncbench.leaderboard.intake.catalogue import Catalogue
from ncbench.leaderboard.intake.entry import Entry, inspect
from ncbench.leaderboard.intake.problems import RefusedError
from ncbench.leaderboard.rerun import rerun
from ncbench.leaderboard.submit import submit
from ncbench.records.archive import RunResult
from ncbench.records.comparison import by_configuration
from ncbench.records.identity import run_id
from ncbench.records.record import Record
from ncbench.training.configuration import resolve
from ncbench.training.recipe import Recipe
from tests.leaderboard.records import make_record, place, place_all, seeds

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
    assert {row.epochs: [run.seed for run in row.runs] for row in rows} == {1: [0], 2: [0, 1]}
    assert all("on the model of a run of erm, whose epochs stand here" in row.flags for row in rows)
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
    del changed["settings_from"]  # nor did such records say where settings come from
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


def forged_as(method: str, content: Content) -> Content:
    """Return a record that says it is of another method, with the id that this gives."""
    changed = copy.deepcopy(content)
    changed["method"] |= {"name": method, "spec": method, "parameters": {}}
    changed["run_id"] = run_id(
        method,
        changed["dataset"]["spec"],
        changed["backbone"]["spec"],
        str(Recipe.build(changed["recipe"], owner="the recipe").spec("recipe")),
        changed["seed"],
        synthetic=False,
        base=changed["base"] and changed["base"]["run_id"],
    )
    return changed


@pytest.mark.parametrize(
    ("method", "built", "field"),
    [("erm", True, "base"), ("shortcut_prime", True, "base"), ("crt", True, "history"), ("ncm", False, "base")],
)
def test_a_record_builds_on_what_its_method_builds_on_and_trains_if_that_does(
    made: dict[tuple[int, int], RunResult], method: str, built: bool, field: str
) -> None:
    """Or a record without a history got around all that is checked of one."""
    base = made[1, 0].record.base
    assert base is not None
    ran = made[1, 0] if built else ncbench.load_result(made[1, 0].folder.parent / base.run_id)
    exclusion = inspected(forged_as(method, content(ran))).exclusion
    assert exclusion is not None
    assert exclusion.field == field


def test_one_result_under_three_seeds_counts_once_without_a_history_too(
    board: Path, made: dict[tuple[int, int], RunResult]
) -> None:
    record = content(made[1, 0])
    for seed in range(3):
        place(board, renamed({**copy.deepcopy(record), "seed": seed}))
    built = build(board)
    assert built.counted == 1
    assert all("counts and metrics" in problem.reason for problem in built.left_out)


def test_a_record_whose_dataset_cannot_be_imported_is_left_out_and_the_rest_is_built(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a package is missing that the dataset needs."""
    thinned = make_record(dataset="colored_mnist")
    card = registry().find("datasets", "colored_mnist").card
    monkeypatch.setitem(sys.modules, card.factory.partition(":")[0], None)
    place_all(board, [*seeds(), thinned])
    built = build(board)
    assert built.counted == 3
    (left,) = built.left_out
    assert "it cannot be checked here: 'colored_mnist' cannot be used: importing" in left.reason
    assert not left.refused
