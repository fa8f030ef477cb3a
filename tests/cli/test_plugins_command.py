"""``ncbench plugins``, ``plugins new`` and ``plugins check``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ncbench import conformance

Command = Callable[..., tuple[int, str, str]]


def test_alone_it_lists_the_plugins(cli: Command) -> None:
    code, out, _ = cli("plugins")
    assert code == 0
    assert "methods  in use" in out
    assert {row["status"] for row in json.loads(cli("plugins", "--json")[1])["plugins"]} == {"in use"}


def test_new_writes_a_package_and_says_what_is_next(cli: Command, tmp_path: Path) -> None:
    code, out, _ = cli("plugins", "new", "my_own", "--kind", "metric", "--output", tmp_path)
    assert code == 0
    folder = tmp_path / "ncbench-my-own"
    assert out.splitlines() == [
        f"Written: {folder}",
        f"Next: pip install -e {folder}, then ncbench plugins check my_own.",
    ]
    code, _, err = cli("plugins", "new", "my_own", "--kind", "metric", "--output", tmp_path)
    assert code == 2
    assert err.count("\n") == 1
    assert "exists already" in err


def test_check_prints_a_line_a_check_and_a_summary(cli: Command) -> None:
    code, out, _ = cli("plugins", "check", "group", "--kind", "metric")
    *lines, summary = out.splitlines()
    assert code == 0
    assert [line.split()[1] for line in lines] == [check.name for check in conformance.checks("group", "metric")]
    assert {line.split()[0] for line in lines} == {"passed"}
    assert summary.startswith(
        f"{len(lines)} checks of the metric group: {len(lines)} run, {len(lines)} passed, 0 failed"
    )


def test_check_ends_with_1_if_a_check_fails(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from ncbench.conformance.properties import metrics

    def is_never_right(subject: object) -> None:
        raise conformance.ConformanceError("not today")

    monkeypatch.setattr(metrics, "CHECKS", (*metrics.CHECKS[:1], is_never_right))
    code, out, _ = cli("plugins", "check", "group")
    assert code == 1
    assert "failed   is_never_right: not today\n" in out
    assert "2 run, 1 passed, 1 failed" in out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["gruop"], "Did you mean 'group'?"),
        (["ufm"], "names a dataset and a backbone; say which kind is meant (--kind)"),
        (["erm:nothing=1"], "Unknown parameter of erm"),
    ],
)
def test_what_cannot_be_checked_is_one_line_and_2(cli: Command, arguments: list[str], reason: str) -> None:
    code, _, err = cli("plugins", "check", *arguments)
    assert code == 2
    assert err.count("\n") == 1
    assert reason in err
