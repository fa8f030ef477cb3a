from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncbench.contracts.errors import ConfigurationError
from ncbench.contracts.specs import Spec

names = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts


@given(names, st.dictionaries(names, scalars, max_size=4))
def test_a_spec_survives_being_written_and_read(name: str, parameters: dict[str, object]) -> None:
    spec = Spec(name, parameters)  # type: ignore[arg-type]
    read = Spec.parse(str(spec))
    assert read == spec
    assert {key: type(value) for key, value in read.parameters.items()} == {
        key: type(value) for key, value in spec.parameters.items()
    }


def test_the_canonical_form_sorts_keys() -> None:
    assert str(Spec.parse("lff:q=0.7,alpha=0.5")) == "lff:alpha=0.5,q=0.7"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("5", 5),
        ("0.01", 0.01),
        ("true", True),
        ("null", None),
        ("group", "group"),
        ("'1e-3'", "1e-3"),
        ("", None),
    ],
)
def test_values_are_yaml_scalars(text: str, value: object) -> None:
    parsed = Spec.parse(f"name:key={text}").parameters["key"]
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not a spec"),
        ("Waterbirds", "is not a spec"),
        ("../etc", "is not a spec"),
        ("erm:", "key=value"),
        ("erm:lr", "key=value"),
        ("erm:=3", "key=value"),
        ("erm:a=1,a=2", "given twice"),
        ("erm:a=[1]", "not a YAML scalar"),
        ("erm:a={b: 1}", "not a YAML scalar"),
        ("erm:a='x", "not a YAML scalar"),
        ("erm:a=2020-13-45", "not a YAML scalar"),
        ("erm:a=2020-12-24", "not a YAML scalar"),
        ("erm:a=!!python/object/apply:os.system x", "not a YAML scalar"),
    ],
)
def test_malformed_specs_are_refused_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        Spec.parse(text)
    assert "\n" not in str(caught.value)
