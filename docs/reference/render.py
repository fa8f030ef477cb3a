"""Write the pages that follow from the code: `python docs/reference/render.py [FOLDER]`; a test keeps them so."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click
from dataset_page import datasets
from method_page import cards_by_family, methods

from ncbench.cli.main import CONTEXT, built_in_commands, cli
from ncbench.conformance.kit import KINDS
from ncbench.contracts.cards import Card
from ncbench.contracts.dataset import DatasetParameters
from ncbench.contracts.method import Method
from ncbench.contracts.parameters import LogUniform, Values
from ncbench.contracts.soundness import sound_search_space
from ncbench.contracts.specs import format_scalar
from ncbench.discovery.registry import plural, registry
from ncbench.training.recipe import Recipe

WIDTH = 100


def render() -> dict[str, str]:
    """Return every generated page's name and content."""
    return {
        "checks.md": checks(),
        "cli.md": command_line(),
        "datasets.md": datasets(),
        "methods.md": methods(),
        "parameters.md": parameters(),
    }


def checks() -> str:
    """Return the page of the checks that a plugin of each kind is put to."""
    parts = [
        "# Checks of plugins\n\nWhat `ncbench plugins check NAME` asks of a plugin, on the CPU and on tiny data. In a "
        "plugin's own tests:\n\n```python\nfrom ncbench import conformance\n\n\n"
        '@conformance.parametrize("my_method", expected_failures={"trains_in_bfloat16": "its loss needs float32"})\n'
        "def test_it_conforms(check):\n    check()\n```\n\n`expected_failures` is for checks that are known to fail, "
        "each with the reason; one that passes after all is a failure.\n`conformance.check(NAME)` returns a report, "
        "whose `ok` is false if nothing was checked, and `conformance.checks(NAME)` the\nchecks themselves.\n"
    ]
    for kind in KINDS:
        rows = importlib.import_module(f"ncbench.conformance.properties.{plural(kind)}").CHECKS
        lines = ["| check | what must hold |", "|---|---|"]
        lines += [f"| `{row.__name__}` | {_text(row)} |" for row in rows]
        parts.append(f"## Of {kind if kind == 'groups' else f'a {kind}'}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _text(function: Callable[..., object]) -> str:
    return " ".join((inspect.getdoc(function) or "").split()).replace("``", "`")


def parameters() -> str:
    """Return the page of the recipe's keys and of the parameters of every built-in plugin."""
    parts = [
        "# Parameters\n\nA spec names a dataset, a method, groups, a backbone, a launcher or a tracker with its "
        "parameters:\n`NAME[:key=value,...]`. The recipe is changed with `--set recipe.KEY=VALUE`; a dataset's "
        "manifest and a method's\npublished settings give its defaults for a pair of them.\n",
        f"## The recipe\n\n{_table(Recipe.describe())}",
    ]
    common = "; ".join(_tried(key, values) for key, values in sound_search_space(Method).items())
    parts.append(
        f"## Methods\n\nA search tries {common}; of a method whose space is another one, its section says so.\n"
    )
    for family, cards in cards_by_family().items():
        parts.append(f"### {family.capitalize()}\n")
        for card in cards:
            section = _section(card, card.load().Parameters.describe(), "####")
            parts.append(f"{section}{_searched(sound_search_space(card.load()))}")
    for kind in ("groups", "datasets", "backbones", "launchers", "trackers"):
        parts.append(f"## {kind.capitalize()}\n")
        for name in registry().names(kind):
            found = registry().find(kind, name)
            if found.plugin.distribution == "ncbench":
                factory = found.card.load()
                of_dataset = kind == "datasets"
                rows = DatasetParameters.describe(factory) if of_dataset else factory.Parameters.describe()
                parts.append(_section(found.card, rows, "###"))
    return "\n".join(parts)


def _searched(space: Mapping[str, Values]) -> str:
    """Return what a search tries beside, or instead of, what it tries of every method; empty if that is all."""
    common = sound_search_space(Method)
    own = [_tried(key, values) for key, values in space.items() if common.get(key) != values]
    left_out = not common.keys() <= space.keys()
    if not own:
        return "\nA search tries nothing.\n" if left_out else ""
    return f"\nA search tries {'; '.join(own)}{'' if left_out else ', too'}.\n"


def _tried(key: str, values: Values) -> str:
    if isinstance(values, tuple):
        return f"`{key}` {', '.join(map(format_scalar, values))}"
    low, high = values.bounds
    return f"`{key}` {low:g} to {high:g}{', evenly in the logarithm' if isinstance(values, LogUniform) else ''}"


def _section(card: Card, rows: Sequence[tuple[str, str, str, str]], level: str) -> str:
    return f"{level} {card.name}\n\n{card.summary}.\n\n{_table(rows)}"


def _table(rows: Sequence[tuple[str, str, str, str]]) -> str:
    if not rows:
        return "No parameters.\n"
    lines = ["| key | values | default | meaning |", "|---|---|---|---|"]
    for key, kind, default, meaning in rows:
        lines.append(f"| `{key}` | {kind.replace('|', 'or')} | `{default}` | {meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def command_line() -> str:
    """Return the page of every built-in command with its help text."""
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
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, content in render().items():
        (folder / name).write_text(content, encoding="utf-8")
