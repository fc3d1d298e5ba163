"""How an event of the stream looks: on a terminal, and as JSON. Nothing here asks anybody anything."""

import json
from typing import Any

from rich.text import Text

from cli.pages.orders import COLOURS
from operations.words import short
from orderflow.stream.reading import Seen
from orderflow_events.envelope import Envelope


def line(event: Envelope) -> Text:
    """When, which order, whose, which version, what."""
    reason = getattr(event.event, "reason", None)
    source, kind, status = (short(text, 60) for text in (event.source.rpartition("/")[2], event.type, event.status))
    return Text.assemble(
        f"{event.recorded_at:%H:%M:%S.%f}"[:-3],
        f"  {event.order_id}  {source:<9} {event.version}  {kind:<22} ",
        (status, COLOURS.get(status, "")),
        f"  {short(str(reason), 200)}" if reason else "",
    )


def document(seen: Seen, event: Envelope) -> dict[str, Any]:
    """The record's value, and beside it what its headers and its position say."""
    return {
        "partition": seen.partition,
        "offset": seen.offset,
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "time": event.recorded_at.isoformat(),
        "correlation_id": event.correlation_id,
        "traceparent": event.traceparent,
        **json.loads(seen.value),
    }
