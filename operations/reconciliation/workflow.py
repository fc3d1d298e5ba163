"""Reconciliation by the clock: a Temporal Schedule starts this workflow, and its result is kept in its history."""

from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy

from operations.reconciliation.findings import Reconcile, Report

#: A worker that was killed is silent for so long before another one begins again: nothing is repaired meanwhile.
HEARTBEAT_TIMEOUT: Final = timedelta(seconds=15)
#: A task queue of its own: its worker reads all three databases, which no service does.
RECONCILIATION_QUEUE: Final = "reconciliation"


@workflow.defn
class ReconcileWorkflow:
    """One reconciliation."""

    @workflow.run
    async def run(self, request: Reconcile) -> Report:
        """Compare everything, repair if asked to. While a service is away it waits, and no second one starts."""
        report: Report = await workflow.execute_activity(
            "reconcile",
            request,
            result_type=Report,
            start_to_close_timeout=timedelta(minutes=10),
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=5), maximum_interval=timedelta(seconds=30)),
            summary="repair" if request.repair else "report",
        )
        return report
