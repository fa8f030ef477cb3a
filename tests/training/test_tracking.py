"""Trackers: what they are told, that no result depends on them, and that a run goes on without one that fails."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import Field

import ncbench
from ncbench import ConfigurationError, Job, Launcher, NcbenchError, Parameters, PluginError, Tracker, TrackerCard
from ncbench.contracts.launcher import Event
from ncbench.discovery.registry import Plugin, Registered, registry
from ncbench.training.reporters import Silent

from .conftest import Command, only_record, without_times

OPTIONS: dict[str, Any] = {"dataset": "colored_digits:per_class=25", "set": {"recipe.epochs": 3}, "device": "cpu"}
heard: list[tuple[Any, ...]] = []


class NotebookParameters(Parameters):
    """Of a tracker that keeps a list."""

    page: int = Field(1, description="where to begin")


class Notebook(Tracker):
    """Writes down what it hears, and draws from every generator meanwhile."""

    Parameters = NotebookParameters

    def start(self, run_id: str, settings: Mapping[str, Any], folder: Path, done: int) -> str:
        self._note("start", run_id, dict(settings), folder, done)
        return f"page {self.params.page}"

    def epoch(self, number: int, numbers: Mapping[str, float]) -> None:
        self._note("epoch", number, dict(numbers))

    def finish(self, status: str, numbers: Mapping[str, float], record: Path | None) -> None:
        self._note("finish", status, dict(numbers), record)

    def _note(self, *event: Any) -> None:
        heard.append(event)
        torch.rand(3), random.random(), np.random.rand()


class Faulty(Notebook):
    """Fails where it is told to."""

    at = ""

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self._fail_at("made")

    def _note(self, *event: Any) -> None:
        super()._note(*event)
        self._fail_at(event[0])

    def _fail_at(self, place: str) -> None:
        if place == type(self).at:
            raise SystemExit("nobody answers")


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    heard.clear()
    for name, factory in (
        ("notebook", f"{__name__}:Notebook"),
        ("faulty", f"{__name__}:Faulty"),
        ("lacking", "a_package_that_nobody_has:Tracker"),
        ("odd", "pathlib:Path"),
    ):
        card = TrackerCard(name=name, summary="Of a third party.", factory=factory)
        monkeypatch.setitem(registry().cards["trackers"], name, [Registered(card, Plugin(name, name, "1.0"))])


def test_a_tracker_hears_settings_epochs_and_the_end(tmp_path: Path) -> None:
    told: list[str] = []
    result = ncbench.run("erm", **OPTIONS, output=tmp_path, track="notebook:page=7", warn=told.append)
    assert told == ["notebook:page=7 tracks this run: page 7"]
    (_, run_id, settings, folder, done), *epochs, (_, status, final, record) = heard
    assert (run_id, folder, done) == (result.record.run_id, result.folder, 0)
    assert settings["recipe.epochs"] == 3
    assert settings["method"] == "erm"
    assert settings["dataset.per_class"] == 25
    assert settings["seed"] == 0
    assert [number for _, number, _ in epochs] == [1, 2, 3]
    for (_, _, numbers), entry in zip(epochs, result.record.history, strict=True):
        assert numbers["losses/loss"] == entry.losses["loss"]
        assert numbers["test/accuracy"] == entry.metrics["test"]["accuracy"]
    assert (status, record) == ("completed", result.path)
    assert final["final/test/worst_group_accuracy"] == result.metrics["test"]["worst_group_accuracy"]
    log = [json.loads(line) for line in (result.folder / "log.jsonl").read_text().splitlines()]
    assert [line["text"] for line in log if line["event"] == "tracking"] == told


def test_no_result_depends_on_it(tmp_path: Path) -> None:
    alone, tracked = (
        ncbench.run("jtt:identify_epochs=1", **OPTIONS, output=tmp_path / str(len(track)), track=track, warn=str)
        for track in ((), ("notebook", "faulty", "notebook:page=2"))
    )
    assert without_times(json.loads(alone.path.read_text())) == without_times(json.loads(tracked.path.read_text()))
    assert (alone.folder / "model.pt").read_bytes() == (tracked.folder / "model.pt").read_bytes()


def test_a_base_is_followed_first_and_a_finished_run_is_not(tmp_path: Path) -> None:
    set_ = {"base.recipe.epochs": 2}
    for _ in range(2):
        result = ncbench.run("crt", OPTIONS["dataset"], set=set_, output=tmp_path, track=["notebook"], warn=str)
        names = [event[1] for event in heard if event[0] == "start"]
        assert names == [result.record.base.run_id, result.record.run_id]  # type: ignore[union-attr]
        assert [event[0] for event in heard].count("finish") == 2


class Interrupting(Silent):
    """Interrupts a run after its second epoch."""

    def epoch(self, entry: dict[str, Any]) -> None:
        if entry["epoch"] == 2:
            raise KeyboardInterrupt


def test_a_resumed_run_says_where_it_goes_on(tmp_path: Path) -> None:
    options = {**OPTIONS, "output": tmp_path, "track": "notebook", "warn": str, "checkpoint_seconds": 0.0}
    with pytest.raises(KeyboardInterrupt):
        ncbench.run("erm", **options, reporter=Interrupting())
    assert heard[-1][:2] == ("finish", "interrupted")
    heard.clear()
    ncbench.run("erm", **options, resume=True)
    assert heard[0][4] == 1
    assert [event[1] for event in heard[1:]] == [2, 3, "completed"]
    heard.clear()
    ncbench.run("erm", **options, force=True)
    assert heard[0][4] == 0


@pytest.mark.parametrize("place", ["made", "start", "epoch", "finish"])
def test_a_run_goes_on_without_one_that_fails(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Faulty, "at", place)
    told: list[str] = []
    result = ncbench.run("erm", **OPTIONS, output=tmp_path, track=["faulty"], warn=told.append)
    assert result.status == "completed"
    warnings = [line for line in told if "is left out" in line]
    assert warnings == ["faulty is left out, and the run goes on without it: SystemExit: nobody answers"]
    assert [event[0] for event in heard].count("epoch") == {"epoch": 1, "finish": 3}.get(place, 0)
    assert left_out(result.folder) == [("faulty", "SystemExit: nobody answers")]


def left_out(folder: Path) -> list[tuple[str, str]]:
    """Return the trackers that a run's log says are left out, and why."""
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(line["tracker"], line["reason"]) for line in log if line["event"] == "tracker_left_out"]


