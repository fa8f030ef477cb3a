"""Every measure of neural collapse of some runs over their epochs, one panel each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ncbench.contracts.cards import Panel
from ncbench.pictures.curves import plot_panels, points
from ncbench.pictures.ideals import nearly_balanced
from ncbench.records.archive import RunResult


def _panel(title: str, axis: str, *curves: tuple[str, str], logarithmic: bool = False) -> Panel:
    return Panel(title=f"{title}, train", curves=curves, split="train", axis=axis, logarithmic=logarithmic)


def _of_target_and_bias(title: str, axis: str, metric: str) -> Panel:
    return _panel(title, axis, (metric, "of the target"), (f"bias_{metric}", "of the bias"), logarithmic=True)


def _of_means_and_classifier(title: str, axis: str, metric: str) -> Panel:
    return _panel(title, axis, (metric, "class means"), (f"{metric}_classifier", "classifier"))


PANELS = (
    _of_target_and_bias("NC1: within-class variability", r"$\mathrm{tr}(\Sigma_W \Sigma_B^+)\,/\,K$", "nc1"),
    _of_target_and_bias("NC1: class-distance variance (CDNV)", "mean over pairs of classes", "nc1_cdnv"),
    _of_means_and_classifier("NC2: equal norms", "std / mean of norms", "nc2_norm_cv"),
    _of_means_and_classifier("NC2: equal angles", "std of cosines", "nc2_angle_std"),
    _of_means_and_classifier("NC2: largest angles", r"mean of $|\cos + 1/(K-1)|$", "nc2_angle_mean"),
    _panel("NC3: self-duality", r"$\Vert W/\Vert W\Vert_F - M/\Vert M\Vert_F\Vert_F^2$", ("nc3_self_duality", "")),
    _panel("NC4: disagreement with nearest mean", "share of images", ("nc4_disagreement", "")),
    _panel(
        "Angles: means and classifier",
        r"mean of $|\cos(\mu_i, \mu_j) - \cos(w_i, w_j)|$",
        ("frame_fidelity_deviation", ""),
    ),
    *(
        _panel(
            f"{title}: distance to the ideal",
            "of Gram matrices of norm 1",
            (f"nc2_etf_distance{suffix}", "to the simplex ETF"),
            (f"seli_distance{suffix or '_means'}", "to SELI"),
            ("nc2_etf_floor", "least to the ETF, of K > d + 1"),
        )
        for title, suffix in (("Class means", ""), ("Classifier", "_classifier"))
    ),
)


def plot_collapse(results: Sequence[RunResult], folder: Path) -> list[Path]:
    """Draw one panel a measure of neural collapse over the epochs: ``collapse.png`` and ``collapse.svg``.

    SELI is drawn beside the simplex ETF unless every run's class counts are about equal, and the least distance to the
    ETF where there are too many classes for the dimensions.

    Args:
        results: As of :func:`~ncbench.pictures.curves.plot_curves`.
        folder: As of :func:`~ncbench.pictures.curves.plot_curves`.

    Returns:
        The two paths; none if no run has measured collapse.

    Raises:
        ConfigurationError: The folder cannot be written.
    """
    left_out = set()
    if all(nearly_balanced(_class_counts(result)) for result in results):
        left_out |= {"seli_distance_means", "seli_distance_classifier"}
    if not any(value > 0 for result in results for _, value in points(result, "train", "nc2_etf_floor")):
        left_out.add("nc2_etf_floor")
    panels = []
    for panel in PANELS:
        # What is left out keeps its place, and with it the others their line styles.
        curves = tuple(("", "") if metric in left_out else (metric, text) for metric, text in panel.curves)
        alone = len(curves) > 1 and curves[1:] == (("", ""),) * len(curves[1:])
        title = panel.title.replace("the ideal", "the simplex ETF") if alone else panel.title
        panels.append(replace(panel, title=title, curves=curves))
    return plot_panels(panels, results, folder, "collapse")


def _class_counts(result: RunResult) -> list[int]:
    """Training images of each class that has any; empty if the record does not tell."""
    counts: dict[int, int] = {}
    for group in result.record.groups.get("train", []):
        counts[group.target] = counts.get(group.target, 0) + group.count
    return [count for count in counts.values() if count]
