"""While Temporal or every worker is away, orders are taken, and each happens once when it is back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest

from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.store.handovers import Handovers
from orderflow.store.statements import Statement
from orderflow.temporal.client import connect
from orderflow.temporal.dispatcher import Dispatcher
from orderflow.temporal.runs import OrderRuns
from support.api import an_api, fulfilling, placed
from support.proxy import a_proxy
from support.stack import Databases
from support.waiting import until
from support.world import World, a_world

ORDERS = 200

_STATUSES = Statement("test.statuses", "Counts orders.", "SELECT status, count(*) AS n FROM orders GROUP BY status")
_EVENTS = Statement("test.events", "Counts events.", "SELECT type, count(*) AS n FROM events GROUP BY type")


async def take_orders(api: httpx.AsyncClient) -> None:
    """Place and approve all of them, some at once: 201 and 200 for each."""
    free = asyncio.Semaphore(16)

    async def take() -> None:
        async with free:
            approved = await api.post(f"/orders/{await placed(api)}/approve")
            assert (approved.status_code, approved.json()["status"]) == (200, "APPROVED")

    await asyncio.gather(*(take() for _ in range(ORDERS)))


@asynccontextmanager
async def a_dispatcher(settings: Settings, database: Database) -> AsyncIterator[None]:
    """What every orders worker runs."""
    within = timedelta(seconds=2)
    runs = OrderRuns(lambda: connect(settings, answer_within=within), within)
    stopping = asyncio.Event()
    running = asyncio.create_task(Dispatcher(Handovers(database), runs).run(stopping))
    yield
    stopping.set()
    await running


async def all_happened_once(world: World) -> None:
    """Wait until all are FULFILLING; nothing was authorized, reserved or moved twice."""

    async def counted(database: Database, statement: Statement, of: str) -> dict[str, int]:
        return {row[of]: row["n"] for row in await database.all(statement, {})}

    async def fulfilled() -> bool:
        return await counted(world.orders, _STATUSES, "status") == {"FULFILLING": ORDERS}

    await until(fulfilled, seconds=90, every=0.2)
    types = ("ORDER_CREATED", "ORDER_APPROVED", "ORDER_STATE_CHANGED")
    assert await counted(world.orders, _EVENTS, "type") == dict.fromkeys(types, ORDERS)
    assert await counted(world.payments, _EVENTS, "type") == {"PAYMENT_AUTHORIZED": ORDERS}
    assert await counted(world.inventory, _EVENTS, "type") == {"INVENTORY_RESERVED": ORDERS}
    assert await world.on_hand("bread") == (1000, 2 * ORDERS)
    held = [key for operation, key in world.gateway.calls if operation == "authorize"]
    assert len(set(held)) == ORDERS

    async def nothing_waits() -> bool:
        return (await world.handovers.depth()).pending == 0

    await until(nothing_waits, seconds=30)


@pytest.mark.timeout(180)
async def test_orders_are_taken_while_temporal_is_away(world: World, settings: Settings) -> None:
    await world.stock(bread=1000)
    async with a_proxy(settings.temporal_address) as (proxy, address):
        theirs = settings.model_copy(update={"temporal_address": address})
        async with an_api(theirs) as api, a_dispatcher(theirs, world.orders):
            proxy.requests.clear()
            proxy.answers.clear()
            await take_orders(api)
            assert (await world.handovers.depth()).pending == ORDERS
            assert world.gateway.calls == []
            proxy.requests.set()
            proxy.answers.set()
            await all_happened_once(world)


@pytest.mark.timeout(180)
async def test_orders_are_taken_while_every_worker_is_away(
    settings: Settings, databases: Databases, api: httpx.AsyncClient
) -> None:
    await take_orders(api)
    async with a_world(await connect(settings), databases, settings) as world, a_dispatcher(settings, world.orders):
        await world.stock(bread=1000)
        await all_happened_once(world)


async def test_what_is_cancelled_before_a_worker_is_back_holds_nothing(
    settings: Settings, databases: Databases, api: httpx.AsyncClient
) -> None:
    order_id = await placed(api)
    here = f"/orders/{order_id}"
    for name in ("approve", "cancel"):
        assert (await api.post(f"{here}/{name}")).status_code == 200
    async with a_world(await connect(settings), databases, settings) as world:
        await world.stock(bread=10)
        workflow = world.client.get_workflow_handle(f"order-{order_id}")
        await world.tell_all()

        async def shut() -> bool:
            payment, stock = [await world.statuses(workflow, service) for service in ("payments", "inventory")]
            return payment[-1:] == ["VOIDED"] and stock[-1:] == ["RELEASED"]

        await until(shut)
        assert await world.on_hand("bread") == (10, 0)
        assert [event["status"] for event in (await api.get(f"{here}/events")).json()["events"]] == [
            "DRAFT",
            "APPROVED",
            "CANCELLED",
        ]


async def test_a_ship_that_waits_is_answered_when_a_worker_comes_back(world: World, api: httpx.AsyncClient) -> None:
    order_id = await fulfilling(api)
    await world.stop_worker("orders")
    waiting = asyncio.create_task(api.post(f"/orders/{order_id}/ship", headers={"Prefer": "wait=60"}))
    where = f"/orders/{order_id}"

    async def pending() -> bool:
        return bool((await api.get(where)).json()["allowed_actions"] == [])

    await until(pending)
    assert not waiting.done()
    await world.start_worker("orders")
    answer = await waiting
    assert (answer.status_code, answer.json()["status"]) == (200, "SHIPPED")
