"""A third party's metric is shown, compared, drawn and selected by, wherever a built-in one is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import served
from tests.discovery.test_discovery import install, ncbench

CODE = """
from ncbench import Measure, Metric, MetricCard, hookimpl

class Margins(Metric):
    needs = frozenset({"logits"})
    splits = ("val", "test")

    def compute(self, evaluation):
        top = evaluation.logits.double().softmax(1).amax(1)
        doubt = 1 - top
        return {"confidence": top.mean().item(), "doubt": doubt.mean().item(), "least_doubt": doubt.min().item()}

@hookimpl
def ncbench_metrics():
    share = Measure(label="top share", direction="higher", unit="%", decimals=1, splits=("val", "test"))
    kept = Measure(label="least", direction="lower", shown_in="record")
    metrics = {"confidence": share, "doubt": "lower", "least_doubt": kept}
    return [MetricCard(name="margins", summary="Of a third party.", factory="their_margins:Margins", metrics=metrics)]
"""
DATASET = "colored_digits:val=0.3"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    install(site, "their-margins", "1.0", CODE)
    return site


def call(site: Path, *arguments: str) -> served.Finished:
    return ncbench(site, *arguments, COLUMNS="200")


@pytest.fixture(scope="module")
def runs(site: Path) -> Path:
    """Two runs of different lengths, the first selected by a metric of theirs of which less is better."""
    for epochs, criterion in ((6, "val_doubt"), (1, "last")):
        settings = ["--set", f"recipe.epochs={epochs}", "--set", f"recipe.selection={criterion}"]
        run = call(site, "run", "--method", "erm", "--dataset", DATASET, *settings, "--output", str(site / "runs"))
        assert run.returncode == 0, run.stderr
        assert " doubt 0." in run.stderr  # the progress
        assert "  top share " in run.stderr
        assert "least 0." not in run.stderr
        rows = {line.split()[0]: line.split() for line in run.stdout.splitlines() if line.strip()}
        assert rows["confidence"][-1].endswith("%")
        assert not rows["doubt"][-1].endswith("%")
        assert "least_doubt" not in rows
    return site / "runs"


def records(runs: Path) -> list[dict]:
    found = [json.loads(path.read_text()) for path in runs.glob("*/result.json")]
    return sorted(found, key=lambda record: -record["recipe"]["epochs"])


def test_a_metric_of_which_less_is_better_selects_the_least(runs: Path) -> None:
    record = records(runs)[0]
    doubts = [entry["metrics"]["val"]["doubt"] for entry in record["history"]]
    assert record["selection"]["val_doubt"]["epoch"] == 1 + doubts.index(min(doubts))
    assert record["metrics"]["val"]["doubt"] == pytest.approx(min(doubts), abs=1e-12)
    assert record["method"]["supervision"]["val"] == "none"


def test_it_is_compared_and_drawn(site: Path, runs: Path, tmp_path: Path) -> None:
    one, two = (str(runs / record["run_id"]) for record in records(runs))
    compared = call(site, "compare", one, two, "--fail", "doubt:0.001")
    assert compared.returncode == 1, compared.stderr
    assert "doubt is 0." in compared.stderr
    assert " above erm / colored_digits" in compared.stderr
    assert "confidence (%), test" in compared.stdout
    assert "\ndoubt, test" in compared.stdout
    assert call(site, "compare", two, one, "--fail", "doubt:0.001").returncode == 0
    unknown = call(site, "compare", one, two, "--fail", "nc1:1")
    assert unknown.returncode == 2
    assert "confidence" in unknown.stderr
    drawn = call(site, "plot", one, two, "--output", str(tmp_path), "--format", "svg")
    assert drawn.returncode == 0, drawn.stderr
    picture = (tmp_path / "curves.svg").read_text()
    assert "Top share, test" in picture
    assert "Doubt, test" in picture
    assert "Least" not in picture


def test_a_criterion_that_is_none_is_refused_with_the_nearest(site: Path) -> None:
    refused = call(site, "run", "--dataset", DATASET, "--set", "recipe.selection=val_doubts")
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "Did you mean 'val_doubt'?" in line
    assert "val_nc1" not in line
