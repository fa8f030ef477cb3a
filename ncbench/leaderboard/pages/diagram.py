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
    """A method's name, and the line that leads from its place on the axis to it.

    Args:
        name: Cut if it is long.
        full_name: The whole name.
        x: The mean rank's place on the axis.
        y: Of the name.
        edge: Where the line ends and the name begins.
        on_left: Whether the name stands to the left of `edge`.
    """

    name: str
    full_name: str
    mean_rank: float
    x: float
    y: float
    edge: float
    on_left: bool


@dataclass(frozen=True)
class Diagram:
    """What a template needs to draw the diagram; units of a box `width` wide.

    Args:
        ticks: (place, rank) of the axis.
        difference: Length of the critical difference, drawn above the axis from its left end.
        bars: (from, to, height) of each run of methods that are not told apart.
    """

    width: int
    height: float
    axis: float
    left: float
    right: float
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
    count = len(methods)
    unit = (RIGHT - LEFT) / (count - 1)

    def place(rank: float) -> float:
        return round(LEFT + (rank - 1) * unit, 1)

    first_label = AXIS + 24 + _BAR_STEP * len(test.alike)
    half = (count + 1) // 2
    labels = []
    for position, method in enumerate(methods):
        on_left = position < half
        level = position if on_left else count - 1 - position
        labels.append(
            Label(
                name=_cut(method.method),
                full_name=method.method,
                mean_rank=method.mean_rank,
                x=place(method.mean_rank),
                y=first_label + _LABEL_STEP * level,
                edge=LEFT - 30 if on_left else RIGHT + 30,
                on_left=on_left,
            )
        )
    bars = tuple(
        (place(methods[first].mean_rank) - 4, place(methods[last].mean_rank) + 4, AXIS + 12 + _BAR_STEP * level)
        for level, (first, last) in enumerate(test.alike)
    )
    every = max(1, round(count / 12))
    return Diagram(
        width=WIDTH,
        height=first_label + _LABEL_STEP * (half - 1) + 14,
        axis=AXIS,
        left=LEFT,
        right=RIGHT,
        ticks=tuple((place(rank), rank) for rank in range(1, count + 1, every)),
        difference=round(test.critical_difference * unit, 1),
        labels=tuple(labels),
        bars=bars,
    )


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_LABEL else name[: _LONGEST_LABEL - 1] + "…"
