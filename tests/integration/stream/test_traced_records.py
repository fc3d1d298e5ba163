"""The spans of records and of tracked events, where something goes wrong: they say so, and they end."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from orderflow.settings import Settings
from orderflow.stream.tracking import traced, track
from orderflow.telemetry import spans
from orderflow_events.envelope import decode, encode
from support.relays import running_relay
from support.stream import insert_event, read_topic
from support.waiting import until

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#: What every messaging span has to have, by OpenTelemetry's semantic conventions, and what it should have.
NAMES = {
    "messaging.system",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.destination.name",
    "messaging.message.id",
    "messaging.kafka.message.key",
}


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What this very process traces meanwhile."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans._Tracing, "tracer", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


async def test_a_refused_records_span_says_why_and_a_sent_ones_where_it_is(
    settings: Settings, orders: "asyncpg.Connection[Any]", exported: InMemorySpanExporter
) -> None:
    small, big = uuid4(), uuid4()
    async with orders.transaction():
        await insert_event(orders, small, 1)
        await insert_event(orders, big, 1, data={"note": "x" * 3_000_000})  # larger than the producer's own limit
    async with running_relay(settings):

        async def parked() -> bool:
            return bool(await orders.fetchval("SELECT count(*) FROM parked_orders") == 1)

        await until(parked, seconds=20)
    by_key: dict[str, list[Any]] = {}
    for span in exported.get_finished_spans():
        by_key.setdefault(str((span.attributes or {})["messaging.kafka.message.key"]), []).append(span)
    for refused in by_key[str(big)]:
        assert refused.status.status_code is StatusCode.ERROR
        assert "bytes" in (refused.status.description or "")
    *_, record = await read_topic(settings.kafka_bootstrap_servers, settings.kafka_topic)
    sent = by_key[str(small)][-1]
    assert sent.status.is_ok
    assert sent.attributes["messaging.kafka.offset"] == record.offset
    assert sent.name == f"send {settings.kafka_topic}"
    assert NAMES | {"messaging.destination.partition.id"} <= sent.attributes.keys()
    assert record.headers["traceparent"].split("-")[2] == f"{sent.context.span_id:016x}"
    assert record.headers["ce_traceparent"] == TRACEPARENT


async def test_an_event_that_cannot_be_tracked_is_an_error_in_its_span(exported: InMemorySpanExporter) -> None:
    record = encode(
        source="/orderflow/orders",
        type="ORDER_APPROVED",
        order_id=uuid4(),
        version=2,
        status="APPROVED",
        recorded_at=datetime.now(UTC),
        correlation_id="c",
        traceparent=TRACEPARENT,
        data={},
    )
    nothing: Any = None
    with pytest.raises(AttributeError):
        await traced(track, "order.events", "billing")(nothing, [decode(record.headers, record.key, record.value)])
    [span] = exported.get_finished_spans()
    assert span.name == "process order.events"
    assert NAMES | {"messaging.consumer.group.name"} <= dict(span.attributes or {}).keys()
    assert (span.attributes or {})["messaging.consumer.group.name"] == "billing"
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "AttributeError")
