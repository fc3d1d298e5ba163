"""Whose members a consumer group has: two stacks in one group share the partitions, and each tracks half of its orders.

A tracking names itself to Kafka after its orders database, so that others can see whose it is.
"""

from collections.abc import Collection, Iterable
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient

from orderflow.settings import Settings
from orderflow.stream.answering import answering
from orderflow.stream.clients import CLIENT_ID, connection_options

_REQUEST_MILLISECONDS: Final = 10_000


def client_of(deployment: str) -> str:
    """What the tracking of ``deployment`` calls itself."""
    return f"{CLIENT_ID}-{deployment}"


def of_others(clients: Iterable[str], deployment: str) -> list[str]:
    """Those of ``clients`` that are another stack's tracking; releases before this one do not say whose they are."""
    return sorted({one for one in clients if one.startswith(f"{CLIENT_ID}-")} - {client_of(deployment)})


def in_words(group: str, others: Collection[str]) -> str:
    """What is wrong, in a sentence, with what to do."""
    return (
        f"another stack is in the consumer group {group} ({', '.join(others)}): each tracks only part of its "
        "orders. Give one of them an ORDERFLOW_TRACKING_GROUP of its own, and an ORDERFLOW_KAFKA_TOPIC"
    )


async def group_clients(settings: Settings) -> list[str]:
    """What the members of the tracking's group call themselves. Raises Unavailable."""
    async with answering():
        admin = AIOKafkaAdminClient(**connection_options(settings), request_timeout_ms=_REQUEST_MILLISECONDS)
        try:
            await admin.start()
            [response] = await admin.describe_consumer_groups([settings.tracking_group])
        finally:
            await admin.close()
    return [client for _, client, *_ in response.groups[0][5]]
