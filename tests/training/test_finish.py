"""What is fitted after training: a record that says so, and methods that train nothing before."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import ncbench
from ncbench import ConfigurationError, Method, MethodCard, NcbenchError, Supervision, SupervisionError
from ncbench.cli.tables.result import print_result
from ncbench.contracts.task import Task
from ncbench.discovery.registry import Plugin, Registered, registry
from ncbench.leaderboard.intake.catalogue import Catalogue
from ncbench.leaderboard.intake.entry import inspect
from ncbench.leaderboard.intake.problems import RefusedError
from ncbench.leaderboard.intake.soundness import check_alone
from ncbench.leaderboard.intake.stated import check_chosen_metrics
from ncbench.records.archive import RunResult
from ncbench.records.comparison import describe_choice
from ncbench.training.selection import criteria
from ncbench_methods.erm import ERM
from ncbench_methods.last_layer.fixed_features import LastLayer

from .conftest import EndsAfter

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


class Peeks(ERM):
    """Reads only the labels of validation images, and only before it is trained."""

    def start_stage(self, stage: Any, train: Any, val: Any) -> None:
        self.report["mean"] = float(val.target.float().mean())


class Keeps(ERM):
    """Looks at the images that it was shown before training once it is trained."""

    def start_stage(self, stage: Any, train: Any, val: Any) -> None:
        self.kept = val

    def order(self, train: Any, generator: torch.Generator) -> Any:
        if self.progress.epoch == 1:
            self.report["images"] = float(sum(len(batch) for batch in self.kept.batches()))
        return super().order(train, generator)


class Counts(ERM):
    """Reads only the labels of validation images when it finishes."""

    def finish(self, train: Any, val: Any) -> None:
        self.report["mean"] = float(val.target.float().mean())


class Fails(LastLayer):
    """Trains nothing, and comes to no end."""

    def finish(self, train: Any, val: Any) -> None:
        raise ZeroDivisionError


class Diverges(LastLayer):
    """Trains nothing, and has no finite logits at the end."""

    def finish(self, train: Any, val: Any) -> None:
        with torch.no_grad():
            self.classifier.bias.fill_(float("nan"))


class Stops(LastLayer):
    """Trains nothing, and raises what Ctrl-C does."""

    def finish(self, train: Any, val: Any) -> None:
        raise KeyboardInterrupt


class Stopped(LastLayer):
    """Trains nothing, and is interrupted."""

    def finish(self, train: Any, val: Any) -> None:
        signal.raise_signal(signal.SIGINT)


METHODS = {
    kind.__name__.lower(): kind for kind in (Bends, Looks, Peeks, Keeps, Counts, Fails, Diverges, Stops, Stopped)
}


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the methods be found as if a package had brought them."""
    for name, method_class in METHODS.items():
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
    print_result(RunResult(bends, tmp_path))
    assert "val (fitted)" in capsys.readouterr().out
    print_result(RunResult(plain, tmp_path))
    assert "(fitted)" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("method", "fitted"), [("peeks", ["val"]), ("keeps", ["val"]), ("counts", ["train", "val"]), ("looks", ["train"])]
)
def test_whatever_is_read_of_validation_images_counts_whenever_it_is(
    tmp_path: Path, method: str, fitted: list[str]
) -> None:
    result = with_val(method, tmp_path, **{"recipe.epochs": 3})
    record = result.record
    assert record.fitted == fitted
    assert record.method.supervision.val == ("bias" if "val" in fitted else "none")  # of a split made by the bias
    check_chosen_metrics(record, set())
    same = ncbench.run(method, "colored_digits:val=0.2", set={"recipe.epochs": 3}, output=tmp_path, **QUIET).record
    assert (same.fitted, same.method.supervision.val) == (fitted, "none")


def test_what_was_read_before_a_run_was_cut_off_counts_too(tmp_path: Path) -> None:
    data, options = "colored_digits:val=0.2,val_bias=uniform", {"set": {"recipe.epochs": 3}, "output": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        ncbench.run("peeks", data, reporter=EndsAfter(2), checkpoint_seconds=0.0, **options, **QUIET)
    record = ncbench.run("peeks", data, resume=True, **options, **QUIET).record
    assert (record.fitted, record.method.supervision.val) == (["val"], "bias")


@pytest.mark.parametrize(
    ("method", "status", "error"),
    [
        ("fails", "failed", NcbenchError),
        ("diverges", "diverged", None),
        ("stops", "failed", NcbenchError),
        ("stopped", "interrupted", KeyboardInterrupt),
    ],
)
def test_a_method_that_trains_nothing_and_comes_to_no_end_leaves_a_record_that_says_why(
    tmp_path: Path, method: str, status: str, error: type[BaseException] | None
) -> None:
    with contextlib.nullcontext() if error is None else pytest.raises(error):
        ncbench.run(method, set={"base.recipe.epochs": 1}, output=tmp_path, **QUIET)
    (folder,) = tmp_path.glob(f"{method}-*")
    record = ncbench.load_result(folder).record
    assert (record.status, record.selection, record.history) == (status, {}, [])
    assert record.reason is not None
    assert "epoch 0" not in record.reason


def test_choosing_tau_on_a_split_that_was_made_by_the_bias_is_stated(tmp_path: Path) -> None:
    short = {"base.recipe.epochs": 1, "recipe.selection": "last", "base.recipe.selection": "last"}
    chosen, given = (with_val(method, tmp_path, **short).record for method in ("tau_norm", "tau_norm:tau=1"))
    assert (chosen.fitted, chosen.method.supervision.val) == (["train", "val"], "bias")
    assert (given.fitted, given.method.supervision.val) == (["train"], "none")
    assert describe_choice([chosen]) == "the model fitted without epochs"


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


def test_the_cards_of_ncbenchs_own_methods_say_which_fit_something_on_after_their_epochs() -> None:
    for name in registry().names("methods"):
        card = registry().find("methods", name).card
        if name not in METHODS:
            assert card.refits == (card.trains and card.load().finish is not Method.finish), name


@pytest.mark.parametrize("method", ["afr", "self_llr"])
def test_records_of_methods_that_train_and_then_refit_are_sound(tmp_path: Path, method: str) -> None:
    result = with_val(method, tmp_path, **{"recipe.epochs": 2})
    assert len(result.record.history) == 2
    assert result.metrics["test"] != result.record.history[-1].metrics["test"]
    data = result.path.read_bytes()
    entry = inspect(data, Catalogue.built_in())
    assert entry.record.run_id == result.record.run_id
    content = json.loads(data)
    content["selection"]["last"]["metrics"]["test"]["ece"] /= 2
    with pytest.raises(RefusedError, match=r"selection\.last\.metrics"):
        inspect(json.dumps(content).encode(), Catalogue.built_in())


def test_a_method_that_refits_nothing_cannot_claim_that_it_does(tmp_path: Path) -> None:
    result = with_val("erm", tmp_path, **{"recipe.epochs": 2})
    content = json.loads(result.path.read_bytes())
    content["fitted"] = ["train"]
    content["metrics"]["test"]["ece"] /= 2
    content["selection"] = {"last": {**content["selection"]["last"], "metrics": dict(content["metrics"])}}
    del content["selection"]["last"]["metrics"]["train"]
    with pytest.raises(RefusedError, match=r"selection\.last\.metrics: they are not those of epoch 2"):
        inspect(json.dumps(content).encode(), Catalogue.built_in())
