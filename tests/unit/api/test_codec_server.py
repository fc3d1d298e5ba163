"""The codec server: to whom it opens what, and what it refuses."""

import base64
import json
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from temporalio.converter import ActivitySerializationContext

from api.codec import MOST_OF_A_PLACE, MOST_PAYLOADS, MOST_PLACES, CodecServer
from orderflow.domain.access import Actor, Principal, Scope
from orderflow.domain.errors import Unavailable
from orderflow.security.keyring import Keyring, create_key, ensure_keyring
from orderflow.temporal.codec import SealingCodec
from orderflow.temporal.converter import data_converter
from support.tokens import seal

UI = "http://127.0.0.1:8233"
ORDER = UUID("00000000-0000-0000-0000-000000000001")
TOKEN = "tok_canary_5f0c2d9a71"
VALUE = {"total": 300, "sealed_token": seal(ORDER, TOKEN)}
BEARER = {"Authorization": "Bearer ofk_operator"}
#: A bearer of whom nobody can tell whose it is.
AWAY = "a.token.away"


class Audited(list[tuple[Actor, Collection[str]]]):
    """What was audited; ``fails``: it cannot be."""

    fails = False

    async def __call__(self, who: Actor, places: Collection[str]) -> None:
        if self.fails:
            raise RuntimeError("the audit's database is away")
        self.append((who, places))


async def authenticate(bearer: str) -> Principal | None:
    if bearer == AWAY:
        raise Unavailable("issuer", "https://issuer.example: no answer")
    known = {
        "ofk_operator": Principal("operator-7", "api_key", frozenset({Scope.OPERATE})),
        "a.token.s": Principal("person-3", "app_user", frozenset({Scope.OPERATE})),
        "of.a.customer": Principal("ann", "app_user", frozenset({Scope.OPERATE}), customer_id="c-1"),
        "ofk_merchant": Principal("merchant-1", "api_key", frozenset({Scope.ORDERS_READ, Scope.ORDERS_SHIP})),
    }
    return known.get(bearer)


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    ensure_keyring(tmp_path / "ring")
    return Keyring(tmp_path / "ring")


@pytest.fixture
def audited() -> Audited:
    return Audited()


def _client(ring: Keyring, audited: Audited, *, guarded: bool, url: str = "http://127.0.0.1:8096") -> httpx.AsyncClient:
    server = CodecServer(SealingCodec(ring), f"{UI}/", authenticate if guarded else None, audited)
    return httpx.AsyncClient(transport=httpx.ASGITransport(server.app()), base_url=url)


@pytest_asyncio.fixture
async def codec(ring: Keyring, audited: Audited) -> AsyncIterator[httpx.AsyncClient]:
    async with _client(ring, audited, guarded=True) as client:
        yield client


async def sealed(ring: Keyring, value: Any = VALUE) -> dict[str, Any]:
    about = ActivitySerializationContext("ns", "1", "authorize_payment", "q", f"order-{ORDER}", "OrderWorkflow", False)
    [payload] = await data_converter(ring).with_context(about).encode([value])
    metadata = {name: base64.b64encode(value).decode() for name, value in payload.metadata.items()}
    return {"metadata": metadata, "data": base64.b64encode(payload.data).decode()}


def said(answer: httpx.Response) -> list[Any]:
    assert answer.status_code == 200, answer.text
    return [json.loads(base64.b64decode(one["data"])) for one in answer.json()["payloads"]]


async def test_an_operator_reads_what_steps_were_given_and_no_token(
    codec: httpx.AsyncClient, ring: Keyring, audited: Audited
) -> None:
    answer = await codec.post("/decode", json={"payloads": [await sealed(ring)] * 2}, headers={**BEARER, "Origin": UI})
    assert said(answer) == [VALUE, VALUE]
    assert TOKEN not in str(said(answer))
    assert answer.headers["access-control-allow-origin"] == UI
    assert answer.headers["cache-control"] == "no-store"
    assert audited == [(Actor(type="api_key", id="operator-7"), [f"order-{ORDER}|authorize_payment"])]
    [shown, _] = answer.json()["payloads"]
    assert {name: base64.b64decode(value) for name, value in shown["metadata"].items()} == {"encoding": b"json/plain"}


@pytest.mark.parametrize(
    ("headers", "status", "challenge"),
    [
        ({}, 401, 'Bearer realm="orderflow"'),
        ({"Authorization": "Bearer "}, 401, 'Bearer realm="orderflow"'),
        ({"Authorization": "Basic b2Zr"}, 401, 'Bearer realm="orderflow", error="invalid_token"'),
        ({"Authorization": "Bearer nobody"}, 401, 'Bearer realm="orderflow", error="invalid_token"'),
        (
            {"Authorization": "Bearer ofk_merchant"},
            403,
            'Bearer realm="orderflow", error="insufficient_scope", scope="operate"',
        ),
        ({"Authorization": "Bearer of.a.customer"}, 403, None),
    ],
)
async def test_nobody_else_reads_anything(
    codec: httpx.AsyncClient,
    ring: Keyring,
    audited: Audited,
    headers: dict[str, str],
    status: int,
    challenge: str | None,
) -> None:
    answer = await codec.post("/decode", json={"payloads": [await sealed(ring)]}, headers={"Origin": UI, **headers})
    assert (answer.status_code, answer.headers.get("www-authenticate")) == (status, challenge)
    assert audited == []
    # A page that is told no may know why.
    assert answer.headers["access-control-allow-origin"] == UI


