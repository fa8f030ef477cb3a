"""Plugins from a file, as on the first evening of an idea: through the command line, from Python, and in a sweep."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

import ncbench
from ncbench import ConfigurationError, DataError, MethodCard, PluginError, Supervision, hookimpl
from ncbench.discovery.registry import registry
from ncbench.leaderboard.intake.catalogue import Catalogue
from ncbench.leaderboard.intake.entry import inspect
from ncbench.training.reporters import Silent

Cli = Callable[..., tuple[int, str, str]]

PAGE = (Path(__file__).parents[2] / "docs" / "writing-a-method.md").read_text(encoding="utf-8")
IDEA = PAGE.partition("```python\n")[2].partition("```")[0]  # the page's first listing
SHORT = ("--method", "smoothed", "--set", "recipe.epochs=1", "--device", "cpu", "--quiet")


@pytest.fixture
def idea(tmp_path: Path) -> Path:
    path = tmp_path / "idea.py"
    path.write_text(IDEA)
    return path


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/result.json"))]


def test_a_file_brings_a_method_for_one_command(idea: Path, tmp_path: Path, cli: Cli) -> None:
    output = tmp_path / "runs"
    code, _, err = cli("run", "--plugin", idea, *SHORT, "--output", output)
    assert (code, err) == (0, "")
    [record] = records(output)
    digest = hashlib.sha256(idea.read_bytes()).hexdigest()
    assert record["plugin_files"] == {"idea.py": digest}
    assert record["method"]["plugin"] == {"distribution": "idea.py", "version": digest}
    path = output / record["run_id"] / "result.json"
    assert str(tmp_path) not in path.read_text()
    exclusion = inspect(path.read_bytes(), Catalogue.built_in()).exclusion
    assert exclusion is not None
    assert (exclusion.field, "idea.py" in exclusion.reason) == ("plugin_files", True)

    code, out, _ = cli("list", "methods", "--plugin", idea)
    assert code == 0
    assert "smoothed " in out
    assert "[idea.py]" in out
    assert "smoothed" not in registry().names("methods")  # nothing is left of it
    code, _, err = cli("run", *SHORT, "--output", output)
    assert code == 2
    assert "Unknown method 'smoothed'" in err


def test_a_changed_file_is_never_taken_for_the_one_a_run_was_made_with(idea: Path, tmp_path: Path, cli: Cli) -> None:
    output, given = tmp_path / "runs", ("run", "--plugin", idea, *SHORT, "--output", tmp_path / "runs")
    assert cli(*given)[0] == 0
    assert cli(*given)[0] == 0  # the same file: its record is shown
    before = records(output)
    idea.write_text(IDEA.replace("0.1", "0.2"))
    for more in ((), ("--resume",)):
        code, _, err = cli(*given, *more)
        assert code == 3
        assert "made with another idea.py" in err
        assert "--force" in err
    suite = tmp_path / "suite.yaml"
    block = {"methods": ["smoothed"], "datasets": ["colored_digits"], "seeds": [0], "settings": {"recipe.epochs": 1}}
    suite.write_text(yaml.safe_dump({"title": "T", "description": "D", "runs": [block]}))
    code, _, err = cli("sweep", suite, "--output", output, "--plugin", idea)
    assert code == 3
    assert "made with another idea.py" in err
    assert records(output) == before
    assert cli(*given, "--force")[0] == 0
    [record] = records(output)
    assert record["plugin_files"] == {"idea.py": hashlib.sha256(idea.read_bytes()).hexdigest()}


def test_a_checkpoint_is_not_gone_on_from_with_another_file(idea: Path, tmp_path: Path) -> None:
    class Stop(Silent):
        def epoch(self, entry: dict[str, Any]) -> None:
            if entry["epoch"] == 2:
                raise KeyboardInterrupt

    settings: dict[str, Any] = {"set": {"recipe.epochs": 3}, "output": tmp_path / "runs", "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        ncbench.run("smoothed", plugins=[idea], reporter=Stop(), checkpoint_seconds=0, **settings)
    idea.write_text(IDEA + "\n")
    with pytest.raises(DataError, match=r"made with something else: idea\.py was [0-9a-f]{12}, is [0-9a-f]{12}"):
        ncbench.run("smoothed", plugins=[idea], resume=True, **settings)
    idea.write_text(IDEA)
    assert ncbench.run("smoothed", plugins=[idea], resume=True, **settings).status == "completed"


def test_python_takes_files_and_objects_and_gives_the_model_back(idea: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"set": {"recipe.epochs": 1}, "output": tmp_path / "runs", "device": "cpu"}
    result = ncbench.run("smoothed", plugins=[str(idea)], **settings)
    with pytest.raises(ConfigurationError, match="Unknown method 'smoothed'"):
        ncbench.load_model(result)
    model = ncbench.load_model(result, plugins=[idea])
    images = np.zeros((2, *model.input_shape), np.uint8)
    assert model.predict(images).shape == (2,)

    seen: list[str] = []

    class Hooks:
        @hookimpl
        def ncbench_methods(self) -> list[MethodCard]:
            factory = "ncbench_methods.erm:ERM"
            return [MethodCard(name="again", summary="ERM anew.", factory=factory, supervision=Supervision())]

        @hookimpl
        def ncbench_run_finished(self, result: dict[str, Any]) -> None:
            seen.append(result["run_id"])

    hooks = Hooks()
    first = ncbench.run("again", plugins=[hooks, hooks], **settings)
    assert seen == [first.record.run_id]
    assert list(first.record.plugin_files) == ["object Hooks"]
    assert ncbench.run("again", plugins=[hooks], **settings).record == first.record
    with pytest.raises(DataError, match="made with another object Hooks"):  # whose code may be any
        ncbench.run("again", plugins=[Hooks()], **settings)
    baseline = ncbench.run("erm", plugins=[hooks], **settings)
    assert baseline.record.plugin_files == first.record.plugin_files
    assert ncbench.run("erm", **settings).record == baseline.record  # whose numbers do not depend on it


def test_a_run_builds_on_what_a_file_infers_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "inference.py"
    path.write_text(
        "import torch\n"
        "from torch.nn.functional import cross_entropy\n"
        "from ncbench import GroupInference, Groups, GroupsCard, Supervision, hookimpl\n"
        "class ByTurns(GroupInference):\n"
        "    def loss(self, batch):\n"
        "        return cross_entropy(self(batch.images), batch.target)\n"
        "    def infer(self, train, val):\n"
        "        return Groups(torch.arange(len(train)) % 2, 2)\n"
        "@hookimpl\n"
        "def ncbench_groups():\n"
        "    factory = 'inference:ByTurns'\n"
        "    return [GroupsCard(name='by_turns', summary='S.', factory=factory, supervision=Supervision())]\n"
    )
    settings: dict[str, Any] = {"output": tmp_path / "runs", "device": "cpu"}
    result = ncbench.run(
        "reweight", groups="by_turns", plugins=[path], set={"recipe.epochs": 1, "base.recipe.epochs": 1}, **settings
    )
    assert result.status == "completed"
    assert list(result.record.plugin_files) == ["inference.py"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(:\n", "SyntaxError"),
        ("raise RuntimeError('no GPU')", "RuntimeError: no GPU"),
        ("import sys; sys.exit()", "SystemExit"),
        ("import nowhere_at_all", "No module named 'nowhere_at_all'"),
        ("x = 1", "it implements no hook"),
        (IDEA.replace("@hookimpl", ""), "it implements no hook"),
        (IDEA.replace('"smoothed"', '"erm"'), "it calls a method 'erm', as "),
        (IDEA.replace("ncbench_methods()", "ncbench_metods()"), "ncbench_metods"),
        (IDEA + "@hookimpl\ndef ncbench_commands(cli): pass\n", "only an installed package can"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(code: str, said: str, tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "bad_idea.py"
    path.write_text(code)
    before = [*registry().plugins], {kind: sorted(names) for kind, names in registry().cards.items()}
    code_, _, err = cli("list", "methods", "--plugin", path)
    assert code_ == 2
    assert len(err.splitlines()) == 1
    assert "bad_idea.py" in err
    assert said in err
    assert "same command again" in err
    assert before == ([*registry().plugins], {kind: sorted(names) for kind, names in registry().cards.items()})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("missing.py", "There is no plugin file"),
        (".", "is no Python file"),
        ("notes.txt", "is no Python file"),
        ("json.py", "there is a module json already"),
    ],
)
def test_what_is_no_plugin_file_is_one_line(given: str, said: str, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "json.py").write_text(IDEA)
    code, _, err = cli("list", "methods", "--plugin", tmp_path / given)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert said in err


def test_two_files_of_one_name_are_refused_and_one_given_twice_is_one(idea: Path, tmp_path: Path, cli: Cli) -> None:
    other = tmp_path / "other" / "idea.py"
    other.parent.mkdir()
    other.write_text(IDEA.replace("smoothed", "smoother"))
    assert cli("list", "methods", "--plugin", idea, "--plugin", idea)[0] == 0
    code, _, err = cli("list", "methods", "--plugin", idea, "--plugin", other)
    assert code == 2
    assert "Two plugins are called idea.py" in err
    with pytest.raises(PluginError, match="object SimpleNamespace cannot be used as a plugin: it implements no hook"):
        ncbench.run("erm", plugins=[SimpleNamespace()])


@pytest.mark.slow
def test_the_runs_of_a_sweep_use_the_file_and_its_record_is_made_again(idea: Path, tmp_path: Path, cli: Cli) -> None:
    suite, output = tmp_path / "suite.yaml", tmp_path / "runs"
    block = {
        "methods": ["smoothed", "erm"],
        "datasets": ["colored_digits"],
        "seeds": [0],
        "settings": {"recipe.epochs": 1},
    }
    suite.write_text(yaml.safe_dump({"title": "T", "description": "D", "runs": [block]}))
    code, _, err = cli("sweep", suite, "--output", output, "--plugin", idea, "--device", "cpu", "--workers", 1)
    assert code == 0, err
    digest = hashlib.sha256(idea.read_bytes()).hexdigest()
    assert [record["plugin_files"] for record in records(output)] == [{"idea.py": digest}] * 2
    record = next(output.glob("smoothed*"))
    code, _, err = cli("run", "--from", record, "--output", tmp_path / "again")
    assert code == 2
    assert f"with --plugin idea.py (SHA-256 {digest[:12]})" in err
    assert cli("run", "--from", record, "--output", tmp_path / "again", "--plugin", idea, "--device", "cpu")[0] == 0
    [again] = records(tmp_path / "again")
    assert again["metrics"] == json.loads((record / "result.json").read_text())["metrics"]
    idea.write_text(IDEA + "\n")
    code, _, err = cli("run", "--from", record, "--output", tmp_path / "third", "--plugin", idea)
    assert code == 2
    assert "idea.py here is another file" in err
