"""Picture of a class geometry: Gram matrices of class means and classifier beside the ideal ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncbench.contracts.errors import ConfigurationError
from ncbench.features.class_vectors import ClassVectors
from ncbench.pictures.ideals import frozen_frame, nearly_balanced
from ncbench.pictures.style import save_figure, shared_style, title

if TYPE_CHECKING:
    import torch


def plot_grams(
    vectors: ClassVectors, measures: Mapping[str, float], heading: str, path: Path, option: str, frame: str = ""
) -> Path:
    """Draw the cosines between centred class means, and between classifier rows, beside those of the ideals.

    The ideals are the simplex ETF, SELI unless the class counts are about equal, and for the class means the frame to
    which the classifier is frozen, if it is another. Colours reach as far as the cosines of different classes do, so
    that the differences between many classes, all near 0, can be seen; the diagonal is 1 by definition.

    Args:
        vectors: What to draw.
        measures: Of all classes, by the names of `ncbench.collapse.measure`; those missing or undefined are not shown.
        heading: What the vectors are of.
        path: The file, ``.png`` or ``.svg``; its folder is created if needed.
        option: The command-line option that names the folder, for the message.
        frame: Name of the configuration to which the classifier is frozen; empty if it is learned.

    Returns:
        The path.

    Raises:
        ConfigurationError: Fewer than two classes have images, or the folder cannot be written.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    k, shown = len(vectors.counts), len(vectors.classes)
    if k < 2:
        raise ConfigurationError("There are no Gram matrices to draw: fewer than two classes have images.")
    rows = panels(vectors, measures, frame)
    limit = min(1.0, max(1e-3, *(_off_diagonal(panel) for row in rows for _, panel in row)))
    with shared_style():
        columns = max(map(len, rows))
        figure = Figure(
            figsize=(3.5 * columns + 0.9, 3.6 * len(rows) + 0.7), layout=ConstrainedLayoutEngine(h_pad=0.08)
        )
        axes = figure.subplots(len(rows), columns, squeeze=False, sharex=True, sharey=True)
        colours = colormaps["RdBu_r"].with_extremes(bad="0.8")
        for row, row_axes in zip(rows, axes, strict=True):
            for axis in row_axes[len(row) :]:
                axis.set_visible(False)
            for (name, panel), axis in zip(row, row_axes, strict=False):
                image = axis.imshow(panel.numpy(), cmap=colours, vmin=-limit, vmax=limit, interpolation="nearest")
                axis.set(title=name, xlabel="class", ylabel="class")
                axis.label_outer()
                axis.spines[:].set_visible(True)
                _tick(axis, vectors.classes.tolist())
        bar = figure.colorbar(image, ax=axes, shrink=0.8, extend="max" if limit < 1 else "neither")
        bar.set_label("cosine (no unit)" + ("; the diagonal is 1" if limit < 1 else ""))
        part = f" ({shown} drawn)" if k > shown else ""
        figure.suptitle(
            f"{title(heading)}\n"
            f"Cosines between {k} classes{part} in {vectors.means.shape[1]} dimensions, {vectors.sizes}\n"
            "distance: between the Gram matrices scaled to Frobenius norm 1, 0 to 2",
            fontsize=10,
        )
        return save_figure(figure, path, option)


def panels(
    vectors: ClassVectors, measures: Mapping[str, float], frame: str = ""
) -> list[list[tuple[str, torch.Tensor]]]:
    """Rows of (title, cosines), of the class means and of the classifier: what was measured, then its ideals.

    Args:
        vectors: As of :func:`plot_grams`.
        measures: As of :func:`plot_grams`.
        frame: As of :func:`plot_grams`.
    """
    from ncbench.collapse import gram_distance
    from ncbench.collapse.gram import seli_gram, simplex_gram

    def distance(measure: str) -> str:
        value = measures.get(measure, math.nan)
        return "" if math.isnan(value) else f"\ndistance {value:.4f}"

    etf = _cosines_of_gram(simplex_gram(len(vectors.counts), vectors.counts.device).of(vectors.drawn))
    measured = [("class means", "_means", vectors.means, -0.5, "")]
    if vectors.weight is not None:
        measured.append(("classifier", "_classifier", vectors.weight, 0.5, "_classifier"))
    floor = f" (floor {measures['nc2_etf_floor']:.4f})" if measures.get("nc2_etf_floor", 0) > 0 else ""
    named = frame if frame.isupper() else f"the {frame}"  # a name in capitals alone, such as SELI, takes no article
    rows = []
    for name, kind, of_classes, power, suffix in measured:
        origin = f"frozen to {named}" if frame and of_classes is vectors.weight else "measured"
        row = [
            (f"{name}: {origin}", _cosines_of_gram(_gram(of_classes))),
            (f"{name}: simplex ETF{distance(f'nc2_etf_distance{suffix}')}{floor}", etf),
        ]
        if not nearly_balanced(vectors.counts.tolist()):
            seli = _cosines_of_gram(seli_gram(vectors.counts, power).of(vectors.drawn))
            row.append((f"{name}: SELI for these counts{distance(f'seli_distance{kind}')}", seli))
        rows.append(row)
    own = frozen_frame(vectors) if frame else None
    if own is not None:
        gram = own @ own.T
        # The record has no such distance; of many classes only a part is here to measure it.
        complete = len(vectors.classes) == len(vectors.counts)
        told = f"\ndistance {gram_distance(_gram(vectors.means), gram):.4f}" if complete else ""
        rows[0].append((f"class means: {frame}{told}", _cosines_of_gram(gram)))
    return rows


def _gram(vectors: torch.Tensor) -> torch.Tensor:
    """(n, n) inner products, up to a common factor that keeps them finite."""
    from ncbench.collapse.precision import unit_scale

    scaled = vectors * unit_scale(vectors)
    return scaled @ scaled.T


def _cosines_of_gram(gram: torch.Tensor) -> torch.Tensor:
    """(n, n) cosines from inner products; nan for a vector of length zero, which has no direction."""
    lengths = gram.diagonal().clamp_min(0).sqrt()
    return gram / lengths[:, None] / lengths


def _off_diagonal(cosines: torch.Tensor) -> float:
    """Return the largest |cosine| of two different classes that is a number."""
    return float(cosines.clone().fill_diagonal_(0).abs().nan_to_num().max())


def _tick(axis: Any, classes: list[int]) -> None:
    """Label rows and columns with class numbers, about ten of them, the first included."""
    step = math.ceil(len(classes) / 10) if len(classes) > 12 else 1
    labels = [str(number) for number in classes[::step]]
    places = range(0, len(classes), step)
    axis.set_xticks(places, labels, rotation=90 if max(map(len, labels)) > 3 else 0)
    axis.set_yticks(places, labels)
