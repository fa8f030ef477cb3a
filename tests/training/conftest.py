"""Helpers to run the command line, and to compare records apart from what may differ."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ncbench.cli.main import main
from ncbench.training.reporters import Silent
from tests.served import Finished

Command = Callable[..., Finished]


@pytest.fixture
def ncbench_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run ``ncbench run`` in this process, with records below `tmp_path`/runs; keywords are environment variables."""

    def call(*arguments: str, **environment: str) -> Finished:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["ncbench", "run", "--output", str(tmp_path / "runs"), *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Finished(int(ended.value.code or 0), *capfd.readouterr())

    return call


class EndsAfter(Silent):
    """Ends a run, as Ctrl-C does, when an epoch is done."""

    def __init__(self, last: int) -> None:
        self.last = last

    def epoch(self, entry: dict[str, Any]) -> None:
        if entry["epoch"] == self.last:
            raise KeyboardInterrupt


def only_record(folder: Path) -> dict[str, Any]:
    """Return the one record below a folder of runs."""
    (path,) = folder.glob("*/result.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    """Drop what may differ between two runs of one configuration on one machine."""
    kept = {key: value for key, value in record.items() if key not in {"timing", "created"}}
    kept["history"] = [{key: value for key, value in entry.items() if key != "seconds"} for entry in record["history"]]
    return kept
