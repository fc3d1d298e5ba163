"""Reconciliation as a step of ``ReconcileWorkflow``."""

from typing import Final

from temporalio import activity

from operations.reconciliation.findings import Reconcile, Report
from operations.reconciliation.reconciler import Reconciler

#: What fits well into a workflow's result.
MOST_FINDINGS: Final = 500


class ReconciliationActivities:
    """Reconciliation as a step of ``ReconcileWorkflow``."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler

    @activity.defn
    async def reconcile(self, request: Reconcile) -> Report:
        """One reconciliation; of very many findings the first are told, and all are counted."""
        report = await self._reconciler.run(request)
        return report.model_copy(update={"findings": report.findings[:MOST_FINDINGS]})
