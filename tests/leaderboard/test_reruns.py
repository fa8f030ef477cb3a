"""Reruns: made from a record alone, no further seed of a row, and counted only where somebody else made them."""

from __future__ import annotations

import copy
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import ncbench
from ncbench.cli.commands.leaderboard import leaderboard
from ncbench.contracts.errors import ConfigurationError, DataError
from ncbench.leaderboard.build import build, rendered
from ncbench.leaderboard.intake.canonical import canonical, content_hash
from ncbench.leaderboard.rerun import Rows, rerun
from ncbench.leaderboard.submit import submit
from ncbench.leaderboard.tables.board import Board, Row
from ncbench.training.reporters import Silent
from tests.leaderboard.records import make_record, named, place, place_all
from tests.leaderboard.test_check import commit, git
from tests.served import Process

LEVELS = (0.5, 0.6, 0.7)


def runs(count: int = 3) -> list[dict[str, Any]]:
    """Return the seeds of a row, which are about twenty points apart."""
    return [make_record("erm", seed, level=LEVELS[seed]) for seed in range(count)]


def again(
    original: dict[str, Any],
    level: float | None = None,
    by: str | None = "Somebody Else",
    submitter: str | None = "A. Submitter",
) -> dict[str, Any]:
    """Return a rerun of a record: with the same numbers, or with those of another level."""
    content = copy.deepcopy(original)
    if level is not None:
        other = make_record("erm", original["seed"], level=level)
        content |= {key: other[key] for key in ("groups", "metrics", "history", "selection")}
    content |= {"created": "2026-02-02T00:00:00Z", "timing": {"train_seconds": 9.5}}
    of = content_hash(canonical(original))
    return content | {"rerun": {"of": of, "by": by, "submitter": submitter}}


def row_of(board: Board) -> Row:
    (row,) = board.datasets[0].sections[0].rows
    return row


def test_a_rerun_is_no_further_seed_and_changes_no_number(board: Path) -> None:
    records = runs()
    place_all(board, records)
    before = row_of(build(board))
    place(board, again(records[0], level=0.55))
    built = build(board)
    after = row_of(built)
    assert (built.records, built.counted, built.reruns, built.left_out) == (4, 3, 1, [])
    kept = before.model_copy(update={"reproduced": 1, "reruns": after.reruns})
    assert after == kept
    assert [(each.seed, each.by, each.independent, each.verdict) for each in after.reruns] == [
        (0, "Somebody Else", True, "agrees")
    ]
    assert "| 1 |" in (board / "README.md").read_text()
    page = (board / "site" / "methods" / "erm.html").read_text()
    assert "Reproduced: 1 of 3 seeds" in page
    assert "Somebody Else" in page


@pytest.mark.parametrize(
    ("seeds", "level", "verdict"),
    [
        (3, None, "agrees"),
        (3, 0.6, "agrees"),
        (3, 0.95, "differs"),
        (3, 0.1, "differs"),
        (1, None, "agrees"),
        (2, 0.51, "undecided"),
    ],
)
def test_a_rerun_agrees_within_the_spread_of_the_seeds(
    board: Path, seeds: int, level: float | None, verdict: str
) -> None:
    records = runs(seeds)
    place_all(board, records)
    before = row_of(build(board))
    place(board, again(records[0], level))
    row = row_of(build(board))
    assert [each.verdict for each in row.reruns] == [verdict]
    assert row.reproduced == (verdict == "agrees")
    assert (row.rank, row.flags) == (before.rank, before.flags), "it is somebody's word, too"
    assert ("0 (1 does not agree)" in (board / "README.md").read_text()) == (verdict == "differs")


def test_a_rerun_that_diverged_is_shown_and_takes_no_rank(board: Path) -> None:
    records = runs()
    diverged = again(records[0]) | {"status": "diverged", "reason": "the loss is not finite", "history": []}
    diverged |= {"selection": {}, "metrics": {}, "groups": {}}
    place_all(board, [*records, diverged])
    row = row_of(build(board))
    assert [(each.verdict, each.value) for each in row.reruns] == [("diverged", None)]
    assert (row.rank, row.reproduced, row.flags) == (1, 0, [])
    assert "0 (1 does not agree)" in (board / "README.md").read_text()
    assert "it diverged" in (board / "site" / "methods" / "erm.html").read_text()


