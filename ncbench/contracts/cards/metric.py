"""The card of a metric family: what each of its numbers is, and how it is shown and drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args, get_type_hints

from ncbench.contracts.cards.card import Card
from ncbench.contracts.errors import PluginError

SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What one number of a metric family is, and how it is shown.

    Args:
        label: Its name in a heading or a legend, a word or two.
        direction: Whether ``"higher"`` or ``"lower"`` is better, or ``"neither"``.
        meaning: What it is, in one sentence.
        unit: ``"%"`` for a fraction, which is shown times 100; ``"LCA height"``, the height of the lowest common
            ancestor of two classes in the class hierarchy; or empty.
        decimals: Digits shown after the point; None for four significant digits.
        bounds: The least and the largest number that it can be. A fraction is from 0 to 1 and a height from 0 to 100,
            whatever stands here; of anything else a record may state what it likes unless this says better.
        splits: The splits it is computed on.
        from_counts: Whether it follows from the integer counts in the record's `groups`.
        needs_bias: Whether it needs the bias labels of its split.
        needs_groups: Whether it needs inferred groups of its split.
        shown_in: ``"progress"`` if it is shown wherever metrics are, also while a run goes on; ``"tables"`` if in
            tables and pictures alone; ``"record"`` if it is kept in the record and nothing more.

    Raises:
        PluginError: A field is malformed.
    """

    label: str
    direction: Literal["higher", "lower", "neither"]
    meaning: str = ""
    unit: Literal["%", "LCA height", ""] = ""
    decimals: int | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)
    splits: tuple[SplitName, ...] = ("train", "val", "test")
    from_counts: bool = False
    needs_bias: bool = False
    needs_groups: bool = False
    shown_in: Literal["progress", "tables", "record"] = "progress"

    def __post_init__(self) -> None:
        if not isinstance(self.label, str) or not self.label.strip() or "\n" in self.label:
            raise PluginError(f"The label of a measure must be one line, not {self.label!r}.")
        if not isinstance(self.meaning, str) or "\n" in self.meaning:
            raise PluginError(f"The meaning of the measure {self.label!r} must be one line, not {self.meaning!r}.")
        for name in ("direction", "unit", "shown_in"):
            self._require(name, getattr(self, name) in _CHOICES[name], _CHOICES[name])
        fits = not isinstance(self.splits, str) and bool(self.splits) and {*self.splits} <= {*_CHOICES["splits"]}
        self._require("splits", fits, _CHOICES["splits"])
        fits = self.decimals is None or (type(self.decimals) is int and 0 <= self.decimals <= 12)
        self._require("decimals", fits, ("None", "0 to 12"))
        object.__setattr__(self, "splits", tuple(self.splits))
        object.__setattr__(self, "bounds", _BOUNDS.get(self.unit) or self._sound_bounds())

    def _sound_bounds(self) -> tuple[float, float]:
        try:
            least, largest = map(float, self.bounds)
        except (TypeError, ValueError):
            least, largest = math.nan, math.nan
        if not least < largest:
            raise PluginError(
                f"The bounds of the measure {self.label!r} must be the least and the largest number it can be, not "
                f"{self.bounds!r}."
            )
        return least, largest

    def _require(self, name: str, fits: bool, choices: Sequence[str]) -> None:
        if not fits:
            listed = ", ".join(choice or "nothing" for choice in choices)
            raise PluginError(
                f"The {name} of the measure {self.label!r} must be among {listed}, not {getattr(self, name)!r}."
            )

    @property
    def scale(self) -> int:
        """What a value is multiplied with to be shown in its unit."""
        return 100 if self.unit == "%" else 1

    def text(self, value: float, signed: bool = False) -> str:
        """Return a value as it is shown, without its unit; with a ``+`` where it is positive if `signed`."""
        form = ".4g" if self.decimals is None else f".{self.decimals}f"
        return f"{self.scale * value:{'+' if signed else ''}{form}}"


_BOUNDS: Mapping[str, tuple[float, float]] = {"%": (0.0, 1.0), "LCA height": (0.0, 100.0)}

_CHOICES: Mapping[str, Sequence[str]] = {
    **{name: get_args(get_type_hints(Measure)[name]) for name in ("direction", "unit", "shown_in")},
    "splits": get_args(SplitName),
}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One set of axes in a picture of runs over their epochs.

    Args:
        title: What it shows.
        curves: (metric, what the legend calls it) of each curve, three at most: of one run solid, dashed, dotted; of
            several with markers of their own, as dashes tell the runs apart.
        split: Whose numbers are drawn; ``"losses"`` for the terms of the training loss.
        axis: Label of the y axis, TeX between dollar signs.
        logarithmic: Whether y is logarithmic.
        kinds: The pictures it is in: those of ``ncbench plot --kind curves``, of ``--kind geometry``, or of both.
    """

    title: str
    curves: tuple[tuple[str, str], ...]
    split: Literal["train", "val", "test", "losses"] = "test"
    axis: str = ""
    logarithmic: bool = False
    kinds: tuple[Literal["curves", "geometry"], ...] = ("curves",)


@dataclass(frozen=True, kw_only=True)
class MetricCard(Card):
    """A family of metrics; `factory` is a :class:`~ncbench.contracts.metric.Metric`.

    Args:
        metrics: Metric name -> what it is. The direction alone, as in ``{"margin_mean": "higher"}``, stands for a
            :class:`Measure` whose label is the name with spaces.
        panels: How pictures draw them over the epochs. Without any, each metric that is shown has a panel of its own
            among the curves.

    Raises:
        PluginError: It describes a metric in another form.
    """

    metrics: Mapping[str, Measure]
    panels: Sequence[Panel] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.metrics, Mapping):
            raise PluginError(f"The metrics of {self.name!r} must map each name to a Measure, not {self.metrics!r}.")
        object.__setattr__(self, "metrics", {name: self._measure(name, each) for name, each in self.metrics.items()})
        if not all(isinstance(panel, Panel) for panel in self.panels):
            raise PluginError(f"The panels of {self.name!r} must each be a Panel.")

    def _measure(self, name: str, described: object) -> Measure:
        if isinstance(described, str):
            return Measure(label=name.replace("_", " "), direction=cast("Any", described))
        if not isinstance(described, Measure):
            raise PluginError(f"The metric {name!r} of {self.name!r} must be a Measure, not {described!r}.")
        return described
