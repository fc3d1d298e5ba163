"""What the simulator promises, asked over HTTP."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from support.waiting import until

Post = Callable[..., Coroutine[Any, Any, httpx.Response]]
OK = "tok_ok"
ORDER = {"amount": 419, "currency": "USD", "payment_token": OK}


@pytest.fixture
def post(client: httpx.AsyncClient, reference: UUID) -> Post:
    """post(operation, key=…, token=…): one operation on this test's reference."""

    async def send(operation: str, key: str = "", token: str = OK, **body: Any) -> httpx.Response:
        content = {**ORDER, "payment_token": token, **body} if operation == "authorize" else None
        headers = {"Idempotency-Key": f"{reference}:{key or operation}", "X-Correlation-ID": "corr-1"}
        return await client.post(f"/v1/payments/{reference}/{operation}", json=content, headers=headers)

    return send


@pytest.fixture
def entry(client: httpx.AsyncClient, reference: UUID) -> Callable[[], Awaitable[dict[str, Any]]]:
    async def read() -> dict[str, Any]:
        response = await client.get(f"/v1/payments/{reference}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    return read


Entry = Callable[[], Awaitable[dict[str, Any]]]


def said(response: httpx.Response) -> tuple[int, str]:
    body = response.json()
    return response.status_code, body.get("code") or body["status"]


# --- tokens ---


@pytest.mark.parametrize(
    ("token", "answer"),
    [
        ("tok_ok", (200, "authorized")),
        ("tok_capture_refused", (200, "authorized")),
        ("tok_slow", (200, "authorized")),
        ("tok_declined", (402, "payment_declined")),
        ("tok_insufficient_funds", (402, "insufficient_funds")),
        ("4111-1111", (402, "payment_declined")),
        ("tok_down", (503, "unavailable")),
    ],
)
async def test_the_token_decides(post: Post, token: str, answer: tuple[int, str]) -> None:
    assert said(await post("authorize", token=token)) == answer


async def test_tok_slow_holds_the_money_before_it_answers(
    client: httpx.AsyncClient, post: Post, reference: UUID
) -> None:
    async def held() -> bool:
        found = await client.get(f"/v1/payments/{reference}")
        return found.status_code == 200 and found.json()["authorized_count"] == 1

    call = asyncio.create_task(post("authorize", token="tok_slow"))
    await until(held)
    assert not call.done()
    assert said(await call) == (200, "authorized")
    begun = time.monotonic()
    assert (await post("authorize", token="tok_slow")).headers["Idempotent-Replayed"] == "true"
    assert time.monotonic() - begun < 0.9


async def test_tok_error_once_fails_before_anything_happened(client: httpx.AsyncClient, post: Post) -> None:
    first = await post("authorize", token="tok_error_once")
    assert said(first) == (503, "unavailable")
    second = await post("authorize", token="tok_error_once")
    assert said(second) == (200, "authorized")
    assert "Idempotent-Replayed" not in second.headers


async def test_tok_answer_lost_once_happens_once(post: Post, entry: Entry) -> None:
    assert said(await post("authorize", token="tok_answer_lost_once")) == (500, "answer_lost")
    assert (await entry())["authorized_count"] == 1
    again = await post("authorize", token="tok_answer_lost_once")
    assert said(again) == (200, "authorized")
    assert again.headers["Idempotent-Replayed"] == "true"
    found = await entry()
    assert (found["authorized_count"], found["duplicate_attempts"]) == (1, 0)
    assert [call["outcome"] for call in found["calls"]] == ["lost", "replayed"]


async def test_the_raw_token_is_nowhere_in_the_ledger(client: httpx.AsyncClient, post: Post, entry: Entry) -> None:
    token = "pm_card_4242424242424242"
    answer = await post("authorize", token=token)
    assert token not in answer.text
    assert (await entry())["behaviour"] == "unknown"
    assert token not in (await client.get("/v1/ledger")).text


# --- transitions ---

STATES: dict[str, list[tuple[str, str]]] = {
    "unknown": [],
    "declined": [("authorize", "tok_declined")],
    "authorized": [("authorize", "tok_ok")],
    "captured": [("authorize", "tok_ok"), ("capture", "")],
    "refunded": [("authorize", "tok_ok"), ("capture", ""), ("refund", "")],
    "voided": [("authorize", "tok_ok"), ("void", "")],
    "shut": [("void", "")],
}


@pytest.mark.parametrize(
    ("state", "operation", "answer", "status"),
    [
        ("unknown", "authorize", (200, "authorized"), "authorized"),
        ("unknown", "capture", (404, "unknown_reference"), None),
        ("unknown", "void", (200, "voided"), "voided"),
        ("unknown", "refund", (404, "unknown_reference"), None),
        ("declined", "authorize", (200, "authorized"), "authorized"),
        ("declined", "capture", (409, "not_authorized"), "declined"),
        ("declined", "void", (200, "voided"), "voided"),
        ("declined", "refund", (409, "not_captured"), "declined"),
        ("authorized", "authorize", (409, "already_authorized"), "authorized"),
        ("authorized", "capture", (200, "captured"), "captured"),
        ("authorized", "void", (200, "voided"), "voided"),
        ("authorized", "refund", (409, "not_captured"), "authorized"),
        ("captured", "authorize", (409, "already_authorized"), "captured"),
        ("captured", "capture", (409, "already_captured"), "captured"),
        ("captured", "void", (409, "already_captured"), "captured"),
        ("captured", "refund", (200, "refunded"), "refunded"),
        ("refunded", "authorize", (409, "already_authorized"), "refunded"),
        ("refunded", "capture", (409, "reference_refunded"), "refunded"),
        ("refunded", "void", (200, "refunded"), "refunded"),
        ("refunded", "refund", (200, "refunded"), "refunded"),
        ("voided", "authorize", (409, "reference_voided"), "voided"),
        ("voided", "capture", (409, "reference_voided"), "voided"),
        ("voided", "void", (200, "voided"), "voided"),
        ("voided", "refund", (409, "not_captured"), "voided"),
        ("shut", "authorize", (409, "reference_voided"), "voided"),
        ("shut", "capture", (409, "reference_voided"), "voided"),
        ("shut", "void", (200, "voided"), "voided"),
        ("shut", "refund", (409, "not_captured"), "voided"),
    ],
)
async def test_every_operation_in_every_state(
    client: httpx.AsyncClient,
    post: Post,
    reference: UUID,
    state: str,
    operation: str,
    answer: tuple[int, str],
    status: str | None,
) -> None:
    for step, token in STATES[state]:
        await post(step, key=f"before:{step}", token=token)
    before = (await client.get(f"/v1/payments/{reference}")).json()

    assert said(await post(operation)) == answer
    after = await client.get(f"/v1/payments/{reference}")
    assert after.json().get("status") == status

    again = await post(operation)
    assert said(again) == answer
    assert again.headers["Idempotent-Replayed"] == "true"
    repeated = await client.get(f"/v1/payments/{reference}")
    assert {**repeated.json(), "calls": 0} == {**after.json(), "calls": 0}
    money = ("authorized_count", "captured_amount", "refunded_amount")
    if answer[0] != 200 and status is not None:
        assert [after.json()[name] for name in money] == [before[name] for name in money]


async def test_the_ledger_follows_the_money(post: Post, entry: Entry, client: httpx.AsyncClient) -> None:
    async def money() -> tuple[int, int, int]:
        found = await entry()
        return found["authorized_count"], found["captured_amount"], found["refunded_amount"]

    await post("authorize")
    assert await money() == (1, 0, 0)
    await post("capture")
    assert await money() == (0, 419, 0)
    await post("refund")
    assert await money() == (0, 419, 419)
    found = await entry()
    assert (found["amount"], found["currency"]) == (419, "USD")
    assert [(call["operation"], call["status"]) for call in found["calls"]] == [
        ("authorize", 200),
        ("capture", 200),
        ("refund", 200),
    ]
    assert {call["correlation_id"] for call in found["calls"]} == {"corr-1"}
    assert found in (await client.get("/v1/ledger")).json()["payments"]


async def test_tok_capture_refused_keeps_refusing_and_the_hold_stays(post: Post, entry: Entry) -> None:
    await post("authorize", token="tok_capture_refused")
    assert said(await post("capture", key="ship-1")) == (402, "capture_refused")
    assert said(await post("capture", key="ship-1")) == (402, "capture_refused")
    assert said(await post("capture", key="ship-2")) == (402, "capture_refused")
    found = await entry()
    assert (found["status"], found["authorized_count"], found["captured_amount"]) == ("authorized", 1, 0)


# --- idempotency ---


async def test_a_second_authorize_or_capture_is_counted_and_moves_nothing(post: Post, entry: Entry) -> None:
    await post("authorize")
    for _ in range(2):
        assert said(await post("authorize", key="another")) == (409, "already_authorized")
    assert (await entry())["duplicate_attempts"] == 1
    await post("capture")
    assert said(await post("capture", key="another-capture")) == (409, "already_captured")
    found = await entry()
    assert (found["authorized_count"], found["captured_amount"], found["duplicate_attempts"]) == (0, 419, 2)


@pytest.mark.parametrize("change", [{"amount": 420}, {"currency": "EUR"}, {"token": "tok_declined"}])
async def test_a_key_stands_for_one_request(post: Post, entry: Entry, change: dict[str, Any]) -> None:
    await post("authorize")
    assert said(await post("authorize", **change)) == (422, "idempotency_key_reused")
    assert said(await post("void", key="authorize")) == (422, "idempotency_key_reused")
    found = await entry()
    assert (found["status"], found["amount"]) == ("authorized", 419)


async def test_a_key_belongs_to_one_reference(client: httpx.AsyncClient, post: Post, reference: UUID) -> None:
    await post("authorize")
    headers = {"Idempotency-Key": f"{reference}:authorize"}
    other = await client.post(f"/v1/payments/{uuid4()}/authorize", json=ORDER, headers=headers)
    assert said(other) == (422, "idempotency_key_reused")


async def test_many_at_once_under_one_key_are_one(post: Post, entry: Entry) -> None:
    answers = await asyncio.gather(*(post("authorize") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["authorization_id"] for answer in answers}) == 1
    assert len([answer for answer in answers if "Idempotent-Replayed" not in answer.headers]) == 1
    assert (await entry())["authorized_count"] == 1


async def test_many_at_once_under_many_keys_hold_once(post: Post, entry: Entry) -> None:
    answers = await asyncio.gather(*(post("authorize", key=f"k{n}") for n in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 19
    found = await entry()
    assert (found["authorized_count"], found["duplicate_attempts"]) == (1, 19)


# --- faults ---


async def test_faults_happen_and_end(client: httpx.AsyncClient, post: Post, entry: Entry) -> None:
    assert (await client.put("/v1/faults", json={"down": True})).json()["down"] is True
    assert said(await post("authorize")) == (503, "unavailable")
    assert (await client.get("/health")).status_code == 200
    await client.put("/v1/faults", json={"error_rate": 1})
    assert said(await post("authorize")) == (503, "unavailable")
    await client.put("/v1/faults", json={"lose_answer_rate": 1.0})
    assert said(await post("authorize")) == (500, "answer_lost")
    assert said(await post("authorize")) == (500, "answer_lost")
    await client.put("/v1/faults", json={})
    assert said(await post("authorize")) == (200, "authorized")
    found = await entry()
    assert (found["authorized_count"], found["duplicate_attempts"]) == (1, 0)
    assert [call["outcome"] for call in found["calls"]] == ["failed", "failed", "lost", "lost", "replayed"]


async def test_an_authorize_that_was_given_up_arrives_after_the_void_and_is_refused(
    client: httpx.AsyncClient, post: Post, entry: Entry
) -> None:
    await client.put("/v1/faults", json={"delay_seconds": 0.5})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(post("authorize"), 0.2)
    await client.put("/v1/faults", json={})
    assert said(await post("void")) == (200, "voided")

    async def arrived() -> bool:
        return len((await entry())["calls"]) == 2

    await until(arrived)
    found = await entry()
    assert [(call["operation"], call["status"]) for call in found["calls"]] == [("void", 200), ("authorize", 409)]
    assert found["authorized_count"] == 0


async def test_what_is_answered_late_was_carried_out_at_once(
    client: httpx.AsyncClient, post: Post, entry: Entry
) -> None:
    await client.put("/v1/faults", json={"answer_delay_seconds": 5})
    asking = asyncio.create_task(post("authorize"))

    async def carried_out() -> bool:
        found = await client.get("/v1/ledger")
        return bool(found.json()["payments"])

    await until(carried_out)
    assert not asking.done()
    asking.cancel()
    await client.put("/v1/faults", json={})
    assert said(await post("authorize")) == (200, "authorized")
    assert (await entry())["authorized_count"] == 1


# --- bad input ---


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": 4.19}, "amount"),
        ({"amount": 0}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": "419"}, "amount"),
        ({"amount": 10**12 + 1}, "amount"),
        ({"currency": "usd"}, "currency"),
        ({"currency": "ÜSD"}, "currency"),
        ({"currency": None}, "currency"),
        ({"payment_token": ""}, "payment_token"),
        ({"payment_token": 7}, "payment_token"),
        ({"payment_token": "x" * 501}, "payment_token"),
    ],
)
async def test_bad_authorizations_name_the_field(
    client: httpx.AsyncClient, reference: UUID, change: dict[str, Any], field: str
) -> None:
    url = f"/v1/payments/{reference}/authorize"
    answer = await client.post(url, json={**ORDER, **change}, headers={"Idempotency-Key": f"{reference}:a"})
    assert said(answer) == (422, "invalid_request")
    assert [(error["field"], bool(error["rule"])) for error in answer.json()["errors"]] == [(field, True)]
    assert (await client.get(f"/v1/payments/{reference}")).status_code == 404


async def test_everything_wrong_is_named_at_once(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/payments/order-1/authorize", json={})
    fields = [error["field"] for error in answer.json()["errors"]]
    assert fields == ["reference", "Idempotency-Key", "amount", "currency", "payment_token"]


@pytest.mark.parametrize(
    ("content", "status", "field"),
    [
        (b"", 400, "body"),
        (b"{", 400, "body"),
        (b"\xff\xfe", 400, "body"),
        (b"[" * 15_000, 400, "body"),
        (b'{"amount":' + b"9" * 9_000 + b"}", 400, "body"),
        (b"[]", 422, "body"),
        (b"null", 422, "body"),
        (b'{"amount":NaN,"currency":"USD","payment_token":"tok_ok"}', 422, "amount"),
        (b" " * 20_000, 413, "body"),
    ],
    ids=["empty", "cut off", "not UTF-8", "too deep", "too long a number", "list", "null", "NaN", "too large"],
)
async def test_bad_bodies_are_refused(
    client: httpx.AsyncClient, reference: UUID, content: bytes, status: int, field: str
) -> None:
    headers = {"Idempotency-Key": f"{reference}:a"}
    answer = await client.post(f"/v1/payments/{reference}/authorize", content=content, headers=headers)
    assert answer.status_code == status
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("name", ["amount", "\\ud800"])
async def test_what_takes_no_body_refuses_one(client: httpx.AsyncClient, reference: UUID, name: str) -> None:
    content = f'{{"{name}": 1}}'.encode()
    headers = {"Idempotency-Key": f"{reference}:c"}
    answer = await client.post(f"/v1/payments/{reference}/capture", content=content, headers=headers)
    assert said(answer) == (422, "invalid_request")
    assert [error["field"] for error in answer.json()["errors"]] == [name]


@pytest.mark.parametrize("key", ["", "a b", "x" * 301, "ü"])
async def test_bad_idempotency_keys_are_refused(client: httpx.AsyncClient, reference: UUID, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    answer = await client.post(f"/v1/payments/{reference}/void", headers=headers)
    assert [error["field"] for error in answer.json()["errors"]] == ["Idempotency-Key"]


@pytest.mark.parametrize(
    "faults",
    [
        {"delay_seconds": -1},
        {"answer_delay_seconds": 99},
        {"error_rate": 2},
        {"lose_answer_rate": True},
        {"down": 1},
        {"dwon": True},
    ],
)
async def test_bad_faults_are_refused_and_nothing_breaks(client: httpx.AsyncClient, faults: dict[str, Any]) -> None:
    before = (await client.get("/v1/faults")).json()
    answer = await client.put("/v1/faults", json=faults)
    assert said(answer) == (422, "invalid_request")
    assert [error["field"] for error in answer.json()["errors"]] == list(faults)
    assert (await client.get("/v1/faults")).json() == before


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("GET", "/nowhere", (404, "not_found")),
        ("POST", "/v1/payments/x/steal", (404, "not_found")),
        ("GET", "/v1/payments/00000000-0000-4000-8000-000000000001/void", (405, "method_not_allowed")),
        ("GET", "/v1/payments/00000000-0000-4000-8000-000000000001", (404, "unknown_reference")),
        ("GET", "/v1/payments/x", (422, "invalid_request")),
        ("GET", "/v1/payments/%00", (422, "invalid_request")),
    ],
)
async def test_unknown_places_are_json_too(
    client: httpx.AsyncClient, method: str, path: str, answer: tuple[int, str]
) -> None:
    assert said(await client.request(method, path)) == answer
