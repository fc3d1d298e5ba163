"""Runs one or more roles in this process until SIGTERM or SIGINT, then lets each finish what it has begun."""

import asyncio
import importlib
import signal
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, cast

import structlog

from orderflow import process
from orderflow.serving.protocol import within
from orderflow.settings import Settings
from orderflow.stream import pulse
from orderflow.telemetry.health import Health, serve_health
from orderflow.telemetry.readiness import STARTING
from workers.shared import Shared

Serve = Callable[[Settings, asyncio.Event, Health, Shared], Awaitable[None]]

#: What /health/ready calls Kafka, in a process whose roles need it.
KAFKA: Final = "kafka"
_NEED_KAFKA: Final = frozenset({"relay", "tracking"})

log = structlog.get_logger(__name__)


async def run(roles: Sequence[str], settings: Settings) -> None:
    """Serve ``roles`` until told to stop. A role that fails ends the process: its supervisor starts it again."""
    # Nobody could ask for what a process without a port counts.
    page = process.begin(settings, "-".join(roles), serves_metrics=bool(settings.health_port))
    if settings.payload_keyring_file is None:
        log.warning("payloads_not_sealed", setting="ORDERFLOW_PAYLOAD_KEYRING_FILE")
    stopping = asyncio.Event()
    health = Health()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with Shared(settings, roles) as shared, asyncio.TaskGroup() as tasks:
        for role in roles:
            serve = cast(Serve, importlib.import_module(f"workers.{role}").serve)
            tasks.create_task(_served(serve, settings, stopping, health, shared), name=role)
        if _NEED_KAFKA & set(roles):
            health.set(KAFKA, STARTING)
            tasks.create_task(pulse.watch(settings, stopping, partial(health.set, KAFKA)), name=KAFKA)
        if settings.health_port:
            serving = serve_health(
                health,
                settings.health_host,
                settings.health_port,
                stopping,
                page,
                http=within(process.most_connections()),
                tls=settings.server_context(),
            )
            tasks.create_task(serving, name="health")
    await process.end()
    log.info("stopped", roles=list(roles))


async def _served(serve: Serve, settings: Settings, stopping: asyncio.Event, health: Health, shared: Shared) -> None:
    await serve(settings, stopping, health, shared)
    if not stopping.is_set():
        raise RuntimeError("a role ended although nobody asked it to")
