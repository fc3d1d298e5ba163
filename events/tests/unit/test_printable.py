"""Nothing of others reaches a terminal as it is."""

import json

from hypothesis import given
from hypothesis import strategies as st

from orderflow_events.printable import printable, printable_json


def test_what_a_terminal_obeys_is_escaped_and_the_rest_stays() -> None:
    assert printable("straße 1 ☃") == "straße 1 ☃"
    assert printable("a\x1b[31m\x9b\x7f\n\u202e\udcdf\ud800") == "a\\x1b[31m\\x9b\\x7f\\n\\u202e\\xdf\\ud800"
    assert printable("x" * 20, 10) == "x" * 9 + "…"


@given(st.text(st.characters()), st.integers(2, 50))
def test_it_is_printable_and_no_longer(text: str, longest: int) -> None:
    shown = printable(text, longest)
    assert shown.isprintable()
    assert len(shown) <= longest


@given(st.recursive(st.none() | st.text(st.characters()), lambda inner: st.dictionaries(st.text(), inner)))
def test_json_is_printable_and_the_same(document: object) -> None:
    shown = printable_json(document, indent=2)
    assert all(line.isprintable() for line in shown.split("\n"))
    assert json.loads(shown) == document
