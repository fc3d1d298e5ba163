"""A workflow's history in words, and what is under way in it. Pure: it reads Temporal's messages and asks nobody.

Looks, transitions and steps that ran near, in the orders worker, are local activities: a marker each, written when
the workflow task was done; the marker says when each of them was. Of what a step was given, and of what a look found
beside the status, nothing is shown: the sealed payment token is among it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent

from operations.explain.decoding import (
    ended_as,
    first,
    is_not_here,
    is_unavailable,
    looked,
    moment,
    outcome,
    span,
    summary,
    transitioned,
    who_is_away,
    words,
)
from operations.explain.facts import StoryLine, Transition
from operations.words import duration, times
from orderflow.temporal.names import AGAIN_TIMER, NO_ANSWER_TIMER, SHIP_REFUSED
from workflows.steps import OrderSteps

_LOCAL: Final = "core_local_activity"
_LOOK: Final = OrderSteps.look.__name__
#: Local activities that read or move the order's own row; all others are steps of other services, taken near.
_OWN: Final = frozenset({_LOOK, OrderSteps.move_order.__name__, OrderSteps.end_ship.__name__})
#: What a transition's summary says, to the command that it carries out.
_AGAIN: Final = (AGAIN_TIMER, NO_ANSWER_TIMER)
_COMMANDS: Final = {SHIP_REFUSED: "ship"}


@dataclass
class Told:
    """What a history says. ``failed_task``: the last workflow task's failure, if none has succeeded since."""

    lines: list[StoryLine] = field(default_factory=list)
    transition: Transition | None = None
    bug: str | None = None
    cancelled_at: datetime | None = None
    failed_task: tuple[str, bool] | None = None
    failed_task_at: datetime | None = None
    continued_from: str | None = None
    #: When each step that has not ended was handed over, by activity id.
    handed_over: dict[str, datetime] = field(default_factory=dict)
    #: Why the last near attempt of a step gave no answer, by the step's name.
    near: dict[str, str] = field(default_factory=dict)


def tell(events: Sequence[HistoryEvent]) -> Told:
    """What one run's events, in order and from the first on, say."""
    teller = _Teller()
    for event in events:
        teller.take(event)
    return teller.done()


