"""Picture of a few classes: means, classifier rows and features beside their ideals, in two and three dimensions."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncbench.contracts.errors import ConfigurationError
from ncbench.pictures.style import COLOURS, save_figure, shared_style, title

if TYPE_CHECKING:
    import torch

    from ncbench.features.snapshot import Snapshot
    from ncbench.pictures.simplex_view import View

_MEAN: Any = {"marker": "o", "markersize": 9, "markeredgecolor": "black", "linestyle": "-", "linewidth": 2}
_ROW: Any = {"marker": "s", "markersize": 7, "markeredgecolor": "black", "linestyle": "--", "linewidth": 1.5}
_IDEALS: tuple[Any, ...] = (
    {"marker": "*", "markersize": 15, "markerfacecolor": "none", "color": "0.35", "linestyle": ":"},
    {"marker": "h", "markersize": 13, "markerfacecolor": "none", "color": "0.15", "linestyle": "-.", "linewidth": 1},
    {"marker": "D", "markersize": 11, "markerfacecolor": "none", "color": "black", "linestyle": "--", "linewidth": 1},
)
_IMAGE: Any = {"marker": "o", "markersize": 3, "markeredgewidth": 0, "linestyle": "", "alpha": 0.35, "zorder": 1}
_CONFLICTING: Any = {
    **{"marker": "^", "markersize": 4.5, "markeredgewidth": 0.4, "markeredgecolor": "black"},
    **{"linestyle": "", "alpha": 0.9, "zorder": 1},
}


def plot_frame(snapshot: Snapshot, heading: str, path: Path, frame: str = "") -> Path:
    """Draw the classes of the sample, centred at their mean and projected on the span of their means.

    Three classes make a triangle and four a tetrahedron if the simplex ETF is what they form; where class counts are
    not about equal, what they make in SELI is drawn too, and what they make in another frame to which the classifier is
    frozen. Two, where there are no more or their means lie on a line, are drawn along that line and across it, in the
    direction in which the features spread most.

    Args:
        snapshot: What the run left.
        heading: Which run it is.
        path: The file, ``.png`` or ``.svg``; its folder is created if needed.
        frame: Name of the configuration to which the classifier is frozen; empty if it is learned.

    Returns:
        The path.

    Raises:
        ConfigurationError: Fewer than two classes have images, their means coincide, or the folder cannot be written.
    """
    from matplotlib.figure import Figure

    from ncbench.pictures.simplex_view import look_at

    classes = sorted(set(snapshot.labels.tolist()))
    sizes = [size for size in (2, 3, 4) if size <= len(classes)]
    views = [view for size in sizes if (view := look_at(snapshot, classes[:size], frame))]
    if not views:
        raise ConfigurationError(
            "There is no view of classes to draw: fewer than two have images, or their means coincide."
        )
    views = views[1:] or views  # a line only where there is neither a triangle nor a tetrahedron
    with shared_style():
        figure = Figure(figsize=(max(5.2 * len(views) + 0.4, 7.9), 6.6), layout="constrained")
        for position, view in enumerate(views, start=1):
            projection = "3d" if len(view.axes) == 3 else None
            _draw(view, figure.add_subplot(1, len(views), position, projection=projection))
        figure.legend(handles=_legend(views[-1]), loc="outside lower center", ncols=3)
        figure.suptitle(
            f"{title(heading)}\nTraining features, class means and classifier rows of a few classes, "
            "centred at the mean of these classes,\n"
            "projected on the span of their class means and turned onto the simplex ETF",
            fontsize=10,
        )
        return save_figure(figure, path, "--output")


def _draw(view: View, axis: Any) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for position, number in enumerate(view.classes):
        colour = COLOURS[position]
        for _, among, style in _kinds_of_images(view):
            axis.plot(*view.features[(view.position == position) & among].T.numpy(), color=colour, **style)
        for vectors, style in ((view.rows, _ROW), (view.means, _MEAN)):
            if vectors is not None:
                ends = [(0.0, end) for end in vectors[position].tolist()]
                axis.plot(*ends, color=colour, markevery=[1], **style)
        handles.append(Line2D([], [], color=colour, linewidth=5, label=f"class {number}"))
    for ideal, style in zip(view.ideals.values(), _IDEALS, strict=False):
        for edge in combinations(ideal.tolist(), 2):
            axis.plot(*zip(*edge, strict=True), **style)
    kept = ", ".join(f"{name} {100 * share:.0f} %" for name, share in view.kept.items())
    axis.set_title(f"Classes {', '.join(map(str, view.classes))}\nsquared length that the projection keeps: {kept}")
    axis.grid()
    axis.set(**{f"{letter}label": name for letter, name in zip("xyz", view.axes, strict=False)})
    axis.set_aspect("equal", adjustable="datalim")
    if len(view.axes) == 3:
        axis.locator_params(nbins=6)
        axis.view_init(elev=18, azim=-65)  # no corner of the tetrahedron hides another
    else:
        axis.set_xlabel(f"{view.axes[0]}\n(both axes: in root mean square lengths of the class means)")
    axis.legend(handles=handles, loc="upper left", handlelength=1)


def _kinds_of_images(view: View) -> list[tuple[str, torch.Tensor, Any]]:
    """Name, (N,) which images they are, and the style of their markers."""
    if view.conflicting is None:
        return [("training image", view.position >= 0, _IMAGE)]
    return [
        ("bias-aligned image", ~view.conflicting, _IMAGE),
        ("bias-conflicting image", view.conflicting, _CONFLICTING),
    ]


def _legend(view: View) -> list[Any]:
    """What the markers and lines stand for, whatever their colour."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color="0.6", **_MEAN, label="class mean (rms length 1)")]
    if view.rows is not None:
        handles.append(Line2D([], [], color="0.6", **_ROW, label="classifier row (rms length 1 before projection)"))
    handles += [Line2D([], [], **style, label=name) for name, style in zip(view.ideals, _IDEALS, strict=False)]
    for name, _, style in _kinds_of_images(view):
        handles.append(Line2D([], [], **style | {"alpha": 1, "markersize": 6}, color="0.5", label=name))
    return handles
