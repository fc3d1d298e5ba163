"""The reconciliation worker: serves ``ReconcileWorkflow``, and keeps the Temporal Schedule that runs it.

A role of its own, because it reads all three databases and the gateway's ledger, which no service may.
"""

import asyncio
from contextlib import suppress

from temporalio.client import Client
from temporalio.worker import Worker

from operations.reconciliation.activities import ReconciliationActivities
from operations.reconciliation.schedule import keep_schedule
from operations.reconciliation.stores import Stores, open_stores
from operations.reconciliation.workflow import RECONCILIATION_QUEUE, ReconcileWorkflow
from orderflow.settings import Settings
from orderflow.telemetry.health import Health
from orderflow.temporal.worker import make_worker, serve_queue
from workers.shared import Shared


def make(client: Client, settings: Settings, stores: Stores) -> Worker:
    """The worker of the task queue ``reconciliation``."""
    steps = ReconciliationActivities(stores.reconciler(settings, client))
    return make_worker(client, settings, RECONCILIATION_QUEUE, [steps.reconcile], [ReconcileWorkflow])


async def serve(settings: Settings, stopping: asyncio.Event, health: Health, _: Shared) -> None:
    """Work until ``stopping`` is set."""
    async with open_stores(settings) as stores:
        schedule = asyncio.create_task(keep_schedule(settings, stopping))
        try:
            await serve_queue(
                settings, stopping, health, "reconciliation", lambda client: make(client, settings, stores)
            )
        finally:
            schedule.cancel()
            with suppress(asyncio.CancelledError):
                await schedule
