"""Who has so much waiting for Temporal that it starts nothing more, and that nobody else is told so."""

import asyncio

import pytest

from api.http.problems import ProblemAnswer
from api.limits import backlog as module
from api.limits.backlog import Backlog
from orderflow.domain.access import Principal
from orderflow.domain.errors import Unavailable

ANN, BOB = (Principal(name, "service_account", frozenset()) for name in ("ann", "bob"))


class Rows:
    """The principals over the limit; ``asked``: the limits that were asked for."""

    def __init__(self) -> None:
        self.over: list[str] = []
        self.asked: list[int] = []
        self.away = False

    async def heavy(self, most: int) -> list[str]:
        self.asked.append(most)
        if self.away:
            raise Unavailable("orders", "away")
        return self.over


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    return Rows()


async def looked(backlog: Backlog) -> None:
    """The next look is over."""
    backlog._background.refresh()
    await asyncio.wait_for(backlog._background.looked(), timeout=5)


async def check(backlog: Backlog, who: Principal, command: str, *, was_done: bool = False) -> None:
    async def known() -> bool:
        return was_done

    await backlog.check(who, command, known)


async def test_over_its_limit_it_starts_nothing_and_ends_what_it_likes(rows: Rows) -> None:
    backlog = Backlog(rows.heavy, 3)
    rows.over = ["ann"]
    await looked(backlog)
    for command in ("approve", "ship"):
        with pytest.raises(ProblemAnswer) as refused:
            await check(backlog, ANN, command)
        assert refused.value.problem.status == 429
        assert refused.value.headers["Retry-After"] == "10"
        assert refused.value.headers["RateLimit-Policy"].startswith('"handovers";q=3;')
        await check(backlog, BOB, command)
    for command in ("cancel", "complete"):
        await check(backlog, ANN, command)
    assert set(rows.asked) == {3}


async def test_once_they_are_fewer_it_goes_on(rows: Rows) -> None:
    backlog = Backlog(rows.heavy, 3)
    rows.over = ["ann"]
    await looked(backlog)
    rows.over = []
    await looked(backlog)
    await check(backlog, ANN, "approve")


async def test_a_database_that_is_away_changes_nothing(rows: Rows) -> None:
    backlog = Backlog(rows.heavy, 3)
    rows.over = ["ann"]
    await looked(backlog)
    rows.away = True
    await looked(backlog)
    await check(backlog, BOB, "approve")
    with pytest.raises(ProblemAnswer):
        await check(backlog, ANN, "approve")
    await backlog.close()


async def test_what_was_done_before_is_answered(rows: Rows) -> None:
    """Whoever got no answer is told to send the same again."""
    backlog = Backlog(rows.heavy, 3)
    rows.over = ["ann"]
    await looked(backlog)
    await check(backlog, ANN, "approve", was_done=True)


async def test_what_was_seen_long_ago_stops_nobody(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look that its request begins ends after it."""
    backlog = Backlog(rows.heavy, 3)
    rows.over = ["ann"]
    await looked(backlog)
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.0)
    await check(backlog, ANN, "approve")
    await backlog.close()


async def test_without_a_limit_nothing_is_asked(rows: Rows) -> None:
    backlog = Backlog(rows.heavy, 0)
    rows.over = ["ann"]
    await check(backlog, ANN, "approve")
    await backlog._background.looked()
    assert not rows.asked
