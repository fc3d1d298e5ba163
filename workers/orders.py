"""The orders worker: OrderWorkflow and its transitions, the dispatcher of handovers, and the sweep of old drafts."""

import asyncio
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import Worker

from activities.near import NearInventory, NearPayments
from activities.orders import OrderActivities
from orderflow.postgres.databases import open_database
from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.store.handovers import Handovers
from orderflow.store.orders import Orders
from orderflow.store.sweep import sweep_drafts
from orderflow.telemetry.health import Health
from orderflow.telemetry.meters import sampled
from orderflow.temporal.client import connect
from orderflow.temporal.dispatcher import Dispatcher, HandoverGauges
from orderflow.temporal.names import INVENTORY_QUEUE, ORDERS_QUEUE, PAYMENTS_QUEUE
from orderflow.temporal.runs import OrderRuns
from orderflow.temporal.worker import make_worker, serve_queue, steps_of
from workers.shared import Shared
from workflows.order_workflow import OrderWorkflow
from workflows.steps import InventorySteps, OrderSteps, PaymentSteps

#: A message to Temporal is given up after this, and sent again later.
TELL_SECONDS = 5.0


def make(
    client: Client,
    settings: Settings,
    database: Database,
    payments: PaymentSteps | None = None,
    inventory: InventorySteps | None = None,
) -> Worker:
    """The worker of the orders' task queue. ``payments``, ``inventory``: those of this process, to be taken near."""
    here = {PAYMENTS_QUEUE: payments, INVENTORY_QUEUE: inventory}
    near = [service for service, steps in here.items() if steps is not None] if settings.steps == "near" else []
    activities = [
        *steps_of(OrderSteps, OrderActivities(Orders(database), near)),
        *steps_of(PaymentSteps, NearPayments(payments)),
        *steps_of(InventorySteps, NearInventory(inventory)),
    ]
    return make_worker(client, settings, ORDERS_QUEUE, activities, [OrderWorkflow])


async def serve(settings: Settings, stopping: asyncio.Event, health: Health, shared: Shared) -> None:
    """Work until ``stopping`` is set."""
    payments = await shared.payments() if "payments" in shared.roles else None
    inventory = await shared.inventory() if "inventory" in shared.roles else None
    async with open_database(settings, "orders", "worker") as database:
        within = timedelta(seconds=TELL_SECONDS)
        handovers = Handovers(database)
        runs = OrderRuns(lambda: connect(settings, answer_within=within), within)
        gauges = HandoverGauges(handovers.depth)
        with sampled("handovers", gauges):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(Dispatcher(handovers, runs).run(stopping))
                tasks.create_task(
                    sweep_drafts(Orders(database), timedelta(seconds=settings.draft_ttl_seconds), stopping)
                )
                await serve_queue(
                    settings,
                    stopping,
                    health,
                    "orders",
                    lambda client: make(client, settings, database, payments, inventory),
                )
