"""Runs to make in tests, on nodes of whatever kind; one method is slow until it is told to go."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ncbench import Job
from tests import served

DATASET = "colored_digits:per_class=25"
LONG = 300  # epochs of a second each, until the test lets them go
PATIENCE = 900
PLUGIN = """
import os, time
import ncbench
from ncbench_methods.erm import ERM

@ncbench.hookimpl
def ncbench_methods():
    return [ncbench.MethodCard(name="slow", summary="s", factory="slow_erm:Slow", supervision=ncbench.Supervision())]

class Slow(ERM):
    def loss(self, batch):
        if not os.path.exists(os.environ["NCBENCH_GO"]):
            time.sleep(1)
        return super().loss(batch)
"""


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@contextlib.contextmanager
def slow_method(folder: Path) -> Iterator[Path]:
    """Have the method `slow` installed, and yield the file that makes it fast."""
    site, go = folder / "site", folder / "go"
    info = site / "slow_erm-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "slow_erm.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow_erm\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ncbench]\nplugin = slow_erm\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("NCBENCH_PLUGINS", "ncbench,slow_erm")
        patch.setenv("NCBENCH_GO", str(go))
        yield go


def run_id(method: str, seed: int, settings: dict[str, int]) -> str:
    """The id of a run, also of a method that this process does not know."""
    code = f"""
from ncbench.training.configuration import resolve
print(resolve({method!r}, {DATASET!r}, None, {seed}, {settings!r}, synthetic=False).run_id)
"""
    done = served.python("-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def job(method: str, seed: int = 0, epochs: int = 1, after: tuple[str, ...] = (), devices: int = 1) -> Job:
    settings = {"recipe.epochs": epochs, "recipe.measure_points": 1}
    return Job(run_id(method, seed, settings), method, DATASET, None, seed, settings, devices=devices, after=after)


def attempts(output: Path, name: str) -> list[str]:
    """How the attempts at a run have begun, each once it is training."""
    path = output / name / "log.jsonl"
    events = [json.loads(line).get("event") for line in path.read_text().splitlines()] if path.exists() else []
    return [
        event
        for place, event in enumerate(events)
        if event in ("started", "resumed") and any(later == "epoch" for later in events[place:])
    ]
