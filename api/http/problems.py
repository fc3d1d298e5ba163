"""Every error answer, in one place: RFC 9457 problem documents.

``type`` is ``urn:orderflow:problems/<slug>``: the same wherever the API stands, as RFC 9457 3.1.1 wants it; what it
means stands at ``/problems/<slug>``. Beside the standard members there may be
``errors`` (each field and the rule it broke), ``allowed_actions``, ``current_status``, ``current_version``,
``dependency``, ``order_id``, ``command_id`` and ``scope``; ``correlation_id`` is always there.
Nothing that a client sent is repeated, but names of fields.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.http.methods import allowed
from orderflow.domain.errors import FieldProblem, Problem, Rejection, Unavailable
from orderflow.domain.model import Model
from orderflow.serving.protocol import reference

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 1
#: Where a request's state has the slug of the problem that answered it.
ANSWERED: Final = "problem"
#: Enough to see what is wrong; a body of 256 KiB could break tens of thousands of rules.
MOST_ERRORS: Final = 100

log = structlog.get_logger()


class ProblemType(NamedTuple):
    """A kind of problem: its HTTP status, its title, and what a client may do about it."""

    status: int
    title: str
    meaning: str


TYPES: Final[Mapping[str, ProblemType]] = {
    "malformed": ProblemType(
        400, "Malformed request", "It is no HTTP/1.1, or the body is not JSON (RFC 8259), or it is ambiguous."
    ),
    "invalid_header": ProblemType(400, "Invalid header", "`errors` names the header and its rule."),
    "unauthenticated": ProblemType(
        401, "Not authenticated", "Send `Authorization: Bearer` with a key that is good; `detail` says what is wrong."
    ),
    "capture_refused": ProblemType(
        402, "Capture refused", "The payment could not be taken. The order stays FULFILLING: ship again, or cancel."
    ),
    "forbidden": ProblemType(403, "Forbidden", "The caller may not do that; `scope` names what it lacks."),
    "foreign_origin": ProblemType(
        403,
        "Another origin",
        "A page of another origin may not call this API from a browser, unless `ORDERFLOW_API_ORIGINS` lists it.",
    ),
    "not_found": ProblemType(404, "Not found", "There is nothing at this path."),
    "order_not_found": ProblemType(404, "No such order", "No order has this id."),
    "sku_not_found": ProblemType(404, "No such SKU", "No stock has this SKU. PUT makes it."),
    "method_not_allowed": ProblemType(405, "Method not allowed", "`Allow` names the methods of this path."),
    "too_slow": ProblemType(408, "Too slow", "A body is whole 30 s after its head. Send the request again."),
    "illegal_transition": ProblemType(
        409, "Illegal transition", "The order's status forbids it; `allowed_actions` says what it allows."
    ),
    "shipment_in_progress": ProblemType(
        409, "Shipment in progress", "A ship waits for its payment capture. Ask again in a moment."
    ),
    "stock_reserved": ProblemType(409, "Stock is reserved", "Orders hold more than what would be left."),
    "stock_limit": ProblemType(409, "Too much stock", "A SKU has at most 1,000,000,000 pieces."),
    "version_conflict": ProblemType(
        412, "Version conflict", "`If-Match` or `If-None-Match` forbids it on the present version: read, decide again."
    ),
    "too_large": ProblemType(413, "Body too large", "A body has at most 262,144 bytes."),
    "unsupported_media_type": ProblemType(
        415,
        "Unsupported media type",
        "Bodies are `application/json` in UTF-8, not compressed; one Content-Type says so.",
    ),
    "misdirected": ProblemType(
        421, "Misdirected request", "`Host` is none of this API's names: see `ORDERFLOW_API_HOSTS`."
    ),
    "invalid": ProblemType(422, "Invalid request", "`errors` names each field and the rule it broke."),
    "idempotency_conflict": ProblemType(
        422, "Idempotency conflict", "The same `Idempotency-Key` came with another request before. Send a new key."
    ),
    "too_many_requests": ProblemType(429, "Too many requests", "Send it again after `Retry-After` seconds."),
    "headers_too_large": ProblemType(
        431, "Headers too large", "A request's line and headers have at most 32,768 bytes, and are 100 at most."
    ),
    "internal_error": ProblemType(500, "Internal error", "A bug. The log has it under this correlation id."),
    "overloaded": ProblemType(
        503,
        "Too much to do",
        "This process has too many requests in hand, or connections. Send it again after `Retry-After` seconds.",
    ),
    "unavailable": ProblemType(
        503, "Dependency unavailable", "`dependency` did not answer. Send the same request with the same key again."
    ),
}


def type_uri(slug: str) -> str:
    """What a problem's ``type`` says."""
    return f"urn:orderflow:problems/{slug}"


