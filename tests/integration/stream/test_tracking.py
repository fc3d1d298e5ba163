"""The tracking row: order-independent, and what the stream says."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orderflow.settings import Settings
from orderflow.store import tracking
from orderflow.store.database import Database
from orderflow.store.tracking import INVENTORY, ORDERS, PAYMENTS, TrackedPart
from orderflow.stream.clients import make_producer
from orderflow.stream.topic import ensure_topic
from orderflow.stream.tracking import track
from orderflow.telemetry.health import Health
from orderflow.telemetry.readiness import OK, PartState
from orderflow_events.envelope import Record, decode
from orderflow_events.inbox import Connection, claim
from orderflow_events.redrive import redrive
from support.records import RECORDED_AT, a_record
from support.relays import running_relay
from support.stack import Databases
from support.stream import insert_event
from support.waiting import until
from workers.shared import Shared
from workers.tracking import serve

Orders: TypeAlias = "asyncpg.Connection[Any]"
Event = tuple[str, str, dict[str, Any]]

COMPLETED: dict[str, list[Event]] = {
    ORDERS: [
        ("ORDER_CREATED", "DRAFT", {"customer_id": "c", "currency": "USD", "total": 1, "lines": []}),
        ("ORDER_APPROVED", "APPROVED", {}),
        ("ORDER_STATE_CHANGED", "FULFILLING", {"from": "APPROVED", "to": "FULFILLING"}),
        ("ORDER_STATE_CHANGED", "SHIPPED", {"from": "FULFILLING", "to": "SHIPPED"}),
        ("ORDER_STATE_CHANGED", "COMPLETED", {"from": "SHIPPED", "to": "COMPLETED"}),
    ],
    PAYMENTS: [
        ("PAYMENT_AUTHORIZED", "AUTHORIZED", {"amount": 1, "currency": "USD", "authorization_id": "a"}),
        ("PAYMENT_CAPTURED", "CAPTURED", {"amount": 1, "currency": "USD", "capture_id": "x"}),
    ],
    INVENTORY: [("INVENTORY_RESERVED", "RESERVED", {"lines": []}), ("INVENTORY_COMMITTED", "COMMITTED", {})],
}
CANCELLED: dict[str, list[Event]] = {
    ORDERS: [
        *COMPLETED[ORDERS][:2],
        (
            "ORDER_STATE_CHANGED",
            "CANCELLED",
            {"from": "APPROVED", "to": "CANCELLED", "reason": "insufficient_funds"},
        ),
    ],
    PAYMENTS: [("PAYMENT_FAILED", "DECLINED", {"amount": 1, "currency": "USD", "reason": "insufficient_funds"})],
    INVENTORY: [("INVENTORY_RESERVED", "RESERVED", {"lines": []}), ("INVENTORY_RELEASED", "RELEASED", {})],
    "/orderflow/shipping": [("PARCEL_LOST", "LOST", {"carrier": "x"})],
}


def envelopes(order: UUID, story: dict[str, list[Event]]) -> list[Any]:
    """The story's events, as they come out of the topic."""
    records = [
        a_record(
            order,
            version,
            source=source,
            type=event_type,
            status=status,
            data=data,
            recorded_at=RECORDED_AT + timedelta(seconds=version),
        )
        for source, events in story.items()
        for version, (event_type, status, data) in enumerate(events, start=1)
    ]
    return [decode(r.headers, r.key, r.value) for r in records]


def record_of(order: UUID, version: int) -> Record:
    """The record of an order's event."""
    event_type, status, data = COMPLETED[ORDERS][version - 1]
    return a_record(order, version, type=event_type, status=status, data=data)


async def apply(connection: Connection, batches: Sequence[Sequence[Any]], *, inbox: bool) -> None:
    for batch in batches:
        async with connection.transaction():
            fresh = (await claim(connection, "g", batch))[0] if inbox else batch
            await track(connection, fresh)


