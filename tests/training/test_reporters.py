"""How a run made from Python shows itself: in a notebook, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

import ncbench

CELL = """
import ncbench
result = ncbench.run("erm", "colored_digits:per_class=5", set={"recipe.epochs": 3}, output="runs")
"""


@pytest.mark.slow
def test_a_run_in_a_notebook_shows_one_line_that_ends_at_its_last_epoch(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=None, kernel_name="python3", resources=where).execute()
    (output,) = notebook.cells[0].outputs
    assert output["output_type"] == "display_data"
    assert "epoch 3/3  loss" in output["data"]["text/plain"]


def test_a_run_in_a_script_shows_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ncbench.run("erm", "colored_digits:per_class=5", set={"recipe.epochs": 1}, output=tmp_path)
    assert capfd.readouterr() == ("", "")
