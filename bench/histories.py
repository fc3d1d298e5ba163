"""How much an order is for Temporal: exact figures, which no other load on the machine disturbs."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from orderflow.domain.model import Model

#: What Temporal Cloud bills one action for, as far as a history shows it; local activities are added by ``actions``.
BILLED: Final = (
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
    EventType.EVENT_TYPE_TIMER_STARTED,
    EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
)
#: The name of the marker in which the SDK records a local activity.
_LOCAL: Final = "core_local_activity"


class HistoryShape(Model):
    """Of one kind of order: medians of a few."""

    events: float
    workflow_tasks: float
    activities: float
    local_activities: float
    actions: float
    kilobytes: float


async def history_shape(client: Client, workflow_ids: Sequence[str]) -> HistoryShape:
    """Read these workflows' histories."""
    return shape([(await client.get_workflow_handle(name).fetch_history()).events for name in workflow_ids])


def shape(histories: Sequence[Sequence[HistoryEvent]]) -> HistoryShape:
    """Of these histories."""
    counts = [Counter(event.event_type for event in history) for history in histories]

    def count(kind: "EventType.ValueType") -> float:
        return statistics.median(found[kind] for found in counts)

    return HistoryShape(
        events=statistics.median(len(history) for history in histories),
        workflow_tasks=count(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED),
        activities=count(EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED),
        local_activities=statistics.median(sum(1 for _ in _tasks_of_local(history)) for history in histories),
        actions=statistics.median(actions(history) for history in histories),
        kilobytes=statistics.median(sum(event.ByteSize() for event in history) / 1000 for history in histories),
    )


def actions(history: Iterable[HistoryEvent]) -> int:
    """Billable actions: starts, signals, updates, ordinary activities, timers, search attributes that were changed,
    and one for each workflow task with local activities, however many."""
    events = list(history)
    return sum(event.event_type in BILLED for event in events) + len(set(_tasks_of_local(events)))


def _tasks_of_local(history: Iterable[HistoryEvent]) -> Iterable[int]:
    """The workflow task of each local activity."""
    for event in history:
        marker = event.marker_recorded_event_attributes
        if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED and marker.marker_name == _LOCAL:
            yield marker.workflow_task_completed_event_id
