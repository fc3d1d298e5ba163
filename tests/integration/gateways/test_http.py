"""The adapter over HTTP: what the simulator saw of it, and servers that misbehave.

What every gateway promises is in ``test_conformance``.
"""

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from orderflow.domain.errors import Unavailable
from orderflow.gateways.client import GatewayClient
from orderflow.gateways.http import HttpPaymentGateway
from orderflow.gateways.protocol import (
    Authorized,
    Captured,
    CaptureRefused,
    Declined,
    MoneyFact,
    PaymentGateway,
    Shut,
    Voided,
)
from support.gateway import SimulatorProcess, free_port

OK = "tok_ok"


@pytest.fixture
async def gateway(client: httpx.AsyncClient, simulator_url: str) -> AsyncIterator[PaymentGateway]:
    async with GatewayClient(simulator_url, 5) as ours:
        yield HttpPaymentGateway(ours)


async def authorize(
    gateway: PaymentGateway, reference: UUID, token: str = OK, key: str = "w:authorize"
) -> Authorized | Declined | Shut:
    return await gateway.authorize(reference, 419, "USD", token, f"{reference}:{key}", correlation_id="corr-2")


async def entry(client: httpx.AsyncClient, reference: UUID) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"/v1/payments/{reference}")).json()
    return found


async def test_authorize_then_capture(client: httpx.AsyncClient, gateway: PaymentGateway, reference: UUID) -> None:
    held = await authorize(gateway, reference)
    assert isinstance(held, Authorized)
    assert await authorize(gateway, reference) == held
    taken = await gateway.capture(reference, f"{reference}:w:capture:c:1", correlation_id="corr-2")
    assert isinstance(taken, Captured)
    assert await gateway.capture(reference, f"{reference}:w:capture:c:1") == taken
    found = await entry(client, reference)
    assert (found["amount"], found["currency"], found["captured_amount"]) == (419, "USD", 419)
    assert [call["correlation_id"] for call in found["calls"]] == ["corr-2", "corr-2", "corr-2", None]


async def test_a_token_that_the_gateway_never_issued_is_declined(gateway: PaymentGateway, reference: UUID) -> None:
    assert await authorize(gateway, reference, "unheard-of") == Declined("payment_declined")


async def test_void_of_what_was_captured_refunds_it_once(
    client: httpx.AsyncClient, gateway: PaymentGateway, reference: UUID
) -> None:
    await authorize(gateway, reference)
    await gateway.capture(reference, f"{reference}:c1")
    for key in ("w:void", "w:void", "w:void:again"):
        assert await gateway.void(reference, f"{reference}:{key}") == Voided(refunded=True)
    found = await entry(client, reference)
    assert (found["status"], found["captured_amount"], found["refunded_amount"]) == ("refunded", 419, 419)


async def test_a_refund_whose_answer_was_lost_is_found_by_the_next_void(
    client: httpx.AsyncClient, gateway: PaymentGateway, reference: UUID
) -> None:
    await authorize(gateway, reference)
    await gateway.capture(reference, f"{reference}:c1")
    headers = {"Idempotency-Key": f"{reference}:w:void"}
    await client.post(f"/v1/payments/{reference}/void", headers=headers)
    headers = {"Idempotency-Key": f"{reference}:w:void:refund"}
    await client.post(f"/v1/payments/{reference}/refund", headers=headers)
    assert await gateway.void(reference, f"{reference}:w:void") == Voided(refunded=True)
    assert (await entry(client, reference))["refunded_amount"] == 419


@pytest.mark.parametrize("token", ["tok_error_once", "tok_answer_lost_once"])
async def test_no_answer_once_and_the_same_call_again_is_one_hold(
    client: httpx.AsyncClient, gateway: PaymentGateway, reference: UUID, token: str
) -> None:
    with pytest.raises(Unavailable, match="payment gateway: answered authorize with 50"):
        await authorize(gateway, reference, token)
    assert isinstance(await authorize(gateway, reference, token), Authorized)
    found = await entry(client, reference)
    assert (found["authorized_count"], found["duplicate_attempts"]) == (1, 0)


