"""What the API says when something it stands on is away, or silent."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from structlog.testing import capture_logs

from orderflow.settings import Settings
from orderflow.stack.ports import free_port
from orderflow.store.database import Database
from orderflow.store.handovers import Handovers
from orderflow.store.orders import Orders
from support.api import CLOSED, an_api, api_settings, fulfilling, order_body, placed, reaches, readiness
from support.keys import command_id
from support.proxy import a_proxy
from support.read_only import read_only
from support.stack import Databases
from support.waiting import until
from support.world import World

NO_ORDER = "5d1f3a52-2c36-4e0b-8d0e-6f0d6b1f7a11"


@pytest_asyncio.fixture
async def temporal_away(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """An API that reaches no Temporal, on the same databases."""
    given = {"temporal_address": CLOSED, "api_temporal_timeout_seconds": 0.5}
    async with an_api(settings.model_copy(update=given)) as client:
        yield client


@pytest_asyncio.fixture
async def database_away(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    nowhere = f"postgresql://orders:x@{CLOSED}/orders?sslmode=disable"
    async with an_api(settings.model_copy(update={"orders_api_database_url": SecretStr(nowhere)})) as client:
        yield client


async def test_everything_but_a_ships_outcome_is_answered_as_ever_while_temporal_is_away(
    temporal_away: httpx.AsyncClient,
) -> None:
    order_id = await placed(temporal_away)
    here = f"/orders/{order_id}"
    approved = await temporal_away.post(f"{here}/approve", headers={"Idempotency-Key": "a-1"})
    assert (approved.status_code, approved.json()["status"]) == (200, "APPROVED")
    for path in ("", "/events", "/commands/c:a-1"):
        assert (await temporal_away.get(here + path)).status_code == 200
    again = await temporal_away.post(f"{here}/approve", headers={"Idempotency-Key": "a-1"})
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert (await temporal_away.post(f"{here}/complete")).status_code == 409
    cancelled = await temporal_away.post(f"{here}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "CANCELLED")
    assert (await temporal_away.get(f"/orders/{NO_ORDER}")).status_code == 404


async def test_a_ship_while_temporal_is_known_to_be_away_is_202_at_once(
    world: World, api: httpx.AsyncClient, temporal_away: httpx.AsyncClient
) -> None:
    order_id = await fulfilling(api)
    another = await placed(api)
    with capture_logs() as logged:
        assert (await temporal_away.post(f"/orders/{another}/approve")).status_code == 200

        async def noticed() -> bool:
            return any(line["event"] == "left_to_the_dispatcher" for line in logged)

        await until(noticed)
    async with asyncio.timeout(10):
        shipped = await temporal_away.post(f"/orders/{order_id}/ship", headers={"Prefer": "wait=60"})
    assert (shipped.status_code, shipped.json()["command"]["state"]) == (202, "pending")
    refused = await temporal_away.post(f"/orders/{order_id}/cancel")
    assert refused.json()["type"] == "urn:orderflow:problems/shipment_in_progress"

    async def told() -> bool:
        await world.tell_all()  # as a dispatcher does when Temporal is back
        return (await world.handovers.depth()).pending == 0

    await until(told)
    assert (await reaches(api, order_id, "SHIPPED"))["version"] == 4
    assert (await api.get(shipped.headers["location"])).json()["state"] == "done"


async def test_many_requests_at_once_do_not_queue_for_a_temporal_that_is_away(
    temporal_away: httpx.AsyncClient,
) -> None:
    orders = await asyncio.gather(*(placed(temporal_away) for _ in range(20)))
    async with asyncio.timeout(10):
        answers = await asyncio.gather(*(temporal_away.post(f"/orders/{order_id}/approve") for order_id in orders))
    assert {answer.status_code for answer in answers} == {200}


async def test_the_orders_database_away_is_503(database_away: httpx.AsyncClient) -> None:
    here = f"/orders/{NO_ORDER}"
    answers = [
        await database_away.post("/orders", json=order_body()),
        await database_away.get("/orders"),
        await database_away.get(here),
        await database_away.get(here, headers={"If-None-Match": '"1"', "Prefer": "wait=60"}),
        await database_away.post(f"{here}/approve"),
        await database_away.post(f"{here}/ship", headers={"Prefer": "wait=60"}),
    ]
    for answer in answers:
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:orderflow:problems/unavailable"
        assert answer.json()["dependency"] == "orders"
        assert int(answer.headers["retry-after"]) > 0
    # Nobody can tell who asks: not even the stock, in another database, is shown.
    assert (await database_away.get("/inventory")).json()["dependency"] == "orders"


async def test_a_database_that_gives_no_answer_says_which_outage_it_is(
    api: httpx.AsyncClient, databases: Databases
) -> None:
    admin = await asyncpg.connect(databases.as_admin("inventory"))
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f"ALTER ROLE inventory_api IN DATABASE {name} SET lock_timeout = 100")  # as DBAs do

    async def refused(words: str) -> None:
        answer = await api.put("/inventory/SKU-1", json={"on_hand": 7})
        problem = answer.json()
        assert (answer.status_code, problem["type"], problem["dependency"]) == (
            503,
            "urn:orderflow:problems/unavailable",
            "inventory",
        )
        assert int(answer.headers["retry-after"]) > 0
        assert words in problem["detail"]

    try:
        async with admin.transaction():
            await admin.execute("LOCK TABLE stock")
            await refused("a lock was not free in time (SQLSTATE 55P03)")
        for change, back, words in (
            (
                "REVOKE ALL ON stock FROM orderflow_api",
                "GRANT ALL ON stock TO orderflow_api",
                "lacks a privilege (SQLSTATE 42501)",
            ),
            (
                "ALTER TABLE stock RENAME TO another",
                "ALTER TABLE another RENAME TO stock",
                "a migration has not been applied (SQLSTATE 42P01)",
            ),
        ):
            await admin.execute(change)
            await refused(words)
            await admin.execute(back)
        async with read_only(databases.as_admin("inventory")):
            assert (await api.put("/inventory/SKU-1", json={"on_hand": 7})).status_code == 503
            await refused("it is read-only")
    finally:
        await admin.close()
    assert (await api.put("/inventory/SKU-1", json={"on_hand": 7})).status_code in (200, 201)


async def test_a_command_without_an_answer_says_how_to_send_it_again(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was done, and the answer of the database was lost: with what the problem says, it is not done twice."""
    one = Database.one
    lost: list[str] = []

    async def loses(self: Database, statement: object, values: object) -> object:
        row = await one(self, statement, values)  # type: ignore[arg-type]
        if getattr(statement, "name", "") in lost:
            raise _unavailable()
        return row

    monkeypatch.setattr(Database, "one", loses)
    lost.append("orders.place")
    problem = (await api.post("/orders", json=order_body())).json()
    lost.clear()
    assert (problem["status"], problem["command_id"]) == (503, "w:place")
    key = problem["detail"].rpartition("(")[2].removesuffix(").")
    again = await api.post("/orders", json=order_body(), headers={"Idempotency-Key": key})
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    assert again.json()["id"] == problem["order_id"]
    assert UUID(problem["order_id"]).version == 5

    here = f"/orders/{problem['order_id']}"
    for headers in ({"Idempotency-Key": "a-1"}, {}):
        name = "approve" if headers else "cancel"
        lost.append(f"orders.{name}")
        problem = (await api.post(f"{here}/{name}", headers=headers)).json()
        lost.clear()
        assert (problem["status"], problem["order_id"]) == (503, again.json()["id"])
        key = problem["detail"].rpartition("(")[2].removesuffix(").")
        assert problem["command_id"] == command_id(key)
        assert headers.get("Idempotency-Key", key) == key
        done = await api.post(f"{here}/{name}", headers={"Idempotency-Key": key})
        assert (done.status_code, done.headers["idempotent-replayed"]) == (200, "true")
    assert len((await api.get(f"{here}/events")).json()["events"]) == 3


