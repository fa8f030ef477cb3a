"""Curves over epochs can be read whatever the length of a run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import ncbench
from ncbench.pictures.curves import COLUMN, draw, panels_of_cards, plot_curves
from ncbench.pictures.style import shared_style
from ncbench.records.archive import RunResult


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return ncbench.run("erm", set={"recipe.epochs": 1}, output=tmp_path_factory.mktemp("runs"))


def of_length(result: RunResult, epochs: int, nc1: tuple[float, float], every: int = 1) -> RunResult:
    """A run of so many epochs, NC1 between two numbers, its test images classified every so often."""
    (entry,) = result.record.history
    history = []
    for epoch in sorted({1, 2, 3, 10, 100, epochs // 2, epochs} & set(range(1, epochs + 1))):
        metrics: dict[str, Any] = {"train": {"nc1": nc1[0] if epoch == 1 else nc1[1]}}
        if epoch % every == 0:
            metrics["test"] = entry.metrics["test"]
        history.append(entry.model_copy(update={"epoch": epoch, "metrics": metrics}))
    return RunResult(result.record.model_copy(update={"history": history}), result.folder)


def axes_of(*runs: RunResult) -> tuple[Any, Any]:
    with shared_style():
        panels = {panel.curves[0][0]: panel for panel in panels_of_cards()}
        figure = draw([panels["accuracy"], panels["nc1"]], runs)
        figure.draw_without_rendering()
    accuracy, nc1 = figure.axes
    return accuracy, nc1


@pytest.mark.parametrize("epochs", [1, 2, 10, 11, 150, 350, 5000, 100_000])
def test_ticks_do_not_overlap(result: RunResult, epochs: int) -> None:
    for axis in axes_of(of_length(result, epochs, (0.5, 0.2))):
        low, high = axis.get_xlim()
        places = [place for place in axis.get_xticks() if low <= place <= high]
        labels = [label for label in axis.get_xticklabels() if low <= label.get_position()[0] <= high]
        assert [label.get_text() for label in labels] == [f"{place:g}" for place in places]
        assert places[0] == 1
        assert len(places) > 1 or epochs == 1
        assert all(place == int(place) for place in places)
        boxes = [label.get_window_extent() for label in labels]
        assert all(left.x1 + 2 < right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize("epochs", [1, 2, 9, 150])
def test_panels_share_the_epochs_and_keep_every_curve_inside(result: RunResult, epochs: int) -> None:
    longest = of_length(result, epochs, (0.5, 0.2), every=max(epochs // 2, 1))
    limits = [axis.get_xlim() for axis in axes_of(longest, of_length(result, 1, (0.5, 0.2)))]
    assert limits[0] == limits[1]
    assert limits[0][0] < 1
    assert epochs < limits[0][1] < 1.3 * epochs + 1


@pytest.mark.parametrize(
    ("nc1", "limits", "ticks"),
    [
        ((0.21, 0.11), (0.1, 0.5), ["0.1", "0.2", "0.5"]),
        ((141.3, 141.3), (100, 200), ["100", "200"]),
        ((0.1, 0.1), (0.1, 0.2), ["0.1", "0.2"]),
        ((3e-7, 1.1e-7), (1e-7, 5e-7), None),
        ((4.0, 0.02), (0.01, 10), None),
        ((99.0, 3e-9), (1e-9, 100), None),
    ],
)
def test_a_logarithmic_panel_is_no_taller_than_its_curves_need(
    result: RunResult, nc1: tuple[float, float], limits: tuple[float, float], ticks: list[str] | None
) -> None:
    axis = axes_of(of_length(result, 20, nc1))[1]
    assert axis.get_ylim() == pytest.approx(limits)
    inside = [
        label.get_text()
        for label in axis.get_yticklabels()
        if 0.99 * limits[0] <= label.get_position()[1] <= 1.01 * limits[1]
    ]
    assert len(inside) >= 2
    assert all(inside)
    assert ticks is None or inside == ticks


def test_the_points_of_one_epoch_can_be_told_apart(result: RunResult) -> None:
    axis = axes_of(of_length(result, 1, (0.5, 0.5)))[1]
    (line,) = axis.lines
    assert line.get_markersize() >= 6
    assert axis.get_xlim() == (0.5, 1.5)


def test_colours_are_different_as_long_as_there_are_enough(result: RunResult) -> None:
    runs = [
        RunResult(result.record.model_copy(update={"recipe": {**result.record.recipe, "lr": lr}}), result.folder)
        for lr in range(12)
    ]
    axis = axes_of(*runs)[0]
    assert len({line.get_color() for line in axis.lines}) == 12


def with_settings(result: RunResult, seed: int, scale: float, **recipe: Any) -> RunResult:
    """The run with another seed and recipe, and all its shares of the test split scaled."""
    history = []
    for entry in result.record.history:
        test = {name: scale * value for name, value in entry.metrics["test"].items()}
        history.append(entry.model_copy(update={"metrics": {**entry.metrics, "test": test}}))
    update = {"history": history, "seed": seed, "recipe": {**result.record.recipe, **recipe}}
    return RunResult(result.record.model_copy(update=update), result.folder)


def test_seeds_are_drawn_as_their_mean_in_a_band(result: RunResult) -> None:
    long = of_length(result, 10, (0.5, 0.2))
    runs = [with_settings(long, seed, scale) for seed, scale in enumerate((0.2, 0.6, 0.7))]
    axis = axes_of(*runs)[0]
    (line,) = axis.lines
    (band,) = axis.collections
    value = 100 * result.record.history[0].metrics["test"]["accuracy"]
    assert line.get_ydata() == pytest.approx([0.5 * value] * len(line.get_xdata()))
    heights = [height for path in band.get_paths() for _, height in path.vertices]
    assert (min(heights), max(heights)) == pytest.approx((0.2 * value, 0.7 * value))


def test_methods_are_told_apart_by_dash_as_well(result: RunResult) -> None:
    long = of_length(result, 10, (0.5, 0.2))
    runs = [with_settings(long, 0, 1, lr=lr) for lr in range(5)]
    with shared_style():
        panel = next(panel for panel in panels_of_cards() if panel.curves[0][0] == "aligned_accuracy")
        figure = draw([panel], runs, COLUMN)
    assert figure.get_figwidth() <= 3.5
    (axis,) = figure.axes
    dashes = {line.get_color(): line._unscaled_dash_pattern for line in axis.lines}
    assert len(dashes) == len({repr(dash) for dash in dashes.values()}) == 5
    assert len({line.get_marker() for line in axis.lines}) == 2  # aligned and conflicting
    (legend,) = figure.legends
    assert legend.get_title().get_text() == "colored_digits / mlp"
    assert [text.get_text() for text in legend.get_texts()][:2] == ["erm (lr=0) (seed 0)", "erm (lr=1) (seed 0)"]


def test_the_legend_says_which_method_has_no_curve(result: RunResult) -> None:
    fitted = with_settings(result, 0, 1, lr=1)
    fitted.record.history.clear()
    runs = [of_length(result, 100, (0.5, 0.2)), fitted]
    with shared_style():
        figure = draw([panel for panel in panels_of_cards() if panel.curves[0][0] == "nc1"], runs)
    (legend,) = figure.legends
    assert [text.get_text().endswith(": no curve") for text in legend.get_texts()][:2] == [False, True]
    assert [handle.get_linestyle() == "None" for handle in legend.legend_handles][:2] == [False, True]


def test_a_share_that_is_always_zero_has_a_line_and_no_panel(result: RunResult, tmp_path: Path) -> None:
    def texts(*runs: RunResult, metrics: Sequence[str] = ()) -> str:
        path = plot_curves(runs, tmp_path / "curves.svg", metrics)
        assert path is not None
        return " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text()))

    nothing = with_settings(result, 0, 0)
    assert "Worst-group accuracy, test: 0 in every epoch" in texts(nothing)
    assert "in every epoch" not in texts(nothing, metrics=["worst_group_accuracy"])  # asked for
    assert "in every epoch" not in texts(nothing, with_settings(nothing, 0, 0, lr=1), metrics=["loss"])


def test_one_panel_is_named_by_its_metric_and_its_text_is_text(result: RunResult, tmp_path: Path, cli: Any) -> None:
    code, out, _ = cli("plot", result.folder, "--panel", "nc1", "--panel", "loss", "--format", "pdf")
    assert (code, out) == (0, f"{result.folder / 'nc1-loss.pdf'}\n")
    written = (result.folder / "nc1-loss.pdf").read_bytes()
    assert b"/FontFile2" in written  # a TrueType font: its letters are letters
    assert b"/Type3" not in written
    cli("plot", result.folder, "--panel", "nc1", "--panel", "loss", "--format", "pdf")
    assert (result.folder / "nc1-loss.pdf").read_bytes() == written
    code, _, err = cli("plot", result.folder, "--panel", "nc7")
    assert code == 2
    assert "Unknown panel 'nc7'. Did you mean 'nc1'?" in err
    assert cli("plot", result.folder, "--panel", "nc1", "--kind", "geometry")[0] == 2
