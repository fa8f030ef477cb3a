"""Submitting places sound records as new files, and nothing else anywhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ncbench.cli.commands.leaderboard import leaderboard
from ncbench.contracts.errors import ConfigurationError, NcbenchError
from ncbench.leaderboard.build import build
from ncbench.leaderboard.check import check
from ncbench.leaderboard.intake.canonical import canonical, content_hash
from ncbench.leaderboard.submit import submit
from ncbench.records.archive import RunResult, write_result
from ncbench.records.record import Record
from tests.leaderboard.records import BUILT_IN, make_record, named, place, seeds


def run_folder(parent: Path, content: dict[str, Any]) -> Path:
    """Write a record as a run does, and return its folder."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / f"{content['run_id']}-{len([*parent.iterdir()])}"
    folder.mkdir()
    write_result(RunResult(Record.model_validate(content), folder))
    return folder


def files(board: Path) -> list[str]:
    return sorted(path.relative_to(board).as_posix() for path in board.rglob("*") if path.is_file())


def test_a_record_is_placed_under_the_hash_of_its_content(board: Path, tmp_path: Path) -> None:
    run = run_folder(tmp_path / "runs", make_record())
    (outcome,) = submit(board, [run])
    data = canonical(json.loads((run / "result.json").read_bytes()))
    assert outcome.path == board / "results" / "toy" / "erm" / f"{content_hash(data)}.json"
    assert outcome.path.read_bytes() == data
    assert files(board) == [outcome.path.relative_to(board).as_posix()]


def test_submitting_again_changes_nothing(board: Path, tmp_path: Path) -> None:
    run = run_folder(tmp_path, make_record())
    (first,) = submit(board, [run])
    (second,) = submit(board, [run / "result.json"])
    assert (first.new, second.new) == (True, False)
    assert first.path == second.path
    assert len(files(board)) == 1


def test_a_run_made_again_with_the_same_result_is_there_already(board: Path, tmp_path: Path) -> None:
    """As when a whole suite is submitted, some runs of which are in the archive."""
    placed = place(board, make_record())
    again, other = make_record(), make_record()
    again |= {"created": "2026-02-02T00:00:00Z", "timing": {"train_seconds": 9.0}}
    other |= make_record(level=0.9)
    runs = [run_folder(tmp_path / "runs", content) for content in (again, other)]
    same, contradicting = submit(board, runs)
    assert (same.path, same.new, same.problem) == (placed, False, "")
    assert contradicting.path is None
    assert contradicting.problem.startswith("seed: ")
    assert files(board) == [placed.relative_to(board).as_posix()]


def test_a_run_that_repeats_a_record_which_counts_for_nothing_is_not_there_already(board: Path, tmp_path: Path) -> None:
    """Of two archived records of one seed the first counts, without git by path."""
    contents = [make_record(level=level) for level in (0.7, 0.9)]
    _, second = sorted(contents, key=lambda content: place(board, content))
    (outcome,) = submit(board, [run_folder(tmp_path / "runs", second | {"created": "2026-02-02T00:00:00Z"})])
    assert outcome.path is None
    assert outcome.problem.startswith("seed: ")


def test_submitted_records_build_and_check(board: Path, tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / "runs", record) for record in seeds()]
    result = invoke(board, *map(str, runs))
    assert result.return_value == 0
    assert result.stdout.count("Placed: ") == 3
    assert build(board).counted == 3
    assert check(board).failures == []


def invoke(board: Path, *arguments: str) -> Result:
    return CliRunner().invoke(leaderboard, ["submit", *arguments, "--board", str(board)], standalone_mode=False)


def test_one_seed_is_placed_and_the_output_says_from_when_it_ranks(board: Path, tmp_path: Path) -> None:
    runs = [str(run_folder(tmp_path / "runs", record)) for record in seeds("erm", 3) + seeds("jtt", 1)]
    result = invoke(board, runs[0], runs[3])
    assert result.return_value == 0
    assert "Not ranked yet: erm on toy, 3 epochs: 1 of the 3 seeds that a rank takes." in result.stdout
    assert "Not ranked yet: jtt on toy, 3 epochs: 1 of" in result.stdout
    result = invoke(board, runs[0], runs[1])
    assert result.stdout.count("Not ranked yet: ") == 1
    assert "erm on toy, 3 epochs: 2 of the 3 seeds" in result.stdout
    assert "Not ranked yet" not in invoke(board, runs[2]).stdout
    ranks = [(row.method.name, row.rank) for row in build(board).datasets[0].sections[0].rows]
    assert ranks == [("erm", 1), ("jtt", None)]