class ProblemDocument(Model):
    """RFC 9457, with our own members."""

    type: str = Field(examples=["urn:orderflow:problems/illegal_transition"], json_schema_extra={"format": "uri"})
    title: str = Field(examples=["Illegal transition"])
    status: int = Field(examples=[409])
    detail: str = Field(examples=["Cannot ship: the order is DRAFT."])
    instance: str = Field(
        examples=["/orders/0b0b7d4e-6a41-5b0c-9a53-4f8f7bd32d11/ship"], json_schema_extra={"format": "uri-reference"}
    )
    correlation_id: str
    errors: tuple[FieldProblem, ...] | None = None
    allowed_actions: tuple[str, ...] | None = None
    current_status: str | None = None
    current_version: int | None = None
    dependency: str | None = Field(
        None, description="orders or inventory, the databases; issuer: its keys; api: it stops."
    )
    order_id: str | None = None
    command_id: str | None = None
    scope: str | None = None


class ProblemAnswer(Exception):
    """A problem that answers a request, with what HTTP adds: headers, further members."""

    def __init__(self, problem: Problem, *, headers: Mapping[str, str] | None = None, **members: str) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.headers = dict(headers or {})
        self.members = members


def invalid(*errors: FieldProblem, slug: str = "invalid") -> Rejection:
    """Fields (or headers) that broke rules."""
    shown = errors[:MOST_ERRORS]
    names = ", ".join(dict.fromkeys(error.field for error in shown[:5]))
    more = " and more" if len(errors) > 5 else ""
    detail = f"{'Headers' if slug == 'invalid_header' else 'Fields'} that break a rule: {names}{more}."
    return Rejection(Problem(slug=slug, detail=detail, status=TYPES[slug].status, errors=shown))


def unavailable(error: Unavailable, detail: str | None = None, **members: str) -> ProblemAnswer:
    """503, with when to come back, and what the matter is."""
    cause = f": {error.cause}" if error.cause else ""
    problem = Problem(slug="unavailable", detail=detail or f"{error.dependency} does not answer{cause}.", status=503)
    return ProblemAnswer(
        problem, headers={"Retry-After": str(RETRY_AFTER_SECONDS)}, dependency=error.dependency, **members
    )


def stopped(scope: Mapping[str, Any]) -> Response:
    """The answer to a request that this process, as it ends, carries no further."""
    detail = (
        "This process was told to stop before it had an answer, so nobody knows whether anything was done. "
        "Send the same request again with the same Idempotency-Key."
    )
    said = unavailable(Unavailable("api", detail), detail)
    return answer(scope, said.problem, said.headers, **said.members)


def document(scope: Mapping[str, Any], problem: Problem, /, **members: str) -> dict[str, Any]:
    """The problem document of a request."""
    known = TYPES.get(problem.slug)
    rest = problem.to_data()
    slug, detail, status = rest.pop("slug"), rest.pop("detail"), rest.pop("status")
    return {
        "type": type_uri(slug),
        "title": known.title if known else slug.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "instance": reference(scope["path"]),
        "correlation_id": scope.get("state", {}).get("correlation_id", ""),
        **rest,
        **members,
    }


