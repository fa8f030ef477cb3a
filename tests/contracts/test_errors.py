"""What every error keeps to: one line, whatever is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncbench import ConfigurationError, DataError, NcbenchError


@given(text=st.text())
def test_an_error_is_one_line(text: str) -> None:
    for kind in (NcbenchError, DataError, ConfigurationError):
        shown = str(kind(text))
        assert len(shown.splitlines()) <= 1
        assert shown.isprintable() or any(not letter.isprintable() for letter in text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\nb", r"a\nb"), ("a\r\n\tb", r"a\r\n\tb"), ("\x1b[2Ja", r"\x1b[2Ja"), ("a\u2028b\x85", r"a\u2028b\x85")],
)
def test_control_characters_are_written_out(text: str, shown: str) -> None:
    assert str(DataError(text)) == shown


def test_everything_else_stays_as_it_is() -> None:
    text = "C:\\new [red] μ_c é e\u0301 \udcff 'quoted' \"twice\""
    assert str(DataError(text)) == text
