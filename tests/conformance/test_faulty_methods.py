"""A method with one planted fault fails the check that is meant for it, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from ncbench import MethodCard, Supervision, conformance
from tests.conformance import faulty_methods

FAULTS = {
    "ReturnsNothing": "trains",
    "HasNoGradient": "trains",
    "LearnsNothing": "trains",
    "CountsOnTheAttribute": "trains",  # without declaring it
    "OrdersBeyondTheEnd": "trains",
    "StartsOverWhereItGoesOn": "trains",
    "ReportsWords": "trains",
    "ReportsNoNumber": "trains",
    "AsksForABackboneThatThereIsNot": "trains",
    "BuildsOnNothing": "trains",
    "TakesWhatItsBaseHasNot": "trains",
    "PeeksAtTheAttribute": "reads_only_declared_labels",
    "PeeksAtTheValidationAttribute": "reads_only_declared_labels",
    "FindsTheHierarchy": "reads_only_declared_labels",
    "DrawsFromTheSystem": "same_seed_same_result",
    "SeedsByTheClock": "same_seed_same_result",
    "ForgetsItsAverage": "resumes_exactly",
    "StartsTheStageOver": "resumes_exactly",
    "ForgetsWhatItPredictsBy": "state_is_whole",
    "NormalisesByTheBatch": "predictions_depend_on_the_image_alone",
    "SmoothsAlongTheBatch": "predictions_depend_on_the_image_alone",
    "CentresInPlace": "leaves_its_inputs_alone",
    "RelabelsInPlace": "leaves_its_inputs_alone",
    "FlipsAViewInPlace": "leaves_its_inputs_alone",
    "DividesByTheOtherClasses": "trains_on_a_batch_of_one_class",
    "NeedsTwoImages": "trains_on_a_batch_of_one_image",
    "AcceptsAnyParameter": "parameters_are_validated",
    "KeepsItsParametersSecret": "parameters_are_documented",
    "KnowsOneChoice": "trains_with_any_choice_of_parameters",
    "WritesALog": "writes_no_files",
    "HasTenClasses": "trains_on_any_number_of_classes",
    "SeedsTorch": "leaves_global_state_alone",
    "ForcesDeterminism": "leaves_global_state_alone",
    "ShufflesByItself": "order_follows_its_generator",
    "ClaimsMoreSupervision": "supervision_is_within_the_declared",
    "MixesTypes": "trains_in_bfloat16",
    "PublishesNonsense": "published_settings_are_valid",
    "SearchesWhatItHasNot": "search_space_is_valid",
    "SearchesWhatTheRecipeRefuses": "search_space_is_valid",
    "SearchesNowhere": "search_space_is_valid",
    "HasOneStageTwice": "stages_are_sound",
    "ClassifiesOtherwise": "classifier_explains_the_logits",
    "Undocumented": "card_is_truthful",
}
USING_THE_ATTRIBUTE = {
    "DividesByEveryGroup": "trains_with_absent_groups",
}


def card(name: str, **fields: object) -> MethodCard:
    values = {"supervision": Supervision(), "citation": "Nobody. Nothing. Nowhere.", **fields}
    return MethodCard(name="faulty", summary="Faulty", factory=f"{faulty_methods.__name__}:{name}", **values)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a method writes fall into a folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["Sound", "UsesEverySeam", "BuildsOnErm"])
def test_the_sound_ones_pass(name: str) -> None:
    report = conformance.check(card(name, builds_on="erm" if name == "BuildsOnErm" else ""))
    assert report.ok, str(report)
    skipped = [outcome.check for outcome in report.outcomes if outcome.status == "skipped"]
    assert skipped == ["card_imports_no_torch", "trains_on_inferred_groups"]


@pytest.mark.parametrize(
    ("name", "said"), [("BuildsOnErm", {}), ("Sound", {"builds_on": "erm"}), ("Sound", {"trains": False})]
)
def test_a_card_that_says_otherwise_what_it_builds_on_fails(name: str, said: dict[str, object]) -> None:
    failed = [outcome.check for outcome in conformance.check(card(name, **said)).outcomes if outcome.status == "failed"]
    # What does not train has no learning rate to search either.
    assert failed == [
        *(["search_space_is_valid"] if said.get("trains") is False else []),
        "card_says_what_it_builds_on",
    ]


@pytest.mark.parametrize(("name", "check"), (FAULTS | USING_THE_ATTRIBUTE).items())
def test_a_planted_fault_fails_the_check_that_is_meant_for_it(name: str, check: str) -> None:
    supervision = Supervision(train="bias") if name in USING_THE_ATTRIBUTE else Supervision()
    report = conformance.check(card(name, supervision=supervision))
    failed = [outcome for outcome in report.outcomes if outcome.status == "failed"]
    assert [outcome.check for outcome in failed] == [check], str(report)
    assert failed[0].reason
    assert "\n" not in failed[0].reason
    assert not report.ok


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"citation": ""}, "cites no source"),
        ({"name": "Missing"}, "cannot be used"),
        ({"name": "LooksLikeAMethod"}, "no subclass of Method"),
    ],
)
def test_a_card_that_is_not_truthful(fields: dict[str, str], reason: str) -> None:
    (check,) = (
        each for each in conformance.checks(card(**{"name": "Sound", **fields})) if each.name == "card_is_truthful"
    )
    with pytest.raises(conformance.ConformanceError, match=reason):
        check()


def test_a_class_that_cannot_be_used_is_said_to_be_so_once() -> None:
    for name in ("Missing", "LooksLikeAMethod"):
        report = conformance.check(card(name), expected_failures={})
        assert [outcome.check for outcome in report.outcomes] == ["card_is_truthful", "card_imports_no_torch"]
        assert report.count("failed") == 1
        assert not report.ok


def test_a_fault_that_shows_everywhere_fails_the_plainest_check_and_the_others_lead_to_it() -> None:
    report = conformance.check(card("AdaptsToWhatItSees"))
    ended = {outcome.check: outcome for outcome in report.outcomes}
    assert ended["predictions_depend_on_the_image_alone"].status == "failed"
    report = conformance.check(card("DrawsFromTheSystem"))
    ended = {outcome.check: outcome for outcome in report.outcomes}
    assert ended["resumes_exactly"].status == "skipped"
    assert ended["resumes_exactly"].reason == "see same_seed_same_result"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ReturnsNothing", "loss() of ReturnsNothing must return a scalar tensor or a dict of named ones, not None"),
        ("HasNoGradient", "loss() of HasNoGradient depends on no parameter that could be trained"),
        ("LearnsNothing", "every parameter is as it was before the training"),
        ("OrdersBeyondTheEnd", "order() of OrdersBeyondTheEnd must return positions in 0..39, not 40 to 40"),
        ("StartsOverWhereItGoesOn", "changes its parameters in the stage 'again', which continues the one before"),
        ("ReportsWords", "report of ReportsWords must be finite numbers by name, not {'chosen': 'the second'}"),
        ("AsksForABackboneThatThereIsNot", "Unknown backbone 'mpl'. Did you mean 'mlp'?"),
    ],
)
def test_what_the_runner_refuses_is_said_in_its_words(name: str, reason: str) -> None:
    (trains,) = (check for check in conformance.checks(card(name)) if check.name == "trains")
    with pytest.raises(conformance.ConformanceError) as raised:
        trains()
    assert reason in str(raised.value)
