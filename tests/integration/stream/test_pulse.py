"""Relay and tracking say that Kafka is away although they have nothing to send or to read."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orderflow.settings import Settings
from orderflow.stream import pulse
from orderflow.telemetry.readiness import OK, PartKind, PartState
from support.waiting import until


@asynccontextmanager
async def silent_broker() -> AsyncIterator[str]:
    """Takes connections and says nothing, as a frozen one does."""

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0)
    try:
        yield "{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()


async def test_a_broker_that_answers_has_no_error(settings: Settings) -> None:
    assert await pulse.kafka_error(settings) is None


async def test_one_that_says_nothing_costs_no_more_than_it_may(settings: Settings) -> None:
    began = time.monotonic()
    async with silent_broker() as address:
        frozen = settings.model_copy(update={"kafka_bootstrap_servers": address})
        assert await pulse.kafka_error(frozen, 0.5) == "no answer within 0.5 s"
    assert time.monotonic() - began < 3


async def test_it_is_asked_again_and_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "EVERY_SECONDS", 0.05)
    said: list[PartState] = []
    answers = iter(["nobody is there", None, "gone again"])

    async def error(_: Settings) -> str | None:
        return next(answers, "gone again")

    monkeypatch.setattr(pulse, "kafka_error", error)
    stopping = asyncio.Event()
    watching = asyncio.create_task(pulse.watch(settings, stopping, said.append))

    async def three() -> bool:
        return len(said) >= 3

    await until(three, seconds=5)
    stopping.set()
    await asyncio.wait_for(watching, 5)
    assert said[:3] == [
        PartState(PartKind.WAITING, "Kafka: nobody is there"),
        OK,
        PartState(PartKind.WAITING, "Kafka: gone again"),
    ]
