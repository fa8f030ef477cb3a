"""Pictures of runs over their epochs: accuracies and losses, and the measures of neural collapse."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ncbench.features.class_vectors import about_equal
from ncbench.pictures.scales import scale_epochs, scale_logarithmically
from ncbench.pictures.style import COLOURS, plain_text, save_figure, shared_style
from ncbench.records.archive import RunResult
from ncbench.records.comparison import by_configuration, label

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Args:
        title: What it shows.
        curves: (split, metric, line style, label) of each curve; the split ``"losses"`` holds training losses.
        unit: Label of the y axis.
        percent: Whether values are shares, shown in per cent.
        logarithmic: Whether y is logarithmic.
    """

    title: str
    curves: tuple[tuple[str, str, str, str], ...]
    unit: str
    percent: bool = False
    logarithmic: bool = False


def _of_target_and_bias(metric: str) -> tuple[tuple[str, str, str, str], ...]:
    return (("train", metric, "-", "of the target"), ("train", f"bias_{metric}", "--", "of the bias"))


def _of_means_and_classifier(metric: str) -> tuple[tuple[str, str, str, str], ...]:
    return (("train", metric, "-", "class means"), ("train", f"{metric}_classifier", "--", "classifier"))


GROUP_MEAN = Panel("Group-mean accuracy, test", (("test", "group_mean_accuracy", "-", ""),), "%", percent=True)
ACCURACY = Panel("Accuracy, test", (("test", "accuracy", "-", ""),), "%", percent=True)  # where groups are unknown
NC1 = Panel(
    "NC1: within-class variability, train",
    _of_target_and_bias("nc1"),
    r"$\mathrm{tr}(\Sigma_W \Sigma_B^+)\,/\,K$",
    logarithmic=True,
)
NC3 = Panel(
    "NC3: self-duality, train",
    (("train", "nc3_self_duality", "-", ""),),
    r"$\Vert W/\Vert W\Vert_F - M/\Vert M\Vert_F\Vert_F^2$",
)
NC4 = Panel("NC4: disagreement with nearest mean, train", (("train", "nc4_disagreement", "-", ""),), "share of images")
PANELS = (
    GROUP_MEAN,
    Panel("Worst-group accuracy, test", (("test", "worst_group_accuracy", "-", ""),), "%", percent=True),
    Panel(
        "Aligned and conflicting groups, test",
        (("test", "aligned_accuracy", "-", "aligned"), ("test", "conflicting_accuracy", "--", "conflicting")),
        "accuracy (%)",
        percent=True,
    ),
    ACCURACY,
    Panel("Mistake severity, test", (("test", "mistake_severity", "-", ""),), "mean height of the LCA"),
    Panel("Training loss", (("losses", "loss", "-", ""),), "mean over the epoch", logarithmic=True),
    NC1,
    Panel("NC2: equal norms, train", _of_target_and_bias("nc2_norm_cv"), r"std / mean of $\Vert\mu_c - \mu_G\Vert$"),
    Panel("NC2: equal angles, train", _of_target_and_bias("nc2_angle_std"), "std of cosines"),
    NC3,
    NC4,
)
COLLAPSE_PANELS = (
    NC1,
    Panel(
        "NC1: class-distance variance (CDNV), train",
        _of_target_and_bias("nc1_cdnv"),
        "mean over pairs of classes",
        logarithmic=True,
    ),
    Panel("NC2: equal norms, train", _of_means_and_classifier("nc2_norm_cv"), "std / mean of norms"),
    Panel("NC2: equal angles, train", _of_means_and_classifier("nc2_angle_std"), "std of cosines"),
    Panel(
        "NC2: largest angles, train",
        _of_means_and_classifier("nc2_angle_mean"),
        r"mean of $|\cos + 1/(K-1)|$",
    ),
    NC3,
    NC4,
    Panel(
        "Angles: means and classifier, train",
        (("train", "frame_fidelity_deviation", "-", ""),),
        r"mean of $|\cos(\mu_i, \mu_j) - \cos(w_i, w_j)|$",
    ),
    *(
        Panel(
            f"{title}: distance to the ideal, train",
            (
                ("train", f"nc2_etf_distance{suffix}", "-", "to the simplex ETF"),
                ("train", f"seli_distance{suffix or '_means'}", "--", "to SELI"),
                ("train", "nc2_etf_floor", ":", "least to the ETF, of K > d + 1"),
            ),
            "of Gram matrices of norm 1",
        )
        for title, suffix in (("Class means", ""), ("Classifier", "_classifier"))
    ),
)


