"""How dead letters look: on a terminal, and as JSON. Nothing here asks anybody anything."""

import json
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from operations.words import short
from orderflow_events.dead_letters import DeadLetter


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
        headers = {name: value.decode(errors="replace") for name, value in letter.headers}
        key = None if letter.key is None else letter.key.decode(errors="replace")
        said |= {"key": key, "headers": headers, "value": _value(letter)}
    return said


def _value(letter: DeadLetter) -> Any:
    """The record's JSON, or its text where it is none."""
    text = (letter.value or b"").decode(errors="replace")
    try:
        return json.loads(text)
    except ValueError:
        return text


def table(letters: Sequence[DeadLetter]) -> RenderableType:
    """A row each."""
    drawn = Table("id", "since", "order", "where", "kind", Column("reason", overflow="fold"), box=box.SIMPLE)
    for letter in letters:
        where = f"{letter.partition}/{letter.offset}"
        since = f"{letter.dead_lettered_at:%Y-%m-%d %H:%M:%SZ}"
        drawn.add_row(str(letter.id), since, letter.subject or "-", where, letter.kind, Text(short(letter.reason, 500)))
    return drawn
