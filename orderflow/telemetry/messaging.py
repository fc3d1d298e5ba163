"""What spans and metrics call a record and what is done with it: OpenTelemetry's semantic conventions for messaging.

https://opentelemetry.io/docs/specs/semconv/messaging/, and its page on Kafka.
"""

from typing import Final, Literal

from orderflow.telemetry.spans import Attributes

SYSTEM: Final = "kafka"
#: Ours: the event's type, which no convention has a word for.
EVENT_TYPE: Final = "orderflow.event.type"
OPERATION_NAME: Final = "messaging.operation.name"
MESSAGE_KEY: Final = "messaging.kafka.message.key"
PARTITION: Final = "messaging.destination.partition.id"
OFFSET: Final = "messaging.kafka.offset"

Operation = Literal["send", "process"]


def span_name(operation: Operation, topic: str) -> str:
    """``send order.events``."""
    return f"{operation} {topic}"


def attributes(
    operation: Operation, topic: str, *, message_id: str, key: str, event_type: str, group: str | None = None
) -> Attributes:
    """What a span says of one record. ``group``: the consumer group that processes it."""
    said: Attributes = {
        "messaging.system": SYSTEM,
        OPERATION_NAME: operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": topic,
        "messaging.message.id": message_id,
        MESSAGE_KEY: key,
        EVENT_TYPE: event_type,
    }
    if group is not None:
        said["messaging.consumer.group.name"] = group
    return said
