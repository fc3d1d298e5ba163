"""A run whose status the SDK does not know is open, and ends no look: a paused one is such."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from orderflow.temporal.executions import listed
from orderflow.temporal.names import workflow_id
from orderflow.temporal.runs import OrderRuns

ORDER, OTHER = UUID(int=1), UUID(int=2)
SINCE = datetime(2026, 11, 30, tzinfo=UTC)


def info(order: UUID, status: int) -> WorkflowExecutionInfo:
    found = WorkflowExecutionInfo(
        execution=WorkflowExecution(workflow_id=workflow_id(order), run_id="run-1"), status=cast(Any, status)
    )
    found.start_time.FromDatetime(SINCE)
    return found


class Service:
    """Gives one run a page; ``old``: it knows no paused ones."""

    def __init__(self, *infos: WorkflowExecutionInfo, old: bool = False) -> None:
        self.infos = infos
        self.old = old

    async def describe_workflow_execution(
        self, request: DescribeWorkflowExecutionRequest, **options: Any
    ) -> DescribeWorkflowExecutionResponse:
        return DescribeWorkflowExecutionResponse(workflow_execution_info=self.infos[0])

    async def list_workflow_executions(
        self, request: ListWorkflowExecutionsRequest, **options: Any
    ) -> ListWorkflowExecutionsResponse:
        if self.old and "Paused" in request.query:
            raise RPCError("invalid ExecutionStatus value 'Paused'", RPCStatusCode.INVALID_ARGUMENT, b"")
        page = int(request.next_page_token or b"0")
        more = b"%d" % (page + 1) if page + 1 < len(self.infos) else b""
        return ListWorkflowExecutionsResponse(executions=[self.infos[page]], next_page_token=more)


def client(service: Service) -> Client:
    return cast(Client, SimpleNamespace(namespace="default", workflow_service=service))


@pytest.mark.parametrize("status", [1, 8, 99])
async def test_a_run_that_is_paused_or_in_a_state_of_a_later_release_is_open(status: int) -> None:
    found = await OrderRuns.of(client(Service(info(ORDER, status)))).look(ORDER)
    assert (found.state, found.since, found.ended, found.run_id) == ("running", SINCE, None, "run-1")


@pytest.mark.parametrize(("status", "ended"), [(2, "COMPLETED"), (5, "TERMINATED"), (7, "TIMED_OUT")])
async def test_a_run_that_closed_says_how(status: int, ended: str) -> None:
    found = await OrderRuns.of(client(Service(info(ORDER, status)))).look(ORDER)
    assert (found.state, found.ended) == ("closed", ended)


@pytest.mark.parametrize("old", [False, True])
async def test_paused_runs_are_listed_with_the_others_where_temporal_can_pause(old: bool) -> None:
    service = Service(info(ORDER, 1), info(OTHER, 8), old=old)
    found = await OrderRuns.of(client(service)).running()
    assert {order: run.state for order, run in found.items()} == {ORDER: "running", OTHER: "running"}


async def test_a_list_has_all_its_pages() -> None:
    service = Service(info(ORDER, 2), info(OTHER, 8), info(ORDER, 1))
    assert [one.status async for one in listed(client(service), "")] == [2, 8, 1]
