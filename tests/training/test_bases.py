"""Runs that build on finished runs: the base is made once, named in the record, and noticed when it is another."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import ncbench
from ncbench import (
    Batch,
    ConfigurationError,
    DataError,
    Method,
    MethodCard,
    NcbenchError,
    PluginError,
    Supervision,
)
from ncbench.discovery.registry import Plugin, Registered, registry
from ncbench.launch.suite import Block, Suite
from ncbench.records.archive import RunResult
from ncbench.training.checkpoints import load_latest_checkpoint, save_checkpoint
from ncbench.training.configuration import resolve
from ncbench.training.reporters import Silent

from .conftest import EndsAfter

QUIET: Mapping[str, Any] = {"warn": lambda line: None}


class LastLayer(Method):
    """Trains a new classifier on the features of an erm."""

    @classmethod
    def base(cls, params: Any) -> str:
        return "erm"

    def start_from(self, base: Method) -> None:
        super().start_from(base)
        self.report["base_norm"] = float(base.classifier.weight.detach().norm())

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.classifier.parameters())}]

    def loss(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            features = self.features(batch.images)
        return F.cross_entropy(self.classify(features), batch.target)


class OnBias(LastLayer):
    """Builds on a run that uses bias labels."""

    @classmethod
    def base(cls, params: Any) -> str:
        return "group_dro"


class OnItself(LastLayer):
    """Builds on itself."""

    @classmethod
    def base(cls, params: Any) -> str:
        return "on_itself"


METHODS = {"last_layer": LastLayer, "on_bias": OnBias, "on_itself": OnItself}


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the methods be found as if a package had brought them."""
    for name, method_class in METHODS.items():
        card = MethodCard(
            name=name, summary="It.", factory=f"{__name__}:{method_class.__name__}", supervision=Supervision()
        )
        monkeypatch.setitem(registry().cards["methods"], name, [Registered(card, Plugin("it", "it", "1.0"))])


def run(output: Path, method: str = "last_layer", **options: Any) -> RunResult:
    settings = {"recipe.epochs": 1, "base.recipe.epochs": 2, **options.pop("set", {})}
    return ncbench.run(method, output=output, set=settings, **{**QUIET, **options})


def base_of(result: RunResult) -> Path:
    assert result.record.base is not None
    return result.folder.parent / result.record.base.run_id


def test_the_base_is_made_first_and_is_a_run_like_any_other(tmp_path: Path) -> None:
    said: list[str] = []
    result = run(tmp_path / "built", warn=said.append)
    assert any("last_layer builds on erm-colored_digits-s0-" in line for line in said)
    alone = ncbench.run("erm", set={"recipe.epochs": 2}, output=tmp_path / "alone", **QUIET)
    base = ncbench.load_result(base_of(result))
    assert base.record.run_id == alone.record.run_id
    assert base.metrics == alone.metrics
    assert result.record.base is not None
    assert result.record.base.method == "erm"
    assert len(result.record.base.model) == 64

    backbone = torch.load(base.folder / "model.pt", weights_only=True)
    built = torch.load(result.folder / "model.pt", weights_only=True)
    assert all(torch.equal(built[name], value) for name, value in backbone.items() if name.startswith("backbone."))
    assert not torch.equal(built["classifier.weight"], backbone["classifier.weight"])
    assert result.record.report["base_norm"] == pytest.approx(float(backbone["classifier.weight"].norm()))


def test_a_base_is_shared_and_told_apart_by_its_recipe(tmp_path: Path) -> None:
    first = run(tmp_path)
    stamp = (base_of(first) / "result.json").stat().st_mtime_ns
    second = run(tmp_path, set={"recipe.lr": 0.01})
    assert base_of(second) == base_of(first)
    assert (base_of(first) / "result.json").stat().st_mtime_ns == stamp
    other = run(tmp_path, set={"base.recipe.epochs": 1})
    assert base_of(other) != base_of(first)
    assert len({result.record.run_id for result in (first, second, other)}) == 3
    assert len(list(tmp_path.iterdir())) == 5


def test_the_record_says_what_the_base_used(tmp_path: Path) -> None:
    assert run(tmp_path).record.method.supervision.train == "none"
    assert run(tmp_path, "on_bias").record.method.supervision.train == "bias"


def _of_other_data(folder: Path) -> None:
    path = folder / "result.json"
    record = ncbench.load_result(path).record
    path.write_text(path.read_text().replace(record.dataset.fingerprint, "0" * 64))


def _diverged(folder: Path) -> None:
    path = folder / "result.json"
    path.write_text(path.read_text().replace('"status": "completed"', '"status": "diverged"'))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda folder: (folder / "model.pt").unlink(), "model.pt, which is not there. Delete the folder of erm-"),
        (lambda folder: (folder / "model.pt").write_bytes(b"x" * 99), "model.pt cannot be read"),
        (_of_other_data, "which was trained on other data than there are now. Delete the folder of erm-"),
        (_diverged, "which diverged. --set base.recipe.KEY=VALUE changes its recipe"),
        (lambda folder: (folder / "result.json").write_text("{"), "is not a valid record"),
    ],
    ids=["no model", "damaged model", "other data", "diverged", "damaged record"],
)
def test_a_base_that_will_not_do_is_refused(tmp_path: Path, change: Callable[[Path], object], complaint: str) -> None:
    base = base_of(run(tmp_path))
    change(base)
    with pytest.raises(DataError, match=complaint.replace("(", "\\(")):
        run(tmp_path, set={"recipe.lr": 0.01})
    assert len(list(tmp_path.iterdir())) == 2  # the run that was refused leaves nothing


