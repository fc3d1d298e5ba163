"""Temporal as the API uses it: start an order, signal it, ask about it. Every call has an end.

All methods raise Unavailable when Temporal gives no answer in time. A start or a signal may have been taken then.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from orderflow.domain.errors import Unavailable
from orderflow.domain.orders import Order, OrderStatus
from workflows.order_workflow import OrderWorkflow
from workflows.steps import CUSTOMER_ID, ORDER_STATUS, ORDERS_QUEUE, SignalledCommand, StartOrder, workflow_id

#: Beyond the client's own limit, so that its answer (which says more) comes first.
_MARGIN: Final = timedelta(seconds=0.5)
#: The request itself is wrong: repeating it changes nothing, and nobody but us can have caused it.
_OURS: Final = (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.UNIMPLEMENTED)
_GOES_ON: Final = (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW)

_CUSTOMER: Final = SearchAttributeKey.for_keyword(CUSTOMER_ID)
_STATUS: Final = SearchAttributeKey.for_keyword(ORDER_STATUS)


@dataclass(frozen=True, slots=True)
class Accepted:
    """An order as it was accepted; ``running``: its workflow has not ended."""

    order: Order
    request_hash: str
    accepted_at: datetime
    running: bool


class OrderWorkflows:
    """The workflows of orders. ``connect`` makes a lazy client; ``timeout`` bounds each call."""

    def __init__(self, connect: Callable[[], Awaitable[Client]], timeout: timedelta) -> None:
        self._connect = connect
        self._timeout = timeout
        self._client: Client | None = None

    async def start(self, start: StartOrder) -> bool:
        """Accept an order. False: it was accepted before, whatever became of it."""
        order = start.order
        async with self._answering():
            client = await self._connected()
            try:
                await client.start_workflow(
                    OrderWorkflow.run,
                    start,
                    id=workflow_id(order.order_id),
                    task_queue=ORDERS_QUEUE,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    # For those who ask before there is a row. Never the payment token.
                    memo={"order": order, "request_hash": start.request_hash},
                    search_attributes=TypedSearchAttributes(
                        [
                            SearchAttributePair(_CUSTOMER, order.customer_id),
                            SearchAttributePair(_STATUS, OrderStatus.DRAFT.value),
                        ]
                    ),
                    static_summary=_summary(order),
                    rpc_timeout=self._timeout,
                )
            except WorkflowAlreadyStartedError:
                return False
        return True

    async def signal(self, order_id: UUID, name: str, command: SignalledCommand) -> bool:
        """Hand a command to an order. False: no workflow of this order runs."""
        async with self._answering():
            client = await self._connected()
            handle = client.get_workflow_handle(workflow_id(order_id))
            try:
                await handle.signal(name, command, rpc_timeout=self._timeout)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return False
                raise
        return True

    async def describe(self, order_id: UUID) -> Accepted | None:
        """What was accepted; None: no such order, as far as Temporal remembers."""
        async with self._answering():
            client = await self._connected()
            handle = client.get_workflow_handle(workflow_id(order_id))
            try:
                description = await handle.describe(rpc_timeout=self._timeout)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return None
                raise
        order = await description.memo_value("order", None, type_hint=Order)
        request_hash = await description.memo_value("request_hash", None, type_hint=str)
        if order is None or request_hash is None:
            return None  # started by hand, without a memo: unknown until it has a row
        return Accepted(order, request_hash, description.start_time, description.status in _GOES_ON)

    async def check(self) -> None:
        """See that Temporal answers."""
        async with self._answering():
            client = await self._connected()
            if not await client.service_client.check_health(timeout=self._timeout):
                raise Unavailable("temporal", "it is not serving")

    async def _connected(self) -> Client:
        if self._client is None:
            self._client = await self._connect()
        return self._client

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        try:
            # The client's limits do not cover its first connection, nor waiting for another request to make it.
            async with asyncio.timeout((self._timeout + _MARGIN).total_seconds()):
                yield
        except RPCError as error:
            if error.status in _OURS:
                raise
            raise Unavailable("temporal", error.message or error.status.name) from error
        except (TimeoutError, OSError) as error:
            raise Unavailable("temporal", "no answer in time") from error
        except RuntimeError as error:
            if "connect" not in str(error):
                raise
            raise Unavailable("temporal", str(error)) from error


def _summary(order: Order) -> str:
    """For the Web UI's list. Temporal takes at most 400 bytes."""
    lines = f"{len(order.lines)} line{'s' if len(order.lines) != 1 else ''}"
    return f"{order.customer_id[:40]}: {lines}, {order.total} {order.currency} (minor units)"
