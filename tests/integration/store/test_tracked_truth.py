"""What was tracked and never happened is found, whatever an earlier look left behind."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg

from orderflow.store import tracking
from orderflow.store.coverage import UNSEEN
from orderflow.store.database import Database
from orderflow.store.tracked_truth import false_events
from orderflow.store.tracking import ORDERS, Tracked
from support.stack import Databases

DAY = timedelta(days=1)


async def test_a_mark_of_a_clock_that_was_set_back_hides_nothing(databases: Databases, orders_db: Database) -> None:
    admin = await asyncpg.connect(databases.as_admin("orders"))
    try:
        await admin.execute("INSERT INTO tracked_truth VALUES (true, clock_timestamp() + interval '2 hours')")
        before = await admin.fetchval("SELECT clock_timestamp()")
        assert await false_events(orders_db, {ORDERS: orders_db}, DAY) == []
        mark = await admin.fetchval("SELECT checked_until FROM tracked_truth")
        assert before - UNSEEN <= mark <= datetime.now(UTC)
        await admin.execute("UPDATE tracked_truth SET checked_until = clock_timestamp() + interval '2 hours'")
        forged = Tracked(uuid4(), ORDERS, 1, "ORDER_CREATED", "DRAFT", None, datetime.now(UTC))
        async with orders_db.transaction() as connection:
            await tracking.track(connection, [forged])
        [found] = await false_events(orders_db, {ORDERS: orders_db}, DAY)
        assert (found.order_id, found.said) == (forged.order_id, {1: "DRAFT"})
    finally:
        await admin.close()
