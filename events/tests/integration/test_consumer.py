"""The consumer kit's contract, on a real Kafka-protocol broker and the real Postgres."""

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import Sequence
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer

from orderflow_events.envelope import Envelope
from orderflow_events.inbox import TABLES_SQL, Connection, Gap
from orderflow_events.states import OK, STARTING, ConsumerState
from support.lab import Lab, applied, mortal, running, take_effect, take_effects
from support.waiting import until


async def committed(lab: Lab) -> int:
    """The sum of the group's offsets."""
    consumer = AIOKafkaConsumer(
        lab.settings.kafka_topic,
        bootstrap_servers=lab.settings.kafka_bootstrap_servers,
        group_id=f"{lab.settings.tracking_group}",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        return sum([await consumer.committed(tp) or 0 for tp in consumer.assignment()])
    finally:
        await consumer.stop()


async def test_duplicates_are_skipped(lab: Lab) -> None:
    order = uuid4()
    await lab.send(order, 1, 1, 2, 1, 2, 3, 2, 3)
    async with running(lab.consumer(max_records=3)):
        await applied(lab, order, [1, 2, 3])
        await lab.send(order, 3, 1, 4)
        await applied(lab, order, [1, 2, 3, 4])


async def test_the_same_version_of_another_source_is_another_event(lab: Lab) -> None:
    order = uuid4()
    await lab.send(order, 1)
    await lab.send(order, 1, source="/orderflow/payments")
    async with running(lab.consumer()):
        await applied(lab, order, [1, 1])


async def test_a_consumer_that_died_before_its_offset_commit_applies_each_event_once(lab: Lab) -> None:
    dies_before_the_commit, died = mortal()
    order = uuid4()
    await lab.send(order, 1, 2, 3)
    async with running(lab.consumer(dies_before_the_commit)) as first:
        await asyncio.wait_for(died.wait(), 30)
        first.cancel()
    assert await lab.effects(order)
    assert await committed(lab) == 0
    await lab.send(order, 4)
    async with running(lab.consumer()):
        await applied(lab, order, [1, 2, 3, 4])
    assert await committed(lab) == 4


async def test_a_consumer_that_dies_in_its_effect_loses_nothing(lab: Lab) -> None:
    async def dies(connection: Connection, envelopes: Sequence[Envelope]) -> None:
        await take_effects(connection, envelopes)
        died.set()
        await asyncio.Event().wait()

    died = asyncio.Event()
    order = uuid4()
    await lab.send(order, 1, 2, 3)
    async with running(lab.consumer(effect=dies)) as first:
        await asyncio.wait_for(died.wait(), 30)
        first.cancel()
    assert await committed(lab) == 0
    async with running(lab.consumer()):
        await applied(lab, order, [1, 2, 3])


async def test_an_effect_that_fails_is_tried_again_and_nothing_is_half_done(lab: Lab) -> None:
    failures = iter([True, True, False])

    async def fails_twice(connection: Connection, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            await take_effect(connection, envelope)
        if next(failures, False):
            raise ZeroDivisionError("a bug in the effect")

    states: list[ConsumerState] = []
    order = uuid4()
    await lab.send(order, 1, 2)
    async with running(lab.consumer(effect=fails_twice, on_state=states.append)):
        await applied(lab, order, [1, 2])
    assert any("ZeroDivisionError" in state.detail for state in states)
    assert states[-1] == OK


async def test_a_gap_is_reported_once_and_the_event_is_applied(lab: Lab) -> None:
    gaps: list[Gap] = []
    order, complete = uuid4(), uuid4()
    await lab.send(complete, 1, 2, 3)
    await lab.send(order, 1, 4, 5, 4)
    async with running(lab.consumer(on_gap=gaps.append)):
        await applied(lab, order, [1, 4, 5])
        await lab.send(order, 7)
        await applied(lab, order, [1, 4, 5, 7])
    assert [(g.envelope.order_id, g.envelope.version, g.last_seen) for g in gaps] == [(order, 4, 1), (order, 7, 5)]


async def test_a_static_member_that_was_killed_gets_its_partitions_back_at_once(lab: Lab) -> None:
    script = """
import asyncio, sys
from aiokafka import AIOKafkaConsumer
async def main():
    member = AIOKafkaConsumer(sys.argv[2], bootstrap_servers=sys.argv[1], group_id=sys.argv[3], group_instance_id="one")
    await member.start()
    while not member.assignment():
        await asyncio.sleep(0.02)
    print("assigned", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    names = (lab.settings.kafka_bootstrap_servers, lab.settings.kafka_topic, lab.settings.tracking_group)
    killed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, *names), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert killed.stdout is not None
    assert await asyncio.wait_for(killed.stdout.readline(), 30) == b"assigned\n"
    killed.kill()
    await killed.wait()
    order = uuid4()
    await lab.send(order, 1)
    async with running(lab.consumer(member="one")):
        await applied(lab, order, [1], seconds=5)


async def test_it_is_ready_when_it_holds_its_assignment(lab: Lab) -> None:
    states: list[ConsumerState] = []

    async def ready() -> bool:
        return states[-1:] == [OK]

    async with running(lab.consumer(on_state=states.append)):
        await until(ready, seconds=20)
    assert states[0] == STARTING


async def test_members_that_come_and_go_apply_each_event_once(apache_lab: Lab) -> None:
    # The small broker forgets who leads a group when a member commits during a rebalance.
    lab = apache_lab
    orders = [uuid4() for _ in range(40)]

    async def produce() -> None:
        for version in range(1, 16):
            for order in orders:
                await lab.send(order, version)

    async def all_applied() -> bool:
        return int(await lab.pool.fetchval("SELECT count(*) FROM effects")) >= 40 * 15

    async def some_applied() -> bool:
        return int(await lab.pool.fetchval("SELECT count(*) FROM effects")) > 0

    producing = asyncio.create_task(produce())
    async with running(lab.consumer(member="a", max_records=20)):
        await until(some_applied, seconds=30)
        async with running(lab.consumer(member="b", max_records=20)):
            async with running(lab.consumer(member="c", max_records=20)) as third:
                await producing
                third.cancel()  # as if killed
            await until(all_applied, seconds=60)
    rows = await lab.pool.fetch("SELECT order_id, version FROM effects ORDER BY n")
    assert max(Counter((row["order_id"], row["version"]) for row in rows).values()) == 1
    for order in orders:
        assert [row["version"] for row in rows if row["order_id"] == order] == list(range(1, 16))


async def test_a_lost_database_connection_is_no_lost_event(lab: Lab) -> None:
    order = uuid4()
    async with running(lab.consumer()):
        for version in range(1, 6):
            await lab.send(order, version)
            with contextlib.suppress(Exception):  # our own pool's connections end, too
                await lab.pool.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                )

        async def there() -> bool:
            with contextlib.suppress(Exception):
                return await lab.effects(order) == [1, 2, 3, 4, 5]
            return False

        await until(there, seconds=30)


async def test_our_migrations_make_the_tables_that_the_kit_asks_for(lab: Lab) -> None:
    columns = """SELECT column_name, data_type, is_nullable, column_default, is_identity FROM information_schema.columns
                 WHERE table_schema = $1 AND table_name = $2 ORDER BY ordinal_position"""
    constraints = """SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
                     WHERE conrelid = ($1 || '.' || $2)::regclass ORDER BY 1"""
    indexes = """SELECT replace(indexdef, $1 || '.', '') FROM pg_indexes
                 WHERE schemaname = $1 AND tablename = $2 ORDER BY indexname"""
    async with lab.pool.acquire() as connection:
        await connection.execute("CREATE SCHEMA kit; SET search_path = kit")
        for _ in range(2):  # safe to run again
            await connection.execute(TABLES_SQL)
        for table in ("processed_messages", "dead_letters"):
            for question in (columns, constraints, indexes):
                ours = await connection.fetch(question, "public", table)
                assert ours
                assert await connection.fetch(question, "kit", table) == ours


@pytest.mark.parametrize("pacing", [0.0, 0.5])
async def test_the_first_event_goes_at_once_whatever_the_pacing(lab: Lab, pacing: float) -> None:
    states: list[ConsumerState] = []

    async def ready() -> bool:
        return states[-1:] == [OK]

    order = uuid4()
    async with running(lab.consumer(pacing_seconds=pacing, on_state=states.append)):
        await until(ready, seconds=20)
        started = asyncio.get_running_loop().time()
        await lab.send(order, 1)
        await applied(lab, order, [1], seconds=5)
        await lab.send(order, 2)
        await applied(lab, order, [1, 2], seconds=5)
        # The second is in another batch than the first, which began after it was sent.
        assert asyncio.get_running_loop().time() - started >= pacing
