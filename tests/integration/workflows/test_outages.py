"""Workers that are away and come back, on the Temporal dev server (the time-skipping one loses their polls)."""

import asyncio
from typing import Any

import pytest

from support.orders import an_order
from support.waiting import until
from support.world import Handle, World, order_id


async def test_when_both_refuse_payment_is_the_reason_and_both_are_told(world: World) -> None:
    await world.stop_worker("orders")
    await world.stop_worker("inventory")
    order = an_order(("unicorn", 1, 1))
    handle = await world.place(order, token="tok_declined")
    await world.send(handle, "approve")
    gate = world.gateway.hold("authorize")
    await world.start_worker("orders")
    # Hold the workflow's view back until both answers are there: no worker reads them one by one.
    await world.gateway_is_asked("authorize")
    await world.stop_worker("orders")
    await world.start_worker("inventory")
    gate.set()
    await _both_answered(world, handle)
    await world.start_worker("orders")
    await handle.result()
    last = (await world.events(handle))[-1]["data"]
    assert last["reason"] == "payment_declined"
    assert last["refusals"] == {"payment": "payment_declined", "inventory": "unknown_sku"}


async def _both_answered(world: World, handle: Handle) -> None:
    async def answered() -> bool:
        history = await handle.fetch_history()
        return sum(e.HasField("activity_task_completed_event_attributes") for e in history.events) == 2

    # A task that the stopped worker had taken holds both answers back until the server gives it up, after 10 s.
    await until(answered, seconds=30)


async def test_a_cancel_while_the_payment_service_is_down(world: World) -> None:
    await world.stop_worker("payments")
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.ask(handle, "cancel")
    await until(lambda: _released(world))
    await world.start_worker("payments")
    await handle.result()
    assert await world.statuses(handle, "payments") in (["VOIDING", "VOIDED"], ["AUTHORIZED", "VOIDING", "VOIDED"])
    assert world.gateway.state[order_id(handle)] == "voided"


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
    await handle.result()
    assert (await world.statuses(handle, away))[-1] in ("VOIDED", "RELEASED")
    assert world.gateway.state.get(order_id(handle), "voided") == "voided"
    assert await world.on_hand("bread") == (10, 0)


async def _released(world: World) -> bool:
    return (await world.on_hand("bread"))[1] == 0


async def test_commands_wait_while_the_orders_worker_is_down_and_happen_once(world: World) -> None:
    await world.stop_worker("orders")
    handle = await world.place()
    for _ in range(2):
        await world.send(handle, "approve", "c:1")
    assert await world.events(handle) == []
    await world.start_worker("orders")
    await world.reaches(handle, "FULFILLING")
    await world.ask(handle, "cancel")
    await handle.result()
    assert len(await world.events(handle)) == 4


async def test_the_order_tells_where_it_stands(world: World) -> None:
    await world.stop_worker("payments")
    handle = await world.place()
    await world.ask(handle, "approve")
    await until(lambda: _reserved(world))
    state = await _settled_state(handle)
    assert (state["status"], state["running"]) == ("APPROVED", ["authorize"])
    assert state["waits_for"] == ["the payment service to authorize the payment"]
    assert state["inventory"]["state"] == "ok"
    # Judged after the step's outcome was: one step is not enough.
    assert (await world.ask(handle, "ship"))["refusal"]["slug"] == "illegal_transition"
    await world.start_worker("payments")
    await world.reaches(handle, "FULFILLING")
    await world.ask(handle, "cancel")
    await handle.result()


async def _reserved(world: World) -> bool:
    return (await world.on_hand("bread"))[1] == 2


async def _settled_state(handle: Handle) -> dict[str, Any]:
    state: dict[str, Any] = {}

    async def one_step_left() -> bool:
        state.update(await handle.query("order"))
        return bool(state["running"] == ["authorize"])

    await until(one_step_left)
    return state


async def test_thirty_orders_at_once(world: World) -> None:
    await world.stock(eggs=30)
    handles = await asyncio.gather(*(world.place(an_order(("eggs", 1, 30))) for _ in range(30)))
    await asyncio.gather(*(world.send(handle, "approve") for handle in handles))
    await asyncio.gather(*(world.reaches(handle, "FULFILLING") for handle in handles))
    await asyncio.gather(*(world.ask(handle, "ship") for handle in handles))
    await asyncio.gather(*(world.ask(handle, "complete") for handle in handles))
    await asyncio.gather(*(handle.result() for handle in handles))
    assert await world.on_hand("eggs") == (0, 0)
