"""One run on several devices: the same as on one, and nothing lost or left hanging where one of its processes ends."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from ncbench import ConfigurationError, load_result
from ncbench.training.checkpoints import newest_epoch
from ncbench.training.devices.place import RENDEZVOUS, Place, find_place
from ncbench.training.devices.ranks import LostProcessError
from tests.served import Finished, Process, ncbench, python

from .conftest import only_record

ON_DIGITS = ("run", "--dataset", "colored_digits:per_class=25", "--set", "recipe.batch_size=83", "--device", "cpu")
ENDLESS = ("--set", "recipe.epochs=100000", "--set", "recipe.measure_points=1", "--checkpoint-seconds", "0")
LOST = LostProcessError.exit_code


def pair(*arguments: str | Path, folder: Path) -> list[Process]:
    """Start the two processes of a run, as torchrun does."""
    folder.mkdir(exist_ok=True)
    meeting = {RENDEZVOUS: (folder / f"rendezvous-{time.monotonic_ns()}").as_uri(), "GLOO_SOCKET_IFNAME": "lo"}
    places = [{"RANK": str(index), "LOCAL_RANK": str(index), "WORLD_SIZE": "2"} for index in range(2)]
    return [Process(*arguments, **place, **meeting) for place in places]


def run_pair(*arguments: str, folder: Path) -> list[Finished]:
    """Make a run in two processes."""
    command = ("-m", "ncbench", *ON_DIGITS, "--devices", "2", "--output", folder / "runs", *arguments)
    return [process.finish() for process in pair(*command, folder=folder)]


def run_alone(*arguments: str, folder: Path) -> Finished:
    """Make a run in one."""
    return ncbench(*ON_DIGITS, "--output", folder / "runs", *arguments)


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Return the largest difference of two models' tensors, each relative to the largest value of the tensor."""
    assert one.keys() == other.keys()
    pairs = [(one[name].double(), other[name].double()) for name in one if one[name].numel()]
    return max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-30)) for a, b in pairs)


