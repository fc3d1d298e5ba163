"""The teller: one attempt behind each commit, few at once, and nothing that anybody waits for."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import cast
from uuid import uuid4

import pytest

from api.orders import telling
from api.orders.telling import SLOTS, Teller
from orderflow.domain.errors import Unavailable
from orderflow.domain.handovers import Handover
from orderflow.temporal.runs import OrderRuns, TemporalRefuses
from support.waiting import until


class Temporal:
    """Takes messages as soon as ``open`` is set, or raises ``error``."""

    timeout = timedelta(seconds=1)

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.error: Exception | None = None
        self.asked: list[Handover] = []
        self.at_once = self.most = 0

    async def tell(self, handover: Handover) -> None:
        self.asked.append(handover)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await self.open.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.at_once -= 1


class Kept:
    """The handovers' table."""

    def __init__(self) -> None:
        self.deleted: list[list[Handover]] = []
        self.error: Exception | None = None

    async def told(self, handovers: Sequence[Handover]) -> None:
        if self.error is not None:
            raise self.error
        self.deleted.append(list(handovers))


def a_handover(number: int = 1) -> Handover:
    return Handover(uuid4(), number, "approve")


def a_teller(temporal: Temporal, kept: Kept) -> Teller:
    return Teller(cast(OrderRuns, temporal), kept)


async def test_what_finds_no_slot_is_left_to_the_dispatcher() -> None:
    temporal, kept = Temporal(), Kept()
    async with a_teller(temporal, kept) as teller:
        sent = [a_handover(number) for number in range(SLOTS + 10)]
        for handover in sent:
            teller.tell(handover)
        await _settled()
        temporal.open.set()
    assert temporal.asked == sent[:SLOTS]
    assert temporal.most == SLOTS


async def test_what_was_told_is_deleted_together() -> None:
    temporal, kept = Temporal(), Kept()
    temporal.open.set()
    sent = [a_handover(number) for number in range(10)]
    async with a_teller(temporal, kept) as teller:
        for handover in sent:
            teller.tell(handover)
        await until(lambda: _is(bool(kept.deleted)))
    assert kept.deleted == [sent]


async def test_while_temporal_is_away_one_message_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    temporal, kept = Temporal(), Kept()
    async with a_teller(temporal, kept) as teller:
        temporal.open.set()
        temporal.error = Unavailable("temporal", "no answer in time")
        teller.tell(a_handover())
        await until(lambda: _is(teller.temporal_is_away))
        temporal.open.clear()
        for number in range(5):
            teller.tell(a_handover(number))
        await _settled()
        assert temporal.at_once == 1
        temporal.error = None
        temporal.open.set()
        await until(lambda: _is(not teller.temporal_is_away))
    assert len(temporal.asked) == 2
    assert [len(batch) for batch in kept.deleted] == [1]


async def test_that_temporal_was_away_is_not_believed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "AWAY_SECONDS", 0.05)
    temporal, kept = Temporal(), Kept()
    temporal.open.set()
    temporal.error = Unavailable("temporal", "no answer in time")
    async with a_teller(temporal, kept) as teller:
        teller.tell(a_handover())
        await until(lambda: _is(teller.temporal_is_away))
        await until(lambda: _is(not teller.temporal_is_away))


@pytest.mark.parametrize("error", [TemporalRefuses("too large"), ValueError("a bug")], ids=["refused", "bug"])
async def test_what_temporal_refuses_and_a_bug_keep_nothing_from_others(error: Exception) -> None:
    temporal, kept = Temporal(), Kept()
    temporal.open.set()
    async with a_teller(temporal, kept) as teller:
        temporal.error = error
        teller.tell(a_handover(1))
        await until(lambda: _is(temporal.asked != [] and temporal.at_once == 0))
        temporal.error = None
        assert not teller.temporal_is_away
        teller.tell(a_handover(2))
    assert [[handover.number for handover in batch] for batch in kept.deleted] == [[2]]


@pytest.mark.parametrize("error", [Unavailable("orders", "away"), ValueError("a bug")], ids=["away", "bug"])
async def test_what_cannot_be_deleted_is_left_to_the_dispatcher(error: Exception) -> None:
    temporal, kept = Temporal(), Kept()
    temporal.open.set()
    async with a_teller(temporal, kept) as teller:
        kept.error = error
        teller.tell(a_handover(1))
        await _settled()
        await teller._flush()
        kept.error = None
        teller.tell(a_handover(2))
    assert [[handover.number for handover in batch] for batch in kept.deleted] == [[2]]


async def test_at_its_end_it_finishes_what_is_under_way_and_leaves_no_task() -> None:
    temporal, kept = Temporal(), Kept()
    before = asyncio.all_tasks()
    async with a_teller(temporal, kept) as teller:
        teller.tell(a_handover())
        await _settled()
        asyncio.get_running_loop().call_later(0.05, temporal.open.set)
    assert [len(batch) for batch in kept.deleted] == [1]
    assert asyncio.all_tasks() == before


async def test_its_end_does_not_wait_for_a_temporal_that_is_silent() -> None:
    temporal, kept = Temporal(), Kept()
    temporal.timeout = timedelta(seconds=0.05)
    before = asyncio.all_tasks()
    async with asyncio.timeout(5), a_teller(temporal, kept) as teller:
        teller.tell(a_handover())
        await _settled()
    assert (kept.deleted, asyncio.all_tasks()) == ([], before)


async def _settled() -> None:
    """Let the tasks begin."""
    for _ in range(3):
        await asyncio.sleep(0)


async def _is(value: bool) -> bool:
    return value
