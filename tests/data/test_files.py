"""Locks between processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from ncbench.contracts.errors import ConfigurationError
from ncbench.data.files import locked


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
