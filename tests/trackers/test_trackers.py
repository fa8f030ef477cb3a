"""The built-in trackers, with the packages themselves, whose files are read back."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ncbench
from ncbench.records.archive import RunResult
from ncbench.training.reporters import Silent
from tests import served

OPTIONS: dict[str, Any] = {
    "dataset": "colored_digits:per_class=25",
    "set": {"recipe.epochs": 4},
    "device": "cpu",
    "checkpoint_seconds": 0.0,
}


@pytest.fixture(autouse=True)
def wandb_set_up_anew() -> Iterator[None]:
    """Have W&B read its environment anew, as a command would."""
    yield
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()


class Interrupting(Silent):
    """Interrupts a run after its third epoch, of which nothing is on the disk then."""

    def epoch(self, entry: dict[str, Any]) -> None:
        if entry["epoch"] == 3:
            raise KeyboardInterrupt


def cut_off_and_resumed(output: Path, track: str) -> RunResult:
    """Return a run that goes on after two epochs, and repeats its third."""
    told: list[str] = []
    options = {**OPTIONS, "output": output, "track": track, "warn": told.append}
    with pytest.raises(KeyboardInterrupt):
        ncbench.run("erm", **options, reporter=Interrupting())
    result = ncbench.run("erm", **options, resume=True)
    assert len(told) == 2, told
    assert all(line.startswith(f"{track} tracks this run: ") for line in told)
    return result


def losses(result: RunResult) -> dict[int, float]:
    """Return the loss of each epoch, from the record."""
    return {entry.epoch: pytest.approx(entry.losses["loss"]) for entry in result.record.history}


def test_tensorboard_s_files_lie_beside_the_record(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="ncbench[tensorboard] is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = cut_off_and_resumed(tmp_path, "tensorboard")
    events = EventAccumulator(str(result.folder)).Reload()
    assert {event.step: event.value for event in events.Scalars("losses/loss")} == losses(result)
    assert len(events.Scalars("losses/loss")) == 4
    (final,) = events.Scalars("final/test/worst_group_accuracy")
    assert final.value == pytest.approx(result.metrics["test"]["worst_group_accuracy"])
    (text, *_) = events.Tensors("settings/text_summary")
    assert b"| recipe.epochs | 4 |" in text.tensor_proto.string_val[0]
    assert "_hparams_/session_start_info" in events.PluginTagToContent("hparams")
    ncbench.run("erm", **OPTIONS, output=tmp_path, track="tensorboard", warn=str, force=True)
    assert len([*result.folder.glob("events.out.tfevents.*")]) == 1


def test_mlflow_goes_on_with_the_run_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="ncbench[mlflow] is not installed")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)  # newer versions want to be asked
    store = str(tmp_path / "mlruns")
    result = cut_off_and_resumed(tmp_path / "runs", f"mlflow:experiment=shortcuts,uri={store}")
    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name("shortcuts")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == (result.record.run_id, "FINISHED")
    assert run.data.params["recipe.epochs"] == "4"
    assert run.data.params["method"] == "erm"
    history = client.get_metric_history(run.info.run_id, "losses/loss")
    assert {metric.step: metric.value for metric in history} == losses(result)
    assert run.data.metrics["final/test/accuracy"] == pytest.approx(result.metrics["test"]["accuracy"])
    record = client.download_artifacts(run.info.run_id, "result.json", str(tmp_path))
    assert Path(record).read_bytes() == result.path.read_bytes()


@pytest.mark.slow
def test_mlflow_without_a_server_takes_its_own_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="ncbench[mlflow] is not installed")
    pytest.importorskip("sqlalchemy", reason="ncbench[mlflow] is not installed")
    pytest.importorskip("alembic", reason="ncbench[mlflow] is not installed")
    monkeypatch.chdir(tmp_path)
    options = {**OPTIONS, "set": {"recipe.epochs": 1}}
    result = ncbench.run("erm", **options, output=tmp_path / "runs", track="mlflow", warn=str)
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("ncbench").experiment_id])
    assert run.info.run_name == result.record.run_id


def test_wandb_offline_keeps_what_a_sync_will_send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="ncbench[wandb] is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    result = cut_off_and_resumed(tmp_path, "wandb:project=shortcuts")
    folders = sorted((result.folder / "wandb").glob("offline-run-*"))
    assert len(folders) == 2
    logged: dict[int, float] = {}
    config, final, artifacts = {}, {}, []
    for folder in folders:
        (file,) = folder.glob("run-*.wandb")
        for record in wandb_records(file):
            match record.WhichOneof("record_type"):
                case "run":
                    assert (record.run.run_id, record.run.display_name) == (result.record.run_id,) * 2
                    assert record.run.project == "shortcuts"
                    config |= {item.key: item.value_json for item in record.run.config.update}
                case "history":
                    items = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
                    if "losses/loss" in items:
                        logged[int(items["_step"])] = float(items["losses/loss"])
                case "summary":
                    updates = record.summary.update
                    final |= {"/".join(item.nested_key) or item.key: item.value_json for item in updates}
                case "artifact":
                    artifacts.append(record.artifact.type)
    assert logged == losses(result)
    assert config["recipe.epochs"] == "4"
    assert float(final["final/test/accuracy"]) == pytest.approx(result.metrics["test"]["accuracy"])
    assert "record" in artifacts


def wandb_records(path: Path) -> Iterator[Any]:
    """Yield the records of a file in LevelDB's log format: blocks of 32 KiB, in which records may be cut."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, position, parts = path.read_bytes(), 7, b""
    while position + 7 <= len(content):
        if (left := 2**15 - position % 2**15) < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield Record.FromString(parts)
            parts = b""


