"""Another team's consumer: ``python -m chaos.consumer``. Built with the consumer kit, in a database of its own.

Its effect is one row an event in a table that would take doubles, so that doubles would show.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from orderflow_events.consumer import Connection, IdempotentConsumer, each
from orderflow_events.envelope import Envelope
from orderflow_events.inbox import TABLES_SQL

GROUP = "chaos-consumer"
TABLES = f"""
{TABLES_SQL}
CREATE TABLE effects (
    n bigint GENERATED ALWAYS AS IDENTITY,
    source text NOT NULL,
    order_id uuid NOT NULL,
    version int NOT NULL,
    type text NOT NULL
);
"""


async def run(dsn: str, bootstrap_servers: str, topic: str) -> None:
    """Consume until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)

    @asynccontextmanager
    async def connect() -> AsyncIterator[Connection]:
        connection = await asyncpg.connect(dsn, timeout=5, command_timeout=5)
        try:
            yield connection
        finally:
            connection.terminate()

    async def effect(connection: Connection, envelope: Envelope) -> None:
        await connection.execute(
            "INSERT INTO effects (source, order_id, version, type) VALUES ($1, $2, $3, $4)",
            *(envelope.source, envelope.order_id, envelope.version, envelope.type),
        )

    await IdempotentConsumer(
        # A static member: the small broker waits for ever for a killed one without a name.
        kafka={"bootstrap_servers": bootstrap_servers, "group_instance_id": GROUP},
        topic=topic,
        group=GROUP,
        connect=connect,
        effect=each(effect),
        pacing_seconds=0.2,
    ).run(stopping)


if __name__ == "__main__":
    asyncio.run(run(os.environ["CHAOS_DATABASE_URL"], os.environ["ORDERFLOW_KAFKA_BOOTSTRAP_SERVERS"], "order.events"))
