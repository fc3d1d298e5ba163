"""Sending published events again: which ones, back to the outbox with them, and letting stopped partitions go on.

Beside running relays and writers, and as often as one likes: what is pending already is left alone, and what is sent
twice is a duplicate with the same id.

What a partition lacks is told by its content, never by offsets alone: the partition is read whole, and an event is
there when a record with its source and id is. So it makes no difference what became of the topic meanwhile.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, TypeAlias
from uuid import UUID

from orderflow.settings import Service
from orderflow.store import topics, truncation
from orderflow.store.database import Database
from orderflow.store.truncation import Chosen, Position
from orderflow.stream.truncation import Topic, identity_of

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


@dataclass(frozen=True, slots=True)
class Judged:
    """What a look at a partition found of the events that count as published there, each by order and version.

    ``missing``: not on the topic, to be sent again. ``elsewhere``: on the topic at another place than is recorded; each
    has the place where it is.
    """

    missing: list[Position]
    elsewhere: list[Position]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done in one service's database, and how the topic is known there (None: it has no id)."""

    judged: Judged
    stopped: frozenset[int]
    topic_number: int | None = None


class Republication:
    """What ``planned`` found to be sent again. Nothing is changed before ``carry_out``."""

    def __init__(
        self,
        databases: Mapping[Service, Database],
        plans: Mapping[Service, Plan],
        topic: Topic | None,
        retention: timedelta,
    ) -> None:
        self._databases = databases
        self._plans = plans
        self._topic = topic
        self._retention = retention

    @property
    def events(self) -> int:
        """How many events would be sent again."""
        return sum(len(plan.judged.missing) for plan in self._plans.values())

    async def carry_out(self) -> list[Republished]:
        """Move the events back, then let each stopped partition go on that lacks nothing any more.

        Raises Unavailable, KafkaError and OSError; what was done until then stays, and the rest is done the next time.
        """
        return [await self._carry_out(service, self._plans[service]) for service in self._databases]

    async def _carry_out(self, service: Service, plan: Plan) -> Republished:
        database = self._databases[service]
        moved = await carry_out(database, plan.judged, plan.topic_number)
        lifted: list[int] = []
        still: list[int] = []
        if self._topic is not None and plan.stopped:
            lifted, still = await go_on(database, self._topic, _source(service), plan.topic_number, self._retention)
        orders = len({position.order_id for position in plan.judged.missing})
        return Republished(service, moved, orders, lifted, still)


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
        plans: dict[Service, Plan] = {}
        for service, database in databases.items():
            number = await number_of(database, topic) if topic is not None else None
            judged = Judged([], [])
            if chosen.order_id is not None or chosen.since is not None:
                judged = Judged(await truncation.published(database, chosen), [])
            elif topic is not None:
                for partition in sorted(stopped[service]) if chosen.partition is None else [chosen.partition]:
                    one = await judge(database, topic, _source(service), partition, number, retention)
                    judged = Judged(judged.missing + one.missing, judged.elsewhere + one.elsewhere)
            plans[service] = Plan(judged, stopped[service], number)
        yield Republication(databases, plans, topic, retention)


def _source(service: Service) -> str:
    return f"/orderflow/{service}"


async def number_of(database: Database, topic: Topic) -> int | None:
    """How ``database`` knows the topic as it is now. Raises Unavailable and KafkaError."""
    return await topics.number(database, await topic.id(), topic.name)


async def judge(
    database: Database, topic: Topic, source: str, partition: int, number: int | None, retention: timedelta
) -> Judged:
    """Compare what counts as published to ``partition`` with what is there; ``number``: the present topic's.

    What stands below the log's start was removed by the retention: that is no loss, unless it was another log. With an
    event that is missing all later ones of its order are, so that they stand behind it. Inside ``open_topic``, which
    says so when the brokers do not answer.
    """
    positions = await truncation.in_partition(database, partition, retention)
    if not positions:
        return Judged([], [])
    there = await topic.contents(partition, {identity_of(source, one): one.offset for one in positions})
    judged = Judged([], [])
    behind: UUID | None = None  # the order of which something is missing
    for position in positions:
        offset = there.offsets.get(identity_of(source, position))
        let_go = position.topic_id in (number, None) and position.offset < there.start
        if position.order_id == behind or (offset is None and not let_go):
            behind = position.order_id
            judged.missing.append(position)
        elif offset is not None and (position.topic_id, position.offset) != (number, offset):
            judged.elsewhere.append(replace(position, offset=offset, topic_id=number))
    return judged


async def carry_out(database: Database, judged: Judged, number: int | None) -> int:
    """Have what is missing sent again, and correct the places; how many were not pending already."""
    await truncation.place(database, judged.elsewhere, number, at_once=BATCH)
    return await truncation.move_back(database, judged.missing, at_once=BATCH)


async def go_on(
    database: Database, topic: Topic, source: str, number: int | None, retention: timedelta
) -> tuple[list[int], list[int]]:
    """Let each stopped partition go on where the last event that counts as published is there.

    The partitions that go on, and those that still stand. Inside ``open_topic``, as above.
    """
    acknowledged = await truncation.last_acknowledged(database, number, retention)
    last = {position.partition: position for position in acknowledged}
    stopped = await truncation.stopped(database)
    found = await topic.mismatches(source, [last[partition] for partition in stopped if partition in last])
    elsewhere = {position.partition for position in await truncation.elsewhere(database, number, retention)}
    still = sorted(stopped & (elsewhere | {position.partition for position in found}))
    lifted = sorted(stopped.difference(still))
    for partition in lifted:
        await truncation.go_on(database, partition)
    return lifted, still
