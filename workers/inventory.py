"""The inventory worker: reserve, commit, release."""

import asyncio

from temporalio.client import Client
from temporalio.worker import Worker

from orderflow.settings import Settings
from orderflow.telemetry.health import Health
from orderflow.temporal.names import INVENTORY_QUEUE
from orderflow.temporal.worker import make_worker, serve_queue, steps_of
from workers.shared import Shared
from workflows.steps import InventorySteps


def make(client: Client, settings: Settings, steps: InventorySteps) -> Worker:
    """The worker of the task queue ``inventory``."""
    return make_worker(client, settings, INVENTORY_QUEUE, steps_of(InventorySteps, steps))


async def serve(settings: Settings, stopping: asyncio.Event, health: Health, shared: Shared) -> None:
    """Work until ``stopping`` is set."""
    steps = await shared.inventory()
    await serve_queue(settings, stopping, health, "inventory", lambda client: make(client, settings, steps))
