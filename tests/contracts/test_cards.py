from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ncbench import BackboneCard, Measure, MethodCard, MetricCard, PluginError, Supervision


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": "Mine"}, "lower-case"),
        ({"name": "../mine"}, "lower-case"),
        ({"summary": ""}, "exactly one line"),
        ({"summary": "one\ntwo"}, "exactly one line"),
        ({"factory": "module"}, "package.module:Class"),
        ({"factory": "module:not a name"}, "package.module:Class"),
    ],
)
def test_malformed_cards_are_refused(changes: dict[str, str], complaint: str) -> None:
    fields = {"name": "mine", "summary": "One line.", "factory": "package.module:Class", **changes}
    with pytest.raises(PluginError, match=complaint):
        BackboneCard(**fields)


def test_a_family_that_there_is_not_is_refused_with_all_that_there_are() -> None:
    card: dict[str, Any] = {
        "name": "mine",
        "summary": "One line.",
        "factory": "package.module:Class",
        "supervision": Supervision(),
    }
    assert MethodCard(**card).family == ""
    assert MethodCard(**card, family="two networks").family == "two networks"
    with pytest.raises(PluginError, match=r"family of 'mine' must be empty or among .*two networks.*, not 'two'\."):
        MethodCard(**card, family="two")


def test_a_factory_that_cannot_be_imported_says_so() -> None:
    card = MethodCard(name="mine", summary="One line.", factory="nowhere.at_all:Class", supervision=Supervision())
    with pytest.raises(PluginError, match=r"importing nowhere.at_all:Class failed .*No module named 'nowhere'\)"):
        card.load()


def test_supervision_covers_what_it_declares() -> None:
    none, train, both = Supervision(), Supervision(train="bias"), Supervision("bias", "bias", hierarchy=True)
    assert both.covers(train)
    assert train.covers(none)
    assert not none.covers(train)
    assert not train.covers(both)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"label": " "}, "label of a measure"),
        ({"meaning": "two\nlines"}, "meaning of the measure 'mine' must be one line"),
        ({"direction": "up"}, "direction of the measure 'mine' must be among higher, lower, neither, not 'up'"),
        ({"unit": "percent"}, "unit of the measure 'mine' must be among %, LCA height, nothing"),
        ({"splits": "test"}, "splits of the measure 'mine' must be among train, val, test"),
        ({"splits": ()}, "splits"),
        ({"splits": ("test", "probe")}, "splits"),
        ({"decimals": -1}, "decimals of the measure 'mine' must be among None, 0 to 12"),
        ({"decimals": True}, "decimals"),
        ({"shown_in": "nowhere"}, "shown_in"),
    ],
)
def test_malformed_measures_are_refused_in_one_line(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PluginError, match=complaint) as refused:
        Measure(**{"label": "mine", "direction": "higher", **changes})
    assert "\n" not in str(refused.value)


def metric_card(metrics: Any) -> MetricCard:
    return MetricCard(name="mine", summary="One line.", factory="package.module:Class", metrics=metrics)


def test_a_direction_alone_describes_a_metric() -> None:
    card = metric_card({"margin_mean": "higher", "spread": Measure(label="spread of margins", direction="neither")})
    assert card.metrics["margin_mean"] == Measure(label="margin mean", direction="higher")
    assert card.metrics["spread"].label == "spread of margins"


@pytest.mark.parametrize("metrics", [["margin_mean"], {"margin_mean": 1}, {"margin_mean": "up"}])
def test_metrics_in_another_form_are_refused(metrics: Any) -> None:
    with pytest.raises(PluginError, match=r"mine|margin mean"):
        metric_card(metrics)


@pytest.mark.parametrize(
    ("fields", "value", "plain", "signed"),
    [
        ({}, 0.123456, "0.1235", "+0.1235"),
        ({"decimals": 3}, 2.0, "2.000", "+2.000"),
        ({"unit": "%", "decimals": 2}, 0.98765, "98.77", "+98.77"),
        ({"unit": "%", "decimals": 2}, -0.01, "-1.00", "-1.00"),
    ],
)
def test_how_a_value_is_shown(fields: dict[str, Any], value: float, plain: str, signed: str) -> None:
    measure = Measure(label="mine", direction="higher", **fields)
    assert (measure.text(value), measure.text(value, signed=True)) == (plain, signed)


@pytest.mark.skipif(os.name != "posix", reason="C is asked by another name")
def test_what_an_import_prints_goes_to_standard_error_whatever_prints_it(tmp_path: Path) -> None:
    (tmp_path / "talkative.py").write_text(
        "import ctypes, os\n"
        "ctypes.CDLL(None).puts(b'printed by C')\n"
        "print('printed by Python')\n"
        "os.system('echo printed by a program')\n"
        "class Talkative: ...\n"
    )
    code = (
        "from ncbench import LauncherCard\n"
        "LauncherCard(name='mine', summary='One line.', factory='talkative:Talkative').load()\n"
        "print('[]')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
    assert sorted(ended.stderr.splitlines()) == ["printed by C", "printed by Python", "printed by a program"]