class _Teller:
    def __init__(self) -> None:
        self._told = Told()
        #: Scheduled steps by event id, timers by id.
        self._steps: dict[int, tuple[str, datetime]] = {}
        self._timers: dict[str, tuple[str, datetime]] = {}
        #: The signal that the last line tells of, and how many of it.
        self._signalled: tuple[str, int] = ("", 0)
        self._failures: dict[str, str] = {}

    def take(self, event: HistoryEvent) -> None:
        """The next event."""
        name = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").lower()
        step = getattr(self, f"_{name}", None)
        if step is not None:
            step(event, moment(event.event_time))

    def done(self) -> Told:
        """What all of them said together."""
        told = self._told
        for about, _ in self._timers.values():
            if about in _AGAIN:
                told.bug = "; ".join(self._failures.values()) or about
        return told

    def _say(self, at: datetime, what: str, trouble: bool = False) -> None:
        self._signalled = ("", 0)
        self._told.lines.append(StoryLine(at, "temporal", what, trouble))

    # --- The run ---

    def _workflow_execution_started(self, event: HistoryEvent, at: datetime) -> None:
        started = event.workflow_execution_started_event_attributes
        self._told.continued_from = started.continued_execution_run_id or None
        again = ", continued as new" if self._told.continued_from else ""
        self._say(at, f"workflow started (run {started.original_execution_run_id}{again})")

    def _workflow_execution_completed(self, event: HistoryEvent, at: datetime) -> None:
        ended = first(event.workflow_execution_completed_event_attributes.result.payloads)
        self._say(at, f"workflow ended: {ended_as(ended)}")
        self._untroubled()

    def _workflow_execution_failed(self, event: HistoryEvent, at: datetime) -> None:
        self._say(at, f"workflow failed: {words(event.workflow_execution_failed_event_attributes.failure)}", True)

    def _workflow_execution_timed_out(self, event: HistoryEvent, at: datetime) -> None:
        self._say(at, "workflow timed out", True)

    def _workflow_execution_canceled(self, event: HistoryEvent, at: datetime) -> None:
        self._say(at, "workflow cancelled", True)

    def _workflow_execution_terminated(self, event: HistoryEvent, at: datetime) -> None:
        reason = event.workflow_execution_terminated_event_attributes.reason
        self._say(at, f"workflow terminated{f': {reason}' if reason else ''}", True)

    def _workflow_execution_continued_as_new(self, event: HistoryEvent, at: datetime) -> None:
        self._say(at, "workflow continues as a new run")
        self._untroubled()

    def _workflow_execution_cancel_requested(self, event: HistoryEvent, at: datetime) -> None:
        why = event.workflow_execution_cancel_requested_event_attributes.cause
        self._told.cancelled_at = at
        self._say(at, f"somebody cancelled the workflow itself{f': {why}' if why else ''}")

    def _workflow_execution_signaled(self, event: HistoryEvent, at: datetime) -> None:
        name = event.workflow_execution_signaled_event_attributes.signal_name
        before, number = self._signalled
        if name == before:  # a flood of them is one line
            self._told.lines.pop()
        number = number + 1 if name == before else 1
        self._say(at, f"signal {name}{f', {times(number)}' if number > 1 else ''}")
        self._signalled = (name, number)

    # --- Its tasks ---

    def _workflow_task_completed(self, event: HistoryEvent, at: datetime) -> None:
        self._told.failed_task = self._told.failed_task_at = None

    def _workflow_task_failed(self, event: HistoryEvent, at: datetime) -> None:
        failed = event.workflow_task_failed_event_attributes
        cause = failed.cause
        if cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW:
            self._say(at, f"workflow reset: {words(failed.failure) or 'no reason given'}")
            return
        if cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND:
            self._say(at, "a signal came as the workflow was about to end: its task is done again")
            return
        told = words(failed.failure) or WorkflowTaskFailedCause.Name(cause)
        nondeterministic = cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR
        self._told.failed_task, self._told.failed_task_at = (told, nondeterministic), at
        self._say(at, f"workflow task failed: {told}", True)

    def _workflow_task_timed_out(self, event: HistoryEvent, at: datetime) -> None:
        if event.workflow_task_timed_out_event_attributes.timeout_type != 2:  # else: nobody asked for a sticky one
            self._say(at, "workflow task timed out: the worker that had it did not answer", True)

    # --- Steps of other services ---

    def _activity_task_scheduled(self, event: HistoryEvent, at: datetime) -> None:
        scheduled = event.activity_task_scheduled_event_attributes
        name = scheduled.activity_type.name
        self._steps[event.event_id] = (name, at)
        self._told.handed_over[scheduled.activity_id] = at
        self._say(at, f"{name} handed to the task queue {scheduled.task_queue.name}")

    def _activity_task_started(self, event: HistoryEvent, at: datetime) -> None:
        started = event.activity_task_started_event_attributes
        name, scheduled_at = self._steps[started.scheduled_event_id]
        if started.attempt > 1:
            failed = f"; before: {words(started.last_failure)}" if started.HasField("last_failure") else ""
            self._say(at, f"{name} taken, attempt {started.attempt}{failed}", True)
        elif (waited := at - scheduled_at) > timedelta(seconds=1):
            self._say(at, f"{name} taken, after {duration(waited)}", True)

    def _activity_task_completed(self, event: HistoryEvent, at: datetime) -> None:
        completed = event.activity_task_completed_event_attributes
        name, _ = self._steps[completed.scheduled_event_id]
        self._failures.pop(name, None)
        self._told.near.pop(name, None)
        self._say(at, f"{name}: {outcome(first(completed.result.payloads))}")

    def _activity_task_failed(self, event: HistoryEvent, at: datetime) -> None:
        failed = event.activity_task_failed_event_attributes
        name, _ = self._steps[failed.scheduled_event_id]
        self._failures[name] = f"{name}: {words(failed.failure)}"
        self._say(at, f"{name} failed and is not repeated: {words(failed.failure)}", True)

    def _activity_task_timed_out(self, event: HistoryEvent, at: datetime) -> None:
        failed = event.activity_task_timed_out_event_attributes
        name, _ = self._steps[failed.scheduled_event_id]
        self._failures[name] = f"{name}: {words(failed.failure)}"
        self._say(at, f"{name} timed out: {words(failed.failure)}", True)

    # --- Local activities: looks, transitions of its own row, and steps that ran near ---

    def _marker_recorded(self, event: HistoryEvent, at: datetime) -> None:
        marker = event.marker_recorded_event_attributes
        if marker.marker_name != _LOCAL:
            return
        about = first(marker.details["data"].payloads) if "data" in marker.details else None
        about = about if isinstance(about, dict) else {}
        kind = str(about.get("activity_type") or "")
        at = min(at, _moment(about.get("complete_time")) or at)
        result = first(marker.details["result"].payloads) if "result" in marker.details else None
        failure = marker.failure if marker.HasField("failure") else None
        if kind and kind not in _OWN:
            self._near(kind, at, result, failure)
        else:
            self._transition(event, kind, at, about, result, failure)

    def _near(self, name: str, at: datetime, result: Any, failure: Failure | None) -> None:
        if failure is None:
            self._told.near.pop(name, None)
            self._say(at, f"{name} (near): {outcome(result)}")
        elif is_not_here(failure):
            self._told.near.pop(name, None)
            self._say(at, f"{name} (near): not here")
        else:
            self._told.near[name] = words(failure)
            self._say(at, f"{name} (near) gave no answer: {words(failure)}", True)

    def _transition(
        self, event: HistoryEvent, kind: str, at: datetime, about: Any, result: Any, failure: Failure | None
    ) -> None:
        said = summary(event)
        name = _COMMANDS.get(said, said) or kind or "a transition"
        attempt = int(about.get("attempt") or 1)
        backoff = about.get("backoff")
        if isinstance(backoff, dict):
            pause = timedelta(seconds=backoff.get("seconds", 0), microseconds=backoff.get("nanos", 0) // 1000)
            failure = failure or Failure()
            since = _moment(about.get("original_schedule_time")) or at
            self._told.transition = Transition(
                name, attempt, words(failure), since, at + pause, is_unavailable(failure), who_is_away(failure)
            )
            self._say(at, f"{name} has failed {attempt} times: {words(failure)}; again in {duration(pause)}", True)
            return
        self._untroubled()
        if failure is not None:
            self._failures[name] = f"{name}: {words(failure)}"
            self._say(at, f"{name} failed and is not repeated: {words(failure)}", True)
            return
        self._failures.pop(name, None)
        tries = f", attempt {attempt}" if attempt > 1 else ""
        what = looked(result) if kind == _LOOK else transitioned(result)
        self._say(at, f"{name}: {what}{tries}", attempt > 1)

    def _untroubled(self) -> None:
        self._told.transition = None

    # --- Timers ---

    def _timer_started(self, event: HistoryEvent, at: datetime) -> None:
        started, about = event.timer_started_event_attributes, summary(event)
        after = span(started.start_to_fire_timeout)
        self._timers[started.timer_id] = (about, at + after)
        if about:
            self._say(at, f"timer: {about}, in {duration(after)}", about in _AGAIN)

    def _timer_fired(self, event: HistoryEvent, at: datetime) -> None:
        about, _ = self._timers.pop(event.timer_fired_event_attributes.timer_id, ("", at))
        if about:
            self._say(at, f"timer fired: {about}")

    def _timer_canceled(self, event: HistoryEvent, at: datetime) -> None:
        self._timers.pop(event.timer_canceled_event_attributes.timer_id, None)


def _moment(at: Any) -> datetime | None:
    """A time as markers have it: seconds and nanoseconds."""
    if not isinstance(at, dict) or "seconds" not in at:
        return None
    return datetime.fromtimestamp(at["seconds"], UTC) + timedelta(microseconds=at.get("nanos", 0) // 1000)
