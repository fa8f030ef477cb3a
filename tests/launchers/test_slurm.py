"""Runs as jobs of a real Slurm: two nodes on this machine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from ncbench import ConfigurationError, Ended, Job, Started, Waiting, load_result
from ncbench.contracts.launcher import Event
from ncbench.launch.sweep import make_launcher
from ncbench_launchers import shared
from ncbench_launchers.shared import other_versions, unseen, versions, write_probe
from ncbench_launchers.slurm import launcher as slurm_launcher
from ncbench_launchers.slurm.array import JOBS_FILE, Element
from ncbench_launchers.slurm.step import LIMITS_IN_VAIN
from tests import served
from tests.launchers.jobs import DATASET, LONG, attempts, job, slow_method, wait_for

HERE = Path(__file__).parents[1] / "launch" / "slurm_here.sh"


def shell(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("slurm")
    unshared = folder / "unshared"
    unshared.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSHARED", str(unshared))
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setattr(slurm_launcher, "POLL_SECONDS", 1.0)
        try:
            # Daemons would keep a pipe open for ever.
            started = subprocess.run([HERE, "start", folder], stdout=(folder / "started").open("w"), stderr=2)
            assert started.returncode == 0, (folder / "started").read_text()
            yield folder
        finally:
            subprocess.run([HERE, "stop", folder], check=True)


@pytest.fixture
def go(tmp_path: Path) -> Iterator[Path]:
    with slow_method(tmp_path) as go:
        yield go


def listed() -> list[str]:
    return shell("squeue", "--noheader", "--array", "--format=%i %T").splitlines()


@pytest.mark.slurm
def test_jobs_take_turns_and_start_once_what_they_build_on_is_completed(cluster: Path, tmp_path: Path) -> None:
    base, other = job("erm"), job("erm", 1, devices=2)
    faulty = Job("faulty", "emr", DATASET, None, 0, {})
    on_base, on_faulty = job("erm", 2, after=(base.run_id, "made before")), job("erm", 3, after=("faulty",))
    jobs = [base, faulty, other, on_base, on_faulty]  # the first three are more than one array takes
    launcher = make_launcher("slurm:partition=low,cpus=1,memory_gb=0.1,hours=1", {"device": "cpu", "workers": 2})
    events = list(launcher.launch(jobs, tmp_path, ["--output", str(tmp_path)]))

    started = {event.job.run_id: index for index, event in enumerate(events) if isinstance(event, Started)}
    ended = {event.job.run_id: index for index, event in enumerate(events) if isinstance(event, Ended)}
    assert len([event for event in events if isinstance(event, Ended)]) == len(ended) == len(jobs)
    assert ended[base.run_id] < started[on_base.run_id]
    assert on_faulty.run_id not in started
    for index in started.values():
        event = events[index]
        assert isinstance(event, Started)
        assert re.fullmatch(r"n[12], job \d+_[01]", event.place)
    assert Waiting(on_base, "runs that others build on come first") in events
    for made in (base, other, on_base):
        assert events[ended[made.run_id]] == Ended(made, 0, "")
        result = load_result(tmp_path / made.run_id)
        assert (result.status, result.record.environment["devices"]) == ("completed", made.devices)
    failed = events[ended["faulty"]]
    assert isinstance(failed, Ended)
    assert (failed.exit_code, "Did you mean 'erm'" in failed.message) == (2, True)
    assert events[ended[on_faulty.run_id]] == Ended.without(on_faulty, "faulty")
    wait_for(lambda: not listed())  # Slurm has been told to cancel what builds on it
    left = [
        run["run_id"] for folder in launched(tmp_path) for run in json.loads((folder / JOBS_FILE).read_text())["jobs"]
    ]
    assert sorted(left) == sorted([base.run_id, "faulty", on_faulty.run_id])  # only of arrays that have failed


def launched(output: Path) -> list[Path]:
    return sorted((output / ".launch").glob("slurm-*/"))


@pytest.mark.slurm
def test_a_run_outlives_time_limit_preemption_and_node(cluster: Path, tmp_path: Path, go: Path) -> None:
    slow = job("slow", epochs=LONG)
    after = job("erm", after=(slow.run_id,))
    rival = ""

    def reach_limit(element: str, node: str) -> None:
        *hours, minutes, _ = shell("squeue", "--noheader", "--format=%M", f"--jobs={element}").strip().split(":")
        assert not hours
        shell("scontrol", "update", f"JobId={element}", f"TimeLimit={int(minutes) + 2}")

    def preempt(element: str, node: str) -> None:
        nonlocal rival
        options = ("--parsable", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null")
        rival = shell("sbatch", *options, "--wrap=sleep 600").strip()

    def lose(element: str, node: str) -> None:
        number = re.search(r"JobId=(\d+)", shell("scontrol", "show", "job", element))
        assert number
        os.kill(int((cluster / f"{node}.pid").read_text()), signal.SIGKILL)
        for process in Path("/proc").glob("[0-9]*"):
            try:
                line, environment = ((process / name).read_bytes() for name in ("cmdline", "environ"))
            except OSError:  # it has ended just now
                continue
            of_job = f"SLURM_JOB_ID={number[1]}\0".encode() in environment
            ours = f"SLURM_CONF={cluster}/slurm.conf\0".encode() in environment
            if f"slurmstepd: [{number[1]}.".encode() in line or (of_job and ours):
                os.kill(int(process.name), signal.SIGKILL)
        shell("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")
        subprocess.run([HERE, "node", cluster, node], check=True)

    acts = [reach_limit, preempt, lose]
    begun, seen = 0, list[Event]()
    launcher = make_launcher("slurm:partition=low,grace=60", {"device": "cpu"})
    for event in launcher.launch([slow, after], tmp_path, ["--output", str(tmp_path), "--checkpoint-seconds", "0"]):
        seen.append(event)
        if event.job is slow and isinstance(event, Started):
            node, _, element = event.place.partition(", job ")
            begun += 1
            wait_for(lambda begun=begun: len(attempts(tmp_path, slow.run_id)) == begun)
            if begun <= len(acts):
                acts[begun - 1](element, node)
            else:
                go.touch()
        elif event.job is slow and isinstance(event, Waiting) and begun:
            if rival:
                shell("scancel", rival)
                rival = ""
            later = ["scontrol", "update", f"JobId={element}", "StartTime=now", "TimeLimit=60"]
            wait_for(lambda later=later: subprocess.run(later).returncode == 0)
    assert attempts(tmp_path, slow.run_id) == ["started", "resumed", "resumed", "resumed"]
    assert [event for event in seen if isinstance(event, Ended)] == [Ended(slow, 0, ""), Ended(after, 0, "")]
    assert load_result(tmp_path / slow.run_id).status == "completed"
    assert launched(tmp_path) == []


@pytest.mark.slurm
def test_a_sweep_is_left_and_taken_up_and_ended(cluster: Path, tmp_path: Path, go: Path) -> None:
    path, runs = tmp_path / "suite.yaml", tmp_path / "runs"
    common = {"datasets": [DATASET], "seeds": [0]}
    blocks = [
        common | {"methods": [method], "settings": {"recipe.epochs": epochs, "recipe.measure_points": 1}}
        for method, epochs in (("slow", LONG), ("erm", 1))
    ]
    path.write_text(yaml.safe_dump({"title": "Try", "description": "D", "runs": blocks}))
    command = ("-m", "ncbench", "sweep", path, "--output", runs, "--launcher", "slurm:device=cpu")
    for _ in range(2):  # nothing is handed in twice
        left = served.python(*command, "--detach")
        assert (left.returncode, left.stdout) == (0, "")
        assert "Handed in." in left.stderr
        (array,) = launched(runs)
    assert all(line.startswith((array / "number").read_text().strip()) for line in listed())

    following = served.Process(*command)
    wait_for(lambda: list(runs.glob("slow-*/checkpoints/*.pt")) and list(runs.glob("erm-*/result.json")))
    assert following.running
    following.send(signal.SIGTERM)
    assert following.finish().returncode == 130
    assert listed() == []
    (slow,) = runs.glob("slow-*")
    assert load_result(slow).status == "interrupted"

    go.touch()
    done = served.python(*command)
    assert done.returncode == 0, done.stderr
    assert attempts(runs, slow.name) == ["started", "resumed"]
    assert load_result(slow).status == "completed"


@pytest.mark.slurm
def test_a_folder_that_nodes_do_not_share_is_said(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_launcher, "CACHE_SECONDS", 2)
    with pytest.raises(ConfigurationError, match=r"Unknown partition of Slurm 'hihg'\. Did you mean 'high'"):
        make_launcher("slurm:partition=hihg", {})
    output = cluster / "unshared" / "runs"
    launcher = make_launcher("slurm:extra=--nodelist=n2", {"device": "cpu"})
    *_, end = launcher.launch([job("erm")], output, ["--output", str(output)])
    assert isinstance(end, Ended)
    assert end.exit_code == 1
    assert "name an --output that all nodes share" in end.message
    # What Slurm itself refuses is said in its words, and leaves nothing behind.
    with pytest.raises(ConfigurationError, match=r"Slurm refuses these jobs: .*Invalid node name"):
        list(make_launcher("slurm:extra=--nodelist=n9", {}).launch([job("erm")], tmp_path, []))
    assert launched(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("slurm", "Slurm does not answer"),
        ("slurm:hours=0.05", "hours=0.05 leaves no time to train: runs are told to end 120 s before the limit"),
        ("slurm:setup=nowhere.sh", "setup=nowhere.sh cannot be read (No such file or directory)"),
        ('slurm:extra=--comment="', "cannot be split into options: No closing quotation"),
        ("slurm:grace=5", "greater than or equal to 30"),
    ],
)
def test_what_slurm_cannot_be_told_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, complaint: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "sbatch").touch(mode=0o755)
    with pytest.raises(ConfigurationError, match=re.escape(complaint)):
        make_launcher(text, {})


def test_without_slurm_the_next_step_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"There is no sbatch here\. Give this command on a machine that"):
        make_launcher("slurm", {})


def test_what_a_node_lacks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "CACHE_SECONDS", 0)
    word = write_probe(tmp_path)
    assert unseen(tmp_path, word, tmp_path) == ""
    assert re.fullmatch(rf"\S+ does not see {tmp_path}; name an --output that .*", unseen(tmp_path, "no", tmp_path))
    assert "does not see" in unseen(tmp_path / "nowhere", word, tmp_path)
    here = versions()
    assert {"ncbench", "torch"} <= here.keys()
    assert other_versions(here) == ""
    differing = other_versions(here | {"torch": "1.0", "theirs": "2.0"})
    assert f"theirs is missing (2.0 where the sweep is), torch {here['torch']} (1.0 where the sweep is)" in differing


def make_step(folder: Path, jobs: dict[str, object], in_vain: int = 0) -> tuple[Element, served.Process]:
    launched = folder / ".launch" / "slurm-x"
    launched.mkdir(parents=True)
    (launched / JOBS_FILE).write_text(
        json.dumps({"output": str(folder), "grace": 30, "devices": 1, "versions": versions()} | jobs)
    )
    element = Element(launched, "7", 0)
    element.note_attempts(2, in_vain)
    arguments = ("-m", "ncbench_launchers.slurm.step", launched, write_probe(launched))
    nowhere = launched / "slurm.conf"  # without any, Slurm looks for one for a minute
    nowhere.write_text("ClusterName=none\nSlurmctldHost=none(127.0.0.1)\nSlurmctldPort=1\nMessageTimeout=2\n")
    variables = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0", "SLURM_CONF": str(nowhere)}
    return element, served.Process(*arguments, **variables)


def test_a_node_of_other_versions_makes_no_run(tmp_path: Path) -> None:
    element, step = make_step(tmp_path, {"versions": {"torch": "1.0"}})
    assert step.finish().returncode == 2
    end = element.end()
    assert end is not None
    assert (end[0], "install the same versions on all nodes" in end[1]) == (2, True)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Slurm is not for Windows")
@pytest.mark.parametrize(
    ("in_vain", "code", "message"),
    [
        (0, 130, "Slurm does not answer"),  # it cannot be requeued here, but nothing of it is lost
        (LIMITS_IN_VAIN - 1, 1, "An epoch takes longer than the time limit, tried 3 times; give more hours."),
    ],
)
def test_at_a_time_limit_that_brought_nothing(tmp_path: Path, in_vain: int, code: int, message: str) -> None:
    stuck = job("erm")
    (tmp_path / stuck.run_id).mkdir()
    arguments = [*stuck.arguments(1), "--output", str(tmp_path), "--device", "cpu"]
    with FileLock(tmp_path / stuck.run_id / ".lock"):
        element, step = make_step(tmp_path, {"jobs": [{"run_id": stuck.run_id, "again": arguments}]}, in_vain)
        wait_for(lambda: element.attempts()[0] == 3)
        step.send(signal.SIGUSR1)
        assert step.finish().returncode == code
    end = element.end()
    assert end is not None
    assert end[0] == code
    assert end[1].startswith(message)
    assert element.attempts() == (3, in_vain + 1)
