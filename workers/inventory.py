"""The inventory worker: reserve, commit, release."""

import asyncio
from collections.abc import Callable
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker

from activities.inventory import InventoryActivities
from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.store.reservations import Reservations
from workers.databases import open_database
from workers.health import Health
from workers.temporal import make_worker, serve_queue
from workflows.steps import INVENTORY_QUEUE


def make(client: Client, settings: Settings, database: Database) -> Worker:
    """The worker of the task queue ``inventory``."""
    steps = InventoryActivities(Reservations(database))
    activities: list[Callable[..., Any]] = [steps.reserve_inventory, steps.commit_inventory, steps.release_inventory]
    return make_worker(client, settings, INVENTORY_QUEUE, activities)


async def serve(settings: Settings, stopping: asyncio.Event, health: Health) -> None:
    """Work until ``stopping`` is set."""
    async with open_database(settings, "inventory") as database:
        await serve_queue(settings, stopping, health, "inventory", lambda client: make(client, settings, database))
