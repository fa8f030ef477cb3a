"""What the documents say is what the code does."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

import ncbench
from ncbench.contracts import hookspecs
from ncbench.discovery.registry import registry
from tests import served

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "benchmarks/README.md",
]


def test_generated_pages_are_what_the_code_says(tmp_path: Path) -> None:
    # In a process of its own: click keeps parts of a command's help from its first use, whoever used it.
    assert served.python("-m", "render", tmp_path, PYTHONPATH=str(ROOT / "docs" / "reference")).returncode == 0
    committed = {page.name: page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md")}
    assert committed == {page.name: page.read_text() for page in tmp_path.iterdir()}, (
        "run `python docs/reference/render.py`"
    )


def test_the_first_page_shows_the_committed_results() -> None:
    code = "import json, first_page as page; readme = (page.ROOT / 'README.md').read_text()\n"
    code += "board = json.loads((page.ROOT / 'leaderboard/leaderboard.json').read_text())\n"
    code += "assert '`shortcut_prime`' in page.table(board) and page.with_table(readme, board) == readme"
    ran = served.python("-c", code, PYTHONPATH=str(ROOT / "docs" / "reference"))
    assert ran.returncode == 0, "run `python docs/reference/first_page.py`"


def test_the_first_page_counts_methods_and_datasets() -> None:
    methods, datasets = (
        {name for name in registry().names(kind) if registry().find(kind, name).plugin.distribution == "ncbench"}
        for kind in ("methods", "datasets")
    )
    formats = {"features", "folder", "table", "ufm"}  # the last is the theory's model
    readme = (ROOT / "README.md").read_text()
    assert f"\n| methods | {len(methods)} |" in readme
    assert f"\n| datasets, formats for one's own aside | {len(datasets - formats)} |" in readme


def test_the_first_page_shows_ncbenchs_own_best_row_of_a_method_whatever_else_is_submitted() -> None:
    code = """
import copy, json, first_page as page
board = json.loads((page.ROOT / 'leaderboard/leaderboard.json').read_text())
before = page.table(board)
for table in board['datasets']:
    for section in table['sections']:
        for row in list(section['rows']):
            more = copy.deepcopy(row)
            for name, metric in more['metrics'].items():
                metric.update(mean=0.1, low=None, high=None, seeds=1)
            section['rows'].append(more)
            other = copy.deepcopy(more)
            other['method'] |= {'name': 'theirs', 'distribution': 'somebody'}
            section['rows'].insert(0, other)
assert page.table(board) == before
for table in board['datasets']:
    for section in table['sections']:
        section['rows'] = [row for row in section['rows'] if row['metrics'][table['primary_metric']]['seeds'] == 1]
assert '| 10.0' in page.table(board) and '±' not in page.table(board)
"""
    ran = served.python("-c", code, PYTHONPATH=str(ROOT / "docs" / "reference"))
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_page_on_choosing_has_a_row_for_every_method_in_its_family() -> None:
    page = (ROOT / "docs" / "choosing-a-method.md").read_text()
    found = [registry().find("methods", name) for name in registry().names("methods")]
    families: dict[str, list[str]] = {}
    for method in found:
        if method.plugin.distribution == "ncbench" and method.card.family != "baseline":
            families.setdefault(method.card.family, []).append(method.card.name)
    shown = {}
    for section in page.split("\n### ")[1:]:
        heading, _, table = section.partition("\n")
        rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
        shown[heading.lower()] = sorted(name for row in rows for name in re.findall(r"`(\w+)`", row))
    assert shown == families


@pytest.mark.parametrize("module", ["contracts.parameters"])
def test_docstring_examples_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"ncbench.{module}"))
    assert result.attempted
    assert not result.failed


def test_every_hook_is_documented_and_tested() -> None:
    hooks = [name for name, _ in inspect.getmembers(hookspecs, inspect.isfunction) if name.startswith("ncbench_")]
    assert len(hooks) >= 9
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    plugins = "\n".join(path.read_text() for path in (ROOT / "plugins").rglob("__init__.py"))
    for name in hooks:
        assert inspect.getdoc(getattr(hookspecs, name)), name
        assert f"def {name}" in tests + plugins, name


def test_every_public_name_can_be_imported() -> None:
    for name in ncbench.__all__:
        assert getattr(ncbench, name) is not None
    assert set(ncbench.__all__) <= set(dir(ncbench))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ncbench.nothing


def test_the_version_is_the_distributions() -> None:
    from importlib import metadata

    assert metadata.version("ncbench") == ncbench.__version__
    assert sys.version_info >= (3, 11)
    assert f"\nversion: {ncbench.__version__}\n" in (ROOT / "CITATION.cff").read_text()
