"""Apache Kafka with SCRAM-SHA-512 by TLS, and ACLs: our processes work with docs/kafka.md's rights, nobody with less.

Skipped where Java or Maven are missing.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from operations.doctor.check import run_all
from operations.doctor.checks import stream
from orderflow.settings import Settings
from orderflow.stack.errors import StackError
from orderflow.stack.ports import free_port
from orderflow.stack.supervisor import Supervisor
from orderflow.store.database import Database
from orderflow.store.tracking import TrackedPart, read
from orderflow.stream.clients import connection_options, make_producer
from orderflow.stream.refusals import refused
from orderflow.stream.topic import check_topic, ensure_topic
from orderflow.telemetry.health import Health
from orderflow.telemetry.readiness import OK, PartKind, PartState
from orderflow_events.kafka_reader import KafkaReader
from orderflow_events.names import dead_letter_topic
from support.certificates import Authority
from support.guarded_kafka import AclOperation, GuardedBroker, ResourceType
from support.relays import running_relay, settings_for
from support.stack import Databases
from support.stream import CREATED, insert_event
from support.waiting import until
from workers.shared import Shared
from workers.tracking import serve

pytestmark = pytest.mark.timeout(180)


@dataclass
class Guarded:
    """A broker that asks, and the settings of a process before it says who it is."""

    broker: GuardedBroker
    settings: Settings

    def as_user(self, name: str, password: str | None = None) -> Settings:
        """The settings of a process that is ``name``."""
        return self.broker.as_user(self.settings, name, password)


@pytest_asyncio.fixture
async def guarded(
    databases: Databases, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Guarded]:
    """With the topic, and the rights of docs/kafka.md for ``relay`` and ``tracking``; ``stranger`` has none."""
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    broker = GuardedBroker(tmp_path, free_port(), free_port(), ("relay", "tracking", "stranger"), authority)
    try:
        await broker.initialise()
    except StackError as error:
        pytest.skip(str(error))
    group = f"tracking-{uuid4().hex[:8]}"
    guarded = Guarded(broker, settings_for(databases, broker.bootstrap_servers, tracking_group=group))
    topic, dead = guarded.settings.kafka_topic, dead_letter_topic(guarded.settings.kafka_topic, group)
    supervisor = Supervisor(tmp_path / "logs")
    try:
        await supervisor.start(broker.spec())
        await ensure_topic(guarded.as_user("setup"))
        await broker.allow(
            "relay",
            (ResourceType.TOPIC, topic, AclOperation.WRITE),
            (ResourceType.TOPIC, topic, AclOperation.READ),
        )
        await broker.allow(
            "tracking",
            (ResourceType.TOPIC, topic, AclOperation.READ),
            (ResourceType.GROUP, group, AclOperation.READ),
            (ResourceType.TOPIC, dead, AclOperation.CREATE),
            (ResourceType.TOPIC, dead, AclOperation.WRITE),
        )
        yield guarded
    finally:
        await supervisor.stop()


async def _write(settings: Settings, value: bytes = b"junk") -> None:
    producer = make_producer(settings)
    try:
        await producer.start()
        await asyncio.wait_for(producer.send_and_wait(settings.kafka_topic, value), 15)
    finally:
        await producer.stop()


async def _consume(settings: Settings, group: str) -> Any:
    consumer = KafkaReader(
        settings.kafka_topic, **connection_options(settings), group_id=group, auto_offset_reset="earliest"
    )
    try:
        await asyncio.wait_for(consumer.start(), 15)
        return await asyncio.wait_for(consumer.getone(), 15)
    finally:
        await consumer.stop()


async def test_our_processes_work_with_the_rights_that_they_are_given(
    guarded: Guarded, orders: "asyncpg.Connection[Any]", orders_database: Database
) -> None:
    order = uuid4()
    relay, tracking = guarded.as_user("relay"), guarded.as_user("tracking")
    states: dict[str, PartState] = {}

    class Told(Health):
        def set(self, part: str, state: PartState) -> None:
            states[part] = state

    async def tracked() -> bool:
        shown = await read(orders_database, order)
        return shown is not None and shown.order == TrackedPart("DRAFT", 1, None)

    async def aside() -> bool:
        return bool(await orders.fetchval("SELECT count(*) FROM dead_letters") == 1)

    stopping = asyncio.Event()
    serving = asyncio.create_task(serve(tracking, stopping, Told(), Shared(tracking, ())))
    async with running_relay(relay) as running:
        await _write(relay)
        await insert_event(orders, order, 1, type="ORDER_CREATED", status="DRAFT", data=CREATED)
        await until(tracked, seconds=60)
        await until(aside, seconds=30)
        assert (running.states[-1].kind, "DescribeConfigs" in running.states[-1].detail) == (PartKind.OK, True)
    assert states == {"tracking": OK}, "it has said why it cannot compare the configuration, and goes on"
    stopping.set()
    await asyncio.wait_for(serving, 15)
    for settings in (relay, tracking):
        [difference] = await check_topic(settings)
        assert (difference.stops, "DescribeConfigs" in difference.text) == (False, True)
    assert await check_topic(guarded.as_user("setup")) == []


async def test_nobody_else_reads_or_writes(guarded: Guarded) -> None:
    group = guarded.settings.tracking_group
    await _write(guarded.as_user("relay"))
    record = await _consume(guarded.as_user("tracking"), group)
    assert record.value == b"junk"
    with pytest.raises(TopicAuthorizationFailedError):
        await _write(guarded.as_user("tracking"))
    with pytest.raises(GroupAuthorizationFailedError):
        await _consume(guarded.as_user("relay"), group)
    with pytest.raises(GroupAuthorizationFailedError):
        await _consume(guarded.as_user("tracking"), "another-group")
    with pytest.raises(KafkaError):
        await _write(guarded.as_user("stranger"))
    with pytest.raises(KafkaError):
        await _consume(guarded.as_user("stranger"), group)
    named = guarded.as_user("relay")
    for without in ({"kafka_security_protocol": "SSL"}, {"kafka_security_protocol": "SASL_PLAINTEXT"}):
        with pytest.raises((KafkaError, TimeoutError)):
            await _write(named.model_copy(update=without))
    with pytest.raises((KafkaError, TimeoutError)):
        await _write(named.model_copy(update={"kafka_ssl_ca_file": None}))  # it does not know who signed for the broker


async def test_a_wrong_password_is_called_that(guarded: Guarded) -> None:
    wrong = guarded.as_user("relay", "not-the-password")
    with pytest.raises(KafkaConnectionError, match="Unable to bootstrap"):
        await check_topic(wrong)
    [check, _] = stream.checks(wrong)
    [line] = await run_all([check])
    assert not line.ok
    assert "does not know the user 'relay'" in line.detail
    assert "ORDERFLOW_KAFKA_SASL_PASSWORD" in line.detail
    assert "not-the-password" not in line.detail
    plain = wrong.model_copy(update={"kafka_sasl_mechanism": "PLAIN"})
    assert "ORDERFLOW_KAFKA_SASL_MECHANISM=PLAIN" in str(await refused(plain))
    assert await refused(guarded.as_user("relay")) is None
    assert await refused(guarded.settings) is None
