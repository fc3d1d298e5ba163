"""The request headers that have a meaning here, each with its rule.

A header that steers (``Idempotency-Key``, ``If-Match``) and breaks its rule is refused: guessing would be worse. So is
a precondition on a change that we cannot check: whoever sends one relies on it.
``Prefer`` and ``traceparent`` are ignored where they cannot be understood, as RFC 7240 and W3C Trace Context say.

The functions are coroutines although they wait for nothing: FastAPI runs plain ones in a thread pool.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Header, Request

from api.http.problems import invalid
from orderflow.domain.commands import ANY_VERSION, IDEMPOTENCY_KEY, Precondition
from orderflow.domain.errors import FieldProblem

MOST_WAIT_SECONDS: Final = 60
_KEY_RULE: Final = "1-200 characters A-Z a-z 0-9 . _ ~ -, in double quotes or not"
_KEY: Final = re.compile(rf'{IDEMPOTENCY_KEY.pattern}|"{IDEMPOTENCY_KEY.pattern}"')
_TAGS_RULE: Final = 'entity tags in quotes, such as "3" or "3", "4", or *'
#: RFC 9110 8.8.3 and 5.6.1: a tag, weak or not, and a list of them, in which there may be nothing between two commas.
_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS: Final = rf"(?:[ \t]*,)*[ \t]*{_TAG}[ \t]*(?:,[ \t]*(?:{_TAG}[ \t]*)?)*"
_EACH_TAG: Final = re.compile(r'(W/)?"([^"]*)"')
#: What this API gives: the version.
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}")
#: RFC 9110 5.6: a token, and a quoted string.
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - of HTTP
_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_PAIR: Final = rf"({_TOKEN})(?:[ \t]*=[ \t]*({_TOKEN}|{_QUOTED}))?"
#: RFC 7240 2: what is preferred, and its parameters, none of which means anything here.
_PREFERENCE: Final = re.compile(rf"{_PAIR}(?:[ \t]*;(?:[ \t]*{_PAIR})?)*")
#: Of a list: a comma in quotes separates nothing, also where the quotes are not closed.
_EACH_PREFERENCE: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*(?:"|\\?$)|[^,"])+')
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


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
            json_schema_extra={"pattern": f"^({_KEY.pattern})$"},
        ),
    ] = None,
) -> str | None:
    """The client's key, if it sent one. Raises Rejection.

    draft-ietf-httpapi-idempotency-key-header wants a string of RFC 9651, in quotes; without them it is the same key.
    """
    sent = request.headers.getlist("idempotency-key")
    if not sent:
        return None
    if len(sent) > 1 or not _KEY.fullmatch(sent[0]):
        raise _refused("Idempotency-Key", f"Must be sent once, {_KEY_RULE}.")
    return sent[0].strip('"')


@dataclass(frozen=True, slots=True)
class Reading:
    """What a read demands of the version: ``needed`` (If-Match, else 412), and ``unseen`` (If-None-Match, else 304).

    ``unseen`` is None where the client has nothing to compare with.
    """

    needed: Precondition
    unseen: Precondition | None


_IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description=f"Only if it has one of these versions (`*`: any), else 412: {_TAGS_RULE}.",
        examples=['"3"'],
        json_schema_extra={"pattern": rf"^(\*|{_TAGS})$"},
    ),
]


async def precondition(
    request: Request,
    _: _IfMatch = None,
    _none: Annotated[
        str | None,
        Header(
            alias="If-None-Match",
            description=f"Only if it has none of these versions (`*`: only if it is new), else 412: {_TAGS_RULE}.",
            examples=["*"],
            json_schema_extra={"pattern": rf"^(\*|{_TAGS})$"},
        ),
    ] = None,
) -> Precondition:
    """What a change demands of the version. Raises Rejection."""
    match, none_match = _if_match(request), _if_none_match(request)
    for name, stronger in (("If-Unmodified-Since", match), ("If-Modified-Since", none_match)):
        if stronger is None:  # else the date is to be ignored: RFC 9110 13.2.2
            _refuse_unsupported(request, name, "A date cannot tell two versions of the same second apart")
    # A part of a body that was taken for the whole would be a wrong count.
    _refuse_unsupported(request, "Content-Range", "A body is sent as a whole", "leave it out")
    if match is None or none_match is None:
        return match or none_match or ANY_VERSION
    versions = match.versions if none_match.versions is None else none_match.versions
    return Precondition(versions=versions, other_than=none_match.other_than, exists=True)


async def no_precondition(request: Request) -> None:
    """Of what makes something new: there is nothing to compare with. Raises Rejection."""
    for name in ("If-Match", "If-None-Match", "If-Unmodified-Since", "If-Modified-Since"):
        _refuse_unsupported(request, name, "What is made anew has no version", "send an Idempotency-Key")


async def reading(
    request: Request,
    _: _IfMatch = None,
    _none: Annotated[
        str | None,
        Header(
            alias="If-None-Match",
            description=f"Only if it has none of these versions, else 304: {_TAGS_RULE}.",
            examples=['"3"'],
            json_schema_extra={"pattern": rf"^(\*|{_TAGS})$"},
        ),
    ] = None,
) -> Reading:
    """What a read demands. Dates are ignored, as what is read has none (RFC 9110 13.1.3, 13.1.4). Raises Rejection."""
    return Reading(_if_match(request) or ANY_VERSION, _if_none_match(request))


def _if_match(request: Request) -> Precondition | None:
    """Compared strongly: a weak tag is none that we gave (RFC 9110 13.1.1)."""
    tags = _tags(request, "If-Match")
    if tags is None:
        return None
    return Precondition(versions=None if tags == "*" else _versions(tags, weak=False), exists=True)


def _if_none_match(request: Request) -> Precondition | None:
    """Compared weakly (RFC 9110 13.1.2)."""
    tags = _tags(request, "If-None-Match")
    if tags is None:
        return None
    return Precondition(versions=()) if tags == "*" else Precondition(other_than=_versions(tags, weak=True))


def _tags(request: Request, name: str) -> str | None:
    """``*``, or entity tags; several lines are one list (RFC 9110 5.3)."""
    sent = request.headers.getlist(name)
    if not sent:
        return None
    tags = ",".join(sent).strip(" \t")
    if tags != "*" and not re.fullmatch(_TAGS, tags):
        raise _refused(name, f"Must be {_TAGS_RULE}.")
    return tags


def _versions(tags: str, *, weak: bool) -> tuple[int, ...]:
    """Those that this API may have given; another tag is of no version."""
    found = _EACH_TAG.findall(tags)
    return tuple(dict.fromkeys(int(tag) for w, tag in found if _VERSION.fullmatch(tag) and (weak or not w)))


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
    preferences = _preferences(request.headers.getlist("prefer"))
    if _SECONDS.fullmatch(preferences.get("wait", "")):
        seconds = min(int(preferences["wait"]), MOST_WAIT_SECONDS)
        return Wait(seconds, f"wait={seconds}")
    if preferences.get("respond-async") == "":
        return Wait(0, "respond-async")
    return Wait(None, None)


def _preferences(lines: list[str]) -> dict[str, str]:
    """Each with its value, mostly none. The first of a name counts; what breaks the grammar is left out."""
    found: dict[str, str] = {}
    for part in (part for line in lines for part in _EACH_PREFERENCE.findall(line)):
        if match := _PREFERENCE.fullmatch(part.strip(" \t")):
            value = match[2] or ""
            value = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
            found.setdefault(match[1].lower(), value)
    return found


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


def _refused(name: str, message: str, rule: str = "pattern") -> Exception:
    return invalid(FieldProblem(field=name, rule=rule, message=message), slug="invalid_header")


def _refuse_unsupported(request: Request, name: str, why: str, instead: str = "send If-Match with the ETag") -> None:
    if name in request.headers:
        raise _refused(name, f"Is not supported here. {why}: {instead}.", "unsupported")


#: Parameters of routes, each with what the functions above make of its headers.
Key = Annotated[str | None, Depends(idempotency_key)]
Demanded = Annotated[Precondition, Depends(precondition)]
DemandedOfRead = Annotated[Reading, Depends(reading)]
Waits = Annotated[Wait, Depends(wait)]
Traced = Annotated[RequestTrace, Depends(trace)]
