"""Sending published events again: which ones, back to the outbox with them, and letting stopped partitions go on.

Beside running relays and writers, and as often as one likes: what is pending already is left alone, and what is sent
twice is a duplicate with the same id.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

from orderflow.settings import Service
from orderflow.store import truncation
from orderflow.store.database import Database
from orderflow.store.truncation import Chosen, Position
from orderflow.stream.truncation import Topic

#: As long as no writer gives up: they wait for each batch.
BATCH: Final = 1000

OpenTopic: TypeAlias = Callable[[], AbstractAsyncContextManager[Topic]]


@dataclass(frozen=True, slots=True)
class Republished:
    """What was done in one service's database: how many events are pending again, of how many orders.

    ``going_on``: partitions that stood still and are published to again; ``still_stopped``: those that are not.
    """

    service: Service
    republished: int
    orders: int
    going_on: list[int]
    still_stopped: list[int]


class Republication:
    """What ``planned`` found to be sent again. Nothing is changed before ``carry_out``."""

    def __init__(
        self,
        databases: Mapping[Service, Database],
        positions: Mapping[Service, Sequence[Position]],
        stopped: Mapping[Service, frozenset[int]],
        topic: Topic | None,
        retention: timedelta,
    ) -> None:
        self._databases = databases
        self._positions = positions
        self._stopped = stopped
        self._topic = topic
        self._retention = retention

    @property
    def events(self) -> int:
        """How many events would be sent again."""
        return sum(map(len, self._positions.values()))

    async def carry_out(self) -> list[Republished]:
        """Move the events back, then let each stopped partition go on that lacks nothing any more.

        Raises Unavailable, KafkaError and OSError; what was done until then stays, and the rest is done the next time.
        """
        return [await self._carry_out(service, database) for service, database in self._databases.items()]

    async def _carry_out(self, service: Service, database: Database) -> Republished:
        positions = self._positions[service]
        moved = await move_back(database, positions)
        lifted: list[int] = []
        still: list[int] = []
        if self._topic is not None and self._stopped[service]:
            lifted, still = await go_on(database, self._topic, _source(service), self._retention)
        return Republished(service, moved, len({position.order_id for position in positions}), lifted, still)


@asynccontextmanager
async def planned(
    databases: Mapping[Service, Database], open_topic: OpenTopic, chosen: Chosen, retention: timedelta
) -> AsyncIterator[Republication]:
    """What is to be sent again of all ``databases``; the topic is open inside, where it has to be looked at.

    An order or a moment means all that was published of it, whether the topic has it or not. Without them it is what
    the topic lacks: in the chosen partition, or in each stopped one. Raises Unavailable, KafkaError and OSError.
    """
    async with AsyncExitStack() as stack:
        stopped = {service: await truncation.stopped(database) for service, database in databases.items()}
        topic: Topic | None = None
        if chosen.partition is not None or any(stopped.values()):
            topic = await stack.enter_async_context(open_topic())
        positions: dict[Service, list[Position]] = {}
        for service, database in databases.items():
            if chosen.order_id is not None or chosen.since is not None:
                positions[service] = await truncation.published(database, chosen)
                continue
            numbers = sorted(stopped[service]) if chosen.partition is None else [chosen.partition]
            positions[service] = [
                position
                for number in numbers
                if topic is not None
                for position in await missing(database, topic, _source(service), number, retention)
            ]
        yield Republication(databases, positions, stopped, topic, retention)


def _source(service: Service) -> str:
    return f"/orderflow/{service}"


async def missing(
    database: Database, topic: Topic, source: str, partition: int, retention: timedelta
) -> list[Position]:
    """The events of ``source`` that were published to ``partition`` and are not there, by order and version.

    A log loses its end, so the first that is missing is looked for by halving, and all behind it are missing too.
    Inside ``open_topic``, which says so when the brokers do not answer.
    """
    positions = await truncation.in_partition(database, partition, retention)
    low, high = 0, len(positions)
    while low < high:
        middle = (low + high) // 2
        if await topic.mismatches(source, [positions[middle]]):
            high = middle
        else:
            low = middle + 1
    return sorted(positions[low:], key=lambda position: (position.order_id, position.version))


async def move_back(database: Database, positions: Sequence[Position]) -> int:
    """Have ``positions`` (by order and version) sent again; how many were not pending already."""
    return await truncation.move_back(database, positions, at_once=BATCH)


async def go_on(database: Database, topic: Topic, source: str, retention: timedelta) -> tuple[list[int], list[int]]:
    """Let each stopped partition go on where the last event that counts as published is there.

    The partitions that go on, and those that still stand. Inside ``open_topic``, as above.
    """
    acknowledged = await truncation.last_acknowledged(database, retention)
    last = {position.partition: position for position in acknowledged}
    stopped = await truncation.stopped(database)
    found = await topic.mismatches(source, [last[number] for number in stopped if number in last])
    still = sorted(position.partition for position in found)
    lifted = sorted(stopped.difference(still))
    for number in lifted:
        await truncation.go_on(database, number)
    return lifted, still
