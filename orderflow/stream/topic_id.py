"""The id that Kafka gives a topic when it is made: a topic of the same name that was made anew has another.

It comes with the answer to a Metadata request of version 10 (Kafka 2.8). aiokafka speaks version 5 at most, so the two
structures are declared here, in aiokafka's own terms (its next minor version needs the tests of this module).
"""

from io import BytesIO
from typing import Any, Final
from uuid import UUID

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, KafkaConnectionError, NoError, for_code
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

_NONE: Final = UUID(int=0)


class _Uuid(AbstractType[UUID]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


class _Answer(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString()),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", CompactString()), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _Describe(Request[_Question]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_Question]) -> _Question:
        return request_struct_class([(_NONE, self._topic, {})], False, False, False, {})


async def topic_id(client: AIOKafkaClient, node: int, topic: str) -> UUID | None:
    """The id of ``topic``, as the broker ``node`` knows it; None: it gives its topics none.

    Raises UnknownTopicOrPartitionError where it is not there, and other KafkaErrors.
    """
    try:
        answer: Any = await client.send(node, _Describe(topic))
    except (IncompatibleBrokerVersion, NotImplementedError):  # older than Kafka 2.8
        return None
    [(code, _name, found, *_)] = answer.topics
    error = for_code(code)
    if error is not NoError:
        raise error(f"topic {topic}")
    return None if found == _NONE else found


async def topic_id_of(client: AIOKafkaClient, topic: str) -> UUID | None:
    """The same, asked of any broker that answers."""
    for broker in client.cluster.brokers():
        if await client.ready(broker.nodeId):
            return await topic_id(client, broker.nodeId, topic)
    raise KafkaConnectionError("no broker answers")
