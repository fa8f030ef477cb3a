"""Cards: what a plugin says of itself before anything heavy is imported.

A card names its implementation as ``"package.module:Class"``; the module is imported when the card is used, so that
``ncbench list`` and ``--help`` stay fast however many plugins are installed. This module imports no torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, cast, get_args, get_type_hints

from ncbench.contracts.errors import PluginError, described

NAME = re.compile(r"[a-z][a-z0-9_]*")
"""What users type: the name of a card, or a key of its parameters."""

LabelUse = Literal["none", "bias"]
_USES = get_args(LabelUse)
SplitName = Literal["train", "val", "test"]


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what is printed to standard output to standard error, also by libraries and programs that a block calls."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        with contextlib.suppress(OSError):  # either of them may be closed
            kept = os.dup(1)
            stack.callback(os.close, kept)
            os.dup2(2, 1)
            stack.callback(os.dup2, kept, 1)
            if os.name == "posix":  # libraries in C keep what they print until the process ends, unless they are told
                stack.callback(ctypes.CDLL(None).fflush, None)
        yield


@dataclass(frozen=True)
class Supervision:
    """The labels beyond the target that a method uses.

    The runner hands over only what is declared here; anything else raises
    :class:`~ncbench.contracts.errors.SupervisionError` when it is read. That guards against slips, not against intent:
    in one process, code that looks for labels finds them.

    Args:
        train: ``"bias"`` if the bias attribute of training images is used.
        val: ``"bias"`` if the bias attribute of validation images is used, by the method or to select the model.
        hierarchy: Whether the class hierarchy is used.

    Raises:
        ValueError: A value is none of these.
    """

    train: LabelUse = "none"
    val: LabelUse = "none"
    hierarchy: bool = False

    def __post_init__(self) -> None:
        for split, use in (("train", self.train), ("val", self.val)):
            if use not in _USES:
                raise ValueError(f"Supervision({split}={use!r}) must be one of {', '.join(_USES)}")

    def covers(self, other: Supervision) -> bool:
        """Whether everything `other` uses is declared here too."""
        return self.joined(other) == self

    def joined(self, other: Supervision) -> Supervision:
        """Return what either uses."""
        train, val = (max(getattr(self, split), getattr(other, split), key=_USES.index) for split in ("train", "val"))
        return Supervision(train, val, self.hierarchy or other.hierarchy)

    def as_dict(self) -> dict[str, str | bool]:
        """Return the declaration as plain values, for the record."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is common to every card.

    Args:
        name: Lower-case name users type, unique within its kind.
        summary: One line for ``ncbench list``.
        factory: Where the implementation is, as ``"package.module:Class"``.
        citation: Author, title, venue and year of the source; empty if there is none.

    Raises:
        PluginError: A field is malformed.
    """

    name: str
    summary: str
    factory: str
    citation: str = ""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.type in ("str", str) and not isinstance(value, str):
                raise PluginError(f"The {each.name} of a card must be text, not {type(value).__name__}.")
        if not NAME.fullmatch(self.name):
            raise PluginError(f"The card name {self.name!r} must be lower-case letters, digits and underscores.")
        if not self.summary or "\n" in self.summary:
            raise PluginError(f"The card {self.name!r} needs a summary of exactly one line.")
        module, _, attribute = self.factory.partition(":")
        if not module or not attribute.isidentifier():
            raise PluginError(f"The factory {self.factory!r} of {self.name!r} must be 'package.module:Class'.")

    def load(self) -> Any:
        """Import and return the class named by `factory`.

        Raises:
            PluginError: The module or the class cannot be imported; the cause is chained.
        """
        module, _, attribute = self.factory.partition(":")
        try:
            with stdout_to_stderr():  # where `--json` prints nobody else may
                return getattr(importlib.import_module(module), attribute)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may fail in any way while it is imported
            raise PluginError(
                f"{self.name!r} cannot be used: importing {self.factory} failed ({described(error)})."
            ) from error


@dataclass(frozen=True, kw_only=True)
class DatasetCard(Card):
    """A dataset; `factory` is a :class:`~ncbench.contracts.dataset.Dataset`.

    Args:
        manifest: Its manifest as ``"package:path/to/file.yaml"``, a resource of an installed package.
    """

    manifest: str


@dataclass(frozen=True)
class Published:
    """The settings a method's source reports for one dataset; they become the defaults of that pair.

    Args:
        source: Where they are published.
        parameters: Values for the method's parameters.
        recipe: Values for the recipe.
        backbone: Spec of the backbone, if the source's differs from the dataset's default.
        tuned_on_test: How they were chosen, if anybody ever looked at test results for it, as the end of a sentence
            that begins with them: ``"picked by the test accuracy of short runs"``. Rows that keep any of them never
            rank, and the method's card has to name them too.
    """

    source: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    backbone: str | None = None
    tuned_on_test: str = ""


FAMILIES: Mapping[str, str] = {
    "baseline": "what every other method is compared with",
    "balancing": "images drawn, weighted or stressed, and features kept from starving, so that what is rare counts",
    "imbalance": "margins, shifts and weights that follow the counts of classes or groups",
    "frames": "classifiers and primes that are fixed to a configuration of the theory",
    "invariance": "features or risks that are to be the same whatever the bias attribute",
    "two networks": "a biased network, and one that learns from what it gets wrong",
    "last layer": "the classifier alone, fitted anew on the features of a finished run",
    "contrastive": "features pulled together and pushed apart in pairs",
    "augmentation": "images and labels mixed or masked, so that the bias predicts less",
    "hierarchy": "losses, frames and decisions that follow the tree of classes",
}
"""Family of methods -> what its methods have in common."""


@dataclass(frozen=True, kw_only=True)
class MethodCard(Card):
    """A training method; `factory` is a :class:`~ncbench.contracts.method.Method`.

    Args:
        supervision: The most that the method uses, over all its hyper-parameters.
        family: The one of `FAMILIES` with which it is listed; empty for none of them.
        frame: Name of the configuration to which the classifier is frozen, for pictures: ``"simplex ETF"``, ...;
            empty if the classifier is learned.
        builds_on: Name of the method on whose finished runs it builds; empty if it builds on none.
        trains: Whether it trains anything by epochs; False if its stages are none.
        refits: Whether it does, and then fits something on in `finish`, so that the metrics of epochs are those of
            another model than the one it ends with. The board reads it of ncbench's own methods.
        tuned_on_test: Dataset name -> settings that were chosen by looking at test results: its published ones that say
            so, and others that were ever used. The leaderboard reads them here, since importing the method would import
            torch.

    Raises:
        PluginError: A field is malformed.
    """

    supervision: Supervision
    family: str = ""
    frame: str = ""
    builds_on: str = ""
    trains: bool = True
    refits: bool = False
    tuned_on_test: Mapping[str, Sequence[Published]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.supervision, Supervision):
            raise PluginError(f"The supervision of {self.name!r} must be a Supervision, not {self.supervision!r}.")
        if self.family and self.family not in FAMILIES:
            raise PluginError(
                f"The family of {self.name!r} must be empty or among {', '.join(FAMILIES)}, not {self.family!r}."
            )
        if not isinstance(self.tuned_on_test, Mapping):
            raise PluginError(f"tuned_on_test of {self.name!r} must map datasets to settings.")
        for dataset, settings in self.tuned_on_test.items():
            if not isinstance(settings, Sequence) or not all(
                isinstance(each, Published) and each.tuned_on_test for each in settings
            ):
                raise PluginError(
                    f"tuned_on_test of {self.name!r} must list Published settings that say how they were chosen, not "
                    f"{settings!r} for {dataset!r}."
                )

    def refuse_unnamed_tuning(self, published: Mapping[str, Published]) -> None:
        """Refuse published settings that say they were tuned on test, and that this card does not name.

        Raises:
            PluginError: There are some, so that the leaderboard would rank their rows.
        """
        for dataset, settings in published.items():
            named = self.tuned_on_test.get(dataset, ())
            if isinstance(settings, Published) and settings.tuned_on_test and settings not in named:
                raise PluginError(
                    f"The published settings of {self.name!r} for {dataset!r} are tuned_on_test, which its MethodCard "
                    f"has to say too: tuned_on_test={{{dataset!r}: [the same settings]}}."
                )


@dataclass(frozen=True, kw_only=True)
class GroupsCard(MethodCard):
    """A way to infer groups; `factory` is a :class:`~ncbench.contracts.method.GroupInference`."""


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
        curves: (metric, what the legend calls it) of each curve, three at most: solid, dashed, dotted.
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


@dataclass(frozen=True, kw_only=True)
class BackboneCard(Card):
    """A feature extractor; `factory` is a :class:`~ncbench.contracts.method.Backbone`."""


@dataclass(frozen=True, kw_only=True)
class LauncherCard(Card):
    """A way to run a sweep: on this machine, on a cluster."""