async def test_a_time_out_is_unavailable_and_the_same_call_again_is_one_hold(
    client: httpx.AsyncClient, simulator_url: str, reference: UUID
) -> None:
    async with GatewayClient(simulator_url, 0.3) as ours:
        gateway = HttpPaymentGateway(ours)
        with pytest.raises(Unavailable, match="no answer to authorize"):
            await authorize(gateway, reference, "tok_slow")
        assert isinstance(await authorize(gateway, reference, "tok_slow"), Authorized)
    assert (await entry(client, reference))["authorized_count"] == 1


async def test_a_gateway_that_is_down_is_unavailable(
    client: httpx.AsyncClient, gateway: PaymentGateway, reference: UUID
) -> None:
    with pytest.raises(Unavailable):
        await authorize(gateway, reference, "tok_down")
    await client.put("/v1/faults", json={"down": True})
    with pytest.raises(Unavailable):
        await gateway.capture(reference, f"{reference}:c1")
    with pytest.raises(Unavailable):
        await gateway.void(reference, f"{reference}:w:void")


async def test_a_gateway_that_is_gone_is_unavailable_and_back_without_a_new_client(tmp_path: Path) -> None:
    process = SimulatorProcess(tmp_path)
    async with GatewayClient(process.url, 5) as ours:
        gateway = HttpPaymentGateway(ours)
        reference = uuid4()
        with pytest.raises(Unavailable, match="ConnectError"):
            await authorize(gateway, reference)
        await process.start()
        try:
            held = await authorize(gateway, reference)
            await process.kill()
            with pytest.raises(Unavailable):
                await authorize(gateway, reference)
            await process.start()
            assert await authorize(gateway, reference) == held
        finally:
            await process.kill()


async def test_a_bug_says_what_the_gateway_said(gateway: PaymentGateway, reference: UUID) -> None:
    with pytest.raises(RuntimeError, match="unknown_reference"):
        await gateway.capture(reference, f"{reference}:c1")
    await authorize(gateway, reference)
    with pytest.raises(RuntimeError, match="already_authorized"):
        await authorize(gateway, reference, key="another")
    with pytest.raises(RuntimeError, match="idempotency_key_reused"):
        await authorize(gateway, reference, token="tok_declined")


