"""The codec server: Temporal's Web UI asks it, from the reader's browser, for what the payloads in it say.

``POST /decode``; ``/encode`` is there for the command line, which asks it for nothing before each query, and seals
nothing: what people send by hand is not for our workers. It answers the Web UI's origin and no other, and whoever may
``operate``; each answer is audited before it is given. A payment token stays closed: it is sealed once more, for the
payments role, whose key is not here.
"""

import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from temporalio.api.common.v1 import Payload
from typing_extensions import TypedDict

from orderflow.domain.access import ANYBODY, Actor, Principal, Scope
from orderflow.domain.errors import Unavailable
from orderflow.proxies import is_loopback
from orderflow.temporal.answers import OPENED_WITH
from orderflow.temporal.codec import ENCODING, SEALED_FOR, SealingCodec, short, why_not_opened

#: One page of the Web UI's history; Temporal itself takes 2 MB a payload.
MOST_BYTES: Final = 8 * 1024 * 1024
MOST_PAYLOADS: Final = 2_000
#: Of what a stranger wrote, in the audit; and of all places in a line of the log.
MOST_PLACES: Final = 20
#: Bytes: a workflow's id and a step.
MOST_OF_A_PLACE: Final = 300
_MANNERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Vary": "Origin, Authorization"}
_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "authorization, content-type, x-namespace",
    "Access-Control-Max-Age": "600",
}

log = structlog.get_logger(__name__)


#: Who a bearer belongs to; None: nobody. Raises Unavailable where nobody can tell.
Authenticate = Callable[[str], Awaitable[Principal | None]]
#: Told who has read what (``<workflow id>|<step>``) before they see it. What it raises, nobody sees.
Audit = Callable[[Actor, Collection[str]], Awaitable[None]]


class _Refused(Exception):
    def __init__(self, status: int, why: str, **headers: str) -> None:
        super().__init__(why)
        self.status = status
        self.headers = headers


class _Encoded(TypedDict, total=False):
    """A payload as protobuf's JSON has it: bytes as base64."""

    metadata: dict[str, str]
    data: str


class _Asked(TypedDict, total=False):
    payloads: list[_Encoded]


_ASKED: Final = TypeAdapter(_Asked)