def test_a_failing_base_ends_the_run_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ncbench_methods.erm.ERM.loss", lambda self, batch: 1 / 0)
    with pytest.raises(NcbenchError, match="erm failed with ZeroDivisionError"):
        run(tmp_path)
    assert [path.name.partition("-")[0] for path in tmp_path.iterdir()] == ["erm"]


def test_a_run_that_was_cut_off_goes_on_exactly_and_not_from_another_base(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", set={"recipe.epochs": 3})
    folder = tmp_path / "cut"
    cut = functools.partial(run, folder, set={"recipe.epochs": 3}, checkpoint_seconds=0.0)

    class Interrupting(Silent):
        def epoch(self, entry: dict[str, Any]) -> None:
            if entry["epoch"] == 2 and any(folder.glob("erm-*/result.json")):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut(reporter=Interrupting())
    (base,) = folder.glob("erm-*")
    model = (base / "model.pt").read_bytes()
    state = torch.load(base / "model.pt", weights_only=True)
    torch.save({name: value + 1 for name, value in state.items()}, base / "model.pt")
    with pytest.raises(DataError, match=r"made with something else: the model of erm-.*--force"):
        cut(resume=True)
    (base / "model.pt").write_bytes(model)
    resumed = cut(resume=True)
    assert resumed.metrics == whole.metrics
    assert resumed.record.report == whole.record.report != {}


def test_what_cannot_be_a_base_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"erm builds on no other run.*base\.recipe\.epochs"):
        ncbench.run("erm", set={"base.recipe.epochs": 1}, output=tmp_path, **QUIET)
    with pytest.raises(ConfigurationError, match=r"Unknown setting 'recipe\.epoch'. Did you mean 'recipe\.epochs'"):
        run(tmp_path, set={"base.recipe.epoch": 1})
    with pytest.raises(PluginError, match="'on_itself' builds on itself"):
        resolve("on_itself", "colored_digits", None, 0, {}, synthetic=False)


def test_a_suite_has_every_base_once_and_before_what_builds_on_it() -> None:
    block = Block(
        methods=("last_layer", "erm", "on_bias"),
        datasets=("colored_digits",),
        seeds=(0, 1),
        settings={"recipe.epochs": 2, "base.recipe.epochs": 1},
        grid={"recipe.lr": (0.1, 0.01)},
    )
    # erm takes no base.recipe: it has a block of its own, in which it is what last_layer builds on.
    with pytest.raises(ConfigurationError, match="builds on no other run"):
        Suite(title="t", description="d", runs=(block,)).members()
    building = block.model_copy(update={"methods": ("last_layer", "on_bias")})
    alone = Block(methods=("erm",), datasets=("colored_digits",), seeds=(0, 1), settings={"recipe.epochs": 1})
    members = Suite(title="t", description="d", runs=(building, alone)).members()
    jobs = [member.job for member in members]
    ids = [job.run_id for job in jobs]
    assert len(ids) == len(set(ids)) == 2 * (1 + 1 + 4)
    for job in jobs:
        assert all(ids.index(base) < ids.index(job.run_id) for base in job.after)
    assert sum(len(job.after) for job in jobs) == 8


PACKAGE = """
from ncbench import MethodCard, Supervision, hookimpl

@hookimpl
def ncbench_methods():
    return [MethodCard(name="built", summary="It.", factory="built_method:Built", supervision=Supervision())]
"""

METHOD = """
import torch.nn.functional as F
from ncbench import Method

class Built(Method):
    @classmethod
    def base(cls, params):
        return "erm"

    def loss(self, batch):
        return F.cross_entropy(self(batch.images), batch.target)
"""


def test_a_sweep_makes_bases_first_and_once(tmp_path: Path) -> None:
    site = tmp_path / "site"
    info = site / "built-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "built.py").write_text(PACKAGE)
    (site / "built_method.py").write_text(METHOD)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: built\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ncbench]\nplugin = built\n")
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        "title: t\ndescription: d\nruns:\n- methods: [built]\n  datasets: [colored_digits]\n  seeds: [0]\n"
        "  settings: {recipe.epochs: 1, base.recipe.epochs: 1}\n  grid: {recipe.lr: [0.1, 0.01]}\n"
    )
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "NCBENCH_PLUGINS": "built"}
    command = [
        sys.executable,
        "-m",
        "ncbench",
        "sweep",
        str(suite),
        "--output",
        str(tmp_path / "runs"),
        "--workers",
        "2",
    ]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    results = [ncbench.load_result(path) for path in (tmp_path / "runs").glob("*/result.json")]
    assert sorted(result.record.method.name for result in results) == ["built", "built", "erm"]
    assert len({result.record.base.run_id for result in results if result.record.base is not None}) == 1
    assert "builds on" not in made.stderr  # no run had to make its own base


def test_a_base_that_cannot_be_gone_on_with_is_named_by_the_folder_to_delete(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, reporter=EndsAfter(2))
    (base,) = tmp_path.glob("erm-*")
    (path,) = base.glob("checkpoints/*.pt")
    state: Any = load_latest_checkpoint(path.parent, torch.device("cpu"))
    save_checkpoint(path.parent, 1, {**state, "made_with": {**state["made_with"], "torch": "1.0"}})
    for force in (False, True):  # it is the base that stands in the way, whatever becomes of what builds on it
        with pytest.raises(DataError, match=rf"torch was 1\.0.*where another run builds on it, delete {base}\.$"):
            run(tmp_path, force=force)
    shutil.rmtree(base)
    assert run(tmp_path).status == "completed"
