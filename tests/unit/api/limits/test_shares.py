"""A principal's share: little while another is about, all that one process can do while it is alone."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from api.http.problems import ProblemAnswer
from api.limits import shares as module
from api.limits.shares import ALONE, Paused, Shares, Turn
from support.waiting import until

SHARE = 4


class Busy:
    """Requests of principals, each of which works until it is told to end."""

    def __init__(self) -> None:
        self.shares = Shares(SHARE)
        self.working: dict[str, list[asyncio.Event]] = {}
        self.tasks: list[asyncio.Task[None]] = []

    def begin(self, who: str, number: int = 1) -> None:
        self.tasks += [asyncio.create_task(self._request(who)) for _ in range(number)]

    async def works_on(self, who: str, number: int) -> None:
        async def so() -> bool:
            return len(self.working.get(who, ())) == number

        await until(so)
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(self.working.get(who, ())) == number

    def end(self, who: str) -> None:
        self.working[who].pop(0).set()

    async def end_all(self) -> None:
        for _ in range(1000):
            for events in self.working.values():
                while events:
                    events.pop().set()
            if all(task.done() for task in self.tasks):
                break
            await asyncio.sleep(0)
        await asyncio.gather(*self.tasks)
        assert all(share.in_hand == share.working == 0 for share in self.shares._shares.values())

    async def _request(self, who: str) -> None:
        turn = await self.shares.enter(who)
        event = asyncio.Event()
        self.working.setdefault(who, []).append(event)
        await event.wait()
        turn.end()


async def test_alone_it_has_the_process_for_itself() -> None:
    busy = Busy()
    busy.begin("ann", ALONE + 10)
    await busy.works_on("ann", ALONE)
    busy.end("ann")
    await busy.works_on("ann", ALONE)
    await busy.end_all()


async def test_while_another_is_about_it_has_its_share_and_the_other_never_waits() -> None:
    busy = Busy()
    busy.begin("bob")
    await busy.works_on("bob", 1)
    busy.begin("ann", 60)
    await busy.works_on("ann", SHARE)
    for _ in range(3):
        busy.end("bob")
        busy.begin("bob")
        await busy.works_on("bob", 1)
        busy.end("ann")
        await busy.works_on("ann", SHARE)
    await busy.end_all()


async def test_whoever_was_there_long_ago_is_not_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ABOUT_SECONDS", 0.0)
    busy = Busy()
    busy.begin("bob")
    await busy.works_on("bob", 1)
    busy.end("bob")
    await asyncio.gather(*busy.tasks)
    busy.begin("ann", ALONE)
    await busy.works_on("ann", ALONE)
    await busy.end_all()
    assert len(busy.shares._shares) <= 2  # and is forgotten


async def test_who_waits_for_an_outcome_takes_no_turn_meanwhile() -> None:
    shares = Shares(1)
    shares._shares["other"] = module._Share(seen_at=float("inf"))
    came = asyncio.Event()

    async def waits() -> None:
        turn = await shares.enter("ann")
        async with Paused():
            await came.wait()
        turn.end()

    async def works() -> None:
        (await shares.enter("ann")).end()
        came.set()

    async with asyncio.timeout(5):
        await asyncio.gather(waits(), works())
    assert shares._shares["ann"].working == 0


async def test_too_many_in_hand_are_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_IN_HAND", 3)
    shares = Shares(SHARE)
    turns = [await shares.enter("ann") for _ in range(3)]
    with pytest.raises(ProblemAnswer) as refused:
        await shares.enter("ann")
    assert (refused.value.problem.status, refused.value.headers["Retry-After"]) == (429, "1")
    assert await shares.enter("bob")
    turns.pop().end()
    assert await shares.enter("ann")


async def test_who_gives_up_leaves_its_place_to_the_next() -> None:
    shares = Shares(1)
    shares._shares["other"] = module._Share(seen_at=float("inf"))
    first = await shares.enter("ann")
    gives_up, waits = (asyncio.create_task(shares.enter("ann")) for _ in range(2))
    await asyncio.sleep(0)
    gives_up.cancel()
    await asyncio.wait([gives_up])
    first.end()
    (await asyncio.wait_for(waits, 5)).end()
    # Cancelled in the moment in which the turn came.
    first = await shares.enter("ann")
    gives_up, waits = (asyncio.create_task(shares.enter("ann")) for _ in range(2))
    await asyncio.sleep(0)
    first.end()
    gives_up.cancel()
    await asyncio.wait([gives_up])
    (await asyncio.wait_for(waits, 5)).end()
    assert (shares._shares["ann"].in_hand, shares._shares["ann"].working) == (0, 0)


async def test_a_turn_that_has_ended_is_not_taken_again() -> None:
    shares = Shares(1)
    turn: Turn = await shares.enter("ann")
    turn.end()
    take: Callable[[], Awaitable[None]] = turn.take
    await take()
    assert shares._shares["ann"].working == 0
