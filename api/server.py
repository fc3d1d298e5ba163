"""The API as a process: uvicorn, told in time that it is to stop."""

import socket

import structlog
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette

from orderflow import process
from orderflow.serving.peers import networks
from orderflow.serving.protocol import within
from orderflow.settings import Settings
from orderflow.telemetry.health import with_tls

#: For requests under way at a stop; those that wait are answered at once.
STOP_SECONDS = 10


log = structlog.get_logger(__name__)


class Server(uvicorn.Server):
    """At a stop it answers the requests that wait, at once: 202 for a ship, 304 for a read."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """After SIGTERM or SIGINT, in the event loop: a signal's handler may run in the middle of anything."""
        self._app.state.stop_waiting()
        await super().shutdown(sockets)


def config_of(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the API: by HTTP/1.1 within bounds. What proxies say is read by the application."""
    return uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        **with_tls(settings.server_context()),
        root_path=settings.api_root_path,
        loop="uvloop",
        http=within(
            process.most_connections(),
            most_of_a_peer=settings.api_connections_per_peer,
            proxies=networks(settings.api_proxies),
        ),
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_level=settings.log_level,
        timeout_graceful_shutdown=STOP_SECONDS,
        # Longer than clients keep an idle connection: else a request can meet a connection that is just closed.
        timeout_keep_alive=75,
    )


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve until a signal comes."""
    if settings.api_authentication == "off":
        log.warning("authentication_off", setting="ORDERFLOW_API_AUTHENTICATION", listens_on=settings.api_host)
    Server(config_of(app, settings), app).run()


def serve_codec(app: Starlette, settings: Settings) -> None:
    """Serve the codec server until a signal comes."""
    if settings.codec_authentication == "off":
        log.warning("authentication_off", setting="ORDERFLOW_CODEC_AUTHENTICATION", listens_on=settings.codec_host)
    uvicorn.run(
        app,
        host=settings.codec_host,
        port=settings.codec_port,
        **with_tls(settings.server_context()),
        loop="uvloop",
        http=within(process.most_connections()),
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_level=settings.log_level,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
