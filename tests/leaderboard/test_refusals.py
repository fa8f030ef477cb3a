"""Records from strangers: every kind of fault is named by file, field and reason, and the rest still builds."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ncbench
from ncbench.data.sources.manifest import load_manifest
from ncbench.leaderboard.build import build
from ncbench.leaderboard.check import check
from ncbench.leaderboard.intake.canonical import canonical
from ncbench.leaderboard.intake.problems import Problem
from ncbench.leaderboard.tables.board import Board
from ncbench.records.archive import MAX_BYTES
from tests.leaderboard.records import BUILT_IN, SOMEBODY, make_record, named, place, place_all, seeds, settled

Content = dict[str, Any]


def only_left_out(board: Path) -> Problem:
    """Build beside three sound records, which must still count, and return the one that does not."""
    place_all(board, seeds("lff"))
    built = build(board)
    assert built.counted == 3
    assert [row.method.name for row in built.datasets[0].sections[0].rows] == ["lff"]
    (left,) = built.left_out
    assert check(board).failures == ([f"{left.file}: {left.field or 'the whole'}: {left.reason}."] * left.refused)
    return left


def _set(path: str, value: Any) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        *parents, last = path.split(".")
        part: Any = content
        for key in parents:
            part = part[int(key) if isinstance(part, list) else key]
        part[int(last) if isinstance(part, list) else last] = value

    return change


def _drop(path: str) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        *parents, last = path.split(".")
        part: Any = content
        for key in parents:
            part = part[key]
        del part[last]

    return change


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _one_more_correct(content: Content) -> None:
    content["groups"]["test"][0]["correct"] += 1


def _slightly_better(content: Content) -> None:
    content["metrics"]["test"]["accuracy"] += 1e-8


def _cell_twice(content: Content) -> None:
    content["groups"]["test"].append(content["groups"]["test"][0])


TAMPERED: dict[str, tuple[Callable[[Content], None], str, str]] = {
    "count as text": (_set("groups.test.0.count", "50"), "groups.test.0.count", "integer"),
    "count as fraction": (_set("groups.test.0.count", 50.5), "groups.test.0.count", "integer"),
    "count as truth value": (_set("groups.test.0.correct", True), "groups.test.0.correct", "integer"),
    "negative count": (_set("groups.test.0.count", -1), "groups.test.0.count", "greater"),
    "more correct than images": (_set("groups.test.0.correct", 51), "groups.test.0", "51 correct of 50"),
    "huge count": (_set("groups.test.0.count", 10**30), "groups.test", "larger than any dataset"),
    "huge label": (_set("groups.test.3.bias", 10**30), "groups.test", "larger than any dataset"),
    "huge seed": (_set("seed", 10**30), "seed", "64 bits"),
    "huge number in the recipe": (_set("recipe.lr", 10**400), "recipe.lr", "64 bits"),
    "one more correct": (_one_more_correct, "metrics.test.", "the counts give"),
    "better accuracy": (_set("metrics.test.accuracy", 0.99), "metrics.test.accuracy", "the counts give"),
    "accuracy off by 1e-8": (_slightly_better, "metrics.test.accuracy", "the counts give"),
    "better worst group": (_set("metrics.test.worst_group_accuracy", 0.9), "metrics.test.worst_group", "counts give"),
    "better conflicting": (_set("metrics.test.conflicting_accuracy", 0.9), "metrics.test.conflicting", "counts give"),
    "better adjusted": (_set("metrics.test.adjusted_accuracy", 0.9), "metrics.test.adjusted", "the counts give"),
    "accuracy without counts": (_set("metrics.val", {"accuracy": 0.9}), "metrics.val.accuracy", "cannot be recomputed"),
    "a cell twice": (_cell_twice, "groups.test", "listed twice"),
    "bias known in part": (_set("groups.test.0.bias", None), "groups.test", "null in some"),
    "no images": (_set("groups.test", []), "groups.test", "no images"),
    "unknown version": (_set("schema_version", 2), "schema_version", "should be 1"),
    "version as text": (_set("schema_version", "1"), "schema_version", "should be 1"),
    "no version": (_drop("schema_version"), "schema_version", "missing"),
    "version as truth value": (_set("schema_version", True), "schema_version", "not the integer 1"),
    "version as fraction": (_set("schema_version", 1.0), "schema_version", "not the integer 1"),
    "long reason": (_set("reason", "x" * 10**6), "reason", "too long"),
    "unknown status": (_set("status", "excellent"), "status", "should be"),
    "unknown split": (_set("metrics.oracle", {"accuracy": 1.0}), "metrics.oracle", "should be"),
    "unknown key in a part": (_set("method.rank", 1), "method.rank", "not permitted"),
    "missing part": (_drop("groups"), "groups", "required"),
    "missing name": (_drop("method.name"), "method.name", "required"),
    "not a date": (_set("created", "yesterday"), "created", "datetime"),
    "name of another method": (_set("method.spec", "jtt"), "method.spec", "canonical spec of"),
    "spec not canonical": (_set("dataset.spec", "toy:b=1,a=2"), "dataset.spec", "canonical"),
    "spec that is none": (_set("method.spec", "erm:lr"), "method.spec", "not a canonical spec"),
    "spec against parameters": (_set("dataset.spec", "toy:conflict=0.5"), "dataset.parameters.conflict", "the spec"),
    "control characters": (_set("run_id", "a\x1b[2Jb"), "run_id", "do not print"),
    "reversed text": (_set("method.plugin.version", "1\u202e2"), "method.plugin.version", "do not print"),
    "deep nesting": (_set("environment.deep", _nested(20)), "environment.deep", "nested deeper"),
    "deep nesting in an extra": (_set("extra", _nested(20)), "extra", "nested deeper"),
    "long text": (_set("environment.novel", "x" * 5000), "environment.novel", "too long"),
    "epochs that do not count up": (_set("history.1.epoch", 7), "history", "count up"),
    "better epoch than the last": (_set("selection.last.epoch", 2), "selection.last.epoch", "chooses 3"),
    "selection missing": (_set("selection", {}), "selection.last", "missing"),
    "no selection rule": (_drop("recipe.selection"), "recipe.selection", "rule"),
    "no epochs": (_set("recipe.epochs", "many"), "recipe.epochs", "number of epochs"),
    "seed below 0": (_set("seed", -1), "seed", "'ncbench run' refuses"),
    "any id": (_set("run_id", "erm-toy-s0-0123456789"), "run_id", "configuration and the seed give"),
    "id of another seed": (_set("seed", 4), "run_id", "configuration and the seed give"),
    "another recipe": (_set("recipe.batch_size", 7), "run_id", "configuration and the seed give"),
    "recipe with a key that is none": (_set("recipe.lrr", 1), "recipe", "lrr"),
    "recipe out of range": (_set("recipe.momentum", 2), "recipe", "momentum"),
    "recipe as text": (_set("recipe.batch_size", "128"), "recipe.batch_size", "a run writes 128"),
    "epochs without a history": (_set("recipe.epochs", 10**9), "recipe.epochs", "the history has 3"),
    "fewer epochs than the history": (_set("recipe.epochs", 2), "recipe.epochs", "stages"),
    "no history": (_set("history", []), "recipe.epochs", "the history has 0"),
    "another learning rate": (_set("recipe.lr", 0.5), "history.0.lr", "the recipe gives 0.5"),
    "another schedule": (_set("recipe.schedule", "cosine"), "history.1.lr", "the recipe gives"),
    "history of another result": (_set("history.2.metrics.test.accuracy", 0.1), "selection.last.metrics", "history"),
    "selection of another result": (_set("selection.last.metrics.test.accuracy", 0.1), "selection.last", "history"),
    "an epoch beyond the history": (_set("selection.last.epoch", 4), "selection.last.epoch", "chooses 3"),
    "a rule of no epoch": (_set("selection.val_accuracy", {"epoch": 0, "metrics": {}}), "selection.val", "has 3"),
    "training that ended early": (_set("terminal_phase_epoch", 2), "terminal_phase_epoch", "by the history None"),
    "an accuracy of 2 on the way": (_set("history.0.metrics.test.accuracy", 2.0), "history.0.metrics.test", "0 to 1"),
    "a loss of 1e300": (_set("history.0.losses.loss", 1e300), "history.0.losses.loss", "can be from"),
    "a learning rate below 0": (_set("history.0.lr", -0.001), "history.0.lr", "the recipe gives"),
    "seconds below 0": (_set("history.0.seconds.train", -1.0), "history.0.seconds.train", "can be from 0"),
    "a report of 1e300": (_set("report", {"x": 1e300}), "report.x", "can be from"),
    "a fingerprint that is none": (_set("dataset.fingerprint", "mine"), "dataset.fingerprint", "SHA-256"),
    "a base of another seed": (
        _set("base", {"run_id": "erm-toy-s9-0123456789", "method": "erm", "model": "0" * 64}),
        "base.run_id",
        "begins with 'erm-toy-s0-'",
    ),
    "supersedes nonsense": (_set("supersedes", "../../etc"), "supersedes", "SHA-256"),
    "supersedes nothing": (_set("supersedes", "0" * 64), "supersedes", "no valid record"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_record_is_refused_and_named(board: Path, name: str) -> None:
    change, field, reason = TAMPERED[name]
    content = make_record()
    change(content)
    path = board / "results" / "toy" / "erm"
    path.mkdir(parents=True)
    placed = place(board, content) if "method" in content and "name" in content["method"] else None
    if placed is None:
        placed = place(board, {**make_record()}, canonical(content))
    left = only_left_out(board)
    assert left.refused
    assert left.file == placed.relative_to(board).as_posix()
    assert left.field.startswith(field)
    assert reason in left.reason


@pytest.mark.parametrize(
    "name", ["../../../tmp/x", "/etc/passwd", "Erm", "a b", "<script>", "con.txt", "x" * 65, "erm\n"]
)
@pytest.mark.parametrize("kind", ["method", "dataset", "backbone"])
def test_a_name_that_is_none_is_refused(board: Path, kind: str, name: str) -> None:
    content = make_record()
    content[kind]["name"] = content[kind]["spec"] = name
    place(board, make_record(), canonical(content))
    left = only_left_out(board)
    assert left.refused
    assert left.field.startswith(f"{kind}.")
    assert sorted(path.name for path in board.parent.iterdir()) == ["leaderboard"]


def _text(content: Content) -> str:
    return canonical(content).decode()


BYTES: dict[str, tuple[Callable[[Content], bytes], str, str]] = {
    "empty": (lambda content: b"", "", "JSON"),
    "binary": (lambda content: bytes(range(256)) * 50, "", "JSON"),
    "cut off": (lambda content: canonical(content)[:-50], "", "JSON"),
    "two documents": (lambda content: canonical(content) * 2, "", "JSON"),
    "a list": (lambda content: b"[1]\n", "", "object"),
    "NaN": (
        lambda content: _text(content).replace('"lr":0.001', '"lr":NaN', 1).encode(),
        "history.0.lr",
        "finite",
    ),
    "NaN where anything goes": (
        lambda content: _text(content).replace('"device":"cpu"', '"device":NaN').encode(),
        "environment.device",
        "finite",
    ),
    "Infinity": (
        lambda content: _text(content).replace('"train_seconds":1.5', '"train_seconds":1e999').encode(),
        "timing.train_seconds",
        "finite",
    ),
    "Infinity where anything goes": (
        lambda content: _text(content).replace('"device":"cpu"', '"device":1e999').encode(),
        "environment.device",
        "finite",
    ),
    "key twice": (
        lambda content: _text(content).replace('"seed":0', '"seed":5,"seed":0').encode(),
        "",
        "'seed' appears twice",
    ),
    "key twice in a group": (
        lambda content: _text(content).replace('"target":0', '"target":0,"target":0', 1).encode(),
        "",
        "'target' appears twice",
    ),
    "key twice in the history": (
        lambda content: _text(content).replace('"stage":"main"', '"stage":"a","stage":"main"', 1).encode(),
        "",
        "'stage' appears twice",
    ),
    "key twice, once escaped": (
        lambda content: _text(content).replace('"seed":0', r'"se\u0065d":5,"seed":0').encode(),
        "",
        "'seed' appears twice",
    ),
    "key twice, hidden by a space": (
        lambda content: (
            _text(content).replace('"seed":0', '"seed":5,"seed":0').replace('"status":', '"status" :').encode()
        ),
        "",
        "'seed' appears twice",
    ),
    "key twice, its quotation marks made up for": (
        lambda content: (
            _text({**content, "extra": '""'})
            .replace('"seed":0', '"seed":5,"seed":0')
            .replace(r'"\"\""', r'"\u0022\u0022"')
            .encode()
        ),
        "",
        "'seed' appears twice",
    ),
    "key twice in an extra": (
        lambda content: _text({**content, "extra": {"a": 1}}).replace('"a":1', '"a":1,"a":1').encode(),
        "",
        "'a' appears twice",
    ),
    "deep": (
        lambda content: _text(content).replace('"device":"cpu"', '"device":' + "[" * 100_000 + "]" * 100_000).encode(),
        "",
        "JSON",
    ),
    "number of ten thousand digits": (
        lambda content: _text(content).replace('"seed":0', '"seed":' + "9" * 10_000).encode(),
        "",
        "JSON",
    ),
    "lone surrogate": (
        lambda content: _text(content).replace('"device":"cpu"', r'"device":"\ud800"').encode(),
        "",
        "JSON",
    ),
    "UTF-16": (lambda content: _text(content).encode("utf-16"), "", "JSON"),
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_record_are_refused(board: Path, name: str) -> None:
    make, field, reason = BYTES[name]
    content = make_record()
    place(board, content, make(content))
    left = only_left_out(board)
    assert left.refused
    assert left.field == field
    assert reason in left.reason


def test_a_changed_file_no_longer_has_its_name(board: Path) -> None:
    path = place(board, make_record())
    path.write_bytes(path.read_bytes().replace(b'"seed":0', b'"seed":9'))
    left = only_left_out(board)
    assert left.refused
    assert "was changed" in left.reason


def test_a_record_in_another_layout_is_for_the_check_to_refuse(board: Path) -> None:
    content = make_record()
    place(board, content, json.dumps(content, indent=1).encode())
    build(board)
    (line,) = check(board).failures
    assert "canonical form" in line


def test_a_huge_file_is_refused_unread(board: Path) -> None:
    path = place(board, make_record())
    os.truncate(path, 2**30)  # sparse: it takes no space
    left = only_left_out(board)
    assert left.refused
    assert str(MAX_BYTES) in left.reason


def test_links_pipes_and_strange_files_are_refused(board: Path, tmp_path: Path) -> None:
    sound = place(board, make_record())
    secret = tmp_path / "secret"
    sound.rename(secret)
    sound.symlink_to(secret)
    (board / "results" / "elsewhere").symlink_to(tmp_path)
    (board / "results" / "toy" / "linked").symlink_to(tmp_path)
    (board / "results" / "note.txt").write_text("hello")
    (board / "results" / "toy" / "note.txt").write_text("hello")
    (sound.parent / "UPPER.json").write_text("{}")
    (sound.parent / ("0" * 64 + ".json")).mkdir()
    os.mkfifo(sound.parent / ("1" * 64 + ".json"))
    (board / "results" / "Not a name").mkdir()
    place_all(board, seeds("lff"))
    built = build(board)
    assert built.counted == 3
    assert len(built.left_out) == 9
    assert all(item.refused for item in built.left_out)
    assert len(check(board).failures) == 9


def test_a_file_name_that_is_not_text_is_refused(board: Path) -> None:
    folder = place(board, make_record()).parent
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff\x1b.json")).touch()
    except OSError:
        pytest.skip("this file system takes text only")
    built = build(board)
    assert [item.refused for item in built.left_out] == [True]
    assert built.left_out[0].file.isprintable()
    Board.model_validate_json((board / "leaderboard.json").read_bytes())


def test_a_record_under_another_name_is_refused(board: Path) -> None:
    path = place(board, make_record())
    other = board / "results" / "toy" / "jtt"
    other.mkdir()
    path.rename(other / path.name)
    left = only_left_out(board)
    assert (left.refused, left.field) == (True, "method.name")


def test_of_the_same_configuration_and_seed_twice_the_second_is_refused(board: Path) -> None:
    first, second = sorted(place_all(board, [make_record(level=0.6), make_record(level=0.8)]))
    place_all(board, seeds("lff"))
    built = build(board)
    assert built.counted == 4
    (left,) = built.left_out
    assert (Path(left.file).name, left.field, left.refused) == (second.name, "seed", True)
    assert first.name in left.reason
    assert len(check(board).failures) == 1


def _selected(scores: Sequence[tuple[float, float]], seed: int = 0, **chosen: Any) -> Content:
    """Return a record whose epoch was chosen by the worst group, with that and the group mean of each epoch."""
    content = make_record(seed=seed, selection="val_worst_group_accuracy", supervision=("none", "bias"))
    for entry, (worst, mean) in zip(content["history"], scores, strict=True):
        entry["metrics"]["val"] = {"worst_group_accuracy": worst, "group_mean_accuracy": mean}
    told = content["history"][chosen["epoch"] - 1]["metrics"]
    content["selection"]["val_worst_group_accuracy"] |= {"metrics": told, **chosen}
    return content


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ({"epoch": 1}, ""),  # as records from before ties were broken have it: the first of equals
        ({"epoch": 2}, "it is 2, but by the history the rule chooses 1"),
        ({"epoch": 2, "tied": 3}, ""),
        ({"epoch": 3, "tied": 3}, "it is 3, but by the history the rule chooses 2"),
        ({"epoch": 1, "tied": 3}, "it is 1, but by the history the rule chooses 2"),
        ({"epoch": 2, "tied": 1}, "it is 1, but by the history 3 epochs are"),
        ({"epoch": 2, "tied": 3, "smallest_group": 12}, "it is 12, but by the counts"),
    ],
)
def test_the_chosen_epoch_follows_from_the_history_however_ties_were_broken(
    board: Path, chosen: Content, reason: str
) -> None:
    place(board, _selected([(0.0, 0.3), (0.0, 0.5), (0.0, 0.4)], **chosen))
    assert [item.reason for item in build(board).left_out if item.refused and reason not in item.reason] == []
    assert build(board).counted == (not reason)


def test_a_row_says_which_epochs_were_chosen(board: Path) -> None:
    scores = [(0.0, 0.3), (0.0, 0.5), (0.0, 0.4)]
    place_all(
        board, [_selected(scores, epoch=2, tied=3), _selected([(0.1, 0.3), *scores[1:]], seed=1, epoch=1, tied=1)]
    )
    (table,) = build(board).datasets
    (row,) = table.sections[0].rows
    assert "metrics of epochs 1 to 2 by val_worst_group_accuracy (3 epochs tied)" in row.flags


def test_a_correction_replaces_the_record_it_names(board: Path) -> None:
    wrong, *others = seeds(level=0.6)
    right = make_record(level=0.8)
    placed = place(board, wrong)
    right["supersedes"] = placed.stem
    corrected = place(board, right)
    place_all(board, others)
    built = build(board)
    assert built.counted == 3
    (left,) = built.left_out
    assert not left.refused
    assert left.file.endswith(placed.name)
    assert corrected.name in left.reason
    assert check(board).failures == []


@pytest.mark.parametrize("kind", ["method", "dataset", "seed"])
def test_a_correction_of_another_run_is_refused(board: Path, kind: str) -> None:
    placed = place(board, make_record())
    options: dict[str, Any] = {
        "method": {"method": "jtt"},
        "dataset": {"dataset": "other"},
        "seed": {"seed": 9},
    }
    place(board, {**make_record(**options[kind]), "supersedes": placed.stem})
    built = build(board)
    assert built.counted == 1
    assert [(item.field, item.refused) for item in built.left_out] == [("supersedes", True)]


def test_of_two_corrections_of_one_record_the_second_is_refused(board: Path) -> None:
    wrong = place(board, make_record(level=0.5))
    placed = [place(board, {**make_record(level=level), "supersedes": wrong.stem}) for level in (0.6, 0.7)]
    built = build(board)
    assert built.counted == 1
    reasons = {Path(item.file): item.reason for item in built.left_out}
    assert reasons.keys() == {path.relative_to(board) for path in (wrong, max(placed))}
    assert min(placed).name in reasons[max(placed).relative_to(board)]


def _synthetic(content: Content) -> None:
    content["dataset"]["synthetic"] = True


def _mismatched(content: Content) -> None:
    content["dataset"]["mismatch"] = ["train: expected 7 images, found 6", "it is another"]


def _oracle(content: Content) -> None:
    content["recipe"]["selection"] = "test_accuracy"


def _supervised(content: Content) -> None:
    content["method"]["supervision"]["train"] = "bias"


def _impostor(content: Content) -> None:
    content["method"]["plugin"] = SOMEBODY


def _no_train_counts(content: Content) -> None:
    for part in ("groups", "metrics"):
        del content[part]["train"]
    for name in ("adjusted_accuracy", "aligned_accuracy", "conflicting_accuracy"):
        content["metrics"]["test"].pop(name)
    settled(content)


def _theory(content: Content) -> None:
    content["dataset"] |= {"name": "ufm", "spec": "ufm", "parameters": {}, "plugin": BUILT_IN}


EXCLUDED: dict[str, tuple[Callable[[Content], None], str, str]] = {
    "synthetic": (_synthetic, "dataset.synthetic", "generated"),
    "mismatched": (_mismatched, "dataset.mismatch", "not the released ones: train: expected 7 images, found 6; it is"),
    "a model of the theory": (_theory, "dataset.name", "nothing to rank"),
    "diverged": (_set("status", "diverged"), "status", "diverged"),
    "interrupted": (_set("status", "interrupted"), "status", "interrupted"),
    "failed": (_set("status", "failed"), "status", "failed"),
    "oracle selection": (_oracle, "recipe.selection", "never ranks"),
    "primary metric beyond the counts": (_set("primary_metric", "nc1"), "primary_metric", "cannot be recomputed"),
    "supervision beyond the card": (_supervised, "method.supervision", "beyond the card"),
    "impostor": (_impostor, "method.plugin.distribution", "not of 'somebody'"),
    "no training counts": (_no_train_counts, "groups.train", "no counts"),
}


@pytest.mark.parametrize("case", EXCLUDED)
def test_a_valid_record_that_does_not_compare_is_excluded_with_the_reason(board: Path, case: str) -> None:
    change, field, reason = EXCLUDED[case]
    content = make_record()
    change(content)
    place(board, named(content))
    left = only_left_out(board)
    assert not left.refused
    assert left.field == field
    assert reason in left.reason
    assert reason.split()[0] in (board / "README.md").read_text().replace("&#39;", "'")


def test_a_copy_under_another_seed_is_no_independent_run(board: Path) -> None:
    copy = make_record(seed=0)
    copy["seed"] = 1
    place_all(board, [make_record(seed=0), named(copy)])
    built = build(board)
    assert built.counted == 1
    assert [(item.field, item.refused) for item in built.left_out] == [("history", True)]


def test_totals_and_primary_metric_are_compared_with_the_manifest(board: Path) -> None:
    manifest = load_manifest("ncbench:datasets_manifest/colored_digits.yaml")
    counts = {}
    for split in ("train", "test"):
        counts[split] = np.diag(manifest.counts[split].classes or ())
        counts[split][0, :2] += (-5, 5)

    def record(seed: int, missing: int = 0) -> Content:
        test = counts["test"].copy()
        test[0, 0] -= missing
        return make_record("lff", seed, dataset="colored_digits", train=counts["train"], test=test)

    place_all(board, [record(seed) for seed in range(3)])
    few = record(3, missing=4)
    other = record(4)
    other["primary_metric"] = "accuracy"
    place_all(board, [few, other])
    built = build(board)
    assert built.counted == 3
    reasons = sorted((item.field, item.reason) for item in built.left_out)
    assert reasons[0] == ("groups.test", "592 images, but the manifest has 596")
    assert reasons[1][0] == "primary_metric"
    assert any(
        f"3 of the dataset's {manifest.recipe['epochs']} epochs" in flag
        for flag in built.datasets[0].sections[0].rows[0].flags
    )


def test_a_run_on_other_data_is_no_duplicate_of_the_run_on_the_released(board: Path) -> None:
    released, other = make_record(level=0.6), make_record(level=0.7)
    _mismatched(other)
    named(other)
    place_all(board, [released, other])
    built = build(board)
    assert built.counted == 1
    assert [(item.field, item.refused) for item in built.left_out] == [("dataset.mismatch", False)]


def test_a_training_split_that_was_thinned_out_on_purpose_may_be_smaller_than_the_manifests(board: Path) -> None:
    manifest = load_manifest("ncbench:datasets_manifest/colored_digits.yaml")
    test = np.diag(manifest.counts["test"].classes or ())
    test[0, :2] += (-5, 5)

    def record(seed: int, images: int) -> Content:
        train = images * np.eye(10, dtype=int) + 1
        content = make_record("lff", seed, dataset="colored_digits", train=train, test=test)
        content["dataset"]["spec"] = f"colored_digits:per_class={images}"
        content["dataset"]["parameters"] = {"per_class": images}
        return named(content)

    place_all(board, [*(record(seed, images=20) for seed in range(3)), record(3, images=10_000)])
    built = build(board)
    assert built.counted == 3
    (left,) = built.left_out
    assert (left.field, "no more than" in left.reason) == ("groups.train", True)


def left_out_where_val_labels_are_not_stated(board: Path, content: Content) -> Problem:
    """Return why a record that counts does not, once it leaves out that it used labels of validation images."""
    place(board, content)
    built = build(board)
    assert (built.counted, built.left_out) == (1, [])
    content["method"]["supervision"]["val"] = "none"
    shutil.rmtree(board / "results")
    place(board, content)
    return only_left_out(board)


def test_who_selects_by_a_split_that_was_made_by_the_bias_states_it(board: Path, tmp_path: Path) -> None:
    changes = {"recipe.epochs": 1, "recipe.selection": "val_accuracy"}
    result = ncbench.run("erm", "colored_digits:val=0.1,val_bias=uniform", set=changes, output=tmp_path / "runs")
    content = json.loads(result.path.read_text())
    left = left_out_where_val_labels_are_not_stated(board, content)
    assert left.field == "method.supervision.val"
    assert "val_accuracy on colored_digits:val=0.1,val_bias=uniform uses bias labels" in left.reason


@pytest.mark.parametrize(
    ("method", "dataset", "settings", "reason"),
    [
        ("ncm", "colored_digits:val=0.1", {"base.recipe.selection": "val_worst_group_accuracy"}, "selection by"),
        ("ncm", "colored_digits:val=0.1,val_bias=uniform", {"base.recipe.selection": "val_accuracy"}, "that erm-"),
        ("tau_norm", "colored_digits:val=0.1,val_bias=uniform", {}, "fitting on colored_digits:val=0.1,val_bias="),
    ],
    ids=["a base's criterion", "a base's split", "fitting"],
)
def test_labels_that_a_base_used_or_that_made_what_was_fitted_on_are_stated(
    board: Path, tmp_path: Path, method: str, dataset: str, settings: dict[str, Any], reason: str
) -> None:
    changes = {"base.recipe.epochs": 1, **settings}
    result = ncbench.run(method, dataset, set=changes, output=tmp_path / "runs", warn=lambda line: None)
    content = json.loads(result.path.read_text())
    assert content["method"]["supervision"]["val"] == "bias"
    left = left_out_where_val_labels_are_not_stated(board, content)
    assert left.field.startswith("method.supervision")
    assert reason in left.reason
