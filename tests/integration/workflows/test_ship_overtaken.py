"""A second ship that meets the first one's end in one activation."""

import pytest

from orderflow.domain.errors import Problem
from orderflow.store.orders import Orders
from support.runs import PATIENCE_SECONDS, count, ended, history
from support.waiting import until
from support.world import World, order_id


@pytest.mark.parametrize("steps", ["far"], indirect=True)
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
        return count(await history(handle), "ACTIVITY_TASK_COMPLETED") == 3

    # A task that the stopped worker had taken holds the answer back until the server gives it up, after 10 s.
    await until(answered, seconds=PATIENCE_SECONDS)
    world.gateway.refuse_capture = again_refused
    # What the dead worker still did: the refusal is in the database and told, its workflow task is not completed.
    await Orders(world.orders).refuse_ship(
        order_id(handle), "c:first", Problem(slug="capture_refused", detail="no", status=402)
    )
    await world.send(handle, "ship", "c:second")
    await world.start_worker("orders")
    found = await world.outcome(handle, "c:second")
    assert (found["refusal"] is not None) == again_refused
    if again_refused:
        await world.ask(handle, "cancel")
    assert await ended(handle) == (("CANCELLED", 4) if again_refused else ("SHIPPED", 4))


async def test_a_ship_that_was_shipped_by_another_run_is_adopted(world: World) -> None:
    """The row is SHIPPED and the ship done: there is nothing to capture, and the stock is let go."""
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    await world.stop_worker("orders")
    await world.accept(handle, "ship", tells=False)
    await Orders(world.orders).record_ship(order_id(handle), "c:ship")
    await world.start_worker("orders")
    await world.look(handle)
    assert await ended(handle) == ("SHIPPED", 4)
    assert await world.on_hand("bread") == (8, 0)
    assert [name for name, _ in world.gateway.calls] == ["authorize"]
