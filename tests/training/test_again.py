"""A record's run, made again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ncbench
from ncbench import ConfigurationError, DataError
from ncbench.records.archive import RunResult
from ncbench.training.run import run_again

from .conftest import without_times

Cli = Callable[..., tuple[int, str, str]]


def content(result: RunResult) -> dict[str, Any]:
    return without_times(json.loads(result.path.read_text()))


@pytest.mark.parametrize(
    "arguments",
    [
        {"method": "erm", "backbone": "mlp:depth=1", "seed": 3},
        {"method": "group_dro", "groups": "errors:epochs=1", "set": {"base.recipe.lr": 0.01}},
        {"method": None, "groups": "errors:epochs=1"},
        {"method": "erm", "dataset": "colored_mnist:conflict=0.02", "synthetic": True},
    ],
)
def test_a_run_is_made_again_bit_for_bit(tmp_path: Path, arguments: dict[str, Any]) -> None:
    settings = {**arguments.pop("set", {}), **({} if arguments["method"] is None else {"recipe.epochs": 1})}
    made = ncbench.run(**arguments, set=settings, output=tmp_path / "first", warn=str)
    again = run_again(made.record, output=tmp_path / "again", warn=str)
    assert content(again) == content(made)
    assert again.folder != made.folder


def test_the_command_makes_it_again_and_lets_nothing_be_changed(tmp_path: Path, cli: Cli) -> None:
    made = ncbench.run("erm", seed=2, set={"recipe.epochs": 1, "recipe.lr": 0.02}, output=tmp_path / "first")
    code, out, _ = cli("run", "--from", made.folder, "--output", tmp_path / "again")
    assert code == 0
    (again,) = ncbench.load_results(tmp_path / "again")
    assert content(again) == content(made)
    assert str(again.path) in out
    code, _, err = cli("run", "--from", made.path, "--output", tmp_path / "first")
    assert code == 0
    assert "finished already" in err
    code, _, err = cli("run", "--from", made.folder, "--dataset", "colored_digits:conflict=0.05")
    assert (code, err.count("\n")) == (2, 1)
    assert "this record is of colored_digits: leave it out" in err
    for option in (["--seed", "2"], ["--set", "recipe.lr=0.02"], ["--method", "erm"], ["--synthetic"]):
        code, _, err = cli("run", "--from", made.folder, *option)
        assert (code, err.count("\n")) == (2, 1)
        assert f"leave out {option[0]}" in err
    assert cli("run", "--from", tmp_path / "nowhere")[0] == 3


def test_a_run_on_data_of_ones_own_needs_to_know_where_they_are(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    path = tmp_path / "clip.npz"
    vectors = {"inputs": generator.normal(size=(40, 3)), "target": np.arange(40) % 2}
    np.savez(path, **vectors)
    text = f"features:path='{path}'"
    made = ncbench.run("erm", text, set={"recipe.epochs": 1}, output=tmp_path / "first", warn=str)
    with pytest.raises(ConfigurationError, match="say where the data lie here"):
        run_again(made.record, output=tmp_path / "again", warn=str)
    assert content(run_again(made.record, text, tmp_path / "again", warn=str)) == content(made)
    np.savez(path, **{**vectors, "inputs": np.zeros((40, 3))})
    with pytest.raises(DataError, match="are others here"):
        run_again(made.record, text, tmp_path / "again", warn=str)


def test_a_record_whose_id_is_not_that_of_its_settings_is_told_of(tmp_path: Path) -> None:
    record = ncbench.run("erm", set={"recipe.epochs": 1}, output=tmp_path).record
    said: list[str] = []
    run_again(record.model_copy(update={"seed": 7}), output=tmp_path, warn=said.append)
    assert any(f"the record says {record.run_id}: it was edited" in line for line in said)
    run_again(record, output=tmp_path / "again", warn=said.clear)


def test_a_plugin_that_is_not_here_is_named(tmp_path: Path) -> None:
    record = ncbench.run("erm", set={"recipe.epochs": 1}, output=tmp_path).record
    theirs = record.method.plugin.model_copy(update={"distribution": "somebody", "version": "1.2"})
    elsewhere = record.model_copy(update={"method": record.method.model_copy(update={"plugin": theirs})})
    with pytest.raises(ConfigurationError, match=r"This run needs somebody 1\.2"):
        run_again(elsewhere, output=tmp_path, warn=str)
