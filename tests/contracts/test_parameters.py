from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field

from ncbench import ConfigurationError, Parameters


class Example(Parameters):
    strength: float = Field(0.5, ge=0, le=1, description="how strong")
    by: Literal["group", "class"] = Field("group", description="unit of weighting")
    rounds: int = Field(3, ge=1, description="how often")


def test_the_canonical_spec_leaves_defaults_out() -> None:
    parameters = Example.build({"rounds": 3, "strength": 0.25}, owner="example")
    assert str(parameters.spec("example")) == "example:strength=0.25"
    assert parameters.as_dict() == {"strength": 0.25, "by": "group", "rounds": 3}


def test_an_unknown_key_names_the_nearest_and_lists_all() -> None:
    with pytest.raises(ConfigurationError, match=r"Did you mean 'strength'\? Valid: by, rounds, strength\."):
        Example.build({"strenght": 1}, owner="example")


@pytest.mark.parametrize(
    "values", [{"strength": 2}, {"strength": "much"}, {"by": "pixel"}, {"rounds": 2.5}, {"strength": float("nan")}]
)
def test_values_out_of_range_name_the_key_and_its_meaning(values: dict[str, object]) -> None:
    key = next(iter(values))
    with pytest.raises(ConfigurationError, match=rf"for '{key}' of example is not valid") as caught:
        Example.build(values, owner="example")
    assert Example.model_fields[key].description in str(caught.value)
    assert "\n" not in str(caught.value)
