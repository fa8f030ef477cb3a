"""Discovery is tested on real distributions: folders with modules and dist-info on the path of a new process."""

from __future__ import annotations

import contextlib
import json
import signal
import textwrap
import time
from pathlib import Path

import pytest

from ncbench import PluginError
from ncbench.discovery import isolation
from ncbench.discovery.registry import plural
from tests import served

METHOD = """
from ncbench import MethodCard, Supervision, hookimpl

@hookimpl
def ncbench_methods():
    factory = "{module}:Missing"
    return [MethodCard(name="{name}", summary="Of a third party.", factory=factory, supervision=Supervision())]
"""


def install(site: Path, distribution: str, version: str, code: str) -> None:
    """Lay out an installed distribution with one entry point."""
    module = distribution.replace("-", "_")
    (site / f"{module}.py").write_text(textwrap.dedent(code))
    info = site / f"{module}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[ncbench]\nplugin = {module}\n")


def ncbench(site: Path, *arguments: str, **environment: str | None) -> served.Finished:
    """Run a command where what is installed in `site` is found, and nothing else that somebody has installed."""
    theirs = ",".join(info.stem.rpartition("-")[0] for info in site.glob("*.dist-info"))
    return served.ncbench(*arguments, **{"PYTHONPATH": str(site), "NCBENCH_PLUGINS": theirs, **environment})


def listed(site: Path, **environment: str | None) -> set[str]:
    result = ncbench(site, "list", "methods", "--json", **environment)
    assert result.returncode == 0, result.stderr
    return {row["name"] for row in json.loads(result.stdout)}


def test_a_third_partys_method_shows_up_with_its_provenance(tmp_path: Path) -> None:
    install(tmp_path, "their-method", "1.2", METHOD.format(name="theirs", module="their_method"))
    rows = json.loads(ncbench(tmp_path, "list", "methods", "--json").stdout)
    theirs = next(row for row in rows if row["name"] == "theirs")
    assert theirs["plugin"] == {"distribution": "their-method", "version": "1.2"}
    assert {"erm", "shortcut_prime"} <= {row["name"] for row in rows}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('no GPU here')", "RuntimeError: no GPU here"),
        ("import nowhere", "No module named 'nowhere'"),
        ("raise SystemExit('no licence')", "SystemExit: no licence"),
        ("import sys; sys.exit()", "SystemExit"),
        (METHOD.replace("@hookimpl", ""), "without @hookimpl"),
        (METHOD.replace("Supervision()", "'bias'"), "must be a Supervision, not 'bias'"),
        (METHOD.replace("Supervision()", "Supervision(train='biased')"), "must be one of none, bias"),
        (METHOD.replace("ncbench_methods()", "ncbench_methods(wrong_argument)"), "wrong_argument"),
        (METHOD.replace("ncbench_methods()", "ncbench_metods()"), "ncbench_metods"),
        (METHOD.replace("MethodCard(", "dict("), "not a MethodCard"),
        (METHOD.replace('name="{name}"', 'name="Not A Name"'), "lower-case"),
        (METHOD.replace("return [", "return 1/0, ["), "division by zero"),
    ],
)
def test_a_broken_plugin_is_reported_and_the_rest_goes_on(tmp_path: Path, code: str, reason: str) -> None:
    install(tmp_path, "broken-one", "0.3", code.replace("{name}", "broken").replace("{module}", "broken_one"))
    install(tmp_path, "good-one", "1.0", METHOD.format(name="good", module="good_one"))
    result = ncbench(tmp_path, "list", "methods")
    assert result.returncode == 0
    assert "good " in result.stdout
    assert "Of a third party.  [broken-one]" not in result.stdout
    warning = next(line for line in result.stderr.splitlines() if "broken-one 0.3" in line)
    assert reason in warning

    report = json.loads(ncbench(tmp_path, "plugins", "--json").stdout)
    skipped = [row for row in report["plugins"] if row["status"] == "skipped"]
    assert [(row["distribution"], row["version"]) for row in skipped] == [("broken-one", "0.3")]

    strict = ncbench(tmp_path, "list", "methods", NCBENCH_STRICT="1")
    assert strict.returncode == 2
    assert "broken-one 0.3" in strict.stderr
    assert "Traceback" not in strict.stderr


