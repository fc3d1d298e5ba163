"""The inventory worker: reserve, commit, release."""

import asyncio

from temporalio.client import Client
from temporalio.worker import Worker

from activities.inventory import InventoryActivities
from orderflow.databases import open_database
from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.store.reservations import Reservations
from orderflow.telemetry.health import Health
from orderflow.temporal.names import INVENTORY_QUEUE
from orderflow.temporal.worker import make_worker, serve_queue, steps_of
from workflows.steps import InventorySteps


def make(client: Client, settings: Settings, database: Database) -> Worker:
    """The worker of the task queue ``inventory``."""
    steps = InventoryActivities(Reservations(database))
    return make_worker(client, settings, INVENTORY_QUEUE, steps_of(InventorySteps, steps))


async def serve(settings: Settings, stopping: asyncio.Event, health: Health) -> None:
    """Work until ``stopping`` is set."""
    async with open_database(settings, "inventory") as database:
        await serve_queue(settings, stopping, health, "inventory", lambda client: make(client, settings, database))