@pytest.mark.parametrize(
    ("by", "submitter"),
    [("Anna", "Anna"), ("anna  M.", "Anna M."), (None, "Anna"), ("Anna", None), (None, None)],
)
def test_only_somebody_who_is_known_to_be_another_reproduces(
    board: Path, by: str | None, submitter: str | None
) -> None:
    records = runs()
    place_all(board, [*records, again(records[0], by=by, submitter=submitter)])
    row = row_of(build(board))
    assert (row.reproduced, row.reruns[0].independent, row.reruns[0].verdict) == (0, False, "agrees")
    assert "0 (1 own)" in (board / "README.md").read_text()


def test_seeds_are_counted_not_reruns(board: Path) -> None:
    records = runs()
    place_all(board, [*records, *(again(records[0], level) for level in (None, 0.55, 0.95)), again(records[2])])
    row = row_of(build(board))
    assert (len(row.reruns), row.reproduced) == (4, 2)
    assert "2 (1 does not agree)" in (board / "README.md").read_text()


def test_another_version_is_named(board: Path) -> None:
    records = runs()
    newer = again(records[0])
    newer["environment"]["ncbench"] = "9.0.0"
    place_all(board, [*records, newer])
    row = row_of(build(board))
    assert row.reruns[0].other_versions == ["ncbench 9.0.0 instead of 0.1.0"]
    assert row.reproduced == 1


def _copied(content: dict[str, Any]) -> None:
    content["timing"] = make_record()["timing"]


def _other_seed(content: dict[str, Any]) -> None:
    content["seed"] = 7
    named(content)


def _other_recipe(content: dict[str, Any]) -> None:
    content["recipe"]["optimizer"] = "sgd"
    named(content)


def _other_parameter(content: dict[str, Any]) -> None:
    content["backbone"]["parameters"]["hidden"] = 200


def _other_data(content: dict[str, Any]) -> None:
    content["dataset"]["fingerprint"] = "cd" * 32


def _unknown(content: dict[str, Any]) -> None:
    content["rerun"]["of"] = "0" * 64


def _of_another_kind(content: dict[str, Any]) -> None:
    content["rerun"] = "yes"


def _unprintable(content: dict[str, Any]) -> None:
    content["rerun"]["by"] = "A\u202eB"


def _with_more(content: dict[str, Any]) -> None:
    content["rerun"]["trusted"] = True


def _superseding(content: dict[str, Any]) -> None:
    content["supersedes"] = content["rerun"]["of"]


@pytest.mark.parametrize(
    ("change", "field", "refused"),
    [
        (_copied, "timing", True),
        (_other_seed, "seed", True),
        (_other_recipe, "recipe.optimizer", True),
        (_other_parameter, "backbone.parameters.hidden", True),
        (_other_data, "dataset.fingerprint", False),
        (_unknown, "rerun.of", True),
        (_of_another_kind, "rerun", True),
        (_unprintable, "rerun.by", True),
        (_with_more, "rerun.trusted", True),
        (_superseding, "supersedes", True),
    ],
)
def test_what_is_no_rerun_of_its_record_leaves_the_row_alone(
    board: Path, change: Callable[[dict[str, Any]], None], field: str, refused: bool
) -> None:
    records = runs()
    place_all(board, records)
    before = row_of(build(board))
    content = again(records[0])
    change(content)
    place(board, content)
    built = build(board)
    assert row_of(built) == before
    assert [(problem.field, problem.refused) for problem in built.left_out] == [(field, refused)]


