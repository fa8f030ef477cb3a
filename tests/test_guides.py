"""The guides that lead from data to results: their commands and notebooks run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import ncbench

DOCS = Path(__file__).parent.parent / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder with ``photos``: 48 small images of two digits in the place of animals, before grass or sand."""
    digits = load_digits()
    places = {"grass": (60, 140, 60), "sand": (214, 186, 120)}
    (tmp_path / "photos" / "images").mkdir(parents=True)
    lines = ["file,animal,place"]
    for count, number in enumerate(np.flatnonzero(np.isin(digits.target, (3, 8)))[:48]):
        animal = "cow" if digits.target[number] == 3 else "camel"
        place = "grass" if (animal == "cow") == (count % 8 > 0) else "sand"
        ink = digits.images[number][..., None].repeat(4, 0).repeat(4, 1) / 16
        pixels = ((1 - ink) * places[place] + 255 * ink).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / "images" / f"{number:04}.jpg")
        lines.append(f"images/{number:04}.jpg,{animal},{place}")
    (tmp_path / "photos" / "meta.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.slow
def test_six_commands_lead_from_photographs_to_a_table(
    photographs: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    page = (DOCS / "first-table.md").read_text(encoding="utf-8")
    commands = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    assert len(commands) == 6
    (suite,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    short = suite.replace("recipe.epochs: 20", "recipe.epochs: 1")
    assert short != suite
    (photographs / "photos.yaml").write_text(short)

    command = tmp_path_factory.mktemp("bin") / "ncbench"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ncbench "$@"\n')
    command.chmod(0o755)
    environment = os.environ | {"PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"}
    script = ["bash", "-euo", "pipefail", "-c", "".join(commands)]
    ran = subprocess.run(script, cwd=photographs, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr

    table = (photographs / "table.tex").read_text()
    rows = [line.split(" & ") for line in table.splitlines() if line.endswith(r"\\")]
    assert [row[0] for row in rows] == ["method", "erm", r"group\_dro", "reweight"]
    assert [row[2] for row in rows] == ["seeds", "5", "5", "5"]
    assert r"\toprule" in table
    assert r"worst group (\%)" in table
    (run,) = photographs.glob("runs/erm-*-s0-*")
    for picture in ("table-train.png", "curves.png", run / "errors.png"):
        assert min(Image.open(photographs / picture).size) > 100
    assert "predicted as" in (run / "errors.html").read_text()
    assert "camel, sand" in (photographs / "table-train.html").read_text()
    assert all(result.status == "completed" for result in ncbench.load_results(photographs / "runs"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(path, as_version=4)
    committed = [_outputs(cell) for cell in notebook.cells]
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=None, kernel_name="python3", resources=where).execute()
    # The site shows what was committed: a cell still prints and draws as much, and none of it is a warning.
    assert [_outputs(cell) for cell in notebook.cells] == committed
    assert not any("stderr" in outputs for outputs in committed)


def _outputs(cell: dict[str, Any]) -> list[str]:
    return [output.get("name", output["output_type"]) for output in cell.get("outputs", ())]


def test_the_page_on_python_has_every_public_name() -> None:
    page = (DOCS / "site" / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"^\.\. (?:autoclass|autofunction|autoexception|autodata|data):: (\w+)$", page, re.MULTILINE)
    libraries = re.findall(r"^\.\. automodule:: ncbench\.(\w+)$", page, re.MULTILINE)
    assert sorted([*named, *libraries]) == sorted(set(ncbench.__all__) - {"__version__"})
