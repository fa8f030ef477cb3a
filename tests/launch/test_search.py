"""Searches: trials are made, one is chosen by validation metrics, and its setting is run."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

import ncbench
from ncbench import Ended, Job, Launcher, NcbenchError, Started
from ncbench.cli.tables.result import print_result
from ncbench.cli.tables.trials import as_dict, outcome, trials_table
from ncbench.contracts.launcher import Event
from ncbench.launch.search import Tuning, in_turns
from ncbench.launch.suite import load_suite
from ncbench.launch.sweep import Sweep
from ncbench.records.archive import TRIALS

Cli = Callable[..., tuple[int, str, str]]
DATASET = "colored_digits:conflict=0.3,per_class=20,val=0.3,val_bias=uniform"
SEARCH: dict[str, Any] = {"trials": 3, "select": "val_worst_group_accuracy"}


def suite(folder: Path, **block: Any) -> Path:
    defaults = {"methods": ["erm"], "datasets": [DATASET], "seeds": [0, 1], "settings": {"recipe.epochs": 1}}
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump({"title": "Try", "description": "D", "runs": [defaults | block]}))
    return path


class InThisProcess(Launcher):
    """Makes runs one after the other, without the seconds that a process of its own takes to start."""

    def launch(self, jobs: Sequence[Job], output: Path, arguments: Sequence[str]) -> Generator[Event, None, None]:
        for job in jobs:
            yield Started(job)
            try:
                result = ncbench.run(
                    job.method,
                    job.dataset,
                    job.seed,
                    job.backbone,
                    set=job.settings,
                    output=output,
                    search=job.search or None,
                    resume=not job.anew,
                    force=job.anew,
                    warn=lambda line: None,
                )
            except NcbenchError as error:
                yield Ended(job, 1, str(error))
            else:
                yield Ended(job, 4 if result.status == "diverged" else 0, "")


def make(state: Sweep, most: int | None = None) -> Sweep:
    """Make the runs, or some of them and no more."""
    events = state.make(InThisProcess(Launcher.Parameters()), None)
    ended = 0
    for run in events:
        ended += run.state != "running"
        if ended == most:
            break
    events.close()
    return state


def edit(state: Sweep, run_id: str, change: Callable[[Any], object]) -> None:
    path = state.output / run_id / "result.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def trials_of(tunings: Sequence[Tuning], output: Path) -> Sweep:
    return Sweep.of(in_turns(tunings), output / TRIALS)


def test_an_interrupted_search_goes_on_and_chooses_by_validation_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tunings = load_suite(suite(tmp_path, methods=["erm", "focal"], search=SEARCH)).tunings()
    cut_off = make(trials_of(tunings, tmp_path), most=4)
    assert [run.state for run in cut_off.runs.values()] == ["completed"] * 4 + ["missing"] * 2
    assert [tuning.chosen(cut_off) for tuning in tunings] == [None, None]
    assert outcome(tunings[0], cut_off).endswith("of 3 trials 1 not made; the same command makes what is missing.")
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob(f"{TRIALS}/*/result.json")}

    made = make(trials_of(tunings, tmp_path))
    assert not made.unfinished
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    chosen = [tuning.chosen(made) for tuning in tunings]
    for run_id in made.runs:  # of no account, whatever they are
        edit(made, run_id, lambda record: record["metrics"]["test"].update(accuracy=0.123456))
    again = trials_of(tunings, tmp_path)
    assert [tuning.chosen(again) for tuning in tunings] == chosen
    assert "0.12" not in json.dumps([as_dict(tuning, again) for tuning in tunings])

    members = [member for tuning in tunings for member in tuning.members(made)]
    state = make(Sweep.of(members, tmp_path))
    assert len(state.runs) == 2 * 2
    for run in state.runs.values():
        assert run.result is not None
        record = run.result.record
        assert record.search is not None
        assert record.search.contradiction(record.method.parameters, record.settings) is None
        (trial,) = (each for each in chosen if each is not None and each.drawn == record.search.chosen)
        assert str(record.search) == "searched: 3 trials, 1 seed each, of its own space by val_worst_group_accuracy"
        assert record.method.supervision.val == "bias"
        if record.seed == 0:  # the same computation as the trial's, bit for bit
            twin = made.runs[trial.run_ids[0]].result
            assert twin is not None
            assert (twin.record.search, twin.record.groups) == (None, record.groups)
        print_result(run.result)
        assert f"Settings {record.search}." in " ".join(capsys.readouterr().out.split())
    assert not Sweep.of(members, tmp_path).unfinished


def test_the_best_trial_is_chosen_ties_by_the_mean_over_groups_then_the_first(tmp_path: Path) -> None:
    (tuning,) = load_suite(suite(tmp_path, search={**SEARCH, "trials": 4})).tunings()
    made = make(trials_of([tuning], tmp_path))

    def choose(*values: tuple[float, float]) -> int | None:
        for trial, (worst, mean) in zip(tuning.trials, values, strict=True):
            numbers = {"worst_group_accuracy": worst, "group_mean_accuracy": mean}
            edit(made, trial.run_ids[0], lambda record, numbers=numbers: record["metrics"]["val"].update(numbers))
        chosen = tuning.chosen(trials_of([tuning], tmp_path))
        return None if chosen is None else list(tuning.trials).index(chosen)

    def shown() -> list[str]:
        file = io.StringIO()
        Console(width=200, file=file).print(trials_table(tuning, trials_of([tuning], tmp_path)))
        return file.getvalue().splitlines()

    assert choose((0.1, 0.9), (0.3, 0.2), (0.2, 0.9), (0.3, 0.1)) == 1
    assert "then val_group_mean_accuracy" in shown()[0]
    assert shown()[1].split()[-3:] == ["30.00", "20.00", "chosen"]
    trials = trials_of([tuning], tmp_path)
    assert "2 tied, of these the best val_group_mean_accuracy, 20.00, " in outcome(tuning, trials)
    assert [trial["tie_break"] for trial in as_dict(tuning, trials)["trials"]][1:3] == [0.2, 0.9]
    assert choose((0.1, 0.9), (0.3, 0.2), (0.2, 0.9), (0.4, 0.1)) == 3
    assert "then" not in shown()[0]
    assert choose((0.1, 0.2), (0.1, 0.5), (0.0, 0.9), (0.1, 0.5)) == 1
    assert choose((0.0, 0.2), (0.0, 0.2), (0.0, 0.2), (0.0, 0.2)) == 0
    edit(made, tuning.trials[0].run_ids[0], lambda record: record.update(status="failed", reason="power cut"))
    assert choose((0.9, 0.9), (0.1, 0.2), (0.2, 0.2), (0.0, 0.2)) is None  # it is made anew, and may be the best one
    said = outcome(tuning, trials_of([tuning], tmp_path))
    assert said.endswith("of 4 trials 1 failed; the same command makes what is missing.")
    edit(made, tuning.trials[0].run_ids[0], lambda record: record.update(status="diverged", reason="nan"))
    assert choose((0.9, 0.9), (0.1, 0.2), (0.2, 0.2), (0.0, 0.2)) == 2
    edit(made, tuning.trials[2].run_ids[0], lambda record: record.update(fitted=["train", "val"]))
    assert choose((0.9, 0.9), (0.1, 0.2), (0.2, 0.2), (0.0, 0.2)) == 1
    edit(made, tuning.trials[3].run_ids[0], lambda record: record.update(status="interrupted"))
    assert choose((0.9, 0.9), (0.1, 0.2), (0.2, 0.2), (0.9, 0.2)) is None  # it may be the best one


def test_lower_is_better_where_it_is_and_seeds_are_averaged(tmp_path: Path) -> None:
    search = {
        "trials": 2,
        "select": "val_balanced_error",
        "seeds": [0, 3],
        "space": {"recipe.lr": [0.01, 1e-6]},
        "seed": 3,
    }
    (tuning,) = load_suite(suite(tmp_path, search=search)).tunings()
    assert {trial.drawn["recipe.lr"] for trial in tuning.trials} == {0.01, 1e-6}
    made = make(trials_of([tuning], tmp_path))
    chosen = tuning.chosen(made)
    assert chosen is not None
    errors = [
        [made.runs[run_id].result.record.metrics["val"]["balanced_error"] for run_id in t.run_ids]
        for t in tuning.trials
    ]  # type: ignore[union-attr]
    means = [sum(each) / 2 for each in errors]
    assert tuning.value(chosen, made) == pytest.approx(min(means))


def test_a_failed_trial_is_made_again_before_anything_is_chosen(tmp_path: Path) -> None:
    (tuning,) = load_suite(suite(tmp_path, search={**SEARCH, "trials": 2})).tunings()
    first = make(trials_of([tuning], tmp_path))
    best = tuning.chosen(first)
    assert best is not None
    edit(first, best.run_ids[0], lambda record: record.update(status="failed", reason="the disk was full"))
    again = trials_of([tuning], tmp_path)
    assert (tuning.chosen(again), tuning.members(again)) == (None, [])
    assert [run.member.job.run_id for run in again.unfinished] == list(best.run_ids)
    assert tuning.chosen(make(again)) == best


def test_a_trial_whose_base_diverged_has_diverged_and_nothing_waits_for_it(tmp_path: Path) -> None:
    search = {"trials": 4, "select": "val_accuracy", "space": {"base.recipe.lr": [0.01, 1e30]}, "seed": 1}
    settings = {"base.recipe.epochs": 1, "recipe.epochs": 1}
    (tuning,) = load_suite(suite(tmp_path, methods=["crt"], settings=settings, search=search)).tunings()
    assert {trial.drawn["base.recipe.lr"] for trial in tuning.trials} == {0.01, 1e30}
    made = make(trials_of([tuning], tmp_path))
    chosen = tuning.chosen(made)
    assert chosen is not None
    assert chosen.drawn == {"base.recipe.lr": 0.01}


def test_few_images_in_a_group_by_which_is_chosen_are_said(tmp_path: Path) -> None:
    (tuning,) = load_suite(suite(tmp_path, search={**SEARCH, "trials": 2})).tunings()
    made = make(trials_of([tuning], tmp_path))
    assert "3 images in the smallest group, so that it is partly chance)" in outcome(tuning, made)


def test_trials_that_diverge_are_not_chosen_and_if_all_do_the_rest_goes_on(tmp_path: Path) -> None:
    some = {"trials": 4, "select": "val_accuracy", "space": {"recipe.lr": [0.01, 1e30]}, "seed": 1}
    (tuning,) = load_suite(suite(tmp_path, search=some)).tunings()
    assert {trial.drawn["recipe.lr"] for trial in tuning.trials} == {0.01, 1e30}
    made = make(trials_of([tuning], tmp_path))
    chosen = tuning.chosen(made)
    assert chosen is not None
    assert chosen.drawn == {"recipe.lr": 0.01}

    every = {**some, "space": {"recipe.lr": [1e30]}}
    (tuning,) = load_suite(suite(tmp_path, search=every)).tunings()
    made = make(trials_of([tuning], tmp_path))
    assert not made.unfinished
    assert (tuning.chosen(made), tuning.members(made)) == (None, [])
    assert outcome(tuning, made) == f"Nothing is chosen for erm on {DATASET}: of 4 trials 4 diverged."


@pytest.mark.parametrize(
    ("dataset", "select", "complaint"),
    [
        ("colored_digits", "val_accuracy", "which colored_digits does not have. colored_digits:val=0.1 holds one out."),
        ("colored_digits", "val_worst_group_accuracy", "a validation split with bias labels, which colored_digits"),
    ],
)
def test_a_criterion_without_its_labels_is_refused_before_anything_is_made(
    tmp_path: Path, cli: Cli, dataset: str, select: str, complaint: str
) -> None:
    path = suite(tmp_path, datasets=[dataset], search={"trials": 2, "select": select})
    code, out, err = cli("sweep", path, "--output", tmp_path / "runs")
    assert (code, out) == (2, "")
    assert f"search.select={select} needs" in err
    assert complaint in err
    assert not (tmp_path / "runs").exists()
    assert cli("sweep", path, "--json")[0] == 2


def test_what_a_command_line_says_of_a_search_must_be_so(tmp_path: Path, cli: Cli) -> None:
    space = {"recipe.lr": [0.1, 0.2]}
    claim = {"trials": 9, "seed": 0, "seeds": [0], "space": space, "criterion": "val_accuracy"}
    asked = ["run", "--method", "erm", "--dataset", DATASET, "--output", tmp_path / "runs", "--set", "recipe.lr=0.2"]
    for search, complaint in (
        ("{", "search: "),
        (json.dumps({**claim, "chosen": {"recipe.lr": 0.1}}), "it is 0.1, and the run has 0.2"),
        (json.dumps({**claim, "chosen": {"recipe.lr": 0.2}, "space": {"recipe.lr": [0.1]}}), "not among the 9 trials"),
        (json.dumps({**claim, "chosen": {"recipe.lr": 0.2}, "criterion": "val_luck"}), "'val_luck'"),
    ):
        code, out, err = cli(*asked, "--search", search)
        assert (code, out) == (2, "")
        assert complaint in err
        assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("block", "code", "said"),
    [
        ({"methods": ["dfr"], "settings": {}, "search": SEARCH}, 0, "nothing to search of them: dfr.\n"),
        ({"methods": ["dfr"], "settings": {}, "search": SEARCH, "datasets": ["colored_digits"]}, 2, "search.select="),
        (
            {"methods": ["dfr"], "settings": {}, "search": {**SEARCH, "space": {"base.recipe.lr": [0.1, 0.2]}}},
            2,
            "dfr fits on the validation images",
        ),
        ({}, 0, "This suite has no search, and so no trials.\n"),
    ],
)
def test_what_is_not_searched_is_said(tmp_path: Path, cli: Cli, block: dict[str, Any], code: int, said: str) -> None:
    ended, out, err = cli("sweep", suite(tmp_path, **block), "--output", tmp_path / "runs", "--trials")
    assert (ended, out) == (code, "")
    assert said in err


@pytest.mark.slow
def test_one_command_searches_and_runs_what_is_chosen(tmp_path: Path, cli: Cli) -> None:
    path = suite(tmp_path, seeds=[0], search={"trials": 2, "select": "val_accuracy"})
    runs = tmp_path / "runs"
    code, out, err = cli("sweep", path, "--output", runs, "--dry-run")
    assert (code, out.count("missing      trial: erm")) == (0, 2)
    assert "to come      erm on" in out
    code, out, err = cli("sweep", path, "--output", runs, "--workers", 1)
    assert code == 0, err
    assert "before them 2 trials, 2 to make" in err
    assert out.count("Chosen for erm on") == 1
    assert "searched" in out
    assert len([*runs.glob("*/result.json")]) == 1
    code, out, _ = cli("sweep", path, "--output", runs, "--trials", "--json")
    (tuning,) = json.loads(out)
    assert [trial["chosen"] for trial in tuning["trials"]].count(True) == 1
    code, out, _ = cli("sweep", path, "--output", runs, "--trials")
    assert (code, out.count("chosen\n")) == (0, 1)
    code, _, err = cli("sweep", path, "--output", runs)
    assert "1 run, 0 of them to make; before them 2 trials, 0 to make" in err
    code, out, err = cli("compare", runs)
    assert code == 0
    assert TRIALS not in err
