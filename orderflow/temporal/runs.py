"""The one facade to the orders that run in Temporal: have one looked at, ask what is known of it.

Every call has an end. All methods raise Unavailable when Temporal gives no answer in time; a message may have been
taken then.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
)
from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)
from temporalio.converter import decode_typed_search_attributes
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from orderflow.domain.errors import Unavailable
from orderflow.domain.handovers import Handover
from orderflow.domain.orders import OrderStatus
from orderflow.temporal.answering import answering
from orderflow.temporal.converter import NotReadable
from orderflow.temporal.executions import ending, listed
from orderflow.temporal.names import ORDER_STATUS, ORDER_WORKFLOW, ORDERS_QUEUE, order_of, workflow_id
from orderflow.temporal.opening import opened

#: For who does not say how long a call may take.
TIMEOUT: Final = timedelta(seconds=10)
#: A query needs a worker: without one it would wait for long.
_QUERY_TIMEOUT: Final = timedelta(seconds=3)
#: Beyond the client's own limit, so that its answer (which says more) comes first.
_MARGIN: Final = timedelta(seconds=0.5)
_STATUS: Final = SearchAttributeKey.for_keyword(ORDER_STATUS)
_OPEN: Final = f"WorkflowType = '{ORDER_WORKFLOW}' AND ExecutionStatus IN ('Running', 'Paused')"
#: For a Temporal that cannot pause a workflow.
_RUNNING: Final = f"WorkflowType = '{ORDER_WORKFLOW}' AND ExecutionStatus = 'Running'"

Connect = Callable[[], Awaitable[Client]]


@dataclass(frozen=True, slots=True)
class RunFact:
    """What Temporal says of an order. ``since``: when the run was started or closed; ``ended``: how it closed.

    ``status``: the search attribute. ``version`` and ``busy`` (steps under way) where it answered a query.
    """

    state: Literal["running", "closed", "missing"]
    since: datetime | None = None
    status: str | None = None
    ended: str | None = None
    run_id: str | None = None
    version: int | None = None
    busy: tuple[str, ...] | None = None


class TemporalRefuses(Exception):
    """Temporal does not take this message, and will not later either: too large, or too many before it."""


class OrderRuns:
    """The runs of ``OrderWorkflow``.

    ``connect`` is called at the first call, and again until it has succeeded. ``timeout`` bounds each call, and each
    look at a list page by page.
    """

    def __init__(self, connect: Connect, timeout: timedelta = TIMEOUT) -> None:
        self._connect = connect
        self.timeout = timeout
        self._client: Client | None = None
        self._connecting: asyncio.Task[Client] | None = None

    @classmethod
    def of(cls, client: Client, timeout: timedelta = TIMEOUT) -> "OrderRuns":
        """For who has a client already."""
        runs = cls(_never, timeout)
        runs._client = client
        return runs

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[Client]:
        """The client, connected. See ``orderflow.temporal.answering``."""
        async with answering():
            yield await self._connected()

    async def _connected(self) -> Client:
        if self._client is None:
            # One attempt for all who wait: it goes on although one of them gives up.
            if self._connecting is None or self._connecting.done():
                self._connecting = asyncio.create_task(self._connect_once())
            async with asyncio.timeout((self.timeout + _MARGIN).total_seconds()):
                self._client = await asyncio.shield(self._connecting)
        return self._client

    async def _connect_once(self) -> Client:
        return await self._connect()

    def handle(self, client: Client, order_id: UUID) -> WorkflowHandle[Any, Any]:
        """The order's latest run."""
        return client.get_workflow_handle(workflow_id(order_id))

    # --- Doing ---

    async def tell(self, handover: Handover) -> None:
        """Have the order's workflow look at its row: started if none runs, else signalled. Again: a look more.

        A run that came to its end is started again only where the handover says so. Raises Unavailable, and
        TemporalRefuses.
        """
        try:
            async with self.answering() as client:
                if handover.name == "approve" and not handover.again:
                    try:
                        await self._start(client, handover)
                    except WorkflowAlreadyStartedError:
                        pass  # told before, and started then: a signal, in case it has looked already
                    else:
                        return
                try:
                    await self._start(client, handover, start_signal=handover.name)
                except WorkflowAlreadyStartedError:
                    return  # its run came to its end: nothing is left to do
        except RPCError as error:
            raise TemporalRefuses(error.message or error.status.name) from error

    async def _start(self, client: Client, handover: Handover, **signal: Any) -> None:
        reuse = WorkflowIDReusePolicy
        status = SearchAttributePair(_STATUS, OrderStatus.APPROVED.value)
        await client.start_workflow(
            ORDER_WORKFLOW,
            id=workflow_id(handover.order_id),
            task_queue=ORDERS_QUEUE,
            id_reuse_policy=reuse.ALLOW_DUPLICATE if handover.again else reuse.ALLOW_DUPLICATE_FAILED_ONLY,
            # What the order is when its run begins; the first look sets it right where it begins later.
            search_attributes=TypedSearchAttributes([status]),
            rpc_timeout=self.timeout,
            **signal,
        )

    async def check(self) -> None:
        """See that Temporal answers."""
        async with self.answering() as client:
            if not await client.service_client.check_health(timeout=self.timeout):
                raise Unavailable("temporal", "it is not serving")

    # --- Asking about one order ---

    async def look(self, order_id: UUID) -> RunFact:
        """The order's latest run, now."""
        async with self.answering() as client:
            found = await self._described(client, order_id, retry=True)
        return RunFact("missing") if found is None else _fact(found.workflow_execution_info)

    async def ask(self, order_id: UUID, run: RunFact) -> RunFact:
        """``run`` with what the workflow itself says; as it is when no worker answers for it."""
        async with self.answering() as client:
            try:
                state: dict[str, Any] = await self.handle(client, order_id).query("order", rpc_timeout=_QUERY_TIMEOUT)
            except (RPCError, WorkflowQueryFailedError, WorkflowQueryRejectedError, NotReadable):
                return run
        busy = tuple(state["running"])
        return RunFact(
            run.state, run.since, state["status"] or run.status, run.ended, run.run_id, state["version"], busy
        )

    async def describe(self, order_id: UUID) -> DescribeWorkflowExecutionResponse | None:
        """All that Temporal says of the latest run, its pending steps too, opened; None: it knows none."""
        async with self.answering() as client:
            found = await self._described(client, order_id)
            return None if found is None else opened(found, client.data_converter)

    async def _described(
        self, client: Client, order_id: UUID, *, retry: bool = False
    ) -> DescribeWorkflowExecutionResponse | None:
        request = DescribeWorkflowExecutionRequest(
            namespace=client.namespace, execution=WorkflowExecution(workflow_id=workflow_id(order_id))
        )
        try:
            return await client.workflow_service.describe_workflow_execution(request, retry=retry, timeout=self.timeout)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise

    async def history(self, order_id: UUID, run_id: str) -> list[HistoryEvent]:
        """A run's events, opened where our keyring opens them."""
        async with self.answering() as client:
            handle = client.get_workflow_handle(workflow_id(order_id), run_id=run_id)
            events = handle.fetch_history_events(rpc_timeout=self.timeout)
            return [opened(event, client.data_converter) async for event in events]

    # --- Asking about many ---

    async def running(self) -> dict[UUID, RunFact]:
        """Every order whose workflow is open, also where it is paused."""
        async with self.answering() as client:
            try:
                return await self._listed(client, _OPEN)
            except RPCError as error:
                if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                    raise
            return await self._listed(client, _RUNNING)

    async def _listed(self, client: Client, query: str) -> dict[UUID, RunFact]:
        found = {}
        async for info in listed(client, query, self.timeout):
            if (order_id := order_of(info.execution.workflow_id)) is not None:
                found[order_id] = _fact(info)
        return found

    async def task_queue(self, name: str, kind: TaskQueueType.ValueType) -> DescribeTaskQueueResponse:
        """Who polls a task queue, and how much waits in it."""
        async with self.answering() as client:
            request = DescribeTaskQueueRequest(
                namespace=client.namespace, task_queue=TaskQueue(name=name), task_queue_type=kind, report_stats=True
            )
            return await client.workflow_service.describe_task_queue(request, timeout=self.timeout)


async def _never() -> Client:
    raise AssertionError("it was made with a client")


def _fact(info: WorkflowExecutionInfo) -> RunFact:
    status, run_id = decode_typed_search_attributes(info.search_attributes).get(_STATUS), info.execution.run_id
    if (ended := ending(info)) is None:
        return RunFact("running", info.start_time.ToDatetime(UTC), status, run_id=run_id)
    return RunFact("closed", info.close_time.ToDatetime(UTC), status, ended, run_id)
