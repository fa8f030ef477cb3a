"""Rows whose settings a search chose: told apart from settings given by hand, ranked among themselves, and checked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ncbench
from ncbench.contracts.cards import MethodCard, Published, Supervision
from ncbench.leaderboard.build import build
from ncbench.leaderboard.intake.canonical import canonical
from ncbench.leaderboard.intake.catalogue import Catalogue
from ncbench.leaderboard.intake.entry import Entry, inspect
from ncbench.leaderboard.intake.problems import RefusedError
from ncbench.leaderboard.rerun import rerun
from ncbench.leaderboard.submit import submit
from ncbench.leaderboard.tables.tuning import tuned_on_test
from ncbench.records.archive import RunResult
from ncbench.records.record import Record, SearchPart
from ncbench.training.configuration import resolve
from tests.leaderboard.records import dataset_pages

Content = dict[str, Any]
QUIET: dict[str, Any] = {"device": "cpu", "warn": lambda message: None}
DATASET = "colored_digits:conflict=0.3,per_class=20,val=0.3,val_bias=uniform"
CLAIM: Content = {
    "trials": 5,
    "seed": 0,
    "seeds": [0],
    "space": {"recipe.lr": [0.01, 0.02]},
    "space_given": True,
    "criterion": "val_worst_group_accuracy",
    "chosen": {"recipe.lr": 0.02},
}
SEARCHED = "searched: 5 trials (2 different), 1 seed each, of a given space by val_worst_group_accuracy"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[RunResult]]:
    """Three seeds of erm and focal, of settings that a search chose, and of the same ones by hand."""
    output = tmp_path_factory.mktemp("made")

    def seeds(method: str, search: Content | None) -> list[RunResult]:
        settings = {"recipe.epochs": 1, "recipe.lr": 0.02, "recipe.weight_decay": 0.01}
        return [
            ncbench.run(method, DATASET, seed, set=settings, search=search, output=output, **QUIET) for seed in range(3)
        ]

    return {
        "erm by hand": seeds("erm", None),
        "erm": seeds("erm", CLAIM),
        "focal": seeds("focal", CLAIM),
        "focal by eight": seeds("focal", {**CLAIM, "trials": 8}),
    }


def content(result: RunResult) -> Content:
    loaded: Content = json.loads(result.path.read_bytes())
    return loaded


def inspected(changed: Content) -> Entry:
    return inspect(canonical(changed), Catalogue.built_in())


def renamed(changed: Content) -> Content:
    """Return a record with the id that it would have if all that it says of its search were so."""
    record = Record.model_validate_json(json.dumps(changed))
    configuration = resolve(
        record.method.spec, record.dataset.spec, record.backbone.spec, record.seed, record.settings, synthetic=False
    )
    object.__setattr__(configuration, "search", record.search)
    changed["run_id"] = configuration.run_id
    return changed


def test_a_searched_row_ranks_among_those_of_an_equal_search_alone(
    board: Path, made: dict[str, list[RunResult]]
) -> None:
    outcomes = submit(board, [result.path for results in made.values() for result in results])
    assert [outcome.problem for outcome in outcomes] == [""] * 12
    built = build(board)
    (table,) = built.datasets
    found = {(section.val, section.searched): section.rows for section in table.sections}
    assert {key: sorted(row.method.name for row in rows) for key, rows in found.items()} == {
        ("none", ""): ["erm"],
        ("bias", SEARCHED): ["erm", "focal"],
        ("bias", SEARCHED.replace("5", "8")): ["focal"],
    }
    assert sorted(row.rank or 0 for row in found["bias", SEARCHED]) == [1, 2]
    (by_hand,), erm = found["none", ""], next(row for row in found["bias", SEARCHED] if row.method.name == "erm")
    assert by_hand.id != erm.id
    assert by_hand.metrics == erm.metrics  # the same computation
    (focal,) = (row for row in found["bias", SEARCHED] if row.method.name == "focal")
    assert focal.versus_erm is not None
    assert focal.versus_erm.baseline == erm.id
    (alone,) = found["bias", SEARCHED.replace("5", "8")]
    assert alone.versus_erm is None  # no erm was searched as long
    assert {overview.searched for overview in built.overviews} == {"", SEARCHED, SEARCHED.replace("5", "8")}
    index = (board / "site" / "index.html").read_text()
    for page in ((board / "README.md").read_text(), index, dataset_pages(board)):
        assert f"settings {SEARCHED}" in page


def test_a_searched_run_is_made_again_as_one(board: Path, tmp_path: Path, made: dict[str, list[RunResult]]) -> None:
    (placed,) = submit(board, [made["focal"][0].path])
    outcome = rerun(board, str(placed.path), output=tmp_path, **QUIET)
    assert outcome.verdict == "agrees"
    assert outcome.rerun.record.search == SearchPart.read(CLAIM)


FORGED: dict[str, tuple[Callable[[Content], object], str]] = {
    "more trials": (lambda record: record["search"].update(trials=500), "run_id"),
    "no search": (lambda record: record.update(search=None), "run_id"),
    "another setting": (lambda record: record["search"].update(chosen={"recipe.lr": 0.01}), "search.chosen.recipe.lr"),
    "a setting that is none": (
        lambda record: record["search"].update(chosen={"recipe.lrr": 0.02}),
        "search.chosen.recipe.lrr",
    ),
    "out of the space": (lambda record: record["search"].update(space={"recipe.lr": [0.01, 0.3]}), "search.chosen"),
    "not drawn": (
        lambda record: record["search"].update(space={"recipe.lr": {"uniform": [0.0, 1.0]}}),
        "search.chosen",
    ),
    "half of what is drawn": (
        lambda record: record["search"]["space"].update({"recipe.weight_decay": [0.0005]}),
        "search.chosen",
    ),
    "the test split": (lambda record: record["search"].update(criterion="last"), "search.criterion"),
    "a criterion that the run lacks": (
        lambda record: record["search"].update(criterion="val_mistake_severity"),
        "search.criterion",
    ),
    "labels that were not used": (
        lambda record: record["method"]["supervision"].update(val="none"),
        "method.supervision.val",
    ),
    "images that it was fitted on": (lambda record: record.update(fitted=["val"]), "search.criterion"),
    "one trial, of which none is better": (lambda record: record["search"].update(trials=1), "search.trials"),
    "a million trials": (lambda record: record["search"].update(trials=10**6), "search.trials"),
    "marks that do not print": (lambda record: record["search"].update(criterion="val_\u202e"), "search.criterion"),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_a_record_says_of_its_search_is_checked(made: dict[str, list[RunResult]], name: str) -> None:
    forge, field = FORGED[name]
    changed = content(made["erm"][0])
    forge(changed)
    if field not in ("run_id", "search.trials"):
        renamed(changed)
    with pytest.raises(RefusedError) as refused:
        inspected(changed)
    assert refused.value.field == field


def test_a_rule_that_is_not_ncbenchs_does_not_count(made: dict[str, list[RunResult]]) -> None:
    changed = content(made["erm"][0])
    changed["search"]["criterion"] = "val_luck"
    exclusion = inspected(renamed(changed)).exclusion
    assert exclusion is not None
    assert (exclusion.field, exclusion.refused) == ("search.criterion", False)


def test_a_split_that_was_made_by_bias_labels_counts_as_their_use_whatever_the_metric(
    made: dict[str, list[RunResult]],
) -> None:
    changed = content(made["erm"][0])
    changed["search"]["criterion"] = "val_accuracy"
    assert inspected(renamed(changed)).exclusion is None
    changed["method"]["supervision"]["val"] = "none"
    exclusion = inspected(renamed(changed)).exclusion
    assert exclusion is not None
    assert exclusion.field == "method.supervision.val"


def test_a_value_that_a_search_came_to_is_not_tuned_on_test() -> None:
    (card,) = Catalogue.built_in().own("methods", "jtt")
    values = {"identify_epochs": 20, "upweight": 200}
    tuned = Published(source="here", parameters=values, tuned_on_test="picked by test accuracy")
    card = dataclasses.replace(card, tuned_on_test={"colored_mnist": [tuned]})
    folder = Path(__file__).parents[2] / "leaderboard/results/colored_mnist/jtt"
    record = json.loads(min(folder.glob("*.json")).read_bytes())
    record["method"]["parameters"].update(values)
    assert tuned_on_test(Record.model_validate(record), card, None) == (
        "identify_epochs=20, upweight=200 picked by test accuracy"
    )
    parameters = record["method"]["parameters"]
    space = {
        "method.identify_epochs": [parameters["identify_epochs"], 2],
        "method.upweight": [parameters["upweight"], 20.0],
    }
    chosen = {key: values[0] for key, values in space.items()}
    search = {**CLAIM, "space": space, "chosen": chosen}
    assert tuned_on_test(Record.model_validate(record | {"search": search}), card, None) == ""
    search["space"] = {"method.upweight": space["method.upweight"]}
    search["chosen"] = {"method.upweight": chosen["method.upweight"]}
    left = tuned_on_test(Record.model_validate(record | {"search": search}), card, None)
    assert "identify_epochs" in left
    assert "upweight" not in left


@pytest.mark.parametrize(
    "search",
    [
        {"space": {"recipe.lr": [0.02], "recipe.weight_decay": [0.01, 0.02]}},
        {"space": {"recipe.lr": [0.02, 0.02], "recipe.weight_decay": [0.01, 0.02]}},
        {"space": {"recipe.lr": [0.02, 0.02, 0.02, 0.01], "recipe.weight_decay": [0.01, 0.02]}, "trials": 2, "seed": 0},
    ],
)
def test_a_value_with_which_nothing_was_compared_is_set_by_hand(
    made: dict[str, list[RunResult]], search: Content
) -> None:
    changed = content(made["erm"][0])
    changed["search"].update(search, chosen={"recipe.lr": 0.02, "recipe.weight_decay": 0.01})
    record = Record.model_validate(changed)
    assert record.search is not None
    assert {drawn["recipe.lr"] for drawn in record.search.drawn()} == {0.02}
    card = MethodCard(
        name="erm",
        summary="S",
        factory="a:B",
        supervision=Supervision(),
        tuned_on_test={
            "colored_digits": [
                Published(source="s", recipe={"lr": 0.02, "weight_decay": 0.01}, tuned_on_test="by test accuracy")
            ]
        },
    )
    assert tuned_on_test(record, card, None) == "lr=0.02 by test accuracy"


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({}, SEARCHED),
        ({"trials": 6}, SEARCHED.replace("5", "6")),
        ({"seeds": [0, 1, 2]}, SEARCHED.replace("1 seed", "3 seeds")),
        ({"seeds": [0, 0]}, SEARCHED),
        ({"space_given": False}, SEARCHED.replace("a given", "its own")),
        ({"space": {"recipe.lr": [0.02]}}, SEARCHED.replace("2 different", "1 different")),
        ({"space": {"recipe.lr": {"log_uniform": [0.01, 0.1]}}}, SEARCHED.replace(" (2 different)", "")),
        ({"criterion": "val_accuracy"}, SEARCHED.replace("worst_group_", "")),
    ],
)
def test_searches_are_compared_by_all_that_their_budget_is_made_of(search: Content, said: str) -> None:
    assert str(SearchPart.read({**CLAIM, **search})) == said


def test_what_says_nothing_of_its_space_searched_the_methods_own_and_keeps_its_id() -> None:
    old = {key: value for key, value in CLAIM.items() if key != "space_given"}
    assert SearchPart.read(old).claim() == old
    assert SearchPart.read(CLAIM).claim() == CLAIM


def test_rows_say_where_settings_come_from(board: Path, tmp_path: Path, made: dict[str, list[RunResult]]) -> None:
    published = ncbench.run("erm", "ufm:classes=3,per_class=5", set={"recipe.epochs": 1}, output=tmp_path, **QUIET)
    default = ncbench.run("erm", DATASET, 7, output=tmp_path, set={"recipe.epochs": 1}, **QUIET)
    bare = ncbench.run("erm:classifier_bias=true", "colored_digits:per_class=5", output=tmp_path, **QUIET)
    of = [result.record.settings_from for result in (published, default, bare, made["erm"][0])]
    assert [each and (each.source, each.changed) for each in of] == [
        ("published", ["recipe.epochs"]),
        ("default", ["recipe.epochs"]),
        ("default", []),
        ("default", ["recipe.epochs", "recipe.lr", "recipe.weight_decay"]),
    ]
    submit(board, [result.path for results in made.values() for result in results])
    flags = {
        (section.searched, row.method.name): row.flags for section in build(board).datasets[0].sections
        for row in section.rows
    }  # fmt: skip
    assert "default settings, except what whoever ran it set: epochs=1, lr=0.02, weight_decay=0.01" in flags["", "erm"]
    assert f"settings {SEARCHED}, except what whoever ran it set: epochs=1, weight_decay=0.01" in flags[SEARCHED, "erm"]

    changed = content(made["erm"][0])
    changed["settings_from"]["changed"] = ["recipe.luck"]
    with pytest.raises(RefusedError, match=r"settings_from\.changed"):
        inspected(changed)
    del changed["settings_from"]
    assert inspected(changed).exclusion is None
