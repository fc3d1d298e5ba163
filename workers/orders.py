"""The orders worker: OrderWorkflow, and the transitions of the order's own row."""

import asyncio
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import Worker

from activities.orders import OrderActivities
from orderflow.databases import open_database
from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.store.orders import Orders
from orderflow.telemetry.health import Health
from orderflow.temporal.names import ORDERS_QUEUE
from orderflow.temporal.worker import make_worker, serve_queue, steps_of
from workflows.order_workflow import OrderWorkflow
from workflows.steps import OrderSteps


def make(client: Client, settings: Settings, database: Database) -> Worker:
    """The worker of the task queue ``orders``."""
    steps = OrderActivities(Orders(database), timedelta(seconds=settings.draft_ttl_seconds))
    return make_worker(client, settings, ORDERS_QUEUE, steps_of(OrderSteps, steps), [OrderWorkflow])


async def serve(settings: Settings, stopping: asyncio.Event, health: Health) -> None:
    """Work until ``stopping`` is set."""
    async with open_database(settings, "orders") as database:
        await serve_queue(settings, stopping, health, "orders", lambda client: make(client, settings, database))
