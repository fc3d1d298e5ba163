"""A workflow's history in words: what is said of events, and what is seen to be under way in them.

The recorded histories are all told; what is said of each kind of event is tried on events made here.
"""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from google.protobuf.json_format import ParseDict
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from operations.explain.decoding import is_unavailable, who_is_away, words
from operations.explain.history import Told, tell
from orderflow.domain.errors import Unavailable
from orderflow.temporal.converter import DATA_CONVERTER
from orderflow.temporal.failures import UNAVAILABLE
from orderflow.temporal.interceptor import StepInterceptor
from orderflow.temporal.names import AGAIN_TIMER
from tools.histories.golden import files, load

START = datetime(2026, 11, 29, 12, tzinfo=UTC)
UNANSWERED = {"message": "payment gateway: no answer", "applicationFailureInfo": {"type": UNAVAILABLE}}
NOT_HERE = {"message": "not in this process", "applicationFailureInfo": {"type": "not_here"}}


def encoded(value: Any) -> dict[str, Any]:
    payload = DATA_CONVERTER.payload_converter.to_payload(value)
    return {"metadata": {k: _base64(v) for k, v in payload.metadata.items()}, "data": _base64(payload.data)}


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


class Story:
    """A history as it is written, an event a second."""

    def __init__(self) -> None:
        self.events: list[HistoryEvent] = []

    def add(self, kind: str, summary: str = "", **attributes: Any) -> "Story":
        number = len(self.events) + 1
        at = START + timedelta(seconds=number)
        fields = "".join(part.title() for part in kind.split("_"))
        event: dict[str, Any] = {
            "eventId": number,
            "eventTime": at.isoformat(),
            "eventType": f"EVENT_TYPE_{kind.upper()}",
            f"{fields[0].lower()}{fields[1:]}EventAttributes": attributes,
        }
        if summary:
            event["userMetadata"] = {"summary": encoded(summary)}
        self.events.append(ParseDict(event, HistoryEvent()))
        return self

    def local(
        self,
        step: str,
        summary: str,
        result: Any = None,
        failure: dict[str, Any] | None = None,
        *,
        before: float = 0.25,
        **about: Any,
    ) -> "Story":
        """A local activity that was done ``before`` seconds before its marker was written."""
        done = START + timedelta(seconds=len(self.events) + 1 - before)
        seconds, micros = int(done.timestamp()), done.microsecond
        data = {
            "attempt": 1,
            "activity_type": step,
            "complete_time": {"seconds": seconds, "nanos": micros * 1000},
            "original_schedule_time": {"seconds": seconds, "nanos": 0},
            "backoff": None,
            **about,
        }
        details = {"data": {"payloads": [encoded(data)]}}
        if failure is None:
            details["result"] = {"payloads": [encoded(result)]}
        more = {"failure": failure} if failure is not None else {}
        return self.add("marker_recorded", summary, markerName="core_local_activity", details=details, **more)

    def told(self) -> Told:
        return tell(self.events)

    def whats(self, *, trouble: bool | None = None) -> list[str]:
        return [line.what for line in self.told().lines if trouble is None or line.trouble is trouble]


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_every_recorded_history_can_be_told(path: Any) -> None:
    history = load(path)
    story = tell(list(history.events))
    assert story.lines[0].what.startswith("workflow started")
    assert all(line.source == "temporal" and line.what for line in story.lines)
    said = "".join(line.what for line in story.lines)
    assert "tok_" not in said
    for event in history.events:
        for payloads in event.marker_recorded_event_attributes.details.values():
            found = DATA_CONVERTER.payload_converter.from_payloads(list(payloads.payloads))
            for secure in (one.get("secure") for one in found if isinstance(one, dict)):
                assert not (secure and secure["sealed_token"]) or secure["sealed_token"] not in said


# --- Looks and transitions of its own row ---


def test_a_look_tells_the_row_and_its_pending_ship_and_nothing_of_the_token() -> None:
    story = Story()
    story.local(
        "look", "look", {"status": "APPROVED", "version": 2, "secure": {"sealed_token": "secret"}, "ship": None}
    )
    story.local("look", "look", {"status": "FULFILLING", "version": 3, "ship": {"command_id": "c:7"}})
    story.local("look", "look", {"status": None, "version": 0})
    assert story.whats() == [
        "look: APPROVED (version 2)",
        "look: FULFILLING (version 3), with a pending ship (c:7)",
        "look: there is no row",
    ]


