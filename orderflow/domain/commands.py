"""Commands and what came of them.

A command is carried out at most once per id. Ids: ``c:<Idempotency-Key>`` from a client, ``w:<word>`` for the
workflow's own, ``r:<word>…`` for what an operator or reconciliation did.
"""

import hashlib
import json
import re
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import Field

from orderflow.domain.errors import Problem
from orderflow.domain.lifecycle import Lifecycle
from orderflow.domain.model import Model

IDEMPOTENCY_KEY: Final = re.compile(r"[A-Za-z0-9._~-]{1,200}")


class Command(Model):
    """One request to move one order.

    ``expected_version``: refuse (412) unless the row has it. ``data`` goes into the event.
    """

    name: str
    id: str
    request_hash: str | None = None
    expected_version: int | None = None
    correlation_id: str = ""
    traceparent: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class Outcome(Model):
    """What came of a command, and beside it the row's present status and version (None: there is no row).

    done: it made ``version`` with ``status``. refused: ``refusal`` says why; nothing changed. pending: under way.
    """

    state: Literal["done", "refused", "pending"]
    version: int | None = None
    status: str | None = None
    refusal: Problem | None = None
    row_status: str | None = None
    row_version: int | None = None
    row_created_at: datetime | None = None
    replayed: bool = False


def request_hash(name: str, body: object) -> str:
    """SHA-256 over the command's name and the canonical JSON of the body as received, hex."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{name}\n{canonical}".encode()).hexdigest()


def client_command_id(idempotency_key: str) -> str:
    """The command id of a client's Idempotency-Key."""
    return f"c:{idempotency_key}"


def not_found(order_id: UUID) -> Problem:
    """There is no such order."""
    return Problem(slug="order_not_found", detail=f"There is no order {order_id}.", status=404)


def version_conflict(lifecycle: Lifecycle, expected: int, version: int) -> Problem:
    """Somebody was faster."""
    return Problem(
        slug="version_conflict",
        detail=f"The {lifecycle.aggregate} has version {version}, not {expected}.",
        status=412,
        current_version=version,
    )


def illegal_transition(lifecycle: Lifecycle, name: str, status: str | None, version: int | None) -> Problem:
    """The LIFECYCLE says no."""
    return Problem(
        slug="illegal_transition",
        detail=f"Cannot {name}: the {lifecycle.aggregate} is {status or 'not there'}.",
        status=409,
        allowed_actions=lifecycle.allowed(status),
        current_status=status,
        current_version=version,
    )


def shipment_in_progress(name: str) -> Problem:
    """A ship waits for its capture: until that is known, nothing else may happen."""
    return Problem(
        slug="shipment_in_progress",
        detail=f"Cannot {name}: a ship of this order is waiting for its payment capture. Ask again in a moment.",
        status=409,
        allowed_actions=(),
    )


def idempotency_conflict(command_id: str) -> Problem:
    """The same id was used for another request."""
    return Problem(
        slug="idempotency_conflict",
        detail=f"{command_id!r} was already used for another request. Send a new key, or the first request again.",
        status=422,
    )
