"""Pictures of runs over their epochs: the training loss, and the metrics of every family as its card says."""

from __future__ import annotations

import functools
import operator
import statistics
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncbench.contracts.cards import Panel
from ncbench.contracts.errors import unknown_name
from ncbench.discovery.registry import registry
from ncbench.pictures.ideals import nearly_balanced
from ncbench.pictures.scales import scale_epochs, scale_logarithmically
from ncbench.pictures.style import COLOURS, plain_text, save_figure, shared_style
from ncbench.records.archive import RunResult
from ncbench.records.comparison import by_configuration, label, label_parts

if TYPE_CHECKING:
    from matplotlib.figure import Figure


LOSS = Panel(
    title="Training loss", curves=(("loss", ""),), split="losses", axis="mean over the epoch", logarithmic=True
)
DEFAULT = "accuracy"
"""Drawn on the test split where no metric that needs bias labels is."""


def panels_of_cards(kind: str = "curves") -> list[Panel]:
    """Return the panels that the metric families have in a kind of picture: those of the test split come first."""
    panels: list[Panel] = []
    for family in registry().metric_families():
        alone = [
            Panel(title=f"{measure.label[:1].upper()}{measure.label[1:]}, {split}", curves=((name, ""),), split=split)
            for name, measure in family.card.metrics.items()
            if measure.shown_in != "record"
            for split in sorted(measure.splits, key=("test", "val", "train").index)[:1]
        ]
        panels += [panel for panel in family.card.panels or alone if kind in panel.kinds]
    return sorted(panels, key=lambda panel: panel.split != "test")


def plot_curves(results: Sequence[RunResult], path: Path, metrics: Sequence[str] = ()) -> Path | None:
    """Draw accuracies, losses and collapse measures.

    A share that is 0 in every epoch of every run has no panel, but a line above them, unless its metric is named.

    Args:
        results: The runs; those that differ in the seed alone share a colour.
        path: The file, ``.png``, ``.svg`` or ``.pdf``; its folder is created if needed.
        metrics: Draw the panels that have these, and no others, one below the other and as wide as a column of a paper.

    Returns:
        The path; None if no run has finished an epoch.

    Raises:
        ConfigurationError: No panel has such a metric, or the folder cannot be written.
    """
    panels = sorted([LOSS, *panels_of_cards()], key=lambda panel: panel.split != "test")
    if metrics:
        panels = [panel for panel in [*panels, *panels_of_cards("geometry")] if _has_data(results, panel)]
        by_metric = {metric: panel for panel in reversed(panels) for metric, _ in panel.curves if metric}
        if unknown := [metric for metric in metrics if metric not in by_metric]:
            raise unknown_name("panel", unknown[0], by_metric)
        return plot_panels([by_metric[metric] for metric in metrics], results, path, COLUMN)
    panels = [panel for panel in panels if _has_data(results, panel)]
    measures = registry().measures()
    if any(measures[name].needs_bias for panel in panels if panel.split == "test" for name, _ in panel.curves):
        panels = [panel for panel in panels if (panel.split, panel.curves[0][0]) != ("test", DEFAULT)]
    silent = [panel for panel in panels if _is_silent(results, panel)]
    notes = [f"{panel.title}: 0 in every epoch" for panel in silent]
    return plot_panels([panel for panel in panels if panel not in silent], results, path, notes=notes)


def plot_collapse(results: Sequence[RunResult], path: Path) -> Path | None:
    """Draw one panel a measure of neural collapse over the epochs.

    SELI is drawn beside the simplex ETF unless every run's class counts are about equal, and the least distance to the
    ETF where there are too many classes for the dimensions.

    Args:
        results: As of :func:`plot_curves`.
        path: As of :func:`plot_curves`.

    Returns:
        The path; None if no run has measured collapse.

    Raises:
        ConfigurationError: The folder cannot be written.
    """
    left_out = set()
    if all(nearly_balanced(_class_counts(result)) for result in results):
        left_out |= {"seli_distance_means", "seli_distance_classifier"}
    if not any(value > 0 for result in results for _, value in points(result, "train", "nc2_etf_floor")):
        left_out.add("nc2_etf_floor")
    panels = []
    for panel in panels_of_cards("geometry"):
        # What is left out keeps its place, and with it the others their line styles.
        curves = tuple(("", "") if metric in left_out else (metric, text) for metric, text in panel.curves)
        alone = len(curves) > 1 and not any(metric for metric, _ in curves[1:])
        title = panel.title.replace("the ideal", "the simplex ETF") if alone else panel.title
        panels.append(replace(panel, title=title, curves=curves))
    return plot_panels(panels, results, path)


def _class_counts(result: RunResult) -> list[int]:
    """Return the training images of each class that has any; nothing if the record does not tell."""
    counts = Counter[int]()
    for group in result.record.groups.get("train", []):
        counts[group.target] += group.count
    return [count for count in counts.values() if count]


def heading(result: RunResult) -> str:
    """Return what names a run above a picture: its configuration, seed, and the epoch whose model was kept."""
    selected = result.record.selection.get(str(result.record.recipe.get("selection")))
    epoch = f", epoch {selected.epoch}" if selected else ""
    return f"{label(result)}, seed {result.record.seed}{epoch}"


