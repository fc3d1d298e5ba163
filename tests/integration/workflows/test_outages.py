"""Workers that are away and come back."""

import asyncio
from typing import Any

import pytest

from support.orders import an_order
from support.runs import PATIENCE_SECONDS, count, ended, far_steps, history
from support.waiting import until
from support.world import Handle, World, order_id

#: With near steps the orders worker has the other services beside it: they are away only where steps are far.
apart = pytest.mark.parametrize("steps", ["far"], indirect=True)


@apart
async def test_when_both_refuse_payment_is_the_reason_and_both_are_told(world: World) -> None:
    await world.stop_worker("inventory")
    gate = world.gateway.hold("authorize")
    handle = await world.place(an_order(("unicorn", 1, 1)), token="tok_declined")
    await world.send(handle, "approve")
    # Hold the workflow's view back until both answers are there: no worker reads them one by one.
    await world.gateway_is_asked("authorize")
    await world.stop_worker("orders")
    await world.start_worker("inventory")
    gate.set()

    async def answered() -> bool:
        return count(await history(handle), "ACTIVITY_TASK_COMPLETED") == 2

    # A task that the stopped worker had taken holds both answers back until the server gives it up, after 10 s.
    await until(answered, seconds=PATIENCE_SECONDS)
    await world.start_worker("orders")
    assert await ended(handle) == ("CANCELLED", 3)
    last = (await world.events(handle))[-1]["data"]
    assert last["reason"] == "payment_declined"
    assert last["refusals"] == {"payment": "payment_declined", "inventory": "unknown_sku"}


@apart
async def test_a_cancel_while_the_payment_service_is_down(world: World) -> None:
    await world.stop_worker("payments")
    handle = await world.place()
    await world.ask(handle, "approve")
    await until(lambda: _reserved(world))
    assert (await world.ask(handle, "cancel"))["version"] == 3
    await until(lambda: _released(world))
    await world.start_worker("payments")
    assert await ended(handle) == ("CANCELLED", 3)
    assert await world.statuses(handle, "payments") in (["VOIDING", "VOIDED"], ["AUTHORIZED", "VOIDING", "VOIDED"])
    assert world.gateway.state[order_id(handle)] == "voided"


async def test_a_cancel_while_the_gateway_is_away(world: World) -> None:
    """Near, where the payment service is in the same process: the order is CANCELLED, and the void waits."""
    for operation in ("authorize", "void"):
        world.gateway.miss(operation, 10**6)
    handle = await world.place()
    await world.ask(handle, "approve")
    await until(lambda: _reserved(world))
    assert (await world.ask(handle, "cancel"))["version"] == 3
    await until(lambda: _released(world))
    for operation in ("authorize", "void"):
        world.gateway.miss(operation, 0)
    assert await ended(handle) == ("CANCELLED", 3)
    assert world.gateway.state[order_id(handle)] == "voided"


@apart
@pytest.mark.parametrize(
    ("away", "sku", "token"), [("inventory", "bread", "tok_declined"), ("payments", "unicorn", "tok_ok")]
)
async def test_a_refusal_does_not_wait_for_the_other_service(world: World, away: str, sku: str, token: str) -> None:
    await world.stop_worker(away)
    handle = await world.place(an_order((sku, 2, 150)), token)
    await world.ask(handle, "approve")
    await world.reaches(handle, "CANCELLED")
    assert await world.events(handle, away) == []
    await world.start_worker(away)
    await ended(handle)
    assert (await world.statuses(handle, away))[-1] in ("VOIDED", "RELEASED")
    assert world.gateway.state.get(order_id(handle), "voided") == "voided"
    assert await world.on_hand("bread") == (10, 0)


async def _reserved(world: World) -> bool:
    return (await world.on_hand("bread"))[1] == 2


async def _released(world: World) -> bool:
    return (await world.on_hand("bread"))[1] == 0


async def test_while_the_orders_worker_is_down_commands_are_done_and_steps_wait(world: World) -> None:
    await world.stop_worker("orders")
    handle = await world.place()
    for _ in range(2):
        assert (await world.ask(handle, "approve", "c:1"))["version"] == 2
    other = await world.place()
    await world.ask(other, "approve")
    assert (await world.ask(other, "cancel"))["version"] == 3
    assert world.gateway.calls == []
    await world.start_worker("orders")
    await world.reaches(handle, "FULFILLING")
    assert await ended(other) == ("CANCELLED", 3)
    await world.ask(handle, "cancel")
    assert await ended(handle) == ("CANCELLED", 4)
    assert [name for name, key in world.gateway.calls if str(order_id(other)) in key] == ["void"]


async def test_a_ship_waits_while_the_orders_worker_is_down_and_keeps_its_order(world: World) -> None:
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    await world.stop_worker("orders")
    ship = await world.send(handle, "ship")
    assert (await world.ask(handle, "cancel"))["refusal"]["slug"] == "shipment_in_progress"
    await world.start_worker("orders")
    assert (await world.outcome(handle, ship))["version"] == 4
    await world.ask(handle, "complete")
    assert await ended(handle) == ("SHIPPED", 4)


@apart
async def test_the_order_tells_where_it_stands(world: World) -> None:
    await world.stop_worker("payments")
    handle = await world.place()
    await world.ask(handle, "approve")
    await until(lambda: _reserved(world))
    state = await _one_step_left(handle)
    assert (state["status"], state["running"]) == ("APPROVED", ["authorize"])
    assert state["waits_for"] == ["the payment service to authorize the payment"]
    assert state["inventory"]["state"] == "ok"
    # Judged after the step's outcome was: one step is not enough.
    assert (await world.ask(handle, "ship"))["refusal"]["slug"] == "illegal_transition"
    assert (await world.statuses(handle))[-1] == "APPROVED"
    await world.start_worker("payments")
    await world.reaches(handle, "FULFILLING")
    assert far_steps(await history(handle)) == ["payments/authorize_payment", "inventory/reserve_inventory"]
    await world.ask(handle, "cancel")
    await ended(handle)


async def _one_step_left(handle: Handle) -> dict[str, Any]:
    state: dict[str, Any] = {}

    async def one_step_left() -> bool:
        state.update(await handle.query("order"))
        return bool(state["running"] == ["authorize"])

    await until(one_step_left)
    return state


@pytest.mark.parametrize("steps", ["near", "far"], indirect=True)
async def test_thirty_orders_at_once(world: World) -> None:
    await world.stock(eggs=30)
    handles = await asyncio.gather(*(world.place(an_order(("eggs", 1, 30))) for _ in range(30)))
    await asyncio.gather(*(world.send(handle, "approve") for handle in handles))
    await asyncio.gather(*(world.reaches(handle, "FULFILLING") for handle in handles))
    await asyncio.gather(*(world.ask(handle, "ship") for handle in handles))
    await asyncio.gather(*(world.ask(handle, "complete") for handle in handles))
    await asyncio.gather(*(ended(handle) for handle in handles))
    assert await world.on_hand("eggs") == (0, 0)
