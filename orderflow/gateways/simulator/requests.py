"""From HTTP requests to calls, or to an ``InvalidRequest`` that names each field and the rule it broke."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from starlette.requests import Request

from orderflow.gateways.simulator.decisions import Behaviour, Decisions, behaviour_of
from orderflow.gateways.simulator.faults import Faults
from orderflow.gateways.simulator.ledger import Call, Hold, Operation

MAX_BODY_BYTES = 16_384
MAX_AMOUNT = 10**12
MAX_TOKEN_LENGTH = 500
MAX_DELAY_SECONDS = 60
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,300}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_CORRELATION_ID_LENGTH = 200


@dataclass(frozen=True, slots=True)
class FieldError:
    """A field of a request, the rule it broke, and the same in words."""

    field: str
    rule: str
    message: str


class InvalidRequest(Exception):
    """A request that cannot be carried out as it stands."""

    def __init__(self, *errors: FieldError, status: int = 422) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors
        self.status = status


async def read_call(request: Request, operation: Operation, decisions: Decisions) -> Call:
    """The call that a request asks for. Raises InvalidRequest, naming everything that is wrong at once."""
    errors: list[FieldError] = []
    reference = ""
    try:
        reference = read_reference(request)
    except InvalidRequest as invalid:
        errors += invalid.errors
    key = request.headers.get("idempotency-key", "")
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        errors.append(FieldError("Idempotency-Key", "1-300 printable", "1 to 300 printable ASCII characters, no space"))
    body = await _read_object(request, empty_is_object=operation is not Operation.AUTHORIZE)
    hold = None
    if operation is Operation.AUTHORIZE:
        hold = _read_hold(body, reference, decisions, errors)
    else:
        errors += _unknown_fields(body, ())
    if errors:
        raise InvalidRequest(*errors)
    correlation_id = request.headers.get("x-correlation-id")
    return Call(
        operation=operation,
        reference=reference,
        idempotency_key=key,
        correlation_id=correlation_id[:_CORRELATION_ID_LENGTH] if correlation_id else None,
        hold=hold,
    )


def read_reference(request: Request) -> str:
    """The merchant reference of the path, in lower case. Raises InvalidRequest."""
    text = str(request.path_params["reference"]).lower()
    try:
        canonical = str(UUID(text))
    except ValueError:
        canonical = None
    if canonical != text:
        raise InvalidRequest(FieldError("reference", "uuid", "must be a UUID in its 36-character form"))
    return text


def read_captured_since(request: Request) -> datetime | None:
    """The moment of the query's ``captured_since``; None: from the beginning. Raises InvalidRequest."""
    text = request.query_params.get("captured_since")
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidRequest(FieldError("captured_since", "date-time", "must be an ISO 8601 time with its offset"))
    return moment


async def read_faults(request: Request) -> Faults:
    """The faults to put in force; what is left out is off. Raises InvalidRequest."""
    body = await _read_object(request)
    errors: list[FieldError] = []
    delays = dict.fromkeys(("delay_seconds", "answer_delay_seconds"), MAX_DELAY_SECONDS)
    numbers = {**delays, "error_rate": 1, "lose_answer_rate": 1}
    for name, most in numbers.items():
        value = body.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            errors.append(FieldError(name, f"0-{most}", f"must be a number from 0 to {most}"))
    if not isinstance(body.get("down", False), bool):
        errors.append(FieldError("down", "boolean", "must be true or false"))
    # A misspelt switch would silently break nothing.
    errors += _unknown_fields(body, (*numbers, "down"))
    if errors:
        raise InvalidRequest(*errors)
    return Faults(**body)


def _read_hold(body: dict[str, Any], reference: str, decisions: Decisions, errors: list[FieldError]) -> Hold:
    amount = body.get("amount")
    if isinstance(amount, bool) or not isinstance(amount, int) or not 1 <= amount <= MAX_AMOUNT:
        errors.append(FieldError("amount", f"1-{MAX_AMOUNT}", "must be an integer in minor units, 1 to 10^12"))
    currency = body.get("currency")
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        errors.append(FieldError("currency", "[A-Z]{3}", "must be an ISO 4217 code such as USD"))
    token = body.get("payment_token")
    if not isinstance(token, str) or not 1 <= len(token) <= MAX_TOKEN_LENGTH:
        message = f"must be a string of 1 to {MAX_TOKEN_LENGTH} characters"
        errors.append(FieldError("payment_token", f"1-{MAX_TOKEN_LENGTH} characters", message))
    behaviour = behaviour_of(token) if isinstance(token, str) else Behaviour.UNKNOWN
    return Hold(
        amount=amount if isinstance(amount, int) else 0,
        currency=str(currency),
        behaviour=behaviour,
        decline_reason=decisions.decline_reason(behaviour, reference),
    )


def _unknown_fields(body: dict[str, Any], known: Iterable[str]) -> list[FieldError]:
    # A name can hold what JSON can spell and UTF-8 cannot: a lone surrogate.
    names = [name.encode("utf-8", "backslashreplace").decode() for name in body if name not in known]
    return [FieldError(name, "unknown", "there is no such field") for name in names]


async def _read_object(request: Request, *, empty_is_object: bool = False) -> dict[str, Any]:
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            raise InvalidRequest(FieldError("body", "size", f"at most {MAX_BODY_BYTES} bytes"), status=413)
    if not raw and empty_is_object:
        return {}
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise InvalidRequest(FieldError("body", "json", "must be JSON in UTF-8"), status=400) from None
    if not isinstance(body, dict):
        raise InvalidRequest(FieldError("body", "object", "must be a JSON object"))
    return body