@dataclass(frozen=True)
class Layout:
    """How panels are laid out: at most so many beside each other, each so wide and high with its labels, in inches."""

    columns: int
    panel: tuple[float, float]

    @property
    def letters(self) -> int:
        """How many letters of the legend go into one panel's width."""
        return int(12 * self.panel[0])


PAGE = Layout(3, (4.2, 2.9))
COLUMN = Layout(1, (3.25, 2.3))
"""For a column of a paper in two columns, to be put there unscaled: its letters have 9 points."""


def plot_panels(
    panels: Sequence[Panel],
    results: Sequence[RunResult],
    path: Path,
    layout: Layout = PAGE,
    notes: Sequence[str] = (),
) -> Path | None:
    """Draw every panel that has data into one file; return its path, None without data."""
    panels = [panel for panel in panels if _has_data(results, panel)]
    if not panels:
        return None
    with shared_style():
        return save_figure(draw(panels, results, layout, notes), path, "--output")


def draw(
    panels: Sequence[Panel], results: Sequence[RunResult], layout: Layout = PAGE, notes: Sequence[str] = ()
) -> Figure:
    """Return the figure of some panels, one colour and, of several, one dash a configuration.

    Of several runs of a configuration the mean is drawn, in a band from the lowest to the highest.

    Args:
        panels: At least one, each with data of some run.
        results: The runs.
        layout: How large they are.
        notes: Lines of the legend.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    grouped = by_configuration(results)
    columns = min(len(panels), layout.columns)
    rows = -(-len(panels) // columns)
    last = max(entry.epoch for result in results for entry in result.record.history)
    width = layout.letters * columns
    common, texts = _names(grouped)
    handles: list[Any] = []
    for position, (text, members) in enumerate(zip(texts, grouped.values(), strict=True)):
        if any(_has_data(members, panel) for panel in panels):
            look = _look(position, len(texts))
        else:
            look, text = {"linestyle": ""}, f"{text}: no curve"
        handles.append(Line2D([], [], **look, label=plain_text(textwrap.fill(text, width))))
    if any(len(members) > 1 for members in grouped.values()):
        handles.append(Patch(color="0.3", alpha=_BAND, linewidth=0, label="mean; band: lowest to highest"))
    if any(result.record.terminal_phase_epoch for result in results):
        text = textwrap.fill("first measured epoch with zero training error", width)
        handles.append(Line2D([], [], **_TERMINAL, color="0.3", label=text))
    handles += [Line2D([], [], linestyle="", label=textwrap.fill(note, width)) for note in notes]
    side_by_side = len(texts) > 4 and max(map(len, texts)) <= width // 2
    above = textwrap.fill(common, width)
    lines = sum(str(handle.get_label()).count("\n") + 1 for handle in handles)
    top = 0.3 + _LINE * ((-(-lines // 2) if side_by_side else lines) + (above.count("\n") + 1 if above else 0))
    # In inches, with room for the longest labels: to find out what they need takes longer than to draw everything.
    width_in, height_in = layout.panel[0] * columns, layout.panel[1] * rows + top
    figure = Figure(figsize=(width_in, height_in))
    heading = plain_text(above) or None
    figure.legend(handles=handles, loc="upper center", ncols=2 if side_by_side else 1, title=heading)
    for position, panel in enumerate(panels):
        row, column = divmod(position, columns)
        corner = layout.panel[0] * column + _LEFT, height_in - top - layout.panel[1] * (row + 1) + _BELOW
        size = layout.panel[0] - _LEFT - _RIGHT, layout.panel[1] - _BELOW - _ABOVE
        axis = figure.add_axes((corner[0] / width_in, corner[1] / height_in, size[0] / width_in, size[1] / height_in))
        _draw(panel, axis, grouped, last)
    return figure


# In inches: what a panel's labels take on each of its sides, and a line of the legend.
_LEFT, _RIGHT, _BELOW, _ABOVE, _LINE = 0.75, 0.1, 0.5, 0.3, 0.19
_BAND = 0.2  # opacity
_DASHES: Any = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (9, 2)))
"""As many as have no factor in common with the colours, so that no two configurations look alike soon."""
_NOTHING = 1e-9  # below it a measure is zero but for rounding, which is not to fill a panel
_MANY_POINTS = 40  # a curve of as many is drawn without markers
_LINES: Any = (("-", {"marker": "o"}), ("--", {"marker": "s", "markerfacecolor": "white"}), (":", {"marker": "^"}))
_TERMINAL: Any = {"linestyle": (0, (5, 3)), "linewidth": 0.8}


def points(result: RunResult, split: str, metric: str) -> list[tuple[int, float]]:
    """Return (epoch, value) of a metric, or of a term of the loss, for the epochs that have it."""
    found = []
    for entry in result.record.history:
        numbers: dict[str, Any] = entry.losses if split == "losses" else dict(entry.metrics).get(split, {})  # type: ignore[call-overload]
        value = numbers.get(metric)
        if value is not None:
            found.append((entry.epoch, value))
    return found


def _look(position: int, of: int) -> dict[str, Any]:
    """Return the colour of a configuration's curves and, where there are several, their dash."""
    dash = {"linestyle": _DASHES[position % len(_DASHES)]} if of > 1 else {}
    return {"color": COLOURS[position % len(COLOURS)], "linewidth": 1.2, **dash}