def test_a_transition_is_called_by_its_command_and_told_at_the_time_at_which_it_was_made() -> None:
    story = Story()
    story.local("move_order", "fulfil", {"state": "done", "status": "FULFILLING", "version": 3}, before=0.5)
    story.local("end_ship", "ship", {"state": "done", "status": "SHIPPED", "version": 4, "replayed": True})
    story.local("end_ship", "ship refused", {"state": "refused", "refusal": {"slug": "capture_refused"}})
    assert story.whats() == [
        "fulfil: FULFILLING (version 3)",
        "ship: SHIPPED (version 4), which had happened before",
        "ship: refused (capture_refused)",
    ]
    assert story.told().lines[0].at == START + timedelta(seconds=0.5)


def test_a_transition_that_backs_off_is_under_way_until_it_succeeds() -> None:
    failure = {"message": "orders: refused", "applicationFailureInfo": {"type": UNAVAILABLE}}
    story = Story().local(
        "move_order", "fulfil", failure=failure, attempt=5, backoff={"seconds": 3, "nanos": 200_000_000}
    )
    told = story.told()
    assert told.transition is not None
    assert (told.transition.name, told.transition.attempt, told.transition.unavailable) == ("fulfil", 5, True)
    assert told.transition.again_at - told.lines[-1].at == timedelta(seconds=3.2)
    assert story.whats(trouble=True) == ["fulfil has failed 5 times: orders: refused; again in 3.2 s"]
    story.local("move_order", "fulfil", {"state": "done", "status": "FULFILLING", "version": 3}, attempt=6)
    assert story.told().transition is None
    assert story.whats()[-1] == "fulfil: FULFILLING (version 3), attempt 6"


# --- Steps, near and far ---


def test_a_near_attempt_tells_its_answer_or_that_there_was_none() -> None:
    story = Story()
    story.local("reserve_inventory", "reserve stock", {"state": "ok", "reason": None, "detail": None})
    story.local("authorize_payment", "authorize payment", {"state": "refused", "reason": "payment_declined"})
    story.local("void_payment", "void payment", failure=NOT_HERE)
    story.local(
        "capture_payment", "capture payment", failure={"timeoutFailureInfo": {}, "message": "Activity timed out"}
    )
    assert story.whats() == [
        "reserve_inventory (near): ok",
        "authorize_payment (near): refused (payment_declined)",
        "void_payment (near): not here",
        "capture_payment (near) gave no answer: Activity timed out",
    ]
    assert story.whats(trouble=True) == ["capture_payment (near) gave no answer: Activity timed out"]


def test_why_a_near_attempt_gave_no_answer_is_known_while_the_step_is_far() -> None:
    story = Story().local("authorize_payment", "authorize payment", failure=UNANSWERED)
    name = {"activityType": {"name": "authorize_payment"}, "activityId": "4", "taskQueue": {"name": "payments"}}
    story.add("activity_task_scheduled", "authorize payment", **name)
    assert story.told().near == {"authorize_payment": "payment gateway: no answer"}
    assert list(story.told().handed_over) == ["4"]
    story.add("activity_task_started", scheduledEventId=2, attempt=3, lastFailure=UNANSWERED)
    story.add("activity_task_completed", scheduledEventId=2, result={"payloads": [encoded({"state": "ok"})]})
    assert story.told().near == {}
    assert story.whats()[1:] == [
        "authorize_payment handed to the task queue payments",
        "authorize_payment taken, attempt 3; before: payment gateway: no answer",
        "authorize_payment: ok",
    ]


# --- Signals, cancellations, ends ---


def test_a_flood_of_signals_is_a_line() -> None:
    story = Story()
    for name in ("approve", *["dance"] * 20_000, "ship"):
        story.add("workflow_execution_signaled", signalName=name)
    assert story.whats() == ["signal approve", "signal dance, 20000 times", "signal ship"]
    story.local("look", "look", {"status": "APPROVED", "version": 2}).add(
        "workflow_execution_signaled", signalName="ship"
    )
    assert story.whats()[2:] == ["signal ship", "look: APPROVED (version 2)", "signal ship"]


