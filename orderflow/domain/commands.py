"""Commands and what came of them.

A command is carried out at most once per id. Ids: ``c:<uuid>`` from a client, made of who it is and its
Idempotency-Key, ``w:<word>`` for the workflow's own, ``r:<word>…`` for what an operator or reconciliation did.
"""

import hashlib
import json
import re
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import Field

from orderflow.domain.access import SYSTEM, Actor, Principal, identity_of
from orderflow.domain.errors import Problem
from orderflow.domain.lifecycle import Lifecycle
from orderflow.domain.model import Model

_ORDER_IDS: Final = UUID("5d1f3a52-2c36-4e0b-8d0e-6f0d6b1f7a11")
_COMMAND_IDS: Final = UUID("0c0f8a0e-6f0e-4c0f-9a57-3b1f5a0b7f2d")
IDEMPOTENCY_KEY: Final = re.compile(r"[A-Za-z0-9._~-]{1,200}")


class Precondition(Model):
    """What a client demands of the row that it wants changed, before anything is: else the command is refused (412).

    ``versions``: a row that is there has one of these (of none, where it is empty); None: any. ``other_than``: it has
    none of these. ``exists``: there is a row. RFC 9110's ``If-Match`` and ``If-None-Match`` say it in HTTP.
    """

    versions: tuple[int, ...] | None = None
    other_than: tuple[int, ...] = ()
    exists: bool = False

    def holds(self, version: int | None) -> bool:
        """Of a row with ``version``; None: there is no row."""
        if version is None:
            return not self.exists
        return (self.versions is None or version in self.versions) and version not in self.other_than


#: Of a client that demands nothing.
ANY_VERSION: Final = Precondition()


def only(*versions: int) -> Precondition:
    """There is a row, and it has one of these versions."""
    return Precondition(versions=versions, exists=True)


class Command(Model):
    """One request to move one order. ``actor`` asked for it; ``data`` goes into the event.

    ``older_hashes``: what may be recorded of the same request, made with other keys.
    """

    name: str
    id: str
    request_hash: str | None = None
    older_hashes: tuple[str, ...] = ()
    precondition: Precondition = ANY_VERSION
    correlation_id: str = ""
    traceparent: str | None = None
    actor: Actor = SYSTEM
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


def client_order_id(principal: Principal, idempotency_key: str) -> UUID:
    """The id of the order that a principal places with this key: the same key, the same order."""
    return identity_of(_ORDER_IDS, principal, idempotency_key)


def client_command_id(principal: Principal, idempotency_key: str) -> str:
    """The command id of a principal's Idempotency-Key."""
    return f"c:{identity_of(_COMMAND_IDS, principal, idempotency_key)}"


def not_found(order_id: UUID) -> Problem:
    """There is no such order."""
    return Problem(slug="order_not_found", detail=f"There is no order {order_id}.", status=404)


def version_conflict(subject: str, precondition: Precondition, version: int | None) -> Problem:
    """``subject``, a row with ``version``, is not as the client demands: mostly, somebody was faster."""
    if version is None:
        has = "is not there"
    elif precondition.versions and version not in precondition.versions:
        has = f"has version {version}, not {' or '.join(map(str, precondition.versions))}"
    elif version in precondition.other_than:
        has = f"has version {version} still"
    else:
        has = f"is there, with version {version}, which the request does not allow"
    return Problem(slug="version_conflict", detail=f"{subject} {has}.", status=412, current_version=version)


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


def idempotency_conflict() -> Problem:
    """The same id was used for another request."""
    return Problem(
        slug="idempotency_conflict",
        detail="The Idempotency-Key was already used for another request. Send a new key, or the first request again.",
        status=422,
    )
