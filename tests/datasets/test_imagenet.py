from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ncbench import DataError
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.open import open_store
from ncbench.data.store.prepare import prepare

from .conftest import CARDS

CARD = CARDS["imagenet"]
KIND: Any = CARD.load()
FISH = ("n01440764", "n01443537")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with two classes of photographs of all shapes, written as a user would have them."""
    generator = np.random.default_rng(0)
    for folder, number in (("train", 3), ("val", 2)):
        for wnid in FISH:
            place = tmp_path / "root" / "imagenet" / folder / wnid
            place.mkdir(parents=True)
            for count in range(number):
                shape = (40 + 7 * count, 61 - 11 * count, 3)
                pixels = generator.integers(0, 256, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{wnid}_{count}.JPEG", quality=95)
    return tmp_path / "root"


def _dataset(root: Path, **params: Any) -> Any:
    return KIND(KIND.Parameters(size=28, **params), root)


def _open(root: Path) -> Any:
    dataset = _dataset(root)
    return open_store(dataset, dataset.params.spec("imagenet"), load_manifest(CARD.manifest).for_twin())


def test_folders_are_read_as_torchvision_evaluates_them(root: Path) -> None:
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import CenterCrop, Compose, Resize

    store = _open(root)
    for split, folder in (("train", "train"), ("test", "val")):
        expected = ImageFolder(str(root / "imagenet" / folder), Compose([Resize(32), CenterCrop(28)]))
        stored = store.splits[split]
        assert list(store.class_names) == expected.classes
        assert stored.target.tolist() == expected.targets
        assert stored.ids.tolist() == [
            f"{split}/{Path(path).parent.name}/{Path(path).stem}" for path, _ in expected.imgs
        ]
        for position, (pixels, _) in enumerate(expected):
            np.testing.assert_array_equal(stored.inputs[position], np.asarray(pixels))
        assert stored.bias is None
    assert store.aligned_bias is None


def test_the_usual_crop() -> None:
    dataset = KIND(KIND.Parameters(), None)
    assert (dataset.image_size, dataset.shorter_side) == ((224, 224), 256)


def test_the_real_counts_are_enforced(root: Path) -> None:
    with pytest.raises(DataError, match=r"train: expected 1281167 images, found 6.*test: expected 50000"):
        prepare(CARD, {"size": 28}, data_root=root)


def test_a_missing_folder_is_named_with_the_way_to_get_it(root: Path) -> None:
    (root / "imagenet" / "val").rename(root / "imagenet" / "validation")
    with pytest.raises(DataError, match=r"imagenet/val is missing\. To get it: accept the terms"):
        prepare(CARD, {}, data_root=root)


def test_everything_that_is_out_of_place_is_named(root: Path) -> None:
    train = root / "imagenet" / "train"
    (train / "notes.txt").write_text("")
    (train / "n09999999").mkdir()
    (train / FISH[0] / "n01440764_0.xml").write_text("")
    (train / ".DS_Store").write_text("")
    with pytest.raises(DataError) as caught:
        _dataset(root).source_files()
    message = str(caught.value)
    assert "notes.txt is no class folder" in message
    assert "n09999999 holds no images" in message
    assert "n01440764_0.xml is no image" in message
    assert ".DS_Store" not in message
    assert "\n" not in message


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "imagenet" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match="train is not laid out as <class>/<image>: it holds no class folders"):
        _dataset(tmp_path).source_files()


def test_folders_that_differ_are_named(root: Path) -> None:
    (root / "imagenet" / "val" / FISH[1]).rename(root / "imagenet" / "val" / "n00000001")
    with pytest.raises(DataError, match=r"val/n01443537 is missing; .*val/n00000001 is no class\."):
        _open(root)


def test_names_that_are_no_wordnet_ids_are_refused(root: Path) -> None:
    for folder in ("train", "val"):
        (root / "imagenet" / folder / FISH[1]).rename(root / "imagenet" / folder / "goldfish")
    with pytest.raises(DataError, match=r"1 class folders of .* no WordNet ids: goldfish"):
        _open(root)


def test_the_same_image_twice_is_named(root: Path) -> None:
    place = root / "imagenet" / "val" / FISH[1]
    (place / f"{FISH[1]}_0.png").write_bytes((place / f"{FISH[1]}_0.JPEG").read_bytes())
    with pytest.raises(DataError, match="test: 1 duplicate ids: test/n01443537/n01443537_0"):
        _open(root)


def test_damaged_photographs_are_named(root: Path) -> None:
    for name, content in ((f"{FISH[0]}_0.JPEG", b""), (f"{FISH[0]}_2.JPEG", b"no image")):
        (root / "imagenet" / "val" / FISH[0] / name).write_bytes(content)
    path = root / "imagenet" / "train" / FISH[1] / f"{FISH[1]}_1.JPEG"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match="3 images of 'imagenet' cannot be decoded") as caught:
        _open(root)
    for name in (f"val/{FISH[0]}/{FISH[0]}_0", f"val/{FISH[0]}/{FISH[0]}_2", f"train/{FISH[1]}/{FISH[1]}_1"):
        assert name in str(caught.value)


def test_a_link_out_of_the_folder_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    image = root / "imagenet" / "train" / FISH[0] / f"{FISH[0]}_0.JPEG"
    image.rename(tmp_path / "elsewhere" / "image.JPEG")
    image.symlink_to(tmp_path / "elsewhere" / "image.JPEG")
    with pytest.raises(DataError, match=r"n01440764_0\.JPEG \(a link out of the folder\)"):
        _open(root)