def test_the_log_of_every_run_says_what_does_not_follow_it(tmp_path: Path, ncbench_run: Command) -> None:
    arguments = ("--method", "crt", "--dataset", OPTIONS["dataset"], "--set", "base.recipe.epochs=1", "--device", "cpu")
    done = ncbench_run(*arguments, "--quiet", "--track", "lacking")
    assert (done.returncode, done.stderr) == (0, "")
    folders = [path.parent for path in (tmp_path / "runs").glob("*/log.jsonl")]
    assert len(folders) == 2
    for folder in folders:
        ((tracker, reason),) = left_out(folder)
        assert tracker == "lacking"
        assert "a_package_that_nobody_has" in reason


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("It cannot be. " * 35 + "It cannot be so.", "It cannot be. " * 35 + "..."),
        ("Version 1.2, " * 50 + "at last", "Version 1.2, " * 38 + "..."),
    ],
)
def test_a_long_reason_ends_with_a_sentence_or_a_word_and_is_whole_in_the_log(
    said: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Notebook, params: Any) -> None:
        raise NcbenchError(said)

    monkeypatch.setattr(Notebook, "__init__", refuse)
    told: list[str] = []
    result = ncbench.run("erm", **OPTIONS, output=tmp_path, track="notebook", warn=told.append)
    assert told == [f"notebook is left out, and the run goes on without it: {shown}"]
    assert left_out(result.folder) == [("notebook", said)]


