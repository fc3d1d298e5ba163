"""What Temporal says of an order's runs: their ends, their tasks, their steps that are pending."""

from collections.abc import Iterable
from typing import Any

from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowExecutionStatus

from support.waiting import until
from support.world import Handle, World, order_id

#: For what waits for a workflow task to time out, or for retries.
PATIENCE_SECONDS = 60


async def ended(handle: Handle) -> tuple[str | None, int]:
    """Wait for the run's end: the order's status and version, as the run says."""
    result: dict[str, Any] = await handle.result()
    return result["status"], result["version"]


async def run_state(handle: Handle) -> str:
    """How the latest run is: RUNNING, COMPLETED, TERMINATED …"""
    status = (await handle.describe()).status
    assert status is not None
    return status.name


async def latest_ends(handle: Handle) -> None:
    """Wait until the latest run has come to its end, also where none has begun yet."""

    async def over() -> bool:
        return (await handle.describe()).status == WorkflowExecutionStatus.COMPLETED

    await until(over, seconds=PATIENCE_SECONDS)


async def history(handle: Handle) -> list[HistoryEvent]:
    """The events of the latest run."""
    return list((await handle.fetch_history()).events)


def count(events: Iterable[HistoryEvent], name: str) -> int:
    """How many events of a type, such as ``WORKFLOW_TASK_COMPLETED``."""
    return sum(event.event_type == EventType.Value(f"EVENT_TYPE_{name}") for event in events)


def failures_of_the_code(events: Iterable[HistoryEvent]) -> list[str]:
    """Why workflow tasks failed; but for those that Temporal sends back, as a signal came while they ended the run."""
    failed = (
        event.workflow_task_failed_event_attributes
        for event in events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    )
    sent_back = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
    return [one.failure.message for one in failed if one.cause != sent_back]


def far_steps(events: Iterable[HistoryEvent]) -> list[str]:
    """The ordinary activities that were scheduled, in order: ``<queue>/<step>``."""
    scheduled = (event.activity_task_scheduled_event_attributes for event in events)
    return [f"{one.task_queue.name}/{one.activity_type.name}" for one in scheduled if one.activity_type.name]


async def pending_steps(world: World, handle: Handle) -> dict[str, str]:
    """The pending ordinary activities of the order, and what each failed with last ("" before its first failure)."""
    described = await world.runs.describe(order_id(handle))
    assert described is not None
    return {one.activity_type.name: one.last_failure.message for one in described.pending_activities}


async def is_pending(world: World, handle: Handle, step: str, failure: str) -> None:
    """Wait until ``step`` is pending, and everybody can see what it failed with."""

    async def seen() -> bool:
        return failure in (await pending_steps(world, handle)).get(step, "")

    await until(seen, seconds=20)


async def settled(handle: Handle) -> dict[str, Any]:
    """Wait until the workflow has nothing to do: what it says of itself then."""
    state: dict[str, Any] = {}

    async def quiet() -> bool:
        state.update(await handle.query("order"))
        return not state["running"] and state["looks"] == 0

    await until(quiet, seconds=PATIENCE_SECONDS)
    return state
