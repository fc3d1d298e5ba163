"""Runs as Temporal itself describes and lists them.

The SDK reads a status into an enum and raises ValueError at one that it does not know, such as that of a paused run:
one of those would end every look.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest
from temporalio.client import Client

_CLOSED: Final = frozenset(
    {
        Status.WORKFLOW_EXECUTION_STATUS_COMPLETED,
        Status.WORKFLOW_EXECUTION_STATUS_FAILED,
        Status.WORKFLOW_EXECUTION_STATUS_CANCELED,
        Status.WORKFLOW_EXECUTION_STATUS_TERMINATED,
        Status.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW,
        Status.WORKFLOW_EXECUTION_STATUS_TIMED_OUT,
    }
)


def ending(info: WorkflowExecutionInfo) -> str | None:
    """How a run closed, such as COMPLETED; None: it is open. A paused one is, and one whose status we do not know."""
    if info.status not in _CLOSED:
        return None
    return Status.Name(info.status).rpartition("STATUS_")[2]


async def listed(client: Client, query: str, timeout: timedelta | None = None) -> AsyncIterator[WorkflowExecutionInfo]:
    """The runs that a visibility query gives. ``timeout`` bounds each page. Raises RPCError."""
    request = ListWorkflowExecutionsRequest(namespace=client.namespace, query=query, page_size=1000)
    while True:
        page = await client.workflow_service.list_workflow_executions(request, retry=True, timeout=timeout)
        for info in page.executions:
            yield info
        if not page.next_page_token:
            return
        request.next_page_token = page.next_page_token
