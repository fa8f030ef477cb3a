"""Mutated records: none breaks the build or keeps the others out, and whatever gets in is borne out by its counts.

``NCBENCH_FUZZ=10000`` tries as many; by default there are a few hundred, the same in every run.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ncbench.leaderboard.build import build, build_board, read_archive, rendered
from ncbench.leaderboard.intake.canonical import canonical, content_hash
from ncbench.leaderboard.intake.catalogue import Catalogue
from ncbench.leaderboard.intake.entry import Entry, inspect
from ncbench.leaderboard.intake.problems import RefusedError
from tests.leaderboard.records import make_record, place_all, seeds

EXAMPLES = int(os.environ.get("NCBENCH_FUZZ", "0"))
BATCH = 20
fuzzed = settings(
    derandomize=True, deadline=None, max_examples=EXAMPLES or 400, suppress_health_check=[HealthCheck.too_slow]
)
batches = settings(fuzzed, max_examples=EXAMPLES // BATCH or 15)

SOUND = make_record(seed=99)
STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**53, 2**63, 10**30, -1, 10**300]),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["../../x", "<script>", "a|b", "\x00", "\u202e", "nan", "1e999", "=cmd", "x" * 300, "\ud800"]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


def _paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, part in items for path in [(*prefix, key), *_paths(part, (*prefix, key))]]


PATHS = _paths(SOUND)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """Return the sound record with one to three places replaced, removed, doubled or nudged."""
    content = copy.deepcopy(SOUND)
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(PATHS))
        part: Any = content
        try:
            for key in parents:
                part = part[key]
            if isinstance(last, int) != isinstance(part, list):
                continue  # an earlier mutation put something else in its place
            action = draw(st.sampled_from(["replace", "remove", "double", "nudge", "add", "swap"]))
            if action == "replace":
                part[last] = draw(STRANGE)
            elif action == "remove":
                del part[last]
            elif action == "double" and isinstance(part, list):
                part.append(copy.deepcopy(part[last]))
            elif action == "nudge" and isinstance(part[last], int | float):
                part[last] += draw(st.sampled_from([1, -1, 0.5, 1e-7, 1e12]))
            elif action == "add" and isinstance(part, dict):
                part[draw(st.text(max_size=8))] = draw(STRANGE)
            elif action == "swap":
                part[last] = copy.deepcopy(
                    draw(st.sampled_from([SOUND["groups"], SOUND["history"], SOUND["method"], SOUND]))
                )
        except (KeyError, IndexError, TypeError):
            continue  # an earlier mutation took the place away
    return content


@st.composite
def fuzzed_bytes(draw: st.DrawFn) -> bytes:
    """Return a mutated record as bytes, sometimes damaged further."""
    data = json.dumps(draw(mutated()), sort_keys=True, separators=(",", ":")).encode() + b"\n"
    damage = draw(st.sampled_from(["none", "none", "none", "cut", "flip", "insert", "double key"]))
    place = draw(st.integers(0, len(data) - 1))
    if damage == "cut":
        return data[:place]
    if damage == "flip":
        return data[:place] + bytes([draw(st.integers(0, 255))]) + data[place + 1 :]
    if damage == "insert":
        return data[:place] + draw(st.binary(min_size=1, max_size=8)) + data[place:]
    if damage == "double key":
        return data.replace(b'"seed":', b'"seed":1,"seed":', 1)
    return data


def _borne_out(data: bytes, entry: Entry) -> None:
    """Assert that an accepted record fits the strictest reading of its own bytes."""
    keys = []

    def hook(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys.extend([len({key for key, _ in pairs}) == len(pairs)])
        return dict(pairs)

    content = json.loads(data, object_pairs_hook=hook, parse_constant=pytest.fail)
    assert all(keys)
    assert content["schema_version"] == 1
    assert entry.record.seed == content["seed"]
    if entry.exclusion is not None:
        return
    assert content["status"] == "completed"
    assert content["dataset"]["synthetic"] is False
    cells = content["groups"]["test"]
    assert all(type(cell["count"]) is int and 0 <= cell["correct"] <= cell["count"] for cell in cells)
    total = sum(cell["count"] for cell in cells)
    expected = sum(cell["correct"] for cell in cells) / total
    assert abs(entry.numbers["accuracy"] - expected) < 1e-12
    for name, value in entry.numbers.items():
        if name in content["metrics"]["test"]:
            assert abs(value - content["metrics"]["test"][name]) <= 1e-9
    canonical(content)


@given(fuzzed_bytes())
@fuzzed
def test_a_mutated_record_is_refused_or_borne_out(data: bytes) -> None:
    try:
        entry = inspect(data, Catalogue.built_in())
    except RefusedError as error:
        shown = f"{error.reason}{error.field}"
    else:
        _borne_out(data, entry)
        shown = entry.path
    assert shown
    assert shown.isprintable()


@given(st.lists(fuzzed_bytes(), min_size=BATCH, max_size=BATCH), st.booleans())
@batches
def test_a_build_among_mutated_records_counts_the_sound_ones(batch: list[bytes], named: bool) -> None:
    with TemporaryDirectory() as name:
        board = Path(name) / "leaderboard"
        (board / "results").mkdir(parents=True)
        sound = place_all(board, seeds("lff"))
        folder = board / "results" / "toy" / "erm"
        folder.mkdir()
        for number, data in enumerate(batch):
            (folder / f"{content_hash(data) if named else f'{number:064x}'}.json").write_bytes(data)
        built = build(board)
        rows = [row for table in built.datasets for section in table.sections for row in section.rows]
        (row,) = [row for row in rows if row.method.name == "lff"]
        assert {run.record for run in row.runs} == {path.relative_to(board).as_posix() for path in sound}
        assert built.counted == 3 or named  # nothing gets in under a name that is not its hash
        files = {path.relative_to(board).as_posix(): path for path in board.rglob("*") if path.is_file()}
        outside = ("results/", "site/")
        written = {name: path.read_bytes() for name, path in files.items() if not name.startswith(outside)}
        assert rendered(build_board(read_archive(board, Catalogue.built_in()), [])) == written
