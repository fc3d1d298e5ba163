"""How the worker of a no-op side runs: as ours do, until it is told to stop. With a health endpoint."""

import asyncio
import signal
from collections.abc import Callable

import uvloop
from temporalio.client import Client
from temporalio.worker import Worker

from orderflow.process import look_for_garbage_seldom
from orderflow.settings import Settings
from orderflow.telemetry.health import Health, serve_health
from orderflow.temporal.worker import serve_queue


def run_worker(queue: str, make: Callable[[Client, Settings], Worker]) -> None:
    """Work until SIGTERM or SIGINT, and answer /health/ready meanwhile."""
    look_for_garbage_seldom()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(Settings(), queue, make))


async def _serve(settings: Settings, queue: str, make: Callable[[Client, Settings], Worker]) -> None:
    stopping, health = asyncio.Event(), Health()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve_queue(settings, stopping, health, queue, lambda client: make(client, settings)))
        tasks.create_task(serve_health(health, settings.health_host, settings.health_port, stopping))
