"""Runs that are cut off, at any moment and in any way, and go on to the record of an uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import ncbench
from ncbench import ConfigurationError, DataError, load_result
from ncbench.data.files import temporary_for
from ncbench.records.archive import RunResult
from ncbench.training.checkpoints import load_latest_checkpoint, newest_epoch, save_checkpoint
from tests import served

from .conftest import without_times

EPOCHS = 30
# lff carries state for every training image, jtt retrains from scratch in a second stage, and selection keeps a model.
CASES = [
    ("lff", "colored_digits"),
    ("jtt", "colored_digits"),
    ("group_dro", "colored_digits:conflict=0.3,val=0.3"),
]

CutOff = tuple[dict[str, Any], list[Path]]


def arguments_of(method: str, dataset: str, output: Path) -> list[str]:
    selection = ["--set", "recipe.selection=val_accuracy"] if "val" in dataset else []
    return [
        *("-m", "ncbench", "run", "--method", method, "--dataset", dataset),
        *("--set", f"recipe.epochs={EPOCHS}", "--checkpoint-seconds", "0", "--output", str(output), *selection),
    ]


def log_lines(output: Path) -> int:
    return sum(path.read_text().count("\n") for path in output.glob("*/log.jsonl"))


def start_and_wait(command: list[str], output: Path, lines: int) -> served.Process:
    """Start a run and wait until its log has grown by `lines` lines, or it has ended."""
    before = log_lines(output)
    process = served.Process(*command)
    while process.running and log_lines(output) < before + lines:
        time.sleep(0.005)
    return process


def test_what_a_killed_process_left_behind_is_cleared(tmp_path: Path) -> None:
    options: dict[str, Any] = {"method": "erm", "dataset": "colored_digits:per_class=25", "set": {"recipe.epochs": 1}}
    folder = ncbench.run(**options, output=tmp_path).folder
    before = {path.name for path in folder.iterdir()}
    for moment in ("after the record", "before the record"):
        if moment == "before the record":
            (folder / "result.json").unlink()
        for name in ("result.json", "model.pt", "curves.png"):
            own = temporary_for(folder / name)
            own.with_name(own.name.replace(f".{os.getpid()}-", f".{2**31}-")).write_text("half")
        (folder / "checkpoints").mkdir()
        assert ncbench.run(**options, output=tmp_path, resume=True).status == "completed"
        assert {path.name for path in folder.iterdir()} == before, moment


@pytest.mark.parametrize(("method", "dataset"), CASES)
def test_kill_9_and_resume_end_in_the_uninterrupted_record(method: str, dataset: str, tmp_path: Path) -> None:
    settings = {"recipe.epochs": EPOCHS, **({"recipe.selection": "val_accuracy"} if "val" in dataset else {})}
    whole = ncbench.run(method, dataset, set=settings, output=tmp_path / "whole")

    chance = random.Random(f"{method} {dataset}")
    output = tmp_path / "cut"
    for _ in range(2):
        process = start_and_wait([*arguments_of(method, dataset, output), "--resume"], output, chance.randint(2, 12))
        time.sleep(chance.random() * 0.05)
        process.send(signal.SIGKILL)
        process.finish()
    resumed = ncbench.run(method, dataset, set=settings, output=output, resume=True)

    expected, found = (without_times(json.loads(result.path.read_text())) for result in (whole, resumed))
    assert found == expected


def test_ctrl_c_leaves_a_valid_record_and_a_way_on(tmp_path: Path) -> None:
    command = arguments_of("erm", "colored_digits", tmp_path)
    command[command.index(f"recipe.epochs={EPOCHS}")] = "recipe.epochs=2000"
    process = start_and_wait(command, tmp_path, 5)
    process.send(signal.SIGINT)
    finished = process.finish()
    assert finished.returncode == 130
    assert "with --resume goes on after epoch" in finished.stderr
    assert "Traceback" not in finished.stderr
    (folder,) = tmp_path.iterdir()
    record = load_result(folder).record
    assert record.status == "interrupted"
    assert record.history

    # Without a word on how to go on, nothing is run and nothing lost.
    refused = served.python(*command)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    assert "--force" in refused.stderr

    process = start_and_wait([*command, "--resume"], tmp_path, 4)
    process.send(signal.SIGTERM)  # what a scheduler sends before it kills
    assert process.finish().returncode == 130
    assert len(load_result(folder).record.history) > len(record.history)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its newest two checkpoints, as `kill -9` leaves it.

    A third is there too where the kill fell between writing one and removing the oldest.
    """
    output = tmp_path_factory.mktemp("killed")
    process = start_and_wait(arguments_of("erm", "colored_digits", output), output, 8)
    process.send(signal.SIGKILL)
    process.finish()
    return output


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """The same run, uninterrupted."""
    return ncbench.run("erm", set={"recipe.epochs": EPOCHS}, output=tmp_path_factory.mktemp("whole"))


@pytest.fixture
def cut_off(killed: Path, tmp_path: Path) -> CutOff:
    """How to go on with a copy of the killed run, and its newest two checkpoints."""
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    options = {"method": "erm", "set": {"recipe.epochs": EPOCHS}, "output": tmp_path, "resume": True}
    return options, sorted(tmp_path.glob("*/checkpoints/epoch-*.pt"))[-2:]


@pytest.mark.parametrize("damage", ["flipped", "truncated", "emptied"])
def test_a_damaged_checkpoint_is_named_and_the_previous_one_offered(
    damage: str, cut_off: CutOff, whole: RunResult
) -> None:
    options, checkpoints = cut_off
    assert len(checkpoints) == 2
    content = bytearray(checkpoints[-1].read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {"flipped": bytes(content), "truncated": bytes(content[:-100]), "emptied": b""}[damage]
    checkpoints[-1].write_bytes(damaged)
    with pytest.raises(DataError, match=rf"{checkpoints[-1].name} is damaged.*Delete it to go on from") as caught:
        ncbench.run(**options)
    assert checkpoints[0].name in str(caught.value)
    # The attempt that found it changed nothing: without a word on how to go on, the run is not started over.
    with pytest.raises(ConfigurationError, match="--resume"):
        ncbench.run(**{**options, "resume": False})

    checkpoints[-1].unlink()
    resumed = ncbench.run(**options)
    first, second = (without_times(json.loads(result.path.read_text())) for result in (resumed, whole))
    assert first == second


def test_checkpoints_are_told_apart_by_number(tmp_path: Path) -> None:
    for epoch in (99_998, 99_999, 100_000, 100_001):
        save_checkpoint(tmp_path, epoch, {"epoch": epoch})
    assert newest_epoch(tmp_path) == 100_001
    assert load_latest_checkpoint(tmp_path, torch.device("cpu")) == {"epoch": 100_001}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-100000.pt", "epoch-100001.pt"]


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path, cut_off: CutOff) -> None:
    import hashlib
    import pickle

    class Malice:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'executed'}",)

    options, checkpoints = cut_off
    payload = pickle.dumps(Malice())
    checkpoints[-1].write_bytes(payload + hashlib.sha256(payload).digest())
    with pytest.raises(ncbench.NcbenchError, match=checkpoints[-1].name):
        ncbench.run(**options)
    assert not (tmp_path / "executed").exists()


def test_force_discards_what_was_cut_off(cut_off: CutOff, whole: RunResult) -> None:
    options, _ = cut_off
    forced = ncbench.run(**{**options, "resume": False, "force": True})
    assert forced.metrics == whole.metrics
    assert not (forced.folder / "checkpoints").exists()
