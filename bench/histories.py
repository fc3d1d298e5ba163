"""How much an order is for Temporal: exact figures, which no other load on the machine disturbs."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client


@dataclass(frozen=True, slots=True)
class HistoryShape:
    """Of one kind of order: medians of a few."""

    events: float
    workflow_tasks: float
    activities: float
    kilobytes: float


async def history_shape(client: Client, workflow_ids: Sequence[str]) -> HistoryShape:
    """Read these workflows' histories."""
    histories = [await client.get_workflow_handle(name).fetch_history() for name in workflow_ids]

    def count(kind: "EventType.ValueType") -> float:
        return statistics.median(sum(event.event_type == kind for event in history.events) for history in histories)

    return HistoryShape(
        events=statistics.median(len(history.events) for history in histories),
        workflow_tasks=count(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED),
        activities=count(EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED),
        kilobytes=statistics.median(sum(event.ByteSize() for event in history.events) / 1000 for history in histories),
    )
