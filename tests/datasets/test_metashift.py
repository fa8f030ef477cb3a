"""MetaShift's cats and dogs; that a table is read with care is tested on that of Waterbirds, which is read alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ncbench import DataError

from .conftest import CARDS

CARD = CARDS["metashift"]


def _dataset(root: Path) -> Any:
    kind = CARD.load()
    return kind(kind.Parameters(size=32), root)


def _rewrite(root: Path, old: str, new: str) -> None:
    table = root / "metashift" / "metadata_metashift.csv"
    table.write_text(table.read_text().replace(old, new))


def test_folders_agree_with_the_table(root: Path) -> None:
    for split in _dataset(root).read().values():
        for path, target, bias in zip(split.inputs, split.target, split.bias, strict=True):
            animal, place = ("dog", "cat")[target], ("outdoor", "indoor")[bias]
            assert path.parts[-4:-1] == ("train" if target == bias else "test", animal, f"{animal}({place})")
            assert path.is_file()


def test_a_table_may_name_images_by_their_whole_path(root: Path) -> None:
    before = _dataset(root).read()
    _rewrite(root, "MetaShift-Cat", "/home/someone/data/metashift/MetaShift-Cat")
    after = _dataset(root).read()
    assert {name: split.ids for name, split in after.items()} == {name: split.ids for name, split in before.items()}
    assert len(_dataset(root).source_files()) == 1 + sum(len(split.ids) for split in before.values())


def test_damage_is_named(root: Path) -> None:
    _rewrite(root, "/dog(indoor)/000.jpg,0,1,0", "/dog(indoor)/000.jpg,2,1,3")
    _rewrite(root, "MetaShift-Cat-Dog-indoor-outdoor/train/cat/cat(indoor)/001.jpg", "../001.jpg")
    with pytest.raises(DataError, match=r"y is '2', split is '3'.*filename is '\.\./001\.jpg'"):
        _dataset(root).read()
