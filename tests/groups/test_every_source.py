"""Every built-in source of groups, with a method that trains on them, on a twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ncbench
from ncbench.contracts.specs import ATTRIBUTE
from ncbench.discovery.registry import registry

SOURCES = sorted(set(registry().names("groups")) - {ATTRIBUTE})


def test_there_are_as_many_sources_as_the_page_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "groups.md").read_text(encoding="utf-8")
    assert len(SOURCES) >= 9
    for name in (*SOURCES, ATTRIBUTE):
        assert f"\n| `{name}` |" in page, name


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_a_method_trains_on_its_groups(source: str, tmp_path: Path) -> None:
    result = ncbench.run(
        "group_dro",
        dataset="colored_mnist:val=0.2",
        groups=f"{source}:epochs=1",
        backbone="mlp",
        synthetic=True,
        output=tmp_path,
        set={"recipe.epochs": 1},
        warn=lambda line: None,
    )
    record = result.record
    assert record.status == "completed"
    assert record.groups_from is not None
    assert record.groups_from.spec.partition(":")[0] == source
    used = record.method.supervision
    assert (used.train, used.val) == ("none", "bias" if source == "ssa" else "none")
    sizes = record.groups_from.sizes
    with np.load(tmp_path / record.groups_from.base / "groups.npz", allow_pickle=False) as arrays:
        assert np.bincount(arrays["train"], minlength=len(sizes)).tolist() == sizes
