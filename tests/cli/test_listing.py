"""What ``ncbench list`` and ``data info`` print on a narrow terminal."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from ncbench.cli.commands.data import info
from ncbench.cli.commands.listing import list_cards
from ncbench.discovery.registry import KINDS


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


def test_what_is_said_of_a_dataset_fits_the_terminal() -> None:
    text = CliRunner().invoke(info, ["waterbirds"], env={"COLUMNS": "80"}).stdout
    long = {word for word in text.split() if len(word) > 60}  # addresses are not broken
    assert {line for line in text.splitlines() if len(line) > 80 and not set(line.split()) & long} == set()
    assert "Sagawa, Koh, Hashimoto & Liang" in " ".join(text.split())
