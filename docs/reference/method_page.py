"""The page of methods, from their cards."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ncbench import MethodCard
from ncbench.contracts.cards import FAMILIES
from ncbench.discovery.registry import registry

_HEAD = """# Methods

Every built-in method by family, as `ncbench list methods` has them, with the labels beside the target that it uses at
the most, the method on whose finished run it builds, and its source. Their parameters are on the page of
[parameters](parameters.md).
"""


def cards_by_family() -> dict[str, list[MethodCard]]:
    """Return the cards of the built-in methods in each family that has any."""
    found = [registry().find("methods", name) for name in registry().names("methods")]
    cards: list[MethodCard] = [method.card for method in found if method.plugin.distribution == "ncbench"]
    families = {family: [card for card in cards if card.family == family] for family in FAMILIES}
    return {family: members for family, members in families.items() if members}


def methods() -> str:
    """Return the page."""
    parts = [_HEAD]
    for family, cards in cards_by_family().items():
        parts.append(f"## {family.capitalize()}\n\n{FAMILIES[family].capitalize()}.\n\n{_table(cards)}")
    return "\n".join(parts)


def _table(cards: Sequence[MethodCard]) -> str:
    lines = ["| method | what it does | labels | builds on | source |", "|---|---|---|---|---|"]
    for card in cards:
        base = _parameters(card.builds_on) if card.builds_on else ""
        cells = (_parameters(card.name), card.summary, _labels(card), base, _linked(card.citation))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _parameters(name: str) -> str:
    return f"[{name}](parameters.md#{name})"


def _labels(card: MethodCard) -> str:
    used = card.supervision
    labels = [f"bias of {split}" for split in ("train", "val") if getattr(used, split) == "bias"]
    return ", ".join([*labels, "hierarchy"] if used.hierarchy else labels)


def _linked(citation: str) -> str:
    return re.sub(r"https?://\S+[^\s.,;)]", lambda address: f"<{address[0]}>", citation)
