"""An operator's cancel that is seen while a ship is pending: it undoes nothing yet, and is not forgotten."""

import asyncio

import pytest
from temporalio.api.enums.v1 import EventType

from support.runs import ended, history, settled
from support.waiting import until
from support.world import Handle, World, order_id

pytestmark = pytest.mark.parametrize("steps", ["far"], indirect=True)


async def _cancelled_while_capturing(world: World, *, refused: bool) -> Handle:
    """The capture is under way, and the workflow has carried out a task since the cancellation."""
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    await settled(handle)
    world.gateway.refuse_capture = refused
    gate = world.gateway.hold("capture")
    await world.send(handle, "ship")
    await world.gateway_is_asked("capture")
    await handle.cancel()

    async def seen() -> bool:
        kinds = [event.event_type for event in await history(handle)]
        asked = kinds.index(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED)
        return EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED in kinds[asked:]

    await until(seen)
    gate.set()
    return handle


async def test_a_cancellation_seen_while_a_ship_is_pending_undoes_nothing_of_it(world: World) -> None:
    handle = await _cancelled_while_capturing(world, refused=False)
    assert (await world.outcome(handle, "c:ship"))["version"] == 4
    await world.ask(handle, "complete")
    assert await ended(handle) == ("SHIPPED", 4)
    assert [name for name, _ in world.gateway.calls] == ["authorize", "capture"]
    assert world.gateway.state[order_id(handle)] == "captured"
    assert await world.on_hand("bread") == (8, 0)


async def test_a_cancellation_seen_while_a_ship_is_pending_is_done_when_that_is_refused(world: World) -> None:
    handle = await _cancelled_while_capturing(world, refused=True)
    assert (await world.outcome(handle, "c:ship"))["refusal"]["slug"] == "capture_refused"
    async with asyncio.timeout(30):
        assert await ended(handle) == ("CANCELLED", 4)
    assert (await world.events(handle))[-1]["data"]["reason"] == "operator"
    assert world.gateway.state[order_id(handle)] == "voided"
    assert await world.on_hand("bread") == (10, 0)
