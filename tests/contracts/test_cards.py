from __future__ import annotations

import pytest

from ncbench import BackboneCard, MethodCard, PluginError, Supervision


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
