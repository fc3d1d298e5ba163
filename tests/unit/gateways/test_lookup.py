"""Asking the payment gateway about one reference: what it knows, and every way of getting no answer."""

from collections.abc import Callable
from uuid import UUID

import httpx
import pytest

from orderflow.domain.errors import Unavailable
from orderflow.gateways.lookup import GatewayPayment, look_up

REFERENCE = UUID("00000000-0000-4000-8000-000000000001")
ENTRY = {
    "reference": str(REFERENCE),
    "status": "authorized",
    "amount": 198,
    "currency": "USD",
    "authorized_count": 1,
    "something_new": True,
    "calls": [{"operation": "authorize", "status": 200, "outcome": "answered", "called_at": "2026-11-23T12:00:00Z"}],
}


async def asked(answer: Callable[[httpx.Request], httpx.Response]) -> GatewayPayment | None:
    async with httpx.AsyncClient(base_url="http://gateway", transport=httpx.MockTransport(answer)) as client:
        return await look_up(client, REFERENCE, within_seconds=1)


async def test_what_the_gateway_knows() -> None:
    found = await asked(lambda request: httpx.Response(200, json=ENTRY))
    assert found is not None
    assert (found.status, found.authorized_count, found.captured_amount) == ("authorized", 1, 0)
    assert [call.operation for call in found.calls] == ["authorize"]


async def test_an_unknown_reference_is_no_error() -> None:
    assert await asked(lambda request: httpx.Response(404, json={"code": "unknown_reference"})) is None


def _lost(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("reset", request=request)


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: httpx.Response(503),
        lambda request: httpx.Response(302, headers={"Location": "/elsewhere"}),
        lambda request: httpx.Response(200, text="<html>"),
        lambda request: httpx.Response(200, json=[]),
        lambda request: httpx.Response(200, json={"reference": "x"}),
        _lost,
    ],
)
async def test_what_is_no_answer(answer: Callable[[httpx.Request], httpx.Response]) -> None:
    with pytest.raises(Unavailable, match="payment gateway"):
        await asked(answer)
