"""The API by access tokens: who is let in, and that a JWT reaches no more than a key would."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from support.api import a_namespace, an_api, api_settings, order_body, placed
from support.issuer import AnIssuer, an_issuer
from support.keys import bearer
from support.stack import PostgresServer

CUSTOMER = "orders:place orders:read orders:approve orders:cancel"


@pytest_asyncio.fixture(scope="module")
async def issuer() -> AsyncIterator[AnIssuer]:
    async with an_issuer() as issuer:
        yield issuer


@pytest_asyncio.fixture(scope="module")
async def client(postgres: PostgresServer, temporal_server: str, issuer: AnIssuer) -> AsyncIterator[httpx.AsyncClient]:
    databases = await postgres.fresh_databases()
    namespace = await a_namespace(temporal_server)
    settings = api_settings(databases, temporal_server, namespace, oidc_issuers=[issuer.trusted()])
    async with an_api(settings) as client:
        yield client
    await postgres.drop(databases)


def caller(issuer: AnIssuer, **claims: Any) -> dict[str, str]:
    return bearer(issuer.token(**{"scope": CUSTOMER, "customer_id": "mine", **claims}))


async def test_a_customer_places_and_reads_by_a_token(client: httpx.AsyncClient, issuer: AnIssuer) -> None:
    sent = {"Idempotency-Key": "by-token"} | caller(issuer)
    first = await client.post("/orders", json=order_body(customer_id="mine"), headers=sent)
    assert first.status_code == 201, first.text
    # Another token of the same subject, signed by another key: the same caller.
    again = {"Idempotency-Key": "by-token"} | bearer(issuer.token("ec", "ES256", scope=CUSTOMER, customer_id="mine"))
    second = await client.post("/orders", json=order_body(customer_id="mine"), headers=again)
    assert (second.json()["id"], second.headers["idempotent-replayed"]) == (first.json()["id"], "true")
    read = await client.get(f"/orders/{first.json()['id']}", headers=caller(issuer))
    assert read.status_code == 200
    assert "ann" not in read.text  # whoever reads an order does not learn who somebody is at their issuer


async def test_another_subject_is_another_caller(client: httpx.AsyncClient, issuer: AnIssuer) -> None:
    ids = set()
    for subject in ("ann", "bob"):
        sent = {"Idempotency-Key": "whose"} | caller(issuer, sub=subject)
        ids.add((await client.post("/orders", json=order_body(customer_id="mine"), headers=sent)).json()["id"])
    assert len(ids) == 2


@pytest.mark.parametrize("action", ["", "/events", "/approve", "/cancel", "/commands/w:place"])
async def test_what_is_anothers_is_not_there_for_a_token(
    client: httpx.AsyncClient, issuer: AnIssuer, action: str
) -> None:
    theirs, nobodys = await placed(client, customer_id="theirs"), str(uuid4())
    method = "POST" if action in ("/approve", "/cancel") else "GET"
    headers = {"X-Correlation-Id": "same", **caller(issuer)}
    answers = [
        (await client.request(method, f"/orders/{order}{action}", headers=headers), order)
        for order in (theirs, nobodys)
    ]
    assert [answer.status_code for answer, _ in answers] == [404, 404]
    assert len({answer.text.replace(order, "ID") for answer, order in answers}) == 1


async def test_a_token_gives_the_scopes_that_it_names(client: httpx.AsyncClient, issuer: AnIssuer) -> None:
    answer = await client.get("/inventory", headers=caller(issuer))
    assert (answer.status_code, answer.json()["scope"]) == (403, "stock:read")
    assert (await client.get("/inventory", headers=caller(issuer, scope="stock:read"))).status_code == 200
    nobodys = await client.get("/orders", headers=caller(issuer, customer_id=None))
    assert (nobodys.status_code, nobodys.json()["scope"]) == (403, "orders:everyone")


async def test_a_token_that_is_not_good_is_told_so_and_not_repeated(
    client: httpx.AsyncClient, issuer: AnIssuer
) -> None:
    for claims in ({"aud": "another"}, {"exp": 1, "nbf": 0}, {"iss": "https://elsewhere.example"}):
        headers = caller(issuer, **claims)
        answer = await client.get("/orders", headers=headers)
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert headers["Authorization"].split(".")[1] not in answer.text


async def test_an_issuer_that_is_away_is_503_and_keys_go_on(
    postgres: PostgresServer, temporal_server: str, client: httpx.AsyncClient
) -> None:
    databases = await postgres.fresh_databases()
    async with an_issuer() as away:
        await away.stop()
        settings = api_settings(databases, temporal_server, "default", oidc_issuers=[away.trusted()])
        async with an_api(settings) as api:
            answer = await api.get("/orders", headers=caller(away))
            assert (answer.status_code, answer.json()["dependency"]) == (503, "issuer")
            assert answer.headers["retry-after"]
            assert (await api.get("/orders")).status_code == 200
    await postgres.drop(databases)
