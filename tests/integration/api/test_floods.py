"""Thousands of commands to one order: one happens, nothing is written of the others, and nobody else waits for them."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.store.statements import Statement
from support.api import order_body, placed
from support.keys import MERCHANT
from support.stack import Databases
from support.terminal import served

#: `TEST_COMMANDS=3500` sends as many as users have seen.
COMMANDS = int(os.environ.get("TEST_COMMANDS", "1000"))
AT_ONCE = 100

_COMMANDS = Statement(
    "test.commands", "Reads an order's commands.", "SELECT command_id FROM commands WHERE order_id = $order_id"
)


@pytest_asyncio.fixture
async def over_the_wire(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a served API, with as many connections as the flood has requests at once, and some more."""
    limits = httpx.Limits(max_connections=2 * AT_ONCE)
    async with (
        served(settings) as url,
        httpx.AsyncClient(base_url=url, timeout=60, limits=limits, headers=MERCHANT) as client,
    ):
        yield client


@pytest.mark.timeout(240)
async def test_a_flood_of_approves(over_the_wire: httpx.AsyncClient, databases: Databases) -> None:
    api = over_the_wire
    order_id = await placed(api)
    free = asyncio.Semaphore(AT_ONCE)
    answers: list[httpx.Response] = []

    async def approve() -> None:
        async with free:
            key = {"Idempotency-Key": f"flood-{uuid4()}"}
            answers.append(await api.post(f"/orders/{order_id}/approve", headers=key))

    flood = asyncio.gather(*(approve() for _ in range(COMMANDS)))
    others: list[tuple[int, float]] = []
    while not flood.done():
        started = time.monotonic()
        placing = await api.post("/orders", json=order_body())
        approving = await api.post(f"/orders/{placing.json()['id']}/approve")
        others.append((approving.status_code, time.monotonic() - started))
    await flood

    assert sorted({answer.status_code for answer in answers}) == [200, 409]
    assert sum(answer.status_code == 200 for answer in answers) == 1
    assert {status for status, _ in others} == {200}
    assert len(others) > 10
    assert max(seconds for _, seconds in others) < 10
    async with Database("orders", databases.orders) as database:
        recorded = [row["command_id"] for row in await database.all(_COMMANDS, {"order_id": order_id})]
    assert len(recorded) == 2
    assert [event["version"] for event in (await api.get(f"/orders/{order_id}/events")).json()["events"]] == [1, 2]


async def test_a_flood_of_refusals_writes_no_row(api: httpx.AsyncClient, databases: Databases) -> None:
    order_id = await placed(api)
    ways = [f"/orders/{order_id}/{name}" for name in ("ship", "complete")] * 50
    answers = await asyncio.gather(*(api.post(way, headers={"Idempotency-Key": f"f-{uuid4()}"}) for way in ways))
    stale = await asyncio.gather(*(api.post(f"/orders/{order_id}/approve", headers={"If-Match": '"7"'}) for _ in ways))
    assert {answer.status_code for answer in answers} == {409}
    assert {answer.status_code for answer in stale} == {412}
    async with Database("orders", databases.orders) as database:
        assert len(await database.all(_COMMANDS, {"order_id": order_id})) == 1


async def test_more_commands_of_one_order_than_may_wait_are_429(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.limits.turns.MOST_WAITING", 10)
    order_id = await placed(api)
    answers = await asyncio.gather(*(api.post(f"/orders/{order_id}/approve") for _ in range(30)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert sorted({answer.status_code for answer in answers}) == [200, 409, 429]
    assert {answer.json()["type"] for answer in refused} == {"urn:orderflow:problems/too_many_requests"}
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert (await api.post(f"/orders/{order_id}/cancel")).status_code == 200
