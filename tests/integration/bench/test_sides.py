"""All sides get the same real orders, and the no-op workflows have the shape that they claim to have."""

from collections.abc import AsyncIterator, Sequence

import pytest_asyncio
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from api.http.bodies import validate
from api.schemas import PlaceOrder
from bench import floor, naive
from bench.baskets import read_baskets
from bench.histories import shape
from bench.told import Teller, Told
from orderflow.settings import Settings
from orderflow.temporal.client import connect


async def connected(address: str) -> tuple[Client, Settings]:
    settings = Settings(_env_file=None, temporal_address=address)
    return await connect(settings), settings


@pytest_asyncio.fixture
async def told() -> AsyncIterator[Told]:
    async with Told() as told:
        yield told


def activities(events: Sequence[HistoryEvent]) -> list[str]:
    return [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]


def test_every_basket_is_a_valid_order_and_the_same_on_all_sides() -> None:
    baskets = read_baskets()

    assert len(baskets) >= 200
    assert [basket.number for basket in baskets] == list(range(len(baskets)))
    for basket in baskets:
        placed = validate(PlaceOrder, basket.request())
        assert [line.model_dump() for line in placed.lines] == [line.model_dump() for line in basket.order().lines]


async def test_the_naive_workflow_is_nine_ordinary_activities_behind_four_updates(temporal_server: str) -> None:
    client, settings = await connected(temporal_server)
    side = naive.Naive(client)

    async with naive.make(client, settings):
        lap = await side.live_through(read_baskets()[0])
        await side.settled([lap])
        handle = client.get_workflow_handle(side.workflow_id(lap))
        assert await handle.result() == "COMPLETED"

    events = [event async for event in handle.fetch_history_events()]
    assert activities(events) == [
        *("place", "approve", "authorize", "reserve", "fulfil", "capture", "commit", "ship", "complete")
    ]
    updates = [event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED for event in events]
    assert sum(updates) == 4
    assert shape([events]).actions == 14
    assert 0 < lap.seconds["to FULFILLING"] < lap.seconds["lifecycle"]


async def test_the_floor_has_the_shape_of_ours(temporal_server: str, told: Told) -> None:
    """Its history is compared with that of a real order in tests/e2e/bench."""
    client, settings = await connected(temporal_server)
    baskets = read_baskets()
    side = floor.Floor(client, told, len(baskets))

    async with floor.make(client, settings, floor.NoSteps(baskets, Teller(told.port))):
        lap = await side.live_through(baskets[7])
        await side.settled([lap])
        handle = client.get_workflow_handle(side.workflow_id(lap))
        assert await handle.result() == {"status": "SHIPPED", "version": 4}

    events = [event async for event in handle.fetch_history_events()]
    signals = [event for event in events if event.HasField("workflow_execution_signaled_event_attributes")]
    names = [event.workflow_execution_signaled_event_attributes.signal_name for event in signals]
    assert names == ["ship"]
    assert activities(events) == []
    assert shape([events]).local_activities == 8
    assert lap.order_id.int % len(baskets) == 7
    assert list(lap.seconds) == ["approve", "to FULFILLING", "ship", "lifecycle"]
