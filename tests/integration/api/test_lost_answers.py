"""Servers that are reached and do not answer: the client is told so in time, and what was accepted happens once."""

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest_asyncio

from orderflow.settings import Settings
from support.api import an_api, api_settings, order_body
from support.proxy import Proxy, a_proxy
from support.stack import Databases
from support.world import World

KEY = {"Idempotency-Key": "k-1"}


@pytest_asyncio.fixture
async def to_temporal(settings: Settings) -> AsyncIterator[tuple[Proxy, httpx.AsyncClient]]:
    """An API whose way to Temporal can be frozen."""
    async with (
        a_proxy(settings.temporal_address) as (proxy, address),
        an_api(settings.model_copy(update={"temporal_address": address})) as client,
    ):
        yield proxy, client


async def test_an_order_whose_acknowledgement_was_lost_is_placed_once(
    world: World, to_temporal: tuple[Proxy, httpx.AsyncClient]
) -> None:
    proxy, client = to_temporal
    assert (await client.get("/health/ready")).status_code == 200
    proxy.answers.clear()
    started = time.monotonic()
    lost = await client.post("/orders", json=order_body(), headers=KEY)
    assert lost.status_code == 503
    assert lost.json()["dependency"] == "temporal"
    assert time.monotonic() - started < 4
    proxy.answers.set()

    again = await client.post("/orders", json=order_body(), headers=KEY)
    assert again.status_code == 201
    assert again.json()["id"] == lost.json()["order_id"]
    assert len((await client.get("/orders")).json()["orders"]) == 1


async def test_a_command_whose_acknowledgement_was_lost_happens_once(
    world: World, to_temporal: tuple[Proxy, httpx.AsyncClient]
) -> None:
    proxy, client = to_temporal
    here = f"/orders/{(await client.post('/orders', json=order_body())).json()['id']}"
    proxy.answers.clear()
    lost = await client.post(f"{here}/cancel")
    assert lost.status_code == 503
    proxy.answers.set()
    key = lost.json()["command_id"].removeprefix("c:")
    assert key in lost.json()["detail"]

    again = await client.post(f"{here}/cancel", headers={"Idempotency-Key": key})
    assert (again.status_code, again.json()["command"]["version"]) == (200, 2)
    events = (await client.get(f"{here}/events")).json()["events"]
    assert [event["status"] for event in events] == ["DRAFT", "CANCELLED"]


async def test_a_database_that_does_not_answer_is_503_in_time_and_comes_back(
    settings: Settings, databases: Databases
) -> None:
    server = urlsplit(databases.orders)
    async with a_proxy(f"{server.hostname}:{server.port}") as (proxy, address):
        url = databases.orders.replace(f"{server.hostname}:{server.port}", address)
        given = {"orders_database_url": url, "database_command_timeout_seconds": 1.0, "database_pool_size": 2}
        frozen = api_settings(databases, settings.temporal_address, settings.temporal_namespace, **given)
        async with an_api(frozen) as client:
            assert (await client.get("/orders")).status_code == 200
            proxy.requests.clear()
            proxy.answers.clear()
            started = time.monotonic()
            answers = await asyncio.gather(*(client.get("/orders") for _ in range(10)))
            took = time.monotonic() - started
            assert {answer.status_code for answer in answers} == {503}
            ready = await client.get("/health/ready")
            assert ready.json()["dependencies"]["orders_db"]["state"] == "away"
            assert took < 8
            proxy.requests.set()
            proxy.answers.set()
            async with asyncio.timeout(10):
                while (await client.get("/orders")).status_code != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
