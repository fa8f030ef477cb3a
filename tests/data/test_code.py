"""What a store remembers of the code that filled it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path

import pytest

from ncbench.data.store.code import code_digest

MODULES = {
    "__init__": "from shapes.cards import CARDS",
    "cards": "CARDS = []",
    "squares": "from ncbench import Dataset\nfrom . import colours\n\nclass Squares(Dataset):\n    folder = 'squares'",
    "rounded": "from shapes.squares import Squares\n\nclass Rounded(Squares):\n    def read(self):\n"
    "        from shapes.files.rows import read\n        return read()",
    "colours": "import shapes.palette",
    "palette": "RED = 1",
    "files/__init__": "",
    "files/rows": "from ..rims import radius\n\ndef read():\n    return radius",
    "rims": "radius = 3",
    "unused": "from shapes.rounded import Rounded",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "shapes"
    (folder / "files").mkdir(parents=True)
    for name, content in MODULES.items():
        (folder / f"{name}.py").write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    invalidate_caches()
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "shapes"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("module", "counts"),
    [(name, name not in ("__init__", "cards", "files/__init__", "unused")) for name in MODULES],
)
def test_code_that_a_dataset_is_made_of_changes_its_digest(package: Path, module: str, counts: bool) -> None:
    kind = import_module("shapes.rounded").Rounded
    before = code_digest(kind)
    assert code_digest(kind) == before
    with (package / f"{module}.py").open("a") as file:
        file.write("\n# changed")
    assert (code_digest(kind) != before) == counts


def test_every_built_in_dataset_knows_its_modules() -> None:
    from ncbench_datasets import ncbench_datasets

    assert all(len(code_digest(card.load())) == 64 for card in ncbench_datasets())
