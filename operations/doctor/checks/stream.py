"""Kafka: brokers, the topic as the settings want it, the tracking's group and its dead letters."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from operations.doctor.check import Check, Checked, now
from operations.words import counted, duration, short
from orderflow.domain.errors import Unavailable
from orderflow.postgres.databases import open_database
from orderflow.settings import Settings
from orderflow.store import tracking
from orderflow.store.deployment import deployment_id
from orderflow.stream.clients import connection_options
from orderflow.stream.lag import GroupLag, NoTopic, Unread, group_lags, unread
from orderflow.stream.refusals import refused
from orderflow.stream.sharing import group_clients, of_others
from orderflow.stream.sharing import in_words as sharing_in_words
from orderflow.stream.topic import check_topic, in_words, partitions_of
from orderflow_events.dead_letters import Remembered, passed_records
from orderflow_events.redrive import dead_letters

#: More records than this take the tracking a while.
MUCH_LAG = 10_000
#: What works reads a record within seconds, also beside a rebalance.
UNREAD: Final = timedelta(seconds=60)
#: A tracking that works commits offsets more often.
MOVES_SECONDS: Final = 1.5
#: So many dead letters are named.
NAMED: Final = 3


def checks(settings: Settings) -> list[Check]:
    """The brokers with the topic and the group; and the dead letters, which stand in the orders database."""
    return [
        Check("Kafka", lambda: _reached(settings), "start it, or set ORDERFLOW_KAFKA_BOOTSTRAP_SERVERS"),
        Check("dead letters", lambda: _dead_letters(settings), "see the line of the orders database"),
    ]


async def _reached(settings: Settings) -> Sequence[Checked]:
    try:
        return await _look(settings)
    except (KafkaError, OSError):
        if problem := await refused(settings):
            return [Checked("Kafka", False, problem, "correct the setting, or make the user: docs/kafka.md")]
        raise


async def _look(settings: Settings) -> Sequence[Checked]:
    admin = AIOKafkaAdminClient(**connection_options(settings), request_timeout_ms=5000)
    try:
        await admin.start()
        brokers = (await admin.describe_cluster())["brokers"]
        partitions = await partitions_of(admin, settings.kafka_topic)
    finally:
        await admin.close()
    lines = [Checked("Kafka", True, counted(len(brokers), "broker"))]
    about = f"topic {settings.kafka_topic}"
    if partitions is None:
        return [*lines, Checked(about, False, "it is not there", "make it: `orderflow setup`")]
    differences = await check_topic(settings)
    if not differences:
        lines.append(Checked(about, True, f"{counted(settings.kafka_partitions, 'partition')}, as the settings say"))
    else:
        fix = "correct the setting, or the topic (`kafka-configs --alter`); partitions can't be changed for live orders"
        stops = " Nothing is published or tracked meanwhile." if any(one.stops for one in differences) else ""
        lines.append(Checked(about, False, in_words(differences) + stops, fix))
    try:
        [lag] = await group_lags(settings, [settings.tracking_group])
    except NoTopic as error:
        return [*lines, Checked(about, False, str(error), "make it: `orderflow setup`")]
    lines.append(_tracking(lag, await _not_passed(settings, lag)))
    return [*lines, *await _sharing(settings)]


async def _sharing(settings: Settings) -> list[Checked]:
    """Whether somebody else is in the group; nothing where the orders database does not say which this one is."""
    try:
        async with open_database(
            settings, "orders", "reader", name="doctor", pool_size=1, command_timeout=2.0
        ) as database:
            others = of_others(await group_clients(settings), await deployment_id(database))
    except Unavailable:
        return []
    about = f"members of {settings.tracking_group}"
    fix = "see which stack it is by the `deployment` table of its orders database, or whose client by its name in Kafka"
    return [Checked(about, False, sharing_in_words(settings.tracking_group, others), fix)] if others else []


async def _not_passed(settings: Settings, lag: GroupLag) -> Unread | None:
    """The record that the group has stood at for longest; None: it moves, or has read all."""
    old = [one for one in await unread(settings, lag) if now() - one.since > UNREAD]
    if not old:
        return None
    # Behind a backlog, and behind a producer whose clock is wrong, records are old as well.
    await asyncio.sleep(MOVES_SECONDS)
    [later] = await group_lags(settings, [lag.group])
    before = {one.partition: one.committed for one in lag.partitions}
    stands = {one.partition for one in later.partitions if one.committed == before.get(one.partition)}
    return next((one for one in old if one.partition in stands), None)


def _tracking(lag: GroupLag, at: Unread | None) -> Checked:
    about = f"consumer group {lag.group}"
    said = f"{lag.state}, {counted(lag.members, 'member')}, {counted(lag.lag, 'record')} behind"
    if not lag.members:
        return Checked(about, False, said, "start it: `orderflow worker tracking`")
    if any(one.lost for one in lag.partitions):
        return Checked(about, False, f"{said}; it has read what Kafka has lost", "see `orderflow outbox status`")
    if at is not None:
        where = f"partition {at.partition}, offset {at.offset}"
        said += f"; it does not pass {where}, which has been there for {duration(now() - at.since)}"
        fix = "see what it says of it: its /health/ready and its log; `orderflow lag` says whether it moves"
        return Checked(about, False, said, fix)
    return Checked(about, lag.lag <= MUCH_LAG, said, "see whether it gets less: `orderflow lag`")


async def _dead_letters(settings: Settings) -> Sequence[Checked]:
    group = settings.tracking_group
    async with open_database(
        settings, "orders", "reader", name="dead letters", pool_size=1, command_timeout=5.0
    ) as database:
        count = sum((await tracking.dead_letters(database, group)).values())
        pool = await database.pool()
        first = await dead_letters(pool.acquire, group, limit=NAMED) if count else []
        async with database.lend() as connection:
            passed = await passed_records(connection, group)
    lines = [_passed(group, passed)] if passed else []
    if not count:
        return [Checked("dead letters", True, "none"), *lines]
    named = "; ".join(short(f"{one}: {one.reason}", 300) for one in first)
    said = f"{count} of {group}: {named}{'; …' if count > len(first) else ''}"
    fix = "see why: `orderflow dlq list`, then `orderflow dlq redrive`, or `orderflow dlq discard` for what is no event"
    return [Checked("dead letters", False, said, fix), *lines]


def _passed(group: str, found: Sequence[Remembered]) -> Checked:
    named = "; ".join(short(str(one), 300) for one in found[:NAMED])
    said = f"{group} has passed {len(found)} without a dead letter, so without effect: {named}"
    more = "; …" if len(found) > NAMED else ""
    fix = "see what refuses the row; look at the records (`kcat`), and when done `orderflow dlq passed --forget`"
    return Checked("records passed", False, f"{said}{more}", fix)
