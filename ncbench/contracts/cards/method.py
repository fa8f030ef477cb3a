"""The cards of methods and of ways to infer groups: the labels they use, and the settings their sources report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from ncbench.contracts.cards.card import Card
from ncbench.contracts.errors import PluginError

LabelUse = Literal["none", "bias"]
_USES = get_args(LabelUse)


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
