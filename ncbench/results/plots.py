"""Pictures of runs: accuracies, losses and collapse measures over epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ncbench.contracts.errors import ConfigurationError
from ncbench.contracts.files import write_atomically
from ncbench.results.archive import RunResult
from ncbench.results.comparison import by_configuration

# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")


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


GROUP_MEAN = Panel("Group-mean accuracy, test", (("test", "group_mean_accuracy", "-", ""),), "%", percent=True)
ACCURACY = Panel("Accuracy, test", (("test", "accuracy", "-", ""),), "%", percent=True)  # where groups are unknown
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
    Panel("Training loss", (("losses", "loss", "-", ""),), "mean over the epoch", logarithmic=True),
    Panel(
        "NC1: within-class variability, train",
        (("train", "nc1", "-", "of the target"), ("train", "bias_nc1", "--", "of the bias")),
        "tr(Σ_W Σ_B⁺)/K",
        logarithmic=True,
    ),
    Panel(
        "NC2: equal norms, train",
        (("train", "nc2_norm_cv", "-", "of the target"), ("train", "bias_nc2_norm_cv", "--", "of the bias")),
        "std/mean of |μ_c - μ_G|",
    ),
    Panel(
        "NC2: equal angles, train",
        (("train", "nc2_angle_std", "-", "of the target"), ("train", "bias_nc2_angle_std", "--", "of the bias")),
        "std of cosines",
    ),
    Panel("NC3: self-duality, train", (("train", "nc3_self_duality", "-", ""),), "‖Wᵀ/‖W‖ - M/‖M‖‖²"),
    Panel("NC4: disagreement with nearest mean, train", (("train", "nc4_disagreement", "-", ""),), "share of images"),
)


def plot_curves(results: Sequence[RunResult], folder: Path) -> list[Path]:
    """Draw every panel that has data, one colour a configuration, and write ``curves.png`` and ``curves.svg``.

    Args:
        results: The runs; those that differ in the seed alone share a colour.
        folder: Where the files go; created if needed.

    Returns:
        The two paths; none if no run has finished an epoch.

    Raises:
        ConfigurationError: The folder cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    grouped = by_configuration(results)
    panels = [panel for panel in PANELS if any(_has_points(results, curve) for curve in panel.curves)]
    if GROUP_MEAN in panels:
        panels.remove(ACCURACY)
    if not panels:
        return []
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    style: Any = {"svg.hashsalt": "ncbench", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with plt.rc_context(style):
        figure, axes = plt.subplots(
            rows, columns, figsize=(4.2 * columns, 2.9 * rows), squeeze=False, layout="constrained"
        )
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        for panel, axis in zip(panels, axes.flat, strict=False):
            _draw(panel, axis, grouped)
        handles = [
            Line2D([], [], color=COLOURS[position % len(COLOURS)], label=f"{text} ({_seeds(members)})")
            for position, (text, members) in enumerate(grouped.items())
        ]
        figure.legend(handles=handles, loc="outside upper center", frameon=False)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            paths = [folder / "curves.png", folder / "curves.svg"]
            for path in paths:
                _save(figure, path)
        except OSError as error:
            raise ConfigurationError(
                f"{folder} cannot be written ({error.strerror}). Choose another --output."
            ) from error
        finally:
            plt.close(figure)
    return paths


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


def _draw(panel: Panel, axis: Any, grouped: dict[str, list[RunResult]]) -> None:
    from matplotlib.lines import Line2D

    positive = True
    for position, members in enumerate(grouped.values()):
        for result in members:
            for split, metric, line, _ in panel.curves:
                points = _points(result, split, metric)
                if not points:
                    continue
                epochs, values = zip(*points, strict=True)
                scale = 100 if panel.percent else 1
                positive = positive and min(values) > 0
                axis.plot(
                    epochs,
                    [scale * value for value in values],
                    line,
                    color=COLOURS[position % len(COLOURS)],
                    linewidth=1.2,
                    marker="." if len(points) < 40 else None,
                    markersize=4,
                )
    axis.set_title(panel.title, fontsize=9)
    axis.set_xlabel("epoch")
    axis.set_ylabel(panel.unit)
    axis.grid(alpha=0.25, linewidth=0.5)
    axis.set_xscale("log")  # on every panel: collapse begins in the first epochs, and panels are read side by side
    if panel.logarithmic and positive:
        axis.set_yscale("log")
    if panel.percent:
        axis.set_ylim(-2, 102)
    labelled = [curve for curve in panel.curves if curve[3]]
    drawn = [curve for curve in labelled if any(_has_points(members, curve) for members in grouped.values())]
    if drawn:
        handles = [Line2D([], [], color="0.3", linestyle=cast("Any", line), label=text) for _, _, line, text in drawn]
        axis.legend(handles=handles, frameon=False, fontsize=8)


def _seeds(members: Sequence[RunResult]) -> str:
    seeds = sorted({result.record.seed for result in members})
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"


def _save(figure: Any, path: Path) -> None:
    import io

    buffer = io.BytesIO()
    # Without a date in it the SVG of the same runs is the same file.
    metadata = {"Date": None} if path.suffix == ".svg" else None
    figure.savefig(buffer, format=path.suffix[1:], dpi=140, metadata=metadata)
    write_atomically(path, buffer.getvalue())
