"""Request bodies: read with a limit, parsed strictly, and kept as received (their hash is a command's identity).

Refused, always with a sentence: more than 256 KiB (also when chunked), another media type, what is not RFC 8259 JSON
(NaN, Infinity), names that stand twice in an object (which one counts?), nesting and numbers beyond any sense.
"""

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Generic, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect

from api.http.problems import TYPES, field_problems, invalid
from orderflow.domain.errors import FieldProblem, Problem, Rejection

MOST_BYTES: Final = 256 * 1024


class Body(BaseModel):
    """The base of request bodies: unknown fields are refused, so that a typo is seen."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def broken_rules(self) -> Iterable[FieldProblem]:
        """Rules about several fields at once."""
        return ()


_B = TypeVar("_B", bound=Body)


@dataclass(frozen=True, slots=True)
class Received(Generic[_B]):
    """A valid body, and the JSON that it was."""

    body: _B
    json: object


def received(model: type[_B], *, optional: bool = False) -> Callable[[Request], Awaitable[Received[_B]]]:
    """A dependency that reads and validates the body. ``optional``: no body is the same as ``{}``."""

    async def read(request: Request) -> Received[_B]:
        content = await _read(request)
        if not content and optional:
            data: object = {}
        else:
            _require_json(request)
            data = parse_json(content)
        return Received(validate(model, data), data)

    return read


def documented(model: type[Body], *, optional: bool = False) -> dict[str, Any]:
    """For a route's ``openapi_extra``, as FastAPI does not see what ``received`` reads."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": not optional, "content": {"application/json": {"schema": schema}}}}


def validate(model: type[_B], data: object) -> _B:
    """Raises Rejection naming each field."""
    try:
        body = model.model_validate(data)
    except ValidationError as error:
        # Without the cause: pydantic's error holds what was sent.
        raise invalid(*field_problems(error.errors(include_url=False, include_input=False))) from None
    if errors := tuple(body.broken_rules()):
        raise invalid(*errors)
    return body


async def _read(request: Request) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > MOST_BYTES:
        raise _refused("too_large")
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MOST_BYTES:
                raise _refused("too_large")
            chunks.append(chunk)
    except ClientDisconnect:
        raise _refused("malformed", "The body ended early.") from None
    return b"".join(chunks)


def _require_json(request: Request) -> None:
    sent = request.headers.getlist("content-type")
    media_type, _, parameters = (sent[0] if len(sent) == 1 else "").lower().partition(";")
    said = {name.strip(): value.strip(' "') for name, _, value in (p.partition("=") for p in parameters.split(";"))}
    charset = said.get("charset", "utf-8")
    encoding = ",".join(request.headers.getlist("content-encoding") or ["identity"]).lower()
    if media_type.strip() != "application/json" or charset not in ("utf-8", "utf8") or encoding != "identity":
        raise _refused("unsupported_media_type")


def parse_json(content: bytes) -> object:
    """The JSON in ``content``. Raises Rejection."""
    try:
        parsed: object = json.loads(
            content.decode(), object_pairs_hook=_object, parse_constant=_constant, parse_float=_number
        )
    except UnicodeDecodeError:
        raise _refused("malformed", "The body is not UTF-8.") from None
    except RecursionError:
        raise _refused("malformed", "The body is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise _refused("malformed", f"The body is not JSON: {error.msg} at character {error.pos}.") from None
    except ValueError:  # Python's limit on the digits of an integer
        raise _refused("malformed", "The body has a number with too many digits.") from None
    return parsed


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise _refused("malformed", "The body has an object in which a name stands twice.")
    return result


def _constant(name: str) -> Any:
    raise _refused("malformed", f"The body has {name}, which is not JSON.")


def _number(text: str) -> int | float:
    """What has a fraction or an exponent. ``1.0`` and ``1e3`` are integers, as JSON Schema says.

    Judged by the exact value: as a float, 1.00000000000000000001 would be 1.
    """
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise _refused("malformed", "The body has a number that is too large.")
    try:
        exact = Decimal(text)
    except InvalidOperation:  # an exponent of 19 digits: nearly nothing
        return number
    if exact.is_zero():
        return 0
    return int(exact) if exact == exact.to_integral_value() else number


def _refused(slug: str, detail: str | None = None) -> Rejection:
    kind = TYPES[slug]
    return Rejection(Problem(slug=slug, detail=detail or kind.meaning, status=kind.status))
