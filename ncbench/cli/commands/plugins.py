"""``ncbench plugins``: which plugins are in use and which were skipped; writing and checking one's own."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from ncbench.cli import options
from ncbench.cli.terminal import show
from ncbench.discovery.registry import registry
from ncbench.discovery.scaffold import STARTS, new_package


@click.group(invoke_without_command=True)
@options.as_json
@click.pass_context
def plugins(context: click.Context, as_json: bool) -> None:
    """List the plugins, and what is wrong with broken ones; write and check your own."""
    if context.invoked_subcommand is None:
        _list(as_json)


@plugins.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(list(STARTS)), default="method", show_default=True, help="What it brings.")
@click.option(
    "--output",
    default=".",
    show_default=True,
    metavar="DIR",
    type=options.PathOption(file_okay=False),
    help="Folder to write the package into.",
)
def new(name: str, kind: str, output: Path) -> None:
    """Write a small package that brings a plugin NAME, works, and is yours to edit."""
    folder = new_package(name, kind, output)
    show(f"Written: {folder}")
    show(f"Next: pip install -e {folder}, then ncbench plugins check {name}.")


@plugins.command()
@click.argument("name", metavar="NAME")
@click.option("--kind", type=click.Choice(list(STARTS)), help="Needed where several kinds have the name.")
def check(name: str, kind: str | None) -> int:
    """Check that the plugin NAME keeps its contract, on tiny data on the CPU; exit with 1 if it does not.

    NAME may be a spec, as in resample:by=class, to check it with these parameters.
    """
    from ncbench.conformance.kit import Report, checks, outcomes

    found, ended = checks(name, kind), []
    for outcome in outcomes(found):
        click.echo(str(outcome))
        ended.append(outcome)
    report = Report(str(found[0].subject), tuple(ended))
    click.echo(report.summary)
    return 0 if report.ok else 1


def _list(as_json: bool) -> None:
    found = registry()
    rows = [{**asdict(plugin), "status": "in use", "reason": ""} for plugin in found.plugins]
    rows += [{**asdict(broken.plugin), "status": "skipped", "reason": broken.reason} for broken in found.broken]
    if as_json:
        click.echo(json.dumps({"plugins": rows, "conflicts": found.conflicts()}, indent=1))
        return
    for row in rows:
        reason = f": {row['reason']}" if row["reason"] else ""
        click.echo(f"{row['distribution']} {row['version']}  {row['entry_point']}  {row['status']}{reason}")
    for conflict in found.conflicts():
        click.echo(conflict)
