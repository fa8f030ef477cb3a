"""Runs that train on inferred groups: inferred once by a run of its own, shared, and checked when they are used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ncbench
from ncbench import ConfigurationError, DataError, Groups, PluginError, Supervision
from ncbench.contracts.method import GroupInference
from ncbench.launch.suite import Block, Suite
from ncbench.records.archive import RunResult
from ncbench.training.configuration import resolve
from ncbench_groups.attribute import Attribute
from ncbench_groups.errors import Errors

from .conftest import EndsAfter

QUIET: Mapping[str, Any] = {"warn": lambda line: None}
HELD_OUT = "colored_digits:val=0.1"


def run(output: Path, method: str | None = "group_dro", groups: str = "errors:epochs=1", **options: Any) -> RunResult:
    settings = {**({} if method is None else {"recipe.epochs": 1}), **options.pop("set", {})}
    return ncbench.run(method, groups=groups, output=output, set=settings, **{**QUIET, **options})


def inference_of(result: RunResult) -> RunResult:
    assert result.record.base is not None
    return ncbench.load_result(result.folder.parent / result.record.base.run_id)


def test_groups_are_inferred_first_by_a_run_of_its_own(tmp_path: Path) -> None:
    said: list[str] = []
    result = run(tmp_path, warn=said.append)
    assert any("group_dro builds on errors-colored_digits-s0-" in line for line in said)
    inference = inference_of(result)
    record, inferred = result.record, inference.record.inferred
    assert (inference.record.method.kind, inference.record.method.spec) == ("groups", "errors:epochs=1")
    assert record.method.kind == "method"
    assert record.groups_from is not None
    assert inferred is not None
    assert record.groups_from.spec == "errors:epochs=1"
    assert record.groups_from.base == inference.record.run_id
    assert record.groups_from.model_dump(exclude={"spec", "base"}) == inferred.model_dump()
    file = inference.folder / "groups.npz"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == inferred.digest
    with np.load(file, allow_pickle=False) as arrays:
        assert np.bincount(arrays["train"], minlength=2).tolist() == inferred.sizes
    assert sum(inferred.sizes) == sum(group.count for group in record.groups["train"])
    assert set(inferred.agreement) == {"adjusted_rand_index", "conflicting_recall", "conflicting_precision"}
    # What was inferred is no label; the groups that are evaluated are those of the attribute all the same.
    assert record.method.supervision.model_dump() == Supervision().as_dict()
    assert len(record.groups["test"]) == 100


def test_an_inference_is_shared_and_told_apart_by_its_parameters_and_its_recipe(tmp_path: Path) -> None:
    first = run(tmp_path)
    stamp = inference_of(first).path.stat().st_mtime_ns
    second = run(tmp_path, "reweight")
    assert inference_of(second).folder == inference_of(first).folder
    assert inference_of(first).path.stat().st_mtime_ns == stamp
    alone = run(tmp_path, None, set={"recipe.lr": 0.01})
    other = run(tmp_path, set={"base.recipe.lr": 0.01})
    assert inference_of(other).folder == alone.folder
    longer = run(tmp_path, groups="errors:epochs=2")
    folders = {inference_of(result).folder for result in (first, other, longer)}
    assert len(folders) == 3
    assert len(list(tmp_path.iterdir())) == 3 + 4


def test_run_ids_change_only_where_groups_are_inferred() -> None:
    plain = resolve("group_dro", "colored_digits", None, 0, {}, synthetic=False)
    attribute, inferred = (
        resolve("group_dro", "colored_digits", None, 0, {}, synthetic=False, groups=groups)
        for groups in ("attribute", "eiil")
    )
    assert plain.run_id == attribute.run_id == "group_dro-colored_digits-s0-5b4e84935f"
    assert inferred.run_id != plain.run_id


def test_what_group_dro_trains_on_is_what_jtt_finds(tmp_path: Path) -> None:
    settings = {"recipe.epochs": 1}
    jtt = ncbench.run("jtt:identify_epochs=2,upweight=7", output=tmp_path, set=settings, **QUIET)
    visits = torch.load(jtt.folder / "model.pt", weights_only=True)["visits"]
    inference = run(tmp_path, None, "errors:epochs=2")
    with np.load(inference.folder / "groups.npz") as arrays:
        group = torch.from_numpy(arrays["train"].astype(np.int64))
    assert 0 < group.sum() < len(group)
    assert torch.equal(torch.where(group == 1, 7, 1), visits)


def test_a_dataset_without_an_attribute_trains_on_inferred_groups(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="group_dro needs the bias attribute of the training images"):
        run(tmp_path, groups="attribute", dataset="bar:size=16", synthetic=True)
    result = run(tmp_path, groups="eiil:epochs=1", dataset="bar:size=16", synthetic=True, backbone="small_cnn")
    assert result.status == "completed"
    assert result.record.groups_from is not None
    assert result.record.groups_from.agreement == {}
    assert result.record.method.supervision.train == "none"
    assert {group.bias for group in result.record.groups["train"]} == {None}


@pytest.mark.parametrize(
    ("method", "groups", "settings", "complaint"),
    [
        ("erm", "errors", {}, r"^erm trains on no groups, so that --groups errors means nothing to it\. Methods that "),
        ("reweight:by=class", "errors", {}, r"reweight:by=class reads no groups, so that --groups errors means"),
        ("group_dro", "erors", {}, "Unknown groups 'erors'. Did you mean 'errors'"),
        ("group_dro", "errors:epoch=2", {}, "Unknown parameter of errors 'epoch'. Did you mean 'epochs'"),
        ("group_dro", "attribute:x=1", {}, "Groups of the attribute are not inferred"),
        ("group_dro", "attribute", {"base.recipe.epochs": 1}, "group_dro builds on no other run"),
        ("group_dro", "eiil", {"base.recipe.epochs": 3}, "eiil has epochs of its own: eiil:epochs=3"),
        (None, "attribute", {}, "Groups of the attribute are not inferred: give --groups another name"),
        ("dfr", "errors", {}, "dfr trains on no groups"),
        (
            "group_dro",
            "errors",
            {"recipe.selection": "val_worst_inferred_group_accuracy"},
            r"as --groups errors:val=tr",
        ),
    ],
)
def test_groups_that_mean_nothing_are_refused_in_one_line(
    tmp_path: Path, method: str, groups: str, settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as refused:
        run(tmp_path, method, groups, dataset=HELD_OUT, set=settings)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_the_refusal_names_the_methods_that_train_on_groups(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"group_dro, .*resample, .*reweight"):
        run(tmp_path, "erm")


def _changed(folder: Path) -> None:
    with np.load(folder / "groups.npz") as arrays:
        changed = {name: arrays[name] for name in arrays.files}
    changed["train"] = 1 - changed["train"]
    np.savez(folder / "groups.npz", **changed)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda folder: (folder / "groups.npz").unlink(),
            r"groups\.npz, which is not there\. Delete the folder of err",
        ),
        (_changed, r"are others than its record says\. Delete the folder of errors-"),
        (lambda folder: (folder / "groups.npz").write_bytes(b"x"), "are others than its record says"),
    ],
    ids=["deleted", "changed", "damaged"],
)
def test_groups_that_are_gone_or_changed_are_noticed(
    tmp_path: Path, change: Callable[[Path], object], complaint: str
) -> None:
    change(inference_of(run(tmp_path)).folder)
    with pytest.raises(DataError, match=complaint):
        run(tmp_path, set={"recipe.lr": 0.01})
    assert len(list(tmp_path.iterdir())) == 2


def test_the_epoch_is_chosen_by_inferred_groups_of_validation_images(tmp_path: Path) -> None:
    said: list[str] = []
    settings = {"recipe.epochs": 2, "recipe.selection": "val_worst_inferred_group_accuracy"}
    result = run(tmp_path, groups="errors:epochs=2,val=true", dataset=HELD_OUT, set=settings, warn=said.append)
    chosen = result.record.selection["val_worst_inferred_group_accuracy"]
    of_epochs = [entry.metrics["val"]["worst_inferred_group_accuracy"] for entry in result.record.history]
    assert of_epochs[chosen.epoch - 1] == max(of_epochs)
    assert result.record.method.supervision.val == "none"  # the split is one of the same conflict ratio
    assert chosen.smallest_group is not None
    assert any("that of target" in line and "and bias group " in line for line in said)
    with np.load(inference_of(result).folder / "groups.npz") as arrays:
        assert len(arrays["val"]) == sum(group.count for group in result.record.groups["val"])
    plain = run(tmp_path, groups="attribute", dataset=HELD_OUT)
    assert "worst_inferred_group_accuracy" not in plain.metrics["val"]


def test_a_split_that_was_made_by_the_attribute_counts_where_it_is_annotated(tmp_path: Path) -> None:
    dataset = f"{HELD_OUT},val_bias=uniform"
    assert run(tmp_path, dataset=dataset).record.method.supervision.val == "none"
    annotated = run(tmp_path, groups="errors:epochs=1,val=true", dataset=dataset)
    assert annotated.record.method.supervision.val == "bias"


def test_a_run_on_groups_that_was_cut_off_goes_on_exactly(tmp_path: Path) -> None:
    settings = {"recipe.epochs": 3}
    whole = run(tmp_path / "whole", set=settings)
    folder = tmp_path / "cut"

    with pytest.raises(KeyboardInterrupt):
        run(folder, set=settings, reporter=EndsAfter(2), checkpoint_seconds=0.0)
    resumed = run(folder, set=settings, resume=True)
    assert resumed.metrics == whole.metrics
    assert resumed.record.groups_from == whole.record.groups_from


def test_an_inference_that_breaks_its_contract_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for returned, complaint in (
        (None, "must return ncbench.Groups, not None"),
        (Groups(torch.zeros(3, dtype=torch.int64), 1), "returns the groups of 3 of 1081 training images"),
        (Groups(torch.zeros(1081, dtype=torch.int64), 1, torch.zeros(2, dtype=torch.int64)), "gives groups of valid"),
    ):
        monkeypatch.setattr(Errors, "infer", lambda self, train, val, returned=returned: returned)
        with pytest.raises(PluginError, match=rf"infer\(\) of Errors {complaint}"):
            run(tmp_path, None, dataset=HELD_OUT, force=True)
    monkeypatch.setattr(Errors, "infer", GroupInference.infer)
    with pytest.raises(ncbench.NcbenchError, match=r"Errors must implement infer\(train, val\)"):
        run(tmp_path, None)


def test_a_suite_infers_every_groups_once_and_before_what_trains_on_them() -> None:
    block = Block(
        methods=("group_dro", "reweight"),
        groups=("attribute", "errors:epochs=1", "eiil:epochs=1"),
        datasets=("colored_digits",),
        seeds=(0, 1),
        settings={"recipe.epochs": 1},
    )
    jobs = [member.job for member in Suite(title="t", description="d", runs=(block,)).members()]
    ids = [job.run_id for job in jobs]
    assert len(ids) == len(set(ids)) == 2 * (2 * 3 + 2)
    assert sum(job.infers for job in jobs) == 2 * 2
    for job in jobs:
        assert all(ids.index(base) < ids.index(job.run_id) for base in job.after)
    inference = next(job for job in jobs if job.infers)
    assert inference.arguments()[:5] == ["--groups", "errors:epochs=1", "--infer-only", "--dataset", "colored_digits"]
    consumer = next(job for job in jobs if job.after)
    assert consumer.arguments()[:6] == [
        "--method",
        "group_dro",
        "--dataset",
        "colored_digits",
        "--groups",
        "errors:epochs=1",
    ]


def test_an_attribute_that_is_given_as_groups_is_the_attribute() -> None:
    assert issubclass(Attribute, GroupInference)
    assert not Attribute.annotates_val(Attribute.Parameters())


def test_settings_published_for_a_method_on_these_groups_take_the_place_of_its_own() -> None:
    def resolved(method: str, groups: str, **settings: Any) -> Any:
        return resolve(method, "waterbirds", None, 0, settings, False, groups=groups)

    own, pair = resolved("group_dro", "errors"), resolved("group_dro", "george")
    assert (own.method.spec, pair.method.spec) == ("group_dro", "group_dro:adjustment=2.0")
    assert pair.recipe == own.recipe  # which happen to be the same
    assert pair.backbone.spec == "resnet50:weights=imagenet"
    assert resolved("group_dro:adjustment=0", "george").method.spec == "group_dro:adjustment=0.0"
    spare = resolved("resample", "spare", **{"recipe.lr": 0.5})
    assert spare.method.spec == "resample:equal_classes=true"
    assert (spare.recipe.epochs, spare.recipe.lr, spare.recipe.weight_decay) == (100, 0.5, 0.1)
    assert [each.published is not None for each in (own, pair, spare)] == [True, True, True]
    assert resolved("resample", "errors").published is None
    assert resolved("resample", "attribute").published is None
