"""A whole consumer: every captured payment becomes one bill, whatever is killed when. Run: python billing.py"""

import asyncio
import os
import signal

import asyncpg

from orderflow_events.consumer import Connection, IdempotentConsumer, each
from orderflow_events.envelope import Envelope
from orderflow_events.inbox import TABLES_SQL
from orderflow_events.models import PaymentCaptured


async def bill(connection: Connection, envelope: Envelope) -> None:
    if isinstance(envelope.event, PaymentCaptured):
        sql = "INSERT INTO bills (order_id, amount, currency) VALUES ($1, $2, $3)"
        await connection.execute(sql, envelope.order_id, envelope.event.amount, envelope.event.currency)


effect = each(bill)


async def main() -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    kafka = {"bootstrap_servers": os.environ.get("KAFKA", "localhost:9092"), "group_instance_id": "billing-1"}
    async with asyncpg.create_pool(os.environ["DATABASE_URL"]) as pool:
        await pool.execute(
            TABLES_SQL + "CREATE TABLE IF NOT EXISTS bills (order_id uuid, amount bigint, currency text)"
        )
        topic = os.environ.get("TOPIC", "order.events")
        await IdempotentConsumer(
            kafka=kafka, topic=topic, group="billing", connect=pool.acquire, effect=effect, on_state=print
        ).run(stopping)


if __name__ == "__main__":
    asyncio.run(main())
