"""A topic of its own, and the inbox in a fresh database."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest_asyncio

from orderflow.kafka import ensure_topic, make_producer
from orderflow.settings import Settings
from support.lab import Lab
from support.stack import Databases


@pytest_asyncio.fixture
async def lab(databases: Databases, broker: str) -> AsyncIterator[Lab]:
    """A topic of its own in the session's broker, and the inbox in a fresh database."""
    name = uuid4().hex[:8]
    settings = Settings(
        _env_file=None,
        kafka_bootstrap_servers=broker,
        kafka_topic=f"order.events.{name}",
        kafka_partitions=4,
        tracking_group=f"group-{name}",
    )
    await ensure_topic(settings)
    producer = make_producer(settings)
    await producer.start()
    async with asyncpg.create_pool(databases.as_admin("orders"), min_size=1) as pool:
        await pool.execute(
            "CREATE TABLE effects (n bigserial, source text, order_id uuid, version int, at timestamptz DEFAULT now())"
        )
        yield Lab(settings, pool, producer)
        await producer.stop()
