"""Files and documents: written whole or not at all, by one process at a time, and read into parts that are checked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic

from ncbench.contracts.errors import ConfigurationError


class Part(pydantic.BaseModel):
    """A part of a document: a record, a manifest, a suite, the leaderboard.

    An unknown key is an error, and so is a number that is not finite; nothing can be set.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def faults(error: pydantic.ValidationError) -> list[str]:
    """Return what is wrong with a document, in plain words: a place and its fault each."""
    places = {item["loc"]: item for item in error.errors(include_url=False)}
    return [
        f"{'.'.join(map(str, place)) or 'the whole'}{_fault(item)}"
        for place, item in places.items()
        # A list without its faulty entries is too short as well, which is not what is wrong.
        if not any(other[: len(place)] == place for other in places if other != place)
    ]


def _fault(item: Mapping[str, Any]) -> str:
    if item["type"] == "missing":
        return " is missing"
    if item["type"] == "extra_forbidden":
        return " is not a key that is known"
    message = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
    given = repr(item["input"])
    return f" {message}, not {given:.80}" if message.startswith("should") else f": {message}"


def from_home(path: str | Path) -> Path:
    """Return a path as a shell reads it: ``~`` and ``~user`` at its beginning are homes.

    A shell leaves them alone in ``--output=~/runs``, in quotes and in many files.

    Raises:
        ConfigurationError: There is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigurationError(
            f"{path} begins with the home of a user who is not known here; write ./{path} if it is a name."
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new and nothing between."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def locked(path: Path, doing: str, say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold a lock file for as long as the block runs; the file itself stays behind.

    Args:
        path: The lock file, in a folder that exists.
        doing: What the holder of the lock does, as in ``"working on runs/erm"``.
        say: Told in one line that another process holds the lock, before it is waited for; None to refuse instead.

    Raises:
        ConfigurationError: Another process holds the lock, and `say` is None.
    """
    from filelock import FileLock, Timeout  # here: importing it takes longer than all of the command line

    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if say is None:
            raise ConfigurationError(f"Another process is {doing}; wait until it is done.") from None
        say(f"Another process is {doing}; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
