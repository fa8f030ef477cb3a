"""Finding checks by name, running them from Python and from pytest, and counting what became of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ncbench import ConfigurationError, LauncherCard, conformance
from ncbench.conformance.kit import Outcome
from ncbench.discovery import registry as discovery
from tests.conformance.test_faulty_methods import card

pytest_plugins = ["pytester"]


def test_checks_are_found_by_name_spec_or_card() -> None:
    assert {str(check) for check in conformance.checks("erm")} >= {"erm-trains", "erm-resumes_exactly"}
    assert str(conformance.checks("resample:by=class")[0]) == "resample:by=class-card_is_truthful"
    assert str(conformance.checks(card("Sound"))[0]) == "faulty-card_is_truthful"
    names = [check.name for check in conformance.checks("erm")]
    assert len(set(names)) == len(names)
    assert all(check.function.__doc__ for kind in ("erm", "bar", "group", "mlp") for check in conformance.checks(kind))


@pytest.mark.parametrize(
    ("plugin", "kind", "reason"),
    [
        ("emr", None, "Unknown plugin 'emr'. Did you mean 'erm'?"),
        ("erm", "dataset", "Unknown dataset 'erm'"),
        ("erm", "launcher", "Unknown kind of plugin that has checks 'launcher'"),
        ("erm:nothing=1", None, "Unknown parameter of erm 'nothing'"),
        ("group:nothing=1", None, "Metrics take no parameters"),
        ("ufm", None, "names a dataset and a backbone; say which kind"),
    ],
)
def test_what_cannot_be_found_is_one_line(plugin: str, kind: str | None, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as raised:
        conformance.checks(plugin, kind)
    assert "\n" not in str(raised.value)


def test_a_kind_without_checks_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no checks for a LauncherCard"):
        conformance.checks(LauncherCard(name="here", summary="Here", factory="os:path"))


def test_the_report_counts_what_was_run() -> None:
    expected = {"trains_on_any_number_of_classes": "written for digits"}
    report = conformance.check(card("HasTenClasses"), expected_failures=expected)
    assert report.ok
    assert report.run == len(report.outcomes) - 2 == 30
    assert report.summary == (
        "32 checks of the method faulty: 30 run, 29 passed, 0 failed, 2 skipped, 1 failed as expected."
    )
    assert "failed as expected trains_on_any_number_of_classes: written for digits" in str(report)


def test_an_expected_failure_that_passes_is_reported() -> None:
    report = conformance.check(card("Sound"), expected_failures={"trains_in_bfloat16": "it did not"})
    assert not report.ok
    assert report.count("passed unexpectedly") == 1
    assert "passed unexpectedly trains_in_bfloat16: expected: it did not" in str(report)


def test_a_failure_of_no_check_cannot_be_expected() -> None:
    with pytest.raises(ConfigurationError, match=r"Unknown check 'train'\. Did you mean 'trains'"):
        conformance.check("erm", expected_failures={"train": "?"})
    with pytest.raises(ConfigurationError, match="Unknown check"):
        conformance.parametrize("erm", expected_failures={"train": "?"})


def test_running_none_is_a_failure() -> None:
    assert not conformance.Report("the method nothing", ()).ok
    report = conformance.Report("the method idle", (Outcome("trains", "skipped", "no data"),))
    assert not report.ok
    assert "Nothing was checked" in report.summary


def test_an_error_of_the_plugin_is_located_in_its_code() -> None:
    report = conformance.check(card("CountsOnTheAttribute"))
    reasons = {outcome.check: outcome.reason for outcome in report.outcomes}
    assert "faulty_methods.py, line" in reasons["trains"]
    assert "in loss" in reasons["trains"]
    assert "declare Supervision(train='bias')" in reasons["trains"]
    assert reasons["same_seed_same_result"] == "see trains"


def test_the_kit_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    conformance.check(card("ForcesDeterminism"))
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.are_deterministic_algorithms_enabled()
    assert not list(tmp_path.iterdir())


PYTEST = """
from ncbench import MethodCard, Supervision, conformance

def card(name):
    factory = f"tests.conformance.faulty_methods:{name}"
    return MethodCard(name="faulty", summary="Faulty", citation="None", factory=factory, supervision=Supervision())

@conformance.parametrize(card("HasTenClasses"), expected_failures={"trains_on_any_number_of_classes": "digits"})
def test_expected(check):
    check()

@conformance.parametrize(card("Sound"), expected_failures={"trains": "it did not"})
def test_unexpected(check):
    check()

import pytest

@pytest.mark.parametrize("check", conformance.checks(card("HasTenClasses")), ids=str)
def test_plain(check):
    check()
"""


def test_checks_are_pytest_parameters(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(PYTEST)
    result = pytester.runpytest_inprocess("-q", "-rfs", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    result.assert_outcomes(passed=29 + 29 + 29, failed=1 + 1, skipped=6, xfailed=1)
    result.stdout.fnmatch_lines(
        [
            "*FAILED *test_unexpected?faulty-trains?*",
            "*FAILED *test_plain?faulty-trains_on_any_number_of_classes?*",
        ]
    )


CARD_WITH_TORCH = """
import torch
from ncbench import MethodCard, Supervision, hookimpl

@hookimpl
def ncbench_methods():
    factory = "tests.conformance.faulty_methods:Sound"
    return [MethodCard(name="heavy", summary="Heavy", citation="None", factory=factory, supervision=Supervision())]
"""


def test_a_card_that_imports_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heavy_plugin.py").write_text(CARD_WITH_TORCH)
    info = tmp_path / "heavy_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: heavy-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ncbench]\nheavy = heavy_plugin\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("NCBENCH_PLUGINS", "ncbench,heavy-plugin")
    discovery.registry.cache_clear()
    try:
        report = conformance.check("heavy")
    finally:
        discovery.registry.cache_clear()
    failed = [outcome for outcome in report.outcomes if outcome.status == "failed"]
    assert [outcome.check for outcome in failed] == ["card_imports_no_torch"]
    assert "looking up the cards of heavy-plugin imports torch" in failed[0].reason
