"""The stream against the databases: nothing missing, nothing foreign, in order, and enough to make every row again."""

from collections.abc import Iterable, Mapping
from typing import Final
from uuid import UUID

from operations.demo.comparison import Comparison, compared, name
from operations.demo.evidence import Event, EventId, Evidence, service_of
from orderflow.domain import inventory, orders, payments
from orderflow.domain.lifecycle import NOTHING, Lifecycle
from orderflow.settings import SERVICES
from orderflow_events.envelope import Envelope
from orderflow_events.models import EVENTS

LIFECYCLES: Final[Mapping[str, Lifecycle]] = {
    "orders": orders.LIFECYCLE,
    "payments": payments.LIFECYCLE,
    "inventory": inventory.LIFECYCLE,
}
_ROW_NAMES: Final = {"orders": "orders", "payments": "payments", "inventory": "reservations"}
_TRACKED_COLUMNS: Final = {
    "orders": ("order", "reason"),
    "payments": ("payment", "payment_reason"),
    "inventory": ("inventory", "inventory_reason"),
}


def published(evidence: Evidence) -> Comparison:
    """Each event has its publication, at the position that it names, and no outbox holds anything back."""
    wrong = [f"{waiting} wait in the outbox of {name}" for name, waiting in evidence.waiting.items() if waiting]
    wrong += [f"{parked} orders are parked in {name}" for name, parked in evidence.parked.items() if parked]
    there = {
        (seen.partition, seen.offset): (service_of(e.source), e.order_id, e.version)
        for seen in evidence.stream
        if (e := seen.envelope) is not None
    }
    for event in sorted(evidence.events.keys() | evidence.publications.keys(), key=str):
        place = evidence.publications.get(event)
        if place is None:
            wrong.append(f"{name(event)} has no publication")
        elif there.get(place) != event:
            wrong.append(f"{name(event)} is not at {place[0]}/{place[1]}")
    said = f"{len(evidence.events)} events in three databases, {len(evidence.publications)} published, none waits"
    return compared("outbox", said, wrong)


def stream_is_events(evidence: Evidence) -> Comparison:
    """The records are the events of the three databases: none missing, none foreign, the same data."""
    wrong = [f"{s.partition}/{s.offset}: {s.error}" for s in evidence.stream if s.envelope is None]
    first: dict[EventId, Envelope] = {}
    for envelope in _envelopes(evidence):
        event = (service_of(envelope.source), envelope.order_id, envelope.version)
        first.setdefault(event, envelope)
        if (written := evidence.events.get(event)) is None:
            wrong.append(f"{name(event)} is on the stream and in no database")
        elif difference := _difference(envelope, written):
            wrong.append(f"{name(event)}: {difference} differs")
    wrong += [f"{name(event)} is not on the stream" for event in evidence.events if event not in first]
    repeats = len(evidence.stream) - len(first)
    said = f"{len(evidence.stream)} records are the {len(evidence.events)} events, {repeats} repeated, none missing"
    return compared("stream = events", said, wrong)


def _difference(envelope: Envelope, written: Event) -> str | None:
    for field in ("type", "status", "correlation_id", "recorded_at"):
        if getattr(envelope, field) != getattr(written, field):
            return field
    return None if envelope.event == EVENTS[written.type].model_validate(written.data) else "data"


def in_order(evidence: Evidence) -> Comparison:
    """Each order is in one partition, and its events come first in version order, those of each service."""
    wrong: list[str] = []
    next_version: dict[tuple[str, UUID], int] = {}
    partitions: dict[UUID, int] = {}
    for seen in evidence.stream:
        if (event := seen.envelope) is None:
            continue
        if partitions.setdefault(event.order_id, seen.partition) != seen.partition:
            wrong.append(f"order {event.order_id} is in partitions {partitions[event.order_id]} and {seen.partition}")
        of = (service_of(event.source), event.order_id)
        expected = next_version.setdefault(of, 1)
        if event.version == expected:
            next_version[of] = expected + 1
        elif event.version > expected:
            wrong.append(f"{name((*of, event.version))} came before version {expected}")
    said = f"{len(partitions)} orders, each in one partition, first occurrences in version order"
    return compared("stream in order", said, wrong)


def fold_is_rows(evidence: Evidence) -> Comparison:
    """The stream alone, replayed through the LIFECYCLE tables, gives every row."""
    wrong: list[str] = []
    folded: dict[str, dict[UUID, Envelope]] = {name: {} for name in SERVICES}
    for event in _envelopes(evidence):
        service = service_of(event.source)
        before = folded.setdefault(service, {}).get(event.order_id)
        if before is not None and event.version <= before.version:
            continue
        status = before.status if before else NOTHING
        lifecycle = LIFECYCLES.get(service)
        if lifecycle is None or not any(
            t.to == event.status and t.event.type == event.type and status in t.from_ for t in lifecycle.transitions
        ):
            wrong.append(f"{event.id}: no command leads from {status or 'nothing'} to {event.status}")
        folded[service][event.order_id] = event
    for service, rows in evidence.rows.items():
        for order_id in rows.keys() | folded[service].keys():
            row, last = rows.get(order_id), folded[service].get(order_id)
            if row is None or last is None:
                wrong.append(f"{service} {order_id}: {'no row' if row is None else 'nothing on the stream'}")
            elif (row["status"], row["version"]) != (last.status, last.version):
                wrong.append(f"{service} {order_id}: row {row['status']}, stream {last.status}")
            elif getattr(last.event, "reason", None) != row["reason"]:
                wrong.append(f"{service} {order_id}: row says {row['reason']}, stream another reason")
    counts = ", ".join(f"{len(evidence.rows[service])} {rows}" for service, rows in _ROW_NAMES.items())
    return compared("fold of the stream = rows", f"{counts}: status, version and reason", wrong)


def tracking_is_rows(evidence: Evidence) -> Comparison:
    """The tracking's rows say what the three services' rows say, and its timelines hold every event."""
    wrong = []
    for order_id in evidence.tracked.keys() | evidence.rows["orders"].keys():
        tracked = evidence.tracked.get(order_id)
        if tracked is None:
            wrong.append(f"order {order_id} is not tracked")
            continue
        for service, (part, reason) in _TRACKED_COLUMNS.items():
            row = evidence.rows[service].get(order_id)
            ours = (row["status"], row["version"], row["reason"]) if row else (None, None, None)
            theirs = (tracked[f"{part}_status"], tracked[f"{part}_version"], tracked[reason])
            if ours != theirs:
                wrong.append(f"{service} {order_id}: row {ours[0]}, tracked {theirs[0]}")
    missing, foreign = (
        evidence.events.keys() - evidence.tracked_events,
        evidence.tracked_events - evidence.events.keys(),
    )
    wrong += [f"{name(event)} is not in the timeline" for event in sorted(missing, key=str)]
    wrong += [f"{name(event)} is in the timeline only" for event in sorted(foreign, key=str)]
    said = f"{len(evidence.tracked)} orders, {len(evidence.tracked_events)} events in their timelines"
    return compared("tracking = rows", said, wrong)


def _envelopes(evidence: Evidence) -> Iterable[Envelope]:
    return (seen.envelope for seen in evidence.stream if seen.envelope is not None)