async def test_the_audit_names_a_reader_as_what_it_is(
    codec: httpx.AsyncClient, ring: Keyring, audited: Audited
) -> None:
    body, token = {"payloads": [await sealed(ring)]}, {"Authorization": "Bearer a.token.s"}
    assert said(await codec.post("/decode", json=body, headers=token)) == [VALUE]
    assert audited[0][0] == Actor(type="app_user", id="person-3")


async def test_where_nobody_can_tell_who_asks_nobody_reads(
    codec: httpx.AsyncClient, ring: Keyring, audited: Audited
) -> None:
    body, headers = {"payloads": [await sealed(ring)]}, {"Authorization": f"Bearer {AWAY}", "Origin": UI}
    answer = await codec.post("/decode", json=body, headers=headers)
    assert (answer.status_code, "issuer does not answer" in answer.text, audited) == (503, True, [])
    assert answer.headers["access-control-allow-origin"] == UI


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8234", "https://127.0.0.1:8233", "null", "http://evil.example"])
async def test_a_page_of_another_origin_is_refused(
    codec: httpx.AsyncClient, ring: Keyring, audited: Audited, origin: str
) -> None:
    for answer in (
        await codec.post("/decode", json={"payloads": [await sealed(ring)]}, headers={**BEARER, "Origin": origin}),
        await codec.options("/decode", headers={"Origin": origin, "Access-Control-Request-Method": "POST"}),
    ):
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    assert audited == []


async def test_the_web_uis_preflight_is_answered(codec: httpx.AsyncClient) -> None:
    answer = await codec.options("/decode", headers={"Origin": UI, "Access-Control-Request-Method": "POST"})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == UI
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert "x-namespace" in answer.headers["access-control-allow-headers"]


async def test_what_is_not_recorded_is_not_read(codec: httpx.AsyncClient, ring: Keyring, audited: Audited) -> None:
    audited.fails = True
    answer = await codec.post("/decode", json={"payloads": [await sealed(ring)]}, headers=BEARER)
    assert answer.status_code == 503
    assert "300" not in answer.text


async def test_what_cannot_be_opened_says_why(codec: httpx.AsyncClient, tmp_path: Path) -> None:
    key_id, _ = create_key(tmp_path / "other")
    foreign = await sealed(Keyring(tmp_path / "other"))
    plain = {"metadata": {"encoding": base64.b64encode(b"json/plain").decode()}, "data": "Ik9LIg=="}
    answer = await codec.post("/decode", json={"payloads": [foreign, plain, {}]}, headers=BEARER)
    assert answer.json()["payloads"][2] == {"metadata": {}, "data": ""}
    first, second = said(httpx.Response(200, json={"payloads": answer.json()["payloads"][:2]}))
    assert first == f"OrderFlow: it was sealed with key {key_id}, which this keyring lacks"
    assert second == "OK"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"7", 400),
        (b'{"payloads": {}}', 400),
        (b'{"payloads": [{"data": 1}]}', 400),
        (b'{"payloads": [{"data": "?"}]}', 400),
        (b'{"payloads": [{"metadata": {"a": null}}]}', 400),
        (b"[" * 100_000, 400),
        (b'{"payloads": [' + b",".join([b"{}"] * (MOST_PAYLOADS + 1)) + b"]}", 413),
        (b"x" * (8 * 1024 * 1024 + 1), 413),
    ],
    ids=range(10),
)
async def test_what_it_cannot_read_is_refused(codec: httpx.AsyncClient, body: bytes, status: int) -> None:
    assert (await codec.post("/decode", content=body, headers=BEARER)).status_code == status


async def test_nothing_is_sealed_for_anybody(codec: httpx.AsyncClient) -> None:
    assert (await codec.post("/encode", json={}, headers=BEARER)).json() == {"payloads": []}
    assert (await codec.post("/encode", json={"payloads": [{}]}, headers=BEARER)).status_code == 400
    assert (await codec.post("/encode", json={})).status_code == 401


async def test_without_authentication_it_answers_to_this_machines_names_only(ring: Keyring, audited: Audited) -> None:
    """A name that a stranger's DNS points here is a stranger's."""
    body = {"payloads": [await sealed(ring)]}
    async with _client(ring, audited, guarded=False) as here:
        assert said(await here.post("/decode", json=body, headers={"Origin": UI})) == [VALUE]
        assert audited[0][0] == Actor(type="unauthenticated", id="anybody")
    async with _client(ring, audited, guarded=False, url="http://evil.example:8096") as rebound:
        assert (await rebound.post("/decode", json=body)).status_code == 421


def a_strangers(place: bytes) -> dict[str, Any]:
    metadata = {"encoding": b"json/plain", "encryption-context": place}
    return {"metadata": {name: base64.b64encode(value).decode() for name, value in metadata.items()}, "data": "MQ=="}


async def test_what_strangers_say_of_a_place_is_cut_and_hides_nothing_that_was_read(
    codec: httpx.AsyncClient, ring: Keyring, audited: Audited
) -> None:
    many = [a_strangers(b"\x00\x1b[2J %04d" % n + b"x" * 100_000) for n in range(50)]
    answer = await codec.post("/decode", json={"payloads": [*many, await sealed(ring)]}, headers=BEARER)
    assert said(answer) == [1] * 50 + [VALUE]
    [(_, places)] = audited
    assert f"order-{ORDER}|authorize_payment" in places
    assert len(places) == MOST_PLACES + 1
    assert max(len(place) for place in places) == MOST_OF_A_PLACE
    assert all(place.isprintable() for place in places)
    assert any(place.startswith("\\x00\\x1b[2J 0000x") for place in places)
