"""How a worker process says whether it is alive and ready."""

import asyncio
import contextlib

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from orderflow.telemetry.scrape import MetricsPage


class Health:
    """The state of a process's named parts: ``"ok"``, or what is wrong."""

    def __init__(self) -> None:
        self._parts: dict[str, str] = {}

    def set(self, part: str, state: str) -> None:
        """``part`` is ready (``"ok"``), or ``state`` says what is wrong."""
        self._parts[part] = state

    @property
    def parts(self) -> dict[str, str]:
        """Each part's state."""
        return dict(self._parts)

    @property
    def is_ready(self) -> bool:
        """Whether there are parts and all are ok."""
        return bool(self._parts) and all(state == "ok" for state in self._parts.values())


async def serve_health(
    health: Health, host: str, port: int, stopping: asyncio.Event, page: MetricsPage | None = None
) -> None:
    """Answer GET /health/live, /health/ready and, given its ``page``, /metrics until ``stopping`` is set."""

    async def live(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def ready(_: Request) -> JSONResponse:
        status = "ok" if health.is_ready else "unavailable"
        return JSONResponse({"status": status, "parts": health.parts}, status_code=200 if health.is_ready else 503)

    routes = [Route("/health/live", live), Route("/health/ready", ready)]
    if page is not None:
        routes.append(Route("/metrics", page.answer))
    app = Starlette(routes=routes)
    server = _Server(uvicorn.Config(app, host=host, port=port, access_log=False, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: the process has its own."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield
