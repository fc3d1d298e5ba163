"""The API as a process: uvicorn, told in time that it is to stop."""

from types import FrameType

import uvicorn
from fastapi import FastAPI

from orderflow.settings import Settings

#: For requests under way at a stop; those that wait are answered at once.
STOP_SECONDS = 10


class Server(uvicorn.Server):
    """Answers the requests that wait when the first signal comes: 202 for a ship, 304 or 200 for a read."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """At SIGTERM and SIGINT."""
        self._app.state.stop_waiting()
        super().handle_exit(sig, frame)


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve until a signal comes."""
    config = uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level=settings.log_level,
        timeout_graceful_shutdown=STOP_SECONDS,
        # Longer than clients keep an idle connection: else a request can meet a connection that is just closed.
        timeout_keep_alive=75,
    )
    Server(config, app).run()
