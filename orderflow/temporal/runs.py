"""Orders as Temporal sees them: which run, how one ended, starting one again.

All methods raise Unavailable when Temporal gives no answer.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.client import (
    WorkflowExecution as Execution,
)
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from orderflow.domain.errors import Unavailable
from orderflow.domain.facts import RunFact
from workflows.steps import CUSTOMER_ID, ORDER_STATUS, ORDERS_QUEUE, SignalledCommand, StartOrder, workflow_id

WORKFLOW: Final = "OrderWorkflow"
_CUSTOMER: Final = SearchAttributeKey.for_keyword(CUSTOMER_ID)
_STATUS: Final = SearchAttributeKey.for_keyword(ORDER_STATUS)
_RPC_TIMEOUT: Final = timedelta(seconds=10)
#: A query needs a worker: without one it would wait for long.
_QUERY_TIMEOUT: Final = timedelta(seconds=3)
_OPEN: Final = f"WorkflowType = '{WORKFLOW}' AND ExecutionStatus = 'Running'"
_BROKEN: Final = f"WorkflowType = '{WORKFLOW}' AND ExecutionStatus IN ('Terminated', 'Failed', 'TimedOut', 'Canceled')"


class NothingToReset(Exception):
    """Temporal does not remember the order's run, or cannot go back in it."""


@dataclass(frozen=True, slots=True)
class ResetPoint:
    """A place in a run's history: the event that ended a workflow task. ``signals_since``: their names, in order."""

    event_id: int
    at: datetime
    signals_since: list[str] = field(default_factory=list)


class OrderRuns:
    """The runs of ``OrderWorkflow``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def running(self) -> dict[UUID, RunFact]:
        """Every order whose workflow is open."""
        found = {}
        async with _answering():
            async for execution in self._client.list_workflows(_OPEN, rpc_timeout=_RPC_TIMEOUT):
                if (order_id := _order_id(execution.id)) is not None:
                    found[order_id] = _fact(execution)
        return found

    async def broken(self, since: datetime) -> set[UUID]:
        """Orders of which a run was closed after ``since``, otherwise than by coming to its end."""
        query = f"{_BROKEN} AND CloseTime > '{since.astimezone(UTC).isoformat()}'"
        async with _answering():
            executions = self._client.list_workflows(query, rpc_timeout=_RPC_TIMEOUT)
            ids = {_order_id(execution.id) async for execution in executions}
        return {order_id for order_id in ids if order_id is not None}

    async def look(self, order_id: UUID) -> RunFact:
        """The order's latest run, now."""
        async with _answering():
            try:
                return _fact(await self._handle(order_id).describe(rpc_timeout=_RPC_TIMEOUT))
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return RunFact("missing")
                raise

    async def ask(self, order_id: UUID, run: RunFact) -> RunFact:
        """``run`` with what the workflow itself says; as it is when no worker answers for it."""
        try:
            state: dict[str, Any] = await self._handle(order_id).query("order", rpc_timeout=_QUERY_TIMEOUT)
        except (RPCError, WorkflowQueryFailedError, WorkflowQueryRejectedError):
            return run
        busy = (*state["running"], *state["inbox"])
        return RunFact(
            run.state, run.since, state["status"] or run.status, run.ended, run.run_id, state["version"], busy
        )

    async def signal(self, order_id: UUID, name: str, command: SignalledCommand) -> None:
        """Hand a command to the order's workflow; nothing happens where none runs."""
        async with _answering():
            try:
                await self._handle(order_id).signal(name, command, rpc_timeout=_RPC_TIMEOUT)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise

    async def reset(self, order_id: UUID, reason: str) -> None:
        """Run the order's closed workflow again from its last finished workflow task.

        A run that came to its end, and one that is open, are left alone. Raises NothingToReset.
        """
        run = await self.look(order_id)
        if run.state == "running" or run.ended == WorkflowExecutionStatus.COMPLETED.name:
            return
        points = await self.reset_points(order_id, run.run_id) if run.run_id else []
        if run.run_id is None or not points:
            raise NothingToReset("Temporal remembers no run of it")
        await self.go_back(order_id, run.run_id, points[-1], reason)

    async def reset_points(self, order_id: UUID, run_id: str) -> list[ResetPoint]:
        """Where a run can be gone back to, in order: each finished workflow task.

        One that has finished none can be run again from its start: the event that would have been next.
        """
        points: list[ResetPoint] = []
        scheduled: HistoryEvent | None = None
        handle = self._client.get_workflow_handle(workflow_id(order_id), run_id=run_id)
        async with _answering():
            async for event in handle.fetch_history_events(rpc_timeout=_RPC_TIMEOUT):
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
        async with _answering():
            try:
                answer = await self._client.workflow_service.reset_workflow_execution(
                    ResetWorkflowExecutionRequest(
                        namespace=self._client.namespace,
                        workflow_execution=WorkflowExecution(workflow_id=workflow_id(order_id), run_id=run_id),
                        reason=reason,
                        workflow_task_finish_event_id=point.event_id,
                        request_id=request_id or f"reconcile-{run_id}",
                        reset_reapply_type=ResetReapplyType.RESET_REAPPLY_TYPE_ALL_ELIGIBLE,
                    ),
                    timeout=_RPC_TIMEOUT,
                )
            except RPCError as error:
                if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                    raise NothingToReset(error.message) from error
                raise
        return answer.run_id

    async def start(self, start: StartOrder, status: str, reason: str, first: SignalledCommand) -> None:
        """A new run, which is handed ``first`` as a ``complete`` with its start. One that runs is left alone."""
        order = start.order
        async with _answering():
            try:
                await self._client.start_workflow(
                    WORKFLOW,
                    start,
                    id=workflow_id(order.order_id),
                    task_queue=ORDERS_QUEUE,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                    memo={"order": order, "request_hash": start.request_hash, "started_again": reason},
                    search_attributes=TypedSearchAttributes(
                        [SearchAttributePair(_CUSTOMER, order.customer_id), SearchAttributePair(_STATUS, status)]
                    ),
                    static_summary=reason[:200],
                    start_signal="complete",
                    start_signal_args=[first],
                    rpc_timeout=_RPC_TIMEOUT,
                )
            except WorkflowAlreadyStartedError:
                return

    def _handle(self, order_id: UUID) -> Any:
        return self._client.get_workflow_handle(workflow_id(order_id))


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    try:
        yield
    except RPCError as error:
        raise Unavailable("temporal", error.message or error.status.name) from error


def _fact(execution: Execution) -> RunFact:
    status = execution.typed_search_attributes.get(_STATUS)
    if execution.status == WorkflowExecutionStatus.RUNNING:
        return RunFact("running", execution.start_time, status, run_id=execution.run_id)
    ended = execution.status.name if execution.status else None
    return RunFact("closed", execution.close_time, status, ended, execution.run_id)


def _at(event: HistoryEvent) -> datetime:
    return event.event_time.ToDatetime(UTC)


def _order_id(found: str) -> UUID | None:
    """The order of a workflow id; None for one that somebody made up."""
    try:
        order_id = UUID(found.removeprefix("order-"))
    except ValueError:
        return None
    return order_id if workflow_id(order_id) == found else None
