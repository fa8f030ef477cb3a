"""Ten forgeries against a board of honest rows: whatever becomes of each, no honest row is another afterwards."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ncbench.leaderboard.build import build
from ncbench.leaderboard.intake.catalogue import Catalogue
from tests.leaderboard.records import SOMEBODY, make_record, named, place, place_all, seeds, settled
from tests.leaderboard.test_check import commit, git

Content = dict[str, Any]
Forgery = Callable[[Sequence[Content], Sequence[Path]], list[Content]]


def _of(honest: Sequence[Content], **parts: Any) -> list[Content]:
    return [copy.deepcopy(content) | parts for content in honest]


def _corrections_that_failed(honest: Sequence[Content], placed: Sequence[Path]) -> list[Content]:
    return [
        content | {"supersedes": path.stem, "status": "failed", "groups": {}, "metrics": {}, "selection": {}}
        for content, path in zip(_of(honest), placed, strict=True)
    ]


def _corrections_on_generated_data(honest: Sequence[Content], placed: Sequence[Path]) -> list[Content]:
    forged = _of(honest)
    for content, path in zip(forged, placed, strict=True):
        content["supersedes"] = path.stem
        content["dataset"]["synthetic"] = True
        named(content)
    return forged


def _corrections_that_copy(honest: Sequence[Content], placed: Sequence[Path]) -> list[Content]:
    """Each has the losses of the next seed."""
    forged = _of(honest)
    for number, (content, path) in enumerate(zip(forged, placed, strict=True)):
        content["supersedes"] = path.stem
        content["history"] = copy.deepcopy(honest[(number + 1) % len(honest)]["history"])
        settled(content)
    return forged


def _copies_under_seeds_below_zero(honest: Sequence[Content], placed: Sequence[Path]) -> list[Content]:
    return [named(content | {"seed": -1 - content["seed"]}) for content in _of(honest)]


def _a_majority_on_other_data(honest: Sequence[Content], placed: Sequence[Path]) -> list[Content]:
    forged = seeds("erm", 9, level=0.99)
    for content in forged:
        content["dataset"]["fingerprint"] = "f" * 64
    return forged


def _a_majority_of_another_size(honest: Sequence[Content], placed: Sequence[Path]) -> list[Content]:
    forged = seeds("focal", 9, level=0.99)
    for content in forged:
        for split in ("train", "test"):
            content["metrics"][split] = {name: float(name == "balanced_error") for name in content["metrics"][split]}
            for cell in content["groups"][split]:
                cell["count"], cell["correct"] = cell["count"] + 1, 0
        settled(content)
    return forged


def _a_majority_of_another_default(honest: Sequence[Content], placed: Sequence[Path]) -> list[Content]:
    forged = [make_record("lff", seed, level=0.1) for seed in range(10, 19)]
    for content in forged:
        content["method"]["parameters"]["q"] = 0.1
        content["dataset"]["parameters"]["conflict"] = 0.5
    return forged


def _diverged_seeds(honest: Sequence[Content], placed: Sequence[Path]) -> list[Content]:
    forged = [make_record("lff", seed, level=0.1) for seed in range(10, 19)]
    return [content | {"status": "diverged", "reason": "the loss of epoch 2 is nan"} for content in forged]


def _better_than_their_history(honest: Sequence[Content], placed: Sequence[Path]) -> list[Content]:
    best = [make_record("erm", seed, level=1.2) for seed in range(20, 23)]
    worse = [make_record("erm", seed, level=0.3) for seed in range(20, 23)]
    return [
        content | {"history": other["history"], "selection": other["selection"]}
        for content, other in zip(best, worse, strict=True)
    ]


def _a_method_of_ncbench_by_somebody(honest: Sequence[Content], placed: Sequence[Path]) -> list[Content]:
    """As lff and erm, without what their cards say, and with a distance of 1e300."""
    forged = [make_record(method, seed, level=1.0, plugin=SOMEBODY) for method in ("lff", "erm") for seed in (0, 1, 2)]
    for content in forged[3:]:
        content["metrics"]["test"]["hierarchical_distance_at_5"] = 1e300
        settled(content)
    return forged


FORGERIES: Sequence[Forgery] = (
    _corrections_that_failed,
    _corrections_on_generated_data,
    _corrections_that_copy,
    _copies_under_seeds_below_zero,
    _a_majority_on_other_data,
    _a_majority_of_another_size,
    _a_majority_of_another_default,
    _diverged_seeds,
    _better_than_their_history,
    _a_method_of_ncbench_by_somebody,
)


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__.strip("_"))
def test_no_forgery_changes_an_honest_row(board: Path, forge: Forgery) -> None:
    honest = [*seeds("lff"), *seeds("jtt", level=0.6)]
    git(board, "init", "-q", "-b", "main", "..")
    placed = place_all(board, honest)
    commit(board)
    before = build(board).datasets[0]
    for content in forge(honest, placed):
        place(board, content)
    after = {row.id: row for table in build(board).datasets for section in table.sections for row in section.rows}
    for section in before.sections:
        for row in section.rows:
            assert after.get(row.id) == row


def test_every_number_may_be_between_0_and_1() -> None:
    """Which the check of ranges takes for granted."""
    assert all(least <= 0 and largest >= 1 for least, largest in Catalogue.built_in().bounds.values())