def model_in(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = folder.glob("runs/*/model.pt")
    model: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return model


def test_a_run_on_two_devices_is_that_on_one_written_once(tmp_path: Path) -> None:
    options = ("--method", "lff", "--set", "recipe.epochs=2")  # which trains a second network of its own
    first, second = run_pair(*options, folder=tmp_path / "two")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "completed" in first.stdout
    assert second.stdout == second.stderr == ""
    assert run_alone(*options, folder=tmp_path / "one").returncode == 0
    two, one = only_record(tmp_path / "two/runs"), only_record(tmp_path / "one/runs")
    assert (two["environment"]["devices"], one["environment"]["devices"]) == (2, 1)
    assert "dropout" not in two["environment"]
    assert two["run_id"] == one["run_id"]
    (folder,) = (tmp_path / "two/runs").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        path.name for path in (tmp_path / "one/runs" / folder.name).iterdir()
    }
    events = [json.loads(line)["event"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert events == ["started", "epoch", "epoch", "ended"]
    assert difference(model_in(tmp_path / "two"), model_in(tmp_path / "one")) < 1e-3


def test_a_base_is_made_on_both_devices_and_its_groups_are_built_on(tmp_path: Path) -> None:
    options = ("--method", "group_dro", "--groups", "errors:epochs=1", "--set", "recipe.epochs=1")
    first, second = run_pair(*options, folder=tmp_path)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/result.json")]
    assert [record["environment"]["devices"] for record in records] == [2, 2]
    again = run_pair(*options, folder=tmp_path)
    assert [each.returncode for each in again] == [0, 0]
    assert "finished already" in again[0].stderr


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[list[Process]]:
    """The two processes of a run that does not end by itself, after a few epochs."""
    command = (
        "-m",
        "ncbench",
        *ON_DIGITS,
        "--devices",
        "2",
        "--output",
        tmp_path / "runs",
        "--method",
        "erm",
        *ENDLESS,
    )
    processes = pair(*command, folder=tmp_path)
    yield wait_for_epochs(tmp_path, processes)
    for process in processes:
        process.send(signal.SIGKILL)


def wait_for_epochs(folder: Path, processes: Any, number: int = 2) -> Any:
    while True:
        if any((newest_epoch(each) or 0) >= number for each in folder.glob("runs/*/checkpoints")):
            return processes
        time.sleep(0.05)


def test_a_process_that_is_killed_ends_the_run(tmp_path: Path, endless: list[Process]) -> None:
    endless[1].send(signal.SIGKILL)
    ended = endless[0].finish()
    assert ended.returncode == LOST
    assert "Another process of this run has ended before its end. --resume goes on" in ended.stderr
    (run,) = (tmp_path / "runs").iterdir()
    result = load_result(run)
    assert result.status == "interrupted"
    done = newest_epoch(run / "checkpoints")
    assert done is not None
    assert len(result.record.history) in (done, done + 1)


@pytest.mark.parametrize(("told", "number"), [(0, signal.SIGTERM), (1, signal.SIGTERM), (1, signal.SIGINT)])
def test_a_signal_to_one_process_ends_both_at_the_end_of_an_epoch(
    tmp_path: Path, endless: list[Process], told: int, number: signal.Signals
) -> None:
    endless[told].send(number)
    ended = [process.finish() for process in endless]
    assert [each.returncode for each in ended] == [130, 130], ended
    assert "--resume goes on after epoch" in ended[0].stderr
    (run,) = (tmp_path / "runs").iterdir()
    result = load_result(run)
    assert result.status == "interrupted"
    assert newest_epoch(run / "checkpoints") == len(result.record.history)


@pytest.mark.parametrize("first_on", [1, 2])
def test_a_run_goes_on_on_another_number_of_devices(tmp_path: Path, first_on: int) -> None:
    program = f"""
import os, signal, sys
import ncbench
from ncbench.training.reporters import Silent

class Ending(Silent):
    def epoch(self, entry):
        if entry["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

ncbench.run("erm", "colored_digits:per_class=25", set={{"recipe.epochs": 4, "recipe.batch_size": 83}},
            output=sys.argv[1], device="cpu", devices={first_on}, reporter=Ending())
"""
    options = ("--method", "erm", "--set", "recipe.epochs=4")
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    if first_on == 1:
        python("-c", program, cut / "runs")
    else:
        for process in pair("-c", program, cut / "runs", folder=tmp_path):
            process.finish()
    assert len(only_record(cut / "runs")["history"]) == 2
    if first_on == 1:
        assert [each.returncode for each in run_pair(*options, "--resume", folder=cut)] == [0, 0]
    else:
        assert run_alone(*options, "--resume", folder=cut).returncode == 0
    assert run_alone(*options, folder=whole).returncode == 0
    assert only_record(cut / "runs")["environment"]["devices"] == 3 - first_on
    assert difference(model_in(cut), model_in(whole)) < 1e-3


def test_batch_normalisation_on_a_cpu_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    first, second = run_pair("--method", "erm", "--backbone", "small_cnn", folder=tmp_path)
    assert (first.returncode, second.returncode) == (2, 2)
    assert "has batch normalisation (BatchNorm2d), which a CPU cannot compute over 2 processes. Use " in first.stderr
    assert not any((tmp_path / "runs").iterdir())


def test_what_one_process_alone_finds_wrong_is_said_in_both(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("no folder")
    first, second = run_pair("--method", "erm", folder=tmp_path)
    assert first.returncode == second.returncode == 2
    assert first.stderr == second.stderr


DERIVATIVES = """
import sys, torch
from torch import nn
from ncbench import Backbone, Parameters
from ncbench.training.devices.ranks import join
from ncbench.training.devices.split import splitting

class Net(Backbone):
    feature_dim, takes_vectors = 3, True
    def __init__(self, shape, params):
        super().__init__(shape, params)
        self.layers = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(self.params), nn.Linear(5, 3))
    def forward(self, images):
        return self.layers(images)

devices = int(sys.argv[2])
ranks = join(devices, "cpu")
found = {}
torch.manual_seed(0)
net = splitting(lambda spec=None: Net((4,), 0.0), ranks)().double()
images = torch.randn(7, 4, dtype=torch.double, requires_grad=True)
other = torch.randn(7, 3, dtype=torch.double)
weights = list(net.parameters())

def loss():
    return ((net(images) - other) ** 4).mean()

found["images"], *grads = torch.autograd.grad(loss(), [images, *weights], create_graph=True)
found["weights"] = torch.cat([each.flatten() for each in grads])
penalty = found["images"].square().sum() + sum(each.square().sum() for each in grads)
second = torch.autograd.grad(penalty, [images, *weights])
found["second"] = torch.cat([each.flatten() for each in second])
(net(images).mean() + net(images * 2).square().mean() + sum(each.square().sum() for each in weights)).backward()
found["twice and decay"] = torch.cat([each.grad.flatten() for each in weights])
found["fewer rows than devices"] = net(images[:1])
seen = []
hook = net.layers[0].register_forward_hook(lambda module, given, returned: seen.append(returned))
net(images)
hook.remove()
found["seen inside"] = seen[0]
found["drawn alike"] = torch.rand(2)
assert not ranks.draws
drawing = splitting(lambda spec=None: Net((4,), 0.5), ranks)().double()
ones = torch.ones(8, 4, dtype=torch.double)
rows = drawing(ones)
after = torch.rand(2)
assert ranks.draws == (devices > 1)
assert len({tuple(row.tolist()) for row in rows}) > 4  # no two processes draw the same
assert not torch.equal(drawing(ones), rows)
if devices > 1:
    assert torch.equal(ranks.agree(after), after)
if ranks.first:
    torch.save({name: tensor.detach() for name, tensor in found.items()}, sys.argv[1])
"""


def test_derivatives_of_any_order_are_those_of_one_process(tmp_path: Path) -> None:
    for process in pair("-c", DERIVATIVES, tmp_path / "two.pt", "2", folder=tmp_path):
        ended = process.finish()
        assert ended.returncode == 0, ended.stderr
    ended = python("-c", DERIVATIVES, tmp_path / "one.pt", "1")
    assert ended.returncode == 0, ended.stderr
    two, one = torch.load(tmp_path / "two.pt"), torch.load(tmp_path / "one.pt")
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-12, atol=1e-12, msg=name)


@pytest.mark.slow
def test_every_method_learns_what_it_learns_in_one_process(tmp_path: Path) -> None:
    program = ("-m", "tests.training.every_method")
    processes = pair(*program, "2", tmp_path / "two.pt", folder=tmp_path)
    processes.append(Process(*program, "1", tmp_path / "one.pt"))
    for process in processes:
        ended = process.finish(timeout=3000)
        assert ended.returncode == 0, ended.stderr
    two, one = torch.load(tmp_path / "two.pt"), torch.load(tmp_path / "one.pt")
    assert len(one) > 50
    differences = {name: difference(two[name], one[name]) for name in one}
    print("\n".join(f"{name} {each:.0e}" for name, each in differences.items()))
    assert {name: each for name, each in differences.items() if not each < 1e-9} == {}


@pytest.mark.slow
def test_the_command_starts_a_process_a_device_and_hands_on_ctrl_c(tmp_path: Path) -> None:
    command = (*ON_DIGITS, "--devices", "2", "--output", tmp_path / "runs", "--method", "erm", *ENDLESS)
    run = wait_for_epochs(tmp_path, Process("-m", "ncbench", *command))
    run.send(signal.SIGINT)
    ended = run.finish()
    assert ended.returncode == 130, ended
    assert "--resume goes on after epoch" in ended.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    done = newest_epoch(folder / "checkpoints")
    assert load_result(folder).status == "interrupted"

    run = wait_for_epochs(tmp_path, Process("-m", "ncbench", *command, "--resume"), done + 1)
    processes = [path for path in Path("/proc").glob("[0-9]*/environ") if runs_in(path, tmp_path, "1")]
    assert processes
    for path in processes:
        Process("-c", f"import os; os.kill({path.parent.name}, 9)").finish()
    ended = run.finish()
    assert ended.returncode == 1
    assert "Process 2 of 2 was ended by signal 9 (Killed). --resume goes on with the run." in ended.stderr
    assert not [path for path in Path("/proc").glob("[0-9]*/environ") if runs_in(path, tmp_path, "0")]


def runs_in(environ: Path, folder: Path, index: str) -> bool:
    """Whether this is a process of the run below a folder, and its number there."""
    try:
        variables, command = environ.read_bytes(), environ.with_name("cmdline").read_bytes()
    except OSError:
        return False
    return f"\0RANK={index}\0".encode() in b"\0" + variables and str(folder).encode() in command


def test_whoever_started_the_processes_says_which_is_which() -> None:
    slurm = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_STEP_NODELIST": "n1"}
    slurm |= {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}
    torchrun = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"}
    assert find_place(4, torchrun) == Place(3, 4, 1, 0, "env://")
    place = find_place(4, slurm)
    assert place is not None
    assert (place.index, place.count, place.local) == (3, 4, 1)
    assert place.rendezvous.startswith("tcp://n1:2")
    assert place == find_place(4, slurm | {"SLURM_PROCID": "3"})
    alone = slurm | {"SLURM_STEP_NUM_TASKS": "1"}
    assert find_place(4, {}) is find_place(4, alone) is find_place(1, torchrun) is find_place(1, slurm) is None
    for environment, starter in ((torchrun, "torchrun"), (slurm, "srun")):
        with pytest.raises(
            ConfigurationError, match=f"{starter} has started 4 processes .* Give --devices 4, or start 2"
        ):
            find_place(2, environment)


@pytest.mark.gpu
def test_on_cuda_batch_normalisation_is_synchronised_and_no_device_is_taken_twice(tmp_path: Path) -> None:
    command = (*ON_DIGITS[:-1], "cuda", "--method", "erm", "--backbone", "small_cnn", "--set", "recipe.epochs=1")
    command = (*command, "--set", "recipe.precision=float32")
    devices = torch.cuda.device_count()
    more = ncbench(*command, "--devices", str(devices + 1), "--output", tmp_path / "more")
    assert more.returncode == 2
    assert f"each takes one of the {devices} CUDA devices" in more.stderr
    if devices < 2:
        pytest.skip("there is one CUDA device alone")
    for number in (1, 2):
        ended = ncbench(*command, "--devices", str(number), "--output", tmp_path / str(number) / "runs")
        assert ended.returncode == 0, ended.stderr
    assert difference(model_in(tmp_path / "2"), model_in(tmp_path / "1")) < 1e-3
