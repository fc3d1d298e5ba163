"""The reconciliation worker: serves ``ReconcileWorkflow``, and keeps the Temporal Schedule that runs it.

A role of its own, because it reads all three databases and the gateway's ledger, which no service may.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Final

import structlog
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from activities.inventory import InventoryActivities
from activities.order_runs import OrderRuns
from activities.payments import PaymentActivities
from activities.reconciliation import Reconciler, ReconciliationActivities
from activities.repairs import Repairs
from orderflow.domain.findings import Reconcile
from orderflow.gateways.http import HttpPaymentGateway, gateway_client
from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.store.payments import Payments
from orderflow.store.reservations import Reservations
from orderflow.temporal import connect
from orderflow_events.pauses import Backoff, pause
from workers.databases import open_databases
from workers.health import Health
from workers.temporal import make_worker, serve_queue
from workflows.reconcile_workflow import RECONCILIATION_QUEUE, ReconcileWorkflow

SCHEDULE: Final = "orderflow-reconcile"
#: It compares whole tables, seldom: few connections, and time.
_CONNECTIONS: Final = 2
_COMMAND_SECONDS: Final = 60.0

log = structlog.get_logger(__name__)


class Stores:
    """The three databases and the gateway, as reconciliation uses them."""

    def __init__(self, orders: Database, payments: Database, inventory: Database, gateway: HttpPaymentGateway) -> None:
        self.orders, self.payments, self.inventory, self.gateway = orders, payments, inventory, gateway

    def reconciler(self, settings: Settings, client: Client) -> Reconciler:
        """A reconciler that uses them and ``client``."""
        runs = OrderRuns(client)
        repairs = Repairs(
            self.orders,
            self.payments,
            PaymentActivities(Payments(self.payments), self.gateway),
            InventoryActivities(Reservations(self.inventory)),
            self.gateway,
            runs,
            timedelta(seconds=settings.draft_ttl_seconds),
        )
        return Reconciler(settings, self.orders, self.payments, self.inventory, self.gateway, runs, repairs)


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """Everything that reconciliation reads, but for Temporal."""

    async with (
        open_databases(settings, pool_size=_CONNECTIONS, command_timeout=_COMMAND_SECONDS) as databases,
        gateway_client(settings.gateway_url, _COMMAND_SECONDS, connections=_CONNECTIONS) as http,
    ):
        yield Stores(databases["orders"], databases["payments"], databases["inventory"], HttpPaymentGateway(http))


def make(client: Client, settings: Settings, stores: Stores) -> Worker:
    """The worker of the task queue ``reconciliation``."""
    steps = ReconciliationActivities(stores.reconciler(settings, client))
    return make_worker(client, settings, RECONCILIATION_QUEUE, [steps.reconcile], [ReconcileWorkflow])


async def serve(settings: Settings, stopping: asyncio.Event, health: Health) -> None:
    """Work until ``stopping`` is set."""
    async with open_stores(settings) as stores:
        schedule = asyncio.create_task(_keep_schedule(settings, stopping))
        try:
            await serve_queue(
                settings, stopping, health, "reconciliation", lambda client: make(client, settings, stores)
            )
        finally:
            schedule.cancel()
            with suppress(asyncio.CancelledError):
                await schedule


async def ensure_schedule(client: Client, settings: Settings) -> None:
    """Make the Schedule as the settings say, change it, or remove it (interval 0). Raises RPCError."""
    handle = client.get_schedule_handle(SCHEDULE)
    if settings.reconcile_interval_seconds == 0:
        try:
            await handle.delete()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        return
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            ReconcileWorkflow.run,
            Reconcile(repair=settings.reconcile_repair),
            id=SCHEDULE,
            task_queue=RECONCILIATION_QUEUE,
            execution_timeout=timedelta(hours=1),
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(seconds=settings.reconcile_interval_seconds))]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(minutes=1)),
    )

    def same_but_new(found: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule.state = found.description.schedule.state  # whoever paused it, it stays so
        return ScheduleUpdate(schedule)

    try:
        await client.create_schedule(SCHEDULE, schedule)
    except ScheduleAlreadyRunningError:
        await handle.update(same_but_new)


async def _keep_schedule(settings: Settings, stopping: asyncio.Event) -> None:
    """Until it is as the settings say; Temporal may be away."""
    backoff = Backoff()
    while not stopping.is_set():
        try:
            await ensure_schedule(await connect(settings), settings)
        except (RPCError, RuntimeError) as error:
            log.warning("schedule_not_kept", schedule=SCHEDULE, error=str(error))
            await pause(backoff.next(), stopping)
        else:
            log.info("schedule_kept", schedule=SCHEDULE, interval_seconds=settings.reconcile_interval_seconds)
            return
