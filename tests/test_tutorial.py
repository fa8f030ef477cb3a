"""The tutorial, followed to the letter: its files are written and its commands run, in order, without network."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.compile(r"(?:`(?P<path>\.\./[^`]+)`:\n\n)?```(?P<language>\w+)\n(?P<content>.*?)```", re.DOTALL)

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pip") is None or importlib.util.find_spec("hatchling") is None,
    reason="building a package needs pip and hatchling",
)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables of an environment of its own: what is installed here, and a `pip` that asks nothing of the network."""
    folder = tmp_path / "venv"
    venv.create(folder)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "installed_here.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    offline = "--no-deps --no-build-isolation --no-index --quiet --disable-pip-version-check"
    for name, command in (("ncbench", 'ncbench "$@"'), ("pip", f'pip "$@" {offline}')):
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{folder}/bin/python" -m {command}\n')
        script.chmod(0o755)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "NCBENCH_PLUGINS": "ncbench-flooding"}


@pytest.mark.slow
def test_the_tutorial_leads_to_a_row_on_the_board(tmp_path: Path, environment: dict[str, str]) -> None:
    clone = tmp_path / "ncbench"
    shutil.copytree(ROOT / "leaderboard", clone / "leaderboard")
    commands = 0
    for block in BLOCKS.finditer(PAGE):
        if block["path"]:
            file = clone / block["path"]
            assert file.exists(), "the tutorial edits a file that `plugins new` did not write"
            file.write_text(block["content"])
            continue
        assert block["language"] == "console"
        for line in block["content"].splitlines():
            assert line.startswith("$ ")
            result = subprocess.run(
                line[2:], shell=True, cwd=clone, env=environment, capture_output=True, text=True, check=False
            )
            assert result.returncode == 0, f"{line}\n{result.stdout}\n{result.stderr}"
            commands += 1
    assert commands >= 8

    board = json.loads((clone / "leaderboard" / "leaderboard.json").read_text())
    (table,) = (table for table in board["datasets"] if table["dataset"]["spec"] == "colored_digits")
    (row,) = (row for section in table["sections"] for row in section["rows"] if row["method"]["name"] == "flooding")
    assert row["method"]["distribution"] == "ncbench-flooding"
    assert row["rank"] is None, "the page says that nothing ranks that keeps this dataset's weight decay"
    assert "weight_decay=0.001" in row["tuned_on_test"]
    assert row["metrics"]["group_mean_accuracy"]["seeds"] == 3
    assert "20 of the dataset's 100 epochs" in row["flags"]
    assert "`flooding`" in (clone / "leaderboard" / "README.md").read_text()


def test_the_two_pages_lead_to_each_other() -> None:
    assert "writing-a-method.md" in PAGE
    assert "tutorial.md" in (ROOT / "docs" / "writing-a-method.md").read_text(encoding="utf-8")
