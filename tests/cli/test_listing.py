"""What ``ncbench list`` prints on a narrow terminal."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from ncbench.cli.listing import list_cards
from ncbench.plugins.discovery import KINDS


@pytest.mark.parametrize("kind", list(KINDS))
def test_lines_fit_the_terminal_and_no_name_is_broken(kind: str) -> None:
    def call(*arguments: str) -> str:
        return CliRunner().invoke(list_cards, [kind, *arguments], env={"COLUMNS": "80"}).stdout

    text = call()
    assert max(map(len, text.splitlines())) <= 80
    words = text.replace(",", " ").split()
    for row in json.loads(call("--json")):
        assert row["name"] in words
        assert {metric for metric in row.get("metrics", {}) if metric not in words} == set()
        assert row["summary"] in " ".join(text.split())
