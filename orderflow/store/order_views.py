"""Orders as the API shows them. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import asyncpg

from orderflow.domain.access import Owner, owned_by
from orderflow.domain.commands import Outcome
from orderflow.domain.errors import Problem
from orderflow.domain.orders import LIFECYCLE
from orderflow.store.database import Database
from orderflow.store.statements import Statement
from orderflow.store.write_rule import REACHED

#: A ship waits for its capture.
_PENDING = """EXISTS (SELECT FROM commands p
               WHERE p.order_id = o.order_id AND p.version IS NULL AND p.refusal IS NULL) AS pending"""
_SUMMARY = f"""o.order_id, o.status, o.version, o.reason, o.customer_id, o.reference, o.currency, o.total,
       o.created_at, o.updated_at,
       {_PENDING}"""

_READ = Statement(
    "order_views.read",
    "Reads one order with its lines.",
    f"""
SELECT {_SUMMARY},
       (SELECT jsonb_agg(jsonb_build_array(l.sku, l.quantity, l.unit_price) ORDER BY l.line)
        FROM order_lines l WHERE l.order_id = o.order_id) AS lines
FROM orders o WHERE o.order_id = $order_id AND {REACHED}""",
)

_EVENTS = Statement(
    "order_views.events",
    "Reads an order's own history, the oldest event first.",
    f"""
    SELECT version, type, status, data, correlation_id, authtype, authid, recorded_at
    FROM events
    WHERE order_id = $order_id AND EXISTS (SELECT FROM orders o WHERE o.order_id = $order_id AND {REACHED})
    ORDER BY version""",
)

_COMMAND = Statement(
    "order_views.command",
    "Reads what came of a command, and whether its order has a row.",
    f"""
    SELECT o.order_id IS NOT NULL AS placed, c.name, c.version, c.refusal, e.status, c.recorded_at
    FROM (SELECT $order_id::uuid AS order_id) k
    LEFT JOIN orders o ON o.order_id = k.order_id AND {REACHED}
    LEFT JOIN commands c ON c.order_id = o.order_id AND c.command_id = $command_id
    LEFT JOIN events e ON e.order_id = c.order_id AND e.version = c.version""",
)

# Only of live orders, by the index on status: ended ones are too many to be counted again and again.
_AGES = Statement(
    "order_views.ages",
    "Counts the live orders of each status, and says how long they have had it.",
    """
    SELECT status, count(*) AS orders,
           extract(epoch FROM clock_timestamp() - min(updated_at))::float8 AS oldest_age,
           extract(epoch FROM avg(clock_timestamp() - updated_at))::float8 AS mean_age
    FROM orders WHERE status = ANY($statuses::text[]) GROUP BY status""",
)

_CONDITIONS = {
    "status": "o.status = $status",
    "customer_id": "o.customer_id = $customer_id",
    "reference": "o.reference = $reference",
    "created_from": "o.created_at >= $created_from",
    "created_to": "o.created_at < $created_to",
}
_OWNED = "o.customer_id = $owner"
_AFTER = "(o.created_at, o.order_id) < ($after_created_at, $after_order_id)"


def _page(conditions: Sequence[str] = ()) -> Statement:
    where = f"\nWHERE {' AND '.join(conditions)}" if conditions else ""
    return Statement(
        "order_views.page",
        "Reads a page of orders, the newest first; a filter, or a page before, adds its condition.",
        f"SELECT {_SUMMARY}\nFROM orders o{where}\nORDER BY o.created_at DESC, o.order_id DESC LIMIT $limit",
    )


_ANY_PAGE = _page()


@dataclass(frozen=True, slots=True)
class Ages:
    """``orders`` have ``status``. For how long the first of them has had it, and all on average, in seconds."""

    status: str
    orders: int
    oldest_age: float
    mean_age: float


@dataclass(frozen=True, slots=True)
class OrderSummary:
    """An order's row. ``total`` in minor units; ``pending``: a ship waits for its capture."""

    order_id: UUID
    status: str
    version: int
    reason: str | None
    customer_id: str
    reference: str | None
    currency: str
    total: int
    created_at: datetime
    updated_at: datetime
    pending: bool


