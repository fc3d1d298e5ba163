"""The dispatcher, on a real orders database and a real Temporal: what is due is told, whatever happens on the way."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from uuid import UUID

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowExecutionStatus

from orderflow.domain.access import EVERYONE
from orderflow.domain.errors import Unavailable
from orderflow.domain.handovers import Handover
from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.store.handovers import Handovers
from orderflow.store.orders import Orders
from orderflow.store.statements import Statement
from orderflow.temporal.client import connect
from orderflow.temporal.dispatcher import Dispatcher
from orderflow.temporal.names import workflow_id
from orderflow.temporal.runs import OrderRuns, TemporalRefuses
from support.api import CLOSED
from support.orders import an_order, command
from support.stack import Databases
from support.tokens import seal
from support.waiting import until
from support.world import World
from support.world import order_id as order_of

DUE = Statement("test.due", "Makes all handovers due.", "UPDATE handovers SET next_at = clock_timestamp()")
LEFT = Statement(
    "test.left", "Reads the handovers that are left.", "SELECT order_id, name, attempts, refused FROM handovers"
)
WITHIN = timedelta(seconds=5)


class ScriptedRuns(OrderRuns):
    """Tells Temporal, after ``before`` has had its say about a handover. ``told``: in which order."""

    def __init__(self, client: Client, before: Callable[[Handover], None] = lambda _: None) -> None:
        super().__init__(lambda: _given(client), WITHIN)
        self.told: list[UUID] = []
        self._before = before

    async def tell(self, handover: Handover) -> None:
        self._before(handover)
        await super().tell(handover)
        self.told.append(handover.order_id)


class Gate(OrderRuns):
    """A dispatcher that freezes between its claim and what it would do then: ``reached``, until ``open`` is set."""

    def __init__(self, client: Client) -> None:
        super().__init__(lambda: _given(client), WITHIN)
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def tell(self, handover: Handover) -> None:
        self.reached.set()
        await self.open.wait()
        await super().tell(handover)


async def _given(client: Client) -> Client:
    return client


@pytest_asyncio.fixture
async def orders_db(databases: Databases) -> AsyncIterator[Database]:
    async with Database("orders", databases.orders, pool_size=16) as database:
        yield database


@pytest.fixture
def handovers(orders_db: Database) -> Handovers:
    return Handovers(orders_db)


async def _approved(database: Database) -> UUID:
    """An approved order of which nobody has told Temporal; its handover is due."""
    orders, order = Orders(database), an_order()
    await orders.place(order, command("place", "w:place"), seal(order.order_id, "tok_ok"))
    await orders.carry_out(order.order_id, command("approve"), EVERYONE)
    await database.all(DUE, {})
    return order.order_id


async def _left(database: Database) -> dict[UUID, tuple[str, int, str | None]]:
    return {row["order_id"]: (row["name"], row["attempts"], row["refused"]) for row in await database.all(LEFT, {})}


async def _signals(client: Client, order_id: UUID) -> list[str]:
    history = await client.get_workflow_handle(workflow_id(order_id)).fetch_history()
    signalled = (event.workflow_execution_signaled_event_attributes.signal_name for event in history.events)
    return [name for name in signalled if name]


async def _runs(client: Client, order_id: UUID) -> bool:
    description = await client.get_workflow_handle(workflow_id(order_id)).describe()
    return description.status == WorkflowExecutionStatus.RUNNING


async def test_what_is_due_is_told_and_forgotten(temporal: Client, orders_db: Database, handovers: Handovers) -> None:
    ordered = [await _approved(orders_db) for _ in range(40)]
    dispatcher = Dispatcher(handovers, OrderRuns.of(temporal, WITHIN), at_once=8)
    assert await dispatcher.round() == 40
    assert await _left(orders_db) == {}
    assert all([await _runs(temporal, order_id) for order_id in ordered])
    assert await dispatcher.round() == 0


async def test_nothing_is_told_of_before_it_is_due(temporal: Client, orders_db: Database, handovers: Handovers) -> None:
    order_id = await _approved(orders_db)
    await Orders(orders_db).carry_out(order_id, command("cancel"), EVERYONE)  # the API has a second to tell it
    runs = ScriptedRuns(temporal)
    assert await Dispatcher(handovers, runs).round() == 0
    assert runs.told == []


async def test_it_is_told_once_temporal_is_back(
    settings: Settings, orders_db: Database, handovers: Handovers, caplog: pytest.LogCaptureFixture
) -> None:
    ordered = {await _approved(orders_db) for _ in range(3)}
    address = CLOSED

    async def reach() -> Client:
        return await connect(settings.model_copy(update={"temporal_address": address}), answer_within=WITHIN)

    dispatcher = Dispatcher(handovers, OrderRuns(reach, WITHIN))
    with pytest.raises(Unavailable):
        await dispatcher.round()
    left = await _left(orders_db)
    assert left.keys() == ordered
    assert {refused for _, _, refused in left.values()} == {None}
    stopping = asyncio.Event()
    running = asyncio.create_task(dispatcher.run(stopping))
    address = settings.temporal_address
    await orders_db.all(DUE, {})

    async def all_told() -> bool:
        return not await _left(orders_db)

    await until(all_told, seconds=20)
    stopping.set()
    await asyncio.wait_for(running, 10)
    client = await connect(settings)
    assert all([await _runs(client, order_id) for order_id in ordered])


async def test_two_dispatchers_share_the_work(temporal: Client, orders_db: Database, handovers: Handovers) -> None:
    ordered = [await _approved(orders_db) for _ in range(60)]
    first, second = ScriptedRuns(temporal), ScriptedRuns(temporal)
    stopping = asyncio.Event()
    running = [asyncio.create_task(Dispatcher(handovers, runs).run(stopping)) for runs in (first, second)]

    async def all_told() -> bool:
        return not await _left(orders_db)

    await until(all_told, seconds=20)
    stopping.set()
    await asyncio.wait_for(asyncio.gather(*running), 10)
    assert sorted(first.told + second.told) == sorted(ordered)


async def test_what_a_frozen_dispatcher_claimed_another_one_tells(
    temporal: Client, orders_db: Database, handovers: Handovers
) -> None:
    order_id = await _approved(orders_db)
    gate = Gate(temporal)
    frozen = asyncio.create_task(Dispatcher(handovers, gate).round())
    await gate.reached.wait()
    await orders_db.all(DUE, {})  # its pause is over
    assert await Dispatcher(handovers, OrderRuns.of(temporal, WITHIN)).round() == 1
    assert await _left(orders_db) == {}
    gate.open.set()  # it wakes into a changed world: one look more
    await frozen
    assert await _runs(temporal, order_id)
    assert await _left(orders_db) == {}


async def test_a_dispatcher_that_wakes_late_deletes_no_newer_handover(
    temporal: Client, orders_db: Database, handovers: Handovers
) -> None:
    """Frozen between its message and its delete: the cancel that was written meanwhile is told by the next one."""
    order_id = await _approved(orders_db)
    gate = Gate(temporal)
    frozen = asyncio.create_task(Dispatcher(handovers, gate).round())
    await gate.reached.wait()
    await Orders(orders_db).carry_out(order_id, command("cancel"), EVERYONE)
    gate.open.set()
    await frozen
    assert {name for name, _, _ in (await _left(orders_db)).values()} == {"cancel"}
    await orders_db.all(DUE, {})
    assert await Dispatcher(handovers, OrderRuns.of(temporal, WITHIN)).round() == 1
    assert await _signals(temporal, order_id) == ["cancel"]
    assert await _left(orders_db) == {}


async def test_what_temporal_refuses_is_set_aside_and_blocks_nobody(
    temporal: Client, orders_db: Database, handovers: Handovers
) -> None:
    refused, *others = [await _approved(orders_db) for _ in range(5)]

    def refuse(handover: Handover) -> None:
        if handover.order_id == refused:
            raise TemporalRefuses("too large")

    runs = ScriptedRuns(temporal, refuse)
    assert await Dispatcher(handovers, runs, at_once=1).round() == 5
    assert sorted(runs.told) == sorted(others)
    assert await _left(orders_db) == {refused: ("approve", 1, "too large")}
    assert await Dispatcher(handovers, runs).round() == 0  # it is not due for minutes


async def test_what_temporal_itself_refuses_is_known_as_that(temporal: Client) -> None:
    """A message beyond its limits: it would refuse it the next time, too."""
    long = Handover(UUID(int=1), 1, "n" * 2_000)
    with pytest.raises(TemporalRefuses):
        await OrderRuns.of(temporal, WITHIN).tell(long)


async def test_a_bug_in_one_stops_no_other(temporal: Client, orders_db: Database, handovers: Handovers) -> None:
    broken, *others = [await _approved(orders_db) for _ in range(5)]

    def meet_a_bug(handover: Handover) -> None:
        if handover.order_id == broken:
            raise ZeroDivisionError("nobody expected this")

    runs = ScriptedRuns(temporal, meet_a_bug)
    stopping = asyncio.Event()
    running = asyncio.create_task(Dispatcher(handovers, runs, at_once=1).run(stopping))

    async def others_told() -> bool:
        return len(runs.told) == 4

    await until(others_told)
    late = await _approved(orders_db)

    async def told_too() -> bool:
        return late in runs.told and (await _left(orders_db)).keys() == {broken}

    await until(told_too)
    stopping.set()
    await asyncio.wait_for(running, 10)
    assert sorted(runs.told) == sorted([*others, late])
    _, _, error = (await _left(orders_db))[broken]
    assert error is not None
    assert "nobody expected this" in error


async def test_what_was_claimed_and_could_not_be_sent_is_told_later(
    temporal: Client, orders_db: Database, handovers: Handovers
) -> None:
    ordered = [await _approved(orders_db) for _ in range(6)]
    asked = 0

    def away_after_two(_: Handover) -> None:
        nonlocal asked
        asked += 1
        if asked > 2:
            raise Unavailable("temporal", "it does not answer")

    runs = ScriptedRuns(temporal, away_after_two)
    with pytest.raises(Unavailable):
        await Dispatcher(handovers, runs, at_once=1).round()
    assert asked == 3, "the rest of the batch does not wait for the same time-out"
    assert (await _left(orders_db)).keys() == set(ordered) - set(runs.told)
    await orders_db.all(DUE, {})
    again = ScriptedRuns(temporal)
    assert await Dispatcher(handovers, again).round() == 4
    assert sorted(runs.told + again.told) == sorted(ordered)
    assert await _left(orders_db) == {}


async def test_a_terminated_run_is_started_again(temporal: Client, orders_db: Database, handovers: Handovers) -> None:
    """Whoever ended it left something to do."""
    order_id = await _approved(orders_db)
    handle = temporal.get_workflow_handle(workflow_id(order_id))
    dispatcher = Dispatcher(handovers, OrderRuns.of(temporal, WITHIN))
    await dispatcher.round()
    first = (await handle.describe()).run_id
    await handle.terminate()
    await Orders(orders_db).carry_out(order_id, command("cancel"), EVERYONE)
    await orders_db.all(DUE, {})
    await dispatcher.round()
    assert (await handle.describe()).run_id != first
    assert await _runs(temporal, order_id)


async def test_a_run_that_came_to_its_end_is_started_again_only_where_somebody_asked_for_it(world: World) -> None:
    handle = await world.place()
    await world.accept(handle, "approve")
    await world.accept(handle, "cancel")
    await handle.result()
    first = (await handle.describe()).run_id
    for name in ("approve", "cancel", "complete"):
        await world.runs.tell(Handover(order_of(handle), 1, name))
    assert (await handle.describe()).run_id == first
    await world.handovers.look(order_of(handle))
    assert await Dispatcher(world.handovers, world.runs).round() == 1
    again = world.client.get_workflow_handle(handle.id)
    assert (await again.describe()).run_id != first
    assert (await again.result())["status"] == "CANCELLED"
