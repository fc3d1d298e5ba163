"""The workflow that the schedule starts."""

from datetime import UTC, datetime

from temporalio import activity
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from operations.reconciliation.findings import Reconcile, Report
from operations.reconciliation.workflow import RECONCILIATION_QUEUE, ReconcileWorkflow
from orderflow.domain.errors import Unavailable


async def test_a_reconciliation_waits_for_what_is_away(time_skipping: WorkflowEnvironment) -> None:
    attempts = 0

    @activity.defn(name="reconcile")
    async def reconcile(_: Reconcile) -> Report:
        nonlocal attempts
        attempts += 1
        if attempts < 9:  # some minutes
            raise Unavailable("payments database", "it is away")
        return Report(
            looked_at=datetime.now(UTC), older_than_seconds=60, repair=False, live_orders=7, counts={}, findings=()
        )

    async with Worker(
        time_skipping.client,
        task_queue=RECONCILIATION_QUEUE,
        workflows=[ReconcileWorkflow],
        activities=[reconcile],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        report = await time_skipping.client.execute_workflow(
            ReconcileWorkflow.run, Reconcile(), id="reconcile-once", task_queue=RECONCILIATION_QUEUE
        )
    assert attempts == 9
    assert report.live_orders == 7
