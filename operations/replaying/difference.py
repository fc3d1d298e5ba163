"""Where a replay went another way: the first event that differs, read from what Temporal's core says. Pure.

The core names the event by its id, or only by its type ("activity type of scheduled event 'a' does not match ... 'b'"):
then it is the first such event of the workflow task that fails, which ``replayer.failing_task`` finds. Of a local
activity it names the number, which stands in the marker.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

_MESSAGE = re.compile(r'message: "((?:[^"\\]|\\.)*)"')
_BY_ID = re.compile(r"HistoryEvent\(id: (\d+), (?:Some\()?(\w+)")
_MACHINE = re.compile(r"(\w[\w ]*?) machine does not handle this event")
_MISSING = re.compile(r"Missing associated machine for LocalActivity\((\d+)\)")
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
    messages = list(dict.fromkeys(map(_unescaped, _MESSAGE.findall(raw)))) or [raw]
    message = messages[0]
    if "ondeterminism" not in raw and "NonDeterministic" not in raw:
        message = "; ".join(messages)  # the cause says what, what is around it only where
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
    if missing := _MISSING.search(message):
        event = next((event for event in events if int(missing[1]) in map(_number, _markers(event))), None)
        recorded = describe(event) if event is not None else "a local activity"
        return Difference(event.event_id if event else None, recorded, "no command", message)
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
        return next((str(about["activity_type"]) for about in _markers(event)), "")
    return ""


def _number(about: Mapping[str, Any]) -> int | None:
    number = about.get("seq")
    return number if isinstance(number, int) else None


def _markers(event: HistoryEvent) -> Iterator[Mapping[str, Any]]:
    for payload in event.marker_recorded_event_attributes.details["data"].payloads:
        try:
            about = json.loads(payload.data)
        except ValueError:
            continue
        if isinstance(about, dict) and "activity_type" in about:
            yield about


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n").replace('\\"', '"').replace("\\'", "'").replace("\\\\", "\\")


def _a(machine: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", machine).lower()
