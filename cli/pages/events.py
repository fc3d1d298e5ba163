"""How an event of the stream looks: on a terminal, and as JSON. Nothing here asks anybody anything."""

import json
from typing import Any

from rich.text import Text

from cli.pages.orders import COLOURS
from orderflow.stream.reading import Seen
from orderflow_events.envelope import Envelope


def line(event: Envelope) -> Text:
    """When, which order, whose, which version, what."""
    reason = getattr(event.event, "reason", None)
    return Text.assemble(
        f"{event.recorded_at:%H:%M:%S.%f}"[:-3],
        f"  {event.order_id}  {event.source.rpartition('/')[2]:<9} {event.version}  {event.type:<22} ",
        (event.status, COLOURS.get(event.status, "")),
        f"  {reason}" if reason else "",
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
