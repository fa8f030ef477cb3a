"""Pictures of runs over their epochs: the training loss, and the metrics of every family as its card says."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncbench.contracts.cards import Panel
from ncbench.discovery.registry import registry
from ncbench.pictures.ideals import nearly_balanced
from ncbench.pictures.scales import scale_epochs, scale_logarithmically
from ncbench.pictures.style import COLOURS, plain_text, save_figure, shared_style
from ncbench.records.archive import RunResult
from ncbench.records.comparison import by_configuration, label

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


def plot_curves(results: Sequence[RunResult], path: Path) -> Path | None:
    """Draw accuracies, losses and collapse measures.

    Args:
        results: The runs; those that differ in the seed alone share a colour.
        path: The file, ``.png`` or ``.svg``; its folder is created if needed.

    Returns:
        The path; None if no run has finished an epoch.

    Raises:
        ConfigurationError: The folder cannot be written.
    """
    panels = sorted([LOSS, *panels_of_cards()], key=lambda panel: panel.split != "test")
    panels = [panel for panel in panels if _has_data(results, panel)]
    measures = registry().measures()
    if any(measures[name].needs_bias for panel in panels if panel.split == "test" for name, _ in panel.curves):
        panels = [panel for panel in panels if (panel.split, panel.curves[0][0]) != ("test", DEFAULT)]
    return plot_panels(panels, results, path)


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


def plot_panels(panels: Sequence[Panel], results: Sequence[RunResult], path: Path) -> Path | None:
    """Draw every panel that has data into one file; return its path, None without data."""
    panels = [panel for panel in panels if _has_data(results, panel)]
    if not panels:
        return None
    with shared_style():
        return save_figure(draw(panels, results), path, "--output")


def draw(panels: Sequence[Panel], results: Sequence[RunResult]) -> Figure:
    """Return the figure of some panels, one colour a configuration.

    Args:
        panels: At least one, each with data of some run.
        results: The runs.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    grouped = by_configuration(results)
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    last = max(entry.epoch for result in results for entry in result.record.history)
    width = _LETTERS * columns
    texts = [f"{text} ({_seeds(members)})" for text, members in grouped.items()]
    handles = [
        Line2D([], [], color=COLOURS[position % len(COLOURS)], label=plain_text(textwrap.fill(text, width)))
        for position, text in enumerate(texts)
    ]
    if any(result.record.terminal_phase_epoch for result in results):
        handles.append(Line2D([], [], **_TERMINAL, color="0.3", label="first measured epoch with zero training error"))
    side_by_side = len(texts) > 4 and max(map(len, texts)) <= width // 2
    lines = sum(str(handle.get_label()).count("\n") + 1 for handle in handles)
    top = 0.3 + _LINE * (-(-lines // 2) if side_by_side else lines)
    # In inches, with room for the longest labels: to find out what they need takes longer than to draw everything.
    width_in, height_in = _PANEL[0] * columns, _PANEL[1] * rows + top
    figure = Figure(figsize=(width_in, height_in))
    figure.legend(handles=handles, loc="upper center", ncols=2 if side_by_side else 1)
    for position, panel in enumerate(panels):
        row, column = divmod(position, columns)
        corner = _PANEL[0] * column + _LEFT, height_in - top - _PANEL[1] * (row + 1) + _BELOW
        size = _PANEL[0] - _LEFT - _RIGHT, _PANEL[1] - _BELOW - _ABOVE
        axis = figure.add_axes((corner[0] / width_in, corner[1] / height_in, size[0] / width_in, size[1] / height_in))
        _draw(panel, axis, grouped, last)
    return figure


# In inches: a panel with its labels, what they take on each of its sides, and a line of the legend.
_PANEL, _LEFT, _RIGHT, _BELOW, _ABOVE, _LINE = (4.2, 2.9), 0.75, 0.1, 0.5, 0.3, 0.19
_LETTERS = 50  # of a legend, as wide as a panel
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


def _has_data(results: Sequence[RunResult], panel: Panel) -> bool:
    return any(points(result, panel.split, metric) for result in results for metric, _ in panel.curves)


def _draw(panel: Panel, axis: Any, grouped: dict[str, list[RunResult]], last: int) -> None:
    from matplotlib.lines import Line2D

    measure = registry().measures().get(panel.curves[0][0])
    unit, scale = (measure.unit, measure.scale) if measure is not None else ("", 1)
    coloured = [
        (COLOURS[position % len(COLOURS)], result)
        for position, members in enumerate(grouped.values())
        for result in members
    ]
    drawn: list[float] = []
    handles = []
    for (line, marker), (metric, text) in zip(_LINES, panel.curves, strict=False):
        curves = [(colour, found) for colour, result in coloured if (found := points(result, panel.split, metric))]
        if not curves:
            continue
        style: Any = {"linestyle": line if last > 1 else "", "markersize": 2.5 if last > 1 else 6.0}
        if min(len(found) for _, found in curves) < _MANY_POINTS:
            style |= marker
        for colour, found in curves:
            values = [scale * value for _, value in found]
            drawn += values
            axis.plot([epoch for epoch, _ in found], values, color=colour, linewidth=1.2, **style)
        if text:
            handles.append(Line2D([], [], color="0.3", label=text, **style))
    for colour, result in coloured:
        if result.record.terminal_phase_epoch:
            axis.axvline(result.record.terminal_phase_epoch, **_TERMINAL, color=colour)
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
        axis.legend(handles=handles, fontsize=8)


def _seeds(members: Sequence[RunResult]) -> str:
    seeds = sorted({result.record.seed for result in members})
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
