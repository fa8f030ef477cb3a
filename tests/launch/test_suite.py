"""What a suite file says, and which runs follow from it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ncbench import ConfigurationError, Job
from ncbench.cli.commands.run import run
from ncbench.contracts.specs import parse_settings
from ncbench.launch.suite import load_suite
from ncbench.records.record import SearchPart
from ncbench.training.configuration import resolve

ROOT = Path(__file__).parents[2]
SUITES = ROOT / "leaderboard" / "suites"
SEARCH: dict[str, Any] = {"trials": 2, "select": "val_accuracy"}


def written(folder: Path, **block: Any) -> Path:
    defaults = {"methods": ["erm"], "datasets": ["colored_digits"], "seeds": [0]}
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump({"title": "T", "description": "D", "runs": [defaults | block]}))
    return path


def test_a_block_is_the_product_of_what_it_names(tmp_path: Path) -> None:
    suite = load_suite(
        written(
            tmp_path,
            methods=["erm", "shortcut_prime"],
            datasets=["colored_digits:conflict=0.05", "colored_digits"],
            seeds=[3, 1],
            settings={"recipe.epochs": 2},
            grid={"recipe.lr": [0.1, 0.01], "recipe.batch_size": [32]},
        )
    )
    members = suite.members()
    assert len({member.job.run_id for member in members}) == len(members) == 2 * 2 * 2 * 2
    assert [member.job.seed for member in members] == [1] * 8 + [3] * 8  # a sweep cut short has compared all methods
    recipes = [member.configuration.recipe for member in members]
    assert {(r.epochs, r.lr, r.batch_size) for r in recipes} == {(2, 0.1, 32), (2, 0.01, 32)}


def test_a_run_named_twice_is_made_once(tmp_path: Path) -> None:
    twice = written(tmp_path, datasets=["colored_digits", "colored_digits:conflict=0.01"])  # 0.01 is the default
    assert len(load_suite(twice).members()) == 1


def test_every_method_of_a_search_gets_as_many_trials_and_the_same_recipes(tmp_path: Path) -> None:
    space = {"recipe.lr": {"log_uniform": [1e-4, 1e-1]}, "recipe.weight_decay": {"uniform": [0, 1]}}
    path = written(
        tmp_path,
        methods=["erm", "shortcut_prime"],
        datasets=["colored_digits:val=0.1"],
        search={"trials": 6, "seed": 5, "select": "val_accuracy", "space": space | {"recipe.batch_size": [16, 32]}},
    )
    suite = load_suite(path)
    assert suite.members() == []
    erm, prime = suite.tunings()
    assert [trial.drawn for trial in erm.trials] == [trial.drawn for trial in prime.trials]
    assert len({str(trial) for trial in erm.trials}) == len({trial.run_ids[0] for trial in prime.trials}) == 6
    for trial in erm.trials:
        (member,) = trial.members
        recipe = member.configuration.recipe
        assert trial.drawn == {
            "recipe.batch_size": recipe.batch_size, "recipe.lr": recipe.lr, "recipe.weight_decay": recipe.weight_decay,
        }  # fmt: skip
        assert 1e-4 <= recipe.lr <= 1e-1
        assert 0 <= recipe.weight_decay <= 1
        assert recipe.batch_size in (16, 32)
    assert [trial.run_ids for trial in load_suite(path).tunings()[0].trials] == [trial.run_ids for trial in erm.trials]


def test_a_search_by_default_takes_each_methods_own_space_without_what_the_suite_sets(tmp_path: Path) -> None:
    of_all = {
        "seeds": [0, 1],
        "grid": {"recipe.batch_size": [32, 64]},
        "search": {"trials": 4, "space": "default", "select": "val_accuracy", "seeds": [0, 7]},
    }
    methods = ["erm", "focal", "focal:gamma=3"]
    suite = load_suite(written(tmp_path, methods=methods, settings={"recipe.weight_decay": 0.0}, **of_all))
    searched = {(tuning.pair.method, tuning.point["recipe.batch_size"]): tuning for tuning in suite.tunings()}
    assert searched.keys() == {(method, size) for method in ("erm", "focal", "focal:gamma=3") for size in (32, 64)}
    for (method, size), tuning in searched.items():
        assert [len(trial.run_ids) for trial in tuning.trials] == [2, 2, 2, 2]
        tried = {"recipe.lr", "method.gamma"} if method == "focal" else {"recipe.lr"}
        for trial in tuning.trials:
            assert trial.drawn.keys() == tried
            for member in trial.members:
                recipe = member.configuration.recipe
                assert (recipe.batch_size, recipe.weight_decay) == (size, 0)
    suite = load_suite(written(tmp_path, methods=["ncm"], **of_all))  # which has nothing to search
    assert suite.tunings() == []
    own = [member for member in suite.members() if member.configuration.method.name == "ncm"]
    assert [(member.job.seed, member.job.search) for member in own] == [(0, "")] * 2 + [(1, "")] * 2


def test_a_setting_that_is_not_searched_keeps_its_published_value(tmp_path: Path) -> None:
    search = {"trials": 2, "space": {"recipe.lr": {"log_uniform": [1e-4, 1e-2]}}, "select": "val_accuracy"}
    suite = load_suite(written(tmp_path, methods=["jtt"], datasets=["colored_mnist:val=0.1"], search=search))
    published = resolve("jtt", "colored_mnist", None, 0, {}, synthetic=False)
    for trial in suite.tunings()[0].trials:
        (member,) = trial.members
        assert member.configuration.method.params == published.method.params
        changed = {"lr": trial.drawn["recipe.lr"]}
        assert member.configuration.recipe == published.recipe.model_copy(update=changed)


def test_what_is_chosen_is_another_run_than_the_same_settings_by_hand(tmp_path: Path) -> None:
    search = {"trials": 3, "select": "val_worst_group_accuracy"}
    suite = load_suite(written(tmp_path, methods=["focal"], datasets=["colored_digits:val=0.1"], search=search))
    (tuning,) = suite.tunings()
    for trial in tuning.trials:
        (chosen,) = tuning.runs(trial.drawn)
        (by_hand,) = trial.members
        assert chosen.job.run_id not in trial.run_ids
        assert chosen.configuration.recipe == by_hand.configuration.recipe
        assert chosen.configuration.method.spec == by_hand.configuration.method.spec
        assert (by_hand.configuration.search, by_hand.configuration.labels_used(reads_val=False).val) == (None, "none")
        assert chosen.configuration.labels_used(reads_val=False).val == "bias"
        given = run.make_context("run", chosen.job.arguments()).params
        claim = SearchPart.read(given["search"])
        assert (claim.chosen, claim.trials, claim.seeds) == (trial.drawn, 3, (0,))
        assert SearchPart.read(claim.model_dump(mode="json")) == claim


def test_a_methods_parameter_is_a_setting_too(tmp_path: Path) -> None:
    path = written(tmp_path, methods=["focal"], grid={"method.gamma": [0.5, 1.0]})
    assert {member.job.method for member in load_suite(path).members()} == {"focal:gamma=0.5", "focal:gamma=1.0"}


def test_a_jobs_arguments_make_the_run_of_its_id(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        methods=["erm", "focal:gamma=2.5", "shortcut_prime:bias=pseudo"],
        datasets=["colored_digits:conflict=0.05,val=0.1"],
        backbone="mlp:hidden=7",
        settings={"recipe.lr": 1e-5, "recipe.compile": False, "recipe.selection": "val_accuracy"},
    )
    ids = set()
    for allow_mismatch in (False, True):
        for member in load_suite(path).members(allow_mismatch):
            given = run.make_context("run", member.job.arguments()).params
            names = ("method", "dataset", "backbone", "seed")
            settings = parse_settings(list(given["settings"]))
            made = resolve(
                *(given[name] for name in names),
                settings,
                synthetic=given["synthetic"],
                allow_mismatch=given["allow_mismatch"],
            )
            assert made.run_id == member.job.run_id == member.configuration.run_id
            ids.add(made.run_id)
    assert len(ids) == 6


@pytest.mark.parametrize(("anew", "started"), [(True, ["--force", "--resume"]), (False, ["--resume", "--resume"])])
def test_what_earlier_attempts_of_a_launcher_left_is_not_discarded(anew: bool, started: list[str]) -> None:
    job = Job("erm-1", "erm", "colored_digits", None, 0, {}, anew=anew)
    assert [job.arguments(attempt)[-1] for attempt in (0, 1)] == started


@pytest.mark.parametrize("devices", [1, 4])
def test_a_run_is_told_how_many_devices_it_takes(devices: int) -> None:
    job = Job("erm-1", "erm", "colored_digits", None, 0, {}, devices=devices)
    assert run.make_context("run", job.arguments()).params["devices"] == devices


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"methods": ["emr"]}, "Did you mean 'erm'"),
        ({"settings": {"recipe.epoch": 3}}, "Did you mean 'recipe.epochs'"),
        ({"grid": {"method.gamma": [1.0]}}, "Unknown parameter of erm 'gamma'"),
        ({"settings": {"recipe.epochs": 0}}, "greater than or equal to 1"),
        ({"seeds": [-1]}, "runs.0.seeds.0"),
        ({"seeds": []}, "runs.0.seeds"),
        ({"colour": "red"}, "runs.0.colour"),
        ({"search": {**SEARCH, "space": {"recipe.lr": []}}}, "runs.0.search.space.recipe.lr"),
        ({"search": {**SEARCH, "space": {"recipe.lr": {"log_uniform": [0, 1]}}}}, "greater than 0"),
        ({"search": {**SEARCH, "space": {"recipe.lr": {"uniform": [1, 1]}}}}, "1 is not below 1"),
        ({"search": {**SEARCH, "space": {}}}, "runs.0.search.space"),
        ({"search": {**SEARCH, "space": {"recipe.lrr": [1]}}}, "Did you mean 'recipe.lr'"),
        (
            {"search": {**SEARCH, "space": {"recipe.lr": [1]}}, "grid": {"recipe.lr": [2]}},
            "'recipe.lr' is both set for",
        ),
        ({"search": {"trials": 2}}, "runs.0.search.select is missing"),
        ({"search": {**SEARCH, "select": "last"}}, "no metric of the validation split"),
        ({"search": {**SEARCH, "select": "test_accuracy"}}, "Did you mean 'val_accuracy'"),
        ({"search": {**SEARCH, "seeds": []}}, "runs.0.search.seeds"),
        ({"search": {**SEARCH, "trials": 1}}, "runs.0.search.trials"),
        ({"search": {**SEARCH, "trials": 1001}}, "runs.0.search.trials"),
        ({"search": {**SEARCH, "seed": 2**63}}, "runs.0.search.seed"),
        ({"search": {**SEARCH, "seeds": [*range(101)]}}, "runs.0.search.seeds"),
        ({"search": {**SEARCH, "space": {f"recipe.{n}": [1] for n in range(101)}}}, "runs.0.search.space"),
        ({"search": {**SEARCH, "space": {"recipe.lr": ["0.1"]}}}, "search.space: recipe.lr: it is '0.1', and"),
        ({"search": {**SEARCH, "space": {"recipe.lr": [0.1, 0.2]}}, "seeds": [2**63]}, "A seed is a whole number"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    def read() -> None:
        suite = load_suite(written(tmp_path, **change))
        suite.members()
        suite.tunings()

    with pytest.raises(ConfigurationError) as raised:
        read()
    assert complaint in str(raised.value)
    assert "runs: Tuple" not in str(raised.value)  # that none is left follows from what is wrong
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["[", "runs: 3", "!!python/object/apply:os.system ['true']", "\xff\xfe"])
def test_a_file_that_is_no_suite_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "suite.yaml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigurationError, match="suite"):
        load_suite(path)
    with pytest.raises(ConfigurationError, match="There is no suite"):
        load_suite(tmp_path / "absent.yaml")


def test_the_documented_suite_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "suites.md").read_text(), re.DOTALL)
    path = tmp_path / "suite.yaml"
    path.write_text(example)
    suite = load_suite(path)
    assert len(suite.members()) == 2 * 2 * 3 * 2
    assert [len(tuning.trials) for tuning in suite.tunings()] == [8]


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_projects_suites_name_runs_that_exist(path: Path) -> None:
    assert load_suite(path).members() or load_suite(path).tunings()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("settings: {recipe.epochs: 1}\n    settings: {recipe.lr: 0.01}", "'settings' is given twice, in line"),
        ("settings: {recipe.epochs: 1, recipe.epochs: 50}", "'recipe.epochs' is given twice"),
        ("seed: [1]", r"runs\.0\.seed is not a key that is known"),
        ("search: {trials: 100000000, select: val_accuracy}", r"runs\.0\.search\.trials should be less than"),
    ],
)
def test_a_suite_that_says_one_thing_twice_or_too_much_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(
        "title: t\ndescription: d\nruns:\n"
        f"  - methods: [erm]\n    datasets: [colored_digits]\n    seeds: [0]\n    {text}\n"
    )
    with pytest.raises(ConfigurationError, match=complaint):
        load_suite(path)


def test_a_seed_that_yaml_1_1_takes_for_a_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(
        "title: t\ndescription: d\nruns:\n  - methods: [erm]\n    datasets: [colored_digits]\n    seeds: [yes]\n"
    )
    with pytest.raises(ConfigurationError, match=r"runs\.0\.seeds\.0 should be a valid integer"):
        load_suite(path)
