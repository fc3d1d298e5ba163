"""A span around the sending of a record: from the producer's call to Kafka's answer."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from opentelemetry.trace import SpanKind

from orderflow.store.outbox import Entry
from orderflow.telemetry import messaging, spans
from orderflow.telemetry.spans import OpenSpan
from orderflow_events.envelope import Record

#: Gives a record to a producer. The future is Kafka's answer.
Send: TypeAlias = Callable[[Record], Awaitable[asyncio.Future[Any]]]


async def send_traced(send: Send, entry: Entry, record: Record, *, service: str, topic: str) -> asyncio.Future[Any]:
    """``send`` the record of ``entry`` in a span under the step that made the event; without one where none is kept.

    The record's ``traceparent`` then names the span. ``ce_traceparent`` stays the event's, as CloudEvents' distributed
    tracing extension wants it. Raises what ``send`` raises.
    """
    span = _span(entry, service, topic) if spans.are_on() else None
    if span is None:
        return await send(record)
    others = tuple((name, value) for name, value in record.headers if name != "traceparent")
    try:
        answer = await send(replace(record, headers=(*others, ("traceparent", span.traceparent.encode()))))
    except BaseException as error:
        span.end(error=str(error) or type(error).__name__)
        raise
    answer.add_done_callback(partial(_end, span))
    return answer


def _span(entry: Entry, service: str, topic: str) -> OpenSpan | None:
    return spans.open_span(
        messaging.span_name("send", topic),
        SpanKind.PRODUCER,
        entry.traceparent,
        messaging.attributes(
            "send",
            topic,
            message_id=f"{service}/{entry.order_id}/{entry.version}",
            key=str(entry.order_id),
            event_type=entry.type,
        ),
    )


def _end(span: OpenSpan, answer: asyncio.Future[Any]) -> None:
    """Kafka has the record, or will not have it."""
    if answer.cancelled():
        span.end(error="given up")
    elif (cause := answer.exception()) is not None:
        span.end(error=str(cause) or type(cause).__name__)
    else:
        where = answer.result()
        span.end({messaging.PARTITION: str(where.partition), messaging.OFFSET: where.offset})