def test_one_that_is_not_installed_is_one_line(ncbench_run: Command, tmp_path: Path) -> None:
    arguments = ("--method", "erm", "--dataset", OPTIONS["dataset"], "--set", "recipe.epochs=1")
    done = ncbench_run(*arguments, "--track", "lacking", "--track", "notebook")
    assert done.returncode == 0
    (line,) = (line for line in done.stderr.splitlines() if "left out" in line)
    assert line.startswith("lacking is left out, and the run goes on without it: ")
    assert "a_package_that_nobody_has" in line
    assert only_record(tmp_path / "runs")["status"] == "completed"
    assert heard[-1][0] == "finish"


@pytest.mark.parametrize(
    ("track", "error", "complaint"),
    [
        ("notebok", ConfigurationError, "Unknown tracker 'notebok'. Did you mean 'notebook'"),
        ("notebook:pages=2", ConfigurationError, "Unknown parameter of notebook 'pages'. Did you mean 'page'"),
        ("notebook:page=two", ConfigurationError, "The value 'two' for 'page' of notebook is not valid"),
        ("odd", PluginError, r"The factory of the tracker 'odd' is not a subclass of ncbench\.Tracker"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_made(
    track: str, error: type[NcbenchError], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=complaint):
        ncbench.run("erm", **OPTIONS, output=tmp_path / "runs", track=track)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("failure", [RuntimeError("it broke"), ConfigurationError("it cannot be")])
def test_a_run_that_fails_is_closed(failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, batch: object) -> None:
        raise failure

    monkeypatch.setattr("ncbench_methods.erm.ERM.loss", fail)
    with pytest.raises(NcbenchError):
        ncbench.run("erm", **OPTIONS, output=tmp_path, track="notebook", warn=str)
    assert [event[0] for event in heard] == ["start", "finish"]
    assert heard[-1][1] == "failed"


class Listening(Launcher):
    """Makes nothing, and keeps what runs would be told."""

    arguments: Sequence[str] = ()

    def launch(self, jobs: Sequence[Job], output: Path, arguments: Sequence[str]) -> Generator[Event, None, None]:
        self.arguments = arguments
        yield from ()


def test_a_sweep_says_once_what_it_cannot_use_and_has_its_runs_tracked(
    cli: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = Listening(Launcher.Parameters())
    monkeypatch.setattr("ncbench.launch.sweep.make_launcher", lambda text, options: launcher)
    suite = tmp_path / "suite.yaml"
    runs = "- {methods: [erm], datasets: ['colored_digits:per_class=25'], seeds: [0]}"
    suite.write_text(f"title: Try\ndescription: D\nruns:\n{runs}\n")
    tracked = ("--track", "lacking", "--track", "notebook:page=2")
    _, _, errors = cli("sweep", suite, "--output", tmp_path / "runs", *tracked)
    assert errors.count("lacking is left out") == 1
    assert launcher.arguments[-2:] == ["--track", "notebook:page=2"]
    assert "lacking" not in launcher.arguments
    code, _, errors = cli("sweep", suite, "--output", tmp_path / "runs", "--track", "notebok")
    assert code == 2
    assert "Did you mean 'notebook'" in errors


def test_the_documented_tracker_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "writing-a-plugin.md").read_text(encoding="utf-8")
    names = {"Tracker": Tracker, "__name__": __name__}
    exec(re.findall(r"```python\n(class \w+\(Tracker\).*?)```", page, re.DOTALL)[0], names)
    monkeypatch.setattr(sys.modules[__name__], "Notebook", names["Csv"])
    result = ncbench.run("erm", **OPTIONS, output=tmp_path, track="notebook", warn=str)
    lines = (result.folder / "figures.csv").read_text().splitlines()
    assert f"3,lr,{result.record.history[-1].lr}" in lines
    assert f"completed,final/test/accuracy,{result.metrics['test']['accuracy']}" in lines
