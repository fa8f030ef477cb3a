from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ncbench
from ncbench import DataError
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.prepare import locate, prepare
from ncbench.data.store.verify import verify
from ncbench.geometry import Hierarchy, hierarchy_aware_frame
from ncbench_datasets.tiered_imagenet_h import class_tree

from .conftest import CARDS

CARD = CARDS["tiered_imagenet_h"]
KIND: Any = CARD.load()


def test_the_tree_is_the_published_one() -> None:
    tree = class_tree()
    assert (tree.num_classes, tree.height) == (608, 12)
    assert list(tree.classes) == sorted(tree.classes)
    depths = [len(tree.ancestors(index)) for index in range(608)]
    assert min(depths) < max(depths) == 12
    frame = hierarchy_aware_frame(tree, 3.0, 608)
    assert frame.min_similarity == pytest.approx(-0.079478, abs=5e-7)


@pytest.mark.slow
def test_a_twin_is_prepared_verified_and_trained_on(tmp_path: Path, cache: Path) -> None:
    spec = "tiered_imagenet_h:size=16"
    store = prepare(CARD, {"size": 16}, synthetic=True)
    assert [len(split) for split in store.splits.values()] == [1216, 608, 608]
    assert store.class_names == store.hierarchy.classes == class_tree().classes
    for name, split in store.splits.items():
        assert split.target.tolist() == np.repeat(np.arange(608), len(split) // 608).tolist()
        assert split.ids[0].startswith(f"{name}/n01440764/")
        assert split.bias is None
    manifest = load_manifest(CARD.manifest).for_twin()
    dataset = locate(CARD, {"size": 16}, manifest, synthetic=True)
    assert verify(dataset, dataset.params.spec(CARD.name), manifest) == []
    settings = {"recipe.epochs": 1, "recipe.augmentation": "none", "recipe.lr": 0.01}
    result = ncbench.run("haframe", spec, backbone="mlp", set=settings, output=tmp_path, synthetic=True)
    assert result.status == "completed"
    assert result.metrics["test"]["hierarchical_distance_at_1"] < _chance(store.hierarchy)
    root = next((cache / "synthetic").glob("tiered*"))
    _check_damage(root)


def _chance(tree: Hierarchy | None) -> float:
    assert tree is not None
    return float(tree.distances().mean())


def _check_damage(root: Path) -> None:
    """Everything here is damage to one twin, since writing it takes a while."""
    folder = root / "tiered_imagenet_h"
    (folder / "val" / "n01440764").rename(folder / "val" / "n00000001")
    (folder / "test" / "n01443537").rename(folder / "test" / ".n01443537")
    with pytest.raises(DataError) as caught:
        KIND(KIND.Parameters(), root).read()
    message = str(caught.value)
    for part in ("val/n01440764 is missing", "val/n00000001 is no class", "test/n01443537 is missing"):
        assert part in message
    for path in (folder / "train" / "n01440764").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="n01440764 holds no images"):
        KIND(KIND.Parameters(), root).source_files()
    (folder / "train").rename(folder / "training")
    with pytest.raises(DataError, match="tiered_imagenet_h/train is missing"):
        KIND(KIND.Parameters(), root).source_files()


@pytest.mark.real_data
def test_every_distance_is_the_published_one() -> None:
    published = Hierarchy.from_json(Path(os.environ["NCBENCH_DATA"]) / "hierarchies" / "tiered_imagenet_h.json")
    assert class_tree() == published
