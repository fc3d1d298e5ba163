"""The tracking consumer: the stream becomes ``order_state_tracking`` in the orders database.

It reads like any external consumer, with the kit of ``events/``; the fold is in ``orderflow/store/tracking.py``. Of the
three services it takes only what their LIFECYCLE allows: a version that no order can reach, or a status that no order
has at its version, was written by somebody else and is set aside. A record that lies within the LIFECYCLE is found by
reconciliation, which compares the tracked events with those of the databases. Its dead letters:
``python -m orderflow_events redrive --group order-tracking --effect orderflow.stream.tracking:track``.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

import structlog
from opentelemetry.trace import SpanKind

from orderflow.domain import inventory, orders, payments
from orderflow.settings import Settings
from orderflow.store import tracking
from orderflow.store.database import Database
from orderflow.stream.clients import connection_options
from orderflow.stream.sharing import client_of
from orderflow.telemetry import messaging, spans
from orderflow.telemetry.metrics import CONSUMED, CONSUMER_BATCH_SECONDS, DEAD_LETTERS, DEAD_LETTERS_PASSED
from orderflow.telemetry.origin import about_order
from orderflow.telemetry.readiness import PartKind, PartState
from orderflow.telemetry.spans import OpenSpan
from orderflow_events.consumer import ConsumerState, DeadLetter, Effect, IdempotentConsumer, Passed, Pruning, StateKind
from orderflow_events.envelope import Envelope, EnvelopeError
from orderflow_events.inbox import Connection, Gap

log = structlog.get_logger(__name__)


#: Characters of a reason that are kept. Ours are a word or two (``KnownReason``).
LONGEST_REASON: Final = 1_000


def tracked(envelope: Envelope) -> tracking.Tracked:
    """What the tracking keeps of an event. A ``reason`` that is no text, as a foreign source may have, is none."""
    reason = getattr(envelope.event, "reason", None)
    return tracking.Tracked(
        order_id=envelope.order_id,
        source=envelope.source,
        version=envelope.version,
        type=_storable(envelope.type),
        status=_storable(envelope.status),
        reason=_storable(reason)[:LONGEST_REASON] if isinstance(reason, str) else None,
        recorded_at=envelope.recorded_at,
    )


#: By source: its part of the order.
_LIFECYCLES: Final = {
    tracking.ORDERS: orders.LIFECYCLE,
    tracking.PAYMENTS: payments.LIFECYCLE,
    tracking.INVENTORY: inventory.LIFECYCLE,
}


def accept(envelope: Envelope) -> None:
    """Take an event of another source, or one that the LIFECYCLE of its part allows. Raises EnvelopeError."""
    lifecycle = _LIFECYCLES.get(envelope.source)
    if lifecycle is None:
        return
    possible = lifecycle.steps.get(envelope.version)
    if possible is None:
        raise EnvelopeError(f"no {lifecycle.aggregate} has more than {len(lifecycle.steps)} versions")
    if (envelope.type, envelope.status) not in possible:
        raise EnvelopeError(f"no {lifecycle.aggregate} becomes this by its version {envelope.version}")


def _storable(text: str) -> str:
    """Postgres has no NUL, and JSON has: no event of ours, but anybody's record may."""
    return text.replace("\x00", "\ufffd")


async def track(connection: Connection, envelopes: Sequence[Envelope]) -> None:
    """The effect of a batch. Raises EnvelopeError for what ``accept`` refuses: a redrive does not ask it."""
    for envelope in envelopes:
        accept(envelope)
    await tracking.track(connection, [tracked(envelope) for envelope in envelopes])


def traced(effect: Effect, topic: str, group: str) -> Effect:
    """``effect``; each event that is traced has a span, under its record's and linked to its origin's."""

    async def in_spans(connection: Connection, envelopes: Sequence[Envelope]) -> None:
        found = (_span(envelope, topic, group) for envelope in envelopes) if spans.are_on() else ()
        opened = [span for span in found if span is not None]
        error: str | None = None
        try:
            await effect(connection, envelopes)
        except BaseException as failed:
            error = type(failed).__name__
            raise
        finally:
            for span in opened:
                span.end(error=error)

    return in_spans


