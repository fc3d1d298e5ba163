"""A second ship that meets the first one's end in one activation."""

import pytest

from orderflow.domain.commands import Command
from orderflow.domain.errors import Problem
from orderflow.store.orders import Orders
from support.waiting import until
from support.world import World, order_id


@pytest.mark.parametrize("again_refused", [True, False])
async def test_a_ship_sent_after_the_refusal_was_told_by_a_worker_that_died(world: World, again_refused: bool) -> None:
    world.gateway.refuse_capture = True
    gate = world.gateway.hold("capture")
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    await world.send(handle, "ship", "c:first")
    await world.gateway_is_asked("capture")
    await world.stop_worker("orders")
    gate.set()

    async def answered() -> bool:
        history = await handle.fetch_history()
        return sum(e.HasField("activity_task_completed_event_attributes") for e in history.events) == 3

    await until(answered)
    world.gateway.refuse_capture = again_refused
    # What the dead worker still did: the refusal is in the database and told, its workflow task is not completed.
    await Orders(world.orders).refuse_ship(
        order_id(handle),
        Command(name="ship", id="c:first", request_hash="1" * 64),
        Problem(slug="capture_refused", detail="no", status=402),
    )
    await world.send(handle, "ship", "c:second")
    await world.start_worker("orders")
    found = await world.outcome(handle, "c:second")
    assert (found["refusal"] is not None) == again_refused
    if again_refused:
        await world.ask(handle, "cancel")
    else:
        await world.ask(handle, "complete")
    await handle.result()