MORE_FAULTS = [
    ("class Panic(BaseException): pass\nraise Panic(1)", "Panic: 1"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ("raise GeneratorExit", "GeneratorExit"),
    ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
    ("class Mute(Exception):\n def __str__(self): raise self\nraise Mute", "Mute: its message cannot be printed"),
    (METHOD.replace("return [", "return None, ["), "returned NoneType, which is not a MethodCard"),
    (METHOD.replace("return [", "return {1: ").replace(")]", ")}"), "returned int, which is not a MethodCard"),
    (METHOD.replace("return [", "return ").replace(")]", ")"), "returned MethodCard, not cards"),
    (METHOD.replace("return [", "["), "returned NoneType, not cards"),
    (
        METHOD.replace("return", "while True: yield from").replace("{name}", "a{id(object())}").replace('="a', '=f"a'),
        "",
    ),
    (METHOD.replace("return", "from itertools import count; yield from").replace(")]", ") for _ in count()]"), ""),
    (METHOD.replace("MethodCard", "GroupsCard"), "returned GroupsCard, which is not a MethodCard"),
    (METHOD.replace("return [", "return 2 * ["), "returned two cards named 'broken'"),
    (METHOD.replace("return [", "return [MethodCard.__new__(MethodCard), "), "object has no attribute 'name'"),
    (METHOD.replace('"Of a third party."', "7"), "The summary of a card must be text, not int."),
    (METHOD.replace('name="{name}"', "name=None"), "The name of a card must be text, not NoneType."),
    (METHOD.replace("factory=factory", "factory=Supervision"), "The factory of a card must be text, not type."),
]


def test_however_many_plugins_are_broken_in_whatever_ways_each_is_reported(tmp_path: Path) -> None:
    for number, (code, _) in enumerate(MORE_FAULTS):
        module = f"broken_{number}"
        install(tmp_path, module, "0.3", code.replace("{name}", "broken").replace("{module}", module))
    install(tmp_path, "good-one", "1.0", METHOD.format(name="good", module="good_one"))
    rows = json.loads(ncbench(tmp_path, "plugins", "--json").stdout)["plugins"]
    found = {row["distribution"]: row for row in rows}
    assert found["good-one"]["status"] == "in use"
    for number, (_, reason) in enumerate(MORE_FAULTS):
        row = found[f"broken_{number}"]
        assert (row["status"], row["version"]) == ("skipped", "0.3")
        assert reason in row["reason"]


def test_what_is_left_of_a_distribution_is_reported_and_skipped(tmp_path: Path) -> None:
    for name in ("no_metadata", "no_name", "no_version", "garbage", "binary", "no_entry_points", "good"):
        install(tmp_path, name, "1.0", METHOD.format(name=name, module=name))
    files = {name: tmp_path / f"{name}-1.0.dist-info" for name in ("no_metadata", "no_name", "no_version", "garbage")}
    (files["no_metadata"] / "METADATA").unlink()
    (files["no_name"] / "METADATA").write_text("Metadata-Version: 2.1\nVersion: 1.0\n")
    (files["no_version"] / "METADATA").write_text("Metadata-Version: 2.1\nName: no_version\n")
    (files["garbage"] / "entry_points.txt").write_text("[ncbench]\nplugin\n= = =\n[[\n")
    (tmp_path / "binary-1.0.dist-info" / "entry_points.txt").write_bytes(b"[ncbench]\n\xff\xfe\x00")
    (tmp_path / "no_entry_points-1.0.dist-info" / "entry_points.txt").unlink()
    (tmp_path / "empty-1.0.dist-info").mkdir()
    result = ncbench(tmp_path, "list", "methods")
    assert result.returncode == 0
    assert "good " in result.stdout
    warned = {line.partition(" 1.0 was skipped: ")[0].rpartition(" ")[2]: line for line in result.stderr.splitlines()}
    assert set(warned) == {"no_metadata", "no_name", "no_version", "garbage", "binary"}
    for name, line in warned.items():
        assert f"delete {tmp_path / f'{name}-1.0.dist-info'}" in line


def test_a_plugin_that_never_gets_ready_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for never in (lambda: time.sleep(60), lambda: all(iter(int, 1)) or _stubborn(), _stubborn):
        with pytest.raises(PluginError, match=r"not ready after 0\.05 s"), isolation.contained(0.05):
            never()


def _stubborn() -> None:
    while True:
        with contextlib.suppress(Exception):
            time.sleep(60)


def test_the_users_ctrl_c_is_no_fault_of_the_plugin() -> None:
    with pytest.raises(KeyboardInterrupt), isolation.contained():
        signal.raise_signal(signal.SIGINT)


def test_what_a_plugin_prints_while_it_is_found_goes_to_stderr(tmp_path: Path) -> None:
    code = METHOD.format(name="theirs", module="loud_one").replace("    factory", "    print('hook')\n    factory")
    command = "\n@hookimpl\ndef ncbench_commands(cli): print('command')\n"
    install(tmp_path, "loud-one", "1.0", "import os; print('module'); os.system('echo shell')" + code + command)
    result = ncbench(tmp_path, "list", "methods", "--json")
    assert "theirs" in {row["name"] for row in json.loads(result.stdout)}
    assert result.stderr.splitlines() == ["module", "shell", "hook", "command"]


def test_two_plugins_with_one_name_are_an_error_that_names_both(tmp_path: Path) -> None:
    install(tmp_path, "one", "1.0", METHOD.format(name="contested", module="one"))
    install(tmp_path, "two", "2.0", METHOD.format(name="contested", module="two"))
    result = ncbench(tmp_path, "run", "--method", "contested", "--output", str(tmp_path / "runs"))
    assert result.returncode == 2
    assert "one 1.0" in result.stderr.splitlines()[-1]
    assert "two 2.0" in result.stderr.splitlines()[-1]
    # Every other name still works.
    assert "erm" in listed(tmp_path)


def test_the_allow_list_names_distributions(tmp_path: Path) -> None:
    install(tmp_path, "one", "1.0", METHOD.format(name="first", module="one"))
    install(tmp_path, "Two_B", "2.0", METHOD.format(name="second", module="Two_B"))
    assert {"first", "second", "erm"} <= listed(tmp_path, NCBENCH_PLUGINS=None)
    assert {"first", "second"} & listed(tmp_path, NCBENCH_PLUGINS="two-b") == {"second"}
    built_in = listed(tmp_path, NCBENCH_PLUGINS="")
    assert not {"first", "second"} & built_in
    assert "erm" in built_in


def test_a_factory_that_is_missing_is_one_line_when_used(tmp_path: Path) -> None:
    install(tmp_path, "their-method", "1.2", METHOD.format(name="theirs", module="their_method"))
    result = ncbench(tmp_path, "run", "--method", "theirs", "--output", str(tmp_path / "runs"))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "'theirs' cannot be used" in result.stderr


def test_a_plugin_may_add_a_command_but_not_replace_one(tmp_path: Path) -> None:
    code = """
    import click
    from ncbench import hookimpl

    @hookimpl
    def ncbench_commands(cli):
        @cli.command("{name}")
        def command():
            click.echo("hello from a plugin")
    """
    install(tmp_path, "polite", "1.0", code.replace("{name}", "greet"))
    assert ncbench(tmp_path, "greet").stdout == "hello from a plugin\n"
    install(tmp_path, "rude", "1.0", code.replace("{name}", "run"))
    result = ncbench(tmp_path, "run", "--help")
    assert "hello from a plugin" not in result.stdout
    assert "rude 1.0" in result.stderr


def test_observers_hear_of_a_run_and_cannot_stop_it(tmp_path: Path) -> None:
    code = """
    import json
    from pathlib import Path
    from ncbench import hookimpl

    LOG = Path(__file__).with_name("heard.jsonl")

    def note(*content):
        with LOG.open("a") as file:
            file.write(json.dumps(content) + "\\n")

    @hookimpl
    def ncbench_run_started(run):
        note("started", run["run_id"], run["seed"])

    @hookimpl
    def ncbench_epoch_finished(run, epoch, logs):
        note("epoch", epoch, sorted(logs))
        logs["losses"]["loss"] = run["recipe"]["epochs"] = -1
        raise RuntimeError("observers must not matter")

    @hookimpl
    def ncbench_run_finished(result):
        note("finished", result["status"])
    """
    install(tmp_path, "observer", "1.0", code)
    runs = tmp_path / "runs"
    arguments = ("run", "--set", "recipe.epochs=2", "--output", str(runs), "--seed", "5")
    result = ncbench(tmp_path, *arguments)
    assert result.returncode == 0, result.stderr
    assert "observers must not matter" in result.stderr
    heard = [json.loads(line) for line in (tmp_path / "heard.jsonl").read_text().splitlines()]
    run_id = next(runs.iterdir()).name
    assert [heard[0], heard[-1]] == [["started", run_id, 5], ["finished", "completed"]]
    assert [entry[1] for entry in heard[1:-1]] == [1, 2]
    record = json.loads((runs / run_id / "result.json").read_text())
    assert record["recipe"]["epochs"] == 2
    assert all(entry["losses"]["loss"] > 0 for entry in record["history"])


def test_a_plugin_may_bring_any_kind_of_card(tmp_path: Path) -> None:
    code = """
    from ncbench import BackboneCard, DatasetCard, GroupsCard, LauncherCard, MetricCard, Supervision, hookimpl

    common = {"summary": "Of a third party.", "factory": "brings_all:Missing"}

    @hookimpl
    def ncbench_datasets():
        return [DatasetCard(name="their_dataset", manifest="brings_all:their_dataset.yaml", **common)]

    @hookimpl
    def ncbench_metrics():
        return [MetricCard(name="their_metric", metrics={"theirs": "higher"}, **common)]

    @hookimpl
    def ncbench_groups():
        return [GroupsCard(name="their_groups", supervision=Supervision(), **common)]

    @hookimpl
    def ncbench_backbones():
        return [BackboneCard(name="their_backbone", **common)]

    @hookimpl
    def ncbench_launchers():
        return [LauncherCard(name="their_launcher", **common)]
    """
    install(tmp_path, "brings-all", "1.0", code)
    for kind in ("dataset", "groups", "metric", "backbone", "launcher"):
        result = ncbench(tmp_path, "list", plural(kind))
        (line,) = (line for line in result.stdout.splitlines() if line.startswith(f"their_{kind} "))
        assert "Of a third party." in line
        assert line.endswith("[brings-all]")
