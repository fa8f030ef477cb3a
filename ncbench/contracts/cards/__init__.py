"""Cards: what a plugin says of itself before anything heavy is imported.

A card names its implementation as ``"package.module:Class"``; the module is imported when the card is used, so that
``ncbench list`` and ``--help`` stay fast however many plugins are installed. Nothing here imports torch.
"""

from ncbench.contracts.cards.card import (
    NAME,
    BackboneCard,
    Card,
    DatasetCard,
    LauncherCard,
    TrackerCard,
    stdout_to_stderr,
)
from ncbench.contracts.cards.method import FAMILIES, GroupsCard, LabelUse, MethodCard, Published, Supervision
from ncbench.contracts.cards.metric import Measure, MetricCard, Panel, SplitName

__all__ = [
    "FAMILIES",
    "NAME",
    "BackboneCard",
    "Card",
    "DatasetCard",
    "GroupsCard",
    "LabelUse",
    "LauncherCard",
    "Measure",
    "MethodCard",
    "MetricCard",
    "Panel",
    "Published",
    "SplitName",
    "Supervision",
    "TrackerCard",
    "stdout_to_stderr",
]