def plot_curves(results: Sequence[RunResult], folder: Path) -> list[Path]:
    """Draw accuracies, losses and collapse measures: ``curves.png`` and ``curves.svg``.

    Args:
        results: The runs; those that differ in the seed alone share a colour.
        folder: Where the files go; created if needed.

    Returns:
        The two paths; none if no run has finished an epoch.

    Raises:
        ConfigurationError: The folder cannot be written.
    """
    panels = list(PANELS)
    if _has_data(results, GROUP_MEAN):
        panels.remove(ACCURACY)
    return _plot(panels, results, folder, "curves")


def plot_collapse(results: Sequence[RunResult], folder: Path) -> list[Path]:
    """Draw one panel a measure of neural collapse over the epochs: ``collapse.png`` and ``collapse.svg``.

    SELI is drawn beside the simplex ETF unless every run's class counts are about equal, and the least distance to the
    ETF where there are too many classes for the dimensions.

    Args:
        results: As of :func:`plot_curves`.
        folder: As of :func:`plot_curves`.

    Returns:
        The two paths; none if no run has measured collapse.

    Raises:
        ConfigurationError: The folder cannot be written.
    """
    left_out = set()
    if all(about_equal(_class_counts(result)) for result in results):
        left_out |= {"seli_distance_means", "seli_distance_classifier"}
    if not any(value > 0 for result in results for _, value in _points(result, "train", "nc2_etf_floor")):
        left_out.add("nc2_etf_floor")
    panels = []
    for panel in COLLAPSE_PANELS:
        curves = tuple(curve for curve in panel.curves if curve[1] not in left_out)
        title = panel.title.replace("the ideal", "the simplex ETF") if len(curves) == 1 else panel.title
        panels.append(replace(panel, title=title, curves=curves))
    return _plot(panels, results, folder, "collapse")


def heading(result: RunResult) -> str:
    """Return what names a run above a picture: its configuration, seed, and the epoch whose model was kept."""
    selected = result.record.selection.get(str(result.record.recipe.get("selection")))
    epoch = f", epoch {selected.epoch}" if selected else ""
    return f"{label(result)}, seed {result.record.seed}{epoch}"


