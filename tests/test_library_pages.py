"""The pages of the two libraries: their examples run, and they leave no public name out."""

from __future__ import annotations

import doctest
import re
import sys
from pathlib import Path

import pytest
import torch

import ncbench.collapse
import ncbench.geometry
from ncbench.cli.main import main

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {"geometry.md": ncbench.geometry, "collapse.md": ncbench.collapse}


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page whose examples have just run, without a failure, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    path = DOCS / request.param
    result = doctest.testfile(str(path), module_relative=False, encoding="utf-8")
    assert result.attempted > 10
    assert not result.failed
    return path


def test_examples_run_and_use_every_public_name(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    examples = "".join(re.findall(r"```pycon\n(.*?)```", text, re.DOTALL))
    for name in PAGES[page.name].__all__:
        assert re.search(rf"\b{name}\b", examples), name
    # The blank line before a fence keeps the fence out of the output that is expected.
    assert not re.search(r"[^\n]\n```\n", "".join(re.findall(r"```pycon\n.*?```\n", text, re.DOTALL)))


@pytest.mark.parametrize("page", ["collapse.md"], indirect=True)
def test_the_command_prints_what_the_page_shows(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = re.search(r"```text\n\$ ncbench (.*?)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert shown
    monkeypatch.setattr(sys, "argv", ["ncbench", *shown[1].split()])
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out == shown[2]


def test_the_table_has_every_measure() -> None:
    rows = re.findall(r"^\| (`.*?`) \|", (DOCS / "collapse.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    measures = ncbench.collapse.measure(torch.eye(3), torch.arange(3), torch.eye(3))
    assert sorted(named) == sorted(measures)