@pytest.mark.parametrize(
    ("track", "package", "variables", "complaint"),
    [
        ("mlflow:uri=http://127.0.0.1:9", "mlflow", {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}, "127.0.0.1"),
        ("mlflow", "mlflow", {"MLFLOW_TRACKING_URI": "nowhere://here"}, "nowhere"),
        ("wandb", "wandb", {"WANDB_API_KEY": "", "WANDB_BASE_URL": "http://127.0.0.1:9"}, "nobody is logged in"),
        ("wandb", "wandb", {"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}, "127.0.0.1"),
    ],
)
def test_one_that_cannot_be_reached_is_one_line_and_the_run_goes_on(
    track: str,
    package: str,
    variables: dict[str, str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip(package, reason=f"ncbench[{package}] is not installed")
    for name, value in {**variables, "HOME": str(tmp_path), "WANDB_MODE": "online"}.items():
        monkeypatch.setenv(name, value)
    told: list[str] = []
    options = {**OPTIONS, "set": {"recipe.epochs": 1}}
    result = ncbench.run("erm", **options, output=tmp_path / "runs", track=track, warn=told.append)
    assert result.status == "completed"
    (line,) = (line for line in told if "left out" in line)
    assert line.startswith(package)
    assert " is left out, and the run goes on without it: " in line
    assert complaint in line


@pytest.mark.slow
@pytest.mark.parametrize("level", [None, "WARNING"])
def test_a_database_that_cannot_be_opened_is_tried_once(level: str | None, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="ncbench[mlflow] is not installed")
    pytest.importorskip("sqlalchemy", reason="ncbench[mlflow] is not installed")
    track = f"mlflow:uri=sqlite:///{tmp_path}"  # which is a folder
    options = ("--dataset", OPTIONS["dataset"], "--set", "recipe.epochs=1", "--device", "cpu", "--track", track)
    arguments = ("run", "--method", "erm", *options, "--output", tmp_path / "runs")
    done = served.ncbench(*arguments, MLFLOW_LOGGING_LEVEL=level)
    assert done.returncode == 0
    (line,) = (line for line in done.stderr.splitlines() if "sqlite" in line)
    assert line.startswith(
        f"mlflow:uri='sqlite:///{tmp_path}' is left out, and the run goes on without it: Operational"
    )
    assert "retried" not in done.stderr
