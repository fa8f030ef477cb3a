"""What is fitted after training: a record that says so, and methods that train nothing before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import ncbench
from ncbench import ConfigurationError, MethodCard, Supervision, SupervisionError
from ncbench.cli.tables.result import print_result
from ncbench.contracts.task import Task
from ncbench.discovery.registry import Plugin, Registered, registry
from ncbench.leaderboard.intake.soundness import check_alone, check_chosen_metrics
from ncbench.records.archive import RunResult
from ncbench.training.selection import criteria
from ncbench_methods.erm import ERM

QUIET: Mapping[str, Any] = {"warn": lambda line: None}


class Bends(ERM):
    """Fits its classifier anew on validation images, after training."""

    def finish(self, train: Any, val: Any) -> None:
        with torch.no_grad():
            images = torch.cat([batch.images for batch in val.batches()])
            self.classifier.bias.copy_(-self(images).mean(dim=0) + self.classifier.bias)


class Looks(ERM):
    """Reads nothing of the validation images when it finishes."""

    def finish(self, train: Any, val: Any) -> None:
        self.report["images"] = float(len(val))


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the methods be found as if a package had brought them."""
    for name, method_class in (("bends", Bends), ("looks", Looks)):
        card = MethodCard(
            name=name, summary="It.", factory=f"{__name__}:{method_class.__name__}", supervision=Supervision()
        )
        monkeypatch.setitem(registry().cards["methods"], name, [Registered(card, Plugin("it", "it", "1.0"))])


def with_val(method: str, output: Path, **settings: Any) -> RunResult:
    return ncbench.run(method, "colored_digits:val=0.2,val_bias=uniform", set=settings, output=output, **QUIET)


def test_metrics_of_images_that_a_method_was_fitted_on_are_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {"recipe.epochs": 2, "recipe.selection": "val_accuracy"}
    plain, bends, looks = (with_val(name, tmp_path, **few).record for name in ("erm", "bends", "looks"))
    assert (plain.fitted, bends.fitted, looks.fitted) == ([], ["train", "val"], ["train"])
    assert {"last", "val_accuracy", "val_worst_group_accuracy"} <= plain.selection.keys()
    assert bends.selection.keys() == {"val_accuracy"}
    chosen = bends.selection["val_accuracy"]
    assert chosen.metrics == {split: bends.metrics[split] for split in ("val", "test")}
    assert chosen.metrics["val"] != bends.history[chosen.epoch - 1].metrics["val"]
    print_result(RunResult(bends, tmp_path), [])
    assert "val (fitted)" in capsys.readouterr().out
    print_result(RunResult(plain, tmp_path), [])
    assert "(fitted)" not in capsys.readouterr().out


def test_methods_that_train_nothing_have_sound_records_and_share_one_base(tmp_path: Path) -> None:
    short = {"base.recipe.epochs": 3, "recipe.selection": "val_worst_group_accuracy"}
    results = {name: with_val(name, tmp_path, **short) for name in ("dfr", "tau_norm", "tau_norm:tau=1", "ncm")}
    assert len(list(tmp_path.glob("erm-*"))) == 1
    for name, result in results.items():
        record = result.record
        assert result.status == "completed"
        assert record.history == []
        assert record.selection["val_worst_group_accuracy"].epoch == 0
        assert record.selection["val_worst_group_accuracy"].metrics["test"] == record.metrics["test"]
        assert record.fitted == (["train", "val"] if name in ("dfr", "tau_norm") else ["train"])
        assert record.method.supervision.train == "none"
        check_alone(record, criteria())
        check_chosen_metrics(record, set())
    assert results["dfr"].record.report["images_a_group"] > 0
    again = with_val("dfr", tmp_path / "again", **short)
    assert again.metrics == results["dfr"].metrics


@pytest.mark.parametrize(
    ("method", "complaint"),
    [
        ("dfr", "dfr needs the bias attribute of the validation images.*crt"),
        ("tau_norm", "tau_norm chooses tau on validation images, and this dataset has none.*tau_norm:tau=1"),
    ],
)
def test_what_does_not_fit_the_data_is_refused_before_the_base_is_trained(
    tmp_path: Path, method: str, complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        ncbench.run(method, output=tmp_path, **QUIET)
    assert not list(tmp_path.iterdir())


def test_a_criterion_without_a_validation_split_is_refused_before_the_base_is_trained(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"selection=val_accuracy needs a validation split"):
        ncbench.run("ncm", set={"recipe.selection": "val_accuracy"}, output=tmp_path, **QUIET)
    assert not list(tmp_path.iterdir())


def test_crt_and_ncm_go_on_from_one_base(tmp_path: Path) -> None:
    settings = {"recipe.epochs": 1, "base.recipe.epochs": 1}
    crt = ncbench.run("crt", set=settings, output=tmp_path, **QUIET)
    ncm = ncbench.run("ncm", set={"base.recipe.epochs": 1}, output=tmp_path, **QUIET)
    assert [entry.stage for entry in crt.record.history] == ["classifier"]
    assert ncm.record.history == []
    assert ncm.record.selection["last"].epoch == 0
    assert crt.record.base == ncm.record.base
    assert ncm.metrics["train"]["accuracy"] > 0.2


def test_counts_of_validation_groups_are_for_those_who_declare_them() -> None:
    labels = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])

    def task(supervision: Supervision, **splits: Any) -> Task:
        return Task.of(
            {"train": labels, **splits},
            class_names=["a", "b"],
            bias_names=["c", "d"],
            input_shape=(3, 4, 4),
            hierarchy=None,
            seed=0,
            supervision=supervision,
        )

    assert task(Supervision(val="bias"), val=labels).val_group_counts.tolist() == [[1, 1], [0, 1]]
    with pytest.raises(SupervisionError, match="without declaring it"):
        _ = task(Supervision(train="bias"), val=labels).val_group_counts
    with pytest.raises(SupervisionError, match="unknown for this dataset"):
        _ = task(Supervision(val="bias")).val_group_counts
