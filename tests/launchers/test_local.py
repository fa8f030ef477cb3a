"""Runs as processes on this machine, and sweeps that lose some of them."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from ncbench import Ended, Job, Started, Waiting, load_result
from ncbench.launch.suite import Member
from ncbench.launch.sweep import Sweep, make_launcher
from ncbench.training.configuration import resolve

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
    for run in state.make(make_launcher("local:workers=3,device=cpu", {}), None):
        if run.state == "running" and run.member.job.run_id == third:  # which imports torch by now
            os.kill(process(run.place), signal.SIGTERM)
            while not list((tmp_path / first).glob("checkpoints/*.pt")):
                time.sleep(0.01)
            os.kill(process(state.runs[first].place), signal.SIGKILL)
    assert [run.state for run in state.runs.values()] == ["missing", "completed", "missing"]
    assert "ended by signal 9, Killed; if memory ran out" in state.runs[first].problem
    assert state.runs[second].problem == ""
    assert state.runs[third].problem == "interrupted; the next sweep goes on with it"

    state = Sweep.of(members[:1], tmp_path)
    assert [run.state for run in state.make(make_launcher("local", {}), None)] == ["running", "completed"]
    log = [json.loads(line) for line in (tmp_path / first / "log.jsonl").read_text().splitlines()]
    resumed = [line["event"] for line in log].index("resumed")
    assert log[0]["event"] == "started"
    assert log[resumed + 1]["epoch"] > 1


def process(place: str) -> int:
    return int(place.split()[1])
