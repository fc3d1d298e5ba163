"""Counting against a limit in this process: sliding, bounded, and the same cost however many callers there are."""

import time

import pytest
from limits import RateLimitItem, parse

from api.limits import counting
from api.limits.counting import Counters, Counting
from api.limits.rates import peer, route_class
from orderflow.rates import limit_of
from orderflow.settings import Settings

MINUTE = parse("10/minute")


class Clock:
    """``time.time()`` of the counters, moved by a test. It begins with a window."""

    def __init__(self) -> None:
        self.now = time.time() // 60 * 60

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(counting, "time", clock)
    monkeypatch.setattr("limits.aio.strategies.time", clock)
    return clock


async def hits(counted: Counting, who: str, number: int) -> int:
    """Of ``number`` hits those that were allowed."""
    return sum([await counted.hit(who) for _ in range(number)])


async def test_as_many_as_the_limit_says_and_each_caller_for_itself(clock: Clock) -> None:
    counted = Counting(MINUTE, "reads", None)
    assert [await hits(counted, who, 15) for who in ("ann", "bob")] == [10, 10]
    assert not await counted.allows("ann")
    assert await counted.allows("eve")


async def test_what_is_a_whole_window_ago_counts_no_more_and_what_is_half_of_one_counts_half(clock: Clock) -> None:
    counted = Counting(MINUTE, "reads", None)
    assert await hits(counted, "ann", 10) == 10
    clock.now += 59
    assert await hits(counted, "ann", 10) == 0  # no burst at the end of a window and one at the next one's beginning
    clock.now += 31
    assert await hits(counted, "ann", 10) == 5
    clock.now += 120
    assert await hits(counted, "ann", 20) == 10


async def test_when_there_is_more_is_said_and_true(clock: Clock) -> None:
    counted = Counting(MINUTE, "reads", None)
    for ahead in (0, 7, 61, 90, 200, 59, 3):
        clock.now += ahead
        await hits(counted, "ann", 20)
        seconds = await counted.seconds("ann")
        assert 0 < seconds <= 60
        clock.now += seconds - 0.1
        assert not await counted.hit("ann")
        clock.now += 0.2
        assert await counted.hit("ann")


async def test_who_is_counted_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_COUNTED", 100)
    storage = Counters()
    for number in range(1000):
        await storage.acquire_sliding_window_entry("stays", 10**9, 60)
        await storage.acquire_sliding_window_entry(str(number), 10, 60)
    assert len(storage._windows) == 100
    assert (await storage.get_sliding_window("stays", 60))[2] == 1000  # whoever goes on is not forgotten


@pytest.mark.parametrize(
    ("client", "seen"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::", 1), "2001:db8:1:2::/64"),
        (("2001:db8:1:3::1", 1), "2001:db8:1:3::/64"),
        (("fe80::1%eth0", 1), "fe80::/64"),
        (("", 0), "unknown"),
        (("/run/api.sock", 0), "unknown"),
        (None, "unknown"),
    ],
)
def test_an_address_is_that_of_a_household(client: tuple[str, int] | None, seen: str) -> None:
    assert peer({"client": client}) == seen


def test_what_changes_nothing_is_a_read() -> None:
    assert {method: route_class(method) for method in ("GET", "HEAD", "POST", "PUT", "DELETE")} == {
        **dict.fromkeys(("GET", "HEAD"), "reads"),
        **dict.fromkeys(("POST", "PUT", "DELETE"), "writes"),
    }


@pytest.mark.parametrize("rate", ["", "many", "0/minute", "-1/minute", "10", "10/fortnight", "10/minute;", "1e3/hour"])
def test_a_rate_that_is_none_is_refused_by_its_rule(rate: str) -> None:
    with pytest.raises(ValueError, match=r"api_limit_reads\n.*(like 600/minute|one at least)"):
        Settings(api_limit_reads=rate)


def test_rates_as_they_may_be_written() -> None:
    def said(rate: str) -> tuple[int, int]:
        item: RateLimitItem | None = limit_of(rate)
        assert item is not None
        return item.amount, item.get_expiry()

    assert [said(rate) for rate in ("600/minute", "10/5 seconds", "10 per hour")] == [(600, 60), (10, 5), (10, 3600)]
    assert limit_of("off") is None


@pytest.mark.parametrize("url", ["http://cache:6379", "cache:6379", "memory://", "redis://:p@ss@cache:6379"])
def test_the_shared_limits_are_on_a_server_that_speaks_redis_protocol(url: str) -> None:
    with pytest.raises(ValueError, match="api_limits_url") as error:
        Settings(api_limits_url=url)
    assert "p@ss" not in str(error.value)
    assert Settings(api_limits_url="valkey://default:secret@cache:6379/1").api_limits_url is not None
