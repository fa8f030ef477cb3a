from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncbench.contracts.errors import ConfigurationError
from ncbench.contracts.specs import Spec, format_scalar, parse_scalar, read_yaml

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
        ("erm:a=*b", "not a YAML scalar"),
        ("erm:a=- 1", "not a YAML scalar"),
        ("erm:a=!!python/object/apply:os.system x", "not a YAML scalar"),
    ],
)
def test_malformed_specs_are_refused_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        Spec.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("-08", -8),
        ("0o10", 8),
        ("0x1F", 31),
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("True", True),
        ("false", False),
        ("~", None),
        ("", None),
        ("1e3", 1000.0),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("5.", 5.0),
        ("685.230_15e+03", "685.230_15e+03"),
        ("2020-12-24", "2020-12-24"),
        ("nan", "nan"),
        ("'010'", "010"),
        ('"yes"', "yes"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    read = parse_scalar(text, where=text)
    assert read == value
    assert type(read) is type(value)
    assert parse_scalar(format_scalar(read), where=text) == value


@given(text=st.from_regex(r"[-+0-9.:_eExobynftrl~]{1,8}", fullmatch=True))
def test_a_scalar_that_is_written_is_read_back_the_same(text: str) -> None:
    try:
        value = parse_scalar(text, where=text)
    except ConfigurationError:
        return
    again = parse_scalar(format_scalar(value), where=text)
    assert type(again) is type(value)
    assert again == value or value != value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: 1\nb: 2\na: 3", "'a' is given twice, in line 1 and in line 3"),
        ("x: {recipe.lr: 1, recipe.lr: 2}", "'recipe.lr' is given twice"),
        ("- 1\n- b: 1\n  b: 1", "'b' is given twice, in line 2 and in line 3"),
        ("a: b: c", "line 1, column 5"),
        ("[" * 5000, "."),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
    ],
)
def test_what_is_no_yaml_is_said_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        read_yaml(text)
    assert "\n" not in str(caught.value)
    assert "unicode string" not in str(caught.value)


def test_merge_keys_go_on_working() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {z: 3}\nc: {<<: *a, y: 4}\nd: {<<: [*a, *b], x: 0}"
    read = read_yaml(text)
    assert read["c"] == {"x": 1, "y": 4}
    assert read["d"] == {"x": 0, "y": 2, "z": 3}


@pytest.mark.parametrize("text", ["shortcut-prime", "Shortcut_Prime:seed=1"])
def test_a_name_in_another_spelling_is_recognised(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"lower-case letters, digits and _, .* Did you mean shortcut_prime\?"):
        Spec.parse(text)
