"""What the Web UI's timeline says of a step: money as people write it."""

from uuid import uuid4

import pytest

from orderflow.domain.orders import Line
from workflows import calls
from workflows.steps import ToSecure, Trace

LINE = Line(sku="1082185", quantity=2, unit_price=99)


@pytest.mark.parametrize(
    ("total", "currency", "said"), [(198, "USD", "1.98 USD"), (198, "JPY", "198 JPY"), (123_456, "USD", "1,234.56 USD")]
)
def test_an_authorization_says_how_much(total: int, currency: str, said: str) -> None:
    secure = ToSecure(total=total, currency=currency, lines=(LINE,), sealed_token=None)
    assert calls.authorize(uuid4(), secure, Trace()).summary == f"authorize payment of {said}"


def test_a_capture_says_how_much_where_the_run_knows_it() -> None:
    assert calls.capture(uuid4(), "c:1", Trace(), "1.98 USD").summary == "capture payment of 1.98 USD"
    assert calls.capture(uuid4(), "c:1", Trace(), None).summary == "capture payment"


def test_a_reservation_says_of_how_many_lines() -> None:
    for lines, said in (((LINE,), "1 line"), ((LINE, LINE), "2 lines")):
        secure = ToSecure(total=198, currency="USD", lines=lines, sealed_token=None)
        assert calls.reserve(uuid4(), secure, Trace()).summary == f"reserve stock for {said}"