def _names(grouped: Mapping[str, Sequence[RunResult]]) -> tuple[str, list[str]]:
    """Return what all configurations have in common, of several, and what the legend calls each."""
    _, *rest = zip(*(label_parts(members[0]) for members in grouped.values()), strict=True)
    common = [each[0] for each in rest if len(grouped) > 1 and len({*each}) == 1]
    names = []
    for text, members in grouped.items():
        method, *others = label_parts(members[0])
        own = " / ".join([method, *(part for part in others if part not in common)])
        names.append(f"{own}{text.removeprefix(label(members[0]))} ({_seeds(members)})")
    return " / ".join(common), names


def _mean_and_range(
    members: Sequence[RunResult], split: str, metric: str
) -> tuple[list[int], list[float], list[float], list[float]]:
    """Return epochs, and there the mean, the lowest and the highest of some runs: where all of them have the number.

    Those that have it nowhere do not count.
    """
    curves = [dict(found) for member in members if (found := points(member, split, metric))]
    epochs = sorted(functools.reduce(operator.and_, (curve.keys() for curve in curves))) if curves else []
    values = [[curve[epoch] for curve in curves] for epoch in epochs]
    return epochs, [*map(statistics.fmean, values)], [*map(min, values)], [*map(max, values)]


def _is_silent(results: Sequence[RunResult], panel: Panel) -> bool:
    """Whether a panel would only say that its shares are 0."""
    measures = registry().measures()
    shares = all(metric in measures and measures[metric].unit == "%" for metric, _ in panel.curves)
    return shares and not any(
        value for result in results for metric, _ in panel.curves for _, value in points(result, panel.split, metric)
    )


def _has_data(results: Sequence[RunResult], panel: Panel) -> bool:
    return any(points(result, panel.split, metric) for result in results for metric, _ in panel.curves)


def _draw(panel: Panel, axis: Any, grouped: dict[str, list[RunResult]], last: int) -> None:
    from matplotlib.lines import Line2D

    measure = registry().measures().get(panel.curves[0][0])
    unit, scale = (measure.unit, measure.scale) if measure is not None else ("", 1)
    looks = [_look(position, len(grouped)) for position in range(len(grouped))]
    drawn: list[float] = []
    handles = []
    for (line, marker), (metric, text) in zip(_LINES, panel.curves, strict=False):
        found = [_mean_and_range(members, panel.split, metric) for members in grouped.values()]
        fewest = min((len(epochs) for epochs, *_ in found if epochs), default=0)
        if not fewest:
            continue
        # Of one configuration the curves have dashes of their own; of several, the dashes are the configurations'.
        style: Any = {"linestyle": line, "markersize": 2.5} if last > 1 else {"linestyle": "", "markersize": 6.0}
        if fewest < _MANY_POINTS or (len(grouped) > 1 and len(panel.curves) > 1):
            style |= {**marker, "markevery": -(-fewest // _MANY_POINTS)}
        for look, (epochs, *numbers) in zip(looks, found, strict=True):
            mean, lowest, highest = ([scale * value for value in each] for each in numbers)
            axis.plot(epochs, mean, **{**style, **(look if last > 1 else {"color": look["color"]})})
            if lowest != highest:
                axis.fill_between(epochs, lowest, highest, color=look["color"], alpha=_BAND, linewidth=0)
            drawn += [*lowest, *highest]
        if text:
            of_all = {"linestyle": "-"} if len(grouped) > 1 and last > 1 else {}
            handles.append(Line2D([], [], color="0.3", label=text, **{**style, **of_all}))
    for look, members in zip(looks, grouped.values(), strict=True):
        for epoch in {member.record.terminal_phase_epoch for member in members} - {None, 0}:
            axis.axvline(epoch, **_TERMINAL, color=look["color"])
    axis.set(title=panel.title, xlabel="epoch", ylabel=panel.axis or unit)
    axis.grid()
    scale_epochs(axis, last)
    if unit == "%":
        axis.set_ylim(-2, 102)
    elif panel.logarithmic and min(drawn) > 0:
        scale_logarithmically(axis, drawn)
    else:
        axis.locator_params(axis="y", nbins=6)
        if max(map(abs, drawn)) < _NOTHING:
            axis.set_ylim(top=1)
        if min(drawn) >= 0:
            axis.set_ylim(bottom=-0.02 * axis.get_ylim()[1])  # a curve at 0, the ideal, is seen above the axis
    if len(handles) > 1:
        axis.legend(handles=handles, fontsize=8, frameon=True, framealpha=0.7, edgecolor="none")


def _seeds(members: Sequence[RunResult]) -> str:
    seeds = sorted({result.record.seed for result in members})
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
