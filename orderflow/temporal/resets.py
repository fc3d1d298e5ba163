"""Running an order's workflow again from an earlier point of its history."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.service import RPCError, RPCStatusCode

from orderflow.temporal.names import workflow_id
from orderflow.temporal.runs import OrderRuns


class NothingToReset(Exception):
    """Temporal does not remember the order's run, or cannot go back in it."""


@dataclass(frozen=True, slots=True)
class ResetPoint:
    """A place in a run's history: the event that ended a workflow task. ``signals_since``: their names, in order."""

    event_id: int
    at: datetime
    signals_since: list[str] = field(default_factory=list)


class OrderResets:
    """Resets of the runs of ``OrderWorkflow``. All methods raise Unavailable when Temporal gives no answer."""

    def __init__(self, runs: OrderRuns) -> None:
        self._runs = runs

    async def reset_points(self, order_id: UUID, run_id: str) -> list[ResetPoint]:
        """Where a run can be gone back to, in order: each finished workflow task.

        One that has finished none can be run again from its start: the event that would have been next.
        """
        points: list[ResetPoint] = []
        scheduled: HistoryEvent | None = None
        async with self._runs.answering() as client:
            handle = client.get_workflow_handle(workflow_id(order_id), run_id=run_id)
            async for event in handle.fetch_history_events(rpc_timeout=self._runs.timeout):
                if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                    points.append(ResetPoint(event.event_id, _at(event)))
                elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
                    scheduled = scheduled or event
                elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
                    name = event.workflow_execution_signaled_event_attributes.signal_name
                    for point in points:
                        point.signals_since.append(name)
        if not points and scheduled is not None:
            return [ResetPoint(scheduled.event_id + 1, _at(scheduled))]
        return points

    async def go_back(
        self, order_id: UUID, run_id: str, point: ResetPoint, reason: str, *, request_id: str | None = None
    ) -> str:
        """Run the order again from ``point`` of a run; the new run's id. An open run ends with that.

        The task that ended there is done again, with what the run knew by then, and every signal since (of later runs
        too) is handed in again; what is repeated is harmless: command ids. The same ``request_id`` resets once;
        without one, a run is reset once, whoever asks. Raises NothingToReset.
        """
        async with self._runs.answering() as client:
            try:
                answer = await client.workflow_service.reset_workflow_execution(
                    ResetWorkflowExecutionRequest(
                        namespace=client.namespace,
                        workflow_execution=WorkflowExecution(workflow_id=workflow_id(order_id), run_id=run_id),
                        reason=reason,
                        workflow_task_finish_event_id=point.event_id,
                        request_id=request_id or f"reset-{run_id}",
                        reset_reapply_type=ResetReapplyType.RESET_REAPPLY_TYPE_ALL_ELIGIBLE,
                    ),
                    timeout=self._runs.timeout,
                )
            except RPCError as error:
                if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                    raise NothingToReset(error.message) from error
                raise
        return answer.run_id


def _at(event: HistoryEvent) -> datetime:
    return event.event_time.ToDatetime(UTC)
