"""Files that are written whole, what killed processes leave of them, and locks between processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
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


def left_by(process: int, path: Path) -> Path:
    """What this process would write `path` to if it had that number."""
    temporary = temporary_for(path)
    return temporary.with_name(temporary.name.replace(f".{os.getpid()}-", f".{process}-"))


def test_the_next_writer_of_a_file_removes_what_a_killed_one_left_of_it(tmp_path: Path, killed: int) -> None:
    path = tmp_path / "a[1].json"
    left_by(killed, path).write_text("half")
    kept = [left_by(os.getppid(), path), left_by(killed, tmp_path / "b.json"), tmp_path / f".a[1].json.x{killed}.tmp"]
    for other in kept:
        other.write_text("of somebody who is writing, of another file, of another program")
    write_atomically(path, b"whole")
    assert {*tmp_path.iterdir()} == {path, *kept}
    assert path.read_bytes() == b"whole"


def test_what_killed_processes_left_in_a_folder_is_removed_and_what_others_write_is_not(
    tmp_path: Path, killed: int
) -> None:
    for process in (killed, 10**30, 1):
        (left_by(process, tmp_path / "store") / "below").mkdir(parents=True)
    left_by(killed, tmp_path / "link").symlink_to(tmp_path)
    clear_temporaries(tmp_path)
    clear_temporaries(tmp_path / "nowhere")
    assert [*tmp_path.iterdir()] == [left_by(1, tmp_path / "store")]


def test_what_was_left_before_names_had_a_host_is_removed(tmp_path: Path, killed: int) -> None:
    (tmp_path / f".result.json.{killed}.tmp").write_text("half")
    clear_temporaries(tmp_path)
    assert not [*tmp_path.iterdir()]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="what a process does is told by /proc")
def test_a_process_that_is_over_and_not_asked_for_yet_writes_no_more(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read()  # until it ends; it is waited for at the end of the block
        while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
        left_by(process.pid, tmp_path / "a.json").write_text("half")
        clear_temporaries(tmp_path)
        assert not [*tmp_path.iterdir()]


def test_what_another_host_writes_is_removed_once_nothing_was_written_to_it_for_a_day(
    tmp_path: Path, killed: int
) -> None:
    names = [f".{name}.{killed}-0123456789ab.tmp" for name in ("new", "old", "mixed")]
    old = time.time() - 25 * 3600
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "features.npy").write_text("half")
        if "new" not in name:
            os.utime(tmp_path / name, (old, old))
        if "old" in name:
            os.utime(tmp_path / name / "features.npy", (old, old))
    clear_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {name for name in names if "old" not in name}
    assert all(is_temporary(name) for name in names)


def test_a_temporary_name_is_known_as_one(tmp_path: Path) -> None:
    assert is_temporary(temporary_for(tmp_path / "result.json").name)
    assert not is_temporary("result.json")
    assert not is_temporary(".result.json.tmp")
