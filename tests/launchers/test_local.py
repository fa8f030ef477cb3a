"""Runs as processes on this machine, and sweeps that lose some of them."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

import ncbench
from ncbench import Ended, Job, Started, Waiting, load_result
from ncbench.launch.suite import Member
from ncbench.launch.sweep import Sweep, make_launcher
from ncbench.training.configuration import resolve
from ncbench_launchers.processes import New
from tests.training.conftest import without_times

DATASET = "colored_digits:per_class=25"


def member(seed: int, epochs: int = 1, after: tuple[str, ...] = ()) -> Member:
    settings = {"recipe.epochs": epochs, "recipe.measure_points": 1}
    configuration = resolve("erm", DATASET, None, seed, settings, synthetic=False)
    return Member(configuration, Job(configuration.run_id, "erm", DATASET, None, seed, settings, after=after))


def test_jobs_take_turns_and_start_once_what_they_build_on_is_completed(tmp_path: Path) -> None:
    base = member(0).job
    faulty = Job("faulty", "emr", DATASET, None, 0, {})
    on_base, on_faulty = member(1, after=(base.run_id, "made before")).job, member(2, after=("faulty",)).job
    on_nothing = member(3, after=(on_faulty.run_id, base.run_id)).job
    jobs = [on_base, base, faulty, on_faulty, on_nothing]
    launcher = make_launcher("local:workers=2", {"device": "cpu"})
    events = list(launcher.launch(jobs, tmp_path, ["--output", str(tmp_path)]))

    started = {event.job.run_id: index for index, event in enumerate(events) if isinstance(event, Started)}
    ended = {event.job.run_id: index for index, event in enumerate(events) if isinstance(event, Ended)}
    assert started.keys() == {base.run_id, "faulty", on_base.run_id}
    assert len([event for event in events if isinstance(event, Ended)]) == len(ended) == len(jobs)
    assert ended[base.run_id] < started[on_base.run_id]
    waiting = [event.job for event in events if isinstance(event, Waiting)]
    assert waiting == [on_base, on_faulty, on_nothing]
    running = 0
    for event in events:
        running += isinstance(event, Started) - (isinstance(event, Ended) and event.job.run_id in started)
        assert running <= 2
        if isinstance(event, Started):
            assert re.fullmatch(r"process \d+ on cpu", event.place)

    outcomes = {name: events[index] for name, index in ended.items()}
    assert outcomes[base.run_id] == Ended(base, 0, "")
    assert outcomes[on_base.run_id] == Ended(on_base, 0, "")
    failed = outcomes["faulty"]
    assert isinstance(failed, Ended)
    assert failed.exit_code == 2
    assert "Did you mean 'erm'" in failed.message
    assert outcomes[on_faulty.run_id] == Ended(on_faulty, 1, "It builds on faulty, which is not completed.")
    assert outcomes[on_nothing.run_id] == Ended.without(on_nothing, on_faulty.run_id)
    assert load_result(tmp_path / on_base.run_id).status == "completed"


@pytest.mark.slow
def test_a_killed_run_takes_no_other_with_it_and_is_gone_on_with(tmp_path: Path) -> None:
    members = [member(0, epochs=200), member(1), member(2, epochs=200)]
    first, second, third = (member.job.run_id for member in members)
    state = Sweep.of(members, tmp_path)
    told = False
    for _ in state.make(make_launcher("local:workers=3,device=cpu", {}), None):
        if not told and all("process" in state.runs[run_id].place for run_id in (first, third)):
            told = True
            os.kill(process(state.runs[third].place), signal.SIGTERM)
            while not list((tmp_path / first).glob("checkpoints/*.pt")):
                time.sleep(0.01)
            os.kill(process(state.runs[first].place), signal.SIGKILL)
    assert [run.state for run in state.runs.values()][:2] == ["missing", "completed"]
    assert state.runs[third].state in ("missing", "interrupted")  # as it was told before it began, or after
    assert "ended by signal 9, Killed; if memory ran out" in state.runs[first].problem
    assert state.runs[second].problem == ""
    assert state.runs[third].problem == "interrupted; the next sweep goes on with it"

    state = Sweep.of(members[:1], tmp_path)
    assert [run.state for run in state.make(make_launcher("local", {}), None)] == ["running", "completed"]
    log = [json.loads(line) for line in (tmp_path / first / "log.jsonl").read_text().splitlines()]
    resumed = [line["event"] for line in log].index("resumed")
    assert log[0]["event"] == "started"
    assert log[resumed + 1]["epoch"] > 1


def test_records_are_those_of_ncbench_run(tmp_path: Path) -> None:
    settings = {"recipe.epochs": 2, "recipe.measure_points": 2}
    cases = [(method, seed) for seed in (0, 1) for method in ("erm", "jtt")]
    jobs = [Job(f"{method} {seed}", method, DATASET, None, seed, settings) for method, seed in cases]
    launcher = make_launcher("local:workers=1", {"device": "cpu"})  # all are forked from one worker
    events = launcher.launch(jobs, tmp_path, ["--output", str(tmp_path / "swept")])
    assert [event.exit_code for event in events if isinstance(event, Ended)] == [0, 0, 0, 0]
    for method, seed in cases:
        alone = ncbench.run(method, DATASET, seed=seed, set=settings, output=tmp_path / "alone", device="cpu")
        swept = load_result(tmp_path / "swept" / alone.folder.name)
        one, other = (without_times(result.record.model_dump(mode="json")) for result in (alone, swept))
        assert one == other
        assert {path.name for path in swept.folder.iterdir()} == {path.name for path in alone.folder.iterdir()}
        states = [torch.load(result.folder / "model.pt", weights_only=True) for result in (alone, swept)]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0].keys() | states[1].keys())


PLUGIN = """
import os, threading, time
import ncbench