async def row_of(connection: Connection, order: UUID) -> dict[str, Any]:
    """All that is kept of an order, but for when and for its id."""
    row = await connection.fetchrow("SELECT * FROM order_state_tracking WHERE order_id = $1", order)
    assert row is not None
    kept = dict(row)
    kept["timeline"] = [
        {name: value for name, value in entry.items() if name != "tracked_at"} for entry in kept["timeline"]
    ]
    return {name: value for name, value in kept.items() if name not in ("order_id", "tracked_at")}


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[str, list[list[int]], bool]:
    """A story, its events by number in any order with duplicates, cut into batches; with the inbox or without."""
    name = draw(st.sampled_from(["completed", "cancelled"]))
    count = sum(len(events) for events in (COMPLETED if name == "completed" else CANCELLED).values())
    once: list[int] = draw(st.permutations(range(count)))
    more: list[int] = draw(st.lists(st.integers(0, count - 1), max_size=8))
    delivered = list(once)
    for number in more:
        delivered.insert(draw(st.integers(0, len(delivered))), number)
    batches: list[list[int]] = [[]]
    for number in delivered:
        cut: bool = draw(st.booleans())
        if cut and batches[-1]:
            batches.append([])
        batches[-1].append(number)
    return name, batches, draw(st.booleans())


@given(delivery=deliveries())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_interleaving_of_the_same_events_gives_the_same_row(
    orders_database: Database, delivery: tuple[str, list[list[int]], bool]
) -> None:
    name, batches, inbox = delivery
    story = COMPLETED if name == "completed" else CANCELLED
    in_order, any_order = uuid4(), uuid4()
    pool = await orders_database.pool()
    async with pool.acquire() as connection:
        await apply(connection, [[e] for e in envelopes(in_order, story)], inbox=True)
        events = envelopes(any_order, story)
        await apply(connection, [[events[number] for number in batch] for batch in batches], inbox=inbox)
        assert await row_of(connection, any_order) == await row_of(connection, in_order)


async def test_a_completed_and_a_cancelled_order_read_as_they_should(orders_database: Database) -> None:
    completed, cancelled = uuid4(), uuid4()
    pool = await orders_database.pool()
    async with pool.acquire() as connection:
        await apply(connection, [envelopes(completed, COMPLETED) + envelopes(cancelled, CANCELLED)], inbox=True)
    done = await tracking.read(orders_database, completed, timeline=True)
    assert done is not None
    assert done.order == TrackedPart("COMPLETED", 5, None)
    assert done.payment == TrackedPart("CAPTURED", 2, None)
    assert done.inventory == TrackedPart("COMMITTED", 2, None)
    assert (done.payment_authorized, done.inventory_reserved) == (True, True)
    assert len(done.timeline) == 9
    assert [entry.version for entry in done.timeline] == sorted(entry.version for entry in done.timeline)
    gone = await tracking.read(orders_database, cancelled)
    assert gone is not None
    assert gone.order == TrackedPart("CANCELLED", 3, "insufficient_funds")
    assert gone.payment == TrackedPart("DECLINED", 1, "insufficient_funds")
    assert gone.inventory == TrackedPart("RELEASED", 2, None)
    assert (gone.payment_authorized, gone.inventory_reserved, gone.timeline) == (False, False, ())


async def test_parts_that_have_not_come_yet_are_none(orders_database: Database) -> None:
    order = uuid4()
    pool = await orders_database.pool()
    async with pool.acquire() as connection:
        await apply(connection, [envelopes(order, {PAYMENTS: COMPLETED[PAYMENTS][:1]})], inbox=True)
    row = await tracking.read(orders_database, order)
    assert row is not None
    assert (row.order, row.payment, row.inventory) == (None, TrackedPart("AUTHORIZED", 1, None), None)
    assert await tracking.read(orders_database, uuid4()) is None


