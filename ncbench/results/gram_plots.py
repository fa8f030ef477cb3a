"""Picture of a class geometry: Gram matrices of class means and classifier beside the ideal ones."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncbench.contracts.errors import ConfigurationError
from ncbench.contracts.files import write_atomically

if TYPE_CHECKING:
    import torch

    from ncbench.results.collapse_report import CollapseReport

MOST_CLASSES = 300  # drawn; of more, some would fall between the picture's pixels and the diagonal would have gaps


def plot_grams(report: CollapseReport, folder: Path) -> list[Path]:
    """Draw the cosines between centred class means, and between classifier rows, beside those of the ideals.

    The ideals are the simplex ETF and, when the class counts differ, SELI. Only classes with images are drawn; of more
    than `MOST_CLASSES` an evenly spaced part. Colours reach as far as the cosines of different classes do, so that the
    differences between many classes, all near 0, can be seen; the diagonal is 1 by definition.

    Args:
        report: What was measured.
        folder: Where ``grams.png`` and ``grams.svg`` go; created if needed.

    Returns:
        The two paths.

    Raises:
        ConfigurationError: Fewer than two classes have images, or the folder cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    k = len(report.classes)
    if k < 2:
        raise ConfigurationError("There is nothing to draw: fewer than two classes have images. Leave out --plot.")
    rows = _panels(report)
    furthest = max(_off_diagonal(panel) for row in rows for _, panel in row)
    limit = min(1.0, max(furthest, 1e-3))
    style: Any = {"svg.hashsalt": "ncbench", "font.size": 9}
    with plt.rc_context(style):
        columns = len(rows[0])
        figure, axes = plt.subplots(
            len(rows),
            columns,
            figsize=(3.5 * columns + 0.9, 3.6 * len(rows) + 0.5),
            squeeze=False,
            layout="constrained",
        )
        colours = plt.get_cmap("RdBu_r").with_extremes(bad="0.8")
        for row, row_axes in zip(rows, axes, strict=True):
            for (title, panel), axis in zip(row, row_axes, strict=True):
                image = axis.imshow(panel.numpy(), cmap=colours, vmin=-limit, vmax=limit, interpolation="nearest")
                axis.set_title(title, fontsize=9)
                axis.set_xlabel("class")
                axis.set_ylabel("class")
                _tick(axis, _drawn(report).tolist())
        bar = figure.colorbar(image, ax=axes, shrink=0.8, extend="max" if limit < 1 else "neither")
        bar.set_label("cosine (no unit)" + ("; the diagonal is 1" if limit < 1 else ""))
        part = f" ({MOST_CLASSES} drawn)" if k > MOST_CLASSES else ""
        figure.suptitle(
            f"Cosines between {k} classes{part} in {report.dim} dimensions, {report.sizes}\n"
            "distance: between the Gram matrices, lengths included",
            fontsize=10,
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            paths = [folder / "grams.png", folder / "grams.svg"]
            for path in paths:
                buffer = io.BytesIO()
                # Without a date in it the SVG of the same features is the same file.
                metadata = {"Date": None} if path.suffix == ".svg" else None
                figure.savefig(buffer, format=path.suffix[1:], dpi=140, metadata=metadata)
                write_atomically(path, buffer.getvalue())
        except OSError as error:
            raise ConfigurationError(
                f"{folder} cannot be written ({error.strerror}). Choose another --plot."
            ) from error
        finally:
            plt.close(figure)
    return paths


def _panels(report: CollapseReport) -> list[list[tuple[str, torch.Tensor]]]:
    """Rows of (title, cosines): what was measured, then its ideals."""
    import torch

    from ncbench.collapse.gram import IdealGram, seli_gram, simplex_gram

    index = _indices(len(report.classes))

    def entries(ideal: IdealGram) -> torch.Tensor:
        level = ideal.level[index]  # only the entries drawn: the whole matrix may be large
        return _cosines_of_gram(ideal.between[level][:, level] + torch.diag(ideal.own[level]))

    etf = entries(simplex_gram(len(report.classes), report.counts.device))
    measured = [("class means", "means", report.means - report.means.mean(0), -0.5, "")]
    if report.weight is not None:
        measured.append(("classifier", "classifier", report.weight.double(), 0.5, "_classifier"))
    floor = f" (floor {report.floor:.4g})" if report.floor > 0 else ""
    rows = []
    for name, kind, vectors, power, suffix in measured:
        chosen = vectors[index]
        row = [
            (f"{name}: measured", _cosines_of_gram(chosen @ chosen.T)),
            (f"{name}: simplex ETF\ndistance {report.measures[f'nc2_etf_distance{suffix}']:.4g}{floor}", etf),
        ]
        if not report.balanced:
            distance = report.measures[f"seli_distance_{kind}"]
            row.append(
                (f"{name}: SELI for these counts\ndistance {distance:.4g}", entries(seli_gram(report.counts, power)))
            )
        rows.append(row)
    return rows


def _cosines_of_gram(gram: torch.Tensor) -> torch.Tensor:
    """(n, n) cosines from inner products; nan for a vector of length zero, which has no direction."""
    lengths = gram.diagonal().clamp_min(0).sqrt()
    return gram / lengths[:, None] / lengths


def _off_diagonal(cosines: torch.Tensor) -> float:
    """The largest |cosine| of two different classes that is a number."""
    import torch

    different = cosines[~torch.eye(len(cosines), dtype=torch.bool)]
    return float(different.abs().nan_to_num(nan=0.0).max())


def _indices(num_classes: int) -> torch.Tensor:
    import torch

    return torch.linspace(0, num_classes - 1, min(num_classes, MOST_CLASSES), dtype=torch.float64).round().long()


def _drawn(report: CollapseReport) -> torch.Tensor:
    return report.classes[_indices(len(report.classes))]


def _tick(axis: Any, classes: list[int]) -> None:
    """Label rows and columns with class numbers, about ten of them, the first included."""
    step = max(1, math.ceil(len(classes) / 10)) if len(classes) > 12 else 1
    places = list(range(0, len(classes), step))
    labels = [str(classes[place]) for place in places]
    rotated = 90 if max(map(len, labels)) > 3 else 0
    axis.set_xticks(places, labels, rotation=rotated)
    axis.set_yticks(places, labels)
