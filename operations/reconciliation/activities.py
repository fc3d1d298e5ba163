"""Reconciliation as a step of ``ReconcileWorkflow``."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from temporalio import activity

from operations.reconciliation.findings import Reconcile, Report
from operations.reconciliation.reconciler import Reconciler
from operations.reconciliation.workflow import HEARTBEAT_TIMEOUT

#: What fits well into a workflow's result.
MOST_FINDINGS: Final = 500


class ReconciliationActivities:
    """Reconciliation as a step of ``ReconcileWorkflow``."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler

    @activity.defn
    async def reconcile(self, request: Reconcile) -> Report:
        """One reconciliation; of very many findings the first are told, and all are counted."""
        async with _heartbeats():
            report = await self._reconciler.run(request)
        return report.model_copy(update={"findings": report.findings[:MOST_FINDINGS]})


@contextlib.asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    """Tell Temporal that this attempt lives, three times as often as it must."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(HEARTBEAT_TIMEOUT.total_seconds() / 3)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
