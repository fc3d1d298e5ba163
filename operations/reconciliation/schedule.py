"""The Temporal Schedule that starts ``ReconcileWorkflow``, kept as the settings say."""

import asyncio
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

from operations.reconciliation.findings import Reconcile
from operations.reconciliation.workflow import RECONCILIATION_QUEUE, ReconcileWorkflow
from orderflow.domain.errors import Unavailable
from orderflow.pauses import Backoff, pause
from orderflow.settings import Settings
from orderflow.temporal.client import connect

SCHEDULE: Final = "orderflow-reconcile"

log = structlog.get_logger(__name__)


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
            Reconcile(repair=settings.reconcile_repair, heal_tracking=True),
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


async def keep_schedule(settings: Settings, stopping: asyncio.Event) -> None:
    """Until it is as the settings say; Temporal may be away."""
    backoff = Backoff()
    while not stopping.is_set():
        try:
            await ensure_schedule(await connect(settings), settings)
        except (RPCError, Unavailable) as error:
            log.warning("schedule_not_kept", schedule=SCHEDULE, error=str(error))
            await pause(backoff.next(), stopping)
        else:
            log.info("schedule_kept", schedule=SCHEDULE, interval_seconds=settings.reconcile_interval_seconds)
            return
