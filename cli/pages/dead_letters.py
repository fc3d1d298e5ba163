"""How dead letters look: on a terminal, and as JSON. Nothing here asks anybody anything."""

import json
from collections.abc import Sequence
from typing import Any, Final

from rich import box
from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from operations.words import short
from orderflow_events.dead_letters import DeadLetter

#: Levels of a value that is shown as JSON. An event's has 4.
MOST_NESTED: Final = 100


def document(letter: DeadLetter, *, whole: bool = False) -> dict[str, Any]:
    """One for programs; ``whole``: with the record as it came."""
    said: dict[str, Any] = {
        "id": letter.id,
        "group": letter.group,
        "order_id": letter.subject,
        "kind": letter.kind,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "first_failed_at": letter.first_failed_at.isoformat() if letter.first_failed_at else None,
        "last_failed_at": letter.last_failed_at.isoformat() if letter.last_failed_at else None,
        "dead_lettered_at": letter.dead_lettered_at.isoformat(),
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
    }
    if whole:
        headers = {name: _text(value) for name, value in letter.headers}
        said |= {"key": _text(letter.key), "headers": headers, "value": _value(letter)}
    return said


def _text(raw: bytes | None) -> str | None:
    """A key or a header's value; Kafka has a null for both."""
    return None if raw is None else raw.decode(errors="replace")


def _value(letter: DeadLetter) -> Any:
    """The record's JSON, or its text where it is none, or is nested deeper than can be written again."""
    text = _text(letter.value) or ""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if _is_flat(value) else text


def _is_flat(value: Any) -> bool:
    """Whether ``value`` has at most ``MOST_NESTED`` levels. Looked at level by level, which no depth ends."""
    level = [value]
    for _ in range(MOST_NESTED + 1):
        level = [one for one in level if isinstance(one, dict | list)]
        if not level:
            return True
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return False


def table(letters: Sequence[DeadLetter]) -> RenderableType:
    """A row each."""
    drawn = Table("id", "since", "order", "where", "kind", Column("reason", overflow="fold"), box=box.SIMPLE)
    for letter in letters:
        where = f"{letter.partition}/{letter.offset}"
        since = f"{letter.dead_lettered_at:%Y-%m-%d %H:%M:%SZ}"
        drawn.add_row(str(letter.id), since, letter.subject or "-", where, letter.kind, Text(short(letter.reason, 500)))
    return drawn
