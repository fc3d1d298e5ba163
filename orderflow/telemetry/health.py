"""How a process says, on a port of its own, whether it is alive and ready, and what it has counted."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from orderflow.telemetry.readiness import PartKind, PartState
from orderflow.telemetry.scrape import MetricsPage


class Health:
    """How the named parts of a process stand."""

    def __init__(self) -> None:
        self._parts: dict[str, PartState] = {}

    def set(self, part: str, state: PartState) -> None:
        """``part`` is in ``state`` from now on."""
        self._parts[part] = state

    @property
    def parts(self) -> dict[str, PartState]:
        """Each part's state by its name."""
        return dict(self._parts)

    @property
    def is_ready(self) -> bool:
        """Whether there are parts and all are ok."""
        return bool(self._parts) and all(state.kind is PartKind.OK for state in self._parts.values())


async def serve_health(
    health: Health,
    host: str,
    port: int,
    stopping: asyncio.Event,
    page: MetricsPage | None = None,
    *,
    http: Any = "h11",
    tls: ssl.SSLContext | None = None,
) -> None:
    """Answer GET /health/live, /health/ready and, given its ``page``, /metrics until ``stopping`` is set.

    ``http``: uvicorn's protocol; ``tls``: None serves without. /health/ready is 200 when every part is ok, else 503;
    ``parts`` has each one's ``state`` and ``detail`` by its name.
    """

    async def ready(_: Request) -> Response:
        status = "ok" if health.is_ready else "unavailable"
        parts = {name: state.document() for name, state in health.parts.items()}
        return JSONResponse({"status": status, "parts": parts}, status_code=200 if health.is_ready else 503)

    await serve_privately(ready, host, port, stopping, page, http=http, tls=tls)


async def serve_privately(
    ready: Callable[[Request], Awaitable[Response]],
    host: str,
    port: int,
    stopping: asyncio.Event,
    page: MetricsPage | None,
    *,
    http: Any,
    tls: ssl.SSLContext | None = None,
    listening: asyncio.Event | None = None,
) -> None:
    """The same, where ``ready`` answers /health/ready. For a port that clients do not reach.

    ``listening`` is set as soon as somebody can ask.
    """

    async def live(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    routes = [Route("/health/live", live), Route("/health/ready", ready)]
    if page is not None:
        routes.append(Route("/metrics", page.answer))
    config = uvicorn.Config(
        Starlette(routes=routes),
        host=host,
        port=port,
        **with_tls(tls),
        http=http,
        ws="none",
        access_log=False,
        log_config=None,
        lifespan="off",
        proxy_headers=False,
        server_header=False,
    )
    server = _Server(config, listening or asyncio.Event())
    serving = asyncio.create_task(server.serve())
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
        server.should_exit = True
        await serving


def with_tls(context: ssl.SSLContext | None) -> dict[str, Any]:
    """What ``uvicorn.Config`` takes for it; nothing: no TLS."""
    return {} if context is None else {"ssl_context_factory": lambda *_: context}


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: the process has its own."""

    def __init__(self, config: uvicorn.Config, listening: asyncio.Event) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening.set()

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield
