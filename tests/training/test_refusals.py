"""What cannot work on a dataset is refused before any of its images is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ncbench
from ncbench import ConfigurationError, DataError, NcbenchError
from ncbench.discovery.registry import registry
from ncbench.launch.suite import Suite
from ncbench.training.configuration import refuse_unfit, resolve


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder in which nothing but a twin is ever made."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(
    ("changes", "error", "complaint"),
    [
        ({"method": "shortcut_prime"}, ConfigurationError, "shortcut_prime needs the bias attribute"),
        ({"method": "group_dro"}, ConfigurationError, "group_dro needs the bias attribute"),
        ({"method": "reweight"}, ConfigurationError, "Run reweight:by=class"),
        ({"method": "resample"}, ConfigurationError, "Run resample:by=class"),
        ({"method": "haframe"}, ConfigurationError, "needs a class hierarchy"),
        ({"backbone": "vgg11"}, ConfigurationError, "and these have 16 x 16"),
        ({"backbone": "ufm"}, ConfigurationError, "3 x 16 x 16 values are no numbers"),
        ({"backbone": "resnet18:weights=imagenet", "dataset": "bar:size=48"}, DataError, "resnet18"),
        ({"set": {"recipe.selection": "val_worst_group_accuracy"}}, ConfigurationError, "with bias labels, which bar"),
        ({"set": {"recipe.selection": "val_accuracy"}}, ConfigurationError, "needs a validation split, which bar"),
        (
            {"set": {"recipe.selection": "val_accuracy"}, "dataset": "corrupted_cifar10:conflict=0.3"},
            ConfigurationError,
            "which corrupted_cifar10:conflict=0.3 does not have. recipe.selection=last needs none, and "
            "corrupted_cifar10:conflict=0.3,val=0.1 holds one out",
        ),
    ],
)
def test_what_a_dataset_declares_is_enough_to_refuse(
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    error: type[NcbenchError],
    complaint: str,
) -> None:
    monkeypatch.setenv("NCBENCH_CACHE", str(cache))
    monkeypatch.setenv("TORCH_HOME", str(cache / "no_weights"))
    options = {"method": "erm", "dataset": "bar:size=16", "synthetic": True, "output": tmp_path, **changes}
    with pytest.raises(error, match=complaint):
        ncbench.run(**options, warn=lambda line: None)
    assert not (cache / "stores").exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", registry().names("methods"))
def test_what_only_the_data_say_is_not_decided_early(method: str) -> None:
    # Without data: the classes and their tree are in the package, and whoever asks for more has to wait.
    supervision = registry().find("methods", method).card.supervision
    dataset = "cifar100" if supervision.hierarchy else "colored_mnist:val=0.1"
    configuration = resolve(method, dataset, None, 0, {}, synthetic=False)
    refuse_unfit(configuration, configuration.dataset.factory(configuration.dataset.params.own, None))


def test_inputs_of_a_shape_that_is_not_declared_are_left_to_the_run() -> None:
    vectors = resolve("erm", "ufm", "small_cnn", 0, {}, synthetic=False)
    refuse_unfit(vectors, vectors.dataset.factory(vectors.dataset.params.own, None))
    undeclared = resolve("erm", "bar:size=16", "vgg11", 0, {"recipe.input_scaling": "unit"}, synthetic=False)
    refuse_unfit(undeclared, undeclared.dataset.factory(undeclared.dataset.params.own, None))


def _acts_on_features(name: str) -> bool:
    return bool(registry().find("methods", name).load().learns_features)


ON_FEATURES = [name for name in registry().names("methods") if _acts_on_features(name)]


@pytest.mark.parametrize("method", ON_FEATURES)
def test_a_method_that_acts_on_learned_features_is_refused_where_they_are_given(method: str) -> None:
    configuration = resolve(method, "colored_mnist:val=0.1", "identity", 0, {}, synthetic=False)
    with pytest.raises(ConfigurationError, match=f"^{method} acts on features while they are learned.*--backbone mlp"):
        refuse_unfit(configuration, configuration.dataset.factory(configuration.dataset.params.own, None))


@pytest.mark.parametrize("groups", ["attribute", "eiil"])
def test_vectors_are_given_features_too_which_is_said_before_groups_are_inferred(groups: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    target = np.arange(40) % 2
    split = np.repeat(["train", "test"], 20)
    vectors = generator.normal(size=(40, 5)).astype(np.float32)
    np.savez(tmp_path / "vectors.npz", inputs=vectors, target=target, bias=target, split=split)
    dataset = f"features:path={tmp_path / 'vectors.npz'},bias=bias"
    options: dict[str, Any] = {"groups": groups, "output": tmp_path / "runs", "warn": lambda line: None}
    with pytest.raises(ConfigurationError, match="mmd acts on features while they are learned, and those of identity"):
        ncbench.run("mmd", dataset, **options)
    assert list((tmp_path / "runs").iterdir()) == []
    done = ncbench.run("mmd", dataset, backbone="mlp:depth=1,hidden=4", set={"recipe.epochs": 1}, **options)
    assert done.record.status == "completed"


@pytest.mark.usefixtures("weights")
def test_so_are_those_of_a_frozen_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCBENCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConfigurationError, match="Use a backbone that is trained: without frozen=true"):
        ncbench.run(
            *("rebias", "bar:size=40", 0, "resnet18:weights=imagenet,frozen=true"),
            output=tmp_path / "runs",
            synthetic=True,
            warn=lambda line: None,
        )
    assert not (tmp_path / "cache" / "stores").exists()


@pytest.mark.usefixtures("weights")
def test_a_frozen_network_for_images_is_no_more_for_vectors_than_one_that_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NCBENCH_CACHE", str(tmp_path / "cache"))
    said = []
    for frozen in ("true", "false"):
        with pytest.raises(ConfigurationError, match="vectors") as refusal:
            ncbench.run("erm", "ufm", backbone=f"resnet18:weights=imagenet,frozen={frozen}", output=tmp_path / "runs")
        said.append(str(refusal.value))
    assert said[0] == said[1]
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, 1.0, True, "1", None])
def test_what_is_no_seed_is_refused_before_what_is_there_is_touched(tmp_path: Path, seed: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^A seed is a whole number from 0 to 2\^63 - 1, and .* is none\.$"):
        ncbench.run("erm", seed=seed, output=tmp_path, force=True)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigurationError, match="A seed is"):
        resolve("erm", "colored_digits", None, seed, {}, synthetic=False)


def test_the_largest_seed_is_one() -> None:
    assert resolve("erm", "colored_digits", None, 2**63 - 1, {}, synthetic=False).seed == 2**63 - 1


@pytest.mark.parametrize("method", ["dfr", "tau_norm", "ncm", "crm"])
@pytest.mark.parametrize(("key", "value"), [("epochs", 1), ("lr", 0.5), ("optimizer", "adamw"), ("measure_points", 3)])
def test_what_sets_up_training_by_epochs_is_refused_where_there_is_none(method: str, key: str, value: Any) -> None:
    data = "cifar100" if method == "crm" else "colored_digits:val=0.1"
    with pytest.raises(ConfigurationError) as refusal:
        resolve(method, data, None, 0, {f"recipe.{key}": value}, synthetic=False)
    assert str(refusal.value) == (
        f"{method} trains nothing by epochs, so that recipe.{key} has no effect. That of the erm it builds on is set "
        f"by base.recipe.{key}."
    )
    based = resolve(method, data, None, 0, {f"base.recipe.{key}": value}, synthetic=False)
    assert based.base is not None
    assert getattr(based.base.recipe, key) == value


def test_what_has_an_effect_all_the_same_and_all_that_a_record_says_are_accepted() -> None:
    data, settings = "colored_digits:val=0.1", {"recipe.batch_size": 7, "recipe.selection": "val_accuracy"}
    first = resolve("ncm", data, None, 0, settings, synthetic=False)
    said = {f"recipe.{key}": value for key, value in first.recipe.as_dict().items()}
    assert resolve("ncm", data, None, 0, said, synthetic=False).run_id == first.run_id
    of_other_defaults = said | {"recipe.epochs": 123}
    assert resolve("ncm", data, None, 0, of_other_defaults, synthetic=False).recipe.epochs == 123
    assert resolve("crt", data, None, 0, {"recipe.epochs": 3}, synthetic=False).recipe.epochs == 3


def test_it_is_refused_in_a_suite_too_and_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NCBENCH_CACHE", str(tmp_path / "cache"))
    block = {"methods": ["erm", "ncm"], "datasets": ["colored_digits"], "settings": {"recipe.epochs": 2}, "seeds": [0]}
    suite = Suite.model_validate({"title": "t", "description": "d", "runs": [block]})
    with pytest.raises(ConfigurationError, match=r"base\.recipe\.epochs"):
        suite.members()
    with pytest.raises(ConfigurationError, match=r"base\.recipe\.epochs"):
        ncbench.run("ncm", set={"recipe.epochs": 2}, output=tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("dataset", "complaint"),
    [
        ("bar", r"^dfr needs the bias attribute of the training images.*Where a dataset is given its bias.*run crt"),
        ("colored_digits", r"^dfr needs the bias attribute of the validation images"),
        (
            "colored_digits:val=0.1",
            r"^dfr:data=train needs validation images of every group, and there are none of",
        ),
    ],
)
def test_dfr_on_training_images_says_what_it_lacks(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, dataset: str, complaint: str
) -> None:
    monkeypatch.setenv("NCBENCH_CACHE", str(cache))
    with pytest.raises(ConfigurationError, match=complaint):
        ncbench.run("dfr:data=train", dataset, synthetic=dataset == "bar", output=tmp_path, warn=lambda line: None)


def test_a_method_without_epochs_does_not_warn_of_how_one_is_chosen(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NCBENCH_CACHE", str(cache))
    said: list[str] = []
    settings = {"base.recipe.epochs": 1, "recipe.selection": "val_worst_group_accuracy"}
    ncbench.run("ncm", "colored_digits:val=0.1", set=settings, output=tmp_path, warn=said.append)
    assert not [line for line in said if "chance" in line]