def answer(
    scope: Mapping[str, Any], problem: Problem, headers: Mapping[str, str] | None = None, /, **members: str
) -> Response:
    """The response. ASCII only: a field's name may hold what UTF-8 cannot say."""
    content = json.dumps(document(scope, problem, **members), ensure_ascii=True)
    scope.get("state", {})[ANSWERED] = problem.slug
    return Response(content, problem.status, dict(headers or {}), MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let every error that a route or the framework raises become a problem document."""

    async def of_answer(request: Request, error: Exception) -> Response:
        error = cast(ProblemAnswer, error)
        return answer(request.scope, error.problem, error.headers, **error.members)

    async def of_rejection(request: Request, error: Exception) -> Response:
        problem = cast(Rejection, error).problem
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if problem.status == 429 else None
        return answer(request.scope, problem, headers)

    async def of_unavailable(request: Request, error: Exception) -> Response:
        error = cast(Unavailable, error)
        log.warning("dependency_unavailable", dependency=error.dependency, detail=error.detail)
        return await of_answer(request, unavailable(error))

    async def of_validation(request: Request, error: Exception) -> Response:
        errors = field_problems(cast(RequestValidationError, error).errors())
        return answer(request.scope, invalid(*errors).problem)

    async def of_framework(request: Request, error: Exception) -> Response:
        error = cast(HTTPException, error)
        slug = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "malformed")
        known = TYPES[slug]
        problem = Problem(slug=slug, detail=known.meaning, status=error.status_code)
        # Starlette's names the methods of one of the path's routes.
        headers = {"Allow": allowed(request.scope)} if error.status_code == 405 else error.headers
        return answer(request.scope, problem, headers)

    app.add_exception_handler(ProblemAnswer, of_answer)
    app.add_exception_handler(Rejection, of_rejection)
    app.add_exception_handler(Unavailable, of_unavailable)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(HTTPException, of_framework)


def field_problems(errors: Any) -> list[FieldProblem]:
    """What pydantic found, without the values: they may be secret, or not even text."""
    return [
        FieldProblem(field=_path(error["loc"]), rule=error["type"], message=_message(error))
        for error in errors[: MOST_ERRORS + 1]
    ]


def _path(location: tuple[str | int, ...]) -> str:
    """``lines[0].unit_price``."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path = field_name(path, part)
    return path or "body"


def field_name(path: str, name: str) -> str:
    """``name`` below ``path``, as an error may show it."""
    shown = name.encode("ascii", "backslashreplace").decode()[:100]
    return f"{path}.{shown}" if path else shown


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "int_type":
        return "Must be a whole number (money is in minor units: 419, not 4.19)."
    if error["type"] == "extra_forbidden":
        return "There is no such field."
    return f"{error['msg']}."


def responses(*slugs: str, of_commands: Mapping[str, Any] | None = None) -> dict[int | str, dict[str, Any]]:
    """For a route's OpenAPI: the problems it may answer with, by status, and those that every route has.

    ``of_commands``: the headers of what refuses a command for good.
    """
    documented: dict[int | str, dict[str, Any]] = {}
    for slug in dict.fromkeys((*slugs, *_EVERYWHERE)):
        kind = TYPES[slug]
        entry = documented.setdefault(
            kind.status, {"description": "", "content": {MEDIA_TYPE: {"schema": _SCHEMA, "examples": {}}}}
        )
        entry["description"] += f"{' ' if entry['description'] else ''}`/problems/{slug}`: {kind.meaning}"
        entry["content"][MEDIA_TYPE]["examples"][slug] = {"summary": kind.title, "value": _example(slug, kind)}
        if kind.status in (401, 403):
            entry["headers"] = {"WWW-Authenticate": {"description": "RFC 6750.", "schema": {"type": "string"}}}
        if of_commands and kind.status in (402, 404, 409, 412):
            entry["headers"] = dict(of_commands)
        if kind.status in (429, 503):
            entry["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
        if kind.status == 429:
            entry["headers"] |= {
                name: {"description": f"draft-ietf-httpapi-ratelimit-headers: {what}.", "schema": {"type": "string"}}
                for name, what in (("RateLimit", "what is left"), ("RateLimit-Policy", "the limit"))
            }
    return documented


#: What any request may be answered, before its route sees it.
_EVERYWHERE: Final = (
    *("malformed", "foreign_origin", "too_slow", "misdirected", "invalid", "headers_too_large"),
    *("too_many_requests", "internal_error", "overloaded"),
)
_SCHEMA: Final = {"$ref": "#/components/schemas/ProblemDocument"}


def _example(slug: str, kind: ProblemType) -> dict[str, Any]:
    return {
        "type": type_uri(slug),
        "title": kind.title,
        "status": kind.status,
        "detail": kind.meaning,
        "instance": "/orders",
        "correlation_id": "c0ffee",
        **_EXAMPLE_MEMBERS.get(slug, {}),
    }


_EXAMPLE_MEMBERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "invalid": {
        "errors": [
            {
                "field": "lines[0].unit_price",
                "rule": "int_type",
                "message": "Must be a whole number (money is in minor units: 419, not 4.19).",
            }
        ]
    },
    "invalid_header": {
        "errors": [{"field": "Idempotency-Key", "rule": "pattern", "message": "1-200 characters A-Z a-z 0-9 . _ ~ -"}]
    },
    "illegal_transition": {"allowed_actions": ["approve", "cancel"], "current_status": "DRAFT", "current_version": 1},
    "shipment_in_progress": {"allowed_actions": []},
    "version_conflict": {"current_version": 3},
    "unavailable": {"dependency": "orders"},
}
