"""A workflow's history in words: what is said of the recorded histories, and what is seen to be under way in them."""

import json
from datetime import timedelta
from typing import Any, cast

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.history.v1 import HistoryEvent, TimerStartedEventAttributes
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from operations.explain.decoding import is_unavailable, who_is_away, words
from operations.explain.history import Told, tell
from orderflow.domain.errors import Unavailable
from orderflow.temporal.converter import DATA_CONVERTER
from orderflow.temporal.failures import UNAVAILABLE
from orderflow.temporal.interceptor import StepInterceptor
from orderflow.temporal.names import AGAIN_TIMER, DRAFT_TIMER
from tools.histories.golden import files, load


def told(scenario: str, events: int | None = None, number: int = 0) -> Told:
    return tell(list(load(files(scenario)[number]).events)[:events])


def whats(story: Told, *, trouble: bool | None = None) -> list[str]:
    return [line.what for line in story.lines if trouble is None or line.trouble is trouble]


def up_to(scenario: str, **wanted: Any) -> Told:
    """The history's beginning, to the first event at which the story has what is wanted."""
    events = list(load(files(scenario)[0]).events)
    for number in range(1, len(events) + 1):
        story = tell(events[:number])
        if all(getattr(story, name) for name in wanted):
            return story
    raise AssertionError(f"{scenario} never has {wanted}")


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_every_recorded_history_can_be_told(path: Any) -> None:
    story = tell(list(load(path).events))
    assert story.lines[0].what.startswith("workflow started")
    assert all(line.source == "temporal" and line.what for line in story.lines)
    assert "tok_" not in "".join(whats(story))


def test_a_transition_that_backs_off_is_under_way_until_it_succeeds() -> None:
    story = up_to("orders_database_away", transition=True)
    assert story.transition is not None
    assert (story.transition.name, story.transition.attempt) == ("place", 5)
    assert story.transition.unavailable
    assert story.transition.again_at - story.lines[-1].at == timedelta(seconds=3.2)
    assert "does not exist" in story.transition.failure
    whole = told("orders_database_away")
    assert whole.transition is None
    assert any(line.startswith("place has failed 5 times: orders: ") for line in whats(whole, trouble=True))
    assert "place: DRAFT (version 1), attempt 6" in whats(whole)


def test_a_signal_is_untaken_until_a_task_has_it() -> None:
    story = up_to("happy_path", untaken=True)
    assert [signal.name for signal in story.untaken] == ["approve"]
    assert told("happy_path").untaken == ()


def test_signals_that_came_while_no_worker_ran_are_all_untaken() -> None:
    events = list(load(files("orders_worker_down_with_a_queue")[0]).events)
    most = max((tell(events[:number]).untaken for number in range(1, len(events) + 1)), key=len)
    assert len(most) >= 2


def test_a_draft_expires_at_the_time_of_its_timer() -> None:
    story = up_to("happy_path", expires_at=True)
    assert story.expires_at is not None
    assert story.expires_at - story.lines[0].at > timedelta(minutes=1)
    assert told("happy_path").expires_at is None


def test_refusals_and_reasons_are_told() -> None:
    assert "authorize_payment: refused (payment_declined)" in whats(told("payment_declined"))
    assert any("refused (" in line for line in whats(told("illegal_and_repeated_commands")))


def test_a_reset_is_told() -> None:
    assert any(line.startswith("workflow reset: ") for line in whats(told("reset_to_its_beginning")))


def test_a_run_that_goes_on_names_the_one_before() -> None:
    assert "workflow continues as a new run" in whats(told("continued_as_new"))
    assert told("continued_as_new", number=1).continued_from


def test_a_step_that_was_repeated_tells_why() -> None:
    story = told("gateway_loses_its_answers")
    assert any(" taken, attempt " in line and "before: " in line for line in whats(story, trouble=True))


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


def test_the_timer_before_a_step_that_failed_is_a_bug_until_it_fires() -> None:
    def timer(number: int, about: str) -> HistoryEvent:
        said = Payload(data=json.dumps(about).encode())
        started = TimerStartedEventAttributes(timer_id=str(number))
        return HistoryEvent(
            event_id=number,
            event_type=EventType.EVENT_TYPE_TIMER_STARTED,
            timer_started_event_attributes=started,
            user_metadata=UserMetadata(summary=said),
        )

    story = tell([timer(1, DRAFT_TIMER), timer(2, AGAIN_TIMER)])
    assert (story.bug, story.expires_at is not None) == (AGAIN_TIMER, True)
    assert tell([timer(1, "another")]).bug is None


def test_refusals_are_called_by_what_they_refuse() -> None:
    assert "ship: refused (capture_refused)" in whats(told("capture_refused_then_shipped"))
    assert any(line.startswith("place: refused") for line in whats(told("placing_refused")))
