"""Ctrl-C, SIGTERM and the like at a moment of the test's choice, in this process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ncbench
import ncbench.training.session as session_module
from ncbench import load_result
from ncbench.records.archive import RunResult
from ncbench.training.checkpoints import newest_epoch
from ncbench.training.evaluation.evaluator import Evaluator, SplitResult
from ncbench.training.interrupts import LIFELINE, TERMINATING, terminated_as_interrupted
from ncbench.training.reporters import Silent

from .conftest import without_times

# jtt has two stages, of two epochs and of three. An epoch has 63 steps, and after 50 of them there is a report.
OPTIONS = {
    "method": "jtt:identify_epochs=2",
    "dataset": "colored_digits:per_class=25",
    "set": {"recipe.epochs": 3, "recipe.batch_size": 4, "recipe.measure_points": 1},
}
SELDOM = 1e9


class Interrupting(Silent):
    """Sends this process signals in the middle of an epoch, or at its end."""

    def __init__(self, epoch: int, signals: list[signal.Signals], at_its_end: bool = False) -> None:
        self.left = epoch
        self.signals = signals
        self.at_its_end = at_its_end

    def step(self, fraction: float) -> None:
        if self.left == 1 and not self.at_its_end:
            self._send()

    def epoch(self, entry: dict[str, Any]) -> None:
        if self.left == 1 and self.at_its_end:
            self._send()
        self.left -= 1

    def _send(self) -> None:
        while self.signals:
            os.kill(os.getpid(), self.signals.pop())


@pytest.fixture(autouse=True)
def python_s_own_handlers() -> Iterator[None]:
    """Hear Ctrl-C also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    others = {number: signal.getsignal(number) for number in TERMINATING}
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert {number: signal.getsignal(number) for number in TERMINATING} == others
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The record of a run that nobody interrupts."""
    result = ncbench.run(**OPTIONS, output=tmp_path_factory.mktemp("whole"))
    return without_times(json.loads(result.path.read_text()))


def interrupted(output: Path, reporter: Interrupting, **changes: Any) -> tuple[str, int, int | None, list[str]]:
    """Return the last word on a run, its finished epochs, those that can be restored, and what was said before."""
    told: list[str] = []
    options = {**OPTIONS, "checkpoint_seconds": SELDOM, **changes}
    with pytest.raises(KeyboardInterrupt) as caught:
        ncbench.run(**options, output=output, reporter=reporter, warn=told.append)
    (folder,) = output.iterdir()
    record = load_result(folder).record
    assert record.status == "interrupted"
    return str(caught.value), len(record.history), newest_epoch(folder / "checkpoints"), told


@pytest.mark.parametrize(
    ("sent", "epoch", "at_its_end"), [(signal.SIGINT, 2, True), (signal.SIGTERM, 4, False), (signal.SIGHUP, 5, False)]
)
def test_an_interrupt_loses_no_epoch(
    tmp_path: Path, whole: dict[str, Any], sent: signal.Signals, epoch: int, at_its_end: bool
) -> None:
    last_word, done, kept, told = interrupted(tmp_path, Interrupting(epoch, [sent], at_its_end))
    assert done == kept == epoch
    assert last_word == f"Interrupted. The same command with --resume goes on after epoch {epoch}."
    assert len(told) == 1
    assert "Ctrl-C again ends it at once" in told[0]
    resumed = ncbench.run(**OPTIONS, output=tmp_path, resume=True)
    assert without_times(json.loads(resumed.path.read_text())) == whole


def test_a_second_ctrl_c_ends_at_once_and_says_what_is_lost(tmp_path: Path, whole: dict[str, Any]) -> None:
    last_word, done, kept, _ = interrupted(tmp_path, Interrupting(4, [signal.SIGINT, signal.SIGTERM]))
    assert (done, kept) == (3, 1)
    assert "goes on after epoch 1 and repeats 2 finished epochs" in last_word
    resumed = ncbench.run(**OPTIONS, output=tmp_path, resume=True)
    assert without_times(json.loads(resumed.path.read_text())) == whole


def test_after_nohup_a_closed_terminal_ends_nothing(tmp_path: Path, whole: dict[str, Any]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        result = ncbench.run(**OPTIONS, output=tmp_path, reporter=Interrupting(4, [signal.SIGHUP]))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert without_times(json.loads(result.path.read_text())) == whole


def test_no_further_ctrl_c_takes_the_record_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = session_module.write_result

    def insisting(result: RunResult) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        write(result)

    monkeypatch.setattr(session_module, "write_result", insisting)
    last_word, done, kept, _ = interrupted(tmp_path, Interrupting(4, [signal.SIGINT, signal.SIGINT]))
    assert (done, kept) == (3, 1)
    assert "goes on after epoch 1" in last_word


def test_only_ctrl_c_hastens_a_run_that_is_ending(
    tmp_path: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    insisting = [signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM, signal.SIGINT]  # sent from the last to the first
    write = session_module.write_result

    def terminating(result: RunResult) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        write(result)

    monkeypatch.setattr(session_module, "write_result", terminating)
    last_word, done, kept, told = interrupted(tmp_path, Interrupting(4, insisting))
    assert done == kept == 4
    assert last_word == "Interrupted. The same command with --resume goes on after epoch 4."
    assert len(told) == 1
    monkeypatch.undo()
    resumed = ncbench.run(**OPTIONS, output=tmp_path, resume=True)
    assert without_times(json.loads(resumed.path.read_text())) == whole


def test_a_sweep_is_terminated_once() -> None:
    closed: list[signal.Signals] = []

    def end(first: signal.Signals) -> None:
        with terminated_as_interrupted():
            try:
                os.kill(os.getpid(), first)
            finally:  # where it ends its runs
                for number in TERMINATING:
                    os.kill(os.getpid(), number)
                closed.append(first)

    for number in TERMINATING:
        with pytest.raises(KeyboardInterrupt):
            end(number)
    assert closed == list(TERMINATING)


@pytest.mark.parametrize(("epoch", "kept", "seconds"), [(1, None, SELDOM), (2, 1, SELDOM), (3, 2, 0)])
def test_where_nothing_would_be_lost_the_first_interrupt_ends_at_once(
    tmp_path: Path, epoch: int, kept: int | None, seconds: float
) -> None:
    last_word, done, restorable, told = interrupted(
        tmp_path, Interrupting(epoch, [signal.SIGINT]), checkpoint_seconds=seconds
    )
    assert (done, restorable, told) == (epoch - 1, kept, [])
    assert ("before an epoch was done" if kept is None else f"goes on after epoch {kept}.") in last_word


def test_an_interrupt_in_an_evaluation_leaves_no_half_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate, calls = Evaluator.evaluate, iter(range(100))

    def interrupting(*arguments: Any, **options: Any) -> SplitResult:
        if next(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return evaluate(*arguments, **options)

    monkeypatch.setattr(Evaluator, "evaluate", interrupting)
    _, done, kept, _ = interrupted(tmp_path, Interrupting(0, []), checkpoint_seconds=0)
    assert done == kept
    assert done >= 1


ORPHAN = """
import os, signal, sys, time
from ncbench.discovery import last_words
from ncbench.training import interrupts
last_words.keep_in(os.open(sys.argv[1], os.O_RDWR))
last_words.note(who="erm", record={"status": "failed"})
interrupts._GRACE_SECONDS = 0
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as where it is lost in a long computation
interrupts.end_with_launcher()
time.sleep(600)
"""


def test_a_run_that_outlives_its_launcher_is_cut_off_and_has_not_failed(tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.touch()
    environment = {**os.environ, LIFELINE: "1"}
    command = [sys.executable, "-c", ORPHAN, str(words)]
    ended = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False)
    assert ended.returncode == 1
    assert json.loads(words.read_text()) == {"done": True}
