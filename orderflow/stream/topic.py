"""The topic as the settings want it: made once, compared ever after.

The topic's partitions are chosen once: keys are spread by their number, so another number would move live orders to
other partitions, out of order. A clean-up by compaction would remove all events of an order but the last. So nothing is
published or consumed while one of these differs from the settings, nor while the topic is compressed as cannot be read.
Other differences are said, and stop nobody: somebody who gives the topic a longer retention need not tell us first.
So is a configuration that we may not read: relays and consumers need no right to it (docs/kafka.md).
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from orderflow.settings import Settings
from orderflow.stream.clients import connection_options
from orderflow_events.kafka_reader import unreadable_codecs


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs from the settings, in a sentence. ``stops``: nothing may be published or consumed meanwhile."""

    text: str
    stops: bool

    def __str__(self) -> str:
        return self.text


#: What must be as the settings say, whatever else differs.
_STOPS: Final = frozenset({"cleanup.policy"})


def in_words(differences: Iterable[Difference]) -> str:
    """All of them, a sentence each."""
    return " ".join(map(str, differences))


def topic_config(settings: Settings) -> dict[str, str]:
    """The topic's configuration, as Kafka spells it."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(settings.kafka_retention_hours * 3_600_000),
        "min.insync.replicas": str(settings.kafka_min_insync_replicas),
    }


async def check_topic(settings: Settings) -> list[Difference]:
    """How the topic differs from the settings; nothing: it is as it should be.

    Raises KafkaError or OSError when the brokers do not answer.
    """
    admin = AIOKafkaAdminClient(**connection_options(settings), request_timeout_ms=10_000)
    try:
        await admin.start()
        return await _differences(admin, settings)
    finally:
        await admin.close()


class TopicDiffers(Exception):
    """The topic is not there, or not as the settings say: a person has to decide what is right."""

    def __init__(self, topic: str, differences: Iterable[Difference]) -> None:
        super().__init__(f"topic {topic}: {in_words(differences)}")


@dataclass(frozen=True, slots=True)
class Ensured:
    """Whether the topic was created, and what of it differs all the same, and stops nobody."""

    created: bool
    differences: Sequence[Difference]


async def ensure_topic(settings: Settings) -> Ensured:
    """Create the topic, or see that it is as the settings say.

    Raises TopicDiffers where what differs stops the relay, and KafkaError or OSError when the brokers do not answer.
    """
    admin = AIOKafkaAdminClient(**connection_options(settings), request_timeout_ms=10_000)
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
    if any(difference.stops for difference in differences):
        raise TopicDiffers(settings.kafka_topic, differences)
    return Ensured(created, differences)


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
            raise TopicDiffers(name, [Difference(f"it cannot be created: {error.__name__} {message}.", stops=True)])
    return True


async def partitions_of(admin: AIOKafkaAdminClient, topic: str) -> list[int] | None:
    """The numbers of the topic's partitions; None: there is no such topic."""
    # Asking for one topic by name may create it, with the broker's defaults: ask for all first.
    if topic not in await admin.list_topics():
        return None
    [described] = await admin.describe_topics([topic])
    return [partition["partition"] for partition in described["partitions"]]


async def _differences(admin: AIOKafkaAdminClient, settings: Settings) -> list[Difference]:
    partitions = await partitions_of(admin, settings.kafka_topic)
    if partitions is None:
        return [Difference("It is not there: run `orderflow setup`.", stops=True)]
    differences = []
    if len(partitions) != settings.kafka_partitions:
        said = f"It has {len(partitions)} partitions, the settings say {settings.kafka_partitions}."
        differences.append(Difference(said, stops=True))
    actual = await _configuration(admin, settings.kafka_topic)
    if actual is None:
        said = "Its configuration was not compared: the brokers do not allow it (DescribeConfigs)."
        return [*differences, Difference(said, stops=False)]
    differences += [
        Difference(f"Its {name} is {actual.get(name)}, the settings say {wanted}.", stops=name in _STOPS)
        for name, wanted in topic_config(settings).items()
        if actual.get(name) != wanted
    ]
    # The topic's own, or else the brokers': they compress again what comes, ours too.
    if (codec := actual.get("compression.type")) in unreadable_codecs():
        said = f"Its compression.type is {codec}, which cannot be read here: install the package cramjam."
        differences.append(Difference(said, stops=True))
    return differences


async def _configuration(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str] | None:
    """What it says; None: we may not read it, which takes the right DescribeConfigs."""
    [response] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    [(code, message, _type, _name, entries)] = response.resources
    if for_code(code) in (TopicAuthorizationFailedError, ClusterAuthorizationFailedError):
        return None
    if code:
        raise KafkaError(f"the configuration of {topic} cannot be read: {message}")
    return {entry[0]: entry[1] for entry in entries}
