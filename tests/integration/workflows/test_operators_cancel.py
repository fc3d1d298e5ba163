"""A cancellation of the workflow is an operator's cancel: it stands until it is done or the order is SHIPPED."""

import pytest

from support.runs import ended, latest_ends, run_state, settled
from support.waiting import until
from support.world import Handle, World, order_id


async def _fulfilling(world: World) -> Handle:
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    return handle


async def _is_undone_by_the_operator(world: World, handle: Handle) -> None:
    assert (await world.events(handle))[-1]["data"]["reason"] == "operator"
    assert await world.on_hand("bread") == (10, 0)
    assert world.gateway.state.get(order_id(handle), "voided") == "voided"


@pytest.mark.parametrize("steps", ["near", "far"], indirect=True)
async def test_cancelling_the_workflow_is_an_operators_cancel(world: World) -> None:
    handle = await _fulfilling(world)
    await handle.cancel()
    assert await ended(handle) == ("CANCELLED", 4)
    assert await run_state(handle) == "COMPLETED"
    await _is_undone_by_the_operator(world, handle)


@pytest.mark.parametrize("steps", ["near", "far"], indirect=True)
async def test_a_cancellation_while_a_step_runs_is_done_and_what_comes_late_undoes_itself(
    world: World, hurried: None
) -> None:
    gate = world.gateway.hold("authorize")
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.gateway_is_asked("authorize")
    await handle.cancel()
    await world.reaches(handle, "CANCELLED")
    gate.set()
    assert await ended(handle) == ("CANCELLED", 3)
    await _is_undone_by_the_operator(world, handle)


async def test_a_cancellation_before_the_first_task_is_done(world: World) -> None:
    await world.stop_worker("orders")
    handle = await world.place()
    await world.ask(handle, "approve")
    await handle.cancel()
    await world.start_worker("orders")
    assert await ended(handle) == ("CANCELLED", 3)
    await _is_undone_by_the_operator(world, handle)


async def test_a_cancellation_while_a_ship_is_pending_is_done_when_its_capture_is_refused(
    world: World, hurried: None
) -> None:
    handle = await _fulfilling(world)
    world.gateway.refuse_capture = True
    gate = world.gateway.hold("capture")
    await world.send(handle, "ship")
    await world.gateway_is_asked("capture")
    await handle.cancel()
    await handle.cancel()  # Temporal takes one a run, and says nothing of the second
    gate.set()
    assert (await world.outcome(handle, "c:ship"))["refusal"]["slug"] == "capture_refused"
    assert await ended(handle) == ("CANCELLED", 4)
    await _is_undone_by_the_operator(world, handle)


async def test_a_cancellation_that_the_row_refuses_for_a_ship_is_tried_again_behind_it(world: World) -> None:
    """The workflow does not know of the ship yet: the row does."""
    handle = await _fulfilling(world)
    await settled(handle)
    world.gateway.refuse_capture = True
    await world.accept(handle, "ship", tells=False)
    await handle.cancel()
    assert (await world.outcome(handle, "c:ship"))["refusal"]["slug"] == "capture_refused"
    assert await ended(handle) == ("CANCELLED", 4)
    await _is_undone_by_the_operator(world, handle)


async def test_a_cancellation_while_a_ship_is_pending_changes_nothing_when_it_is_captured(
    world: World, hurried: None
) -> None:
    handle = await _fulfilling(world)
    gate = world.gateway.hold("capture")
    await world.send(handle, "ship")
    await world.gateway_is_asked("capture")
    await handle.cancel()
    gate.set()
    assert (await world.outcome(handle, "c:ship"))["version"] == 4
    assert await ended(handle) == ("SHIPPED", 4)
    assert world.gateway.state[order_id(handle)] == "captured"


@pytest.mark.parametrize("steps", ["far"], indirect=True)
async def test_cancelling_the_workflow_of_a_shipped_order_changes_nothing(world: World) -> None:
    handle = await _fulfilling(world)
    await world.stop_worker("inventory")
    await world.ask(handle, "ship")
    await handle.cancel()
    assert await run_state(handle) == "RUNNING"  # it waits for the stock's commit
    await world.start_worker("inventory")
    assert await ended(handle) == ("SHIPPED", 4)
    assert await world.on_hand("bread") == (8, 0)
    assert world.gateway.state[order_id(handle)] == "captured"


async def test_a_cancellation_that_meets_a_new_run_is_not_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes while the row is read, behind which the run would continue as a new one, which knows of none."""
    handle = await _fulfilling(world)
    await settled(handle)
    # Told by the history alone, as the server does: a replay sees the same.
    monkeypatch.setattr(
        "temporalio.workflow.Info.is_continue_as_new_suggested",
        lambda info: info.get_current_history_length() > 9,
    )
    pool = await world.orders.pool()
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE payment_tokens IN ACCESS EXCLUSIVE MODE")
        await handle.signal("look")

        async def looks() -> bool:
            return bool(await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await until(looks)
        await handle.cancel()
    await world.reaches(handle, "CANCELLED")
    await latest_ends(handle)
    await _is_undone_by_the_operator(world, handle)
