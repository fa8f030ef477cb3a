"""The critical-difference diagram (Demšar 2006, figure 1): mean ranks on a line, bars over what is not told apart."""

from __future__ import annotations

from dataclasses import dataclass

from ncbench.leaderboard.tables.board import MeanRank, RankTest

WIDTH = 680
LEFT, RIGHT = 200, 480
AXIS = 54
_BAR_STEP, _LABEL_STEP = 9, 20
_LONGEST_LABEL = 18


@dataclass(frozen=True)
class Label:
    """A method's name, cut if it is long, and the line to its edge from its place x on the axis."""

    name: str
    full_name: str
    mean_rank: float
    x: float
    y: float
    edge: float
    on_left: bool


@dataclass(frozen=True)
class Diagram:
    """What a template needs to draw the diagram, in a box :data:`WIDTH` wide.

    Args:
        ticks: (place, rank) of the axis.
        difference: Length of the critical difference, drawn above the axis from its left end.
        bars: (from, to, height) of each run of methods that are not told apart.
    """

    height: float
    ticks: tuple[tuple[float, int], ...]
    difference: float
    labels: tuple[Label, ...]
    bars: tuple[tuple[float, float, float], ...]


def draw(methods: list[MeanRank], test: RankTest) -> Diagram:
    """Place the methods, best on the left, one half of the names on each side.

    Args:
        methods: Best mean rank first.
        test: Of these methods.
    """
    count, half = len(methods), (len(methods) + 1) // 2
    unit = (RIGHT - LEFT) / (count - 1)
    places = [round(LEFT + (method.mean_rank - 1) * unit, 1) for method in methods]
    first_label = AXIS + 24 + _BAR_STEP * len(test.alike)
    labels = []
    for position, (method, x) in enumerate(zip(methods, places, strict=True)):
        name, on_left = method.method, position < half
        shown = name if len(name) <= _LONGEST_LABEL else name[: _LONGEST_LABEL - 1] + "…"
        y = first_label + _LABEL_STEP * (position if on_left else count - 1 - position)
        labels.append(Label(shown, name, method.mean_rank, x, y, LEFT - 30 if on_left else RIGHT + 30, on_left))
    return Diagram(
        height=first_label + _LABEL_STEP * (half - 1) + 14,
        ticks=tuple(
            (round(LEFT + (rank - 1) * unit, 1), rank) for rank in range(1, count + 1, max(1, round(count / 12)))
        ),
        difference=round(test.critical_difference * unit, 1),
        labels=tuple(labels),
        bars=tuple(
            (places[first] - 4, places[last] + 4, AXIS + 12 + _BAR_STEP * level)
            for level, (first, last) in enumerate(test.alike)
        ),
    )
