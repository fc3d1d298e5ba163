"""An order's workflow as Temporal has it: what it is doing, its history, and who polls the task queues.

Raises Unavailable when Temporal gives no answer.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

from temporalio.api.enums.v1 import PendingActivityState, TaskQueueType
from temporalio.api.workflow.v1 import PendingActivityInfo, WorkflowExecutionPauseInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionResponse,
)

from operations.explain.decoding import is_unavailable, moment, who_is_away, words
from operations.explain.facts import Pause, PendingStep, Queue, Run, StoryLine, Task
from operations.explain.history import Told, tell
from orderflow.domain.errors import Unavailable
from orderflow.settings import Settings
from orderflow.temporal.client import connect
from orderflow.temporal.executions import ending
from orderflow.temporal.names import INVENTORY_QUEUE, ORDER_STATUS, ORDERS_QUEUE, PAYMENTS_QUEUE
from orderflow.temporal.runs import OrderRuns

RPC_TIMEOUT: Final = timedelta(seconds=4)
#: How many runs before the last one are told: an order that continued as new.
EARLIER_RUNS: Final = 5
_WORKFLOWS: Final = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
_ACTIVITIES: Final = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
_QUEUES: Final = {ORDERS_QUEUE: _WORKFLOWS, PAYMENTS_QUEUE: _ACTIVITIES, INVENTORY_QUEUE: _ACTIVITIES}


def asking(settings: Settings) -> OrderRuns:
    """The runs, for people who wait: connected at the first question, and each call ends soon."""
    return OrderRuns(lambda: connect(settings, answer_within=RPC_TIMEOUT), RPC_TIMEOUT)


@dataclass
class RunFound:
    """One order's workflow and its lines."""

    run: Run
    lines: list[StoryLine] = field(default_factory=list)


class RunReader:
    """Reads an order's workflow, and the task queues."""

    def __init__(self, runs: OrderRuns) -> None:
        self.orders = runs

    async def read(self, order_id: UUID) -> RunFound:
        """The order's workflow, with its history. Raises Unavailable."""
        description = await self.orders.describe(order_id)
        if description is None:
            return RunFound(Run("missing"))
        told = await self._told(order_id, description.workflow_execution_info.execution.run_id)
        return RunFound(run_of(description, told[-1]), [line for one in told for line in one.lines])

    async def queues(self) -> dict[str, Queue]:
        """Who polls the three task queues, and how much waits in them."""
        found = await asyncio.gather(*(self._queue(name, kind) for name, kind in _QUEUES.items()))
        return {queue.name: queue for queue in found}

    async def _queue(self, name: str, kind: TaskQueueType.ValueType) -> Queue:
        described = await self.orders.task_queue(name, kind)
        polled = [moment(poller.last_access_time) for poller in described.pollers]
        return Queue(name, max(polled, default=None), described.stats.approximate_backlog_count)

    async def _told(self, order_id: UUID, run_id: str) -> list[Told]:
        told = [tell(await self.orders.history(order_id, run_id))]
        while (earlier := told[0].continued_from) is not None and len(told) <= EARLIER_RUNS:
            try:
                told.insert(0, tell(await self.orders.history(order_id, earlier)))
            except Unavailable:
                break  # past its retention: the rest is still worth telling
        return told


def run_of(description: DescribeWorkflowExecutionResponse, told: Told | None) -> Run:
    """A run, from what Temporal describes and, where it was read, its history."""
    info = description.workflow_execution_info
    told = told or Told()
    ended = ending(info)
    running = ended is None
    attributes = info.search_attributes.indexed_fields
    status = attributes[ORDER_STATUS].data.decode().strip('"') if ORDER_STATUS in attributes else None
    return Run(
        state="running" if running else "closed",
        since=moment(info.start_time if running else info.close_time),
        status=status,
        ended=ended,
        run_id=info.execution.run_id,
        steps=tuple(_steps(description.pending_activities, told)),
        task=_task(description, told) if running else None,
        transition=told.transition if running else None,
        bug=told.bug if running else None,
        cancelled_at=told.cancelled_at if running else None,
        paused=_paused(description) if running else None,
    )


def _paused(description: DescribeWorkflowExecutionResponse) -> Pause | None:
    extended = description.workflow_extended_info
    if not extended.HasField("pause_info"):
        return None
    info: WorkflowExecutionPauseInfo = extended.pause_info
    return Pause(moment(info.paused_time), info.identity, info.reason)


def _task(description: DescribeWorkflowExecutionResponse, told: Told) -> Task | None:
    if not description.HasField("pending_workflow_task"):
        return None
    task = description.pending_workflow_task
    failure, nondeterministic = told.failed_task or (None, False)
    scheduled = task.original_scheduled_time if task.HasField("original_scheduled_time") else task.scheduled_time
    return Task(
        attempt=task.attempt,
        scheduled_at=told.failed_task_at or moment(scheduled),
        started_at=moment(task.started_time) if task.HasField("started_time") else None,
        failure=failure,
        nondeterministic=nondeterministic,
    )


def _steps(pending: Iterable[PendingActivityInfo], told: Told) -> Iterator[PendingStep]:
    for step in pending:
        started = step.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
        failed = step.HasField("last_failure")
        # Of this attempt: of a later one it is not when the step was handed over first.
        scheduled = moment(step.scheduled_time)
        due = moment(step.next_attempt_schedule_time) if step.HasField("next_attempt_schedule_time") else scheduled
        yield PendingStep(
            name=step.activity_type.name,
            task_queue=step.activity_options.task_queue.name,
            attempt=step.attempt,
            scheduled_at=told.handed_over.get(step.activity_id, scheduled),
            due_at=due,
            started=started,
            started_at=moment(step.last_started_time) if started else None,
            failure=words(step.last_failure) if failed else None,
            failed_at=moment(step.last_attempt_complete_time) if failed else None,
            unavailable=failed and is_unavailable(step.last_failure),
            away=who_is_away(step.last_failure) if failed else None,
            near=told.near.get(step.activity_type.name),
            paused=_step_paused(step) if step.paused else None,
            activity_id=step.activity_id,
        )


def _step_paused(step: PendingActivityInfo) -> Pause:
    info = step.pause_info
    who = info.rule if info.HasField("rule") else info.manual
    return Pause(moment(info.pause_time), who.identity, who.reason)
