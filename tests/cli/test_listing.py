"""What ``ncbench list`` and ``data info`` print on a narrow terminal."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from ncbench.cli.commands.data import info
from ncbench.cli.commands.listing import list_cards
from ncbench.contracts.cards import FAMILIES
from ncbench.discovery.registry import KINDS, registry


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


def named(*arguments: str) -> set[str]:
    ran = CliRunner().invoke(list_cards, ["methods", *arguments, "--json"])
    return {row["name"] for row in json.loads(ran.stdout)}


def test_methods_are_listed_by_family_and_those_of_none_last() -> None:
    text = CliRunner().invoke(list_cards, ["methods"]).stdout
    cards = {name: found.card for name in registry().names("methods") for found in registry().cards["methods"][name]}
    headings = [line.split(":")[0] for line in text.split("\n(train=bias")[0].splitlines() if line[:1].strip()]
    families = [family for family in FAMILIES if family in {card.family for card in cards.values()}]
    assert headings[: len(families)] == families
    assert headings[len(families) :] == ["other"] * any(not card.family for card in cards.values())
    for name, card in cards.items():
        assert name in named("--family", card.family or "other")


def test_methods_are_filtered_by_the_labels_they_use() -> None:
    assert {"erm", "lff", "focal"} <= named("--supervision", "none")
    assert not named("--supervision", "none") & named("--supervision", "train=bias")
    assert {"group_dro", "dfr"} <= named("--supervision", "train=bias")
    assert {"dfr"} <= named("--supervision", "val=bias", "--family", "last layer")
    assert named("--supervision", "hierarchy", "--family", "baseline") == set()
    assert (
        "No such methods"
        in CliRunner().invoke(list_cards, ["methods", "--family", "baseline", "--supervision", "hierarchy"]).stdout
    )


def test_only_methods_have_a_family() -> None:
    ran = CliRunner().invoke(list_cards, ["datasets", "--family", "balancing"])
    assert ran.exit_code == 2
    assert "ncbench list methods" in ran.stderr
    assert "balancing" in CliRunner().invoke(list_cards, ["methods", "--family", "balacing"]).stderr


def test_every_method_of_our_own_says_its_family_and_lies_in_its_package() -> None:
    for name in registry().names("methods"):
        for found in registry().cards["methods"][name]:
            if found.plugin.distribution == "ncbench":
                folder = found.card.factory.split(".")[1].partition(":")[0]
                assert found.card.family == ("baseline" if name == "erm" else folder.replace("_", " ")), name


def test_what_is_said_of_a_dataset_fits_the_terminal() -> None:
    text = CliRunner().invoke(info, ["waterbirds"], env={"COLUMNS": "80"}).stdout
    long = {word for word in text.split() if len(word) > 60}  # addresses are not broken
    assert {line for line in text.splitlines() if len(line) > 80 and not set(line.split()) & long} == set()
    assert "Sagawa, Koh, Hashimoto & Liang" in " ".join(text.split())
