from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError

from ncbench import ConfigurationError, LocalPath, LogUniform, Parameters, Uniform, unknown_name
from ncbench.contracts.parameters import Values, draw


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


@pytest.mark.parametrize(("number", "named"), [(12, 12), (13, 12), (2000, 12)])
def test_of_many_names_the_nearest_dozen_and_what_lists_them_all(number: int, named: int) -> None:
    names = [f"model_{index:04}" for index in range(number)]
    said = str(unknown_name("model", "model_0003x", names, listed_by="show models"))
    assert "Did you mean 'model_0003'?" in said
    assert sum(name in said.rpartition("Valid: ")[2] for name in names) == named
    assert said.endswith(f" and {number - 12} more (show models)." if number > named else "model_0011.")
    assert str(unknown_name("model", "zzz", names, listed_by="show models")).count("model_") == named


@pytest.mark.parametrize(
    "values", [{"strength": 2}, {"strength": "much"}, {"by": "pixel"}, {"rounds": 2.5}, {"strength": float("nan")}]
)
def test_values_out_of_range_name_the_key_and_its_meaning(values: dict[str, object]) -> None:
    key = next(iter(values))
    with pytest.raises(ConfigurationError, match=rf"for '{key}' of example is not valid") as caught:
        Example.build(values, owner="example")
    assert Example.model_fields[key].description in str(caught.value)
    assert "\n" not in str(caught.value)


class Located(Parameters):
    path: LocalPath = Field("", description="where it lies")


def test_what_stands_for_a_path_is_one_digest_for_as_long_as_the_parameters_live(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("before")
    first, same = (Located.build({"path": str(path)}, owner="located") for _ in range(2))
    digest = first.as_dict()["path"]
    assert digest.startswith("sha256-")
    path.write_text("after")
    assert first.as_dict() == {"path": digest}
    assert str(first.spec("located")) == f"located:path={digest}"
    assert first == same
    assert same.as_dict()["path"] != digest
    assert first.model_dump() == {"path": str(path)}


POSITIVE = st.floats(1e-9, 1e9)


@given(st.sampled_from([Uniform, LogUniform]), st.tuples(POSITIVE, POSITIVE).filter(lambda ends: ends[0] != ends[1]))
def test_what_is_drawn_lies_within_the_bounds_and_is_short(kind: type[Uniform], ends: tuple[float, float]) -> None:
    low, high = sorted(ends)
    generator = random.Random(0)
    for value in [draw(kind(low, high), generator) for _ in range(20)]:
        assert isinstance(value, float)
        assert low <= value <= high
        assert value in (low, high, float(f"{value:.3g}"))


def test_bounds_draw_evenly_in_the_number_or_in_its_logarithm() -> None:
    generator = random.Random(0)
    middle = {Uniform: 0.505, LogUniform: 0.1}
    for kind, half in middle.items():
        below = sum(draw(kind(0.01, 1), generator) < half for _ in range(2000))
        assert 900 < below < 1100


@pytest.mark.parametrize("values", [Uniform(0.5, 5), LogUniform(1e-4, 1e-2), (64, 128), ("a", True, None, 0.5)])
def test_what_to_choose_from_reads_back_as_it_is_written(values: Any) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Values)
    assert adapter.validate_python(adapter.dump_python(values, mode="json")) == values


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([], "at least 1 item"),
        ("abc", "should be a valid tuple"),
        ({"uniform": [1, 0]}, "1 is not below 0"),
        ({"uniform": [0, float("inf")]}, "finite"),
        ({"log_uniform": [0, 1]}, "greater than 0"),
        ({"uniform": [0, 1], "log_uniform": [1, 2]}, "Extra inputs"),
    ],
)
def test_what_gives_no_value_is_refused(values: Any, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint) as raised:
        TypeAdapter(Values).validate_python(values)
    assert raised.value.error_count() == 1