async def test_the_stream_becomes_the_tracking_through_the_relay(
    settings: Settings, databases: Databases, orders: Orders, orders_database: Database
) -> None:
    settings = settings.model_copy(update={"tracking_group": f"tracking-{uuid4().hex[:8]}"})
    states: dict[str, PartState] = {}

    class Told(Health):
        def set(self, part: str, state: PartState) -> None:
            states[part] = state

    known = [uuid4() for _ in range(50)]
    chance = random.Random(3)
    stopping = asyncio.Event()
    serving = asyncio.create_task(serve(settings, stopping, Told(), Shared(settings, ())))
    async with running_relay(settings):
        for version, (event_type, status, data) in enumerate(COMPLETED[ORDERS], start=1):
            for order in chance.sample(known, len(known)):
                await insert_event(orders, order, version, type=event_type, status=status, data=data)

        async def all_completed() -> bool:
            return bool(
                await orders.fetchval("SELECT count(*) FROM tracked_orders WHERE order_status = 'COMPLETED'") == 50
            )

        await until(all_completed, seconds=30)
    assert states == {"tracking": OK}
    stopping.set()
    await asyncio.wait_for(serving, 10)
    row = await tracking.read(orders_database, known[0], timeline=True)
    assert row is not None
    recorded = await orders.fetch("SELECT version, recorded_at FROM events WHERE order_id = $1", known[0])
    assert {(e.version, e.recorded_at) for e in row.timeline} == {tuple(r) for r in recorded}


async def test_the_tracking_waits_for_its_topic_and_says_so(settings: Settings) -> None:
    missing = settings.model_copy(update={"kafka_topic": f"{settings.kafka_topic}.later"})
    states: list[PartState] = []

    class Told(Health):
        def set(self, part: str, state: PartState) -> None:
            states.append(state)

    async def said() -> bool:
        return "orderflow setup" in states[-1].detail

    async def ready() -> bool:
        return states[-1] == OK

    stopping = asyncio.Event()
    serving = asyncio.create_task(serve(missing, stopping, Told(), Shared(missing, ())))
    await asyncio.sleep(0)
    await until(said, seconds=10)
    await ensure_topic(missing)
    await until(ready, seconds=30)
    stopping.set()
    await asyncio.wait_for(serving, 10)


async def test_what_cannot_be_tracked_is_set_aside_and_redriven_by_the_services_own_role(
    settings: Settings, orders: Orders, orders_database: Database
) -> None:
    settings = settings.model_copy(update={"tracking_group": f"tracking-{uuid4().hex[:8]}"})
    broken, whole = uuid4(), uuid4()

    async def tracked_and_set_aside() -> bool:
        aside = await orders.fetchval("SELECT count(*) FROM dead_letters WHERE consumer_group = $1", group)
        shown = [await tracking.read(orders_database, order) for order in (broken, whole)]
        return aside == 1 and all(one and one.order == TrackedPart("APPROVED", 2, None) for one in shown)

    group = settings.tracking_group
    producer = make_producer(settings)
    await producer.start()
    for order in (broken, whole):
        for version in (1, 2):
            record = record_of(order, version)
            headers = [h for h in record.headers if (order, version) != (broken, 1) or h[0] != "ce_time"]
            await producer.send_and_wait(settings.kafka_topic, record.value, key=record.key, headers=headers)
    await producer.stop()
    stopping = asyncio.Event()
    serving = asyncio.create_task(serve(settings, stopping, Health(), Shared(settings, ())))
    await until(tracked_and_set_aside, seconds=30)
    stopping.set()
    await asyncio.wait_for(serving, 10)

    # What is wrong with the record is put right; a new release that can read it would do the same.
    await orders.execute(
        """UPDATE dead_letters SET header_names = header_names || 'ce_time'::text,
                  header_values = header_values || '2026-11-23T00:00:00Z'::bytea WHERE kind = 'undecodable'"""
    )
    pool = await orders_database.pool()
    result = await redrive(connect=pool.acquire, group=group, effect=track)
    assert (result.applied, result.failed) == (1, [])
    row = await tracking.read(orders_database, broken, timeline=True)
    assert row is not None
    assert row.order == TrackedPart("APPROVED", 2, None)
    assert {entry.version for entry in row.timeline} == {1, 2}
