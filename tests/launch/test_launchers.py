"""Launchers by their specs, and the one that the documentation shows."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ncbench
from ncbench import ConfigurationError, Ended, Job, JobQueue, LauncherCard, PluginError, Started
from ncbench.discovery.registry import Plugin, Registered, registry
from ncbench.launch.sweep import make_launcher
from tests import served

PAGE = Path(__file__).parents[2] / "docs" / "writing-a-plugin.md"


@pytest.mark.parametrize(
    ("text", "options", "complaint"),
    [
        ("local:worker=2", {}, "Unknown parameter of local 'worker'. Did you mean 'workers'"),
        ("local:workers=-1", {}, "greater than or equal to 0"),
        ("local:workers=2", {"workers": 2}, "'workers' is given twice"),
        ("local:device=cuda:99", {}, "There is no device 'cuda:99' here"),
        ("lokal", {}, "Did you mean 'local'"),
    ],
)
def test_what_a_launcher_cannot_be_told_is_refused(text: str, options: dict[str, int], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(complaint)):
        make_launcher(text, options)


def test_a_plugin_whose_launcher_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    card = LauncherCard(name="odd", summary="Of a third party.", factory="pathlib:Path")
    monkeypatch.setitem(registry().cards["launchers"], "odd", [Registered(card, Plugin("odd", "odd", "1.0"))])
    with pytest.raises(PluginError, match=r"The factory of the launcher 'odd' is not a subclass of ncbench\.Launcher"):
        make_launcher("odd", {})


def test_the_documented_launcher_is_one(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(class InTurn.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {name: getattr(ncbench, name) for name in ("Ended", "JobQueue", "Launcher", "Started")}
    names |= {"subprocess": subprocess, "sys": sys}
    exec(code, names)
    base = Job("base", "emr", "colored_digits", None, 0, {})
    after = Job("after", "erm", "colored_digits", None, 0, {}, after=("base",))
    launcher = names["InTurn"](ncbench.Launcher.Parameters())
    started, *ended = launcher.launch([base, after], tmp_path, ["--output", str(tmp_path)])
    assert started == Started(base, "here")
    assert [(event.job, event.exit_code) for event in ended] == [(base, 2), (after, 1)]
    assert "Did you mean 'erm'" in ended[0].message
    assert ended[1] == Ended.without(after, "base")


def test_queues_that_share_a_folder_share_the_jobs(tmp_path: Path) -> None:
    base = Job("base", "erm", "colored_digits", None, 0, {})
    others = [Job(str(seed), "erm", "colored_digits", None, seed, {}, anew=True) for seed in range(3)]
    jobs = [base, *others, Job("after", "erm", "colored_digits", None, 0, {}, after=("base",))]
    one, other = JobQueue(jobs, tmp_path), JobQueue(jobs, tmp_path)
    assert (one.next(), other.next(), one.next(), other.next()) == tuple(jobs[:4])
    assert (one.next(), other.next()) == (None, None)
    assert one
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "result.json").write_text("{}")
    for queue, job in ((one, base), (other, others[0]), (one, others[1])):
        assert [end.job for end in queue.ended(Ended(job, 0, ""))] == [job]
    assert one.next() == jobs[4]
    time.sleep(0.6)  # what another had claimed is asked for again after half a second
    # What the other sweep has made is started once more, to find it finished, and not discarded.
    assert other.next() == base
    assert other.next() == replace(others[1], anew=False)
    assert list(other.ended(Ended(base, 0, "")))
    assert other.next() is None
    assert list(one.ended(Ended(jobs[4], 130, "")))  # cut off there
    time.sleep(0.6)
    assert other.next() == jobs[4]


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    job = Job("run", "erm", "colored_digits", None, 0, {})
    code = f"""
import pathlib, time
from ncbench import Job, JobQueue
queue = JobQueue([Job("run", "erm", "colored_digits", None, 0, {{}})], pathlib.Path({str(tmp_path)!r}))
assert queue.next()
print("claimed", flush=True)
time.sleep(600)
"""
    process = served.Process("-c", code)
    while "claimed" not in process.stdout:
        assert process.running
        time.sleep(0.01)
    queue = JobQueue([job], tmp_path)
    assert queue.next() is None
    process.send(signal.SIGKILL)
    process.finish()
    time.sleep(0.6)
    assert queue.next() == job


@given(
    after=st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=8),
    failing=st.sets(st.integers(0, 7)),
    take=st.randoms(use_true_random=False),
)
def test_every_job_ends_once_and_none_starts_before_what_it_builds_on(
    after: list[set[int]], failing: set[int], take: Random
) -> None:
    bases = [tuple(str(base) for base in sorted(named) if base < place) for place, named in enumerate(after)]
    jobs = [Job(str(place), "erm", "colored_digits", None, 0, {}, after=named) for place, named in enumerate(bases)]
    queue, running, ends = JobQueue(take.sample(jobs, len(jobs))), list[Job](), dict[str, int]()
    started = set[str]()
    while queue or running:
        while job := queue.next():
            assert all(ends.get(base) == 0 for base in job.after)
            started.add(job.run_id)
            running.append(job)
        done = running.pop(take.randrange(len(running)))
        for end in queue.ended(Ended(done, 4 if int(done.run_id) in failing else 0, "")):
            assert end.job.run_id not in ends
            ends[end.job.run_id] = end.exit_code
    assert ends.keys() == {job.run_id for job in jobs}
    for job in jobs:
        assert (job.run_id in started) == all(ends[base] == 0 for base in job.after)
