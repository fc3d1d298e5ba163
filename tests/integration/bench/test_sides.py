"""Both sides get the same real orders, and the naive workflow has the shape that it claims to have."""

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from api.bodies import validate
from api.schemas import PlaceOrder
from bench import naive
from bench.baskets import read_baskets
from orderflow.settings import Settings
from orderflow.temporal.client import connect


async def connected(address: str) -> tuple[Client, Settings]:
    settings = Settings(_env_file=None, temporal_address=address)
    return await connect(settings), settings


def test_every_basket_is_a_valid_order_and_the_same_on_both_sides() -> None:
    baskets = read_baskets()

    assert len(baskets) >= 200
    for basket in baskets:
        placed = validate(PlaceOrder, basket.request())
        assert [line.model_dump() for line in placed.lines] == [line.model_dump() for line in basket.order().lines]


async def test_the_naive_workflow_is_nine_ordinary_activities_behind_four_updates(temporal_server: str) -> None:
    client, settings = await connected(temporal_server)
    basket = read_baskets()[0]

    async with naive.make(client, settings):
        lap = await naive.live_through(client, basket)
        handle = client.get_workflow_handle(naive.workflow_id(lap.order_id))
        assert await handle.result() == "COMPLETED"

    events = [event async for event in handle.fetch_history_events()]
    activities = [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    assert activities == [
        *("place", "approve", "authorize", "reserve", "fulfil", "capture", "commit", "ship", "complete")
    ]
    updates = [event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED for event in events]
    assert sum(updates) == 4
    assert 0 < lap.to_fulfilling_seconds < lap.lifecycle_seconds
