"""Thousands of malformed and forged records on the topic: the tracking stays ready, and shows nothing but the truth.

``FLOOD_RECORDS`` says how many (300): what 10,000 cost is in docs/kafka.md.
"""

import asyncio
import os
import sys
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from orderflow.postgres.databases import OPERATORS, open_databases
from orderflow.settings import Settings
from orderflow.store import tracking
from orderflow.store.database import Database
from orderflow.store.tracked_truth import false_events, heal
from orderflow.store.tracking import ORDERS, PAYMENTS, TrackedPart
from orderflow.stream.clients import make_producer
from orderflow.telemetry.health import Health
from orderflow.telemetry.readiness import OK, PartState
from support import forgeries
from support.relays import running_relay
from support.stack import Databases
from support.stream import CREATED, insert_event
from support.waiting import until
from workers.shared import Shared
from workers.tracking import serve

USUAL = 300
FLOOD = int(os.environ.get("FLOOD_RECORDS", USUAL))
#: A genuine event is shown within so many seconds, whatever stands before it.
PROMPT = 2.0


async def test_the_tracking_stays_ready_and_true_in_a_flood(
    settings: Settings,
    databases: Databases,
    orders: "asyncpg.Connection[Any]",
    orders_database: Database,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = settings.model_copy(update={"tracking_group": f"tracking-{uuid4().hex[:8]}"})
    states: list[PartState] = []

    class Told(Health):
        def set(self, part: str, state: PartState) -> None:
            if states[-1:] != [state]:
                states.append(state)

    async def ready() -> bool:
        return states[-1:] == [OK]

    innocent, paid_by_nobody = [uuid4() for _ in range(20)], uuid4()
    stopping = asyncio.Event()
    serving = asyncio.create_task(serve(settings, stopping, Told(), Shared(settings, ())))
    async with running_relay(settings):
        await until(ready, seconds=30)
        producer = make_producer(settings)
        await producer.start()
        flood = [*forgeries.flood(innocent, FLOOD), forgeries.payment(paid_by_nobody, 2)]
        deliveries = [
            await producer.send(settings.kafka_topic, record.value, key=record.key, headers=list(record.headers))
            for record in flood
        ]
        await asyncio.gather(*deliveries)
        await producer.stop()
        began = time.monotonic()
        for order in (*innocent, paid_by_nobody):
            await insert_event(orders, order, 1, type="ORDER_CREATED", status="DRAFT", data=CREATED)

        async def all_tracked() -> bool:
            tracked = await orders.fetchval("SELECT count(order_status) FROM tracked_orders")
            return bool(tracked == len(innocent) + 1)

        await until(all_tracked, seconds=60 if FLOOD > USUAL else 10, every=0.05)
        took = time.monotonic() - began

        async def all_aside() -> bool:
            query = "SELECT count(*) FROM dead_letters WHERE consumer_group = $1 AND kind = 'undecodable'"
            return bool(await orders.fetchval(query, settings.tracking_group) == FLOOD)

        await until(all_aside, seconds=30)
    assert states[states.index(OK) :] == [OK], "it was ready all the time"
    stopping.set()
    await asyncio.wait_for(serving, 15)
    for order in innocent:
        shown = await tracking.read(orders_database, order, timeline=True)
        assert shown is not None
        assert (shown.order, shown.payment, shown.inventory) == (TrackedPart("DRAFT", 1, None), None, None)
        assert [entry.type for entry in shown.timeline] == ["ORDER_CREATED"]
    # What lies within the LIFECYCLE is shown, and goes with the next reconciliation.
    shown = await tracking.read(orders_database, paid_by_nobody)
    assert shown is not None
    assert shown.payment == TrackedPart("CAPTURED", 2, None)
    # As the role that reconciles.
    async with open_databases(settings, OPERATORS, pool_size=1, command_timeout=10.0) as found:
        sources = {ORDERS: found["orders"], PAYMENTS: found["payments"]}
        [false] = await false_events(found["orders"], sources, timedelta(hours=1))
        assert (false.order_id, false.said) == (paid_by_nobody, {2: "CAPTURED"})
        versions = [*false.said]
        await heal(found["orders"], found["payments"], settings.tracking_group, false.order_id, PAYMENTS, versions)
        assert await false_events(found["orders"], sources, timedelta(hours=1)) == []
    shown = await tracking.read(orders_database, paid_by_nobody)
    assert shown is not None
    assert (shown.order, shown.payment) == (TrackedPart("DRAFT", 1, None), None)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{FLOOD} records that are no events: the genuine ones behind them were tracked after {took:.2f} s\n"
        )
    assert took < PROMPT or FLOOD > USUAL, "of more the figure is for people: it hangs on the machine"