def test_an_operators_cancellation_is_told_with_its_cause() -> None:
    story = Story().add("workflow_execution_cancel_requested", cause="a mistake")
    assert story.whats() == ["somebody cancelled the workflow itself: a mistake"]
    assert story.told().cancelled_at == START + timedelta(seconds=1)


def test_how_a_run_ends() -> None:
    for result, said in (({"status": "COMPLETED"}, "COMPLETED"), ({"status": None}, "there is no row")):
        story = Story().add("workflow_execution_completed", result={"payloads": [encoded(result)]})
        assert story.whats() == [f"workflow ended: {said}"]
    story = Story().add("workflow_execution_terminated", reason="by hand")
    assert story.whats(trouble=True) == ["workflow terminated: by hand"]


def test_a_task_that_is_done_again_for_a_signal_that_came_meanwhile_is_no_failure() -> None:
    cause = "WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND"
    story = Story().add("workflow_task_failed", cause=cause, failure={"message": "UnhandledCommand"})
    assert story.whats(trouble=False) == ["a signal came as the workflow was about to end: its task is done again"]
    assert story.told().failed_task is None


def test_a_reset_and_a_new_run_are_told() -> None:
    failure = {"message": "looks odd"}
    cause = "WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW"
    assert Story().add("workflow_task_failed", cause=cause, failure=failure).whats() == ["workflow reset: looks odd"]
    started = Story().add("workflow_execution_started", originalExecutionRunId="b", continuedExecutionRunId="a")
    assert started.whats() == ["workflow started (run b, continued as new)"]
    assert started.told().continued_from == "a"


def test_the_timer_before_a_step_that_failed_is_a_bug_until_it_fires() -> None:
    story = Story().local("look", "look", failure={"message": "KeyError: 'x'"})
    story.add("timer_started", AGAIN_TIMER, timerId="1", startToFireTimeout="30s")
    assert story.told().bug == "look: KeyError: 'x'"
    assert story.whats(trouble=True) == [
        "look failed and is not repeated: KeyError: 'x'",
        f"timer: {AGAIN_TIMER}, in 30 s",
    ]
    story.add("timer_fired", timerId="1").local("look", "look", {"status": "APPROVED", "version": 2})
    assert story.told().bug is None
    assert Story().add("timer_started", "another", timerId="1").told().bug is None


# --- Failures ---


def test_events_that_are_not_known_are_passed_over() -> None:
    assert tell([HistoryEvent(event_id=1, event_type=57)]).lines == []  # type: ignore[arg-type]


def test_a_failure_is_told_once_with_what_lies_below() -> None:
    below = Failure(message="payments: refused", application_failure_info={"type": "Unavailable"})  # type: ignore[arg-type]
    cut = Failure(message="Failure exceeds size limit.", cause=below)
    assert words(cut) == "payments: refused"
    assert is_unavailable(cut)
    assert words(Failure(message="a", cause=Failure(message="a", cause=Failure(message="b")))) == "a; b"
    assert not is_unavailable(Failure(message="KeyError"))


def test_a_failure_says_by_its_type_and_detail_who_is_away() -> None:
    details = Payloads(payloads=[Payload(data=b'"payment gateway"')])
    told = ApplicationFailureInfo(type=UNAVAILABLE, details=details)
    below = Failure(message="something else: entirely", application_failure_info=told)
    assert is_unavailable(below)
    assert who_is_away(Failure(message="Failure exceeds size limit.", cause=below)) == "payment gateway"
    assert who_is_away(Failure(message="payments: refused")) is None


async def test_what_raises_unavailable_in_a_step_names_who_is_away_in_the_history() -> None:
    async def step() -> None:
        raise Unavailable("payment gateway", "HTTP 503")

    class Steps(ActivityInboundInterceptor):
        async def execute_activity(self, input: Any) -> Any:
            return await step()

    environment = ActivityEnvironment()
    failure = Failure()
    intercepted = StepInterceptor().intercept_activity(Steps(cast(Any, None)))
    request = ExecuteActivityInput(fn=step, args=(), executor=None, headers={})
    with pytest.raises(ApplicationError) as raised:
        await environment.run(intercepted.execute_activity, request)
    DATA_CONVERTER.failure_converter.to_failure(raised.value, DATA_CONVERTER.payload_converter, failure)
    assert (is_unavailable(failure), who_is_away(failure)) == (True, "payment gateway")
    assert words(failure) == "payment gateway: HTTP 503"
