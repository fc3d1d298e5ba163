"""An operator cancels through Temporal, as its Web UI does: a command like the customer's, which stands until it is
accepted or the order is final. Temporal takes one a run."""

from support.waiting import until
from support.world import Handle, World, order_id


async def _fulfilling(world: World) -> Handle:
    handle = await world.place()
    await world.accept(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    return handle


async def _ended(handle: Handle) -> str:
    result: dict[str, str] = await handle.result()
    return result["status"]


async def test_a_cancellation_is_the_operators_cancel(world: World) -> None:
    handle = await _fulfilling(world)
    await handle.cancel()
    assert await _ended(handle) == "CANCELLED"
    assert (await world.events(handle))[-1]["data"]["reason"] == "operator"
    assert await world.statuses(handle, "payments") == ["AUTHORIZED", "VOIDING", "VOIDED"]
    assert await world.on_hand("bread") == (10, 0)


async def test_a_cancellation_before_the_first_task_is_carried_out(world: World) -> None:
    await world.stop_worker("orders")
    handle = await world.place()
    await world.accept(handle, "approve")
    await handle.cancel()
    await world.start_worker("orders")
    assert await _ended(handle) == "CANCELLED"
    assert (await world.events(handle))[-1]["data"]["reason"] == "operator"
    assert await world.on_hand("bread") == (10, 0)


async def test_a_cancellation_waits_for_the_pending_ship_and_is_carried_out_when_that_is_refused(world: World) -> None:
    handle = await _fulfilling(world)
    gate = world.gateway.hold("capture")
    world.gateway.refuse_capture = True
    ship = await world.send(handle, "ship")
    await world.gateway_is_asked("capture")
    await handle.cancel()
    await handle.signal("look")
    assert (await world.statuses(handle))[-1] == "FULFILLING"
    assert "void" not in {name for name, _ in world.gateway.calls}
    gate.set()
    assert (await world.outcome(handle, ship))["refusal"]["slug"] == "capture_refused"
    assert await _ended(handle) == "CANCELLED"
    assert (await world.events(handle))[-1]["data"]["reason"] == "operator"
    assert world.gateway.state[order_id(handle)] == "voided"
    assert await world.on_hand("bread") == (10, 0)


async def test_a_cancellation_of_an_order_whose_ship_succeeds_undoes_nothing(world: World) -> None:
    handle = await _fulfilling(world)
    gate = world.gateway.hold("capture")
    ship = await world.send(handle, "ship")
    await world.gateway_is_asked("capture")
    await handle.cancel()
    gate.set()
    assert (await world.outcome(handle, ship))["version"] == 4

    async def committed() -> bool:
        return await world.on_hand("bread") == (8, 0)

    await until(committed)
    await world.accept(handle, "complete")
    assert await _ended(handle) == "COMPLETED"
    assert world.gateway.state[order_id(handle)] == "captured"
    assert "void" not in {name for name, _ in world.gateway.calls}
