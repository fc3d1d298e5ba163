"""Relays that run inside a test, on a topic of their own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import asyncpg

from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.stream.clients import make_producer
from orderflow.stream.publisher import Publisher
from orderflow.stream.relay import Relay
from orderflow.stream.topic import check_topic
from orderflow.telemetry.readiness import OK, PartState
from support.stack import Databases
from workers.relay import make_comparison


def settings_for(databases: Databases, bootstrap_servers: str, **more: Any) -> Settings:
    """Settings for one test's databases, with a topic of its own."""
    given: dict[str, Any] = {
        "_env_file": None,
        **databases.settings,
        "kafka_bootstrap_servers": bootstrap_servers,
        "kafka_topic": f"order.events.{uuid4().hex[:8]}",
        "relay_pacing_seconds": 0.01,
        "relay_lease_seconds": 1.5,
    }
    return Settings(**(given | more))


@dataclass
class RunningRelay:
    """A relay of the orders database, running as a task."""

    relay: Relay
    database: Database
    publisher: Publisher
    stopping: asyncio.Event
    states: list[PartState] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Its last word on its readiness."""
        return self.states[-1:] == [OK]


@asynccontextmanager
async def running_relay(settings: Settings, **publisher_options: Any) -> AsyncIterator[RunningRelay]:
    """Run a relay; ``publisher_options`` replace what the publisher gets from the settings."""
    database = Database("relay-orders", settings.database_url("orders", "relay"), pool_size=3)
    options: dict[str, Any] = {
        "make_producer": lambda: make_producer(settings),
        "check_topic": lambda: check_topic(settings),
        "check_acknowledged": make_comparison("orders", database, settings).check,
        "partitions": settings.kafka_partitions,
    }
    publisher = Publisher("/orderflow/orders", settings.kafka_topic, **(options | publisher_options))
    states: list[PartState] = []
    relay = Relay(
        "orders",
        database,
        publisher,
        lease_seconds=settings.relay_lease_seconds,
        pacing_seconds=settings.relay_pacing_seconds,
        batch_size=settings.relay_batch_size,
        report=states.append,
    )
    stopping = asyncio.Event()
    task = asyncio.create_task(relay.run(stopping))
    try:
        yield RunningRelay(relay, database, publisher, stopping, states)
    finally:
        stopping.set()
        await asyncio.wait_for(task, 20)
        await database.close()


@asynccontextmanager
async def many_connections(dsn: str, count: int) -> AsyncIterator["asyncpg.Pool[Any]"]:
    """A pool for writers."""
    async with asyncpg.create_pool(dsn, min_size=count, max_size=count) as pool:
        yield pool
