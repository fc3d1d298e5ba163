"""The request headers that have a meaning here, each with its rule.

A header that steers (``Idempotency-Key``, ``If-Match``) and breaks its rule is refused: guessing would be worse.
``Prefer`` and ``traceparent`` are ignored where they cannot be understood, as RFC 7240 and W3C Trace Context say.

The functions are coroutines although they wait for nothing: FastAPI runs plain ones in a thread pool.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Header, Request

from api.problems import invalid
from orderflow.domain.commands import IDEMPOTENCY_KEY
from orderflow.domain.errors import FieldProblem

MOST_WAIT_SECONDS: Final = 60
_KEY_RULE: Final = "1-200 characters A-Z a-z 0-9 . _ ~ -"
_MATCH_RULE: Final = 'one strong entity tag as this API gives it, such as "3", or *'
_ENTITY_TAG: Final = re.compile(r'"([1-9][0-9]{0,8}|0)"')
_WAIT: Final = re.compile(r"wait=([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Wait:
    """How long the client is willing to wait; ``applied``: what is said about it in ``Preference-Applied``."""

    seconds: float | None
    applied: str | None


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """What ties this request to others."""

    correlation_id: str
    traceparent: str | None


async def idempotency_key(
    request: Request,
    _: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description=f"Makes the request repeatable: the same key and body give the same outcome. {_KEY_RULE}.",
            examples=["7f3d2c-checkout-1"],
            json_schema_extra={"pattern": f"^{IDEMPOTENCY_KEY.pattern}$"},
        ),
    ] = None,
) -> str | None:
    """The client's key, if it sent one. Raises Rejection."""
    sent = request.headers.getlist("idempotency-key")
    if not sent:
        return None
    if len(sent) > 1 or not IDEMPOTENCY_KEY.fullmatch(sent[0]):
        raise _refused("Idempotency-Key", f"Must be sent once, {_KEY_RULE}.")
    return sent[0]


async def expected_version(
    request: Request,
    _: Annotated[
        str | None,
        Header(
            alias="If-Match",
            description=f"Only if it has this version: {_MATCH_RULE}.",
            examples=['"3"'],
            json_schema_extra={"pattern": rf"^(\*|{_ENTITY_TAG.pattern})$"},
        ),
    ] = None,
) -> int | None:
    """The version that the client has seen; None: any. Raises Rejection."""
    sent = request.headers.getlist("if-match")
    if not sent or sent == ["*"]:
        return None
    match = _ENTITY_TAG.fullmatch(sent[0])
    if len(sent) > 1 or match is None:
        raise _refused("If-Match", f"Must be {_MATCH_RULE}.")
    return int(match[1])


async def seen_version(
    request: Request,
    _: Annotated[
        str | None,
        Header(
            alias="If-None-Match",
            description='Only if it has another version than this one, such as "3"; with `Prefer: wait=N` the answer '
            "waits for that.",
            examples=['"3"'],
            json_schema_extra={"pattern": rf"^{_ENTITY_TAG.pattern}$"},
        ),
    ] = None,
) -> int | None:
    """The version that the client has; None: none. Raises Rejection."""
    sent = request.headers.getlist("if-none-match")
    if not sent:
        return None
    match = _ENTITY_TAG.fullmatch(sent[0])
    if len(sent) > 1 or match is None:
        raise _refused("If-None-Match", 'Must be one strong entity tag as this API gives it, such as "3".')
    return int(match[1])


async def wait(
    request: Request,
    _: Annotated[
        str | None,
        Header(
            alias="Prefer",
            description="`wait=N`: how long a ship may wait for its capture before it is answered 202, and a GET with "
            "`If-None-Match` for a change before it is answered 304 (0-60 s). `respond-async`: not at all.",
            examples=["wait=10"],
        ),
    ] = None,
) -> Wait:
    """What ``Prefer`` says about waiting. ``respond-async`` with ``wait``: the wait counts, as RFC 7240 4.3 says."""
    preferences = [part.strip().lower() for line in request.headers.getlist("prefer") for part in line.split(",")]
    for preference in preferences:
        if match := _WAIT.fullmatch(preference.replace(" ", "")):
            seconds = min(int(match[1]), MOST_WAIT_SECONDS)
            return Wait(seconds, f"wait={seconds}")
    if "respond-async" in preferences:
        return Wait(0, "respond-async")
    return Wait(None, None)


async def trace(
    request: Request,
    _: Annotated[
        str | None,
        Header(
            alias="X-Correlation-ID",
            description="1-100 visible ASCII characters; comes back, and goes into events, records and logs. "
            "Without one, one is made.",
        ),
    ] = None,
    _traceparent: Annotated[str | None, Header(alias="traceparent", description="W3C Trace Context.")] = None,
) -> RequestTrace:
    """Correlation id and trace of this request."""
    return RequestTrace(request.state.correlation_id, request.state.traceparent)


def _refused(name: str, message: str) -> Exception:
    return invalid(FieldProblem(field=name, rule="pattern", message=message), slug="invalid_header")
