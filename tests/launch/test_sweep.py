"""Sweeps, with real runs in processes of their own."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import pty
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

import ncbench
from ncbench import Ended, Job, Launcher, Started, Waiting, load_result
from ncbench.cli.tables.sweep import choices, describe, table
from ncbench.contracts.launcher import Event
from ncbench.launch.suite import Member, load_suite
from ncbench.launch.sweep import Sweep
from tests import served
from tests.training.conftest import without_times

Cli = Callable[..., tuple[int, str, str]]


def suite(folder: Path, *blocks: dict[str, Any]) -> Path:
    defaults = {"datasets": ["colored_digits"], "seeds": [0], "settings": {"recipe.epochs": 1}}
    path = folder / "suite.yaml"
    content = {"title": "Try", "description": "D", "runs": [defaults | block for block in blocks]}
    path.write_text(yaml.safe_dump(content))
    return path


def test_what_would_be_refused_is_foreseen_and_a_line_says_of_which_methods_and_seeds(tmp_path: Path, cli: Cli) -> None:
    on_erm = {"methods": ["dpe:by=class", "tau_norm", "tau_norm:tau=1"], "settings": {}}
    path = suite(tmp_path, {"methods": ["self_llr"], "seeds": [0, 1]}, {**on_erm, "seeds": [0, 1]})
    runs = tmp_path / "runs"
    code, out, err = cli("sweep", path, "--output", runs, "--dry-run")
    assert (code, out.count("refused "), out.count("missing ")) == (1, 6, 4), err  # with two runs of erm
    first, *told = err.splitlines()
    assert first == "Try: 10 runs, 4 of them to make."
    assert [line.partition(": ")[2].partition(": ")[0] for line in told] == [
        f"{what}, seeds 0, 1"
        for what in (
            "self_llr on colored_digits",
            "dpe:by=class on colored_digits",
            "tau_norm on colored_digits",
        )
    ]
    assert told[2].endswith("Give it, as in tau_norm:tau=1, or hold images out, as in colored_digits:val=0.1.")
    assert not runs.exists()

    class Starts(Launcher):
        def launch(self, jobs: Sequence[Job], output: Path, arguments: Sequence[str]) -> Generator[Event, None, None]:
            yield from map(Started, jobs)

    started = Sweep.of(load_suite(path).members(), runs).make(Starts(Launcher.Parameters()), None)
    assert {run.member.job.method for run in started} == {"erm", "tau_norm:tau=1"}


def test_a_method_that_a_frozen_backbone_refuses_is_refused_before_anything(tmp_path: Path, cli: Cli) -> None:
    path = suite(tmp_path, {"methods": ["erm", "mmd"], "backbone": "resnet18:weights=imagenet,frozen=true"})
    code, out, err = cli("sweep", path, "--output", tmp_path / "runs", "--dry-run")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "mmd acts on features while they are learned" in err
    assert "rebias" in err  # all such methods are named at once


def test_a_sweep_makes_what_is_missing_and_no_more(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NCBENCH_DATA", raising=False)
    path = suite(
        tmp_path,
        {"methods": ["erm", "focal"]},
        {"methods": ["erm"], "datasets": ["bar"], "seeds": [0, 1]},  # is not there
        {"methods": ["erm"], "datasets": ["colored_digits:imbalance=step,ratio=1000"]},  # leaves classes without images
        {"methods": ["erm"], "seeds": [1], "settings": {"recipe.epochs": 1, "recipe.lr": 1e30}},
    )
    runs = tmp_path / "runs"
    code, out, _ = cli("sweep", path, "--output", runs, "--dry-run")
    assert (code, out.count("missing")) == (0, 6)
    assert not runs.exists()

    code, out, err = cli("sweep", path, "--output", runs, "--workers", 2)
    assert code == 1
    assert len(re.findall(r"^erm on colored_digits, seed 0: started \(process \d+ on \w+\)$", err, re.MULTILINE)) == 1
    told = [line for line in err.splitlines() if line.startswith("Not made: ")]
    assert len(told) == 2  # one line a reason
    assert "erm on bar, seeds 0, 1: The dataset 'bar'" in told[0]
    assert "erm on colored_digits, lr=1e+30, seed 1: diverged (" in err
    assert "ratio=1000.0 leaves no training image" in told[1]
    records = {file.parent.name: json.loads(file.read_text()) for file in runs.glob("*/result.json")}
    assert sorted(record["status"] for record in records.values()) == ["completed", "completed", "diverged"]

    before = {name: (runs / name / "result.json").stat().st_mtime_ns for name in records}
    failed = next(name for name in records if name.startswith("focal"))
    fault = {"status": "failed", "reason": "power cut"}
    (runs / failed / "result.json").write_text(json.dumps(records[failed] | fault))
    code, out, _ = cli("sweep", path, "--output", runs, "--dry-run")
    assert {state: out.count(state) for state in ("completed", "diverged", "failed ", "missing")} == {
        "completed": 1, "diverged": 1, "failed ": 1, "missing": 3,
    }  # fmt: skip
    code, _, _ = cli("sweep", path, "--output", runs)
    assert code == 1
    after = {name: (runs / name / "result.json").stat().st_mtime_ns for name in records}
    assert {name for name in records if before[name] != after[name]} == {failed}
    anew = json.loads((runs / failed / "result.json").read_text())
    assert anew["status"] == "completed"

    del anew["metrics"]["test"][anew["primary_metric"]]  # as where it is undefined
    (runs / failed / "result.json").write_text(json.dumps(anew))
    code, out, _ = cli("sweep", suite(tmp_path, {"methods": ["erm", "focal"]}), "--output", runs)
    assert code == 0
    assert out.count("group_mean_accuracy") == 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--output", "FILE"], "cannot be written"),
        (["--device", "cuda:99"], "There is no device 'cuda:99' here"),
        (["--launcher", "lokal"], "Did you mean 'local'"),
        (["--launcher", "local:workers=2", "--workers", "1"], "'workers' is given twice"),
    ],
)
def test_what_would_end_every_run_is_said_once(tmp_path: Path, cli: Cli, options: list[str], complaint: str) -> None:
    (tmp_path / "file").touch()
    path = suite(tmp_path, {"methods": ["erm", "focal"]})
    options = [option.replace("FILE", str(tmp_path / "file")) for option in options]
    code, out, err = cli("sweep", path, "--output", tmp_path / "runs", *options)
    assert (code, out) == (2, "")
    assert err.count(complaint) == 1
    assert not (tmp_path / "runs").exists()


class Elsewhere(Launcher):
    """A queue whose runs start in another folder, and whose first node is lost before it begins."""

    def launch(self, jobs: Sequence[Job], output: Path, arguments: Sequence[str]) -> Generator[Event, None, None]:
        assert output.is_absolute()
        for job in jobs:
            yield Waiting(job, "a node is repaired")
            yield Started(job, "node 1")
            yield Waiting(job, "a node is repaired")
            yield Started(job, "node 2")
            done = served.python("-m", "ncbench", "run", *job.arguments(attempt=1), *arguments, cwd=Path("/"))
            yield Ended(job, done.returncode, done.stderr.strip().rpartition("\n")[2])


def test_runs_may_be_made_in_any_folder_and_start_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    state = Sweep.of(load_suite(suite(tmp_path, {"methods": ["erm"]})).members(), Path("runs"))
    (run,) = state.runs.values()
    told: list[str] = []
    launcher = Elsewhere(Launcher.Parameters())
    went = [(run.state, run.place) for run in state.make(launcher, Path("data"), told.append)]
    assert [state for state, _ in went] == ["waiting", "running", "waiting", "running", "completed"]
    assert [place for state, place in went if state == "running"] == ["node 1", "node 2"]
    assert told.count("Runs wait: a node is repaired.") == 1
    assert run.result is not None
    epochs = run.result.record.recipe["epochs"]
    assert choices(state) == [f"Metrics of epoch {epochs}, the last: erm on colored_digits"]
    assert run.result.path.samefile(tmp_path / "runs" / run.member.job.run_id / "result.json")


def test_what_all_runs_share_is_not_said_of_each(tmp_path: Path) -> None:
    path = suite(
        tmp_path,
        {"methods": ["erm", "focal"], "backbone": "mlp"},
        {"methods": ["jtt"], "backbone": "mlp", "settings": {"recipe.epochs": 1, "recipe.lr": 0.01}},
        {"methods": ["jtt"], "backbone": "mlp", "settings": {"recipe.epochs": 1, "recipe.lr": 0.02}},
    )
    for member in load_suite(path).members()[:3]:
        job = member.job
        ncbench.run(job.method, job.dataset, backbone="mlp", set=job.settings, output=tmp_path / "runs", device="cpu")
    state = Sweep.of(load_suite(path).members(), tmp_path / "runs")
    assert [describe(run.member.job, state) for run in state.runs.values()] == [
        "erm on colored_digits, seed 0",
        "focal on colored_digits, seed 0",
        "jtt on colored_digits, lr=0.01, seed 0",
        "jtt on colored_digits, lr=0.02, seed 0",
    ]
    first, last = choices(state)
    assert re.fullmatch(r"Metrics of epoch \d+, the last: jtt, lr=0\.01 on colored_digits", first)
    assert last == "Metrics of epoch 1, the last: the other 2 configurations"


class Remote(Launcher):
    """Makes no run itself; their records appear `late`, in seconds, or never."""

    detaches = True

    def __init__(self, params: Any, late: float | None = None) -> None:
        super().__init__(params)
        self.late = late
        self.handed_in: list[str] = []

    def hand_in(self, jobs: Sequence[Job], output: Path, arguments: Sequence[str]) -> None:
        assert arguments == ["--output", str(output)]
        self.handed_in = [job.run_id for job in jobs]

    def launch(self, jobs: Sequence[Job], output: Path, arguments: Sequence[str]) -> Generator[Event, None, None]:
        for job in jobs:
            elsewhere = output / "elsewhere"
            ncbench.run(job.method, job.dataset, seed=job.seed, set=job.settings, output=elsewhere, device="cpu")
            if self.late is not None:
                threading.Timer(self.late, os.rename, (elsewhere / job.run_id, output / job.run_id)).start()
            yield Ended(job, 0, "")


@pytest.mark.parametrize("late", [1.0, None])
def test_a_record_that_a_network_shows_late_is_waited_for(tmp_path: Path, late: float | None) -> None:
    state = Sweep.of(load_suite(suite(tmp_path, {"methods": ["erm"]})).members(), tmp_path / "runs")
    state._patience = 60.0 if late else 1.0
    (run,) = state.make(Remote(Launcher.Parameters(), late), None)
    if late:
        assert (run.state, run.problem) == ("completed", "")
    else:
        assert run.state == "missing"
        assert run.problem == (
            f"it is made, but not to be seen in {tmp_path / 'runs'}; name an --output that all nodes share"
        )


def test_a_sweep_that_is_left_hands_in_what_is_missing(tmp_path: Path, cli: Cli) -> None:
    path, runs = suite(tmp_path, {"methods": ["erm", "focal"]}), tmp_path / "runs"
    state = Sweep.of(load_suite(path).members(), runs)
    launcher = Remote(Launcher.Parameters())
    state.hand_in(launcher, None)
    assert launcher.handed_in == list(state.runs)
    assert [run.state for run in state.runs.values()] == ["missing", "missing"]
    code, out, err = cli("sweep", path, "--output", runs, "--detach")
    assert (code, out) == (2, "")
    assert "--detach is for launchers whose runs outlive the sweep, as those of slurm do" in err


def test_what_builds_on_a_run_that_cannot_be_made_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NCBENCH_DATA", raising=False)
    blocks = {"methods": ["erm"], "datasets": ["bar"]}, {"methods": ["erm", "focal", "ldam"]}  # bar is not there
    members = load_suite(suite(tmp_path, *blocks)).members()
    bases = [member.job.run_id for member in members]

    def after(place: int, *others: int) -> Member:
        job = replace(members[place].job, after=tuple(bases[other] for other in others))
        return replace(members[place], job=job)

    state = Sweep.of([members[0], members[1], after(2, 1, 0), after(3, 2)], tmp_path / "runs")
    state.runs[bases[1]].state = "diverged"
    assert list(state.make(Elsewhere(Launcher.Parameters()), None)) == []
    problems = [state.runs[base].problem for base in bases]
    assert "The dataset 'bar'" in problems[0]
    assert problems[1] == ""
    assert problems[2] == f"It builds on {bases[1]}, which is not completed."
    assert problems[3] == f"It builds on {bases[2]}, which is not completed."


def test_an_interrupted_sweep_leaves_no_run_behind_and_each_can_go_on(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = suite(tmp_path, {"methods": ["erm"], "settings": {"recipe.epochs": 4000}})
    (member,) = load_suite(path).members()
    folder = tmp_path / "runs" / member.job.run_id

    def interrupt() -> None:
        while not list(folder.glob("checkpoints/*.pt")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    screen, terminal = pty.openpty()
    shown: list[bytes] = []

    def look() -> None:
        with contextlib.suppress(OSError):  # nobody writes to the terminal any more
            while block := os.read(screen, 1 << 12):
                shown.append(block)

    looking = threading.Thread(target=look)
    looking.start()
    threading.Thread(target=interrupt).start()
    with os.fdopen(terminal, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        code, _, _ = cli("sweep", path, "--output", tmp_path / "runs")
    looking.join()
    os.close(screen)
    text = b"".join(shown).decode()
    assert code == 130
    assert "Try: 1 run, 1 of them to make." in text
    assert "Give the same command again to go on" in text
    assert load_result(folder).status == "interrupted"
    with pytest.raises(AssertionError, match="no process works on"):
        _process_of(folder)


@pytest.mark.slow
def test_a_sweep_that_is_killed_leaves_no_run_behind(tmp_path: Path) -> None:
    path = suite(tmp_path, {"methods": ["erm"], "settings": {"recipe.epochs": 4000}})
    (member,) = load_suite(path).members()
    folder = tmp_path / "runs" / member.job.run_id
    sweep = served.Process("-m", "ncbench", "sweep", path, "--output", tmp_path / "runs")
    while not list(folder.glob("checkpoints/*.pt")):
        assert sweep.running
        time.sleep(0.01)
    sweep.send(signal.SIGKILL)
    assert sweep.finish().returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while _is_worked_on(folder):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert load_result(folder).status == "interrupted"


def test_shards_are_all_runs_each_once_and_what_they_build_on(tmp_path: Path) -> None:
    path = suite(tmp_path, {"methods": ["erm", "focal"], "seeds": [0, 1, 2]})
    members = load_suite(path).members()
    ids = [member.job.run_id for member in members]
    members[4] = replace(members[4], job=replace(members[4].job, after=(ids[1],)))
    every = Sweep.of(members, tmp_path / "runs")
    shards = [list(every.shard(number, 4).runs) for number in (1, 2, 3, 4)]
    assert shards == [[ids[0], ids[1], ids[4]], [ids[1], ids[5]], [ids[2]], [ids[3]]]
    assert list(every.shard(1, 1).runs) == ids


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "/", "1/2/3"])
def test_a_shard_that_is_none_is_refused(tmp_path: Path, cli: Cli, text: str) -> None:
    code, _, err = cli("sweep", suite(tmp_path, {"methods": ["erm"]}), "--shard", text)
    assert code == 2
    assert "is not I/N" in err


def test_how_a_sweep_stands_is_told_by_any_process(tmp_path: Path, cli: Cli) -> None:
    short = {"methods": ["erm"], "datasets": ["colored_digits:per_class=25"], "seeds": [0, 1]}
    path = suite(tmp_path, short, {"methods": ["focal"], "settings": {"recipe.epochs": 4000}}, {"methods": ["ldam"]})
    runs, command = tmp_path / "runs", ("sweep", path, "--output", tmp_path / "runs", "--status")
    code, out, err = cli(*command)
    assert (code, out, err) == (0, "4 runs: 4 missing\n", "")
    assert not runs.exists()
    settings = {"recipe.epochs": 1}
    for seed in (0, 1):
        made = ncbench.run("erm", short["datasets"][0], seed=seed, set=settings, output=runs)
    fault = {"status": "failed", "reason": "power cut"}
    made.path.write_text(json.dumps(json.loads(made.path.read_text()) | fault))
    long = served.Process("-m", "ncbench", "run", "--method", "focal", "--set", "recipe.epochs=4000", "--output", runs)
    while not list(runs.glob("focal-*/checkpoints/*.pt")):
        assert long.running
        time.sleep(0.01)
    code, out, err = cli(*command)
    counted, running, failed, left = out.splitlines()
    assert counted == "4 runs: 1 completed, 1 failed, 1 missing, 1 running"
    assert re.fullmatch(r"running    focal .*: epoch [1-9]\d* of 4000, process \d+ on \S+, heard of \d+ s ago", running)
    assert re.fullmatch(r"failed     erm .* seed 1: power cut", failed)
    assert re.fullmatch(r"About \d+ s left, 1 at a time\.", left)
    long.send(signal.SIGKILL)
    long.finish()
    counted, cut_short, failed = cli(*command)[1].splitlines()
    assert counted == "4 runs: 1 completed, 1 cut short, 1 failed, 1 missing"
    assert re.fullmatch(
        r"cut short  focal .*: epoch [1-9]\d* of 4000; start the sweep again to go on with it", cut_short
    )
    assert failed.endswith("seed 1: power cut")
    (log,) = runs.glob("focal-*/log.jsonl")
    here = {"time": datetime.datetime.now(datetime.UTC).isoformat(), "host": platform.node(), "process": os.getppid()}
    with log.open("a") as stream:
        stream.write(json.dumps(here | {"event": "resumed"}) + "\n")
    assert re.search(r"running    focal .*: epoch [1-9]\d* of 4000, process", cli(*command)[1])


@pytest.mark.slow
def test_a_sweep_that_is_killed_again_and_again_ends_as_one_that_is_not(tmp_path: Path) -> None:
    short = {"datasets": ["colored_digits:per_class=25"], "settings": {"recipe.epochs": 2, "recipe.measure_points": 1}}
    path = suite(tmp_path, {"methods": ["erm", "focal"], "seeds": [0, 1, 2, 3, 4, 5], **short})
    command = ("-m", "ncbench", "sweep", path, "--workers", "2", "--output")
    assert served.python(*command, tmp_path / "whole").returncode == 0
    cut = tmp_path / "cut"
    for enough in (1, 4, 7):
        sweep = served.Process(*command, cut)
        while len(list(cut.glob("*/result.json"))) < enough:
            assert sweep.running
            time.sleep(0.01)
        sweep.send(signal.SIGKILL)
        assert sweep.finish().returncode == -signal.SIGKILL
    assert served.python(*command, cut).returncode == 0
    folders = [folder for folder in (tmp_path / "whole").iterdir() if folder.name != ".launch"]
    assert len(folders) == 12
    for folder in folders:
        again = cut / folder.name
        assert {entry.name for entry in again.iterdir()} == {entry.name for entry in folder.iterdir()}
        one, other = (without_times(json.loads((each / "result.json").read_text())) for each in (folder, again))
        assert one == other


@pytest.mark.slow
def test_two_sweeps_of_one_suite_make_every_run_once(tmp_path: Path) -> None:
    path = suite(tmp_path, {"methods": ["erm"], "seeds": [0, 1]})
    command = ("-m", "ncbench", "sweep", path, "--output", tmp_path / "runs", "--workers", "1")
    for sweep in [served.Process(*command) for _ in range(2)]:
        assert sweep.finish().returncode == 0
    logs = [log.read_text() for log in tmp_path.glob("runs/*/log.jsonl")]
    assert [log.count('"started"') for log in logs] == [1, 1]
    assert [log.count('"ended"') for log in logs] == [1, 1]


def _is_worked_on(folder: Path) -> bool:
    with contextlib.suppress(AssertionError):
        return _process_of(folder) > 0
    return False


def _process_of(folder: Path) -> int:
    """The process that works on a run's folder: the only one to which its lock file is open."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(entry.readlink()).startswith(str(folder)) for entry in (process / "fd").iterdir()):
                return int(process.name)
        except OSError:
            continue
    raise AssertionError(f"no process works on {folder}")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_of_a_sweep_fits_the_terminal(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    dataset = "colored_digits:conflict=0.05,imbalance=step,minority=0.2,ratio=3.0"
    blocks = {"datasets": ["colored_digits", dataset], "seeds": [0, 1, 2]}
    rates = [{"recipe.epochs": 1, "recipe.lr": lr, "recipe.weight_decay": 0.0005} for lr in (0.1, 0.01)]
    path = suite(tmp_path, *({"methods": ["erm"], "settings": settings, **blocks} for settings in rates))
    state = Sweep.of(load_suite(path).members(), tmp_path / "runs")
    runs = list(state.runs.values())
    runs[0].state = "running"
    runs[1].problem = "power cut"
    runs[4].state = "waiting"
    console = Console(width=width)
    with console.capture() as shown:
        console.print(table(state))
    lines = [line.rstrip() for line in shown.get().splitlines()]
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert text.count("0/3") == 4
    assert text.count("1 running") == text.count("1 not made") == text.count("1 waiting") == 1
    assert dataset in "".join("".join(lines).split())  # whole, if on several lines
    if width >= 80:
        assert len(lines) <= 9
