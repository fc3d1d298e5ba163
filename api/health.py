"""Whether this process lives, and whether it can serve."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, Response

from api.authorization import OPEN
from api.schemas import Dependency, Readiness
from orderflow.store.database import Database
from orderflow.store.statements import Statement

CHECK_SECONDS: Final = 2.0
_PING: Final = Statement("health.ping", "Asks whether the database answers.", "SELECT 1")

Check = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class HealthRoutes:
    """``needed``: without one of these the process is not ready. ``informational``: only shown."""

    needed: Mapping[str, Check]
    informational: Mapping[str, Check]

    def router(self) -> APIRouter:
        """All routes below /health."""
        router = APIRouter(prefix="/health", tags=["health"], dependencies=[OPEN])

        @router.get("/live", summary="The process runs")
        async def live() -> dict[str, str]:
            """Always 200."""
            return {"status": "ok"}

        @router.get(
            "/ready",
            summary="The process can serve",
            response_model=Readiness,
            responses={503: {"description": "A needed dependency is away.", "model": Readiness}},
        )
        async def ready() -> Response:
            """Names each dependency and its state. Kafka away does not matter: events wait in the outbox."""
            checks = {**self.needed, **self.informational}
            states = await asyncio.gather(*(_state(check, name in self.needed) for name, check in checks.items()))
            dependencies = dict(zip(checks, states, strict=True))
            is_ready = all(state.state == "ok" for state in states if state.needed)
            document = Readiness(ready=is_ready, dependencies=dependencies)
            return Response(document.model_dump_json(), 200 if is_ready else 503, media_type="application/json")

        return router


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
