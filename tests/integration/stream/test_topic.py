"""The topic is created once, and a difference is seen and said."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import SecretStr

from orderflow.settings import Settings
from orderflow.stream.clients import connection_options
from orderflow.stream.topic import Difference, Ensured, TopicDiffers, check_topic, ensure_topic, in_words
from orderflow.telemetry.health import Health
from orderflow.telemetry.readiness import OK, PartKind, PartState
from support.relays import running_relay, settings_for
from support.stack import Databases
from support.stream import insert_event
from support.waiting import until
from workers import tracking
from workers.shared import Shared

OutboxEmpty = Callable[[], Awaitable[None]]


@pytest.fixture
def settings(broker: str) -> Settings:
    return Settings(_env_file=None, kafka_bootstrap_servers=broker, kafka_topic=f"order.events.{uuid4().hex[:8]}")


async def test_the_topic_is_created_and_found_again(settings: Settings) -> None:
    assert await ensure_topic(settings) == Ensured(created=True, differences=[])
    assert await ensure_topic(settings) == Ensured(created=False, differences=[])
    assert await check_topic(settings) == []


async def test_asking_for_a_topic_does_not_create_it(settings: Settings) -> None:
    for _ in range(2):
        assert await check_topic(settings) == [Difference("It is not there: run `orderflow setup`.", stops=True)]


async def test_other_partitions_retention_and_policy_are_each_named(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(**connection_options(settings))
    await admin.start()
    other = {"cleanup.policy": "compact", "retention.ms": "1000"}
    await admin.create_topics([NewTopic(settings.kafka_topic, 3, 1, topic_configs=other)])
    await admin.close()
    differences = await check_topic(settings)
    assert {difference.text.split()[1]: difference.stops for difference in differences} == {
        "has": True,
        "cleanup.policy": True,
        "retention.ms": False,
    }
    with pytest.raises(TopicDiffers, match="3 partitions, the settings say 12") as refusal:
        await ensure_topic(settings)
    assert all(str(difference) in str(refusal.value) for difference in differences)


async def test_another_retention_is_said_and_stops_nobody(
    settings: Settings, databases: Databases, orders: "asyncpg.Connection[Any]", outbox_empty: OutboxEmpty
) -> None:
    await ensure_topic(settings)
    drifted = settings_for(
        databases,
        settings.kafka_bootstrap_servers,
        kafka_topic=settings.kafka_topic,
        kafka_retention_hours=24,
        kafka_min_insync_replicas=2,
    )
    ensured = await ensure_topic(drifted)
    said = [f"Its {name} is" in in_words(ensured.differences) for name in ("retention.ms", "min.insync.replicas")]
    assert (said, len(ensured.differences)) == ([True, True], 2)
    async with running_relay(drifted) as running:
        await insert_event(orders, uuid4(), 1)
        await outbox_empty()

        async def says_so() -> bool:
            return running.states[-1] == PartState(PartKind.OK, in_words(ensured.differences))

        await until(says_so, seconds=10)
    states: dict[str, PartState] = {}

    class Told(Health):
        def set(self, part: str, state: PartState) -> None:
            states[part] = state

    stopping = asyncio.Event()
    serving = asyncio.create_task(tracking.serve(drifted, stopping, Told(), Shared(drifted, ())))

    async def tracks() -> bool:
        return states.get("tracking") == OK

    await until(tracks, seconds=40)
    stopping.set()
    await asyncio.wait_for(serving, 15)


def test_a_secured_cluster_gets_credentials_and_tls() -> None:
    settings = Settings(
        _env_file=None,
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="SCRAM-SHA-512",
        kafka_sasl_username="orderflow",
        kafka_sasl_password=SecretStr("s3cret"),
    )
    options = connection_options(settings)
    assert options["ssl_context"].check_hostname
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("orderflow", "s3cret")
