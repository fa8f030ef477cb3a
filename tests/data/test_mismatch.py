"""Data that are not the released ones: refused and named, or gone on with and marked for good."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ncbench
from ncbench import DataError, load_result
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.check import count_differences
from ncbench.data.store.prepare import prepare
from ncbench.leaderboard.intake.catalogue import Catalogue
from ncbench.leaderboard.intake.entry import inspect

from .conftest import CARDS, make_manifest

SHORT = {"recipe.epochs": 1, "recipe.batch_size": 256}


def test_a_run_on_other_data_says_so_and_is_not_ranked(mnist_root: Path, tmp_path: Path) -> None:
    def run(**options: bool) -> ncbench.records.archive.RunResult:
        return ncbench.run("erm", "colored_mnist", set=SHORT, output=tmp_path / "runs", data_root=mnist_root, **options)

    with pytest.raises(DataError, match="--allow-mismatch"):
        run()
    marked = run(allow_mismatch=True)
    assert "train: expected 60000 images, found 400" in marked.record.dataset.mismatch
    files = [phrase for phrase in marked.record.dataset.mismatch if "bytes of content" in phrase]
    assert len(files) == 4
    assert str(mnist_root) not in " ".join(files)  # where somebody keeps the data is nobody's business
    exclusion = inspect(marked.path.read_bytes(), Catalogue.built_in()).exclusion
    assert exclusion is not None
    assert exclusion.field == "dataset.mismatch"
    # The store and the record that are there now are not taken for those of the released data.
    with pytest.raises(DataError, match="--allow-mismatch"):
        run()
    assert [path.parent.name for path in (tmp_path / "runs").glob("*/result.json")] == [marked.record.run_id]


def test_on_the_released_data_the_permission_changes_nothing_but_the_name(tmp_path: Path) -> None:
    plain, permitted = (
        ncbench.run("erm", set=SHORT, output=tmp_path, allow_mismatch=permission) for permission in (False, True)
    )
    assert permitted.record.dataset.mismatch == plain.record.dataset.mismatch == []
    assert permitted.record.run_id != plain.record.run_id
    assert permitted.record.groups == plain.record.groups
    # A record from before there were mismatches is read as one without.
    text = plain.path.read_text()
    assert '"mismatch": []' in text
    plain.path.write_text(text.replace('"mismatch": [],', ""))
    assert load_result(plain.path).record == plain.record


def _differences(train: Sequence[int], bias: Sequence[int] | None, **counts: object) -> list[str]:
    manifest = make_manifest(counts={"train": {"images": len(train), **counts}})
    biases = {"train": None if bias is None else np.array(bias)}
    return count_differences({"train": np.array(train)}, biases, manifest)


def test_tables_of_another_size_are_compared_too() -> None:
    assert _differences([0, 1, 2], None, classes=[1, 1]) == [
        "train: expected images a class (1, 1, 0), found (1, 1, 1)",
    ]
    assert _differences([0, 0], None, classes=[1, 1]) == ["train: expected images a class (1, 1), found (2, 0)"]
    assert _differences([0, 1], [2, 0], groups=[[1, 0], [0, 1]]) == [
        "train: expected images a group (y, a) ((1, 0, 0), (0, 1, 0)), found ((0, 0, 1), (1, 0, 0))",
    ]
    assert _differences([0, 1], None, groups=[[1, 0], [0, 1]]) == [
        "train: expected groups (y, a), found no bias attribute",
    ]
    assert _differences([0, 1], [0, 1], groups=[[1, 0], [0, 1]], classes=[1, 1]) == []


@pytest.mark.real_data
def test_the_circulating_copy_of_waterbirds_is_called_by_its_name(tmp_path: Path) -> None:
    table = Path(os.environ["NCBENCH_DATA"]) / "waterbirds_lookalike" / "metadata.csv"
    folder = tmp_path / "waterbird_complete95_forest2water2"
    tiny = io.BytesIO()
    Image.new("RGB", (16, 16)).save(tiny, "JPEG")
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            image = folder / row["img_filename"]
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(tiny.getvalue())
    (folder / "metadata.csv").write_bytes(table.read_bytes())
    card = CARDS["waterbirds"]
    (known,) = load_manifest(card.manifest).lookalikes
    with pytest.raises(DataError, match="promises: it is a copy that circulates") as caught:
        prepare(card, {"size": 16}, data_root=tmp_path)
    assert known.description in str(caught.value)
    assert "found ((3525, 186), (54, 1030))" in str(caught.value)
    assert "test:" not in str(caught.value)  # the totals and the test groups are the released ones
