"""Write docs/cli.md from the commands' own help: `python docs/render_cli.py`. A test keeps the page equal to it."""

from __future__ import annotations

from pathlib import Path

import click

from ncbench.cli.main import CONTEXT, built_in_commands, cli

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 100


def render() -> str:
    """Return the page: every built-in command with its help text."""
    for command in built_in_commands():
        cli.add_command(command)
    parts = ["# Command line\n\nThe help of every command, as `ncbench COMMAND --help` prints it.\n"]
    for path, command in _walk(("ncbench",), cli):
        context = click.Context(command, info_name=" ".join(path), terminal_width=WIDTH, **CONTEXT)
        parts.append(f"## {' '.join(path)}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def _walk(path: tuple[str, ...], command: click.Command) -> list[tuple[tuple[str, ...], click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            found += _walk((*path, name), command.commands[name])
    return found


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
