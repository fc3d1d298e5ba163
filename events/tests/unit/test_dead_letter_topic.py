"""What one member does with the copies of its dead letters where their topic, or its broker, does not take them."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidReplicationFactorError,
    NotControllerError,
    PolicyViolationError,
    UnknownError,
)

from orderflow_events import dead_letter_topic
from orderflow_events._pauses import Backoff
from orderflow_events.dead_letter_topic import DeadLetterTopic
from orderflow_events.dead_letters import DeadLetter, Kind, Passed
from orderflow_events.states import ConsumerState
from support.waiting import until


def letter(number: int, kind: Kind = "failed") -> DeadLetter:
    now = datetime.now(UTC)
    where: Any = {"topic": "t", "partition": 0, "offset": number, "timestamp": 0}
    when: Any = {"first_failed_at": now, "last_failed_at": now, "dead_lettered_at": now}
    what: Any = {"subject": "s", "kind": kind, "reason": "why", "attempts": 1, "key": b"k", "value": b"v"}
    return DeadLetter(id=number, group="g", headers=(), **where, **when, **what)


class Broker:
    """What stands behind the producers and the administrator. ``errors`` come first, one for each record."""

    def __init__(self) -> None:
        self.may_start = True
        self.errors: list[Exception] = []
        self.sent: list[int] = []
        self.codes: list[int] = []
        self.partitions: list[dict[str, Any]] = [{"replicas": [1]}]

    def producer(self, **_: Any) -> "Producer":
        return Producer(self)

    def administrator(self, **_: Any) -> "Administrator":
        return Administrator(self)


class Producer:
    """One that never started takes records, and sends none."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._started = False

    async def start(self) -> None:
        if not self._broker.may_start:
            raise ClusterAuthorizationFailedError
        self._started = True

    async def stop(self) -> None:
        self._started = False

    async def send_and_wait(self, *arguments: Any, **options: Any) -> None:
        await (await self.send(*arguments, **options))

    async def send(self, *_: Any, headers: Any, **__: Any) -> "asyncio.Future[None]":
        delivery: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._started and self._broker.errors:
            delivery.set_exception(self._broker.errors.pop(0))
        elif self._started:
            self._broker.sent.append(int(dict(headers)["dlq_offset"]))
            delivery.set_result(None)
        return delivery


class Administrator:
    """Makes topics as the broker says."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def list_topics(self) -> list[str]:
        return [] if self._broker.codes or not self._broker.partitions else ["t.dlq.g"]

    async def describe_topics(self, _: Any) -> list[dict[str, Any]]:
        return [{"partitions": self._broker.partitions}]

    async def create_topics(self, _: Any) -> Any:
        code = self._broker.codes.pop(0)
        return type("Response", (), {"topic_errors": [("t.dlq.g", code, "")]})


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(dead_letter_topic, "AIOKafkaProducer", broker.producer)
    monkeypatch.setattr(dead_letter_topic, "AIOKafkaAdminClient", broker.administrator)
    monkeypatch.setattr(dead_letter_topic, "Backoff", lambda: Backoff(0.001, 0.001))
    # The first no is one for long enough.
    monkeypatch.setattr(dead_letter_topic, "REFUSING_SECONDS", 0.0)
    return broker


class Member:
    """The topic as a member has it, and what was said."""

    def __init__(self) -> None:
        self.passed: list[Passed] = []
        self.states: list[ConsumerState] = []
        self.topic = DeadLetterTopic({}, "t", "g", on_state=self.states.append, on_passed=self.passed.append)

    async def send(self, *letters: DeadLetter) -> None:
        async with asyncio.timeout(10):
            assert await self.topic.send(letters, asyncio.Event())


async def test_where_nobody_may_write_each_batch_is_passed_and_holds_up_nobody(broker: Broker) -> None:
    broker.may_start, member = False, Member()
    await member.send(letter(1))
    await member.send(letter(2), letter(3))
    assert [(one.offset, one.missing) for one in member.passed] == [(1, "copy"), (2, "copy"), (3, "copy")]
    broker.may_start = True
    await member.send(letter(4))
    assert broker.sent == [4]


async def test_a_copy_that_goes_through_ends_what_the_topic_refused_before(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.may_start, member = False, Member()
    await member.send(letter(1))
    broker.may_start = True
    await member.send(letter(2, "undecodable"), letter(3, "undecodable"))
    monkeypatch.setattr(dead_letter_topic, "REFUSING_SECONDS", 30.0)
    broker.errors = [UnknownError()]
    await member.send(letter(4), letter(5))
    assert broker.sent == [2, 3, 4, 5]
    assert [one.offset for one in member.passed] == [1]


@pytest.mark.parametrize("error", [NotControllerError, InvalidReplicationFactorError])
async def test_a_topic_that_cannot_be_made_while_brokers_are_down_is_waited_for(
    broker: Broker, error: type[Exception]
) -> None:
    broker.codes, member = [error.errno] * 3 + [0], Member()  # type: ignore[attr-defined]  # of Kafka's errors
    await member.send(letter(1))
    assert (broker.sent, member.passed) == ([1], [])
    assert error.__name__ in member.states[0].detail


async def test_a_topic_that_a_rule_forbids_is_not_waited_for(broker: Broker) -> None:
    broker.codes, member = [PolicyViolationError.errno], Member()
    await member.send(letter(1))
    assert [one.offset for one in member.passed] == [1]
    assert "PolicyViolationError" in member.passed[0].reason


async def test_a_topic_whose_width_nobody_says_is_waited_for(broker: Broker) -> None:
    broker.partitions, member = [], Member()
    sending = asyncio.create_task(member.send(letter(1)))

    async def said() -> bool:
        return member.states != []

    await until(said)
    broker.partitions = [{"replicas": [1]}]
    await sending
    assert (broker.sent, member.passed) == ([1], [])
