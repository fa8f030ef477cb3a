"""``ncbench list``: what the installed plugins bring."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from ncbench.cli import options
from ncbench.cli.terminal import wrapped
from ncbench.contracts.cards import MethodCard, MetricCard
from ncbench.discovery.registry import KINDS, registry


@click.command("list")
@click.argument("kind", type=click.Choice(list(KINDS)))
@options.as_json
def list_cards(kind: str, as_json: bool) -> None:
    """List what is installed."""
    found = [registered for name in registry().names(kind) for registered in registry().cards[kind][name]]
    if as_json:
        rows = [
            {
                **asdict(registered.card),
                "plugin": {"distribution": registered.plugin.distribution, "version": registered.plugin.version},
            }
            for registered in found
        ]
        click.echo(json.dumps(rows, indent=1, default=str))
        return
    if not found:
        click.echo(f"No {kind} are installed.")
        return
    width = max(len(registered.card.name) for registered in found)
    for registered in found:
        card, distribution = registered.card, registered.plugin.distribution
        origin = "" if distribution == "ncbench" else f"  [{distribution}]"
        click.echo(wrapped(f"{card.name:<{width}}  {card.summary}{_note(card)}{origin}", indent=width + 2))
    if kind == "methods":
        legend = (
            "(train=bias: uses the bias attribute of training images. "
            "hierarchy: needs a dataset with a class hierarchy.)"
        )
        click.echo(f"\n{wrapped(legend)}")
        click.echo("Parameters and recipe keys: a wrong one is answered with all that there are.")


def _note(card: object) -> str:
    if isinstance(card, MethodCard):
        used = [f"{split}=bias" for split in ("train", "val") if getattr(card.supervision, split) == "bias"]
        used += ["hierarchy"] if card.supervision.hierarchy else []
        return f" ({', '.join(used)})" if used else ""
    if isinstance(card, MetricCard):
        return f": {', '.join(card.metrics)}"
    return ""
