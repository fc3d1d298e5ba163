"""Runs that were reset, to every point: the new run looks, and repeats nothing."""

import pytest

from orderflow.temporal.resets import OrderResets
from support.runs import ended, latest_ends, run_state, settled
from support.waiting import until
from support.world import Handle, World, order_id

both_ways = pytest.mark.parametrize("steps", ["near", "far"], indirect=True)


async def _fulfilling(world: World) -> Handle:
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    await settled(handle)
    return handle


async def _reset_to_every_point(world: World, handle: Handle, closed: bool) -> int:
    """Reset the order's first run to each of its points, one after the other; how many there were."""
    resets = OrderResets(world.runs)
    first = (await handle.describe()).run_id
    points = await resets.reset_points(order_id(handle), first)
    for number, point in enumerate(points):
        run = await resets.go_back(order_id(handle), first, point, "test", request_id=f"reset-{number}")
        assert (await handle.describe()).run_id == run
        if closed:
            await latest_ends(handle)
        else:
            await settled(handle)
            assert await run_state(handle) == "RUNNING"
    return len(points)


@both_ways
async def test_a_completed_run_that_is_reset_repeats_nothing(world: World) -> None:
    handle = await _fulfilling(world)
    await world.ask(handle, "ship")
    await settled(handle)
    await world.ask(handle, "complete")
    await ended(handle)
    assert await _reset_to_every_point(world, handle, closed=True) >= 2
    # The last of its points may be behind its last look.
    assert await ended(world.client.get_workflow_handle(handle.id)) in (("SHIPPED", 4), ("COMPLETED", 5))
    assert await world.statuses(handle) == ["DRAFT", "APPROVED", "FULFILLING", "SHIPPED", "COMPLETED"]
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "CAPTURED"]
    assert await world.statuses(handle, "inventory") == ["RESERVED", "COMMITTED"]
    assert [name for name, _ in world.gateway.calls] == ["authorize", "capture"]
    assert await world.on_hand("bread") == (8, 0)


@both_ways
async def test_a_cancelled_order_that_is_reset_stays_undone(world: World) -> None:
    handle = await _fulfilling(world)
    await world.ask(handle, "cancel")
    await ended(handle)
    assert await _reset_to_every_point(world, handle, closed=True) >= 2
    assert await ended(world.client.get_workflow_handle(handle.id)) == ("CANCELLED", 4)
    assert await world.statuses(handle) == ["DRAFT", "APPROVED", "FULFILLING", "CANCELLED"]
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "VOIDING", "VOIDED"]
    assert world.gateway.state[order_id(handle)] == "voided"
    assert await world.on_hand("bread") == (10, 0)


@both_ways
async def test_an_order_that_is_reset_while_it_waits_goes_on(world: World) -> None:
    handle = await _fulfilling(world)
    world.gateway.refuse_capture = True
    assert (await world.ask(handle, "ship", "c:refused"))["refusal"]["slug"] == "capture_refused"
    world.gateway.refuse_capture = False
    await settled(handle)
    assert await _reset_to_every_point(world, handle, closed=False) >= 2
    assert (await world.ask(handle, "ship", "c:again"))["version"] == 4
    await world.ask(handle, "complete")
    await latest_ends(handle)
    assert await world.statuses(handle) == ["DRAFT", "APPROVED", "FULFILLING", "SHIPPED", "COMPLETED"]
    assert [name for name, _ in world.gateway.calls] == ["authorize", "capture", "capture"]


@both_ways
@pytest.mark.parametrize("operation", ["authorize", "capture"])
async def test_an_order_that_is_reset_while_the_gateway_is_asked_is_charged_once(
    world: World, operation: str, hurried: None
) -> None:
    gate = world.gateway.hold(operation)
    if operation == "authorize":
        handle = await world.place()
        await world.ask(handle, "approve")
    else:
        handle = await _fulfilling(world)
        await world.send(handle, "ship")
    await world.gateway_is_asked(operation)
    resets, run = OrderResets(world.runs), (await handle.describe()).run_id

    async def there_is_a_point() -> bool:
        return bool(await resets.reset_points(order_id(handle), run))

    await until(there_is_a_point)
    for number, point in enumerate(await resets.reset_points(order_id(handle), run)):
        await resets.go_back(order_id(handle), run, point, "test", request_id=f"reset-{number}")
    gate.set()
    if operation == "authorize":
        await world.reaches(handle, "FULFILLING")
        await world.send(handle, "ship")
    assert (await world.outcome(handle, "c:ship"))["version"] == 4
    await world.ask(handle, "complete")
    await latest_ends(handle)
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "CAPTURED"]
    assert len({key for name, key in world.gateway.calls if name == operation}) == 1
