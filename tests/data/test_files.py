"""Files that are written whole, what killed processes leave of them, and locks between processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from ncbench.contracts.errors import ConfigurationError
from ncbench.data.files import clear_temporaries, is_temporary, locked, temporary_for, write_atomically


def test_a_lock_that_another_process_holds_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with (
        FileLock(path),
        pytest.raises(ConfigurationError, match="Another process is working on x; wait"),
        locked(path, "working on x"),
    ):
        pytest.fail("two hold the lock")
    with locked(path, "working on x"):
        pass  # it was let go


def test_a_lock_that_is_waited_for_says_so_and_is_held_afterwards(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    other = FileLock(path)
    other.acquire()
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        other.release()

    with locked(path, "preparing x", say), pytest.raises(ConfigurationError), locked(path, "preparing x"):
        pytest.fail("two hold the lock")
    assert said == ["Another process is preparing x; waiting for it."]


def test_an_error_inside_the_block_lets_the_lock_go(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locked(tmp_path / ".lock", "working"):
        raise RuntimeError
    with locked(tmp_path / ".lock", "working"):
        pass


@pytest.fixture
def killed() -> int:
    """The number of a process that is over."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_next_writer_of_a_file_removes_what_a_killed_one_left_of_it(tmp_path: Path, killed: int) -> None:
    alive = os.getppid()
    (tmp_path / f".a[1].json.{killed}.tmp").write_text("half")
    (tmp_path / f".a[1].json.{alive}.tmp").write_text("of somebody who is writing")
    (tmp_path / f".b.json.{killed}.tmp").write_text("of another file")
    (tmp_path / f".a[1].json.x{killed}.tmp").write_text("of another program")
    write_atomically(tmp_path / "a[1].json", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {
        "a[1].json",
        f".a[1].json.{alive}.tmp",
        f".b.json.{killed}.tmp",
        f".a[1].json.x{killed}.tmp",
    }
    assert (tmp_path / "a[1].json").read_bytes() == b"whole"


def test_what_killed_processes_left_in_a_folder_is_removed_and_what_others_write_is_not(
    tmp_path: Path, killed: int
) -> None:
    for process in (killed, 10**30, 1):
        (tmp_path / f".store.{process}.tmp" / "below").mkdir(parents=True)
    (tmp_path / f".link.{killed}.tmp").symlink_to(tmp_path)
    clear_temporaries(tmp_path)
    clear_temporaries(tmp_path / "nowhere")
    assert [path.name for path in tmp_path.iterdir()] == [".store.1.tmp"]


def test_a_temporary_name_is_known_as_one(tmp_path: Path) -> None:
    assert is_temporary(temporary_for(tmp_path / "result.json").name)
    assert not is_temporary("result.json")
    assert not is_temporary(".result.json.tmp")
