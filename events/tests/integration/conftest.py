"""A topic of its own, and the inbox in a fresh database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from orderflow.settings import Settings
from orderflow.stack.apache import ApacheBroker
from orderflow.stack.errors import StackError
from orderflow.stack.ports import free_port
from orderflow.stack.supervisor import Supervisor
from orderflow.stream.clients import make_producer
from orderflow.stream.topic import ensure_topic
from support.lab import Lab
from support.stack import Databases


@asynccontextmanager
async def lab_on(broker: str, databases: Databases) -> AsyncIterator[Lab]:
    """A topic of its own on ``broker``, and the inbox in a fresh database."""
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
    dsn = databases.as_admin("orders")
    async with asyncpg.create_pool(dsn, min_size=1) as pool:
        await pool.execute(
            "CREATE TABLE effects (n bigserial, source text, order_id uuid, version int, at timestamptz DEFAULT now())"
        )
        yield Lab(settings, dsn, pool, producer)
        await producer.stop()


@pytest_asyncio.fixture
async def lab(databases: Databases, broker: str) -> AsyncIterator[Lab]:
    """On the session's broker."""
    async with lab_on(broker, databases) as lab:
        yield lab


@pytest_asyncio.fixture
async def apache_lab(databases: Databases, tmp_path: Path) -> AsyncIterator[Lab]:
    """On Apache Kafka, for what the small broker gets wrong; skipped where Java or Maven are missing."""
    broker = ApacheBroker(tmp_path, free_port(), free_port())
    try:
        await broker.initialise()
    except StackError as error:
        pytest.skip(str(error))
    supervisor = Supervisor(tmp_path / "logs")
    try:
        await supervisor.start(broker.spec())
        async with lab_on(broker.bootstrap_servers, databases) as lab:
            yield lab
    finally:
        await supervisor.stop()