async def test_a_ship_that_is_accepted_is_202_though_its_outcome_cannot_be_read(
    world: World, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await fulfilling(api)

    async def silent(*_: object) -> None:
        raise _unavailable()

    monkeypatch.setattr(Orders, "foresee", silent)
    shipped = await api.post(f"/orders/{order_id}/ship", headers={"Prefer": "wait=20"})
    assert (shipped.status_code, shipped.json()["command"]["state"]) == (202, "pending")
    assert (await api.get(shipped.headers["location"])).json()["state"] == "done"


async def test_a_database_that_does_not_answer_is_503_in_time_and_comes_back(
    settings: Settings, databases: Databases
) -> None:
    server = urlsplit(databases.orders)
    async with a_proxy(f"{server.hostname}:{server.port}") as (proxy, address):
        url = databases.url("orders", "api").replace(f"{server.hostname}:{server.port}", address)
        given: dict[str, Any] = {
            "orders_api_database_url": url,
            "database_command_timeout_seconds": 1.0,
            "database_pool_size": 2,
        }
        given["health_port"] = free_port()
        frozen = api_settings(databases, settings.temporal_address, settings.temporal_namespace, **given)
        async with an_api(frozen) as client:
            assert (await client.get("/orders")).status_code == 200
            proxy.requests.clear()
            proxy.answers.clear()
            started = time.monotonic()
            answers = await asyncio.gather(*(client.get("/orders") for _ in range(10)))
            # Nor do those that wait for their turn at one order find out one after the other.
            here = f"/orders/{NO_ORDER}/approve"
            commands = await asyncio.gather(*(client.post(here) for _ in range(30)))
            took = time.monotonic() - started
            assert {answer.status_code for answer in answers} == {503}
            assert {answer.status_code for answer in commands} == {503}
            assert {answer.headers["retry-after"] for answer in commands} == {"1"}
            assert (await client.get("/health/ready")).json() == {"ready": False}
            assert (await readiness(frozen)).json()["dependencies"]["orders_db"]["state"] == "away"
            assert took < 20
            proxy.requests.set()
            proxy.answers.set()
            async with asyncio.timeout(10):
                while (await client.get("/orders")).status_code != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)


