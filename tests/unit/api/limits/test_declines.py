"""Card testing: who is told to stop, and that nobody else is."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest
from limits import parse

from api.http.problems import ProblemAnswer
from api.limits import declines as module
from api.limits.declines import Declines
from orderflow.domain.access import Principal
from orderflow.domain.errors import Unavailable
from orderflow.store.declines import Decline
from support.waiting import until

ANN, BOB, SHOP = (Principal(name, "app_user", frozenset()) for name in ("ann", "bob", "shop"))


class Rows:
    """The declines that there are; ``asked`` are the spans that were asked for."""

    def __init__(self) -> None:
        self.there: list[Decline] = []
        self.asked: list[float] = []
        self.away = False

    def add(self, who: str | None, customer: str, number: int = 1, age: float = 0.0) -> None:
        self.there = [Decline(uuid4(), customer, who, age) for _ in range(number)] + self.there

    async def recent(self, seconds: float) -> Sequence[Decline]:
        self.asked.append(seconds)
        if self.away:
            raise Unavailable("orders", "away")
        return self.there


async def looked(declines: Declines) -> None:
    """The next look is over."""
    declines._background.refresh()
    await asyncio.wait_for(declines._background.looked(), timeout=5)


async def check(declines: Declines, who: Principal, customer: str | None, *, was_done: bool = False) -> None:
    async def whose() -> str | None:
        return customer

    async def known() -> bool:
        return was_done

    await declines.check(who, whose, known)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    return Rows()


async def test_declined_again_and_again_it_places_no_more(rows: Rows) -> None:
    declines = Declines(rows.recent, parse("3/hour"))
    rows.add("ann", "c-1", 2)
    await looked(declines)
    await check(declines, ANN, "c-1")
    rows.add("ann", "c-1")
    await looked(declines)
    with pytest.raises(ProblemAnswer) as refused:
        await check(declines, ANN, "c-1")
    assert refused.value.problem.status == 429
    assert 0 < int(refused.value.headers["Retry-After"]) <= 3600
    assert refused.value.headers["RateLimit-Policy"] == '"declines";q=3;w=3600'


async def test_what_was_done_before_is_answered(rows: Rows) -> None:
    declines = Declines(rows.recent, parse("3/hour"))
    rows.add("ann", "c-1", 5)
    await looked(declines)
    await check(declines, ANN, "c-1", was_done=True)


async def test_nobody_else_is_stopped(rows: Rows) -> None:
    """Neither another principal of that customer, nor a shop's other customers."""
    declines = Declines(rows.recent, parse("3/hour"))
    rows.add("ann", "c-1", 5)
    rows.add("shop", "c-2", 5)
    rows.add(None, "c-3", 5)
    await looked(declines)
    await check(declines, BOB, "c-1")
    await check(declines, SHOP, "c-3")
    await check(declines, SHOP, None)
    for who, customer in ((ANN, "c-1"), (SHOP, "c-2")):
        with pytest.raises(ProblemAnswer):
            await check(declines, who, customer)


async def test_an_order_counts_once_and_no_longer_than_the_limit_says(rows: Rows) -> None:
    declines = Declines(rows.recent, parse("3/hour"))
    rows.add("ann", "c-1", 1, age=3599.95)
    rows.add("ann", "c-1", 2)
    for _ in range(5):
        await looked(declines)
    with pytest.raises(ProblemAnswer) as refused:
        await check(declines, ANN, "c-1")
    assert refused.value.headers["Retry-After"] == "1"

    async def past() -> bool:
        return len(declines._of(("ann", "c-1"))) == 2

    await until(past)
    await check(declines, ANN, "c-1")
    assert not declines._over  # its orders are not read any more to see whose they are


async def test_the_first_look_reads_the_limits_time_and_each_other_what_is_new(rows: Rows) -> None:
    declines = Declines(rows.recent, parse("3/hour"))
    await looked(declines)
    await looked(declines)
    assert rows.asked[0] == 3600
    assert rows.asked[1] <= module.OVERLAP_SECONDS + 1


async def test_a_database_that_is_away_stops_nobody(rows: Rows) -> None:
    declines = Declines(rows.recent, parse("3/hour"))
    rows.add("ann", "c-1", 5)
    rows.away = True
    await looked(declines)
    await check(declines, ANN, "c-1")
    rows.away = False
    await looked(declines)
    with pytest.raises(ProblemAnswer):
        await check(declines, ANN, "c-1")


async def test_without_a_limit_nothing_is_asked(rows: Rows) -> None:
    declines = Declines(rows.recent, None)
    await check(declines, ANN, "c-1")
    assert not rows.asked
    await declines.close()


async def test_what_is_kept_is_bounded(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PAIRS", 10)
    declines = Declines(rows.recent, parse("3/hour"))
    for number in range(50):
        rows.add("shop", f"c-{number}", 4)
    await looked(declines)
    assert len(declines._declined) == 10
    assert len(declines._seen) == 10