def test_a_rerun_goes_with_the_record_that_it_repeats(board: Path) -> None:
    records = runs()
    records[0]["dataset"]["synthetic"] = True
    named(records[0])
    place_all(board, [*records, again(records[0])])
    built = build(board)
    assert {problem.field for problem in built.left_out} == {"dataset.synthetic", "rerun.of"}
    assert not any(problem.refused for problem in built.left_out)


def test_submit_files_no_rerun(board: Path, tmp_path: Path) -> None:
    records = runs()
    place_all(board, records)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "result.json").write_text(json.dumps(again(records[0])))
    (outcome,) = submit(board, [tmp_path / "run"])
    assert "'ncbench leaderboard rerun' files" in outcome.problem


@pytest.mark.parametrize(
    ("by", "submitter", "committer", "complaint"),
    [
        ("Bea", "a", ("Bea", "bea@b.c"), ""),
        ("a", "a", ("a", "a@b.c"), ""),
        (None, None, ("Bea", "bea@b.c"), ""),
        ("Bea", "a", ("a", "a@b.c"), "rerun.by: it is 'Bea', and by git 'a'"),
        ("Bea", "Cleo", ("Bea", "bea@b.c"), "rerun.submitter: it is 'Cleo', and by git 'a'"),
        ("Bea", "a", ("Bea", "a@b.c"), "rerun.by: by git it has the address of who placed the record"),
    ],
)
def test_the_check_of_a_branch_compares_authors_with_git(
    board: Path, by: str | None, submitter: str | None, committer: tuple[str, str], complaint: str
) -> None:
    git(board, "init", "-q", "-b", "main", "..")
    records = runs()
    place_all(board, records)
    build(board)
    commit(board)
    git(board, "checkout", "-q", "-b", "reruns")
    place(board, again(records[0], by=by, submitter=submitter))
    build(board)
    git(board, "add", "-A", ".")
    git(board, "-c", f"user.name={committer[0]}", "-c", f"user.email={committer[1]}", "commit", "-q", "-m", "rerun")
    result = invoke(board, "check", "--base", "main")
    assert result.return_value == (1 if complaint else 0), result.stderr
    assert complaint in result.stderr


# Which row is meant


def invoke(board: Path, command: str, *arguments: str) -> Result:
    return CliRunner().invoke(leaderboard, [command, *arguments, "--board", str(board)], standalone_mode=False)


def test_a_row_is_found_by_its_names(board: Path) -> None:
    records = runs()
    files = place_all(board, records)
    identity = row_of(build(board)).id
    rows = Rows.read(board)
    for name in ("erm/toy", identity):
        assert rows.find(name, None).record.seed == 0
        assert rows.find(name, 2).record.seed == 2
    for name in (str(files[1]), files[1].name, files[1].stem):
        assert rows.find(name, None).record.seed == 1
    repeated = place(board, again(records[0]))
    assert Rows.read(board).find("erm/toy", None).record.seed == 1, "the first that nobody reran"
    assert Rows.read(board).find(str(repeated), None).record.seed == 0


def test_a_wrong_name_is_answered_with_the_closest(board: Path) -> None:
    place_all(board, [*runs(), make_record("jtt", 0)])
    with pytest.raises(ConfigurationError, match=r"no row 'emr/toy' among the 2 .* The closest: erm/toy"):
        Rows.read(board).find("emr/toy", None)
    with pytest.raises(ConfigurationError, match=r"erm/toy \(\w{12}\) has no seed 9. It has: 0, 1, 2\."):
        Rows.read(board).find("erm/toy", 9)


def test_one_name_of_two_rows_is_answered_with_their_ids(board: Path) -> None:
    place_all(board, [*runs(), make_record("erm", 0, epochs=20, evaluate_every=20)])
    with pytest.raises(ConfigurationError, match=r"2 rows are called erm/toy; give the id of one: \w{12} \(mlp, "):
        Rows.read(board).find("erm/toy", None)


# Real runs


