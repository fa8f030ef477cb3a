"""The check is green twice on sound records and red for each kind of tampering, and says what a branch changes."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ncbench.cli.commands.leaderboard import leaderboard
from ncbench.contracts.errors import ConfigurationError, DataError, NcbenchError
from ncbench.data.files import temporary_for
from ncbench.leaderboard.build import build
from ncbench.leaderboard.check import check
from ncbench.leaderboard.intake.git_base import Author, Provenance
from ncbench.leaderboard.tables.board import Board
from tests.leaderboard.records import make_record, place, place_all, seeds

ReadOnly = subprocess.CompletedProcess[str]
MALLORY = "mallory@b.c"


def git(folder: Path, *arguments: str, author: str = "a@b.c") -> str:
    identity = ["-c", "user.name=a", "-c", f"user.email={author}", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(board: Path) -> str:
    git(board, "add", "-A", ".")
    git(board, "commit", "-q", "-m", "records")
    return git(board, "rev-parse", "HEAD")


@pytest.fixture
def committed(board: Path) -> Path:
    """Three runs of erm and the board they give, committed on the branch `main`."""
    git(board, "init", "-q", "-b", "main", "..")
    git(board, "config", "user.email", "a@b.c")
    git(board, "config", "user.name", "a")
    place_all(board, seeds("erm"))
    build(board)
    commit(board)
    return board


def invoke(board: Path, *arguments: str) -> Result:
    return CliRunner().invoke(leaderboard, [*arguments, "--board", str(board)], standalone_mode=False)


def test_sound_records_pass_twice_and_nothing_is_written(committed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in committed.rglob("*") if path.is_file()}
    for _ in range(2):
        result = invoke(committed, "check", "--base", "main")
        assert (result.return_value, result.stderr) == (0, "")
        assert "passed: 3 records" in result.stdout
    assert before == {path: path.stat().st_mtime_ns for path in committed.rglob("*") if path.is_file()}


def test_a_file_that_a_killed_submission_left_is_no_record(committed: Path, tmp_path: Path) -> None:
    (folder,) = (committed / "results").glob("*/erm")
    own = temporary_for(folder / f"{'0' * 64}.json")
    left = own.with_name(own.name.replace(f".{os.getpid()}-", f".{2**31}-"))
    left.write_text("{")
    assert invoke(committed, "check", "--base", "main").return_value == 0
    assert invoke(committed, "build").return_value == 0
    run = tmp_path / "result.json"
    run.write_text(json.dumps(make_record(seed=7)))
    assert invoke(committed, "submit", str(run)).return_value == 0
    assert not left.exists()


def test_a_new_record_passes_and_its_row_is_shown(committed: Path) -> None:
    place_all(committed, seeds("jtt", level=0.9))
    build(committed)
    result = invoke(committed, "check", "--base", "main")
    assert result.return_value == 0
    assert "jtt" in result.stdout
    assert "new" in result.stdout
    verdict = check(committed, "main")
    assert {(change.method, bool(change.before), bool(change.after)) for change in verdict.changes} == {
        ("jtt", False, True),
        ("erm", True, True),
    }
    assert "rank 2" in next(change.after for change in verdict.changes if change.method == "erm")


@pytest.mark.parametrize("name", ["leaderboard.json", "README.md"])
def test_an_edited_or_stale_board_fails(committed: Path, name: str) -> None:
    path = committed / name
    path.write_bytes(path.read_bytes().replace(b"7", b"9", 1))
    (line,) = check(committed).failures
    assert line.startswith(f"{name}: it is not what the records give")
    result = invoke(committed, "check")
    assert result.return_value == 1
    assert line in result.stderr
    path.unlink()
    assert len(check(committed).failures) == 1


def test_a_board_behind_a_link_fails(committed: Path, tmp_path: Path) -> None:
    path = committed / "leaderboard.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    assert len(check(committed).failures) == 1
    build(committed)
    assert not path.is_symlink()


@pytest.mark.parametrize("name", ["site/methods/gone.html", "site/extra.js", "site/deep/er/index.html"])
def test_a_build_leaves_no_file_among_the_pages_that_the_records_do_not_give(committed: Path, name: str) -> None:
    path = committed / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    build(committed)
    assert not path.exists()
    assert (committed / "site" / "index.html").exists()


def test_a_build_that_finds_no_space_leaves_the_pages_of_the_one_before(committed: Path) -> None:
    before = {path: path.read_bytes() for path in committed.rglob("*") if path.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(NcbenchError, match=f"no space left for {committed}: free some"):
            build(committed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in committed.rglob("*") if path.is_file()} == before


def test_a_board_that_cannot_be_written_is_said(committed: Path, read_only: Callable[..., ReadOnly]) -> None:
    made = read_only(committed, "leaderboard", "build", "--board", committed)
    reason = "make it writable, or give another --board"
    assert (made.returncode, made.stdout) == (1, "")
    assert made.stderr == f"Error: {committed} cannot be written (Read-only file system): {reason}.\n"


def test_the_pages_are_built_and_not_checked(committed: Path) -> None:
    shutil.rmtree(committed / "site")
    assert check(committed).failures == []
    assert not (committed / "site").exists()


@pytest.mark.parametrize("name", ["site", "site/methods"])
def test_nothing_is_written_through_a_folder_of_pages_behind_a_link(committed: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "kept").touch()
    shutil.rmtree(committed / name)
    (committed / name).symlink_to(outside)
    if name == "site":
        with pytest.raises(NcbenchError, match="is a link"):
            build(committed)
    else:
        build(committed)  # the link is removed with the earlier pages
        assert not (committed / name).is_symlink()
    assert [path.name for path in outside.iterdir()] == ["kept"]


def test_a_deleted_record_fails_even_with_the_board_rebuilt(committed: Path) -> None:
    next(committed.glob("results/*/*/*.json")).unlink()
    build(committed)
    assert check(committed).failures == []
    (line,) = check(committed, "main").failures
    assert "deleted" in line


def test_a_changed_record_fails_even_renamed_and_with_the_board_rebuilt(committed: Path) -> None:
    path = next(committed.glob("results/*/*/*.json"))
    path.write_bytes(path.read_bytes().replace(b'"device":"cpu"', b'"device":"gpu"'))
    build(committed)
    assert any("was changed" in line for line in check(committed).failures)
    assert any("the record was changed" in line for line in check(committed, "main").failures)
    content = path.read_bytes()
    path.unlink()
    place(committed, make_record(), content)
    build(committed)
    assert check(committed).failures == []
    (line,) = check(committed, "main").failures
    assert "deleted" in line


def test_a_record_replaced_by_a_link_fails(committed: Path, tmp_path: Path) -> None:
    path = next(committed.glob("results/*/*/*.json"))
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    build(committed)
    assert any("is a link" in line for line in check(committed).failures)
    assert any("the record was changed" in line for line in check(committed, "main").failures)


def test_a_duplicate_fails(committed: Path) -> None:
    place(committed, make_record(level=0.9))
    build(committed)
    (line,) = check(committed).failures
    assert "same configuration and seed" in line


def test_a_schema_violation_fails(committed: Path) -> None:
    place(committed, {**make_record(seed=5), "schema_version": 2})
    build(committed)
    (line,) = check(committed).failures
    assert "schema_version" in line


def test_records_the_base_gained_since_are_no_deletions(committed: Path) -> None:
    git(committed, "checkout", "-q", "-b", "branch")
    place_all(committed, seeds("jtt"))
    build(committed)
    commit(committed)
    git(committed, "checkout", "-q", "main")
    place_all(committed, seeds("lff"))
    build(committed)
    commit(committed)
    git(committed, "checkout", "-q", "branch")
    assert check(committed, "main").failures == []


def test_a_reference_git_does_not_know_is_wrong_usage(committed: Path, tmp_path: Path) -> None:
    for reference in ("nowhere", "--help", "--output=x", "main:leaderboard"):
        with pytest.raises(ConfigurationError, match="no commit"):
            check(committed, reference)
    outside = tmp_path / "outside" / "leaderboard"
    (outside / "results").mkdir(parents=True)


def test_a_tampered_board_does_not_break_the_table_of_changes(committed: Path) -> None:
    path = committed / "leaderboard.json"
    text = path.read_text().replace('"primary_metric": "group_mean_accuracy"', '"primary_metric": "x\\u001b[2J"')
    path.write_text(text)
    result = invoke(committed, "check")
    assert result.return_value == 1
    assert "\x1b" not in result.stdout
    path.write_text("[" * 100_000)
    assert invoke(committed, "check").return_value == 1


@pytest.mark.parametrize("command", ["build", "check"])
def test_a_folder_that_is_no_board_is_wrong_usage(tmp_path: Path, command: str) -> None:
    with pytest.raises(ConfigurationError, match="no leaderboard"):
        CliRunner().invoke(
            leaderboard, [command, "--board", str(tmp_path)], standalone_mode=False, catch_exceptions=False
        )


def test_build_names_what_does_not_count_and_fails_after_building_the_rest(board: Path) -> None:
    place_all(board, seeds())
    place(board, {**make_record(seed=5), "status": "diverged"})
    first = place(board, {**make_record(seed=6), "schema_version": 2})
    second = place(board, {**make_record(seed=7), "schema_version": 3})
    result = invoke(board, "build")
    assert result.return_value == DataError.exit_code
    assert "3 of 6 records count" in result.stdout
    assert "Written: " in result.stdout
    for path in (first, second):
        assert f"Refused: {path.relative_to(board)}: schema_version: Input should be 1." in result.stderr
    assert result.stderr.count("Excluded: ") == 1
    assert "2 records were refused" in result.stderr
    assert len(Board.model_validate_json((board / "leaderboard.json").read_bytes()).datasets) == 1


def test_build_succeeds_if_a_sound_record_does_not_compare(board: Path) -> None:
    place_all(board, [*seeds(), {**make_record(seed=5), "status": "diverged"}])
    result = invoke(board, "build")
    assert result.return_value == 0
    assert "Excluded: " in result.stderr


def test_the_committed_board_is_what_its_records_give() -> None:
    assert check(Path(__file__).parents[2] / "leaderboard").failures == []


def test_of_contending_records_the_one_committed_first_stays_whatever_its_commits_date_says(committed: Path) -> None:
    """A record of a branch that says it is older than the archive comes after what the branch is merged into."""
    honest = {path.name for path in committed.glob("results/*/*/*.json")}
    git(committed, "checkout", "-q", "-b", "stranger")
    for number in range(20):
        place(committed, {**make_record(seed=1, level=0.9), "extra": number})  # some come before the honest one by path
    build(committed)
    git(committed, "add", "-A", ".")
    git(committed, "commit", "-q", "-m", "older", "--date", "2001-01-01T00:00:00", author=MALLORY)
    git(committed, "checkout", "-q", "main")
    place_all(committed, seeds("lff"))
    build(committed)
    commit(committed)
    git(committed, "merge", "-q", "-X", "ours", "-m", "merged", "stranger")
    built = build(committed)
    row = next(row for row in built.datasets[0].sections[0].rows if row.method.name == "erm")
    assert {Path(run.record).name for run in row.runs} == honest
    failures = check(committed).failures
    assert len(failures) == 20
    assert all("seed:" in line for line in failures)


def test_only_who_placed_a_record_can_correct_it(committed: Path) -> None:
    wrong = place(committed, make_record(seed=1))
    before = build(committed)
    right = {**make_record(seed=1, level=0.1), "supersedes": wrong.stem}
    placed = place(committed, right)
    git(committed, "add", "-A", ".")
    git(committed, "commit", "-q", "-m", "correction", author=MALLORY)
    built = build(committed)
    assert built.datasets == before.datasets
    (line,) = check(committed).failures
    assert "was placed by somebody else, who alone may correct it" in line
    assert placed.name in line

    git(committed, "reset", "-q", "--hard", "HEAD^")
    place(committed, right)
    git(committed, "add", "-A", ".")
    git(committed, "commit", "-q", "-m", "correction")
    corrected = build(committed)
    assert corrected.counted == 3
    assert corrected.datasets != before.datasets
    assert check(committed).failures == []


@pytest.mark.parametrize("known", [True, False])
def test_one_person_of_two_addresses_is_known_by_the_mailmap(committed: Path, known: bool) -> None:
    """Also before the correction is committed."""
    if known:
        (committed.parent / ".mailmap").write_text("a <a@b.c> <mallory@b.c>\n")
    wrong = place(committed, make_record(seed=1))
    git(committed, "config", "user.email", MALLORY)
    place(committed, {**make_record(seed=1, level=0.1), "supersedes": wrong.stem})
    problems = [problem for problem in build(committed).left_out if problem.refused]
    assert bool(problems) is not known


def test_a_record_that_was_deleted_and_came_back_is_of_who_placed_it_first(committed: Path) -> None:
    path = next(committed.glob("results/*/*/*.json"))
    data = path.read_bytes()
    path.unlink()
    commit(committed)
    path.write_bytes(data)
    git(committed, "add", "-A", ".")
    git(committed, "commit", "-q", "-m", "back", author=MALLORY)
    author = Provenance(committed).placed(path.relative_to(committed).as_posix())
    assert author == Author("a", "a@b.c")


def test_a_correction_that_does_not_count_corrects_nothing(committed: Path) -> None:
    wrong = place(committed, make_record(seed=1))
    before = build(committed)
    copied = {**make_record(seed=1, level=0.1), "supersedes": wrong.stem, "history": make_record(seed=2)["history"]}
    place(committed, copied)
    diverged = {**make_record(seed=1), "supersedes": wrong.stem, "status": "diverged", "groups": {}, "metrics": {}}
    place(committed, diverged)
    built = build(committed)
    assert built.datasets == before.datasets
    assert built.counted == 3


def test_a_diverged_record_puts_no_remark_on_the_others(committed: Path) -> None:
    before = build(committed)
    place(committed, {**make_record(seed=7), "status": "diverged", "reason": "the loss of epoch 2 is nan"})
    assert build(committed).datasets == before.datasets


def test_a_shallow_clone_builds_the_same_board(committed: Path, tmp_path: Path) -> None:
    wrong = place(committed, make_record(seed=1))
    place(committed, {**make_record(seed=1, level=0.9), "supersedes": wrong.stem})
    build(committed)
    commit(committed)
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{committed.parent}", "shallow")
    assert check(tmp_path / "shallow" / "leaderboard").failures == []
