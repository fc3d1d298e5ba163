"""Who reaches Temporal's port may make a workflow look, and nothing else."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowFailureError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from orderflow.stack.temporal import MOST_SIGNALS
from orderflow.store.handovers import Handovers
from orderflow.temporal.dispatcher import Dispatcher
from orderflow.temporal.names import ORDER_WORKFLOW, ORDERS_QUEUE, workflow_id
from support.runs import PATIENCE_SECONDS, ended, failures_of_the_code, history, latest_ends, run_state, settled
from support.waiting import until
from support.world import Handle, World, order_id

#: `TEST_SIGNALS=20000` sends as many as have frozen an order of the older shape.
SIGNALS = int(os.environ.get("TEST_SIGNALS", "5000"))
NAMES = ["ship", "approve", "cancel", "complete", "look", "aprove", "run", "order", "x" * 900, "ä ☃\n", "__temporal_x"]


def _raw(encoding: bytes, data: bytes) -> RawValue:
    return RawValue(Payload(metadata={"encoding": encoding}, data=data))


CONTENTS: list[list[Any]] = [
    [],
    [None],
    ["not an object"],
    [{"command_id": "c:forged", "request_hash": "1" * 64, "data": {"carrier": "UPS"}}],
    [{"status": "CANCELLED", "version": 2**70, "near": ["payments"]}],
    [{"a": [{"b": [[[{}]]]}]}],
    [b"\x00\x01\xff"],
    [{}, {}, 3, "four"],
    [_raw(b"json/plain", b"{ not json")],
    [_raw(b"json/protobuf", b"\xff")],
    [_raw(b"of/nobody", b"?")],
    [RawValue(Payload(data=b"no encoding at all"))],
    ["x" * 200_000],
]


async def _fulfilling(world: World) -> Handle:
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    return handle


async def test_a_forged_ship_moves_no_money(world: World) -> None:
    handle = await _fulfilling(world)
    await settled(handle)
    commands = await world.commands(handle)
    for arguments in CONTENTS:
        await handle.signal("ship", args=arguments)
    state = await settled(handle)
    assert (state["status"], state["version"]) == ("FULFILLING", 3)
    assert await world.commands(handle) == commands
    assert [name for name, _ in world.gateway.calls] == ["authorize"]
    assert world.gateway.state[order_id(handle)] == "authorized"
    await world.ask(handle, "ship")
    await world.ask(handle, "complete")
    assert await ended(handle) == ("SHIPPED", 4)


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
async def test_a_signal_of_any_name_and_content_is_a_look(world: World, name: str) -> None:
    handle = await _fulfilling(world)
    for arguments in CONTENTS:
        await handle.signal(name, args=arguments)
    state = await settled(handle)
    assert (state["status"], state["version"]) == ("FULFILLING", 3)
    await world.ask(handle, "cancel")
    assert await ended(handle) == ("CANCELLED", 4)
    assert await world.on_hand("bread") == (10, 0)
    assert failures_of_the_code(await history(handle)) == []


@pytest.mark.timeout(400)
async def test_a_flood_of_signals_is_looks_and_no_more(world: World) -> None:
    """Others do not notice, and the order goes on. Temporal takes so many a run: the dispatcher tries again."""
    flooded, other = await _fulfilling(world), await _fulfilling(world)
    chance = random.Random(11)
    sent = refused = 0

    async def flood() -> None:
        nonlocal sent, refused
        while sent + refused < SIGNALS:
            sent += 1
            try:
                await flooded.signal(
                    f"{chance.choice(NAMES[:8])}{chance.randrange(9)}", args=chance.choice(CONTENTS[:8])
                )
            except RPCError as error:
                if error.status not in (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.RESOURCE_EXHAUSTED):
                    raise
                # The run has had its share; the next one begins when the workflow gets a moment.
                sent, refused = sent - 1, refused + 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(32):
            tasks.create_task(flood())
        await world.ask(other, "ship")
        await world.ask(other, "complete")
        assert await ended(other) == ("SHIPPED", 4)
    assert sent >= MOST_SIGNALS["history.maximumSignalsPerExecution"]
    # The order's own command, through the dispatcher, however often Temporal refuses it.
    await world.accept(flooded, "ship", tells=False)
    dispatcher = Dispatcher(Handovers(world.orders), world.runs)
    pool = await world.orders.pool()

    async def told() -> bool:
        await pool.execute("UPDATE handovers SET next_at = clock_timestamp()")
        await dispatcher.round()
        return not await pool.fetchval("SELECT count(*) FROM handovers")

    await until(told, seconds=PATIENCE_SECONDS, every=0.2)
    await until(lambda: _is(world, flooded, "SHIPPED"), seconds=PATIENCE_SECONDS)
    await latest_ends(world.client.get_workflow_handle(flooded.id))
    assert await world.statuses(flooded) == ["DRAFT", "APPROVED", "FULFILLING", "SHIPPED"]
    assert [name for name, key in world.gateway.calls if str(order_id(flooded)) in key] == ["authorize", "capture"]
    assert await world.on_hand("bread") == (6, 0)


async def _is(world: World, handle: Handle, status: str) -> bool:
    return (await world.statuses(handle))[-1] == status


# --- Runs that nobody's command began ---


async def _start(world: World, run_id: str, arguments: list[Any]) -> Handle:
    return await world.client.start_workflow(ORDER_WORKFLOW, args=arguments, id=run_id, task_queue=ORDERS_QUEUE)


@pytest.fixture
async def no_order(world: World) -> AsyncIterator[World]:
    """Nothing is written for an order that is not there."""
    yield world
    for database in (world.orders, world.payments, world.inventory):
        pool = await database.pool()
        assert await pool.fetchval("SELECT count(*) FROM events") == 0
    assert world.gateway.calls == []


@pytest.mark.parametrize("arguments", CONTENTS, ids=range(len(CONTENTS)))
async def test_a_run_started_by_hand_for_no_order_ends_at_once(no_order: World, arguments: list[Any]) -> None:
    """Failed, not completed: so that the approve of a draft that somebody began starts a run of its own."""
    handle = await _start(no_order, workflow_id(uuid4()), arguments)
    with pytest.raises(WorkflowFailureError) as failed:
        await asyncio.wait_for(ended(handle), PATIENCE_SECONDS)
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "BeforeItsTime"


async def test_a_run_with_a_made_up_id_ends_at_once(no_order: World) -> None:
    order = uuid4()
    for made_up in ("order-", "order-1", f"order-{order}-again", f"order-{order.hex}", f"ORDER-{order}", "♥"):
        handle = await _start(no_order, made_up, [])
        assert await asyncio.wait_for(ended(handle), PATIENCE_SECONDS) == (None, 0)


@pytest.mark.parametrize("arguments", CONTENTS, ids=range(len(CONTENTS)))
async def test_a_run_started_by_hand_is_its_orders_run_whatever_it_was_given(
    world: World, arguments: list[Any]
) -> None:
    """A stranger was there first: the approve finds a run of its order, and the order lives in it."""
    await world.stop_worker("orders")
    handle = await world.place()
    await _start(world, handle.id, arguments)
    await world.ask(handle, "approve")
    await world.start_worker("orders")
    await world.reaches(handle, "FULFILLING")
    assert await run_state(handle) == "RUNNING"
    await world.ask(handle, "cancel")
    assert await ended(handle) == ("CANCELLED", 4)


async def test_a_draft_whose_run_was_started_by_hand_is_approved_all_the_same(world: World) -> None:
    handle = await world.place()
    await _start(world, handle.id, [])
    await settled(handle)
    assert await world.statuses(handle) == ["DRAFT"]
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    await world.ask(handle, "cancel")
    assert await ended(handle) == ("CANCELLED", 4)