@dataclass(frozen=True, slots=True)
class OrderView(OrderSummary):
    """An order's row and its ``lines``: SKU, quantity, unit price in minor units."""

    lines: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which orders to list; None: any. ``created_from`` is included, ``created_to`` is not."""

    status: str | None = None
    customer_id: str | None = None
    reference: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class PageEnd:
    """The last order of a page: the next page starts after it."""

    created_at: datetime
    order_id: UUID


@dataclass(frozen=True, slots=True)
class EventView:
    """One event of an order's own history."""

    version: int
    type: str
    status: str
    data: dict[str, Any]
    correlation_id: str
    authtype: str
    authid: str | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class CommandView:
    """What is known of a command. ``placed``: whether the order has a row; ``outcome`` None: nothing recorded."""

    placed: bool
    name: str | None
    outcome: Outcome | None
    recorded_at: datetime | None

    @property
    def state(self) -> Literal["done", "refused", "pending", "not_recorded"]:
        """In one word."""
        return self.outcome.state if self.outcome else "not_recorded"


class OrderViews:
    """Reads of the orders database: of one order, or a page, what ``owner`` may see. All raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, order_id: UUID, owner: Owner) -> OrderView | None:
        """One order with its lines."""
        row = await self._database.one(_READ, {"order_id": order_id, "owner": owned_by(owner)})
        if row is None:
            return None
        lines = tuple((sku, quantity, unit_price) for sku, quantity, unit_price in row["lines"])
        return OrderView(**{**dict(row), "lines": lines})

    async def page(self, filters: Filters, owner: Owner, after: PageEnd | None, limit: int) -> list[OrderSummary]:
        """At most ``limit`` orders, newest first, from after ``after`` on."""
        wanted = {name: value for name in _CONDITIONS if (value := getattr(filters, name)) is not None}
        values: dict[str, Any] = {**wanted, "limit": limit}
        conditions = [_CONDITIONS[name] for name in wanted]
        if (customer := owned_by(owner)) is not None:
            conditions.append(_OWNED)
            values["owner"] = customer
        if after is not None:
            conditions.append(_AFTER)
            values |= {"after_created_at": after.created_at, "after_order_id": after.order_id}
        statement = _page(conditions) if conditions else _ANY_PAGE
        return [OrderSummary(**row) for row in await self._database.all(statement, values)]

    async def events(self, order_id: UUID, owner: Owner) -> list[EventView]:
        """The order's own history, oldest first; nothing where there is no such order."""
        values = {"order_id": order_id, "owner": owned_by(owner)}
        return [EventView(**row) for row in await self._database.all(_EVENTS, values)]

    async def ages(self) -> list[Ages]:
        """How many live orders there are in each status, and how long they have been in it. None of a status: 0."""
        statuses = [status for status in LIFECYCLE.statuses if not LIFECYCLE.is_final(status)]
        found = {row["status"]: Ages(**row) for row in await self._database.all(_AGES, {"statuses": statuses})}
        return [found.get(status, Ages(status, 0, 0.0, 0.0)) for status in statuses]

    async def command(self, order_id: UUID, command_id: str, owner: Owner) -> CommandView:
        """What came of a command."""
        values = {"order_id": order_id, "command_id": command_id, "owner": owned_by(owner)}
        row = await self._database.one(_COMMAND, values)
        if row is None:  # the statement always gives a row
            raise RuntimeError("the look-up of a command gave no row")
        return CommandView(row["placed"], row["name"], _outcome(row), row["recorded_at"])


def _outcome(row: asyncpg.Record) -> Outcome | None:
    if row["name"] is None:
        return None
    if row["refusal"] is not None:
        return Outcome(state="refused", refusal=Problem.model_validate(row["refusal"]))
    if row["version"] is None:
        return Outcome(state="pending")
    return Outcome(state="done", version=row["version"], status=row["status"])
