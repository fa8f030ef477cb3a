"""Files and documents: written whole or not at all, by one process at a time, and read into parts that are checked."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic

from ncbench.contracts.errors import ConfigurationError

# Before 0.2 without a host.
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)(-(?P<host>[0-9a-f]{12}))?\.tmp", re.DOTALL)
_ABANDONED_SECONDS = 24 * 3600.0  # after which what another host was writing counts as left behind


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


def first_fault(error: pydantic.ValidationError) -> tuple[str, str]:
    """Return the field, as a dotted path, and the message of the first thing that does not fit the schema.

    Of a thousand faults or more only their number: pydantic lists all of them to tell one.
    """
    if error.error_count() >= 1000:
        return "", f"{error.error_count()} things in it do not fit the schema of a record"
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return ".".join(map(str, first["loc"])), first["msg"]


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
    """Write a file so that a reader, or a crash, sees the old content or the new and nothing between.

    What killed processes left of earlier attempts to write it is removed.
    """
    clear_temporaries(path.parent, path.name)
    temporary = temporary_for(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        if isinstance(error, OSError):
            error.filename = os.fspath(path)  # which a full disk does not say, and a folder says of the temporary
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def temporary_for(path: Path) -> Path:
    """Return where this process prepares what is to be moved to `path` when it is whole: a file or a folder."""
    return path.with_name(f".{path.name}.{os.getpid()}-{_host()}.tmp")


def is_temporary(name: str) -> bool:
    """Whether a name is one of :func:`temporary_for`'s."""
    return _TEMPORARY.fullmatch(name) is not None


def clear_temporaries(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes left in a folder where they would have moved it to its place.

    Whether a process of another host or container is alive cannot be seen from here: what it left is removed when it
    was not written to for a day.

    Args:
        folder: Where to look; it need not exist.
        name: That of the file or folder it was to become; None for any.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _TEMPORARY.fullmatch(entry.name)
            if not found or name not in (None, found["name"]):
                continue
            own = found["host"] in (None, _host())  # earlier versions left out the host
            if not alive(int(found["process"])) if own else _abandoned(Path(entry.path)):
                _remove(Path(entry.path))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


@functools.cache
def _host() -> str:
    """Return 12 hexadecimal digits that stand for where process numbers mean the same: this host, or this container."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):  # Linux alone has these
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _abandoned(path: Path) -> bool:
    with contextlib.suppress(OSError):  # it was moved into place just now
        inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
        written = max(each.lstat().st_mtime for each in (path, *inside))
        return bool(written < time.time() - _ABANDONED_SECONDS)
    return False


def alive(process: int) -> bool:
    """Whether there is such a process on this machine; on Windows, where an open file cannot be removed, say no."""
    if os.name == "nt" or process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    try:  # one that has ended, and whose parent has not asked for it yet, writes nothing any more
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, UnicodeError, IndexError):  # not on Linux, or gone just now
        return True


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
