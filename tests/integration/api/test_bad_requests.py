"""Bad input is refused with a problem document that names what is wrong. Never a 500."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from support.api import order_body

HERE = f"/orders/{uuid4()}"
JSON = {"Content-Type": "application/json", "Prefer": "wait=0"}


def line(**fields: Any) -> dict[str, Any]:
    return {"sku": "bread", "quantity": 1, "unit_price": 100, **fields}


async def problem_of(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    problem: dict[str, Any] = answer.json()
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-correlation-id"] == problem["correlation_id"]
    assert problem["type"] == f"urn:orderflow:problems/{slug}"
    assert problem["status"] == status
    return problem


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"lines": [line(unit_price=4.19)]}, ["lines[0].unit_price"]),
        ({"lines": [line(unit_price=419.5)]}, ["lines[0].unit_price"]),
        ({"lines": [line(unit_price="419")]}, ["lines[0].unit_price"]),
        ({"lines": [line(unit_price=0)]}, ["lines[0].unit_price"]),
        ({"lines": [line(unit_price=-1)]}, ["lines[0].unit_price"]),
        ({"lines": [line(unit_price=10**30)]}, ["lines[0].unit_price"]),
        ({"lines": [line(quantity=0)]}, ["lines[0].quantity"]),
        ({"lines": [line(quantity=10_000)]}, ["lines[0].quantity"]),
        ({"lines": [line(quantity=True)]}, ["lines[0].quantity"]),
        ({"lines": [line(sku="")]}, ["lines[0].sku"]),
        ({"lines": [line(sku="a b")]}, ["lines[0].sku"]),
        ({"lines": [line(sku="bread\n")]}, ["lines[0].sku"]),
        ({"lines": [line(sku=".")]}, ["lines[0].sku"]),
        ({"lines": [line(sku="..")]}, ["lines[0].sku"]),
        ({"lines": [line(sku="a/b")]}, ["lines[0].sku"]),
        ({"lines": [line(sku="x" * 65)]}, ["lines[0].sku"]),
        ({"lines": [line(), line(sku="milk"), line()]}, ["lines[2].sku"]),
        ({"lines": [line(price=1)]}, ["lines[0].price"]),
        ({"lines": []}, ["lines"]),
        ({"lines": [line(sku=f"s{n}") for n in range(201)]}, ["lines"]),
        ({"lines": [line(sku=f"s{n}", quantity=9999, unit_price=10**9) for n in range(2)]}, ["lines"]),
        ({"lines": None}, ["lines"]),
        ({"customer_id": ""}, ["customer_id"]),
        ({"customer_id": "a\u0000b"}, ["customer_id"]),
        ({"customer_id": "a\nb"}, ["customer_id"]),
        ({"customer_id": "\ud800"}, ["customer_id"]),
        ({"customer_id": "x" * 101}, ["customer_id"]),
        ({"reference": ""}, ["reference"]),
        ({"reference": 7}, ["reference"]),
        ({"currency": "usd"}, ["currency"]),
        ({"currency": "USD\n"}, ["currency"]),
        ({"payment_token": ""}, ["payment_token"]),
        ({"payment_token": "a b"}, ["payment_token"]),
        ({"payment_tokn": "x"}, ["payment_tokn"]),
        ({"\ud800": 1}, ["body"]),
        ({"currency": 1, "customer_id": None}, ["customer_id", "currency"]),
    ],
)
async def test_each_broken_rule_is_named(
    quiet_api: httpx.AsyncClient, fields: dict[str, Any], names: list[str]
) -> None:
    body = json.dumps({**order_body(), **fields})
    problem = await problem_of(await quiet_api.post("/orders", content=body, headers=JSON), 422, "invalid")
    assert [error["field"] for error in problem["errors"]] == names
    assert all(error["rule"] and error["message"] for error in problem["errors"])


async def test_what_is_just_within_the_limits_is_taken(quiet_api: httpx.AsyncClient) -> None:
    lines = [line(sku=f"{'s' * 60}{n:04}", quantity=9999, unit_price=500_000) for n in range(200)]
    body = order_body(customer_id="\U0001f600" * 100, reference="ä" * 100, lines=lines)
    answer = await quiet_api.post("/orders", json=body, headers=JSON)
    assert answer.status_code == 201, answer.text
    shown = await quiet_api.get(f"/orders/{answer.json()['id']}")
    assert (shown.status_code, shown.json()["total"]) == (200, 200 * 9999 * 500_000)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": 1, "a": 2}',
        b"\xff\xfe",
        b'"\xed\xa0\x80"',
        b"[" * 100_000,
        b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
        b"1" * 5_000,
        b"{} {}",
    ],
)
async def test_what_is_not_json_is_malformed(quiet_api: httpx.AsyncClient, content: bytes) -> None:
    for path in ("/orders", f"{HERE}/cancel"):
        answer = await quiet_api.post(path, content=content, headers=JSON)
        if content or path == "/orders":
            await problem_of(answer, 400, "malformed")


@pytest.mark.parametrize("data", [None, 1, "x", [], True])
async def test_a_body_must_be_an_object(quiet_api: httpx.AsyncClient, data: object) -> None:
    for path in ("/orders", f"{HERE}/cancel", "/inventory/a/adjustments"):
        answer = await quiet_api.post(path, content=json.dumps(data), headers=JSON)
        problem = await problem_of(answer, 422, "invalid")
        assert [error["field"] for error in problem["errors"]] == ["body"]


async def test_a_body_that_is_too_large_is_413_also_in_chunks(quiet_api: httpx.AsyncClient) -> None:
    large = b'{"note": "' + b"x" * 256 * 1024 + b'"}'

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 10_000):
            yield large[start : start + 10_000]

    for content in (large, chunks()):
        answer = await quiet_api.post(f"{HERE}/cancel", content=content, headers=JSON)
        assert ("content-length" in answer.request.headers) == (content is large)
        await problem_of(answer, 413, "too_large")
    padded = json.dumps(order_body()).encode().ljust(256 * 1024)
    assert (await quiet_api.post("/orders", content=padded, headers=JSON)).status_code == 201
    assert (await quiet_api.post("/orders", content=padded + b" ", headers=JSON)).status_code == 413


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        {},
    ],
)
async def test_another_media_type_is_415(quiet_api: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await quiet_api.post("/orders", content=json.dumps(order_body()), headers=headers)
    await problem_of(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Idempotency-Key", ""),
        ("Idempotency-Key", "a b"),
        ("Idempotency-Key", '""'),
        ("Idempotency-Key", '"open'),
        ("Idempotency-Key", "'single'"),
        ("Idempotency-Key", '"a b"'),
        ("Idempotency-Key", f'"{"x" * 201}"'),
        ("Idempotency-Key", "x" * 201),
        ("Idempotency-Key", "ä".encode()),
        ("If-Match", ""),
        ("If-Match", "3"),
        ("If-Match", 'w/"3"'),
        ("If-Match", '"1" "2"'),
        ("If-Match", '*, "1"'),
        ("If-Match", ", ,"),
        ("If-Match", '"1'),
        ("If-None-Match", "3"),
        ("If-None-Match", '"*", *'),
        ("If-Unmodified-Since", "Thu, 01 Jan 2015 00:00:00 GMT"),
        ("If-Unmodified-Since", "yesterday"),
        ("If-Modified-Since", "Thu, 01 Jan 2015 00:00:00 GMT"),
        ("Content-Range", "bytes 0-1/2"),
    ],
)
async def test_a_header_that_steers_and_breaks_its_rule_is_refused(
    quiet_api: httpx.AsyncClient, name: str, value: str | bytes
) -> None:
    for method, path, body in (
        ("POST", f"{HERE}/cancel", {}),
        ("PUT", "/inventory/refused", {"on_hand": 1}),
        ("POST", "/inventory/refused/adjustments", {"delta": 1, "reason": "x"}),
    ):
        answer = await quiet_api.request(method, path, json=body, headers=[(name, value)])  # type: ignore[arg-type]
        problem = await problem_of(answer, 400, "invalid_header")
        assert [error["field"] for error in problem["errors"]] == [name]
    assert (await quiet_api.get("/inventory/refused")).status_code == 404


@pytest.mark.parametrize("value", ["", "3", 'w/"3"', '"1" "2"', '"1', '*, "1"', "ä".encode()])
async def test_what_is_no_entity_tag_is_refused(quiet_api: httpx.AsyncClient, value: str | bytes) -> None:
    headers = [("If-None-Match", value), ("Prefer", "wait=60")]
    answer = await quiet_api.get(HERE, headers=headers)  # type: ignore[arg-type]
    problem = await problem_of(answer, 400, "invalid_header")
    assert [error["field"] for error in problem["errors"]] == ["If-None-Match"]


async def test_two_idempotency_keys_are_refused(quiet_api: httpx.AsyncClient) -> None:
    answer = await quiet_api.post(f"{HERE}/cancel", headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
    await problem_of(answer, 400, "invalid_header")


@pytest.mark.parametrize(
    "prefer", ["wait=x", "wait=-1", "handling=lenient", "wait", ";;", "wait=1e9", "wait=٣".encode()]
)
async def test_preferences_that_mean_nothing_here_are_ignored(
    quiet_api: httpx.AsyncClient, prefer: str | bytes
) -> None:
    order = await quiet_api.post("/orders", json=order_body())
    headers = [("Prefer", prefer), ("Prefer", "respond-async"), ("If-None-Match", '"1"')]
    answer = await quiet_api.get(f"/orders/{order.json()['id']}", headers=headers)  # type: ignore[arg-type]
    assert (answer.status_code, answer.headers["preference-applied"]) == (304, "respond-async")


@pytest.mark.parametrize("sent", ["", "a b", "x" * 101, "ä".encode()])
async def test_a_bad_correlation_id_is_replaced(quiet_api: httpx.AsyncClient, sent: str | bytes) -> None:
    answer = await quiet_api.get("/health/live", headers=[("X-Correlation-ID", sent)])  # type: ignore[arg-type]
    assert answer.status_code == 200
    assert answer.headers["x-correlation-id"].isalnum()
    assert len(answer.headers["x-correlation-id"]) == 32


async def test_where_it_was_is_a_reference_that_names_no_other_host(quiet_api: httpx.AsyncClient) -> None:
    for path, instance in (
        ("http://api//evil.example/a%20b%22%3C", "/evil.example/a%20b%22%3C"),
        ("/orders/%C3%A4%3F", "/orders/%C3%A4%3F"),
    ):
        assert (await quiet_api.get(path)).json()["instance"] == instance


async def test_unknown_paths_and_methods_are_problems_too(quiet_api: httpx.AsyncClient) -> None:
    await problem_of(await quiet_api.get("/nothing"), 404, "not_found")
    await problem_of(await quiet_api.get("/orders/"), 404, "not_found")
    await problem_of(await quiet_api.post(f"{HERE}/destroy"), 404, "not_found")
    answer = await quiet_api.delete("/orders")
    await problem_of(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    await problem_of(await quiet_api.get("/orders/42"), 404, "order_not_found")


async def test_a_bug_is_a_500_without_a_traceback(
    quiet_api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orderflow.store.order_views import OrderViews

    async def broken(*_: object) -> None:
        raise ValueError("tok_secret")

    monkeypatch.setattr(OrderViews, "read", broken)
    with capture_logs() as logged:
        answer = await quiet_api.get(HERE)
    assert "unexpected_error" in [line["event"] for line in logged]
    await problem_of(answer, 500, "internal_error")
    assert "tok_secret" not in answer.text
    assert "Traceback" not in answer.text


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
_ANYTHING = st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
_ODD_TEXT = st.text(st.characters(codec=None), max_size=8)
_LINE = st.fixed_dictionaries(
    {
        "sku": st.sampled_from(["a", "b", "c"]) | _ODD_TEXT | _ANYTHING,
        "quantity": st.integers(-1, 10_001) | _ANYTHING,
        "unit_price": st.integers(-1, 10**13) | st.floats() | _ANYTHING,
    },
    optional={"more": _ANYTHING},
)
_ORDER = st.fixed_dictionaries(
    {
        "customer_id": st.just("someone") | _ODD_TEXT | _ANYTHING,
        "currency": st.just("USD") | st.text(max_size=3),
        "payment_token": st.just("tok_ok") | _ODD_TEXT,
        "lines": st.lists(_LINE, max_size=4) | _ANYTHING,
    },
    optional={"reference": _ODD_TEXT | _ANYTHING},
)
_QUIETLY = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def is_answered(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        json.loads(answer.content.decode())


@_QUIETLY
@given(order=_ORDER)
async def test_no_order_makes_a_500(quiet_api: httpx.AsyncClient, order: object) -> None:
    is_answered(await quiet_api.post("/orders", content=json.dumps(order), headers=JSON))


@_QUIETLY
@given(body=_ANYTHING, path=st.sampled_from(["approve", "ship", "complete", "cancel"]))
async def test_no_command_body_makes_a_500(quiet_api: httpx.AsyncClient, body: object, path: str) -> None:
    is_answered(await quiet_api.post(f"{HERE}/{path}", content=json.dumps(body), headers=JSON))


@_QUIETLY
@given(content=st.binary(max_size=60))
async def test_no_bytes_make_a_500(quiet_api: httpx.AsyncClient, content: bytes) -> None:
    for path in ("/orders", "/inventory/a/adjustments"):
        is_answered(await quiet_api.post(path, content=content, headers=JSON))


@_QUIETLY
@given(
    name=st.sampled_from(["status", "customer_id", "reference", "created_from", "created_to", "limit", "cursor", "x"]),
    value=st.text() | st.integers().map(str) | st.datetimes().map(str) | st.binary().map(lambda b: b.hex()),
)
async def test_no_query_makes_a_500(quiet_api: httpx.AsyncClient, name: str, value: str) -> None:
    is_answered(await quiet_api.get("/orders", params={name: value}))
    is_answered(await quiet_api.get("/inventory", params={name: value}))


@_QUIETLY
@given(part=st.text(min_size=1), other=st.text(min_size=1))
async def test_no_path_makes_a_500(quiet_api: httpx.AsyncClient, part: str, other: str) -> None:
    for path in (
        f"/orders/{quote(part, safe='')}",
        f"{HERE}/commands/{quote(part, safe='')}",
        f"/inventory/{quote(part, safe='')}",
        f"/{quote(part, safe='')}/{quote(other, safe='')}",
    ):
        is_answered(await quiet_api.get(path))


@_QUIETLY
@given(
    name=st.sampled_from(
        ["Idempotency-Key", "If-Match", "If-None-Match", "Prefer", "X-Correlation-ID", "traceparent", "Content-Length"]
    ),
    value=st.binary(max_size=40).filter(lambda value: not set(value) & {0, 10, 13}),
)
async def test_no_header_makes_a_500(quiet_api: httpx.AsyncClient, name: str, value: bytes) -> None:
    headers = [(name.encode(), value), (b"Content-Type", b"application/json")]
    is_answered(await quiet_api.post(f"{HERE}/cancel", content=b"{}", headers=headers))
    is_answered(await quiet_api.get(HERE, headers=headers))