@ncbench.hookimpl
def ncbench_methods():
    return [ncbench.MethodCard(name="ends", summary="s", factory="ender:Ends", supervision=ncbench.Supervision())]

class Ends(ncbench.Method):
    def loss(self, batch):
        os._exit(0)

if os.environ.get("THREAD"):
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
"""


@pytest.mark.slow
@pytest.mark.parametrize("thread", ["", "1"])
def test_a_method_that_ends_its_process_ends_no_other_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    info = tmp_path / "site" / "ender-1.0.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "ender.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ender\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ncbench]\nplugin = ender\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("NCBENCH_PLUGINS", "ender")
    monkeypatch.setenv("THREAD", thread)  # with one, the worker cannot fork
    settings = {"recipe.epochs": 1, "recipe.measure_points": 1}
    jobs = [Job(method, method, DATASET, None, seed, settings) for method, seed in (("ends", 0), ("erm", 0))]
    launcher = make_launcher("local:workers=1", {"device": "cpu"})
    events = list(launcher.launch(jobs, tmp_path, ["--output", str(tmp_path / "runs")]))
    first, second = (event for event in events if isinstance(event, Ended))
    assert (first.exit_code, second.exit_code) == (1, 0)
    assert "ends failed: the process was ended with exit code 0" in first.message
    (record,) = (tmp_path / "runs").glob("ends-*/result.json")
    assert load_result(record).status == "failed"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="runs are forked from workers on Linux alone")
def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    members = [member(0, epochs=4000), member(1)]
    first, second = (member.job.run_id for member in members)
    state = Sweep.of(members, tmp_path)
    for run in state.make(make_launcher("local:workers=1,device=cpu", {}), None):
        if run.state == "running" and run.member.job.run_id == first:
            while not list((tmp_path / first).glob("checkpoints/*.pt")):
                time.sleep(0.01)
            worker = Path(f"/proc/{process(run.place)}/stat").read_text().rpartition(")")[2].split()[1]
            os.kill(int(worker), signal.SIGKILL)
    assert [run.state for run in state.runs.values()] == ["missing", "completed"]
    assert "ended by signal 9, Killed" in state.runs[first].problem
    assert not Path(f"/proc/{process(state.runs[first].place)}").exists()
    assert load_result(tmp_path / second).status == "completed"


@pytest.mark.slow
def test_elsewhere_than_on_linux_a_python_is_started_for_each_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ncbench_launchers.local.KIND", New)
    launcher = make_launcher("local:workers=1", {"device": "cpu"})
    jobs = [Job("faulty", "emr", DATASET, None, 0, {}), member(0).job]
    events = list(launcher.launch(jobs, tmp_path, ["--output", str(tmp_path)]))
    assert [type(event) for event in events] == [Started, Ended, Started, Ended]
    assert isinstance(events[1], Ended)
    assert events[1].exit_code == 2
    assert "Did you mean 'erm'" in events[1].message
    assert events[3] == Ended(jobs[1], 0, "")


def process(place: str) -> int:
    return int(place.split()[1])


@pytest.mark.slow
def test_runs_of_a_sweep_take_several_devices_each(tmp_path: Path) -> None:
    members = [member(0), member(1)]
    state = Sweep.of(members, tmp_path, devices=2)
    for _ in state.make(make_launcher("local:workers=1,device=cpu", {}), None):
        pass
    assert [run.problem for run in state.runs.values()] == ["", ""]
    for each in members:
        record = load_result(tmp_path / each.job.run_id).record
        assert (record.status, record.environment["devices"]) == ("completed", 2)
