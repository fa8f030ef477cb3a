"""Sweeps, with real runs in processes of their own."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ncbench.contracts.launcher import Ended, Started
from ncbench.launch.local import Local
from ncbench.launch.suite import load_suite
from ncbench.launch.sweep import Sweep

Cli = Callable[..., tuple[int, str, str]]


def suite(folder: Path, *blocks: dict[str, Any]) -> Path:
    defaults = {"datasets": ["colored_digits"], "seeds": [0], "settings": {"recipe.epochs": 1}}
    path = folder / "suite.yaml"
    content = {"title": "Try", "description": "D", "runs": [defaults | block for block in blocks]}
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_sweep_makes_what_is_missing_and_no_more(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NCBENCH_DATA", raising=False)
    path = suite(
        tmp_path,
        {"methods": ["erm", "focal"]},
        {"methods": ["erm"], "datasets": ["bar"]},  # is not there
        {"methods": ["erm"], "seeds": [1], "settings": {"recipe.epochs": 1, "recipe.lr": 1e30}},
    )
    runs = tmp_path / "runs"
    code, out, _ = cli("sweep", path, "--output", runs, "--dry-run")
    assert (code, out.count("missing")) == (0, 4)
    assert not runs.exists()

    code, out, err = cli("sweep", path, "--output", runs, "--workers", 2)
    assert code == 1
    assert "Not made: erm on bar" in err
    assert "bar" in err
    records = {file.parent.name: json.loads(file.read_text()) for file in runs.glob("*/result.json")}
    assert sorted(record["status"] for record in records.values()) == ["completed", "completed", "diverged"]

    before = {name: (runs / name / "result.json").stat().st_mtime_ns for name in records}
    failed = next(name for name in records if name.startswith("focal"))
    fault = {"status": "failed", "reason": "power cut"}
    (runs / failed / "result.json").write_text(json.dumps(records[failed] | fault))
    code, out, _ = cli("sweep", path, "--output", runs, "--dry-run")
    assert {state: out.count(state) for state in ("completed", "diverged", "failed ", "missing")} == {
        "completed": 1, "diverged": 1, "failed ": 1, "missing": 1,
    }  # fmt: skip
    code, _, _ = cli("sweep", path, "--output", runs)
    assert code == 1
    after = {name: (runs / name / "result.json").stat().st_mtime_ns for name in records}
    assert {name for name in records if before[name] != after[name]} == {failed}
    assert json.loads((runs / failed / "result.json").read_text())["status"] == "completed"


def test_a_killed_run_takes_no_other_with_it_and_is_gone_on_with(tmp_path: Path) -> None:
    path = suite(tmp_path, {"methods": ["erm"], "seeds": [0, 1], "settings": {"recipe.epochs": 60}})
    state = Sweep.of(load_suite(path).members(), tmp_path / "runs")
    jobs = [run.member.job for run in state.runs.values()]
    ended = {}
    for event in Local(2, "cpu").launch(jobs, ["--output", str(tmp_path / "runs"), "--checkpoint-seconds", "0"]):
        if isinstance(event, Started) and event.job.seed == 1:
            folder = tmp_path / "runs" / jobs[0].run_id
            while not list(folder.glob("checkpoints/*.pt")):
                pass
            os.kill(_process_of(jobs[0].run_id), signal.SIGKILL)
        if isinstance(event, Ended):
            ended[event.job.seed] = event.exit_code
    assert ended == {0: -signal.SIGKILL, 1: 0}
    state = Sweep.of(load_suite(path).members(), tmp_path / "runs")
    assert [run.state for run in state.runs.values()] == ["missing", "completed"]
    assert [run.state for run in state.make(Local(1, "cpu"), None)] == ["running", "completed"]
    log = (tmp_path / "runs" / jobs[0].run_id / "log.jsonl").read_text().splitlines()
    assert "resumed" in {json.loads(line)["event"] for line in log}


def test_closing_a_launcher_interrupts_its_runs_so_that_they_can_go_on(tmp_path: Path) -> None:
    path = suite(tmp_path, {"methods": ["erm"], "settings": {"recipe.epochs": 2000}})
    state = Sweep.of(load_suite(path).members(), tmp_path / "runs")
    (job,) = (run.member.job for run in state.runs.values())
    events = Local(1, "cpu").launch([job], ["--output", str(tmp_path / "runs"), "--checkpoint-seconds", "0"])
    assert next(events) == Started(job)
    while not list((tmp_path / "runs" / job.run_id).glob("checkpoints/*.pt")):
        pass
    events.close()
    (run,) = Sweep.of(load_suite(path).members(), tmp_path / "runs").runs.values()
    assert run.state == "interrupted"


def _process_of(run_id: str) -> int:
    """The process that works on a run's folder: the only one to which its lock file is open."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(run_id in str(entry.readlink()) for entry in (process / "fd").iterdir()):
                return int(process.name)
        except OSError:
            continue
    raise AssertionError(f"no process works on {run_id}")
