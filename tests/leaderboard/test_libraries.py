"""The libraries of the pages: how they are shipped, and what a build does without them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ncbench.cli.commands.leaderboard import leaderboard
from ncbench.contracts.errors import NcbenchError
from ncbench.leaderboard.build import build
from ncbench.leaderboard.check import check
from ncbench.leaderboard.pages import libraries
from tests.leaderboard.conftest import libraries_missing, libraries_read
from tests.leaderboard.records import place_all, seeds


@pytest.fixture
def bare(board: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A leaderboard folder with pages, on a machine that has lost the extra."""
    place_all(board, seeds())
    build(board)
    assert (board / "site" / "index.html").exists()
    monkeypatch.setattr(libraries, "missing", libraries_missing)
    monkeypatch.setattr(libraries, "read", libraries_read)
    for package in ("itables", "plotly"):
        monkeypatch.setitem(sys.modules, package, None)
    return board


def test_without_the_extra_the_committed_files_are_built_and_one_line_says_how_to_have_pages(bare: Path) -> None:
    kept = {name: (bare / name).read_bytes() for name in ("leaderboard.json", "README.md")}
    for name in kept:
        (bare / name).unlink()
    done = CliRunner().invoke(leaderboard, ["build", "--board", str(bare)], standalone_mode=False)
    assert (done.exception, done.return_value) == (None, 0)
    assert {name: (bare / name).read_bytes() for name in kept} == kept
    assert check(bare).failures == []
    assert done.output.count("pip install 'ncbench[site]'") == 1
    assert "itables and plotly" in done.output
    assert not (bare / "site").exists(), "pages of an earlier build would contradict the board"


def test_a_package_that_is_not_there_is_named(bare: Path) -> None:
    with pytest.raises(NcbenchError, match=r"itables.*pip install 'ncbench\[site\]'"):
        libraries.read()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("var a=1;export{a as default};", "a"),
        ("var a=1,$b=2;export{a as DateTime,$b as default,a as jQuery};\n", "$b"),
        ("var c=1;export { c as default }\n/*! Bundled license information:\n * {a}; b\n */\n", "c"),
    ],
)
def test_a_module_becomes_a_script(module: str, name: str) -> None:
    script = libraries.as_script(module)
    assert f"globalThis.DataTable = {name};" in script
    assert "export" not in script
    assert ("license" in script) == ("license" in module)


@pytest.mark.parametrize("module", ["var a=1;", "export{a as b};", "export default 1;"])
def test_a_module_without_what_the_pages_use_is_refused(module: str) -> None:
    with pytest.raises(NcbenchError, match="upgrade"):
        libraries.as_script(module)
