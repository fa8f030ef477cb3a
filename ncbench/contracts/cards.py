"""Cards: what a plugin says of itself before anything heavy is imported.

A card names its implementation as ``"package.module:Class"``; the module is imported when the card is used, so that
``ncbench list`` and ``--help`` stay fast however many plugins are installed. This module imports no torch.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ncbench.contracts.errors import PluginError, described

NAME = re.compile(r"[a-z][a-z0-9_]*")
"""What users type: the name of a card, or a key of its parameters."""

LabelUse = Literal["none", "bias"]


@dataclass(frozen=True)
class Supervision:
    """The labels beyond the target that a method uses.

    The runner hands over only what is declared here; anything else raises
    :class:`~ncbench.contracts.errors.SupervisionError` when it is read.

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
            if use not in get_args(LabelUse):
                raise ValueError(f"Supervision({split}={use!r}) must be one of {', '.join(get_args(LabelUse))}")

    def covers(self, other: Supervision) -> bool:
        """Whether everything `other` uses is declared here too."""
        return (
            (self.train == "bias" or other.train == "none")
            and (self.val == "bias" or other.val == "none")
            and (self.hierarchy or not other.hierarchy)
        )

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
            return getattr(importlib.import_module(module), attribute)
        except (Exception, SystemExit) as error:  # a plugin may fail in any way while it is imported
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


@dataclass(frozen=True, kw_only=True)
class MethodCard(Card):
    """A training method; `factory` is a :class:`~ncbench.contracts.method.Method`.

    Args:
        supervision: The most that the method uses, over all its hyper-parameters.
        frame: Name of the configuration to which the classifier is frozen, for pictures: ``"simplex ETF"``, ...;
            empty if the classifier is learned.
    """

    supervision: Supervision
    frame: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.supervision, Supervision):
            raise PluginError(f"The supervision of {self.name!r} must be a Supervision, not {self.supervision!r}.")


@dataclass(frozen=True, kw_only=True)
class MetricCard(Card):
    """A family of metrics; `factory` is a :class:`~ncbench.contracts.metric.Metric`.

    Args:
        metrics: Metric name -> whether ``"higher"`` or ``"lower"`` is better, or ``"neither"``.
    """

    metrics: Mapping[str, Literal["higher", "lower", "neither"]]


@dataclass(frozen=True, kw_only=True)
class BackboneCard(Card):
    """A feature extractor; `factory` is a :class:`~ncbench.contracts.method.Backbone`."""


@dataclass(frozen=True, kw_only=True)
class LauncherCard(Card):
    """A way to run a sweep: on this machine, on a cluster."""
