"""The commands around `run`: what they print, and what they import."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import ncbench
from ncbench.features.predictions import group_names
from ncbench.records.archive import RunResult

Cli = Callable[..., tuple[int, str, str]]
HEAVY = {"torch", "numpy", "matplotlib", "scipy", "sklearn", "datasets"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunResult]:
    output = tmp_path_factory.mktemp("runs")
    return [ncbench.run(method, set={"recipe.epochs": 2}, output=output) for method in ("erm", "shortcut_prime")]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list", "methods"], ["list", "metrics"], ["plugins"], ["run", "--help"], ["leaderboard"]]
)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    assert not imported_by(*arguments) & {*HEAVY, "pydantic"}


@pytest.mark.parametrize("kind", ["method", "dataset", "backbone"])
def test_an_unknown_name_is_refused_before_torch_is_imported(kind: str) -> None:
    imported = imported_by("run", f"--{kind}", "emr")
    assert any(line.startswith(f"Error: Unknown {kind} 'emr'.") for line in imported)
    assert not imported & HEAVY


def imported_by(*arguments: str) -> set[str]:
    """The modules that a command imports, and what else it says."""
    traced = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ncbench", *arguments], capture_output=True, text=True, check=False
    )
    imported = {line.rpartition("|")[2].strip() for line in traced.stderr.splitlines()}
    assert "ncbench.cli.main" in imported
    return imported


def test_ctrl_c_while_the_command_is_imported_ends_it_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text(
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\nsignal.raise_signal(signal.SIGINT)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "ncbench", "--version"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "Interrupted.\n")


def test_a_command_in_this_process_leaves_ctrl_c_as_it_was_and_runs_in_any_thread(cli: Cli) -> None:
    before = signal.getsignal(signal.SIGINT)
    assert cli("--version")[0] == 0
    assert signal.getsignal(signal.SIGINT) is before
    with ThreadPoolExecutor() as pool:
        assert pool.submit(cli, "--version").result()[0] == 0


@pytest.mark.parametrize("kind", ["datasets", "methods", "metrics", "backbones"])
def test_list_shows_every_card(cli: Cli, kind: str) -> None:
    code, out, _ = cli("list", kind, "--json")
    assert code == 0
    rows = json.loads(out)
    assert rows
    _, text, _ = cli("list", kind)
    for row in rows:
        assert row["plugin"]["distribution"] == "ncbench"
        assert f"{row['name']} " in text
        assert row["summary"] in text


def test_every_card_can_be_loaded() -> None:
    from ncbench.discovery.registry import KINDS, registry

    for kind in KINDS:
        for name in registry().names(kind):
            assert isinstance(registry().find(kind, name).card.load(), type)


def test_run_prints_a_table_and_where_things_are(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("run", "--set", "recipe.epochs=2", "--output", str(tmp_path))
    assert code == 0
    (folder,) = tmp_path.iterdir()
    for expected in ("worst_group_accuracy", "nc1", "Worst test group: target ", str(folder / "result.json")):
        assert expected in out
    names = group_names(folder)
    assert names is not None
    (line,) = [line for line in out.splitlines() if line.startswith("Worst test group: ")]
    assert any(f"target {target}, bias {bias}:" in line for target in names[0] for bias in names[1])
    assert out.endswith(f"Curves: ncbench plot {folder}\n")
    assert not (folder / "curves.png").exists()
    assert "epoch 2/2" in err  # plain lines, since this is no terminal

    code, again, told = cli("run", "--set", "recipe.epochs=2", "--output", str(tmp_path))
    assert code == 0
    assert str(folder / "result.json") in again
    assert "finished already" in told


def test_quiet_prints_nothing(cli: Cli, tmp_path: Path) -> None:
    assert cli("run", "--set", "recipe.epochs=1", "--output", str(tmp_path), "--quiet") == (0, "", "")


def test_the_log_is_append_only_lines_of_json(cli: Cli, tmp_path: Path) -> None:
    cli("run", "--set", "recipe.epochs=2", "--output", str(tmp_path))
    (log,) = tmp_path.glob("*/log.jsonl")
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()] == [
        "started",
        "epoch",
        "epoch",
        "ended",
    ]


def test_compare_shows_runs_side_by_side(cli: Cli, runs: list[RunResult]) -> None:
    paths = [str(run.folder) for run in runs]
    code, out, _ = cli("compare", *paths)
    assert code == 0
    assert "erm / colored_digits / mlp" in out
    assert f"{100 * runs[0].metrics['test']['accuracy']:.2f}" in out
    assert f"{runs[0].metrics['train']['nc1']:.4g}" in out
    code, _, err = cli("compare", *paths, "--fail", "accuracy:0", "--fail", "aligned_accuracy:100")
    worse = runs[1].metrics["test"]["accuracy"] < runs[0].metrics["test"]["accuracy"]
    assert code == (1 if worse else 0)
    assert ("points below" in err) == worse


def test_compare_counts_no_run_twice(cli: Cli, runs: list[RunResult], tmp_path: Path) -> None:
    folder = runs[0].folder
    code, out, _ = cli("compare", folder, folder / "result.json", folder.parent / "." / folder.name)
    assert code == 0
    assert "1 run, completed" in out
    assert "±" not in out
    again = shutil.copytree(folder, tmp_path / "again")
    _, out, _ = cli("compare", folder, again)
    assert "2 runs of 1 seed, completed" in out
    assert "±: standard deviation over the runs." in out


@pytest.mark.parametrize(
    ("part", "key", "value", "said"),
    [
        (("metrics", "test"), "accuracy", 0.999, r"metrics\.test\.accuracy: it is 0\.999, but the counts give 0\.\d+"),
        (("groups", "test", 0), "correct", 0, r"metrics\.test\.\w+: it is [\d.]+, but the counts give"),
        (("recipe",), "epochs", 50, "run_id: it is .*, but the configuration and the seed give"),
        ((), "seed", 7, "run_id: it is .*, but the configuration and the seed give"),
    ],
)
def test_compare_says_which_record_was_edited(
    cli: Cli, runs: list[RunResult], tmp_path: Path, part: tuple[Any, ...], key: str, value: Any, said: str
) -> None:
    assert "as a run wrote it" not in cli("compare", *(run.folder for run in runs))[2]
    record = json.loads(runs[0].path.read_text())
    place = record
    for step in part:
        place = place[step]
    place[key] = value
    (tmp_path / "result.json").write_text(json.dumps(record))
    code, _, err = cli("compare", tmp_path, runs[1].folder)
    assert code == 0
    (line,) = err.splitlines()
    assert re.fullmatch(rf"{re.escape(str(tmp_path / 'result.json'))} is not as a run wrote it: {said}.*\.", line)


def test_compare_takes_a_folder_of_run_folders(cli: Cli, runs: list[RunResult]) -> None:
    (runs[0].folder.parent / "started").mkdir(exist_ok=True)
    code, out, err = cli("compare", runs[0].folder.parent)
    assert code == 0
    assert err == f"Skipped {runs[0].folder.parent / 'started'}: it has no result.json yet.\n"
    assert out == cli("compare", *sorted(run.folder for run in runs))[1]


def test_a_metric_that_no_run_has_fails_before_anything_is_printed(cli: Cli, runs: list[RunResult]) -> None:
    code, out, err = cli("compare", *(run.folder for run in runs), "--fail", "acuracy:1")
    assert (code, out) == (2, "")
    assert "Did you mean 'accuracy'" in err
    assert err.count("\n") == 1


def test_plot_draws_several_runs(cli: Cli, runs: list[RunResult], tmp_path: Path) -> None:
    code, out, _ = cli("plot", *(str(run.folder) for run in runs), "--output", str(tmp_path / "plots"))
    assert code == 0
    assert out.split() == [str(tmp_path / "plots" / "curves.png")]


def test_every_run_of_a_folder_is_drawn_by_itself(cli: Cli, runs: list[RunResult], tmp_path: Path) -> None:
    first, second = (shutil.copytree(run.folder, tmp_path / "runs" / run.folder.name) for run in runs)
    record = json.loads((second / "result.json").read_text())
    (second / "result.json").write_text(json.dumps(record | {"history": [], "status": "failed", "reason": "power cut"}))
    code, out, err = cli("plot", tmp_path / "runs", "--each")
    assert (code, out.split()) == (0, [str(first / "curves.png")])
    assert err.startswith(f"{second}: There are no curves to draw")
    assert cli("plot", tmp_path / "runs", "--each", "--output", tmp_path)[0] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["compare", "nowhere"], 3, "There is no record at nowhere"),
        (["compare", "."], 3, "None of these folders has a record yet"),
        (["plot", "nowhere"], 3, "There is no record at nowhere"),
        (["plot"], 2, "Missing argument"),
        (["list", "method"], 2, "'method' is not one of"),
        (["rum"], 2, "No such command 'rum'"),
        (["run", "--sed", "1"], 2, "No such option"),
        (["data", "info"], 2, "Missing argument 'DATASET'. (ncbench data info --help)"),
    ],
)
def test_mistakes_are_explained(cli: Cli, arguments: list[str], code: int, complaint: str) -> None:
    found, _, err = cli(*arguments)
    assert found == code
    assert complaint in err.splitlines()[-1]
    assert "Traceback" not in err
    assert "Usage" not in err  # a page of help hides what is wrong