class CodecServer:
    """``authenticate`` None: whoever reaches it may read. Then it answers to this machine's names only."""

    def __init__(self, codec: SealingCodec, ui_url: str, authenticate: Authenticate | None, audit: Audit) -> None:
        found = urlsplit(ui_url)
        self._origin = f"{found.scheme}://{found.netloc}".lower()
        self._codec = codec
        self._authenticate = authenticate
        self._audit = audit

    def app(self) -> Starlette:
        """The application."""
        return Starlette(
            routes=[
                Route("/decode", self._preflight, methods=["OPTIONS"]),
                Route("/decode", self._decode, methods=["POST"]),
                Route("/encode", self._encode, methods=["POST"]),
                Route("/health/live", lambda _: PlainTextResponse("ok"), methods=["GET"]),
            ]
        )

    async def _preflight(self, request: Request) -> Response:
        try:
            return Response(status_code=204, headers=_MANNERS | self._allowed(request) | _PREFLIGHT)
        except _Refused as refused:
            return _answer(refused, {})

    async def _decode(self, request: Request) -> Response:
        allowed: dict[str, str] = {}
        try:
            allowed = self._allowed(request)
            who = await self._who(request)
            payloads = await _payloads(request)
            opened = [self._codec.open(payload) for payload in payloads]
            await self._told(who, payloads, opened)
        except _Refused as refused:
            return _answer(refused, allowed)
        return JSONResponse({"payloads": [_shown(one) for one in opened]}, headers=_MANNERS | allowed)

    async def _encode(self, request: Request) -> Response:
        allowed: dict[str, str] = {}
        try:
            allowed = self._allowed(request)
            await self._who(request)
            if await _payloads(request):
                raise _Refused(400, "nothing is sealed by hand: a signal needs no payload, it is a look")
        except _Refused as refused:
            return _answer(refused, allowed)
        return JSONResponse({"payloads": []}, headers=_MANNERS | allowed)

    def _allowed(self, request: Request) -> dict[str, str]:
        """What CORS says to the Web UI. A browser always names the origin of such a request; others need not."""
        origin = request.headers.get("origin")
        if origin is not None and origin.lower() != self._origin:
            raise _Refused(403, f"only pages of {self._origin} may ask here (ORDERFLOW_TEMPORAL_UI_URL)")
        if self._authenticate is None and not is_loopback(request.url.hostname or ""):
            raise _Refused(421, "without authentication it answers to this machine's own names only")
        return {} if origin is None else {"Access-Control-Allow-Origin": origin}

    async def _who(self, request: Request) -> Actor:
        if self._authenticate is None:
            return ANYBODY.actor
        kind, _, bearer = request.headers.get("authorization", "").partition(" ")
        try:
            reader = await self._authenticate(bearer.strip()) if kind.lower() == "bearer" and bearer.strip() else None
        except Unavailable as error:
            raise _Refused(503, f"nobody can tell whose this bearer is: {error.dependency} does not answer") from None
        if reader is None:
            challenge = 'Bearer realm="orderflow"' + (', error="invalid_token"' if bearer else "")
            raise _Refused(401, "a bearer is needed", **{"WWW-Authenticate": challenge})
        if Scope.OPERATE not in reader.scopes:
            challenge = f'Bearer realm="orderflow", error="insufficient_scope", scope="{Scope.OPERATE}"'
            raise _Refused(403, f"the scope {Scope.OPERATE} is needed", **{"WWW-Authenticate": challenge})
        if reader.customer_id is not None:
            raise _Refused(403, "who is bound to one customer reads nobody's payloads")
        return reader.actor

    async def _told(self, who: Actor, payloads: list[Payload], opened: list[Payload]) -> None:
        """Every place of what a key of ours opened, as that is bound to it; a few of those that anybody can write."""
        ours: set[str] = set()
        others: set[str] = set()
        for payload, found in zip(payloads, opened, strict=True):
            is_ours = payload.metadata.get("encoding") == ENCODING and why_not_opened(found) is None
            (ours if is_ours else others).add(_place(payload))
        places = sorted(ours.union(sorted(others - ours)[:MOST_PLACES]))
        try:
            await self._audit(who, places)
        except Exception as error:
            log.exception("decode_not_audited")
            raise _Refused(503, "it cannot be recorded who reads this, so nobody does") from error
        log.info("payloads_decoded", principal=who.id, places=places[:MOST_PLACES], payloads=len(payloads))


def _place(payload: Payload) -> str:
    """What a payload says it was sealed for, as a database and a log take it. A stranger may have written it."""
    said = payload.metadata.get(SEALED_FOR, b"")[:MOST_OF_A_PLACE]
    return short(said.decode("utf-8", "backslashreplace"), MOST_OF_A_PLACE)


async def _payloads(request: Request) -> list[Payload]:
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > MOST_BYTES:
                raise _Refused(413, f"the body is longer than {MOST_BYTES} bytes")
    except ClientDisconnect:
        raise _Refused(400, "the client left") from None
    try:
        asked = _ASKED.validate_python(json.loads(body), strict=True).get("payloads", [])
        if len(asked) > MOST_PAYLOADS:
            raise _Refused(413, f"more than {MOST_PAYLOADS} payloads")
        return [
            Payload(
                metadata={
                    name: base64.b64decode(value, validate=True) for name, value in one.get("metadata", {}).items()
                },
                data=base64.b64decode(one.get("data", ""), validate=True),
            )
            for one in asked
        ]
    except (ValidationError, binascii.Error, ValueError, RecursionError):
        raise _Refused(400, 'the body is not {"payloads": [{"metadata": {…}, "data": "…"}]} in base64') from None


def _shown(found: Payload) -> dict[str, Any]:
    """As the Web UI takes it; in the place of what cannot be opened, why."""
    if (why := why_not_opened(found)) is not None:
        found = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(f"OrderFlow: {why}").encode())
    elif OPENED_WITH in found.metadata:
        del found.metadata[OPENED_WITH]
    metadata = {name: base64.b64encode(value).decode() for name, value in found.metadata.items()}
    return {"metadata": metadata, "data": base64.b64encode(found.data).decode()}


def _answer(refused: _Refused, allowed: dict[str, str]) -> Response:
    return PlainTextResponse(str(refused), refused.status, headers=_MANNERS | allowed | refused.headers)
