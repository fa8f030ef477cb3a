"""Records of runs on inferred groups: rows of their own, what they say of the groups checked, and made again."""

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
from ncbench.leaderboard.intake.catalogue import Catalogue, check_against_card
from ncbench.leaderboard.intake.entry import Entry, inspect
from ncbench.leaderboard.intake.problems import RefusedError
from ncbench.leaderboard.rerun import rerun
from ncbench.leaderboard.submit import submit
from ncbench.records.archive import RunResult
from ncbench.records.comparison import by_configuration
from ncbench.records.record import Record

Content = dict[str, Any]
QUIET: dict[str, Any] = {"device": "cpu", "warn": lambda message: None, "set": {"recipe.epochs": 1}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunResult]:
    """Runs of group_dro by their groups, the inference among them."""
    output = tmp_path_factory.mktemp("made")
    runs = {
        groups: ncbench.run("group_dro", groups=groups, output=output, **QUIET)
        for groups in ("attribute", "errors:epochs=1", "clusters:epochs=1,k=2")
    }
    base = runs["errors:epochs=1"].record.base
    assert base is not None
    return {**runs, "inference": ncbench.load_result(output / base.run_id)}


def content(result: RunResult) -> Content:
    loaded: Content = json.loads(result.path.read_bytes())
    return loaded


def inspected(changed: Content) -> Entry:
    return inspect(canonical(changed), Catalogue.built_in())


def test_a_method_on_inferred_groups_has_a_row_of_its_own_that_says_so(board: Path, made: dict[str, RunResult]) -> None:
    consumers = [result for name, result in made.items() if name != "inference"]
    assert not [outcome.problem for outcome in submit(board, [result.path for result in consumers]) if outcome.problem]
    rows = {
        row.label: (section.train, row.groups) for section in build(board).datasets[0].sections for row in section.rows
    }
    assert rows == {
        "group_dro": ("bias", ""),
        "group_dro+errors:epochs=1": ("none", "errors:epochs=1"),
        "group_dro+clusters:epochs=1,k=2": ("none", "clusters:epochs=1,k=2"),
    }
    assert "group_dro+errors:epochs=1" in (board / "README.md").read_text().replace("\\", "")
    assert len(by_configuration(consumers)) == 3


def test_an_inference_is_no_row(board: Path, made: dict[str, RunResult]) -> None:
    (outcome,) = submit(board, [made["inference"].path])
    assert outcome.problem.startswith("method.kind: 'errors' infers groups, which others train on")
    assert not outcome.new


def test_a_run_on_inferred_groups_is_made_again_with_its_inference(
    board: Path, tmp_path: Path, made: dict[str, RunResult]
) -> None:
    (placed,) = submit(board, [made["errors:epochs=1"].path])
    assert placed.path is not None
    assert placed.row.startswith("group_dro+errors:epochs=1 on colored_digits")
    outcome = rerun(board, "group_dro+errors:epochs=1/colored_digits", output=tmp_path, device="cpu", warn=str)
    assert outcome.rerun.record.base == made["errors:epochs=1"].record.base
    assert outcome.rerun.record.groups_from == made["errors:epochs=1"].record.groups_from
    assert outcome.verdict == "agrees"


FORGED: dict[str, tuple[Callable[[Content], Any], str]] = {
    "an inference that nobody made": (lambda record: record["base"].update(plugin=None), "base.plugin"),
    "an inference of unknown labels": (lambda record: record["base"].update(supervision=None), "base.supervision"),
    "an inference of unknown parameters": (lambda record: record["base"].update(parameters=None), "base.parameters"),
    "an inference of an unknown recipe": (lambda record: record["base"].update(recipe=None), "base.recipe"),
    "no groups": (lambda record: record.update(groups_from=None), "groups_from"),
    "no base": (lambda record: record.update(base=None), "groups_from"),
    "a base that is a method": (lambda record: record["base"].update(kind="method"), "base.run_id"),
    "groups of another run": (lambda record: record["groups_from"].update(base="errors-1"), "groups_from.base"),
    "groups of another kind": (lambda record: record["groups_from"].update(spec="eiil"), "groups_from.base"),
    "another recipe": (lambda record: record["base"]["recipe"].update(epochs=50), "base.run_id"),
    "images too many": (lambda record: record["groups_from"]["sizes"].append(1), "groups_from.sizes"),
    "no digest": (lambda record: record["groups_from"].update(digest="abc"), "groups_from.digest"),
    "a share beyond one": (
        lambda record: record["groups_from"]["agreement"].update(conflicting_recall=1.5),
        "groups_from.agreement.conflicting_recall",
    ),
    "an index that is none": (
        lambda record: record["groups_from"]["agreement"].update(luck=0.5),
        "groups_from.agreement.luck",
    ),
    "groups that a method inferred": (
        lambda record: record.update(inferred={"digest": "0" * 64, "sizes": [1], "agreement": {}}),
        "inferred",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_a_record_says_of_its_groups_is_checked(made: dict[str, RunResult], name: str) -> None:
    change, field = FORGED[name]
    changed = copy.deepcopy(content(made["errors:epochs=1"]))
    change(changed)
    with pytest.raises(RefusedError) as refused:
        inspected(changed)
    assert refused.value.field == field


def test_whose_inference_it_is_counts(made: dict[str, RunResult]) -> None:
    ours = inspected(content(made["errors:epochs=1"]))
    assert (ours.exclusion, ours.note) == (None, "")
    assert ours.record.base is not None
    assert ours.record.base.plugin == ours.record.method.plugin

    taken = content(made["errors:epochs=1"])
    taken["base"]["plugin"]["distribution"] = "somebody"
    entry = inspected(taken)
    assert entry.exclusion is not None
    assert entry.exclusion.field == "base.plugin.distribution"
    assert entry.configuration != ours.configuration

    theirs = content(made["errors:epochs=1"])
    theirs["base"]["plugin"]["distribution"] = "somebody"
    theirs["base"]["method"] = theirs["groups_from"]["spec"] = "oracle"
    theirs["base"]["run_id"] = theirs["groups_from"]["base"] = "oracle-1"
    note = check_against_card(Record.model_validate(theirs), Catalogue.built_in())
    assert note == "supervision as its author declares it: the card of oracle is not part of ncbench"


@pytest.mark.parametrize(("groups", "train"), [("errors:epochs=1", "bias"), ("attribute", "none")])
def test_a_record_states_the_labels_that_its_groups_take(made: dict[str, RunResult], groups: str, train: str) -> None:
    """More than inferred groups take is refused; less than the attribute takes is said."""
    changed = content(made[groups])
    changed["method"]["supervision"]["train"] = train
    entry = inspected(changed)
    assert entry.exclusion is not None or "used no bias labels of training images" in entry.note
    assert (entry.exclusion is not None) is (groups != "attribute")


def test_the_model_of_a_run_on_inferred_groups_is_given_back(made: dict[str, RunResult]) -> None:
    for name in ("errors:epochs=1", "inference"):
        model = ncbench.load_model(made[name].folder, warn=str)
        assert model.method.task.num_classes == 10
