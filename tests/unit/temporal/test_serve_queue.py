"""A worker that Temporal lets begin and then does not let work."""

import asyncio
from typing import Any, cast

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from orderflow.settings import Settings
from orderflow.telemetry.health import Health
from orderflow.temporal import worker as module
from orderflow.temporal.worker import serve_queue


class MayNotPoll:
    """It is let in, and its first poll is refused, once somebody has seen that it runs."""

    def __init__(self) -> None:
        self._runs = False
        self._seen = asyncio.Event()

    @property
    def is_running(self) -> bool:
        if self._runs:
            self._seen.set()
        return self._runs

    async def run(self) -> None:
        self._runs = True
        await self._seen.wait()
        self._runs = False
        raise RuntimeError('status: PermissionDenied, message: "Not allowed."')

    async def shutdown(self) -> None:
        raise AssertionError("it has ended")


async def test_the_pauses_grow_though_each_worker_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    stopping, pauses = asyncio.Event(), list[float]()

    async def connected(*_: Any) -> Client:
        return cast(Client, object())

    async def pause(seconds: float, until: asyncio.Event) -> bool:
        pauses.append(seconds)
        if len(pauses) == 5:
            until.set()
        return until.is_set()

    monkeypatch.setattr(module, "connect", connected)
    monkeypatch.setattr(module, "pause", pause)
    await serve_queue(Settings(), stopping, Health(), "orders", lambda _: cast(Worker, MayNotPoll()))
    assert pauses == sorted(pauses)
    assert pauses[-1] > 4 * pauses[0], "each time twice as long"
