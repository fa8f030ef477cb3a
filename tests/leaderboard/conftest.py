"""Leaderboard folders: an empty one, and one with a bit of everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest

from ncbench.leaderboard.build import build
from ncbench.leaderboard.pages import libraries
from tests.leaderboard.records import BUILT_IN, SOMEBODY, make_record, named, place, place_all, seeds

HOSTILE = "<script>document.title='owned'</script>"
libraries_missing, libraries_read = libraries.missing, libraries.read
LEVELS = {"erm": 0.5, "jtt": 0.6, "lff": 0.66, "focal": 0.55, "mine": 0.7}


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Compile the templates of the pages for the first of the hundreds of boards that are built here."""
    inner, codes = jinja2.Environment.compile, dict[str, Any]()

    def compiled(environment: jinja2.Environment, source: str, *names: str | None) -> Any:
        if source not in codes:
            codes[source] = inner(environment, source, *names)
        return codes[source]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", compiled)
        yield


@pytest.fixture(scope="session", autouse=True)
def light_libraries() -> Iterator[None]:
    """Spare these boards the megabytes of the libraries, which the tests in a browser put in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(libraries, "missing", list)
        patch.setattr(libraries, "read", lambda: dict.fromkeys(libraries.NAMES, b""))
        yield


@pytest.fixture
def board(tmp_path: Path) -> Path:
    folder = tmp_path / "leaderboard"
    (folder / "results").mkdir(parents=True)
    return folder


@pytest.fixture(scope="session")
def varied(light_libraries: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built board: five methods on four datasets, two groups of labels, curves, hostile text, files left out."""
    folder = tmp_path_factory.mktemp("varied") / "leaderboard"
    (folder / "results").mkdir(parents=True)
    for number in range(4):
        for place_in_order, (method, level) in enumerate(LEVELS.items()):
            records = seeds(
                method,
                3,
                level=level + 0.01 * ((place_in_order * (number + 1)) % 4),
                dataset=f"data{number}",
                plugin=SOMEBODY if method == "mine" else BUILT_IN,
            )
            place_all(folder, [_with_collapse(_of_somebody(record)) for record in records])
    for record in seeds("group_dro", 2, level=0.8, dataset="data0", supervision=("bias", "none")):
        place(folder, _of_somebody(record))
    for record in seeds("evil", plugin={"distribution": HOSTILE, "version": HOSTILE}, level=0.65):
        record["method"]["spec"] = f"evil:note='{HOSTILE.replace(chr(39), chr(39) * 2)}'"
        record["method"]["parameters"]["note"] = HOSTILE
        place(folder, named(record))
    bad = make_record("erm", 9)
    bad["metrics"]["test"][HOSTILE] = "wrong"
    place(folder, bad)
    place(folder, {**_of_somebody(make_record("jtt", 9, dataset="data0")), "status": "diverged", "reason": HOSTILE})
    (folder / "reported.yaml").write_text(
        f"""
- label: "{HOSTILE}"
  source: "{HOSTILE}"
  measured: false
  protocol: "{HOSTILE}"
  metric: accuracy
  datasets: [data0, other]
  methods:
    erm: [30.8, 40]
    theirs: [60, 70]
"""
    )
    build(folder)
    return folder


def _of_somebody(record: dict[str, Any]) -> dict[str, Any]:
    record["dataset"]["plugin"] = SOMEBODY
    return record


def _with_collapse(record: dict[str, Any]) -> dict[str, Any]:
    """Add what the pages draw of the geometry, and a second stage."""
    for entry in record["history"]:
        value = record["seed"] + 1 / entry["epoch"]
        measured = ("nc1", "bias_nc1", "nc2_norm_cv", "nc3_self_duality")
        entry["metrics"]["train"] = dict.fromkeys(measured, value)
        entry["stage"] = "first" if entry["epoch"] == 1 else "second"
    record["metrics"]["train"] |= record["history"][-1]["metrics"]["train"]
    return record
