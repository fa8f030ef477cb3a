"""A metric family or a backbone with one planted fault fails the check that is meant for it, and no other."""

from __future__ import annotations

import warnings

import pytest

from ncbench import BackboneCard, MetricCard, conformance
from tests.conformance import faulty_backbones, faulty_metrics

METRICS = {
    "DividesByEmptyGroups": "gives_finite_numbers",
    "FailsWithoutTheAttribute": "gives_finite_numbers",
    "ReturnsMore": "gives_finite_numbers",
    "LooksAtTheFirstHalf": "does_not_depend_on_the_order_of_images",
    "RemembersTheBest": "is_a_pure_function",
    "SortsInPlace": "is_a_pure_function",
    "TakesWhatIsThere": "asks_for_what_it_uses",
    "Bootstraps": "leaves_global_state_alone",
    "AsksForTooMuch": "declarations_are_valid",
}
BACKBONES = {
    "NormalisesByTheBatch": "features_depend_on_the_image_alone",
    "NeedsTwoImages": "trains_on_a_batch_of_one_image",
    "FailsOnTinyImages": "refuses_images_it_cannot_take",
    "DrawsFromTheSystem": "same_seed_same_weights",
    "SeedsTorch": "leaves_global_state_alone",
}


def metric(name: str, **metrics: str) -> MetricCard:
    metrics = metrics or {"confidence": "neither", "worst": "higher"}
    return MetricCard(name="faulty", summary="Faulty", factory=f"{faulty_metrics.__name__}:{name}", metrics=metrics)


def backbone(name: str) -> BackboneCard:
    return BackboneCard(name="faulty", summary="Faulty", factory=f"{faulty_backbones.__name__}:{name}")


def failed(report: conformance.Report) -> list[str]:
    return [outcome.check for outcome in report.outcomes if outcome.status == "failed"]


@pytest.mark.parametrize("card", [metric("Sound"), backbone("Sound")], ids=["metric", "backbone"])
def test_the_sound_ones_pass(card: MetricCard | BackboneCard) -> None:
    report = conformance.check(card)
    assert report.ok, str(report)


@pytest.mark.parametrize(("name", "check"), METRICS.items())
def test_a_planted_fault_in_a_metric_fails_the_check_that_is_meant_for_it(name: str, check: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # 0 / 0 in one of the faults
        report = conformance.check(metric(name))
    assert failed(report) == [check], str(report)


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({"Confidence": "neither"}, "lower-case"),
        ({"accuracy": "higher"}, "the family 'group'"),
    ],
)
def test_names_of_metrics(metrics: dict[str, str], reason: str) -> None:
    (outcome,) = (
        outcome
        for outcome in conformance.check(metric("Sound", **metrics)).outcomes
        if outcome.check == "names_are_well_formed"
    )
    assert outcome.status == "failed"
    assert reason in outcome.reason


@pytest.mark.parametrize(("name", "check"), BACKBONES.items())
def test_a_planted_fault_in_a_backbone_fails_the_check_that_is_meant_for_it(name: str, check: str) -> None:
    report = conformance.check(backbone(name))
    assert failed(report) == [check], str(report)
