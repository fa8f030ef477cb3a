"""A process that ends in the middle of a command, which only one started anew can show: none of these is forked."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="commands are supervised on Linux alone"),
]

CODE = """
import ctypes, os, signal, threading, time
import torch.nn.functional as F
import ncbench

@ncbench.hookimpl
def ncbench_methods():
    return [ncbench.MethodCard(name="ends", summary="s", factory="ender:Ends", supervision=ncbench.Supervision())]

class Ends(ncbench.Method):
    def loss(self, batch):
        if how := os.environ.get("HOW"):
            eval(how)
        time.sleep(0.05)
        return F.cross_entropy(self(batch.images), batch.target)

if how := os.environ.get("AT_IMPORT"):
    eval(how)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    info = tmp_path / "site" / "ender-1.0.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "ender.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ender\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ncbench]\nplugin = ender\n")
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("NCBENCH_PLUGINS", "ender")
    return tmp_path / "site"


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "ncbench", *map(str, arguments)]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("os._exit(0)", "with exit code 0, as os._exit does"),
        ("threading.Thread(target=os._exit, args=(7,)).start()", "with exit code 7"),
        ("os.abort()", "by signal 6, Aborted"),
        ("ctypes.string_at(0)", "by signal 11, Segmentation fault"),
    ],
)
def test_a_method_that_ends_the_process_leaves_a_failed_record(
    site: Path, tmp_path: Path, how: str, reason: str
) -> None:
    arguments = command("run", "--method", "ends", "--set", "recipe.epochs=1", "--output", tmp_path / "runs")
    ended = subprocess.run(arguments, env={**os.environ, "HOW": how}, capture_output=True, text=True)
    assert ended.returncode == 1
    assert f"ends failed: the process was ended {reason}" in ended.stderr.splitlines()[-1]
    (path,) = (tmp_path / "runs").glob("*/result.json")
    assert str(path) in ended.stderr
    record = json.loads(path.read_text())
    assert record["status"] == "failed"
    assert reason in record["reason"]


def test_a_plugin_that_ends_the_process_while_it_is_found_is_named(site: Path) -> None:
    environment = {**os.environ, "AT_IMPORT": "os._exit(0)"}
    ended = subprocess.run(command("list", "methods"), env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "Error: Plugin plugin of ender 1.0 failed: the process was ended with exit code 0" in ended.stderr


def test_ctrl_c_that_makes_a_library_abort_before_there_is_a_run_is_an_interrupt(site: Path) -> None:
    aborting = (
        "signal.signal(signal.SIGINT, lambda *_: os.abort()), os.kill(os.getppid(), signal.SIGINT), time.sleep(30)"
    )
    environment = {**os.environ, "AT_IMPORT": aborting}
    ended = subprocess.run(command("list", "methods"), env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr.splitlines()[-1] == "Interrupted."


@contextlib.contextmanager
def training(output: Path) -> Iterator[tuple[int, int]]:
    """Yield the process of a run in a terminal of its own, once it trains, and the terminal."""
    arguments = command("run", "--method", "ends", "--set", "recipe.epochs=1000", "--output", output)
    process, terminal = pty.fork()
    if not process:
        os.execv(sys.executable, arguments)
    while not any(log.read_text().count('"epoch"') > 1 for log in output.glob("*/log.jsonl")):
        time.sleep(0.05)
    yield process, terminal
    os.close(terminal)


def printed(terminal: int) -> str:
    text = b""
    with contextlib.suppress(OSError):  # where Linux says that nobody writes any more
        while part := os.read(terminal, 1 << 16):
            text += part
    return text.decode()


def to_process_and_group(process: int, number: int) -> None:
    """As ``timeout`` sends it."""
    os.kill(process, number)
    os.killpg(process, number)


@pytest.mark.parametrize(
    ("send", "number"),
    [
        (None, signal.SIGINT),  # the terminal does
        (os.kill, signal.SIGINT),
        (os.killpg, signal.SIGINT),
        (to_process_and_group, signal.SIGINT),
        (os.killpg, signal.SIGTERM),
        (os.kill, signal.SIGXCPU),
        (os.killpg, signal.SIGXCPU),
    ],
)
def test_an_interrupt_is_heard_once_whoever_is_sent_it(
    site: Path, tmp_path: Path, send: Callable[[int, int], None] | None, number: signal.Signals
) -> None:
    with training(tmp_path / "runs") as (process, terminal):
        if send is None:
            os.write(terminal, b"\x03")
        else:
            send(process, number)
        text = printed(terminal)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 130
    assert re.search(r"--resume goes on after epoch \d+\.", text), text  # and repeats none: one was not too many
    (path,) = (tmp_path / "runs").glob("*/result.json")
    assert json.loads(path.read_text())["status"] == "interrupted"


def test_a_command_ends_where_its_parent_ignores_the_ends_of_children() -> None:
    def ignore() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    with subprocess.Popen(command("--version"), stdout=subprocess.PIPE, preexec_fn=ignore) as process:
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_a_command_that_a_real_time_signal_ends_ends_by_it(site: Path, tmp_path: Path) -> None:
    arguments = command("run", "--method", "ends", "--output", tmp_path / "runs")
    how = f"os.kill(os.getpid(), {signal.SIGRTMIN + 1})"
    ended = subprocess.run(arguments, env={**os.environ, "HOW": how}, capture_output=True, text=True)
    assert ended.returncode == -(signal.SIGRTMIN + 1)
    assert "Traceback" not in ended.stderr


def test_a_run_that_is_killed_is_gone_at_once_and_goes_on_when_it_is_resumed(site: Path, tmp_path: Path) -> None:
    with training(tmp_path / "runs") as (process, terminal):
        os.kill(process, signal.SIGKILL)
        printed(terminal)  # until the process that trains has closed it too
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    assert not list((tmp_path / "runs").glob("*/result.json"))
    again = command("run", "--method", "ends", "--set", "recipe.epochs=1000", "--output", tmp_path / "runs")
    cut_off = subprocess.run(again, capture_output=True, text=True)
    assert cut_off.returncode == 2
    assert "was cut off before its end" in cut_off.stderr
