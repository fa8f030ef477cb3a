"""A dataset with one planted fault fails the check that is meant for it, and no other."""

from __future__ import annotations

import pytest

from ncbench import DatasetCard, conformance
from tests.conformance import faulty_datasets

FAULTS = {
    "RepeatsAnId": "reads_sound_splits",
    "MeasuresWrongly": "reads_sound_splits",
    "PromisesAValidationSplit": "reads_sound_splits",
    "JittersColours": "reads_the_same_each_time",
    "ShufflesGlobally": "reads_the_same_each_time",
    "SeedsNumpy": "leaves_global_state_alone",
    "TrustsItsFiles": "reports_damaged_sources",
    "HidesATable": "lists_all_its_sources",
    "LooksLater": "reports_missing_sources",
    "NamesOneClassTwice": "names_fit_the_labels",
    "WritesItsTwinBeside": "writes_a_twin",
    "DrawsANewTwin": "writes_a_twin",
    "CachesBesideItsSources": "writes_no_files",
    "KnowsOneChoice": "reads_with_any_choice_of_parameters",
    "HasNoTwin": "writes_a_twin",
}


def card(name: str, manifest: str = "faulty.yaml") -> DatasetCard:
    return DatasetCard(
        name="faulty",
        summary="Faulty",
        citation="Nobody. Nothing. Nowhere.",
        factory=f"{faulty_datasets.__name__}:{name}",
        manifest=f"tests.conformance:{manifest}",
    )


def failed(report: conformance.Report) -> list[str]:
    return [outcome.check for outcome in report.outcomes if outcome.status == "failed"]


def test_the_sound_one_passes() -> None:
    report = conformance.check(card("Sound"))
    assert report.ok, str(report)
    assert [outcome.check for outcome in report.outcomes if outcome.status == "skipped"] == ["card_imports_no_torch"]


@pytest.mark.parametrize(("name", "check"), FAULTS.items())
def test_a_planted_fault_fails_the_check_that_is_meant_for_it(name: str, check: str) -> None:
    report = conformance.check(card(name))
    assert failed(report) == [check], str(report)


@pytest.mark.parametrize("manifest", ["unknown_metric.yaml", "missing.yaml"])
def test_a_manifest_that_is_not_valid(manifest: str) -> None:
    assert "manifest_is_valid" in failed(conformance.check(card("Sound", manifest)))
