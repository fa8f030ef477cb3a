from __future__ import annotations

import statistics
from pathlib import Path

import pytest

import ncbench
from ncbench import ConfigurationError
from ncbench.results.archive import RunResult
from ncbench.results.comparison import by_configuration, parse_limit, shortfalls
from ncbench.results.plots import plot_curves
from ncbench.results.table import worst_group


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[RunResult]:
    """Two configurations, two seeds each; the second is trained too shortly to be as good."""
    output = tmp_path_factory.mktemp("runs")
    return [
        ncbench.run("erm", seed=seed, set={"recipe.epochs": epochs}, output=output)
        for epochs in (8, 1)
        for seed in (0, 1)
    ]


def test_runs_are_grouped_by_everything_but_the_seed(results: list[RunResult]) -> None:
    grouped = by_configuration(results)
    assert [len(members) for members in grouped.values()] == [2, 2]
    assert list(grouped) == ["erm / colored_digits / mlp (epochs=8)", "erm / colored_digits / mlp (epochs=1)"]


def test_runs_on_other_data_are_no_seeds_of_one_configuration(results: list[RunResult]) -> None:
    record = results[1].record
    twins = record.dataset.model_copy(update={"synthetic": True, "fingerprint": "0" * 64})
    on_twin = RunResult(record.model_copy(update={"dataset": twins}), results[1].folder)
    usual = f"fingerprint={record.dataset.fingerprint[:12]}, synthetic=False"
    assert list(by_configuration([results[0], on_twin])) == [
        f"erm / colored_digits / mlp ({usual})",
        "erm / colored_digits / mlp (fingerprint=000000000000, synthetic=True)",
    ]


def test_a_shortfall_beyond_the_limit_is_named(results: list[RunResult]) -> None:
    means = [
        statistics.fmean(result.metrics["test"]["accuracy"] for result in members)
        for members in by_configuration(results).values()
    ]
    drop = 100 * (means[0] - means[1])
    assert drop > 0
    (line,) = shortfalls(results, [("accuracy", drop - 0.01)])
    assert f"{drop:.2f} points below" in line
    assert shortfalls(results, [("accuracy", drop + 0.01)]) == []
    with pytest.raises(ConfigurationError, match="Did you mean 'accuracy'"):
        shortfalls(results, [("acuracy", 1)])


@pytest.mark.parametrize("text", ["accuracy", "accuracy:", "accuracy:many", ":3", "accuracy:-1", "accuracy:nan"])
def test_malformed_limits_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="METRIC:POINTS"):
        parse_limit(text)


def test_the_worst_group_is_the_one_the_metric_is_of(results: list[RunResult]) -> None:
    worst = worst_group(results[0].record)
    assert worst is not None
    assert worst.correct / worst.count == results[0].metrics["test"]["worst_group_accuracy"]


def test_plots_of_the_same_runs_are_the_same_files(results: list[RunResult], tmp_path: Path) -> None:
    paths = plot_curves(results, tmp_path / "plots")
    assert [path.name for path in paths] == ["curves.png", "curves.svg"]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    svg = paths[1].read_bytes()
    assert plot_curves(results, tmp_path / "again")[1].read_bytes() == svg
    text = svg.decode()
    assert "Worst-group accuracy" in text
    assert "NC1" in text


def test_a_run_without_a_history_gives_no_plot(results: list[RunResult], tmp_path: Path) -> None:
    empty = RunResult(results[0].record.model_copy(update={"history": []}), tmp_path)
    assert plot_curves([empty], tmp_path / "plots") == []
    assert not (tmp_path / "plots").exists()
