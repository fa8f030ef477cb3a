"""``ncbench list``: what the installed plugins bring."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from ncbench.cli import options
from ncbench.cli.terminal import wrapped
from ncbench.contracts.cards import FAMILIES, MethodCard, MetricCard, Supervision
from ncbench.discovery.registry import KINDS, Registered, registry

_OTHER = "other"
_USES = ("none", "train=bias", "val=bias", "hierarchy")


@click.command("list")
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.option("--family", type=click.Choice([*FAMILIES, _OTHER]), help="Only the methods of a family.")
@click.option(
    "--supervision",
    type=click.Choice(_USES),
    help="Only the methods that use such labels beside the target; none for those that use no others.",
)
@options.plugin_files
@options.as_json
def list_cards(kind: str, family: str | None, supervision: str | None, as_json: bool) -> None:
    """List what is installed; the methods by family."""
    found = [registered for name in registry().names(kind) for registered in registry().cards[kind][name]]
    if family or supervision:
        if kind != "methods":
            raise click.UsageError("--family and --supervision are of methods: ncbench list methods.")
        found = [each for each in found if _is_wanted(each.card, family, supervision)]
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
        click.echo(f"No {'such ' if family or supervision else ''}{kind} are installed.")
        return
    width = max(len(registered.card.name) for registered in found)
    if kind != "methods":
        _show(found, width)
        return
    for name, meaning in [*FAMILIES.items(), (_OTHER, "what belongs to none of these families")]:
        if members := [each for each in found if _family(each.card) == name]:
            click.echo(wrapped(f"{name}: {meaning}", indent=2))
            _show(members, width, margin=2)
            click.echo()
    legend = (
        "(train=bias: uses the bias attribute of training images; val=bias: of validation images. "
        "hierarchy: needs a dataset with a class hierarchy.)"
    )
    click.echo(wrapped(legend))
    click.echo("Parameters and recipe keys: a wrong one is answered with all that there are.")


def _is_wanted(card: MethodCard, family: str | None, supervision: str | None) -> bool:
    used = _used(card.supervision) or ["none"]
    return (family is None or family == _family(card)) and (supervision is None or supervision in used)


def _family(card: MethodCard) -> str:
    return card.family or _OTHER


def _used(supervision: Supervision) -> list[str]:
    used = [f"{split}=bias" for split in ("train", "val") if getattr(supervision, split) == "bias"]
    return [*used, "hierarchy"] if supervision.hierarchy else used


def _show(found: Sequence[Registered], width: int, margin: int = 0) -> None:
    for registered in found:
        card, distribution = registered.card, registered.plugin.distribution
        origin = "" if distribution == "ncbench" else f"  [{distribution}]"
        line = f"{' ' * margin}{card.name:<{width}}  {card.summary}{_note(card)}{origin}"
        click.echo(wrapped(line, indent=margin + width + 2))


def _note(card: object) -> str:
    if isinstance(card, MethodCard) and (used := _used(card.supervision)):
        return f" ({', '.join(used)})"
    return f": {', '.join(card.metrics)}" if isinstance(card, MetricCard) else ""
