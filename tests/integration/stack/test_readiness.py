"""What a process says of its parts: fields that a supervisor reads, and a sentence for people."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from orderflow.stack.ports import LOOPBACK, free_port
from orderflow.stack.probes import http_answers, parts_work
from orderflow.telemetry.health import Health, serve_health
from orderflow.telemetry.readiness import OK, STARTING, PartKind, PartState
from support.waiting import until

STOPPED = PartState(PartKind.STOPPED, "stopped partitions: 3")
WAITING = PartState(PartKind.WAITING, "Kafka is away")


@asynccontextmanager
async def served(health: Health) -> AsyncIterator[int]:
    """The port where ``health`` is answered."""
    port, stopping = free_port(), asyncio.Event()
    serving = asyncio.create_task(serve_health(health, LOOPBACK, port, stopping))
    await until(http_answers(port, "/health/live"), seconds=10)
    yield port
    stopping.set()
    await serving


async def test_each_part_has_a_state_and_a_detail() -> None:
    health = Health()
    health.set("relay:orders", WAITING)
    health.set("tracking", OK)

    def ask(port: int) -> tuple[int, object]:
        with pytest.raises(HTTPError) as answer:
            urlopen(f"http://{LOOPBACK}:{port}/health/ready")
        return answer.value.code, json.load(answer.value)

    async with served(health) as port:
        assert await asyncio.to_thread(ask, port) == (
            503,
            {
                "status": "unavailable",
                "parts": {
                    "relay:orders": {"state": "waiting", "detail": "Kafka is away"},
                    "tracking": {"state": "ok", "detail": ""},
                },
            },
        )


@pytest.mark.parametrize(
    ("states", "ready", "works"),
    [
        ((), False, False),
        ((OK, OK), True, True),
        ((OK, STARTING), False, False),
        ((STOPPED, OK), False, True),
        ((STOPPED, WAITING), False, False),
    ],
)
async def test_a_part_that_waits_for_a_repair_is_not_ready_and_does_not_keep_the_stack_from_starting(
    states: tuple[PartState, ...], ready: bool, works: bool
) -> None:
    health = Health()
    for number, state in enumerate(states):
        health.set(f"part {number}", state)
    async with served(health) as port:
        answers: list[Callable[[], Awaitable[bool]]] = [http_answers(port, "/health/ready"), parts_work(port)]
        assert [await answer() for answer in answers] == [ready, works]


async def test_where_nothing_listens_no_part_works() -> None:
    assert not await parts_work(free_port())()
