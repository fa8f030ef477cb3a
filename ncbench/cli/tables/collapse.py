"""The collapse of saved features: one line a measure, what each is, and what to mind when reading it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncbench.features.collapse import CollapseReport

# Heading -> measure -> what it is. Every one is 0 for a collapsed net, but see `_ideal`.
EXPLANATIONS: dict[str, dict[str, str]] = {
    "NC1: features collapse onto their class means": {
        "nc1": "tr(Σ_W Σ_B⁺)/K: spread within classes, relative to that between them",
        "nc1_cdnv": "(v_i + v_j)/(2|μ_i - μ_j|²), mean over pairs of classes",
    },
    "NC2: class means, and classifier rows, form a simplex ETF": {
        "nc2_norm_cv": "std/mean of |μ_c - μ_G|: lengths are equal",
        "nc2_norm_cv_classifier": "std/mean of |w_c|",
        "nc2_angle_std": "std over pairs of cos(μ_c - μ_G, μ_c' - μ_G): angles are equal",
        "nc2_angle_std_classifier": "std over pairs of cos(w_c, w_c')",
        "nc2_angle_mean": "mean over pairs of |cos + 1/(K-1)|: angles are the largest possible",
        "nc2_angle_mean_classifier": "the same of the rows w_c",
        "nc2_etf_distance": "distance of the means' Gram matrix to the ETF's, 0 to 2",
        "nc2_etf_distance_classifier": "the same of the rows w_c",
    },
    "NC3: classifier and class means agree": {
        "nc3_self_duality": "‖W/‖W‖ - M/‖M‖‖², M the rows μ_c - μ_G",
    },
    "NC4: the classifier decides for the nearest class mean": {
        "nc4_disagreement": "share of images on which the two differ",
    },
    "SELI: the geometry that replaces the ETF when class counts differ": {
        "seli_distance_means": "distance of the means' Gram matrix to SELI's for these counts, 0 to 2",
        "seli_distance_classifier": "the same of the rows w_c",
    },
}


def to_json(report: CollapseReport) -> dict[str, Any]:
    """The report as plain JSON values; an undefined measure is null."""
    return {
        "images": report.images,
        "dimension": report.dim,
        "num_classes": report.num_classes,
        "classes": report.classes.tolist(),
        "class_counts": report.vectors.counts.tolist(),
        "measures": {name: value if math.isfinite(value) else None for name, value in report.measures.items()},
    }


def lines(report: CollapseReport) -> list[str]:
    """The report as text: what was measured, one line a measure, and what to mind when reading it."""
    shown = [
        f"N = {report.images} images, d = {report.dim} dimensions, K = {len(report.classes)} classes with images "
        f"({_ranges(report.classes.tolist())}), {report.vectors.sizes}",
    ]
    absent = report.num_classes - len(report.classes)
    if absent:
        shown.append(f"{absent} of {report.num_classes} classes have no images and take no part.")
    shown += ["", f"{'measure':<28}{'value':>11}  {'ideal':<9} what it is"]
    for heading, explained in EXPLANATIONS.items():
        rows = [(name, text) for name, text in explained.items() if name in report.measures]
        if not rows:
            continue
        shown.append(heading)
        shown += [
            f"  {name:<27}{_number(report.measures[name]):>10}  {_ideal(name, report):<9} {text}" for name, text in rows
        ]
    return [*shown, "", *_remarks(report)]


def _remarks(report: CollapseReport) -> list[str]:
    k = len(report.classes)
    remarks = ["μ_c: class means, μ_G: their unweighted mean, w_c: classifier rows."]
    if report.floor > 0:
        remarks.append(
            f"K > d + 1: {k} vectors in {report.dim} dimensions cannot form a simplex ETF. "
            f"The floor of nc2_etf_distance, its ideal here, is {report.floor:.4g}."
        )
    if not report.balanced:
        remarks.append("The class counts differ: a collapsed net comes near SELI rather than the ETF of NC2.")
    if report.vectors.weight is None:
        remarks.append("There is no classifier in the file: what needs its weight is left out.")
    if k < 2:
        remarks.append("One class alone has no geometry: what compares classes is undefined (-).")
    return remarks


def _ideal(name: str, report: CollapseReport) -> str:
    """What a collapsed net reaches: 0, unless there are too few dimensions for the angles of the ideal."""
    if report.floor == 0 or not name.startswith(("nc2_angle", "nc2_etf_distance", "seli_distance")):
        return "0"
    # With equal counts SELI is the simplex ETF; of no other configuration a closed form of the floor is known to us.
    if name.startswith("nc2_etf_distance") or (report.balanced and name.startswith("seli_distance")):
        return f"{report.floor:.4g}"
    return "> 0"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _ranges(numbers: list[int], at_most: int = 6) -> str:
    """Ascending numbers as runs: `0-4, 7, 9-11`; the first few of them when there are many."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    texts = [str(low) if low == high else f"{low}-{high}" for low, high in runs]
    return ", ".join(texts[:at_most]) + (f", … to {numbers[-1]}" if len(texts) > at_most else "")
