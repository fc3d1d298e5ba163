"""A customer's HTTP client: it repeats what got no answer, with the same key, until it is told, and writes it down."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from orderflow.credentials import api_key
from orderflow.settings import Settings
from tools.chaos.ledger import Ledger

#: How long a customer insists before they complain.
PATIENCE_SECONDS = 180.0
#: A ship that was accepted and is not recorded is sent again after this.
REMIND_SECONDS = 10.0
ANSWER_SECONDS = 10.0
#: For how long the API is asked to wait until an order has changed.
WAIT_SECONDS = 3


class Stuck(Exception):
    """Something was not done within a customer's patience."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP."""

    status: int
    body: dict[str, Any]
    etag: str

    @property
    def slug(self) -> str | None:
        """The problem's name, if it is one."""
        kind = self.body.get("type")
        return str(kind).rpartition("/")[2] if kind else None


@dataclass(frozen=True, slots=True)
class Request:
    """A POST or PUT, with its key. ``kind`` is the command's name; ``conflict``: its key belongs to another request."""

    kind: str
    path: str
    key: str
    body: dict[str, Any]
    order_id: str | None = None
    if_match: str | None = None
    conflict: bool = False
    #: A ship is not waited for; on other commands it means nothing.
    asynchronous: bool = False

    @property
    def method(self) -> str:
        """The HTTP method."""
        return "PUT" if self.kind == "set" else "POST"


class Client:
    """Requests that end with an outcome, or with Stuck."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._http = httpx.AsyncClient(
            base_url=settings.api_url,
            headers={"Authorization": f"Bearer {api_key(settings)}"},
            timeout=ANSWER_SECONDS,
            trust_env=False,
            limits=httpx.Limits(max_connections=100),
        )
        self._ledger = ledger

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ask(self, request: Request) -> Reply:
        """Send it until it is answered, then wait until it is done or refused: the last answer. Raises Stuck."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            reply = await self._insist(request, deadline)
            if reply.status != 202:
                return reply
            outcome = await self._outcome(request, reply, deadline)
            if outcome is not None:
                return outcome

    async def read(self, path: str) -> dict[str, Any]:
        """GET, until it is answered 200. Raises Stuck."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            reply = await self._get(path)
            if reply is not None and reply.status == 200:
                return reply.body
            await self._wait(deadline, 0.2, f"GET {path}")

    async def reaches(self, order_id: str, *statuses: str) -> str:
        """Wait until the order has one of ``statuses``; which. Raises Stuck."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        seen: dict[str, str] = {}
        while True:
            reply = await self._get(f"/orders/{order_id}", seen)
            if reply is not None and reply.status == 200:
                if reply.body["status"] in statuses:
                    return str(reply.body["status"])
                seen = {"If-None-Match": reply.etag, "Prefer": f"wait={WAIT_SECONDS}"}
            await self._wait(deadline, 0.1, f"order {order_id} to be one of {', '.join(statuses)}", order_id)

    async def _insist(self, request: Request, deadline: float) -> Reply:
        pause = 0.1
        while True:
            reply = await self._send(request)
            if reply is not None and reply.status < 500 and reply.status != 429:
                return reply
            await self._wait(deadline, pause, f"{request.method} {request.path}", request.order_id)
            pause = min(pause * 1.6, 1.5)

    async def _outcome(self, request: Request, accepted: Reply, deadline: float) -> Reply | None:
        """What came of a ship that was accepted; None: it is time to send it again."""
        again_at = time.monotonic() + REMIND_SECONDS
        path = str(accepted.body["links"]["command"])
        order_id = str(accepted.body["id"])
        while time.monotonic() < again_at:
            await self._wait(deadline, 0.3, f"the outcome at {path}", order_id)
            number = self._ledger.sending(kind="ask", of=request.kind, order_id=order_id, key=request.key, path=path)
            reply = await self._exchange(number, "GET", path)
            if reply is None or reply.status != 200:
                continue
            command = reply.body
            self._ledger.told(number, status=200, command=_brief(command), problem=_slug(command.get("problem")))
            if command["state"] == "done":
                body = {"id": order_id, "command": command}
                return Reply(200, body, "")
            if command["state"] == "refused":
                return Reply(int(command["problem"]["status"]), command["problem"], "")
        return None

    async def _send(self, request: Request) -> Reply | None:
        number = self._ledger.sending(
            kind=request.kind,
            path=request.path,
            key=request.key,
            body=request.body,
            order_id=request.order_id,
            if_match=request.if_match,
            conflict=request.conflict,
        )
        headers = {"Idempotency-Key": request.key}
        if request.if_match is not None:
            headers["If-Match"] = request.if_match
        if request.asynchronous:
            headers["Prefer"] = "respond-async"
        reply = await self._exchange(number, request.method, request.path, json=request.body, headers=headers)
        if reply is not None:
            body = reply.body
            told: dict[str, Any] = {"order_id": body.get("id"), "command": _brief(body.get("command"))}
            if request.kind in ("set", "adjust"):
                told = {name: body.get(name) for name in ("sku", "on_hand", "reserved", "version", "delta")}
            self._ledger.told(number, status=reply.status, problem=reply.slug, detail=body.get("detail"), **told)
        return reply

    async def _get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply | None:
        try:
            return _reply(await self._http.get(path, headers=headers))
        except httpx.TransportError:
            return None

    async def _exchange(self, number: int, method: str, path: str, **more: Any) -> Reply | None:
        try:
            return _reply(await self._http.request(method, path, **more))
        except httpx.TransportError as error:
            self._ledger.lost(number, repr(error))
            return None

    async def _wait(self, deadline: float, seconds: float, what: str, order_id: str | None = None) -> None:
        if time.monotonic() > deadline:
            self._ledger.gave_up(kind="stuck", what=what, order_id=order_id)
            raise Stuck(what)
        await asyncio.sleep(seconds)


def _reply(response: httpx.Response) -> Reply:
    try:
        body = response.json()
    except ValueError:
        body = {"detail": response.text[:500]}
    return Reply(response.status_code, body if isinstance(body, dict) else {}, response.headers.get("etag", ""))


def _brief(command: dict[str, Any] | None) -> dict[str, Any] | None:
    return {name: command.get(name) for name in ("state", "version", "status")} if command else None


def _slug(problem: dict[str, Any] | None) -> str | None:
    return str(problem["type"]).rpartition("/")[2] if problem else None
