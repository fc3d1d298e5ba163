"""Whether this process lives, and whether it can serve: a word for everybody, and all of it on the private port."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from fastapi import APIRouter, Response

from api.http import problems
from api.identity.authorization import OPEN
from api.schemas import Dependency, Readiness, Ready
from orderflow import process
from orderflow.serving.protocol import within
from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.store.statements import Statement
from orderflow.telemetry.health import serve_privately
from orderflow.telemetry.scrape import MetricsPage

CHECK_SECONDS: Final = 2.0
#: What anybody may ask is looked up once in so long, however many ask: a look takes connections that orders need.
BELIEVED_SECONDS: Final = 0.5
_PING: Final = Statement("health.ping", "Asks whether the database answers.", "SELECT 1")

Check = Callable[[], Awaitable[None]]


class _Look:
    """One look at a time for all who ask; what it found is believed for a moment."""

    def __init__(self) -> None:
        self._task: asyncio.Task[bool] | None = None
        self._believed_until = 0.0

    async def shared(self, look: Callable[[], Coroutine[None, None, bool]]) -> bool:
        """What ``look`` finds. Who goes away meanwhile ends it for nobody else."""
        if self._task is None or (self._task.done() and time.monotonic() >= self._believed_until):
            self._task = asyncio.create_task(self._once(look))
        return await asyncio.shield(self._task)

    async def _once(self, look: Callable[[], Coroutine[None, None, bool]]) -> bool:
        try:
            return await look()
        finally:
            self._believed_until = time.monotonic() + BELIEVED_SECONDS


@dataclass(frozen=True, slots=True)
class Dependencies:
    """``needed``: without one of these the process is not ready. ``informational``: only shown."""

    needed: Mapping[str, Check]
    informational: Mapping[str, Check]
    _look: _Look = field(default_factory=_Look)

    async def readiness(self) -> Readiness:
        """Each dependency and its state. Kafka away does not matter: events wait in the outbox."""
        checks = {**self.needed, **self.informational}
        states = await asyncio.gather(*(_state(check, name in self.needed) for name, check in checks.items()))
        is_ready = all(state.state == "ok" for state in states if state.needed)
        return Readiness(ready=is_ready, dependencies=dict(zip(checks, states, strict=True)))

    async def is_ready(self) -> bool:
        """Whether all that is needed answers, or did a moment ago."""
        return await self._look.shared(self._needed_answers)

    async def _needed_answers(self) -> bool:
        states = await asyncio.gather(*(_state(check, True) for check in self.needed.values()))
        return all(state.state == "ok" for state in states)

    async def answer(self, _: object) -> Response:
        """``GET /health/ready`` on the private port: all of it."""
        said = await self.readiness()
        return Response(said.model_dump_json(), 200 if said.ready else 503, media_type="application/json")


def health_router(dependencies: Dependencies) -> APIRouter:
    """All routes below /health: for whoever asks, so they say whether, and not what is wrong."""
    router = APIRouter(prefix="/health", tags=["health"], dependencies=[OPEN])

    @router.get("/live", summary="The process runs", responses=problems.responses())
    async def live() -> dict[str, str]:
        """Always 200."""
        return {"status": "ok"}

    @router.get(
        "/ready",
        summary="The process can serve",
        response_model=Ready,
        responses={
            **problems.responses(),
            503: {"description": "A needed dependency is away: the private port says which.", "model": Ready},
        },
    )
    async def ready() -> Response:
        """Whether the databases answer. What is wrong is said on the private port (`ORDERFLOW_HEALTH_PORT`)."""
        said = Ready(ready=await dependencies.is_ready())
        return Response(said.model_dump_json(), 200 if said.ready else 503, media_type="application/json")

    return router


@asynccontextmanager
async def private_port(settings: Settings, dependencies: Dependencies, page: MetricsPage | None) -> AsyncIterator[None]:
    """While inside, the private port answers, if there is one."""
    if not settings.health_port:
        yield
        return
    stopping, listening = asyncio.Event(), asyncio.Event()
    where = settings.health_host, settings.health_port
    http = within(process.most_connections())
    async with asyncio.TaskGroup() as tasks:
        serving = serve_privately(
            dependencies.answer,
            *where,
            stopping,
            page,
            http=http,
            tls=settings.server_context(),
            listening=listening,
        )
        tasks.create_task(serving)
        await listening.wait()
        try:
            yield
        finally:
            stopping.set()


async def _state(check: Check, needed: bool) -> Dependency:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception as error:  # whatever is wrong with it, it does not serve us
        return Dependency(state="away", needed=needed, detail=str(error) or f"no answer within {CHECK_SECONDS} s")
    return Dependency(state="ok", needed=needed)


def database_answers(database: Database) -> Check:
    """A check: the database answers a query."""

    async def check() -> None:
        await database.one(_PING, {})

    return check


def broker_answers(bootstrap_servers: str) -> Check:
    """A check: one of the brokers takes a connection."""

    async def check() -> None:
        last: OSError | None = None
        for server in bootstrap_servers.split(","):
            host, _, port = server.strip().rpartition(":")
            try:
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            except OSError as error:
                last = error
            else:
                writer.close()
                return
        raise last or OSError("no broker is configured")

    return check
