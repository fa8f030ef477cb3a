from __future__ import annotations

import json
import sys
from importlib import resources
from pathlib import Path

import pydantic
import pytest

from ncbench import DataError
from ncbench.data.sources.manifest import Manifest, load_manifest
from ncbench.training.recipe import Recipe

from .conftest import CARDS, make_manifest


@pytest.mark.parametrize("name", sorted(CARDS))
def test_built_in_manifests_are_valid_and_their_recipes_can_be_built(name: str) -> None:
    manifest = load_manifest(CARDS[name].manifest)
    assert manifest.name == name
    Recipe.build(manifest.recipe, owner=name)
    for counts in (manifest.counts, *(known.counts for known in manifest.lookalikes)):
        for split in counts.values():
            rows = None if split.groups is None else tuple(map(sum, split.groups))
            assert split.classes is None or sum(split.classes) == split.images
            assert rows is None or sum(rows) == split.images
            assert None in (rows, split.classes) or rows == split.classes


def test_a_manifest_names_one_criterion() -> None:
    assert make_manifest(selection="val_accuracy", recipe={"selection": "val_accuracy"})
    with pytest.raises(ValueError, match=r"recipe\.selection is not val_accuracy, which"):
        make_manifest(selection="val_accuracy", recipe={"selection": "last"})


def test_a_fingerprint_tells_the_version_of_the_data() -> None:
    a, b, c = ("a" * 64, "b" * 64, "c" * 64)
    pinned = {"1": {"toy": a, "toy:val=0.1": a}, "2": {"toy": a, "toy:val=0.1": b}, "3": {"toy": c}}
    second = make_manifest(version="2", fingerprints=pinned)
    assert second.version_of("toy", a) == "2"  # the same in both
    assert second.version_of("toy:val=0.1", a) == "1"
    assert second.version_of("toy", c) == "3"
    assert second.version_of("toy", b) is None
    assert make_manifest().version_of("toy", a) is None


def test_what_was_tuned_on_test_is_in_the_recipe() -> None:
    tuned = {"keys": ["lr"], "reason": "picked by test accuracy"}
    assert make_manifest(recipe={"lr": 0.1}, tuned_on_test=tuned).tuned_on_test
    with pytest.raises(ValueError, match=r"tuned_on_test names lr, which the recipe does not have"):
        make_manifest(recipe={"epochs": 3}, tuned_on_test=tuned)


def test_the_committed_schema_is_the_models() -> None:
    committed = json.loads(resources.files("ncbench.data.sources").joinpath("manifest.schema.json").read_text())
    assert committed == Manifest.model_json_schema()


def test_a_third_party_ships_its_manifest_as_a_resource(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "their_package"
    (package / "manifests").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    manifest = make_manifest()
    (package / "manifests" / "toy.yaml").write_text(manifest.model_dump_json())
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_manifest("their_package:manifests/toy.yaml") == manifest
    edited = manifest.model_copy(update={"title": "Edited"})
    (package / "manifests" / "toy.yaml").write_text(edited.model_dump_json())
    assert load_manifest("their_package:manifests/toy.yaml") == edited
    sys.modules.pop("their_package", None)


def _write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> str:
    package = tmp_path / "broken_manifest_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "toy.yaml").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken_manifest_package", raising=False)
    return "broken_manifest_package:toy.yaml"


def test_every_problem_of_a_manifest_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = _write(tmp_path, monkeypatch, "name: toy\ntitel: Toy\nversion: '1'\n")
    with pytest.raises(DataError) as caught:
        load_manifest(reference)
    message = str(caught.value)
    assert "titel is not a key that is known" in message
    assert "citation is missing" in message
    assert "\n" not in message


def test_of_many_problems_the_first_twenty_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"wrong_{number:02d}: 1" for number in range(30)]
    with pytest.raises(DataError) as caught:
        load_manifest(
            _write(tmp_path, monkeypatch, make_manifest().model_dump_json()[:-1] + "," + ",".join(lines) + "}")
        )
    assert str(caught.value).count("is not a key that is known") == 20
    assert "and 10 more" in str(caught.value)


def test_a_manifest_that_constructs_objects_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = _write(tmp_path, monkeypatch, "name: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(DataError, match="not valid YAML"):
        load_manifest(reference)


@pytest.mark.parametrize("reference", ["ncbench:datasets_manifest/nothing.yaml", "no_such_package_at_all:x.yaml"])
def test_a_manifest_that_is_not_there_is_named(reference: str) -> None:
    with pytest.raises(DataError, match=reference):
        load_manifest(reference)


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../b", "", "C:/x", "a\\b"])
def test_paths_that_leave_the_data_root_are_refused(path: str) -> None:
    file = {"path": path, "urls": ["https://example.org/x"], "sha256": "0" * 64, "bytes": 1}
    with pytest.raises(pydantic.ValidationError):
        make_manifest(sources=[{"kind": "http", "files": [file]}])


def test_only_web_addresses_are_fetched() -> None:
    file = {"path": "x", "urls": ["file:///etc/passwd"], "sha256": "0" * 64, "bytes": 1}
    with pytest.raises(pydantic.ValidationError):
        make_manifest(sources=[{"kind": "http", "files": [file]}])


def test_a_manifest_cannot_be_changed() -> None:
    with pytest.raises(pydantic.ValidationError):
        make_manifest().name = "other"