async def test_a_temporal_that_is_silent_costs_no_command_its_answer(settings: Settings, databases: Databases) -> None:
    async with a_proxy(settings.temporal_address) as (proxy, address), Database("orders", databases.orders) as database:
        through = settings.model_copy(update={"temporal_address": address, "health_port": free_port()})
        async with an_api(through) as client:
            assert (await readiness(through)).json()["dependencies"]["temporal"]["state"] == "ok"
            proxy.answers.clear()
            orders = [await placed(client) for _ in range(5)]
            async with asyncio.timeout(10):
                for order_id in orders:
                    assert (await client.post(f"/orders/{order_id}/approve")).status_code == 200
            assert (await Handovers(database).depth()).pending == 5
            proxy.answers.set()


async def test_ready_needs_databases_only_and_the_private_port_names_what_is_away(settings: Settings) -> None:
    nowhere = SecretStr(f"postgresql://orders:x@{CLOSED}/orders?sslmode=disable")
    for given, away, status in (
        ({}, {"kafka"}, 200),
        ({"temporal_address": CLOSED, "api_temporal_timeout_seconds": 0.5}, {"kafka", "temporal"}, 200),
        ({"orders_api_database_url": nowhere}, {"kafka", "orders_db"}, 503),
    ):
        here = settings.model_copy(update={**given, "health_port": free_port()})
        async with an_api(here) as client:
            public, private = await client.get("/health/ready"), await readiness(here)
            assert (public.status_code, public.json()) == (status, {"ready": status == 200})
            states = {name: dependency["state"] for name, dependency in private.json()["dependencies"].items()}
            assert (private.status_code, {name for name, state in states.items() if state == "away"}) == (status, away)
            assert states.keys() == {"orders_db", "inventory_db", "temporal", "kafka"}
            assert (await client.get("/health/live")).status_code == 200


async def test_clients_reach_neither_metrics_nor_what_it_stands_on(settings: Settings) -> None:
    async with an_api(settings.model_copy(update={"health_port": free_port()})) as client:
        assert (await client.get("/metrics")).status_code == 404
        assert "dependencies" not in (await client.get("/health/ready")).text


def _unavailable() -> Exception:
    from orderflow.domain.errors import Unavailable

    return Unavailable("orders", "no answer in time")