def _synthetic(content: dict[str, Any]) -> None:
    content["dataset"]["synthetic"] = True
    named(content)


def _diverged(content: dict[str, Any]) -> None:
    content["status"] = "diverged"


def _wrong_accuracy(content: dict[str, Any]) -> None:
    content["metrics"]["test"]["accuracy"] = 1.0


def _path_trick(content: dict[str, Any]) -> None:
    content["method"]["name"] = content["method"]["spec"] = "../../../../outside"


def _theory(content: dict[str, Any]) -> None:
    content["dataset"] |= {"name": "ufm", "spec": "ufm", "parameters": {}, "plugin": BUILT_IN}
    named(content)


def _another_result(content: dict[str, Any]) -> None:
    content.update(make_record(seed=0, level=0.9))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (_synthetic, "dataset.synthetic"),
        (_diverged, "status"),
        (_wrong_accuracy, "metrics.test.accuracy"),
        (_path_trick, "method.name"),
        (_another_result, "seed"),
        (_theory, "dataset.name"),
    ],
)
def test_what_could_not_rank_is_refused_and_the_rest_is_placed(
    board: Path, tmp_path: Path, change: Any, field: str
) -> None:
    for record in seeds():
        place(board, record)
    before = files(board)
    bad, good = make_record(seed=7), make_record(seed=8)
    change(bad)
    runs = []
    for number, content in enumerate((bad, good)):
        runs.append(tmp_path / "runs" / f"{number}.json")
        runs[-1].parent.mkdir(exist_ok=True)
        runs[-1].write_text(json.dumps(content))
    result = invoke(board, *map(str, runs))
    assert result.return_value == 1
    assert f"Refused: {runs[0]}: {field}: " in result.stderr
    assert len(files(board)) == len(before) + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["leaderboard", "runs"]


def test_a_correction_names_what_it_supersedes(board: Path, tmp_path: Path) -> None:
    (first,) = submit(board, [run_folder(tmp_path / "a", make_record(level=0.5))])
    assert first.path is not None
    corrected = run_folder(tmp_path / "b", make_record(level=0.9))
    assert submit(board, [corrected])[0].path is None
    result = invoke(board, str(corrected), "--supersedes", first.path.name)
    assert result.return_value == 0
    built = build(board)
    assert (built.records, built.counted) == (2, 1)
    assert check(board).failures == []
    assert json.loads((board / built.datasets[0].sections[0].rows[0].runs[0].record).read_bytes())["supersedes"]


def test_superseding_takes_exactly_one_run_and_an_existing_record(board: Path, tmp_path: Path) -> None:
    runs = [run_folder(tmp_path, record) for record in seeds(count=2)]
    with pytest.raises(ConfigurationError, match="exactly one"):
        submit(board, runs, "0" * 64)
    assert "no valid record" in submit(board, runs[:1], "0" * 64)[0].problem
    assert files(board) == []


def test_two_results_of_one_configuration_in_one_submission_are_refused(board: Path, tmp_path: Path) -> None:
    runs = [run_folder(tmp_path, make_record(level=level)) for level in (0.5, 0.9)]
    assert [outcome.path for outcome in submit(board, runs)] == [None, None]
    assert files(board) == []


def test_nothing_is_written_through_a_link(board: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (board / "results" / "toy").symlink_to(outside)
    with pytest.raises(NcbenchError, match="is a link"):
        submit(board, [run_folder(tmp_path / "runs", make_record())])
    assert list(outside.iterdir()) == []


def test_a_damaged_file_in_the_records_place_is_left_alone(board: Path, tmp_path: Path) -> None:
    run = run_folder(tmp_path / "runs", make_record())
    path = place(board, json.loads((run / "result.json").read_bytes()))
    path.write_bytes(b"damaged")
    with pytest.raises(NcbenchError, match="exists"):
        submit(board, [run])
    assert path.read_bytes() == b"damaged"


def test_a_board_that_is_a_link_is_refused(board: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(board)
    with pytest.raises(ConfigurationError, match="is a link"):
        submit(link, [run_folder(tmp_path / "runs", make_record())])


@pytest.mark.parametrize("data", [b"", b"[]", b'{"a":1,"a":2}', b"NaN", b"\xff", b"[" * 100_000])
def test_a_file_that_is_no_record_is_refused(board: Path, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(data)
    (outcome,) = submit(board, [path])
    assert outcome.path is None
    assert outcome.problem


def test_a_folder_without_a_record_is_refused(board: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert f"name the folders of runs, as {tmp_path / 'empty'}/*" in submit(board, [tmp_path / "empty"])[0].problem
