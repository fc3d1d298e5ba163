"""Where a replay went another way: the first event that differs, read from what Temporal's core says. Pure.

The core names the event by its id, or only by its type ("activity type of scheduled event 'a' does not match ... 'b'").
Then it is the first such event of the workflow task that fails, which ``replayer.failing_task`` finds.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

_MESSAGE = re.compile(r'message: "((?:[^"\\]|\\.)*)"')
_BY_ID = re.compile(r"HistoryEvent\(id: (\d+), (?:Some\()?(\w+)")
_MACHINE = re.compile(r"(\w[\w ]*?) machine does not handle this event")
_RECORDED = re.compile(r"of (scheduled event|recorded marker) '([^']*)' does not match .*? of (.*? command) '([^']*)'")


@dataclass(frozen=True, slots=True)
class Difference:
    """The first event that differs. ``wanted``: what the code did instead; ``message``: as the core said it.

    Where the code failed instead of doing something else (``nondeterministic`` is False), ``event_id`` is the first
    of the workflow task at which it did. It is None where the core does not tell.
    """

    event_id: int | None
    recorded: str | None
    wanted: str | None
    message: str
    nondeterministic: bool = True


def difference(error: BaseException, events: Sequence[HistoryEvent]) -> Difference:
    """What ``error`` says about a replay, ``events`` being those of the workflow task at which it failed."""
    raw = str(error)
    found = _MESSAGE.search(raw)
    message = _unescaped(found[1]) if found else raw
    if "ondeterminism" not in raw and "NonDeterministic" not in raw:
        return Difference(events[0].event_id if events else None, None, None, message, nondeterministic=False)
    if by_id := _BY_ID.search(message):
        event = next((event for event in events if event.event_id == int(by_id[1])), None)
        recorded = describe(event) if event is not None else by_id[2]
        machine = _MACHINE.search(message)
        wanted = f"{_a(machine[1])} command" if machine else "no command"
        return Difference(int(by_id[1]), recorded, wanted, message)
    if named := _RECORDED.search(message):
        event = next((event for event in events if _is(event, named[1], named[2])), None)
        recorded = describe(event) if event is not None else f"{named[1]} {named[2]}"
        return Difference(event.event_id if event else None, recorded, f"{named[3]} {named[4]}", message)
    return Difference(None, None, None, message)


def describe(event: HistoryEvent) -> str:
    """An event by its type, and what it is about."""
    kind = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")
    about = _step(event)
    return f"{kind} {about}" if about else kind


def _is(event: HistoryEvent, kind: str, name: str) -> bool:
    wanted = EventType.EVENT_TYPE_MARKER_RECORDED if "marker" in kind else EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    return event.event_type == wanted and _step(event) == name


def _step(event: HistoryEvent) -> str:
    if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
        return event.activity_task_scheduled_event_attributes.activity_type.name
    if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED:
        return next(_markers(event), "")
    return ""


def _markers(event: HistoryEvent) -> Iterator[str]:
    for payload in event.marker_recorded_event_attributes.details["data"].payloads:
        try:
            about = json.loads(payload.data)
        except ValueError:
            continue
        if isinstance(about, dict) and "activity_type" in about:
            yield str(about["activity_type"])


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n").replace('\\"', '"').replace("\\'", "'").replace("\\\\", "\\")


def _a(machine: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", machine).lower()