class _Interrupted(Silent):
    def epoch(self, entry: dict[str, Any]) -> None:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of a run of two epochs, with one unlike the defaults of every kind."""
    result = ncbench.run(
        "reweight:by=class",
        "colored_digits:conflict=0.05",
        seed=4,
        backbone="mlp:depth=2",
        set={"recipe.epochs": 2, "recipe.lr": 0.01},
        output=tmp_path_factory.mktemp("trained"),
        device="cpu",
        warn=lambda message: None,
    )
    return result.path


@pytest.fixture
def real(board: Path, trained: Path) -> Path:
    """A board with one row of one run."""
    (outcome,) = submit(board, [trained.parent])
    assert outcome.row
    return board


def test_a_run_is_made_again_from_its_record_and_filed_beside_it(real: Path, tmp_path: Path) -> None:
    before = row_of(build(real))
    arguments = ("--output", str(tmp_path / "reruns"), "--device", "cpu", "--quiet")
    result = invoke(real, "rerun", before.id, *arguments)
    assert (result.return_value, str(result.exception)) == (0, "None")
    assert "in the record. " in result.stdout
    assert "It does not count as reproduced" in result.stdout
    filed = sorted(real.rglob("results/*/*/*.json"))
    assert len({path.parent for path in filed}) == 1
    assert len(filed) == 2
    after = row_of(build(real))
    assert len(after.runs) == 1
    assert after.reruns[0].value == pytest.approx(before.metrics["group_mean_accuracy"].mean, abs=0.05)
    assert "Already there" in invoke(real, "rerun", before.id, *arguments).stdout
    assert {name: (real / name).read_bytes() for name in ("README.md", "leaderboard.json")} == rendered(build(real))


def test_an_interrupted_rerun_files_nothing_and_is_gone_on_with(real: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"output": tmp_path, "device": "cpu", "warn": lambda message: None}
    before = sorted(real.rglob("*"))
    with pytest.raises(KeyboardInterrupt):
        rerun(real, "reweight:by=class/colored_digits:conflict=0.05", reporter=_Interrupted(), **options)
    assert sorted(real.rglob("*")) == before
    outcome = rerun(real, "reweight:by=class/colored_digits:conflict=0.05", **options)
    assert outcome.new
    assert outcome.rerun.record.status == "completed"


@pytest.mark.slow
def test_ctrl_c_files_nothing_and_the_same_command_goes_on(board: Path, tmp_path: Path) -> None:
    committed = Path(__file__).parents[2] / "leaderboard" / "results" / "colored_digits" / "erm"
    for path in committed.iterdir():
        content = json.loads(path.read_bytes())
        if "rerun" not in content:
            place(board, content)
    command = ("-m", "ncbench", "leaderboard", "rerun", "erm/colored_digits", "--seed", "3", "--device", "cpu")
    options = ("--board", board, "--output", tmp_path / "reruns")
    before = sorted(board.rglob("*"))
    process = Process(*command, *options)
    while process.running and not any(log.read_text().count("\n") > 10 for log in tmp_path.rglob("log.jsonl")):
        time.sleep(0.02)
    process.send(signal.SIGINT)
    cut = process.finish()
    assert cut.returncode == 130
    assert cut.stderr.endswith("Interrupted; nothing is filed. The same command goes on with the rerun.\n")
    assert sorted(board.rglob("*")) == before
    ended = Process(*command, *options).finish()
    assert "Going on after epoch" in ended.stderr
    assert "erm on colored_digits, seed 3: group mean" in ended.stdout
    assert ended.returncode in (0, 1), "whether it agrees is for the numbers to say"
    assert len(sorted(board.rglob("*"))) == len(before) + 1


def _edited(trained: Path, board: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(trained.read_bytes())
    change(content)
    place(board, content)


def test_other_data_are_refused_before_training(board: Path, trained: Path, tmp_path: Path) -> None:
    _edited(trained, board, _other_data)
    with pytest.raises(DataError, match=r"others here \(\w{12}\) than those of the record \(cdcdcdcdcdcd\)"):
        rerun(board, next(iter(Rows.read(board).runs)), output=tmp_path / "reruns", device="cpu", warn=print)
    assert not (tmp_path / "reruns").exists()
