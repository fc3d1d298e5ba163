"""The workflow that the schedule starts, and its step."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from temporalio import activity
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from operations.reconciliation.activities import ReconciliationActivities
from operations.reconciliation.findings import Reconcile, Report
from operations.reconciliation.reconciler import Reconciler
from operations.reconciliation.workflow import HEARTBEAT_TIMEOUT, RECONCILIATION_QUEUE, ReconcileWorkflow
from orderflow.domain.errors import Unavailable


async def test_a_reconciliation_waits_for_what_is_away(time_skipping: WorkflowEnvironment) -> None:
    attempts = 0

    @activity.defn(name="reconcile")
    async def reconcile(_: Reconcile) -> Report:
        nonlocal attempts
        attempts += 1
        if attempts < 9:  # some minutes
            raise Unavailable("payments database", "it is away")
        return _report()

    async with _worker(time_skipping, reconcile):
        report = await time_skipping.client.execute_workflow(
            ReconcileWorkflow.run, Reconcile(), id="reconcile-once", task_queue=RECONCILIATION_QUEUE
        )
    assert attempts == 9
    assert report.live_orders == 7


async def test_a_killed_worker_does_not_stop_reconciliation(
    time_skipping: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is under way no other begins: one that fell silent is over soon, and is begun again."""
    monkeypatch.setattr("operations.reconciliation.workflow.HEARTBEAT_TIMEOUT", timedelta(seconds=1))
    attempts: list[int] = []

    @activity.defn(name="reconcile")
    async def reconcile(_: Reconcile) -> Report:
        info = activity.info()
        attempts.append(info.attempt)
        if info.attempt == 1:  # as a killed worker's: nothing is heard of it again
            await asyncio.Event().wait()
        return _report()

    async with asyncio.timeout(60), _worker(time_skipping, reconcile):
        await time_skipping.client.execute_workflow(
            ReconcileWorkflow.run, Reconcile(), id="reconcile-killed", task_queue=RECONCILIATION_QUEUE
        )
    assert len(attempts) == 2


async def test_a_long_reconciliation_says_that_it_lives() -> None:
    beats = asyncio.Queue[None]()
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *_: beats.put_nowait(None)

    class Slow:
        async def run(self, _: Reconcile) -> Report:
            for _beat in range(2):
                await beats.get()
            return _report()

    steps = ReconciliationActivities(cast(Reconciler, Slow()))
    running = environment.run(steps.reconcile, Reconcile())
    assert (await asyncio.wait_for(running, HEARTBEAT_TIMEOUT.total_seconds())).live_orders == 7


def _report() -> Report:
    return Report(
        looked_at=datetime.now(UTC), older_than_seconds=60, repair=False, live_orders=7, counts={}, findings=()
    )


def _worker(environment: WorkflowEnvironment, step: Callable[[Reconcile], Awaitable[Report]]) -> Worker:
    return Worker(
        environment.client,
        task_queue=RECONCILIATION_QUEUE,
        workflows=[ReconcileWorkflow],
        activities=[step],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