def _plot(panels: Sequence[Panel], results: Sequence[RunResult], folder: Path, name: str) -> list[Path]:
    """Draw and save every panel that has data."""
    panels = [panel for panel in panels if _has_data(results, panel)]
    if not panels:
        return []
    with shared_style():
        return save_figure(draw(panels, results), folder, name, "--output")


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
    figure = Figure(figsize=(4.2 * columns, 2.9 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    last = max(entry.epoch for result in results for entry in result.record.history)
    for panel, axis in zip(panels, axes.flat, strict=False):
        _draw(panel, axis, grouped, last)
    width = _LETTERS * columns
    texts = [f"{text} ({_seeds(members)})" for text, members in grouped.items()]
    handles = [
        Line2D([], [], color=COLOURS[position % len(COLOURS)], label=plain_text(textwrap.fill(text, width)))
        for position, text in enumerate(texts)
    ]
    if any(result.record.terminal_phase_epoch for result in results):
        handles.append(Line2D([], [], **_TERMINAL, color="0.3", label="first measured epoch with zero training error"))
    side_by_side = len(texts) > 4 and max(map(len, texts)) <= width // 2
    figure.legend(handles=handles, loc="outside upper center", ncols=2 if side_by_side else 1)
    return figure


_LETTERS = 50  # of a legend, as wide as a panel
_NOTHING = 1e-9  # below it a measure is zero but for rounding, which is not to fill a panel
_MANY_POINTS = 40  # a curve of as many is drawn without signs
_SIGNS: Any = {"-": {"marker": "o"}, "--": {"marker": "s", "markerfacecolor": "white"}, ":": {"marker": "^"}}
_TERMINAL: Any = {"linestyle": (0, (5, 3)), "linewidth": 0.8}


def _class_counts(result: RunResult) -> list[int]:
    """Training images of each class that has any; empty if the record does not tell."""
    counts: dict[int, int] = {}
    for group in result.record.groups.get("train", []):
        counts[group.target] = counts.get(group.target, 0) + group.count
    return [count for count in counts.values() if count]


def _points(result: RunResult, split: str, metric: str) -> list[tuple[int, float]]:
    points = []
    for entry in result.record.history:
        numbers: dict[str, Any] = entry.losses if split == "losses" else dict(entry.metrics).get(split, {})  # type: ignore[call-overload]
        value = numbers.get(metric)
        if value is not None:
            points.append((entry.epoch, value))
    return points


def _has_points(results: Sequence[RunResult], curve: tuple[str, str, str, str]) -> bool:
    return any(_points(result, *curve[:2]) for result in results)


def _has_data(results: Sequence[RunResult], panel: Panel) -> bool:
    return any(_has_points(results, curve) for curve in panel.curves)


def _draw(panel: Panel, axis: Any, grouped: dict[str, list[RunResult]], last: int) -> None:
    drawn: list[float] = []
    signed = False
    for position, members in enumerate(grouped.values()):
        colour = COLOURS[position % len(COLOURS)]
        for result in members:
            for split, metric, line, _ in panel.curves:
                points = _points(result, split, metric)
                if not points:
                    continue
                epochs, values = zip(*points, strict=True)
                drawn += values
                scaled = [100 * value if panel.percent else value for value in values]
                sign = _sign(line, last) if len(points) < _MANY_POINTS else {}
                signed = signed or bool(sign)
                axis.plot(epochs, scaled, line, color=colour, linewidth=1.2, **sign)
            if result.record.terminal_phase_epoch:
                axis.axvline(result.record.terminal_phase_epoch, **_TERMINAL, color=colour)
    axis.set_title(panel.title)
    axis.set_xlabel("epoch")
    axis.set_ylabel(panel.unit)
    axis.grid()
    scale_epochs(axis, last)
    if panel.percent:
        axis.set_ylim(-2, 102)
    elif panel.logarithmic and min(drawn) > 0:
        scale_logarithmically(axis, drawn)
    else:
        axis.locator_params(axis="y", nbins=6)
        if max(map(abs, drawn), default=0) < _NOTHING:
            axis.set_ylim(top=1)
        if min(drawn, default=0) >= 0:
            axis.set_ylim(bottom=-0.02 * axis.get_ylim()[1])  # a curve at 0, the ideal, is seen above the axis
    labelled = [curve for curve in panel.curves if curve[3]]
    shown = [curve for curve in labelled if any(_has_points(members, curve) for members in grouped.values())]
    if len(shown) > 1:
        axis.legend(handles=[_handle(line, text, signed, last) for _, _, line, text in shown], fontsize=8)


def _sign(line: str, last: int) -> dict[str, Any]:
    """How the points of a line style are marked; one epoch alone is nothing but its points."""
    return {**_SIGNS[line], "markersize": 2.5 if last > 1 else 6.0}


def _handle(line: str, text: str, signed: bool, last: int) -> Any:
    from matplotlib.lines import Line2D

    sign = _sign(line, last) if signed else {}
    return Line2D([], [], color="0.3", linestyle=cast("Any", line) if last > 1 else "", label=text, **sign)


def _seeds(members: Sequence[RunResult]) -> str:
    seeds = sorted({result.record.seed for result in members})
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
