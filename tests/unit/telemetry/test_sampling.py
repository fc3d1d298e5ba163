"""What is asked for at a scrape: seldom, not for long, and left out when nobody answers."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

import pytest

from orderflow.telemetry import meters
from orderflow.telemetry.meters import sampled
from orderflow.telemetry.metrics import OUTBOX_ENTRIES, SAMPLE_FAILURES
from support.scrapes import Scrape, counted


@pytest.fixture(autouse=True)
def _on() -> None:
    meters.switch_on()


async def _scrape() -> Scrape:
    return Scrape.of((await meters.exposition(SAMPLE_FAILURES)).decode())


class Gauges:
    """One series, read by ``sample``."""

    def __init__(self, sample: Callable[[], Awaitable[None]]) -> None:
        self._sample = sample

    async def sample(self) -> None:
        await self._sample()

    def forget(self) -> None:
        OUTBOX_ENTRIES.forget("test")


async def test_scrapes_that_follow_each_other_share_a_sample() -> None:
    samples = count(1)

    async def sample() -> None:
        OUTBOX_ENTRIES.set(next(samples), "test")

    with sampled("test", Gauges(sample)):
        assert (await _scrape()).total("orderflow_outbox_entries", service="test") == 1
        assert (await _scrape()).total("orderflow_outbox_entries", service="test") == 1
    assert not list((await _scrape()).of_name("orderflow_outbox_entries", service="test"))


async def test_what_cannot_be_read_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "SAMPLE_EVERY_SECONDS", 0.0)
    works = True

    async def sample() -> None:
        if not works:
            raise ConnectionError("away")
        OUTBOX_ENTRIES.set(7, "test")

    before = counted("orderflow_sample_failures_total", sample="test")
    with sampled("test", Gauges(sample)):
        assert (await _scrape()).total("orderflow_outbox_entries", service="test") == 7
        works = False
        assert not list((await _scrape()).of_name("orderflow_outbox_entries", service="test"))
        works = True
        assert (await _scrape()).total("orderflow_outbox_entries", service="test") == 7
    assert counted("orderflow_sample_failures_total", sample="test") == before + 1


async def test_a_scrape_does_not_wait_for_what_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "SAMPLE_SECONDS", 0.05)

    async def hangs() -> None:
        await asyncio.Event().wait()

    with sampled("hangs", Gauges(hangs)):
        async with asyncio.timeout(5):
            await _scrape()
    assert counted("orderflow_sample_failures_total", sample="hangs") == 1
