"""The outboxes of several services at once: how each stands, and an order of any of them published again."""

import asyncio
from collections.abc import Mapping
from uuid import UUID

from orderflow.domain.errors import Unavailable
from orderflow.settings import Service
from orderflow.store import outbox, outbox_status
from orderflow.store.database import Database
from orderflow.store.outbox_status import Status


async def statuses(databases: Mapping[Service, Database]) -> dict[Service, Status | Unavailable]:
    """How each outbox stands, asked at the same time; the error where its database does not answer."""

    async def one(database: Database) -> Status | Unavailable:
        try:
            return await outbox_status.status(database)
        except Unavailable as error:
            return error

    found = await asyncio.gather(*(one(database) for database in databases.values()))
    return dict(zip(databases, found, strict=True))


async def unpark(databases: Mapping[Service, Database], order_id: UUID) -> list[Service]:
    """Publish an order again that Kafka had refused, from where it stopped; where it was parked. Raises Unavailable."""
    return [service for service, database in databases.items() if await outbox.unpark(database, order_id)]


async def unpark_all(databases: Mapping[Service, Database], cause: str | None) -> dict[Service, list[UUID]]:
    """The same for all parked orders, or those whose error contains ``cause``. Raises Unavailable."""
    return {service: await outbox.unpark_all(database, cause) for service, database in databases.items()}
