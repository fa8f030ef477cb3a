"""The frame of a method that freezes its classifier is an ideal of its own, unless it is one that is drawn anyway."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ncbench.collapse import gram_distance
from ncbench.features.class_vectors import ClassVectors
from ncbench.features.snapshot import Snapshot
from ncbench.geometry import Hierarchy, hierarchy_aware_frame, seli, simplex_etf, vectors_with_gram
from ncbench.pictures.grams import panels
from ncbench.pictures.ideals import frozen_frame
from ncbench.pictures.simplex_view import look_at

NAME = "hierarchy-aware frame"


@pytest.fixture
def frame() -> torch.Tensor:
    """(6, 9) unit rows that do not sum to zero."""
    parents = ("animal", "animal", "animal", "thing", "thing", "plant")
    hierarchy = Hierarchy.from_categories([(f"class {number}", parent) for number, parent in enumerate(parents)])
    generator = torch.Generator().manual_seed(0)
    return hierarchy_aware_frame(hierarchy, 2.0, 9, generator, dtype=torch.float64).vectors


def vectors_of(means: torch.Tensor, weight: torch.Tensor, counts: list[int] | None = None) -> ClassVectors:
    sizes = torch.tensor(counts or [4] * len(means))
    return ClassVectors.of(torch.arange(len(means)), sizes, means, weight)


def test_features_that_have_collapsed_onto_the_frame_are_at_no_distance(frame: torch.Tensor) -> None:
    vectors = vectors_of(3 * frame + 5, frame)  # of any length, around any point
    ideal = frozen_frame(vectors)
    assert ideal is not None
    assert gram_distance(vectors.means @ vectors.means.T, ideal @ ideal.T) == pytest.approx(0, abs=1e-12)
    means, classifier = panels(vectors, {}, NAME)
    assert [title for title, _ in means] == [
        "class means: measured",
        "class means: simplex ETF",
        f"class means: {NAME}\ndistance 0.0000",
    ]
    assert torch.allclose(means[2][1], means[0][1])
    assert not torch.allclose(means[2][1], means[1][1], atol=0.1)
    assert [title for title, _ in classifier] == [f"classifier: frozen to the {NAME}", "classifier: simplex ETF"]


def test_a_learned_classifier_is_no_ideal(frame: torch.Tensor) -> None:
    means, classifier = panels(vectors_of(frame, frame), {}, "")
    assert [title for title, _ in means] == ["class means: measured", "class means: simplex ETF"]
    assert classifier[0][0] == "classifier: measured"


def test_frames_that_are_drawn_anyway_are_not_drawn_twice() -> None:
    generator = torch.Generator().manual_seed(0)
    etf = simplex_etf(6, 9, generator, dtype=torch.float64)
    assert frozen_frame(vectors_of(etf, 16 * etf)) is None
    counts = [60, 60, 60, 6, 6, 6]
    rows = vectors_with_gram(seli(counts).classifier_gram, 9, generator, dtype=torch.float64)
    vectors = vectors_of(etf, rows, counts)
    assert frozen_frame(vectors) is None
    means, classifier = panels(vectors, {}, "SELI")
    assert [len(means), len(classifier)] == [3, 3]
    assert classifier[0][0] == "classifier: frozen to SELI"
    assert frozen_frame(replace(vectors, weight=None)) is None


def test_of_many_classes_no_distance_is_told(frame: torch.Tensor) -> None:
    rows = torch.eye(400, dtype=torch.float64) + 0.2
    rows[:200, 0] += 1
    means, _ = panels(vectors_of(rows, rows), {}, "frame")
    assert [title for title, _ in means][2] == "class means: frame"


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_view_of_a_few_classes_has_the_frame(frame: torch.Tensor, size: int) -> None:
    labels = torch.arange(6).repeat_interleave(4)
    vectors = vectors_of(frame, frame)
    single = replace(vectors, means=vectors.means.float(), weight=frame.float())
    snapshot = Snapshot(single, (frame - frame.mean(0))[labels].float(), labels, None)
    classes = [0, 1, 3, 5][:size]
    view = look_at(snapshot, classes, NAME)
    assert view is not None
    if size == 2:  # two points are at the same places in every frame
        assert list(view.ideals) == ["simplex ETF"]
        return
    assert list(view.ideals) == ["simplex ETF", NAME]
    assert torch.allclose(view.ideals[NAME], view.means, atol=1e-5)
    assert not torch.allclose(view.ideals["simplex ETF"], view.means, atol=0.1)
    learned = look_at(snapshot, classes)
    assert learned is not None
    assert list(learned.ideals) == ["simplex ETF"]
