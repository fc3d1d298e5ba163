"""Temporal's messages in our words: failures, times, and what steps and transitions answered. Pure."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent

from orderflow.temporal.codec import why_not_opened
from orderflow.temporal.failures import UNAVAILABLE
from workflows.steps import NOT_HERE

#: What Temporal puts around a failure whose stack traces are too long for it.
_CUT: Final = "Failure exceeds size limit."

#: A step's answers that are not words of their own.
_STATES: Final = {"shut": "found the door shut, and has undone what it did", "too_late": "too late"}


def words(failure: Failure) -> str:
    """A failure in a line: its message, and what lies below where it says more."""
    said: list[str] = []
    for one in _chain(failure):
        message = one.message or _kind(one)
        if message and message != _CUT and not any(message in before for before in said):
            said.append(" ".join(message.split()))
    return "; ".join(said)[:400]


def is_unavailable(failure: Failure) -> bool:
    """Whether it says that something gave no answer, rather than that the code is wrong."""
    return any(one.application_failure_info.type.lower() == UNAVAILABLE for one in _chain(failure))


def is_not_here(failure: Failure) -> bool:
    """Whether a near attempt was not made, as the worker does not have the service, or has closed the way to it."""
    return any(one.application_failure_info.type == NOT_HERE for one in _chain(failure))


def who_is_away(failure: Failure) -> str | None:
    """Who gave no answer, as our Unavailable calls it; None where the failure does not say."""
    for one in _chain(failure):
        info = one.application_failure_info
        if info.type == UNAVAILABLE and isinstance(who := first(info.details.payloads), str):
            return None if isinstance(who, Closed) else who
    return None


def _chain(failure: Failure) -> Iterator[Failure]:
    yield failure
    while failure.HasField("cause"):
        failure = failure.cause
        yield failure


def moment(at: Timestamp) -> datetime:
    """Temporal's time as an aware one, in UTC."""
    return at.ToDatetime(UTC)


def span(length: Duration) -> timedelta:
    """Temporal's duration as a timedelta."""
    return length.ToTimedelta()


def _kind(failure: Failure) -> str:
    if failure.HasField("timeout_failure_info"):
        return "no answer in time"
    return failure.application_failure_info.type


class Closed(str):
    """In the place of a content that our keyring does not open: why."""

    __slots__ = ()


def first(payloads: Sequence[Payload]) -> Any:
    """The first payload, where it is JSON; Closed where it cannot be opened."""
    if not payloads:
        return None
    if (why := why_not_opened(payloads[0])) is not None:
        return Closed(why)
    try:
        return json.loads(payloads[0].data)
    except ValueError:
        return None


def summary(event: HistoryEvent) -> str:
    """What the workflow said of a timer or a step; empty where it said nothing."""
    if not event.HasField("user_metadata"):
        return ""
    found = first([event.user_metadata.summary])
    return found if isinstance(found, str) and not isinstance(found, Closed) else ""


def _closed(result: Any) -> str:
    return f"an answer that cannot be read: {result}" if isinstance(result, Closed) else ""


def outcome(result: Any) -> str:
    """What a step's result (``StepOutcome`` as JSON) says, in a few words; "done" for a result that is none."""
    if not isinstance(result, dict):
        return _closed(result) or "done"
    why = ", ".join(str(result[key]) for key in ("reason", "detail") if result.get(key)).rstrip(".")
    state = str(result.get("state", "done"))
    return f"{_STATES.get(state, state)}{f' ({why})' if why else ''}"


def transitioned(result: Any) -> str:
    """What a transition's result (``Outcome`` as JSON) says, in a few words; "done" for another."""
    if not isinstance(result, dict):
        return _closed(result) or "done"
    refusal = result.get("refusal")
    if isinstance(refusal, dict):
        return f"refused ({refusal.get('slug')})"
    replayed = ", which had happened before" if result.get("replayed") else ""
    return f"{result.get('status') or result.get('state')} (version {result.get('version')}){replayed}"


def ended_as(result: Any) -> str:
    """What a run's result (``OrderResult`` as JSON) says, in a few words."""
    status = result.get("status") if isinstance(result, dict) else None
    return _closed(result) or status or "there is no row"


def looked(result: Any) -> str:
    """What a look found (``OrderRow`` as JSON), in a few words; nothing of its payment token."""
    if not isinstance(result, dict) or result.get("status") is None:
        return _closed(result) or "there is no row"
    ship = result.get("ship")
    pending = f", with a pending ship ({ship.get('command_id')})" if isinstance(ship, dict) else ""
    return f"{result['status']} (version {result.get('version')}){pending}"
