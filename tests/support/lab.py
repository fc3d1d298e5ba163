"""A topic to fill, and effects to count: what the consumer kit is tried on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaProducer

from orderflow.settings import Settings
from orderflow.stream.clients import connection_options
from orderflow_events.consumer import IdempotentConsumer, each
from orderflow_events.envelope import Envelope
from orderflow_events.inbox import Connection
from support.records import a_record
from support.waiting import until


async def take_effect(connection: Connection, envelope: Envelope) -> None:
    """One row in ``effects``."""
    await connection.execute(
        "INSERT INTO effects (source, order_id, version) VALUES ($1, $2, $3)",
        *(envelope.source, envelope.order_id, envelope.version),
    )


#: The same, as what a consumer and ``python -m orderflow_events redrive --effect`` are given.
take_effects = each(take_effect)


class Lab:
    """A topic, and a table with one row each time that an event took effect."""

    def __init__(self, settings: Settings, dsn: str, pool: "asyncpg.Pool[Any]", producer: AIOKafkaProducer) -> None:
        self.settings = settings
        self.dsn = dsn
        self.pool = pool
        self.producer = producer

    async def send(self, order: UUID, *versions: int, source: str = "/orderflow/orders") -> None:
        """Put ``versions`` of ``order`` into the topic, in that order."""
        for version in versions:
            record = a_record(order, version, source=source)
            await self.producer.send_and_wait(
                self.settings.kafka_topic, record.value, key=record.key, headers=list(record.headers)
            )

    async def effects(self, order: UUID) -> list[int]:
        """The versions of ``order`` that took effect, in the order in which they did."""
        rows = await self.pool.fetch("SELECT version FROM effects WHERE order_id = $1 ORDER BY n", order)
        return [row["version"] for row in rows]

    def consumer(
        self, kind: type[IdempotentConsumer] = IdempotentConsumer, *, member: str | None = None, **options: Any
    ) -> IdempotentConsumer:
        """A member of this topic's group; a static one if it has a name."""
        defaults: dict[str, Any] = {
            "kafka": connection_options(self.settings)
            | {"session_timeout_ms": 6000, "heartbeat_interval_ms": 300, "group_instance_id": member},
            "topic": self.settings.kafka_topic,
            "group": self.settings.tracking_group,
            "connect": self.pool.acquire,
            "effect": take_effects,
        }
        return kind(**(defaults | options))


def mortal() -> tuple[type[IdempotentConsumer], asyncio.Event]:
    """A consumer that stands still where it would commit its offsets, and the event that it has come there."""
    died = asyncio.Event()

    class DiesBeforeTheCommit(IdempotentConsumer):
        async def _commit(self, *_: Any) -> None:
            died.set()
            await asyncio.Event().wait()

    return DiesBeforeTheCommit, died


@contextlib.asynccontextmanager
async def running(consumer: IdempotentConsumer) -> AsyncIterator[asyncio.Task[None]]:
    """Run it as a task; stopped cleanly at the end, unless the test has cancelled it."""
    stopping = asyncio.Event()
    task = asyncio.create_task(consumer.run(stopping))
    try:
        yield task
    finally:
        stopping.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 15)


async def applied(lab: Lab, order: UUID, versions: Sequence[int], seconds: float = 30) -> None:
    """Wait until exactly ``versions`` of ``order`` took effect, in that order."""

    async def there() -> bool:
        return len(await lab.effects(order)) >= len(versions)

    await until(there, seconds=seconds)
    assert await lab.effects(order) == list(versions)
