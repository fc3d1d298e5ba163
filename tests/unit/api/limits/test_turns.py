"""Turns: a few statements of one order at once, in the order in which they came, and not endlessly many."""

import asyncio
from uuid import UUID, uuid4

import pytest

from api.limits import turns
from api.limits.turns import AT_ONCE, Turns
from orderflow.domain.errors import Rejection, Unavailable


async def test_two_of_one_order_at_once_and_the_first_to_come_is_the_next() -> None:
    order, ours, inside, most, came = uuid4(), Turns(), 0, 0, []

    async def take(number: int) -> None:
        nonlocal inside, most
        async with ours.of(order):
            came.append(number)
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(take(number) for number in range(50)))
    assert (most, came) == (AT_ONCE, list(range(50)))


async def test_another_order_does_not_wait() -> None:
    ours, busy = Turns(), uuid4()
    async with ours.of(busy), ours.of(busy), asyncio.timeout(5):
        waiting = asyncio.create_task(_take(ours, busy))
        async with ours.of(uuid4()):
            assert not waiting.done()
    await waiting


async def test_one_more_than_may_wait_is_429(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MOST_WAITING", 5)
    ours, order = Turns(), uuid4()
    taken = asyncio.Event()
    waiting = [asyncio.create_task(_take(ours, order, taken)) for _ in range(AT_ONCE + 5)]
    await asyncio.sleep(0)
    with pytest.raises(Rejection) as refused:
        await _take(ours, order)
    assert (refused.value.problem.slug, refused.value.problem.status) == ("too_many_requests", 429)
    taken.set()
    await asyncio.gather(*waiting)
    await _take(ours, order)


async def test_when_the_database_is_silent_nobody_finds_that_out_one_by_one() -> None:
    ours, order = Turns(), uuid4()
    taken = asyncio.Event()
    first = [asyncio.create_task(_take(ours, order, taken)) for _ in range(AT_ONCE)]
    await asyncio.sleep(0)

    async def fails() -> None:
        async with ours.of(order):
            raise Unavailable("orders", "no answer in time")

    waiting = [asyncio.create_task(fails()) for _ in range(20)]
    await asyncio.sleep(0)
    taken.set()
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(end) for end in ends] == [Unavailable] * 20
    assert len({id(end) for end in ends}) <= AT_ONCE  # the others were told what these had met
    await asyncio.gather(*first)
    await _take(ours, order)  # and the next is tried again
    assert ours._orders == {}


async def test_a_refusal_sends_nobody_else_away() -> None:
    ours, order = Turns(), uuid4()

    async def refused() -> None:
        async with ours.of(order):
            await asyncio.sleep(0)
            raise ZeroDivisionError

    ends = await asyncio.gather(
        *(refused() for _ in range(10)), *(_take(ours, order) for _ in range(10)), return_exceptions=True
    )
    assert [type(end) for end in ends] == [ZeroDivisionError] * 10 + [type(None)] * 10


async def test_a_turn_that_comes_as_its_request_is_given_up_goes_to_the_next() -> None:
    ours, order = Turns(), uuid4()
    taken = asyncio.Event()
    first = [asyncio.create_task(_take(ours, order, taken)) for _ in range(AT_ONCE)]
    given_up, waits = (asyncio.create_task(_take(ours, order)) for _ in range(2))
    await asyncio.sleep(0)
    taken.set()
    await asyncio.gather(*first)  # its turn has come, and it has not run yet
    given_up.cancel()
    async with asyncio.timeout(5):
        await waits
    await asyncio.gather(given_up, return_exceptions=True)
    assert ours._orders == {}


async def test_nothing_is_kept_of_orders_that_are_done_with_or_given_up() -> None:
    ours, order = Turns(), uuid4()
    async with ours.of(order), ours.of(order):
        given_up = asyncio.create_task(_take(ours, order))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
    with pytest.raises(ZeroDivisionError):
        async with ours.of(order):
            raise ZeroDivisionError
    assert ours._orders == {}
    async with ours.of(order), ours.of(order):
        pass  # both turns are free again


async def _take(ours: Turns, order: UUID, until: asyncio.Event | None = None) -> None:
    async with ours.of(order):
        if until is not None:
            await until.wait()
