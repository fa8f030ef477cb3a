"""Files that no run wrote cost what their bytes cost: they are refused before much is built of them."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ncbench import DataError, load_result
from ncbench.leaderboard.build import build
from ncbench.leaderboard.intake.canonical import canonical
from ncbench.leaderboard.intake.problems import Problem
from ncbench.leaderboard.submit import submit
from ncbench.records.archive import MAX_BYTES, MAX_ENTRIES
from tests.leaderboard.records import make_record, place, place_all, seeds

MEGABYTE = 10**6


def _instead(part: str, text: str) -> bytes:
    """Return a sound record with other JSON in the place of one of its parts."""
    content = make_record()
    *parents, last = part.split(".")
    inside: Any = content
    for key in parents:
        inside = inside[key]
    inside[last] = "in its place"
    return canonical(content).replace(b'"in its place"', text.encode())


def _object(members: int, value: str) -> str:
    return "{" + ",".join(f'"k{number:x}":{value}' for number in range(members)) + "}"


def _cells(count: int) -> str:
    return json.dumps([{"target": n, "bias": n, "count": 1, "correct": 1} for n in range(count)])


MANY = MAX_ENTRIES - 10_000
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a history of empty objects": (lambda: _instead("history", "[" + "{}," * 350_000 + "{}]"), "entries"),
    "as many as may be": (lambda: _instead("history", "[" + "{}," * MANY + "{}]"), "required"),
    "a history of numbers": (lambda: _instead("history", "[" + "0," * MANY + "0]"), "object"),
    "groups that are none": (lambda: _instead("groups.test", "[" + "[]," * MANY + "[]]"), "object"),
    "many metrics that are no numbers": (lambda: _instead("metrics.test", _object(MANY, "[]")), "things"),
    "many metrics": (lambda: _instead("metrics.test", _object(MANY, "0.5")), "ncbench's"),
    "many chosen epochs": (lambda: _instead("selection", _object(MANY // 2, "{}")), "things"),
    "many splits": (lambda: _instead("metrics", _object(MANY, "{}")), "things"),
    "many unknown keys": (lambda: _instead("backbone", _object(MANY, "0")), "things"),
    "many bias values": (lambda: _instead("dataset.aligned_bias", "[" + "-1," * MANY + "0]"), "things"),
    "many groups": (lambda: _instead("groups.test", _cells(MANY // 4)), "more groups"),
    "as many groups as there may be": (lambda: _instead("groups.test", _cells(999)), "the counts give"),
    "entries of an extra": (lambda: canonical({**make_record(), "extra": [0] * (MAX_ENTRIES + 1)}), "entries"),
    "deep lists": (lambda: _instead("environment.device", "[" * MEGABYTE + "]" * MEGABYTE), "JSON"),
    "deep objects": (lambda: _instead("environment.device", '{"a":' * MEGABYTE + "1" + "}" * MEGABYTE), "JSON"),
    "a long whole number": (lambda: _instead("seed", "9" * 8 * MEGABYTE), "JSON"),
    "a long fraction": (lambda: _instead("seed", "0." + "7" * 8 * MEGABYTE), "integer"),
    "a long exponent": (lambda: _instead("recipe.lr", "1e" + "9" * 8 * MEGABYTE), "finite"),
    "a long text": (lambda: _instead("environment.device", '"' + "x" * 8 * MEGABYTE + '"'), "too long"),
    "a long key": (lambda: _instead("timing", '{"' + "x" * 8 * MEGABYTE + '":1}'), "200 characters"),
    "a long key of an extra": (lambda: canonical({**make_record(), "x" * 8 * MEGABYTE: 1}), "too long"),
    "one key many times": (lambda: _instead("environment", "{" + '"a":1,' * MANY + '"b":1}'), "'a' appears twice"),
    "the last of many keys twice": (
        lambda: _instead("environment", _object(MANY, "1")[:-1] + ',"k0":1}'),
        "'k0' appears twice",
    ),
    "many escapes": (lambda: _instead("environment.device", '"' + r"\u0022" * MEGABYTE + '"'), "too long"),
    "not UTF-8": (lambda: canonical(make_record()).replace(b"cpu", b"\xff\xfe\xfa"), "JSON"),
    "no bytes": (lambda: b"", "JSON"),
    "NUL bytes": (lambda: bytes(8 * MEGABYTE), "JSON"),
}


def _only_refused(board: Path) -> Problem:
    place_all(board, seeds("lff"))
    built = build(board)
    assert built.counted == 3
    (left,) = built.left_out
    assert left.refused
    return left


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_refused_with_the_reason(board: Path, tmp_path: Path, name: str) -> None:
    make, reason = HOSTILE[name]
    data = make()
    place(board, make_record(), data)
    left = _only_refused(board)
    assert reason in left.reason
    assert len(left.reason) <= 300
    (tmp_path / "result.json").write_bytes(data)
    (outcome,) = submit(board, [tmp_path])
    assert outcome.path is None
    assert outcome.problem


@pytest.mark.parametrize("name", ["as many as may be", "deep lists", "one key many times", "no bytes", "not UTF-8"])
def test_a_result_of_hostile_bytes_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(HOSTILE[name][0]())
    with pytest.raises(DataError, match="is not a valid record") as caught:
        load_result(path)
    assert len(str(caught.value).splitlines()) == 1


def _huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 2 * 2**30)  # sparse: it takes no space


def _link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "outside.json")


STRANGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "huge": (_huge, str(MAX_BYTES)),
    "pipe": (os.mkfifo, "not a regular file"),
    "folder": (Path.mkdir, "no record"),
    "link to a device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "link to nothing": (_link, "no record"),
    "link to itself": (lambda path: path.symlink_to(path.name), "no record"),
    "empty": (Path.touch, "not a valid record"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_no_file_of_a_record_is_refused_and_never_waited_for(board: Path, tmp_path: Path, name: str) -> None:
    make, reason = STRANGE[name]
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "result.json"
    make(path)
    with pytest.raises(DataError, match=reason):
        load_result(path)
    (outcome,) = submit(board, [path.parent])
    assert outcome.path is None
    folder = board / "results" / "toy" / "erm"
    folder.mkdir(parents=True)
    make(folder / f"{'0' * 64}.json")
    _only_refused(board)


def test_a_run_folder_may_be_a_link(tmp_path: Path) -> None:
    """Runs are moved to larger disks; the archive alone follows no link."""
    (tmp_path / "elsewhere.json").write_bytes(canonical(make_record()))
    (tmp_path / "result.json").symlink_to("elsewhere.json")
    assert load_result(tmp_path).status == "completed"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="it needs Linux to know its own size")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_refused_in_500_megabytes_of_memory(board: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "result.json").write_bytes(HOSTILE[name][0]())
    child = os.fork()
    if child == 0:
        refused = False
        try:
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + 500 * MEGABYTE,) * 2)
            (outcome,) = submit(board, [tmp_path])
            refused = bool(outcome.problem)
        finally:
            os._exit(0 if refused else 1)
    assert os.waitpid(child, 0)[1] == 0
