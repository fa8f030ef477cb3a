"""The runner on the embedded dataset, through its public interface."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import ncbench
from ncbench import ConfigurationError, DataError, load_result
from ncbench.cli.commands.plot import plot
from ncbench.data.sources.manifest import Manifest, load_manifest
from ncbench.records.record import Record
from ncbench.training.configuration import resolve
from ncbench.training.evaluation.evaluator import load_metrics
from ncbench.training.recipe import Recipe
from ncbench_datasets.mnist import Mnist
from ncbench_metrics.calibration import CalibrationMetrics

from .conftest import Command, only_record, without_times

SHORT = {"recipe.epochs": 3}


def short_run(output: Path, **changes: Any) -> ncbench.run:  # type: ignore[valid-type]
    options: dict[str, Any] = {"method": "erm", "set": SHORT, "output": output, **changes}
    return ncbench.run(**options)


def test_the_record_is_complete_and_its_accuracies_follow_from_its_counts(tmp_path: Path) -> None:
    result = short_run(tmp_path, method="shortcut_prime")
    content = json.loads(result.path.read_text())
    record = Record.model_validate(content)
    assert record.status == "completed"
    assert record.method.supervision.train == "bias"
    assert record.method.plugin.distribution == "ncbench"
    assert len(record.history) == 3
    assert record.selection["last"].epoch == 3
    for split in ("train", "test"):
        groups = content["groups"][split]
        correct, count = (sum(group[key] for group in groups) for key in ("correct", "count"))
        assert content["metrics"][split]["accuracy"] == pytest.approx(correct / count, abs=1e-12)
        shares = [group["correct"] / group["count"] for group in groups if group["count"]]
        assert content["metrics"][split]["group_mean_accuracy"] == pytest.approx(np.mean(shares), abs=1e-12)
        assert content["metrics"][split]["worst_group_accuracy"] == pytest.approx(min(shares), abs=1e-12)
    assert sum(group["count"] for split in content["groups"].values() for group in split) == 1797
    assert {"nc1", "nc1_cdnv", "nc4_disagreement", "bias_nc1"} <= set(content["metrics"]["train"])
    assert load_result(result.folder).record == result.record


def test_the_terminal_phase_begins_at_the_first_measured_epoch_without_training_error(tmp_path: Path) -> None:
    settings = {"recipe.epochs": 30, "recipe.batch_size": 32}
    result = short_run(tmp_path, dataset="colored_digits:per_class=20", set=settings)
    measured = {
        entry.epoch: entry.metrics["train"]["accuracy"] for entry in result.record.history if "train" in entry.metrics
    }
    assert max(measured.values()) == 1 > min(measured.values())
    assert result.record.terminal_phase_epoch == min(epoch for epoch, accuracy in measured.items() if accuracy == 1)
    assert short_run(tmp_path).record.terminal_phase_epoch is None


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"schedule": "constant"}, [8, 8, 8, 8, 8, 8, 8]),
        ({"schedule": "step", "schedule_every": 2, "schedule_factor": 0.5}, [8, 8, 4, 4, 2, 2, 1]),
        ({"schedule": "thirds", "schedule_factor": 0.5}, [8, 8, 8, 4, 4, 2, 2]),  # past 7/3 and 14/3 epochs
        ({"schedule": "cosine"}, [4 + 4 * np.cos(np.pi * epoch / 7) for epoch in range(7)]),
    ],
)
def test_the_learning_rate_follows_its_schedule(schedule: dict[str, Any], expected: list[float]) -> None:
    recipe = Recipe(lr=8, **schedule)
    assert [recipe.learning_rate(epoch, 7) for epoch in range(7)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("haframe", "haframe:head_lr_scale=0.1"),  # the published value for this dataset
        ("haframe:head_lr_scale=1", "haframe:head_lr_scale=1.0"),  # the default, which is not what nothing stands for
        ("haframe:gamma=2", "haframe:head_lr_scale=0.1"),
    ],
)
def test_a_canonical_spec_names_the_same_parameters_when_it_is_given_again(given: str, canonical: str) -> None:
    first, again = (resolve(method, "cifar100", None, 0, {}, synthetic=False) for method in (given, canonical))
    assert first.method.spec == again.method.spec == canonical
    assert first.method.params == again.method.params


def test_a_seed_determines_the_result(tmp_path: Path) -> None:
    first, again, other = (
        without_times(json.loads(short_run(tmp_path / name, seed=seed).path.read_text()))
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert first == again
    assert first["history"] != other["history"]


def test_the_precision_that_was_used_is_recorded(tmp_path: Path) -> None:
    small = "colored_digits:per_class=5"  # bfloat16 is slow on many a CPU
    auto, asked = (
        short_run(tmp_path, dataset=small, set={**SHORT, **changes}).record
        for changes in ({}, {"recipe.precision": "bfloat16"})
    )
    assert auto.environment["precision"] == "float32"  # on a CPU
    assert asked.environment["precision"] == "bfloat16"


@pytest.mark.parametrize(("points", "expected"), [(1, {100}), (2, {1, 100}), (3, {1, 10, 100})])
def test_training_images_are_measured_at_log_spaced_epochs(points: int, expected: set[int]) -> None:
    assert Recipe(measure_points=points).measured_epochs(100) == expected


def test_the_global_generators_state_does_not_matter(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = short_run(tmp_path / "first")
    torch.manual_seed(2)
    second = short_run(tmp_path / "second")
    assert first.metrics == second.metrics


def test_a_finished_run_is_found_where_nothing_can_be_written(
    tmp_path: Path, read_only: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    made = ncbench.run("erm", set={"recipe.epochs": 1}, output=tmp_path, device="cpu")
    arguments = ["run", "--method", "erm", "--set", "recipe.epochs=1", "--output", tmp_path, "--device", "cpu"]
    found = read_only(tmp_path, *arguments)
    assert found.returncode == 0, found.stderr
    assert "finished already" in found.stderr
    refused = read_only(tmp_path, *arguments, "--seed", "1")
    new = tmp_path / made.record.run_id.replace("-s0-", "-s1-").rpartition("-")[0]
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"Error: {new}")
    assert refused.stderr.endswith(" cannot be written (Read-only file system). Choose another --output.\n")


def test_a_finished_run_is_not_run_again_unless_forced(tmp_path: Path) -> None:
    first = short_run(tmp_path)
    stamp = first.path.stat().st_mtime_ns
    for changes in ({}, {"resume": True}):
        again = short_run(tmp_path, **changes)
        assert again.record == first.record
        assert first.path.stat().st_mtime_ns == stamp
    forced = short_run(tmp_path, force=True)
    assert forced.path == first.path
    assert first.path.stat().st_mtime_ns > stamp


def test_a_damaged_record_is_named_and_so_is_the_way_on(tmp_path: Path) -> None:
    result = short_run(tmp_path)
    result.path.write_text(result.path.read_text()[:-100])
    for changes in ({}, {"resume": True}):
        with pytest.raises(DataError, match=rf"{result.path} is not a valid record.* --force discards"):
            short_run(tmp_path, **changes)
    assert short_run(tmp_path, force=True).record.metrics == result.record.metrics


def test_a_forced_run_that_is_refused_discards_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NCBENCH_DATA", raising=False)
    Mnist.synthesize(tmp_path / "data")
    options = {"dataset": "mnist:per_class=5", "backbone": "mlp", "allow_mismatch": True, "force": True}
    result = short_run(tmp_path / "runs", **options, data_root=tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in result.folder.iterdir() if path.name != ".lock"}
    assert len(before) >= 4
    with pytest.raises(DataError, match="mnist"):
        short_run(tmp_path / "runs", **options, data_root=tmp_path / "nothing")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_no_picture_of_a_discarded_run_is_left(tmp_path: Path) -> None:
    result = short_run(tmp_path)
    drawn = [
        CliRunner().invoke(plot, [str(result.folder), "--kind", kind, "--format", ending]).stdout.split()
        for kind in ("curves", "geometry")
        for ending in ("png", "svg")
    ]
    pictures = {Path(line) for lines in drawn for line in lines}
    assert len(pictures) == 8
    (result.folder / "notes.svg").write_text("the user's")
    short_run(tmp_path, force=True)
    assert not [path for path in pictures if path.exists()]
    assert (result.folder / "notes.svg").exists()


def test_a_backbone_without_a_number_of_features_is_named() -> None:
    configuration = resolve("erm", "colored_digits", "mlp", 0, {}, synthetic=False)
    bare = replace(configuration.backbone, factory=lambda shape, params: torch.nn.Identity())
    with pytest.raises(ConfigurationError, match="'mlp' must set feature_dim"):
        replace(configuration, backbone=bare).make_backbone((3, 8, 8))()


def test_run_ids_tell_configurations_apart(tmp_path: Path) -> None:
    results = [
        short_run(tmp_path),
        short_run(tmp_path, seed=1),
        short_run(tmp_path, dataset="colored_digits:conflict=0.05"),
        short_run(tmp_path, backbone="mlp:hidden=50"),
        short_run(tmp_path, set={**SHORT, "recipe.lr": 0.01}),
    ]
    assert len({result.record.run_id for result in results}) == len(results)
    # Defaults may be spelled out: it is the same run.
    assert short_run(tmp_path, dataset="colored_digits:severity=4").record == results[0].record


def test_criteria_are_computed_together_and_the_primary_ones_model_is_kept(tmp_path: Path) -> None:
    changes = {"recipe.epochs": 12, "recipe.selection": "val_worst_group_accuracy"}
    result = short_run(tmp_path, dataset="colored_digits:val=0.3,conflict=0.3", set=changes)
    record = result.record
    assert set(record.selection) == {
        "last",
        "val_accuracy",
        "val_group_mean_accuracy",
        "val_worst_group_accuracy",
    }
    for criterion, *ranking in (
        ("val_accuracy", "accuracy"),
        ("val_worst_group_accuracy", "worst_group_accuracy", "group_mean_accuracy"),
    ):
        ranks = [(*(entry.metrics["val"][name] for name in ranking), entry.epoch) for entry in record.history]
        assert record.selection[criterion].epoch == max(ranks)[-1]
    chosen = record.selection["val_worst_group_accuracy"]
    for name in ("accuracy", "worst_group_accuracy"):
        assert record.metrics["test"][name] == pytest.approx(chosen.metrics["test"][name], abs=1e-12)
    # erm declares no supervision; selecting by the worst validation group uses bias labels all the same.
    assert record.method.supervision.val == "bias"


def test_a_criterion_without_its_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"needs a validation split.*=last needs none, and colored_digits:val="
    ):
        short_run(tmp_path, set={**SHORT, "recipe.selection": "val_accuracy"})


def test_training_that_diverges_ends_with_a_valid_record(tmp_path: Path, ncbench_run: Command) -> None:
    arguments = ("--method", "erm", "--set", "recipe.optimizer=sgd", "--set", "recipe.lr=1e30")
    finished = ncbench_run(*arguments)
    assert finished.returncode == 4
    assert "diverged" in finished.stderr.splitlines()[-1]
    record = Record.model_validate(only_record(tmp_path / "runs"))
    assert record.status == "diverged"
    assert record.history[-1].losses["loss"] is None
    assert record.metrics == {}
    # It is finished: the same command points to it.
    assert ncbench_run(*arguments).returncode == 4


def test_the_term_that_diverged_is_named(tmp_path: Path) -> None:
    settings = {"recipe.optimizer": "sgd", "recipe.lr": 1e30}
    reason = ncbench.run("shortcut_prime", set=settings, output=tmp_path).record.reason
    assert reason is not None
    assert re.fullmatch(r"the loss of epoch 1 is (nan|inf), for its term (prime|clean|prime and clean)", reason)


def test_a_metric_family_that_declares_what_there_is_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CalibrationMetrics, "splits", ("tst", "val"))
    with pytest.raises(ConfigurationError, match="'calibration' of ncbench declares splits tst; valid"):
        load_metrics()


def test_a_primary_metric_that_nothing_computes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def misspelt(reference: str) -> Manifest:
        return load_manifest(reference).model_copy(update={"primary_metric": "grup_mean_accuracy"})

    monkeypatch.setattr("ncbench.training.configuration.load_manifest", misspelt)
    with pytest.raises(ConfigurationError, match=r"primary metric of colored_digits.*mean 'group_mean_accuracy'"):
        resolve("erm", "colored_digits", None, 0, {}, synthetic=False)


def test_a_run_that_diverged_keeps_no_checkpoints(tmp_path: Path) -> None:
    settings = {"recipe.optimizer": "sgd", "recipe.lr": 1e30}
    folder = tmp_path / resolve("erm", "colored_digits", None, 0, settings, synthetic=False).run_id
    (folder / "checkpoints").mkdir(parents=True)
    result = ncbench.run("erm", set=settings, output=tmp_path, resume=True)
    assert result.status == "diverged"
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "log.jsonl", "result.json"]
    assert json.loads((folder / "log.jsonl").read_text().splitlines()[0])["event"] == "started"  # not resumed


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--method", "shortcut_prim"], "Unknown method 'shortcut_prim'. Did you mean 'shortcut_prime'?"),
        (["--dataset", "colored_digit"], "Did you mean 'colored_digits'?"),
        (["--backbone", "mpl"], "Did you mean 'mlp'?"),
        (["--method", "shortcut_prime:clean_wait=1"], "Did you mean 'clean_weight'?"),
        (["--method", "shortcut_prime:clean_weight=-1"], "'clean_weight' of shortcut_prime is not valid"),
        (["--dataset", "colored_digits:conflict=2"], "'conflict' of colored_digits is not valid"),
        (["--set", "recipe.epoch=3"], "Did you mean 'recipe.epochs'?"),
        (["--set", "recipe.epochs=0"], "'epochs' of the recipe is not valid"),
        (["--set", "recipe.epochs"], "is not of the form KEY=VALUE"),
        (["--set", "recipe.epochs=1", "--set", "recipe.epochs=2"], "'recipe.epochs' is set twice"),
        (["--set", "recipe.epochs=1:30"], "'epochs' of the recipe is not valid"),
        (["--device", "cuda:7"], "There is no device 'cuda:7' here."),
        (["--device", "gpu"], "There is no device 'gpu' here."),
        (["--resume", "--force"], "give one of them"),
        (["--seed", "-1"], "--seed"),
        (["--data-root", "nowhere"], "'nowhere' does not exist"),
        (["--method", "haframe"], "needs a class hierarchy"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    tmp_path: Path, ncbench_run: Command, arguments: list[str], complaint: str
) -> None:
    finished = ncbench_run(*arguments)
    assert finished.returncode == 2
    assert complaint in finished.stderr.splitlines()[-1]
    assert "Traceback" not in finished.stderr
    assert not list((tmp_path / "runs").glob("*"))


def test_debug_shows_the_traceback(ncbench_run: Command) -> None:
    assert "Traceback" in ncbench_run("--method", "nothing", "--debug").stderr


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_an_output_that_cannot_be_made_is_said_to_be_that() -> None:
    with pytest.raises(ConfigurationError, match=r"/proc/ncbench\S* cannot be made\. Choose another --output\."):
        short_run(Path("/proc/ncbench"))


def test_an_output_that_cannot_be_written_is_refused_before_training(tmp_path: Path, ncbench_run: Command) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    finished = ncbench_run("--set", "recipe.epochs=1")
    assert finished.returncode == 2
    assert "cannot be written" in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_missing_data_says_where_it_was_looked_for_and_how_to_get_it(tmp_path: Path, ncbench_run: Command) -> None:
    (tmp_path / "empty").mkdir()
    finished = ncbench_run("--dataset", "colored_mnist", "--data-root", str(tmp_path / "empty"), NCBENCH_DATA="")
    assert finished.returncode == 3
    assert str(tmp_path / "empty") in finished.stderr
    assert "ncbench data fetch colored_mnist. Without the data, ncbench run --synthetic trains on" in finished.stderr
    assert finished.stderr.count("\n") == 1
    assert not list((tmp_path / "runs").iterdir())


TWIN = ("--dataset", "bar:size=16", "--method", "erm", "--backbone", "mlp", "--synthetic")


def test_a_twin_is_said_to_be_one_and_how_long_it_takes(tmp_path: Path, ncbench_run: Command) -> None:
    finished = ncbench_run(*TWIN, "--set", "recipe.epochs=2")
    assert finished.returncode == 0
    told = finished.stderr.splitlines()[0]
    assert "The synthetic twin of bar is generated data" in told
    assert "The recipe holds all the same: 2 epochs;" in told
    assert "--set recipe.epochs=1 " in told
    assert "recipe.epochs" not in ncbench_run(*TWIN, "--set", "recipe.epochs=1").stderr
    # A record that is there already is not about to be made.
    assert "generated" not in ncbench_run(*TWIN, "--set", "recipe.epochs=2").stderr


def test_quiet_says_nothing_of_preparing_data(tmp_path: Path, ncbench_run: Command) -> None:
    finished = ncbench_run(*TWIN, "--set", "recipe.epochs=1", "--quiet", NCBENCH_CACHE=str(tmp_path / "cache"))
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")


@contextlib.contextmanager
def terminal() -> Iterator[Callable[[], str]]:
    """Make standard output a terminal, and yield what returns its text, once."""
    screen, descriptor = pty.openpty()

    def shown() -> str:
        parts = []
        while select.select([screen], [], [], 0)[0]:  # a read gives 4 KiB at most
            parts.append(os.read(screen, 1 << 16))
        return b"".join(parts).decode()

    with os.fdopen(descriptor, "w") as stream, contextlib.redirect_stdout(stream):
        yield shown
    os.close(screen)


def test_curves_are_drawn_where_somebody_looks(tmp_path: Path, ncbench_run: Command) -> None:
    short = ("--method", "erm", "--dataset", "colored_digits:per_class=25", "--set", "recipe.epochs=1")
    with terminal() as shown:
        assert ncbench_run(*short).returncode == 0
        (picture,) = (tmp_path / "runs").glob("*/curves.png")
        assert f"Curves: {picture}\r\n" in shown()
        picture.unlink()
        assert ncbench_run(*short, "--quiet").returncode == 0
        assert not picture.exists()


def test_ctrl_c_while_drawing_leaves_the_record_whole(
    tmp_path: Path, ncbench_run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell's jobs ignore it
    monkeypatch.setattr("ncbench.pictures.curves.plot_curves", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with terminal():
        finished = ncbench_run("--method", "erm", "--set", "recipe.epochs=1")
    signal.signal(signal.SIGINT, before)
    assert finished.returncode == 130
    assert only_record(tmp_path / "runs")["status"] == "completed"
    (folder,) = (tmp_path / "runs").iterdir()
    assert finished.stderr.splitlines()[-1].endswith(f"ncbench plot {folder}")
    assert list(folder.glob("*.png")) == []


def test_two_processes_do_not_work_on_one_run(tmp_path: Path) -> None:
    import filelock

    folder = short_run(tmp_path).folder
    with filelock.FileLock(folder / ".lock"), pytest.raises(ConfigurationError, match="Another process"):
        short_run(tmp_path, force=True)


def test_the_criterion_of_the_manifest_is_the_recipes_default() -> None:
    assert resolve("erm", "waterbirds", None, 0, {}, synthetic=False).recipe.selection == "val_worst_group_accuracy"
    assert resolve("erm", "bar", None, 0, {}, synthetic=False).recipe.selection == "last"
