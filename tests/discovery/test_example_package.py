"""The example package: built and installed as a third party's, without network, then listed and run by name."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests import served

EXAMPLE = Path(__file__).parents[2] / "plugins" / "example"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pip") is None or importlib.util.find_spec("hatchling") is None,
    reason="building the example needs pip and hatchling",
)


def call(*command: str | Path, **environment: str) -> str:
    result = served.python(*command, NCBENCH_PLUGINS="ncbench-confidence-penalty", **environment)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, so that nothing a build leaves behind lands in the repository."""
    return shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "example")


@pytest.fixture(scope="module")
def site(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder the package is installed to."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    call("-m", "pip", "install", *options, "--target", folder, source)
    return folder


def test_it_is_listed_with_its_distribution_and_version(site: Path) -> None:
    rows = {
        row["name"]: row for row in json.loads(call("-m", "ncbench", "list", "methods", "--json", PYTHONPATH=str(site)))
    }
    assert rows["confidence_penalty"]["plugin"] == {
        "distribution": "ncbench-confidence-penalty",
        "version": "1.0.0",
    }
    assert rows["erm"]["plugin"]["distribution"] == "ncbench"


def test_it_runs_by_name_and_the_record_says_where_it_came_from(site: Path, tmp_path: Path) -> None:
    arguments = ["--method", "confidence_penalty:beta=0.2", "--dataset", "colored_digits"]
    settings = ["--set", "recipe.epochs=1"]
    where = ["--output", tmp_path, "--device", "cpu", "--quiet"]
    call("-m", "ncbench", "run", *arguments, *settings, *where, PYTHONPATH=str(site))
    (path,) = tmp_path.glob("*/result.json")
    record = json.loads(path.read_text())
    assert record["status"] == "completed"
    assert record["method"]["spec"] == "confidence_penalty:beta=0.2"
    assert record["method"]["plugin"] == {"distribution": "ncbench-confidence-penalty", "version": "1.0.0"}
    losses = record["history"][0]["losses"]
    assert losses["loss"] == pytest.approx(losses["cross_entropy"] + losses["penalty"])
    assert losses["penalty"] < 0


def test_its_own_tests_pass_and_import_no_torch_for_the_card(site: Path, source: Path) -> None:
    call("-m", "pytest", "-q", "-p", "no:cacheprovider", source / "tests", PYTHONPATH=str(site))
    code = "import sys, ncbench_confidence_penalty; assert 'torch' not in sys.modules"
    path = os.pathsep.join([str(site), *sys.path])
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=True)


@pytest.mark.parametrize("name", ["__init__.py", "method.py"])
def test_the_page_on_writing_a_method_shows_these_very_files(name: str) -> None:
    page = (EXAMPLE.parents[1] / "docs" / "writing-a-method.md").read_text()
    code = (EXAMPLE / "src" / "ncbench_confidence_penalty" / name).read_text()
    assert f"```python\n{code}```" in page


def test_the_page_shows_these_very_tables_of_the_project_file() -> None:
    page = (EXAMPLE.parents[1] / "docs" / "writing-a-method.md").read_text()
    shown = page.split("```toml\n")[1].split("```")[0]
    project = (EXAMPLE / "pyproject.toml").read_text()
    assert all(table in project for table in shown.split("\n\n"))
    assert tomllib.loads(shown)["project"]["entry-points"] == tomllib.loads(project)["project"]["entry-points"]
