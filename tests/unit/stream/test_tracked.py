"""What the tracking keeps of an event of a source that it does not know: what can be kept, whatever the data is."""

from typing import Any
from uuid import UUID

import pytest

from orderflow.stream.tracking import LONGEST_REASON, tracked
from orderflow_events.envelope import decode
from support.records import a_record

ORDER = UUID("6f2d1c3e-0000-4000-8000-000000000001")


def reason_of(reason: Any) -> str | None:
    record = a_record(ORDER, 1, source="/acme/parcels", data={"reason": reason})
    return tracked(decode(record.headers, record.key, record.value)).reason


def nested(levels: int) -> Any:
    inside: Any = []
    for _ in range(levels):
        inside = [inside]
    return inside


@pytest.mark.parametrize("reason", [None, 7, True, {"a": 1}, [], nested(400)])
def test_a_reason_that_is_no_text_is_none(reason: Any) -> None:
    assert reason_of(reason) is None


def test_a_reason_has_a_greatest_length_and_no_nul() -> None:
    assert reason_of("a\x00b") == "a\ufffdb"
    assert reason_of("x" * 1_000_000) == "x" * LONGEST_REASON
    assert reason_of("lost in the rain") == "lost in the rain"
