"""The repair of a topic that lost records: which events are missing, back to the outbox with them, and going on.

Beside running relays and writers, and as often as one likes: what is pending already is left alone, and what is sent
twice is a duplicate with the same id.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from orderflow.store import truncation
from orderflow.store.database import Database
from orderflow.store.truncation import Place
from orderflow.stream.truncation import Topic

#: As long as no writer gives up: they wait for each batch.
BATCH: Final = 1000


async def missing(database: Database, topic: Topic, source: str, partition: int, retention: timedelta) -> list[Place]:
    """The events of ``source`` that were published to ``partition`` and are not there, by order and version.

    A log loses its end, so the first that is missing is looked for by halving, and all behind it are missing too.
    Inside ``open_topic``, which says so when the brokers do not answer.
    """
    places = await truncation.in_partition(database, partition, retention)
    low, high = 0, len(places)
    while low < high:
        middle = (low + high) // 2
        if await topic.instead(source, [places[middle]]):
            high = middle
        else:
            low = middle + 1
    return sorted(places[low:], key=lambda place: (place.order_id, place.version))


async def move_back(database: Database, places: Sequence[Place]) -> int:
    """Have ``places`` (by order and version) sent again; how many were not pending already."""
    return await truncation.move_back(database, places, at_once=BATCH)


async def go_on(database: Database, topic: Topic, source: str, retention: timedelta) -> tuple[list[int], list[int]]:
    """Let each stopped partition go on where the last event that counts as published is there.

    The partitions that go on, and those that still stand. Inside ``open_topic``, as above.
    """
    last = {place.partition: place for place in await truncation.last_acknowledged(database, retention)}
    stopped = await truncation.stopped(database)
    found = await topic.instead(source, [last[number] for number in stopped if number in last])
    still = sorted(place.partition for place in found)
    lifted = sorted(stopped.difference(still))
    for number in lifted:
        await truncation.go_on(database, number)
    return lifted, still
