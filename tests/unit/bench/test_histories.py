"""What counts as a billable action."""

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent, MarkerRecordedEventAttributes

from bench.histories import actions, shape


def event(kind: "EventType.ValueType") -> HistoryEvent:
    return HistoryEvent(event_type=kind)


def local_activity(task: int, name: str = "core_local_activity") -> HistoryEvent:
    marker = MarkerRecordedEventAttributes(marker_name=name, workflow_task_completed_event_id=task)
    return HistoryEvent(event_type=EventType.EVENT_TYPE_MARKER_RECORDED, marker_recorded_event_attributes=marker)


def test_local_activities_cost_one_action_a_workflow_task() -> None:
    assert actions([local_activity(4), local_activity(4), local_activity(9), local_activity(9, "Version")]) == 2


def test_starts_signals_updates_activities_timers_and_search_attributes_cost_one_each() -> None:
    history = [
        event(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED),
        event(EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED),
        event(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED),
        event(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED),
        event(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED),
        event(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED),
        event(EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED),
        event(EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED),
        event(EventType.EVENT_TYPE_TIMER_STARTED),
        event(EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES),
        event(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED),
    ]

    found = shape([history])

    assert (found.events, found.workflow_tasks, found.activities, found.actions) == (11, 1, 1, 6)
