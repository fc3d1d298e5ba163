"""A workflow's history in words: what is said of the recorded histories, and what is seen to be under way in them."""

from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent

from operations.explain.decoding import is_unavailable, words
from operations.explain.history import Told, tell
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
