"""What happens around every request: its correlation id, its line in the log, and a fence against bugs."""

import asyncio
import re
import time
import uuid
from typing import Any, Final
from uuid import UUID

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http import problems
from api.http.prefix import path_below
from orderflow.domain.errors import Problem
from orderflow.telemetry import spans
from orderflow.telemetry.logs import bound
from orderflow.telemetry.origin import Origin, identify
from orderflow.temporal.names import workflow_id

CORRELATION_ID: Final = "X-Correlation-ID"
_VISIBLE_ASCII: Final = re.compile(r"[\x21-\x7e]{1,100}")
#: W3C Trace Context, level 1. All zeros mean nothing.
_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_ORDER: Final = re.compile(r"/orders/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:/|$)")

log = structlog.get_logger()


class RequestContext:
    """ASGI middleware. ``request.state.correlation_id`` is the client's if it is valid, else a new one.

    ``request.state.traceparent`` is what the request's commands carry on.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; an unexpected error becomes a 500 without a traceback, and a log line with one.

        What has no answer when the process must end becomes a 503.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        correlation_id, traceparent = _correlation_id(scope), _traceparent(scope)
        scope.setdefault("state", {}).update(correlation_id=correlation_id, traceparent=traceparent)
        spans.note(correlation_id=correlation_id)
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[CORRELATION_ID] = correlation_id
            await send(message)

        with bound(**identify(_workflow_id(scope), None, Origin(correlation_id, traceparent))):
            try:
                await self._app(scope, receive, send_with_id)
            except asyncio.CancelledError:
                # The time to stop is over; nothing else cancels a request. Uvicorn would answer 500, in text/plain.
                log.warning("stopped_before_its_answer", **_request(scope))
                if status:
                    raise
                await problems.stopped(scope)(scope, receive, send_with_id)
            except Exception:
                log.exception("unexpected_error", **_request(scope))
                if status:
                    raise  # the answer has begun: only breaking the connection says that it is no good
                meaning = problems.TYPES["internal_error"].meaning
                problem = Problem(slug="internal_error", detail=meaning, status=500)
                await problems.answer(scope, problem)(scope, receive, send_with_id)
            milliseconds = round((time.perf_counter() - started) * 1000, 1)
            say = log.warning if status >= 500 else log.debug
            say("request", **_request(scope), status=status, milliseconds=milliseconds)


async def client_leaves(request: Request) -> None:
    """Return when the client has closed its connection. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _correlation_id(scope: Scope) -> str:
    sent = Headers(scope=scope).get(CORRELATION_ID, "")
    return sent if _VISIBLE_ASCII.fullmatch(sent) else uuid.uuid4().hex


def _traceparent(scope: Scope) -> str | None:
    """Our own span's where this process traces: what follows from the request hangs under it. Else the client's."""
    sent = Headers(scope=scope).get("traceparent", "")
    return spans.current_traceparent() or (sent if _TRACEPARENT.fullmatch(sent) else None)


def _workflow_id(scope: Scope) -> str | None:
    """Of the order that the request is about, if it names one."""
    named = _ORDER.match(path_below(scope))
    return workflow_id(UUID(named[1])) if named else None


def _request(scope: Scope) -> dict[str, Any]:
    return {"method": scope["method"], "path": scope["path"]}