# --- servers that misbehave ---


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    """A server that does this with each connection until the other side is gone; its URL."""

    async def until_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(until_gone, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def a_request(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"\r\n\r\n")


@asynccontextmanager
async def canned(answer: bytes, *, trickle: bool = False) -> AsyncIterator[str]:
    """A server that reads a request and gives this answer to it, whatever it was."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await a_request(reader)
        writer.write(answer)
        while trickle:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)
        await writer.drain()

    async with serving(serve) as url:
        yield url


def http(status: str, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


def ids(value: object) -> bytes:
    """A 200 with this value wherever an answer has an id or a status."""
    fields = ("authorization_id", "capture_id", "status")
    return http("200 OK", json.dumps(dict.fromkeys(fields, value)).encode())


SECRET = 'tok_"geheim"_4242'
NO_ANSWERS = {
    "closed": b"",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "cut off": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    "not JSON": http("200 OK", b"<html>"),
    "not UTF-8": http("200 OK", b'{"status": "\xff\xff"}'),
    "no object": http("200 OK", b"[]"),
    "nested without end": http("200 OK", b"[" * 60_000),
    "a number of many digits": http("200 OK", b'{"status": ' + b"9" * 60_000 + b"}"),
    "no id": http("200 OK", b"{}"),
    "empty id": http("200 OK", b'{"authorization_id": "", "capture_id": "", "status": ""}'),
    "no string": http("200 OK", b'{"authorization_id": 1, "capture_id": 1, "status": 1}'),
    "a list": ids(["a"]),
    "201 characters": ids("a" * 201),
    "a new line": ids("auth_1\n"),
    "a control character": ids("auth_1\x1b[2J"),
    "another script": ids("auth_\u0430"),
    "half a character": ids("\ud800"),
    "202": http("202 Accepted", b"{}"),
    "302": http("302 Found\r\nLocation: /elsewhere", b""),
    "408": http("408 Request Timeout", b"{}"),
    "429": http("429 Too Many Requests", b"{}"),
    "500": http("500 Internal Server Error", SECRET.encode()),
    "502": http("502 Bad Gateway", b"<html>"),
    "503": http("503 Service Unavailable", b"{}"),
}


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
async def test_an_answer_that_says_nothing_is_unavailable(answer: bytes, reference: UUID) -> None:
    async with canned(answer) as url, GatewayClient(url, 2) as ours:
        gateway = HttpPaymentGateway(ours)
        with pytest.raises(Unavailable) as raised:
            await authorize(gateway, reference, SECRET)
        assert raised.value.dependency == "payment gateway"
        assert_no_secret(raised.value)
        with pytest.raises(Unavailable):
            await gateway.capture(reference, "c")
        with pytest.raises(Unavailable):
            await gateway.void(reference, "v")


@pytest.mark.parametrize(
    "said",
    [{"status": "declined"}, {"status": None}, {"status": "authorized", "amount": 1}, {"currency": "XXX"}],
    ids=["status", "null", "amount", "currency"],
)
async def test_a_200_that_contradicts_what_it_answers_is_no_authorization(
    said: dict[str, object], reference: UUID
) -> None:
    answer = http("200 OK", json.dumps({"authorization_id": "auth_1", **said}).encode())
    async with canned(answer) as url, GatewayClient(url, 2) as ours:
        with pytest.raises(Unavailable, match="the answer to authorize makes no sense"):
            await authorize(HttpPaymentGateway(ours), reference)


async def test_a_200_that_contradicts_what_it_answers_is_no_capture(reference: UUID) -> None:
    answer = http("200 OK", b'{"capture_id": "cap_1", "status": "failed"}')
    async with canned(answer) as url, GatewayClient(url, 2) as ours:
        with pytest.raises(Unavailable, match="the answer to capture makes no sense: status is not captured"):
            await HttpPaymentGateway(ours).capture(reference, "c")


async def test_a_200_that_contradicts_what_it_answers_is_no_refund(reference: UUID) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await a_request(reader)
        writer.write(http("409 Conflict", b'{"code": "already_captured"}'))
        await a_request(reader)
        writer.write(http("200 OK", b'{"refund_id": "ref_1", "status": "failed"}'))
        await writer.drain()

    async with serving(serve) as url, GatewayClient(url, 2) as ours:
        with pytest.raises(Unavailable, match="the answer to refund makes no sense: status is not refunded"):
            await HttpPaymentGateway(ours).void(reference, "v")


@pytest.mark.parametrize("beginning", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Long:"], ids=["body", "head"])
async def test_the_time_out_bounds_the_whole_call(beginning: bytes, reference: UUID) -> None:
    """Each read of a trickling answer is quick enough; all of them together never end."""
    async with canned(beginning, trickle=True) as url, GatewayClient(url, 0.4) as ours:
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable, match=r"within 0\.4 s"):
                await authorize(HttpPaymentGateway(ours), reference)


LONG = b'{"authorization_id": "auth_1", "capture_id": "cap_1", "status": "authorized", "more": "%s"}'


def chunked(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("form", [lambda body: http("200 OK", body), chunked], ids=["announced", "chunked"])
async def test_an_answer_may_have_64_kib_and_no_byte_more(form: Callable[[bytes], bytes], reference: UUID) -> None:
    longest = LONG % (b"x" * (64 * 1024 - len(LONG) + 2))
    assert len(longest) == 64 * 1024
    async with canned(form(longest)) as url, GatewayClient(url, 5) as ours:
        assert await authorize(HttpPaymentGateway(ours), reference) == Authorized("auth_1")
    async with canned(form(longest + b" ")) as url, GatewayClient(url, 5) as ours:
        with pytest.raises(Unavailable, match="the answer to authorize makes no sense: it is longer than 65536 bytes"):
            await authorize(HttpPaymentGateway(ours), reference)


@pytest.mark.parametrize("status", [b"200 OK", b"409 Conflict"])
async def test_an_answer_without_end_is_not_read_on(status: bytes, reference: UUID) -> None:
    """The gateway notices that we hung up; it would else fill our memory until the time-out."""
    hung_up, sent = asyncio.Event(), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await a_request(reader)
        writer.write(b"HTTP/1.1 %s\r\n\r\n" % status)
        try:
            while True:
                writer.write(b"x" * 65536)
                sent += 65536
                await writer.drain()
        finally:
            hung_up.set()

    async with serving(serve) as url, GatewayClient(url, 60) as ours:
        with pytest.raises(Unavailable, match="longer than"):
            await authorize(HttpPaymentGateway(ours), reference)
        async with asyncio.timeout(10):
            await hung_up.wait()
    assert sent < 32 * 1024 * 1024  # what sockets buffer


async def test_after_an_answer_that_was_given_up_the_next_call_gets_its_own(reference: UUID) -> None:
    """The late rest of the first answer must not be taken for the second one's."""
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        answer = chunked(LONG % (b"x" * 70_000)) if served == 1 else http("200 OK", b'{"capture_id": "cap_1"}')
        while True:
            await a_request(reader)
            writer.write(answer)
            await writer.drain()

    async with serving(serve) as url, GatewayClient(url, 5) as ours:
        gateway = HttpPaymentGateway(ours)
        with pytest.raises(Unavailable, match="longer than"):
            await gateway.capture(reference, "c")
        for _ in range(3):
            assert await gateway.capture(reference, "c") == Captured("cap_1")
    assert served == 2  # and the second connection was kept


async def test_calls_share_as_many_connections_as_allowed(reference: UUID) -> None:
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        while True:
            await a_request(reader)
            writer.write(http("200 OK", b'{"capture_id": "cap_1"}'))
            await writer.drain()

    async with serving(serve) as url, GatewayClient(url, 5, connections=3) as ours:
        gateway = HttpPaymentGateway(ours)
        taken = await asyncio.gather(*(gateway.capture(reference, "c") for _ in range(40)))
    assert taken == [Captured("cap_1")] * 40
    assert served == 3


SINCE = datetime(2026, 11, 1, tzinfo=UTC)
FACT = {"reference": str(UUID(int=1)), "status": "captured", "amount": 300, "currency": "USD", "since": str(SINCE)}


def ledger(**other: object) -> bytes:
    """A ledger of one payment."""
    return json.dumps({"payments": [{**FACT, **other}]}).encode()


LEDGERS = {
    "no object": b"[]",
    "no payments": b"{}",
    "no list": b'{"payments": {}}',
    "nested without end": b"[" * 60_000,
    "an amount as text": ledger(amount="300"),
    "an amount below zero": ledger(amount=-5),
    "an amount without end": ledger(amount=10**300),
    "a time without an offset": ledger(since="2026-01-01T00:00:00"),
    "a time before there was a UTC": ledger(since="0001-01-01T00:00:00+14:00"),
    "a time at the end of time": ledger(since="9999-12-31T23:59:59-14:00"),
    "another status": ledger(status="lost"),
    "a currency with control characters": ledger(currency="\x1b[2J"),
}


@pytest.mark.parametrize("answer", LEDGERS.values(), ids=LEDGERS.keys())
async def test_a_ledger_that_makes_no_sense_is_unavailable(answer: bytes) -> None:
    async with canned(http("200 OK", answer)) as url, GatewayClient(url, 2) as ours:
        with pytest.raises(Unavailable, match="its ledger makes no sense"):
            await HttpPaymentGateway(ours).money(SINCE)


async def test_a_ledger_may_be_longer_than_an_answer() -> None:
    body = json.dumps({"payments": [FACT] * 2000}).encode()
    async with canned(http("200 OK", body)) as url, GatewayClient(url, 5) as ours:
        facts = await HttpPaymentGateway(ours).money(SINCE)
    assert facts == [MoneyFact(UUID(int=1), "captured", 300, "USD", SINCE)] * 2000


@pytest.mark.parametrize(
    "body",
    [
        b'{"detail": "invalid", "got": "tok_\\"geheim\\"_4242"}',
        b'no such token: tok_"geheim"_4242',
        b"x" * 485 + b'tok_"geheim"_4242',
        b"",
    ],
    ids=["JSON", "text", "at the cut", "empty"],
)
@pytest.mark.parametrize("status", ["400 Bad Request", "402 Payment Required", "409 Conflict"])
async def test_an_unexpected_refusal_is_a_bug_and_never_shows_the_token(
    status: str, body: bytes, reference: UUID
) -> None:
    async with canned(http(status, body)) as url, GatewayClient(url, 2) as ours:
        with pytest.raises(RuntimeError, match=status[:3]) as raised:
            await authorize(HttpPaymentGateway(ours), reference, SECRET)
        assert_no_secret(raised.value)


@pytest.mark.parametrize(
    "code",
    ["expired_card", "idempotency_key_reused", "", SECRET, "\x1b[2J"],
    ids=["new", "other", "empty", "token", "c"],
)
async def test_a_decline_with_a_word_that_is_not_known_is_a_decline(code: str, reference: UUID) -> None:
    answer = http("402 Payment Required", json.dumps({"code": code}).encode())
    async with canned(answer) as url, GatewayClient(url, 2) as ours:
        declined = await authorize(HttpPaymentGateway(ours), reference, SECRET)
    assert declined == Declined("payment_declined")


async def test_the_token_is_in_no_log(simulator_url: str, reference: UUID, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with GatewayClient(simulator_url, 5) as ours:
            await authorize(HttpPaymentGateway(ours), reference, SECRET)
        async with GatewayClient(f"http://127.0.0.1:{free_port()}", 5) as ours:
            with pytest.raises(Unavailable) as raised:
                await authorize(HttpPaymentGateway(ours), reference, SECRET)
    assert_no_secret(raised.value)
    assert caplog.records
    assert "geheim" not in caplog.text


async def test_a_header_that_cannot_be_sent_is_a_bug_not_an_outage(gateway: PaymentGateway, reference: UUID) -> None:
    with pytest.raises(RuntimeError, match="cannot be sent") as raised:
        await gateway.authorize(reference, 419, "USD", SECRET, "two\r\nlines")
    assert_no_secret(raised.value)


def assert_no_secret(error: BaseException) -> None:
    assert "geheim" not in "".join(traceback.format_exception(error))
    assert "geheim" not in repr(error)


@pytest.mark.parametrize(("taken", "known"), [(True, "captured"), (False, "authorized"), (False, None)])
async def test_a_refused_capture_is_believed_only_where_none_stands(
    taken: bool, known: str | None, reference: UUID
) -> None:
    """The gateway is asked what it knows of the reference before a refusal is passed on."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await reader.readuntil(b"\r\n\r\n")
            asked.append(request.split(b" ", 1)[0])
            entry = {"reference": str(reference), "status": known, "capture_id": "cap_1" if taken else None}
            if request.startswith(b"POST"):
                writer.write(http("402 Payment Required", b'{"detail": "The card was blocked."}'))
            elif known is None:
                writer.write(http("404 Not Found", b"{}"))
            else:
                writer.write(http("200 OK", json.dumps(entry).encode()))
            await writer.drain()

    async with serving(serve) as url, GatewayClient(url, 2) as ours:
        answer = await HttpPaymentGateway(ours).capture(reference, f"{reference}:c1")
    assert answer == (Captured("cap_1") if taken else CaptureRefused("The card was blocked."))
    assert asked == [b"POST", b"GET"]


@pytest.mark.parametrize(
    "refusal", [("402 Payment Required", b"{}"), ("409 Conflict", b'{"code": "already_captured"}')], ids=["402", "409"]
)
async def test_a_capture_of_another_payment_is_not_this_ones(refusal: tuple[str, bytes], reference: UUID) -> None:
    """What was taken for another order neither ships this one nor has it refused: nothing is known."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        entry = {"reference": str(uuid4()), "status": "captured", "capture_id": "cap_1"}
        while True:
            request = await reader.readuntil(b"\r\n\r\n")
            writer.write(http(*refusal) if request.startswith(b"POST") else http("200 OK", json.dumps(entry).encode()))
            await writer.drain()

    async with serving(serve) as url, GatewayClient(url, 2) as ours:
        with pytest.raises(Unavailable, match="the answer to the look-up makes no sense: it is another payment's"):
            await HttpPaymentGateway(ours).capture(reference, f"{reference}:c1")
