"""Temporal: server, namespace, search attributes, and who polls the task queues."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    GetSystemInfoRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from operations.doctor.check import Check, Checked
from operations.reconciliation.workflow import RECONCILIATION_QUEUE
from operations.words import counted
from orderflow.domain.errors import Unavailable
from orderflow.settings import Settings
from orderflow.temporal.client import connect
from orderflow.temporal.names import INVENTORY_QUEUE, ORDERS_QUEUE, PAYMENTS_QUEUE, ROLE_OF_QUEUE, SEARCH_ATTRIBUTES

#: The server's minor version from which everything that we use is there and tested.
OLDEST: Final = (1, 24)
ANSWER_WITHIN: Final = timedelta(seconds=4)
#: A poll waits a minute at most, so a worker that lives has polled since.
FRESH: Final = timedelta(seconds=80)

_WORKFLOW, _ACTIVITY = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY


def checks(settings: Settings) -> list[Check]:
    """One, as all of it needs the connection."""
    return [Check("Temporal", lambda: _look(settings), "start it, or set ORDERFLOW_TEMPORAL_ADDRESS")]


async def _look(settings: Settings) -> Sequence[Checked]:
    try:
        client = await connect(settings, answer_within=ANSWER_WITHIN)
        lines = [await _server(settings, client), await _namespace(client)]
        if all(line.ok for line in lines):
            lines += [await _search_attributes(client), *await _queues(settings, client)]
    except Unavailable as error:
        raise ConnectionError(f"no answer: {error.detail}{_said_by(settings)}") from error
    except RPCError as error:
        raise ConnectionError(
            f"no answer at {settings.temporal_address}{_said_by(settings)}: {error.message}"
        ) from error
    return lines


async def _server(settings: Settings, client: Client) -> Checked:
    info = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    said = info.server_version
    numbers = tuple(int(part) for part in said.split(".")[:2] if part.isdigit())
    fix = f"use Temporal {'.'.join(map(str, OLDEST))} or later"
    where = f"server {said} at {settings.temporal_address}{_said_by(settings)}"
    return Checked("Temporal", len(numbers) < 2 or numbers >= OLDEST, where, fix)


def _said_by(settings: Settings) -> str:
    """Where the address stands, if not in a setting of ours."""
    own = settings.temporal_config
    ours = "temporal_address" in settings.model_fields_set or own.address is None
    return "" if ours else f", by {own.where('address')}"


async def _namespace(client: Client) -> Checked:
    about = f"namespace {client.namespace}"
    try:
        described = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace)
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        fix = f"`temporal operator namespace create -n {client.namespace}`, or set ORDERFLOW_TEMPORAL_NAMESPACE"
        return Checked(about, False, "it is not there", fix)
    days = described.config.workflow_execution_retention_ttl.seconds / 86_400
    return Checked(about, True, f"keeps closed workflows for {days:.0f} days")


async def _search_attributes(client: Client) -> Checked:
    about = "search attributes"
    try:
        there = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
    except RPCError as error:
        if error.status not in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED):
            raise
        return Checked(about, True, "this server does not let us look")
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    wrong = [name for name in SEARCH_ATTRIBUTES if there.custom_attributes.get(name) != keyword]
    if wrong:
        return Checked(about, False, f"missing, or no Keyword: {', '.join(wrong)}", "make them: `orderflow setup`")
    return Checked(about, True, ", ".join(SEARCH_ATTRIBUTES))


async def _queues(settings: Settings, client: Client) -> list[Checked]:
    wanted = [(ORDERS_QUEUE, _WORKFLOW), (PAYMENTS_QUEUE, _ACTIVITY), (INVENTORY_QUEUE, _ACTIVITY)]
    if settings.reconcile_interval_seconds:
        wanted.append((RECONCILIATION_QUEUE, _WORKFLOW))
    return [await _queue(client, name, kind) for name, kind in wanted]


async def _queue(client: Client, name: str, kind: "TaskQueueType.ValueType") -> Checked:
    described = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(namespace=client.namespace, task_queue=TaskQueue(name=name), task_queue_type=kind)
    )
    last = [poller.last_access_time.ToDatetime(UTC) for poller in described.pollers]
    fresh = [at for at in last if datetime.now(UTC) - at < FRESH]
    about, fix = f"task queue {name}", f"start a worker: `orderflow worker {ROLE_OF_QUEUE.get(name, name)}`"
    if not fresh:
        return Checked(about, False, "nobody polls it" if not last else "its workers have stopped polling", fix)
    return Checked(about, True, counted(len(fresh), "poller"))
