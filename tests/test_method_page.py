"""The page on methods: every example on it is a method that passes the checks, and every seam is on it."""

from __future__ import annotations

import inspect
import re
import sys
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import ncbench
from ncbench import Method, MethodCard, Supervision, conformance

PAGE = (Path(__file__).parent.parent / "docs" / "writing-a-method.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(class (\w+)\(Method\):\n.*?)```", PAGE, re.DOTALL)
MODULE = "methods_of_the_page"


@pytest.fixture(autouse=True)
def _written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a module of the examples, with the imports that the page names."""
    module = types.ModuleType(MODULE)
    vars(module).update(torch=torch, F=F, Method=Method, Stage=ncbench.Stage)
    for code, _ in EXAMPLES:
        exec(code, vars(module))
    monkeypatch.setitem(sys.modules, MODULE, module)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("name", [name for _, name in EXAMPLES])
def test_an_example_passes_every_check(name: str) -> None:
    card = MethodCard(
        name="example",
        summary="It.",
        citation="None.",
        factory=f"{MODULE}:{name}",
        supervision=Supervision(),
        builds_on="erm" if name in ("NewClassifier", "NearestMeans") else "",
        trains=name != "NearestMeans",
    )
    report = conformance.check(card)
    assert report.ok, str(report)


def test_everything_that_a_method_can_override_is_on_the_page() -> None:
    own = {name for name in vars(Method) if not name.startswith("_")} - {"forward"}
    assert own >= {"views", "alternative", "order", "base"}
    for name in own:
        assert re.search(rf"\b{name}\b", PAGE), name
    for name in inspect.signature(ncbench.Progress).parameters:
        assert f"`{name}`" in PAGE, name
