"""The topic is created once, and a difference is seen and said."""

from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import SecretStr

from orderflow.settings import Settings
from orderflow.stream.clients import connection_options
from orderflow.stream.topic import TopicDiffers, check_topic, ensure_topic


@pytest.fixture
def settings(broker: str) -> Settings:
    return Settings(_env_file=None, kafka_bootstrap_servers=broker, kafka_topic=f"order.events.{uuid4().hex[:8]}")


async def test_the_topic_is_created_and_found_again(settings: Settings) -> None:
    assert await ensure_topic(settings) is True
    assert await ensure_topic(settings) is False
    assert await check_topic(settings) == []


async def test_asking_for_a_topic_does_not_create_it(settings: Settings) -> None:
    for _ in range(2):
        assert await check_topic(settings) == ["It is not there: run `orderflow setup`."]


async def test_other_partitions_retention_and_policy_are_each_named(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(**connection_options(settings))
    await admin.start()
    other = {"cleanup.policy": "compact", "retention.ms": "1000"}
    await admin.create_topics([NewTopic(settings.kafka_topic, 3, 1, topic_configs=other)])
    await admin.close()
    differences = await check_topic(settings)
    assert len(differences) == 3
    with pytest.raises(TopicDiffers, match="3 partitions, the settings say 12") as refusal:
        await ensure_topic(settings)
    assert all(difference in str(refusal.value) for difference in differences)


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
