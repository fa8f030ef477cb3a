from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest

import ncbench
from ncbench import ConfigurationError
from ncbench.cli.tables.comparison import print_comparison
from ncbench.cli.tables.result import print_result, worst_group
from ncbench.pictures.curves import heading, plot_curves
from ncbench.records.archive import RunResult
from ncbench.records.comparison import by_configuration, parse_limit, shortfalls


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


def on_other_data(result: RunResult, **changes: Any) -> RunResult:
    dataset = result.record.dataset.model_copy(update={"fingerprint": "0" * 64} | changes)
    return RunResult(result.record.model_copy(update={"dataset": dataset}), result.folder)


def test_runs_on_other_data_are_no_seeds_of_one_configuration(results: list[RunResult]) -> None:
    assert list(by_configuration([results[0], on_other_data(results[1])])) == [
        f"erm / colored_digits / mlp (fingerprint={results[0].record.dataset.fingerprint[:12]})",
        "erm / colored_digits / mlp (fingerprint=000000000000)",
    ]


@pytest.mark.parametrize(
    ("changes", "caveat"),
    [
        ({"synthetic": True}, "synthetic data, not the real dataset"),
        ({"mismatch": ["no label file"]}, "data differ from the released: 1 difference"),
        ({"mismatch": ["no label file", "3 images too few"]}, "data differ from the released: 2 differences"),
    ],
)
def test_data_that_are_not_the_real_ones_are_marked_wherever_a_run_is_shown(
    results: list[RunResult], tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: Any, caveat: str
) -> None:
    other = on_other_data(results[0], **changes)
    print_result(other)
    shown = " ".join(capsys.readouterr().out.split())  # where lines end follows from the length of the paths shown
    assert caveat in shown
    assert all(phrase in shown for phrase in other.record.dataset.mismatch)
    print_comparison([results[0], other])
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count(caveat) == 1
    assert caveat in heading(other)
    plot_curves([results[0], other], tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").read_text().count(caveat) == 1
    assert caveat not in heading(results[0])


def test_no_difference_is_taken_between_runs_on_different_data(
    results: list[RunResult], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    first, _, second, _ = results
    other = [on_other_data(first), on_other_data(second)]
    print_comparison([first, other[0]])
    shown = capsys.readouterr().out
    assert "(+" not in shown
    assert "different data" in shown
    print_comparison([first, *other])  # the last two are on the same data
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "(-" in line and line.startswith("accuracy")]
    drop = 100 * (second.metrics["test"]["accuracy"] - first.metrics["test"]["accuracy"])
    assert f"({drop:+.2f})" in line
    print_comparison([first, second])
    assert "different data" not in capsys.readouterr().out
    with pytest.raises(ConfigurationError, match=r"nothing to compare .*colored_digits.* with"):
        shortfalls([first, second, other[0]], [("accuracy", 100)])
    assert shortfalls([first, second, *other], [("accuracy", 100)]) == []
    assert len(shortfalls([first, second, *other], [("accuracy", 0)])) == 2


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_comparison_fits_the_terminal(
    results: list[RunResult], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    many = [
        RunResult(result.record.model_copy(update={"recipe": {**result.record.recipe, "lr": lr}}), result.folder)
        for lr in (0.1, 0.01, 0.001)
        for result in results
    ]
    print_comparison(many)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    rows = [line.split("test")[1] for line in lines if line.startswith("class_mean_accuracy (%), test")]
    assert sum(row.count("±") for row in rows) == 6  # a cell is never broken
    headings = " ".join(line for line in lines if line.startswith("metric")).split()
    assert [name for name in headings if name != "metric"] == [f"[{number}]" for number in range(1, 7)]
    assert headings[:3] == ["metric", "[1]", "[2]"]  # side by side, even on the narrowest


def test_runs_without_metrics_have_no_table(results: list[RunResult], capsys: pytest.CaptureFixture[str]) -> None:
    bare = RunResult(results[0].record.model_copy(update={"metrics": {}, "status": "interrupted"}), results[0].folder)
    print_comparison([bare])
    shown = capsys.readouterr().out
    assert "1 run, interrupted" in shown
    assert "No metrics yet" in shown
    assert "metric " not in shown


def test_mistakes_in_a_class_hierarchy_are_shown(
    results: list[RunResult], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record = results[0].record
    of_mistakes = {"mistake_severity": 2.345678, "hierarchical_distance_at_5": 3.25}
    metrics = {split: {**numbers, **of_mistakes} for split, numbers in record.metrics.items()}
    history = [
        entry.model_copy(update={"metrics": {"test": {**entry.metrics.get("test", {}), **of_mistakes}}})
        for entry in record.history
    ]
    with_tree = RunResult(record.model_copy(update={"metrics": metrics, "history": history}), tmp_path)
    for show in (lambda: print_result(with_tree), lambda: print_comparison([with_tree])):
        show()
        shown = capsys.readouterr().out
        assert "2.346" in next(line for line in shown.splitlines() if line.startswith("mistake_severity"))
        assert "3.25" in next(line for line in shown.splitlines() if line.startswith("hierarchical_distance_at_5"))
        assert "hierarchical_distance_at_20" not in shown
    plot_curves([with_tree], tmp_path / "curves.svg")
    assert "Mistake severity, test" in (tmp_path / "curves.svg").read_text()
    print_result(results[0])
    assert "mistake_severity" not in capsys.readouterr().out


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
    with pytest.raises(ConfigurationError, match="'nc1'"):  # neither direction is better
        shortfalls(results, [("nc1", 1)])


def test_any_metric_with_a_direction_has_shortfalls(results: list[RunResult]) -> None:
    def brier(members: list[RunResult]) -> float:
        return statistics.fmean(result.metrics["test"]["brier"] for result in members)

    good, bad = sorted(by_configuration(results).values(), key=brier)  # lower is better, and it is no percentage
    gap = brier(bad) - brier(good)
    (line,) = shortfalls([*good, *bad], [("brier", gap - 1e-4)])
    assert f"brier is {gap:.4g} above" in line
    assert shortfalls([*good, *bad], [("brier", gap + 1e-4)]) == []
    assert shortfalls([*bad, *good], [("brier", 0)]) == []
    for result in bad:
        bare = result.record.model_copy(update={"metrics": {"test": {"accuracy": 1.0}}})
        assert len(shortfalls([*good, RunResult(bare, result.folder)], [("brier", 100)])) == 1


@pytest.mark.parametrize("text", ["accuracy", "accuracy:", "accuracy:many", ":3", "accuracy:-1", "accuracy:nan"])
def test_malformed_limits_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="METRIC:POINTS"):
        parse_limit(text)


def test_the_worst_group_is_the_one_the_metric_is_of(results: list[RunResult]) -> None:
    worst = worst_group(results[0].record)
    assert worst is not None
    assert worst.correct / worst.count == results[0].metrics["test"]["worst_group_accuracy"]


def test_plots_of_the_same_runs_are_the_same_files(results: list[RunResult], tmp_path: Path) -> None:
    png = plot_curves(results, tmp_path / "plots" / "curves.png")
    assert png is not None
    assert png.read_bytes().startswith(b"\x89PNG")
    first, again = (plot_curves(results, tmp_path / folder / "curves.svg") for folder in ("plots", "again"))
    assert first is not None
    assert again is not None
    svg = first.read_bytes()
    assert again.read_bytes() == svg
    text = svg.decode()
    assert "Worst-group accuracy" in text
    assert "NC1" in text


def test_a_run_without_a_history_gives_no_plot(results: list[RunResult], tmp_path: Path) -> None:
    empty = RunResult(results[0].record.model_copy(update={"history": []}), tmp_path)
    assert plot_curves([empty], tmp_path / "plots" / "curves.png") is None
    assert not (tmp_path / "plots").exists()
