"""Dead letters on a real Kafka-protocol broker: the copy in the topic, the crashes on the way there, the commands."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from orderflow_events import dead_letter_topic
from orderflow_events.consumer import IdempotentConsumer, Pruning
from orderflow_events.dead_letters import Passed
from orderflow_events.envelope import decode
from orderflow_events.inbox import TABLES_SQL
from orderflow_events.redrive import dead_letters, redrive
from orderflow_events.states import ConsumerState
from support.dead_letters import QUICK, Poison, dead_records, in_the_topic
from support.lab import Lab, applied, mortal, running
from support.waiting import until


async def test_a_dead_letter_and_its_followers_are_in_the_topic_as_they_came_and_why(lab: Lab) -> None:
    order, other = uuid4(), uuid4()
    poison = Poison((order, 2))
    before = datetime.now(UTC)
    await lab.send(order, 1, 2, 3)
    await lab.producer.send_and_wait(lab.settings.kafka_topic, b"not an event", key=b"x", headers=[("who", b"knows")])
    await lab.send(other, 1)
    async with running(lab.consumer(effect=poison, retries=QUICK)):
        await applied(lab, other, [1])
        records = await in_the_topic(lab, 3)
        assert await lab.effects(order) == [1]

        async with lab.pool.acquire() as connection:
            rows = await connection.fetch("SELECT * FROM dead_letters ORDER BY dead_letter_id")
        by_reason = {dict(record.headers)["dlq_kind"].decode(): record for record in records}
        assert set(by_reason) == {"failed", "follows", "undecodable"}
        failed = by_reason["failed"]
        headers = {name: value.decode() for name, value in failed.headers}
        row = next(row for row in rows if row["kind"] == "failed")
        assert failed.key == str(order).encode()
        assert decode(failed.headers, failed.key, failed.value).version == 2
        assert headers["dlq_reason"] == "ZeroDivisionError: a bug in the effect"
        assert headers["dlq_attempts"] == "2"
        assert headers["dlq_topic"] == lab.settings.kafka_topic
        assert int(headers["dlq_partition"]) == row["record_partition"]
        assert int(headers["dlq_offset"]) == row["record_offset"]
        assert int(headers["dlq_timestamp"]) == row["record_timestamp"]
        first, last = (datetime.fromisoformat(headers[f"dlq_{which}_failed_at"]) for which in ("first", "last"))
        assert before - timedelta(seconds=1) <= first <= last <= datetime.now(UTC)

        follower = by_reason["follows"]
        assert (follower.partition, follower.offset) == (failed.partition, failed.offset + 1)
        assert "dlq_first_failed_at" not in dict(follower.headers)
        undecodable = by_reason["undecodable"]
        assert (undecodable.key, undecodable.value, undecodable.headers[0]) == (
            b"x",
            b"not an event",
            ("who", b"knows"),
        )

        poison.events.clear()
        result = await redrive(connect=lab.pool.acquire, group=lab.settings.tracking_group, effect=poison)
        assert (result.applied, len(result.failed)) == (2, 1)
        await lab.send(order, 4)
        await applied(lab, order, [1, 2, 3, 4])


async def test_a_member_that_dies_between_the_row_and_the_topic_loses_and_overtakes_nothing(lab: Lab) -> None:
    class DiesBeforeTheTopic(IdempotentConsumer):
        async def _work(self, *arguments: Any) -> bool:
            self._dead_letters.send = die  # type: ignore[assignment, method-assign]
            return await super()._work(*arguments)

    async def die(*_: Any) -> bool:
        died.set()
        await asyncio.Event().wait()
        return False

    died = asyncio.Event()
    order = uuid4()
    poison = Poison((order, 2))
    await lab.send(order, 1, 2, 3)
    async with running(lab.consumer(DiesBeforeTheTopic, effect=poison, retries=QUICK)) as first:
        await asyncio.wait_for(died.wait(), 40)
        first.cancel()
    assert await dead_records(lab) == []
    poison.events.clear()
    await lab.send(order, 4)
    async with running(lab.consumer(effect=poison, retries=QUICK)):
        records = await in_the_topic(lab, 3)
    assert [decode(r.headers, r.key, r.value).version for r in records] == [2, 3, 4]
    assert await lab.effects(order) == [1]
    await redrive(connect=lab.pool.acquire, group=lab.settings.tracking_group, effect=poison)
    assert await lab.effects(order) == [1, 2, 3, 4]


async def test_a_member_that_dies_between_the_topic_and_its_offset_commit_repeats_only_the_copy(lab: Lab) -> None:
    dies_before_the_commit, died = mortal()
    order = uuid4()
    poison = Poison((order, 1))
    await lab.send(order, 1, 2)
    async with running(lab.consumer(dies_before_the_commit, effect=poison, retries=QUICK)) as first:
        await asyncio.wait_for(died.wait(), 40)
        first.cancel()
    async with running(lab.consumer(effect=poison, retries=QUICK)):
        records = await in_the_topic(lab, 4)
    assert [decode(r.headers, r.key, r.value).version for r in records] == [1, 2, 1, 2]
    assert len({dict(r.headers)["ce_id"] for r in records}) == 2
    assert len(await dead_letters(lab.pool.acquire, lab.settings.tracking_group)) == 2


async def test_a_dead_letter_topic_that_cannot_be_made_is_said_and_holds_nobody_for_long(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_topic, "REFUSING_SECONDS", 1.0)
    states: list[ConsumerState] = []
    passed: list[Passed] = []
    order, other = uuid4(), uuid4()
    group = lab.settings.tracking_group
    await lab.send(order, 1)
    consumer = lab.consumer(effect=Poison((order, 1)), retries=QUICK, on_state=states.append, on_passed=passed.append)
    monkeypatch.setattr(consumer._dead_letters, "_topic", "g" * 250)  # longer than Kafka takes
    async with running(consumer):

        async def said() -> bool:
            return states[-1:] != [] and states[-1].detail.startswith("cannot send to ")

        await until(said, seconds=40)
        await lab.send(other, 1)
        await applied(lab, other, [1], seconds=40)
    assert [(one.subject, one.missing) for one in passed] == [(str(order), "copy")]
    assert "it is not there and cannot be created" in passed[0].reason
    assert [letter.subject for letter in await dead_letters(lab.pool.acquire, group)] == [str(order)]


async def test_a_consumer_prunes_its_inbox(lab: Lab) -> None:
    order = uuid4()
    await lab.send(order, 1)
    pruning = Pruning(retention=timedelta(0), margin=timedelta(milliseconds=1), every=timedelta(milliseconds=20))
    async with running(lab.consumer(pruning=pruning)):
        await applied(lab, order, [1])

        async def pruned() -> bool:
            return not await lab.pool.fetchval("SELECT count(*) FROM processed_messages")

        await until(pruned)


async def command(lab: Lab, *arguments: str) -> tuple[int, str]:
    """``python -m orderflow_events``: exit code and output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orderflow_events", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PYTHONPATH": ".:events:tests", "DATABASE_URL": lab.dsn},
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_an_operator_lists_redrives_and_discards(lab: Lab) -> None:
    first, second = uuid4(), uuid4()
    group = ("--group", lab.settings.tracking_group)
    assert await command(lab, "list", *group) == (0, "")
    for order in (first, second):
        await lab.send(order, 1, 2)
    async with running(lab.consumer(effect=Poison((first, 1), (second, 1)), retries=QUICK)):
        await in_the_topic(lab, 4)
    code, listed = await command(lab, "list", *group)
    assert (code, len(listed.splitlines())) == (1, 4)
    assert f"order {first}, failed), tried 2 times, since " in listed
    effect = ("--effect", "support.lab:take_effects")
    code, said = await command(lab, "redrive", *group, *effect, "--order", str(first))
    assert (code, said) == (0, "2 applied, 0 had been applied before, 0 fail again\n")
    [failed, _] = await dead_letters(lab.pool.acquire, lab.settings.tracking_group)
    code, said = await command(lab, "discard", *group, "--id", str(failed.id))
    assert (code, said) == (0, f"discarded {failed}\n")
    assert (await command(lab, "discard", *group, "--id", str(failed.id)))[0] == 2
    assert (await command(lab, "redrive", *group, *effect))[0] == 0
    assert await lab.effects(first) == [1, 2]
    assert await lab.effects(second) == [2]
    code, said = await command(lab, "redrive", *group, "--effect", "nowhere:effect")
    assert (code, "no MODULE:NAME" in said) == (2, True)


async def test_the_command_says_so_when_there_is_no_database(lab: Lab) -> None:
    code, said = await command(lab, "list", "--group", "g", "--database", "postgresql://127.0.0.1:1/none")
    assert code == 2
    assert "Traceback" not in said


async def test_the_command_prints_the_tables(lab: Lab) -> None:
    assert await command(lab, "tables") == (0, TABLES_SQL)
