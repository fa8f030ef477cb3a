"""Reading and writing records on disk."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import pydantic_core

from ncbench.contracts.errors import DataError, one_line
from ncbench.data.files import first_fault, from_home, write_atomically
from ncbench.discovery.registry import registry
from ncbench.records.markup import html_table
from ncbench.records.record import Record

RESULT_FILE = "result.json"
TRIALS = "trials"
"""In a folder of run folders, that of the trials of searches: nothing takes them for results."""
MAX_BYTES = 16 * 2**20
"""Far above any real record; a file beyond it is refused unread."""

MAX_ENTRIES = 200_000
"""Members of all objects and lists of a record, by its commas: what an error for each of them may cost."""


@dataclass(frozen=True, repr=False)
class RunResult:
    """A run's record and the folder it lies in."""

    record: Record
    folder: Path

    @property
    def path(self) -> Path:
        """The record's file."""
        return self.folder / RESULT_FILE

    @property
    def status(self) -> str:
        """``completed``, ``diverged``, ``interrupted`` or ``failed``."""
        return self.record.status

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Split -> metric name -> number, at the primary criterion."""
        return {split: dict(numbers) for split, numbers in self.record.metrics.items()}

    def __repr__(self) -> str:
        numbers = self.metrics.get("test", {})
        primary = self.record.primary_metric
        value = f", test {primary} {numbers[primary]:.4g}" if primary in numbers else ""
        return one_line(f"<RunResult {self.record.title}: {self.status}{value}; {self.folder}>")

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the numbers that tables show."""
        metrics = self.metrics
        names = [name for name in registry().shown_measures() if any(name in each for each in metrics.values())]
        rows = [[name, *(f"{each[name]:.4g}" if name in each else "" for each in metrics.values())] for name in names]
        return html_table(f"{self.record.title}: {self.status}; {self.folder}", ["metric", *metrics], rows)


def load_result(path: str | Path) -> RunResult:
    """Read a record.

    Args:
        path: A ``result.json``, or the run folder that holds one.

    Raises:
        DataError: There is no record, it is not JSON, or it does not fit the schema; the message names the field.
    """
    path = from_home(path)
    if path.is_dir():
        path = path / RESULT_FILE
    try:
        return RunResult(Record.model_validate(parse_json(read_file(path))), path.parent)
    except OSError as error:
        raise DataError(
            f"There is no record at {path} ({error.strerror}). Name the folder of a run, which ncbench run and ncbench "
            "sweep make below --output, or its result.json."
        ) from error
    except pydantic.ValidationError as error:
        field, message = first_fault(error)
        raise DataError(f"{path} is not a valid record: {field or 'the whole'}: {message}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a valid record: {error}.") from error


def write_result(result: RunResult) -> None:
    """Write a record atomically into its folder."""
    text = json.dumps(result.record.model_dump(mode="json", exclude_none=False), indent=1, allow_nan=False)
    write_atomically(result.path, (text + "\n").encode())


def read_file(path: Path, flags: int = 0) -> bytes:
    """Read a regular file that is no larger than a record may be, and wait for nothing else that lies in its place.

    Args:
        path: The file.
        flags: Of the operating system's ``open``, added to those that it is opened with.

    Raises:
        OSError: It cannot be read.
        ValueError: It is a folder, a pipe or a device, or too large.
    """
    # Non-blocking, so that a pipe in the file's place cannot hold the reader up.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | flags)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 (a descriptor, not a path)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        if status.st_size > MAX_BYTES:
            raise ValueError(f"its {status.st_size} bytes are more than the {MAX_BYTES} a record may have")
        return file.readall()


def refuse_too_many_entries(data: bytes) -> None:
    """Refuse JSON that would cost far more than its bytes to look through; checked before anything is built of it.

    Raises:
        ValueError: It has too many entries.
    """
    if data.count(b",") > MAX_ENTRIES:
        raise ValueError(
            f"it has more than {MAX_ENTRIES} entries (of a long history, recipe.evaluate_every makes a shorter one)"
        )


def parse_json(data: bytes) -> Any:
    """Parse JSON in any layout.

    Raises:
        ValueError: It is not JSON in UTF-8, has too many entries, a key appears twice, or NaN or Infinity stands for a
            number.
        RecursionError: It is nested too deeply.
    """
    refuse_too_many_entries(data)
    pydantic_core.from_json(data)  # stricter: no lone surrogates, no other encoding, only so deep
    return json.loads(data, parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicates)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (key, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {key!r} appears twice")
    return found
