"""Whose members a consumer group has: whoever else is in it gets partitions, and what is in those is not tracked here.

A tracking names itself to Kafka after its orders database, so that others can see whose it is.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient

from orderflow.settings import Settings
from orderflow.stream.answering import answering
from orderflow.stream.clients import CLIENT_ID, connection_options
from orderflow_events.printable import printable

_REQUEST_MILLISECONDS: Final = 10_000
_PREFIX: Final = f"{CLIENT_ID}-"
#: Of a client's name, which may say anything; and of the names, so many.
_LONGEST_NAME: Final = 100
_MOST_NAMES: Final = 5


def client_of(deployment: str) -> str:
    """What the tracking of ``deployment`` calls itself."""
    return f"{_PREFIX}{deployment}"


def of_others(clients: Iterable[str], deployment: str) -> list[str]:
    """Those of ``clients`` that are not this stack's tracking, printable: another stack's, or anybody's."""
    return sorted({printable(one, _LONGEST_NAME) for one in set(clients) - {client_of(deployment)}})


def in_words(group: str, others: Collection[str]) -> str:
    """What is wrong, in a sentence, with what to do."""
    stacks = [one for one in others if one.startswith(_PREFIX)]
    strangers = [one for one in others if not one.startswith(_PREFIX)]
    said = []
    if stacks:
        said.append(
            f"another stack is in the consumer group {group} ({_listed(stacks)}): each tracks only part of its "
            "orders. Give one of them an ORDERFLOW_TRACKING_GROUP of its own, and an ORDERFLOW_KAFKA_TOPIC"
        )
    if strangers:
        said.append(
            f"somebody else (client {_listed(strangers)}) is in the consumer group {group}: the orders in the "
            "partitions that they get are not tracked. Let them leave it, and read in a group of their own"
        )
    return ". ".join(said)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


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
