"""Methods that break their contract, and disks that fill up: real plugins and real limits in a process of its own."""

from __future__ import annotations

import errno
import json
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ncbench
from ncbench import NcbenchError, load_result
from ncbench.records.record import Record
from ncbench.training.reporters import Silent
from tests import served

from .conftest import only_record

PACKAGE = """
from ncbench import MethodCard, Supervision, hookimpl

@hookimpl
def ncbench_methods():
    return [
        MethodCard(name=name, summary="Faulty.", factory=f"faulty_methods:{name.title()}", supervision=Supervision())
        for name in "peeks counts crashes stops tires names rounds nothing exits idles panics".split()
    ]
"""

METHODS = """
import os

import torch
import torch.nn.functional as F
from ncbench import Method, Stage

class Peeks(Method):
    def loss(self, batch):
        return F.cross_entropy(self(batch.images), batch.bias)

class Counts(Method):
    def build(self):
        super().build()
        self.counts = self.task.group_counts

class Crashes(Method):
    def loss(self, batch):
        raise ZeroDivisionError("one\\ntwo")

class Stops(Method):
    def loss(self, batch):
        return self.classifier.weight.sum().detach()

class Tires(Method):
    failing = os.environ.get("FAIL_AT")

    def order(self, train, generator):
        self.epochs = getattr(self, "epochs", 0) + 1
        if self.failing and self.epochs > int(self.failing):
            raise RuntimeError("tired")
        return super().order(train, generator)

    def loss(self, batch):
        return F.cross_entropy(self(batch.images), batch.target)

class Names(Method):
    def loss(self, batch):
        z = self(batch.images)
        return {"loss": F.cross_entropy(z, batch.target), "penalty": z.square().mean()}

class Nothing(Method):
    def loss(self, batch):
        F.cross_entropy(self(batch.images), batch.target)

class Exits(Method):
    def loss(self, batch):
        raise SystemExit(0)

class Mute(BaseException):
    def __str__(self):
        raise self

class Panics(Method):
    def loss(self, batch):
        raise Mute

class Idles(Names):
    def stages(self, epochs):
        return []

class Rounds(Method):
    def stages(self, epochs):
        return [Stage("first", 4), Stage("second", epochs)]

    def start_stage(self, stage, train):
        assert not self.training

    def finish(self, train, val):
        assert not self.training

    def loss(self, batch):
        half = torch.full((), 0.3, dtype=torch.bfloat16)  # as autocast leaves many a penalty
        return {"target": F.cross_entropy(self(batch.images), batch.target), "half": half}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    info = folder / "faulty-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "faulty.py").write_text(textwrap.dedent(PACKAGE))
    (folder / "faulty_methods.py").write_text(textwrap.dedent(METHODS))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ncbench]\nplugin = faulty\n")
    return folder


def run(site: Path, method: str, output: Path, *arguments: str, **environment: str) -> served.Finished:
    environment |= {"PYTHONPATH": str(site), "NCBENCH_PLUGINS": "faulty"}
    return served.ncbench("run", "--method", method, "--output", output, *arguments, **environment)


@pytest.mark.parametrize(
    ("method", "complaint"),
    [
        ("peeks", "read the bias attribute of train images without declaring it"),
        ("counts", "read the group counts without declaring it"),
        ("crashes", "crashes failed with ZeroDivisionError: one"),
        ("exits", "exits failed with SystemExit: 0"),
        ("panics", "panics failed with Mute: its message cannot be printed"),
    ],
)
def test_a_method_that_fails_leaves_a_record_that_says_why(
    tmp_path: Path, site: Path, method: str, complaint: str
) -> None:
    finished = run(site, method, tmp_path / "runs")
    assert finished.returncode == 1
    assert complaint in finished.stderr.splitlines()[-1]
    assert "Traceback" not in finished.stderr
    record = Record.model_validate(only_record(tmp_path / "runs"))
    assert record.status == "failed"
    assert record.reason
    assert record.metrics == {}


@pytest.mark.parametrize(
    ("method", "complaint"),
    [
        ("names", "Names has a term named 'loss'"),
        ("nothing", "loss() of Nothing must return a scalar tensor or a dict of named ones, not None."),
        ("stops", "loss() of Stops depends on no parameter that could be trained."),
        ("idles", "stages() of Idles has no stage with an epoch in it."),
    ],
)
def test_a_method_that_breaks_its_contract_is_refused(tmp_path: Path, site: Path, method: str, complaint: str) -> None:
    finished = run(site, method, tmp_path / "runs")
    assert finished.returncode == 2
    assert complaint in finished.stderr.splitlines()[-1]
    assert not list((tmp_path / "runs").glob("*/result.json"))


def test_stages_begin_and_end_in_evaluation_mode_and_losses_are_summed_in_float32(tmp_path: Path, site: Path) -> None:
    settings = ["--set", "recipe.epochs=9", "--set", "recipe.measure_points=3"]
    assert run(site, "rounds", tmp_path / "runs", *settings).returncode == 0
    record = only_record(tmp_path / "runs")
    assert record["status"] == "completed"
    # each stage is measured at its own log-spaced epochs: 1, 2, 4 of four and 1, 3, 9 of nine
    assert [entry["epoch"] for entry in record["history"] if "train" in entry["metrics"]] == [1, 2, 4, 5, 7, 13]
    for entry in record["history"]:
        assert entry["losses"]["half"] == pytest.approx(0.30078125, rel=1e-6)


def test_a_run_that_failed_starts_over_and_its_old_checkpoints_are_gone(tmp_path: Path, site: Path) -> None:
    settings = ["--checkpoint-seconds", "0", "--set", "recipe.epochs=12"]
    for fail_at, extra in (("8", []), ("3", []), ("", ["--resume"])):
        finished = run(site, "tires", tmp_path / "runs", *settings, *extra, FAIL_AT=fail_at)
        if fail_at:
            assert f"--resume goes on after epoch {fail_at}." in finished.stderr
        (log,) = (tmp_path / "runs").glob("*/log.jsonl")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    resumed = next(index for index, event in enumerate(events) if event["event"] == "resumed")
    assert events[resumed + 1]["epoch"] == 4
    assert only_record(tmp_path / "runs")["status"] == "completed"


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    # No file may grow beyond 40 kB: the checkpoint does not fit, as on a disk that fills up.
    program = textwrap.dedent(
        """
        import resource, signal, sys
        from ncbench.cli.main import main
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
        main()
        """
    )
    assert served.ncbench("data", "prepare", "colored_digits").returncode == 0
    finished = served.python("-c", program, "run", "--output", tmp_path / "runs", "--checkpoint-seconds", "0")
    assert finished.returncode == 1
    assert "There is no space left for" in finished.stderr.splitlines()[-1]
    assert "Traceback" not in finished.stderr
    assert not list((tmp_path / "runs").rglob("*.pt"))
    assert not list((tmp_path / "runs").rglob("*.tmp"))


class Doing(Silent):
    """Does something at the end of the second epoch."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action

    def epoch(self, entry: dict[str, Any]) -> None:
        if entry["epoch"] == 2:
            self.action()


def run_while(output: Path, action: Callable[[], object]) -> None:
    settings = {"recipe.epochs": 4, "recipe.measure_points": 1}
    ncbench.run("erm", "colored_digits:per_class=25", set=settings, output=output, reporter=Doing(action))


def test_a_folder_that_is_removed_during_a_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(NcbenchError, match="is gone: it was removed while the run was under way") as caught:
        run_while(tmp_path / "runs", lambda: shutil.rmtree(tmp_path / "runs"))
    assert caught.value.exit_code == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "Memory ran out (MemoryError): end other programs"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "Memory ran out"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Memory ran out"),
        (OSError(errno.EMFILE, "Too many open files", "x.npy"), "Too many open files: more files are needed at once"),
        (RuntimeError("can't start new thread"), "No more processes or threads are allowed"),
    ],
)
def test_what_the_machine_lacks_is_not_blamed_on_the_method(tmp_path: Path, error: Exception, said: str) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(NcbenchError) as caught:
        run_while(tmp_path, fail)
    assert str(caught.value).startswith(said)
    assert "erm failed" not in str(caught.value)
    (folder,) = tmp_path.iterdir()
    assert load_result(folder).status == "failed"
