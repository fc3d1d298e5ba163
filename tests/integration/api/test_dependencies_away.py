"""What the API says when something it stands on is away, or when an order's workflow is."""

import time
from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from api.orders import ORDER_IDS
from orderflow.settings import Settings
from orderflow.temporal.client import connect
from support.api import CLOSED, an_api, api_settings, order_body
from support.stack import Databases
from support.world import World

ASYNC = {"Prefer": "respond-async"}


@pytest_asyncio.fixture
async def temporal_away(databases: Databases) -> AsyncIterator[httpx.AsyncClient]:
    async with an_api(api_settings(databases, CLOSED, "default")) as client:
        yield client


@pytest_asyncio.fixture
async def database_away(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    nowhere = f"postgresql://orders:x@{CLOSED}/orders?sslmode=disable"
    async with an_api(settings.model_copy(update={"orders_database_url": SecretStr(nowhere)})) as client:
        yield client


async def test_temporal_away_is_503_that_says_what_to_do(temporal_away: httpx.AsyncClient) -> None:
    started = time.monotonic()
    answer = await temporal_away.post("/orders", json=order_body(), headers={"Idempotency-Key": "k-1"})
    assert time.monotonic() - started < 4
    problem = answer.json()
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert problem["type"] == "/problems/unavailable"
    assert (problem["dependency"], problem["command_id"]) == ("temporal", "w:place")
    assert UUID(problem["order_id"]).version == 5
    assert "same Idempotency-Key (k-1)" in problem["detail"]


async def test_many_requests_at_once_do_not_queue_for_a_temporal_that_is_away(
    temporal_away: httpx.AsyncClient,
) -> None:
    import asyncio

    started = time.monotonic()
    answers = await asyncio.gather(*(temporal_away.post("/orders", json=order_body()) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {503}
    assert time.monotonic() - started < 5


async def test_no_row_and_temporal_away_is_503_never_404(temporal_away: httpx.AsyncClient) -> None:
    here = f"/orders/{ORDER_IDS}"
    for path in ("", "/events", "/commands/c:1"):
        assert (await temporal_away.get(here + path)).status_code == 503
    approve = await temporal_away.post(f"{here}/approve", headers={"Idempotency-Key": "a-1"})
    assert (approve.status_code, approve.json()["command_id"]) == (503, "c:a-1")


async def test_orders_that_are_there_can_be_read_while_temporal_is_away(
    world: World, api: httpx.AsyncClient, temporal_away: httpx.AsyncClient
) -> None:
    keyed = {"Idempotency-Key": "k-1"}
    order_id = (await api.post("/orders", json=order_body(), headers=keyed)).json()["id"]
    assert (await temporal_away.get(f"/orders/{order_id}")).status_code == 200
    assert len((await temporal_away.get("/orders")).json()["orders"]) == 1
    # A replay and a refusal need no Temporal either.
    again = await temporal_away.post("/orders", json=order_body(), headers=keyed)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    assert (await temporal_away.post(f"/orders/{order_id}/complete")).status_code == 409
    assert (await temporal_away.post(f"/orders/{order_id}/approve")).status_code == 503


async def test_the_orders_database_away_is_503(database_away: httpx.AsyncClient) -> None:
    here = f"/orders/{ORDER_IDS}"
    answers = [
        await database_away.post("/orders", json=order_body()),
        await database_away.get("/orders"),
        await database_away.get(here),
        await database_away.post(f"{here}/approve"),
    ]
    for answer in answers:
        assert answer.status_code == 503
        assert answer.json()["dependency"] == "orders"
        assert "retry-after" in answer.headers
    assert (await database_away.get("/inventory")).status_code == 200


async def test_an_order_that_ended_without_a_trace_is_order_lost(
    settings: Settings, api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    keyed = {"Idempotency-Key": "k-1", **ASYNC}
    order_id = (await api.post("/orders", json=order_body(), headers=keyed)).json()["id"]
    client = await connect(settings)
    await client.get_workflow_handle(f"order-{order_id}").terminate()
    here = f"/orders/{order_id}"
    answers = [
        await api.get(here),
        await api.get(f"{here}/events"),
        await api.get(f"{here}/commands/w:place"),
        await api.post("/orders", json=order_body(), headers=keyed),
        await api.post(f"{here}/approve"),
    ]
    for answer in answers:
        assert answer.status_code == 500, answer.text
        assert answer.json()["type"] == "/problems/order_lost"


async def test_an_order_whose_workflow_is_gone_is_workflow_missing(world: World, api: httpx.AsyncClient) -> None:
    order_id = (await api.post("/orders", json=order_body())).json()["id"]
    await world.client.get_workflow_handle(f"order-{order_id}").terminate()
    answer = await api.post(f"/orders/{order_id}/approve", headers={"Idempotency-Key": "a-1"})
    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/workflow_missing"
    assert (answer.json()["order_id"], answer.json()["command_id"]) == (order_id, "c:a-1")
    assert "retry-after" in answer.headers
    assert (await api.get(f"/orders/{order_id}")).status_code == 200
    assert (await api.post(f"/orders/{order_id}/ship")).status_code == 409


async def test_ready_names_what_is_away(
    api: httpx.AsyncClient, temporal_away: httpx.AsyncClient, database_away: httpx.AsyncClient
) -> None:
    ready = await api.get("/health/ready")
    states = {name: d["state"] for name, d in ready.json()["dependencies"].items()}
    assert ready.status_code == 200
    assert states == {"orders_db": "ok", "inventory_db": "ok", "temporal": "ok", "kafka": "away"}
    for client, away in ((temporal_away, "temporal"), (database_away, "orders_db")):
        answer = await client.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json()["dependencies"][away]["state"] == "away"
        assert (await client.get("/health/live")).status_code == 200