def _span(envelope: Envelope, topic: str, group: str) -> OpenSpan | None:
    return spans.open_span(
        messaging.span_name("process", topic),
        SpanKind.CONSUMER,
        envelope.sent_traceparent,
        messaging.attributes(
            "process",
            topic,
            message_id=envelope.id,
            key=str(envelope.order_id),
            event_type=envelope.type,
            group=group,
        ),
        links=[envelope.traceparent],
    )


def log_gap(gap: Gap) -> None:
    """An event is missing in the stream: the timeline has a hole, the order's state does not."""
    event = gap.envelope
    log.warning(
        "gap_in_stream",
        source=event.source,
        **about_order(event.order_id, event.correlation_id, event.traceparent),
        version=event.version,
        last_seen=gap.last_seen,
    )


def log_dead_letter(letter: DeadLetter) -> None:
    """An event could not be tracked: its order's tracking stands still until the redrive."""
    _log_aside("dead_letter", letter, dead_letter_id=letter.id, kind=letter.kind, attempts=letter.attempts)


def log_passed(passed: Passed) -> None:
    """A record could not be set aside, not even shortened; the tracking went on behind it."""
    _log_aside("dead_letter_passed", passed, missing=passed.missing)


def _log_aside(event: str, record: DeadLetter | Passed, **more: str | int) -> None:
    """That a record did not take effect: whose, why, and where it stands."""
    log.error(
        event,
        **(about_order(record.subject) if record.subject else {}),
        reason=record.reason,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        **more,
    )


_KINDS: Final = {
    StateKind.OK: PartKind.OK,
    StateKind.STARTING: PartKind.STARTING,
    StateKind.FAILING: PartKind.WAITING,
    StateKind.STOPPED: PartKind.STOPPED,
}


def readiness(state: ConsumerState) -> PartState:
    """The kit's word for how the consumer stands as our processes'."""
    return PartState(_KINDS[state.kind], state.detail)


def make_consumer(
    settings: Settings, database: Database, report: Callable[[PartState], None], *, deployment: str
) -> IdempotentConsumer:
    """A member of the tracking group that writes to ``database``, which belongs to ``deployment``."""

    group = settings.tracking_group
    for missing in ("row", "copy"):  # so that the first one is an increase
        DEAD_LETTERS_PASSED.add(group, missing, amount=0)

    def count_dead_letter(letter: DeadLetter) -> None:
        DEAD_LETTERS.add(group, letter.kind)
        if letter.kind != "undecodable":  # of these anybody may send thousands: the kit has a line for them together
            log_dead_letter(letter)

    def count_passed(passed: Passed) -> None:
        DEAD_LETTERS_PASSED.add(group, passed.missing)
        log_passed(passed)

    def count_batch(records: int, seconds: float) -> None:
        CONSUMED.add(group, amount=records)
        CONSUMER_BATCH_SECONDS.observe(seconds, group)

    return IdempotentConsumer(
        kafka=connection_options(settings)
        | {"group_instance_id": settings.tracking_instance, "client_id": client_of(deployment)},
        topic=settings.kafka_topic,
        group=group,
        connect=database.lend,
        effect=traced(track, settings.kafka_topic, group),
        accept=accept,
        pacing_seconds=settings.tracking_pacing_seconds,
        idle_seconds=settings.tracking_idle_seconds,
        pruning=Pruning(retention=timedelta(hours=settings.kafka_retention_hours)),
        on_gap=log_gap,
        on_dead_letter=count_dead_letter,
        on_passed=count_passed,
        on_state=lambda state: report(readiness(state)),
        on_batch=count_batch,
    )
