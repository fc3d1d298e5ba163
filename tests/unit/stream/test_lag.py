"""A record's time is what its producer says: no number ends the look at what a group reads next."""

from datetime import UTC, datetime

import pytest

from orderflow.stream.lag import since

FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("milliseconds", "at"),
    [
        (None, FIRST),
        (-1, FIRST),
        (-(2**63), FIRST),
        (0, FIRST),
        (1_790_000_000_250, datetime(2026, 9, 21, 14, 13, 20, 250_000, tzinfo=UTC)),
        (253_402_300_799_000, LAST),
        (253_402_300_800_000, LAST),
        (2**63 - 1, LAST),
    ],
)
def test_any_number_is_a_time(milliseconds: int | None, at: datetime) -> None:
    assert since(milliseconds) == at
