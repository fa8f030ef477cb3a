"""``ncbench plugins``: which plugins are in use, and which were skipped and why."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from ncbench.plugins.discovery import registry


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plugins(as_json: bool) -> None:
    """List the plugins, and what is wrong with broken ones."""
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
