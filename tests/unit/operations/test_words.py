"""Counts as people say them."""

import pytest

from operations.words import counted, waiting


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 orders"), (1, "1 order"), (2, "2 orders"), (12_000, "12,000 orders")]
)
def test_one_is_no_plural(number: int, said: str) -> None:
    assert counted(number, "order") == said


def test_a_plural_of_its_own_and_the_verb() -> None:
    assert (counted(1, "history", "histories"), counted(2, "history", "histories")) == ("1 history", "2 histories")
    assert (waiting(1, "event"), waiting(2, "event")) == ("1 event waits", "2 events wait")
