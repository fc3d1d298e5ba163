"""Asking the payment gateway about one reference: what it knows, and every way of getting no answer."""

import json
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import httpx
import pytest

from orderflow.domain.errors import Unavailable
from orderflow.gateways.client import GatewayClient
from orderflow.gateways.lookup import GatewayPayment, look_up

REFERENCE = UUID("00000000-0000-4000-8000-000000000001")
CALL = {"operation": "authorize", "status": 200, "outcome": "answered", "called_at": "2026-11-23T12:00:00Z"}
ENTRY = {
    "reference": str(REFERENCE),
    "status": "authorized",
    "amount": 198,
    "currency": "USD",
    "authorized_count": 1,
    "something_new": True,
    "calls": [CALL],
}


Answer = Callable[[httpx.Request], httpx.Response]


async def asked(answer: Answer) -> GatewayPayment | None:
    async with GatewayClient("http://gateway", 1, transport=lambda: httpx.MockTransport(answer)) as client:
        return await look_up(client, REFERENCE)


def said(status: int, body: object = None) -> Answer:
    """An answer that comes in two parts, as from a socket."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def parts() -> AsyncIterator[bytes]:
        yield text[:10]
        yield text[10:]

    return lambda request: httpx.Response(status, content=parts())


def entry(**other: object) -> Answer:
    return said(200, {**ENTRY, **other})


def call(**other: object) -> Answer:
    return entry(calls=[{**CALL, **other}])


async def test_what_the_gateway_knows() -> None:
    found = await asked(entry())
    assert found is not None
    assert (found.status, found.authorized_count, found.captured_amount) == ("authorized", 1, 0)
    assert [call.operation for call in found.calls] == ["authorize"]


async def test_an_unknown_reference_is_no_error() -> None:
    assert await asked(said(404, {"code": "unknown_reference"})) is None


async def test_a_long_story_of_failed_calls_can_be_read() -> None:
    found = await asked(entry(calls=[CALL] * 5000))
    assert found is not None
    assert len(found.calls) == 5000


def _lost(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("reset", request=request)


NO_ANSWERS: dict[str, Answer] = {
    "503": said(503),
    "302": lambda request: httpx.Response(302, headers={"Location": "/elsewhere"}, content=_nothing()),
    "lost": _lost,
    "not JSON": said(200, b"<html>"),
    "nested without end": said(200, b"[" * 60_000),
    "no object": said(200, []),
    "no UUID": said(200, {"reference": "x"}),
    "the entry of another payment": entry(reference="00000000-0000-4000-8000-000000000002"),
    "too long": said(200, json.dumps(ENTRY).encode() + b" " * (2 * 1024 * 1024)),
    "an amount as text": entry(amount="198"),
    "an amount as a truth": entry(amount=True),
    "a broken amount": entry(amount=1.5),
    "a status with control characters": entry(status="\x1b[2Jauthorized"),
    "a status of 201 characters": entry(status="a" * 201),
    "a currency in another script": entry(currency="\u20ac"),
    "an operation with a new line": call(operation="authorize\n"),
    "an outcome of none": call(outcome=None),
    "a call without its time": call(called_at="yesterday"),
    "a call at a time without an offset": call(called_at="2026-11-23T12:00:00"),
    "a call before there was a UTC": call(called_at="0001-01-01T00:00:00+14:00"),
    "a call at the end of time": call(called_at="9999-12-31T23:59:59-14:00"),
    "a status of no HTTP": call(status=10**30),
    "an amount below zero": entry(amount=-5),
    "an amount without end": entry(amount=10**300),
    "a captured amount below zero": entry(captured_amount=-1),
    "a captured amount without end": entry(captured_amount=10**12 + 1),
    "a refunded amount below zero": entry(refunded_amount=-1),
    "a refunded amount without end": entry(refunded_amount=10**300),
    "fewer holds than can be": entry(authorized_count=-(10**300)),
    "holds without end": entry(authorized_count=10**300),
}


async def _nothing() -> AsyncIterator[bytes]:
    yield b""


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
async def test_what_is_no_answer(answer: Answer) -> None:
    with pytest.raises(Unavailable, match="payment gateway"):
        await asked(answer)
