"""An outside judge: what our relay sends is read by librdkafka and the CloudEvents SDK, and valid by our schemas."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest_asyncio
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Consumer, Message
from jsonschema import Draft7Validator

from events.generate import HERE
from orderflow.stream.topic import ensure_topic
from orderflow_events.envelope import decode
from support.relays import running_relay, settings_for
from support.stack import Databases
from support.stream import CREATED, insert_event, let_events_stand_alone

STORY: list[tuple[str, str, dict[str, Any]]] = [
    ("ORDER_CREATED", "DRAFT", CREATED | {"reference": "Käse & Brot 🧀"}),
    ("ORDER_APPROVED", "APPROVED", {}),
    ("ORDER_STATE_CHANGED", "CANCELLED", {"from": "APPROVED", "to": "CANCELLED", "reason": "customer"}),
]


def read(bootstrap_servers: str, topic: str, count: int) -> list[Message]:
    """The first ``count`` records, as a consumer group of librdkafka gets them."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"other-{uuid4().hex[:8]}",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topic])
    messages: list[Message] = []
    try:
        for _ in range(60):
            for message in consumer.consume(count, timeout=1):
                assert message.error() is None, message.error()
                messages.append(message)
            if len(messages) >= count:
                return messages
        raise TimeoutError(f"{len(messages)} of {count} records")
    finally:
        consumer.close()


@pytest_asyncio.fixture
async def published(databases: Databases, broker: str) -> AsyncIterator[tuple[UUID, list[Message]]]:
    """An order's events, from the database through the relay to librdkafka."""
    settings = settings_for(databases, broker)
    await ensure_topic(settings)
    order = uuid4()
    connection = await asyncpg.connect(databases.as_admin("orders"))
    await let_events_stand_alone(connection)
    try:
        for version, (event_type, status, data) in enumerate(STORY, start=1):
            await insert_event(connection, order, version, type=event_type, status=status, data=data)
    finally:
        await connection.close()
    async with running_relay(settings):
        yield order, await asyncio.to_thread(read, broker, settings.kafka_topic, len(STORY))


async def test_librdkafka_and_the_cloudevents_sdk_read_what_our_relay_sends(
    published: tuple[UUID, list[Message]],
) -> None:
    order, messages = published
    assert len({message.partition() for message in messages}) == 1
    for version, (message, (event_type, status, data)) in enumerate(zip(messages, STORY, strict=True), start=1):
        # Its type would allow text and nothing; what librdkafka hands out is bytes.
        headers: dict[str, bytes] = dict(message.headers() or [])  # type: ignore[arg-type]
        key, value = message.key(), message.value()
        event = from_binary(KafkaMessage(headers, key, value or b""), JSONFormat(), CloudEvent)
        assert event.get_specversion() == "1.0"
        assert event.get_id() == f"orders/{order}/{version}"
        assert event.get_source() == "/orderflow/orders"
        assert event.get_type() == event_type
        assert event.get_subject() == str(order) == event.get_extension("partitionkey")
        assert event.get_datacontenttype() == "application/json"
        assert event.get_dataschema() == f"urn:orderflow:event:{event_type}:1"
        assert event.get_extension("sequence") == f"{version:010d}"
        assert event.get_extension("correlationid") == "corr-1"
        assert event.get_extension("traceparent").startswith("00-")
        body = event.get_data()
        assert isinstance(body, dict)
        assert (body["order_id"], body["version"], body["status"], body["data"]) == (str(order), version, status, data)

        schema = json.loads((HERE / "schemas" / f"{event_type}.1.json").read_text())
        assert schema["$id"] == event.get_dataschema()
        Draft7Validator(schema, format_checker=Draft7Validator.FORMAT_CHECKER).validate(body)

        ours = decode(list(headers.items()), key, value)
        assert (ours.id, ours.recorded_at) == (event.get_id(), event.get_time())
