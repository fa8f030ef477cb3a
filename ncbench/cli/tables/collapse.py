"""The collapse of saved features: one line a measure, what each is, and what to mind when reading it."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from ncbench.discovery.registry import registry

if TYPE_CHECKING:
    from ncbench.features.collapse import CollapseReport

HEADINGS = {  # what the names of some measures begin with -> what these say; `_ideal` is of a collapsed net
    "nc1": "NC1: features collapse onto their class means",
    "nc2": "NC2: class means, and classifier rows, form a simplex ETF",
    "nc3": "NC3: classifier and class means agree",
    "nc4": "NC4: the classifier decides for the nearest class mean",
    "seli": "SELI: the geometry that replaces the ETF when class counts differ",
}


def to_json(report: CollapseReport) -> dict[str, Any]:
    """Return the report as plain JSON values; an undefined measure is null."""
    return {
        "images": report.images,
        "dimension": report.dim,
        "num_classes": report.num_classes,
        "classes": report.classes.tolist(),
        "class_counts": report.vectors.counts.tolist(),
        "measures": {name: value if math.isfinite(value) else None for name, value in report.measures.items()},
    }


def lines(report: CollapseReport) -> list[str]:
    """Return the report as text: what was measured, one line a measure, and what to mind when reading it."""
    shown = [
        f"N = {report.images} images, d = {report.dim} dimensions, K = {len(report.classes)} classes with images "
        f"({_ranges(report.classes.tolist())}), {report.vectors.sizes}",
    ]
    absent = report.num_classes - len(report.classes)
    if absent:
        shown.append(f"{absent} of {report.num_classes} classes have no images and take no part.")
    shown += ["", f"{'measure':<28}{'value':>11}  {'ideal':<9} what it is"]
    described = registry().measures()
    for beginning, heading in HEADINGS.items():
        rows = [
            f"  {name:<27}{_number(value):>10}  {_ideal(name, report):<9} {described[name].meaning}"
            for name, value in report.measures.items()
            if name.startswith(beginning) and name != "nc2_etf_floor"  # which is among the remarks
        ]
        shown += [heading, *rows] if rows else []
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
        remarks.append("There is no classifier, or none that is linear: what needs its weight is left out.")
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
    texts = []
    for _, pairs in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in pairs]
        texts.append(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]))
    return ", ".join(texts[:at_most]) + (f", … to {numbers[-1]}" if len(texts) > at_most else "")
